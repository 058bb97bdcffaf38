//! Looking at containers from outside: `diff`, `top`, `export`, of running and of ended ones.

use std::fs;
use std::io::Read;

use lrun_tests::{Lrun, eventually};

const CHANGES: &str = "cd /opt; echo x > f; ln f g; ln -s /nowhere l; mkfifo p; echo tail > t; chmod 4755 t
    dd if=/dev/zero of=sparse bs=1 count=1 seek=50000000 2>/dev/null; rm /var/lib/files/1; mv /var/lib/files/2 /var/lib/files/3
    rm -rf /home; mkdir -p /home/new; chmod 1777 /; echo engine > /etc/hostname; mkdir -p /deep/er; touch /deep/.hidden";

#[test]
fn diff_tells_what_the_user_did_and_nothing_of_the_engine() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "quiet", "busybox", "true"]);
    assert_eq!(lrun.ok(&["diff", "quiet"]), "");
    lrun.ok(&["create", "--name", "never", "busybox", "true"]);
    assert_eq!(lrun.ok(&["diff", "never"]), "");

    lrun.ok(&["run", "--name", "busy", "busybox", "sh", "-c", CHANGES]);
    let lines = lrun.ok(&["diff", "busy"]);
    let expected = "C /,A /deep,A /deep/.hidden,A /deep/er,C /home,D /home/alice,A /home/new,C /opt,A /opt/f,A /opt/g,\
        A /opt/l,A /opt/p,A /opt/sparse,A /opt/t,C /var,C /var/lib,C /var/lib/files,D /var/lib/files/1,\
        D /var/lib/files/2,C /var/lib/files/3";
    assert_eq!(lines.lines().collect::<Vec<_>>().join(","), expected);
    assert!(lrun.fails(1, &["diff", "nobody"]).starts_with("lrun: No such container: nobody\n"));
}

#[test]
fn diff_sees_a_running_container_and_goes_on_after_a_commit() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", "echo 1 > /opt/one; exec sleep 1000"]);
    eventually("the file is there", || lrun.ok(&["diff", "runs"]) == "C /opt\nA /opt/one");
    lrun.ok(&["rm", "-f", "runs"]);
    lrun.ok(&["run", "--name", "again", "busybox", "sh", "-c", "echo 1 >> /opt/one"]);
    lrun.ok(&["commit", "again"]);
    assert_eq!(lrun.ok(&["diff", "again"]), "C /opt\nA /opt/one");
    lrun.ok(&["start", "-a", "again"]);
    assert_eq!(lrun.ok(&["diff", "again"]), "C /opt\nA /opt/one");
}

#[test]
fn top_shows_the_processes_as_ps_of_the_host_does() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", "sleep 1001 & sleep 1002; :"]);
    lrun.ok(&["exec", "-d", "-u", "alice", "runs", "sleep", "1003"]);
    eventually("all processes are there", || lrun.ok(&["top", "runs"]).lines().count() == 5);
    let table = lrun.ok(&["top", "runs"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    // By number, and a later process has a lower one where the host has begun anew.
    let mut commands: Vec<String> = lines[1..].iter().map(|line| line[7..].join(" ")).collect();
    commands.sort_unstable();
    let wanted = ["sh -c sleep 1001 & sleep 1002; :", "sleep 1001", "sleep 1002", "sleep 1003"];
    assert_eq!(commands, wanted, "{table}");
    let pid = lines.iter().find(|line| line[7..] == ["sleep", "1001"]).expect("it is there")[1];
    assert_eq!(fs::read(format!("/proc/{pid}/cmdline")).expect("a pid of the host"), b"sleep\x001001\0");
    let short = lrun.ok(&["top", "runs", "-eo", "pid,comm"]);
    let short: Vec<Vec<&str>> = short.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((short.len(), &short[0]), (5, &vec!["PID", "COMMAND"]));
    assert!(short.contains(&vec![pid, "sleep"]), "{short:?}");
    assert!(lrun.fails(1, &["top", "runs", "--nonsense"]).starts_with("lrun: ps: "));
    assert_eq!(lrun.ok(&["top", "runs", "-o", "pid="]).lines().count(), 4);
    lrun.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "1004"]);
    assert_eq!(lrun.ok(&["top", "one", "-o", "comm="]), "sleep");
    lrun.ok(&["rm", "-f", "one"]);
    for options in [&["-p", "1"][..], &["-C", "nosuch"]] {
        let none = lrun.ok(&[&["top", "runs", "-o", "pid,comm"], options].concat());
        assert_eq!(none.split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"], "{options:?}");
    }
    assert_eq!(
        lrun.inspect("runs", "{{.ID}} {{.HostConfig.NanoCPUs}}"),
        lrun.inspect("runs", "{{.Id}} {{.HostConfig.NanoCpus}}")
    );

    let id = lrun.inspect("runs", "{{.Id}}");
    lrun.ok(&["rm", "-f", "runs"]);
    lrun.ok(&["create", "--name", "idle", "busybox", "true"]);
    let idle = lrun.inspect("idle", "{{.Id}}");
    assert_eq!(lrun.fails(1, &["top", "idle"]), format!("lrun: container {idle} is not running\n"));
    assert!(lrun.fails(1, &["top", &id]).starts_with("lrun: No such container"));
}

#[test]
fn an_exported_container_imported_again_has_the_same_files() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "first", "busybox", "sh", "-c", CHANGES]);
    let exported = lrun.run(&["export", "first"]);
    assert_eq!((exported.code, exported.stderr.as_str()), (0, ""));
    lrun.import_bytes(&exported.bytes, "again");
    lrun.ok(&["create", "--name", "second", "again", "true"]);
    let file = lrun.folder().join("second.tar");
    lrun.ok(&["export", "-o", file.to_str().expect("UTF-8"), "second"]);
    assert!(fs::read(&file).expect("the archive") == exported.bytes, "the same tree makes the same archive");

    let script = "cd /opt; cat f g t; readlink l; stat -c %a%F t / p; wc -c < sparse; ls -a /deep /home /var/lib/files";
    let facts = lrun.ok(&["run", "--rm", "again", "sh", "-c", script]);
    assert!(facts.starts_with("x\nx\ntail\n/nowhere\n4755regular file\n1777directory\n644fifo\n50000001\n"), "{facts}");
    assert!(!facts.contains("alice") && facts.contains(".hidden") && facts.contains("\n40"), "{facts}");
    // Nothing of the engine is in it.
    let names = names_in(&exported.bytes);
    assert!(names.contains("./\n") && names.contains("opt/f\n"), "{names}");
    for own in ["proc", "sys/", "dev/", "etc/resolv.conf", "etc/hosts\n", "etc/mtab"] {
        assert!(!names.lines().any(|name| name.starts_with(own.trim_end())), "{own}: {names}");
    }
}

/// What GNU tar finds in an archive.
fn names_in(archive: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let child = Command::new("tar").arg("-tf").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("tar");
    let (mut stdin, archive) = (child.stdin.take().expect("piped"), archive.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(&archive).expect("write to tar"));
    let mut names = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut names).expect("names");
    writer.join().expect("the writer");
    assert!(child.wait().expect("tar").success());
    names
}

/// Row 27: a name that an import would take for a deletion is in the archive, and lrun says what that means.
#[test]
fn export_says_which_names_an_import_loses() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "busybox", "sh", "-c", "mkdir /opt/.wh.d; echo x > /opt/.wh.passwd"]);
    let exported = lrun.run(&["export", "box"]);
    assert_eq!(exported.code, 0);
    assert_eq!(
        exported.stderr,
        "WARNING: 2 names begin with .wh.: an import takes them for deletions, and they are lost\n"
    );
    assert!(names_in(&exported.bytes).contains("opt/.wh.passwd\n"));
}

#[test]
fn export_of_a_running_container_and_to_places_that_do_not_take_it() {
    let lrun = Lrun::with_busybox();
    let churn =
        "cd /opt; while :; do for i in 1 2 3 4 5 6 7 8; do echo $i > f$i; done; rm -rf f* d; mkdir d; echo > d/x; done";
    lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", churn]);
    for _ in 0..10 {
        let exported = lrun.run(&["export", "runs"]);
        assert_eq!(exported.code, 0, "{}", exported.stderr);
        assert!(names_in(&exported.bytes).contains("bin/busybox\n"));
    }
    lrun.ok(&["rm", "-f", "runs"]);

    lrun.ok(&["create", "--name", "c1", "busybox", "true"]);
    let missing = lrun.fails(1, &["export", "-o", "no/such/folder.tar", "c1"]);
    assert!(missing.starts_with("lrun: open no/such/folder.tar"), "{missing}");
    assert!(lrun.fails(1, &["export", "-o", "/", "c1"]).starts_with("lrun: / is a directory"));
    lrun.ok(&["export", "-o", "/dev/null", "c1"]);
    let full = lrun.fails(1, &["export", "-o", "/dev/full", "c1"]);
    assert!(full.contains("no space left on device"), "{full}");
    let mut terminal = lrun.pty(&["export", "c1"]);
    terminal.expect("cowardly refusing to save to a terminal");
    assert_eq!(terminal.finish().1, 1);
}
