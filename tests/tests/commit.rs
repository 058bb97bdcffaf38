//! `commit`: what becomes of a container's changes, and of the container.

use lrun_tests::{Lrun, Output, eventually};

/// Everything about every file that a layer keeps, as one text. Directories' sizes and link counts mean nothing.
const LISTING: &str = "cd / && find . -xdev \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./etc/hosts \
     -o -path ./bin -o -path ./etc/hostname -o -path ./etc/resolv.conf \\) -prune -o -print | sort | while read -r f; do \
     stat -c '%n %F %a %u:%g %Y' \"$f\"; [ -L \"$f\" -o ! -f \"$f\" ] || sha256sum < \"$f\"; \
     [ ! -L \"$f\" ] || readlink \"$f\"; done";

fn sh(lrun: &Lrun, name: &str, image: &str, script: &str) -> Output {
    let output = lrun.run(&["run", "--network", "none", "--name", name, image, "sh", "-ec", script]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output
}

fn once(lrun: &Lrun, image: &str, script: &str) -> String {
    lrun.ok(&["run", "--rm", "--network", "none", image, "sh", "-ec", script])
}

#[track_caller]
fn same_lines(now: &str, before: &str) {
    let only = |a: &str, b: &str| a.lines().filter(|l| !b.lines().any(|o| o == *l)).collect::<Vec<_>>().join("\n");
    assert_eq!((only(now, before), only(before, now)), (String::new(), String::new()));
}

fn layers(lrun: &Lrun, image: &str) -> Vec<String> {
    let list = lrun.inspect(image, "{{range .RootFS.Layers}}{{println .}}{{end}}");
    list.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_kind_of_change_is_in_the_image_and_the_old_image_is_what_it_was() {
    let lrun = Lrun::with_busybox();
    let before = once(&lrun, "busybox", LISTING);
    let changes = "chmod 711 /; echo new > /opt/new; ln /opt/new /opt/hard; ln -s /nowhere /opt/soft; mkfifo /opt/fifo
        rm /var/lib/files/7; rm -rf /home/alice; mkdir /home/alice; touch /home/alice/mine
        echo changed >> /var/lib/files/8; chmod 4755 /var/lib/files/9; mkdir -m 0 /opt/closed
        dd if=/dev/zero of=/opt/sparse bs=1 count=1 seek=5000000 2>/dev/null; touch -d @12345 /opt/old
        mv /var/lib/files/10 /var/lib/files/renamed; rm /etc/group; mkdir /etc/group; touch /etc/group/x";
    sh(&lrun, "changes", "busybox", changes);
    lrun.ok(&["commit", "changes", "changed"]);
    let committed = once(&lrun, "changed", LISTING);
    // The container goes on with the same files.
    let more = sh(&lrun, "again", "changed", LISTING);
    same_lines(more.stdout.trim_end(), &committed);
    for line in ["./opt/fifo fifo", "./opt/soft symbolic link 777", "./ directory 711", "./home/alice/mine regular"] {
        let line = line.replace("./ ", ". ");
        assert!(committed.contains(&line), "{line} in {committed}");
    }
    assert!(!committed.contains("./var/lib/files/7 ") && committed.contains("./var/lib/files/renamed "));
    assert_eq!(once(&lrun, "changed", "stat -c %h /opt/new /opt/hard; du -k /opt/sparse | cut -f1"), "2\n2\n4");
    same_lines(&once(&lrun, "busybox", LISTING), &before);
}

#[test]
fn the_container_goes_on_and_the_next_commit_has_only_what_is_new() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "date +%s%N >> /opt/runs; wc -l < /opt/runs",
    ]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "1");
    let first = lrun.ok(&["commit", "-m", "one", "box", "first"]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "2");
    let second = lrun.ok(&["commit", "-m", "two", "-a", "Ada <ada@example.org>", "box", "second"]);
    assert_ne!(first, second);
    let (one, two) = (layers(&lrun, "first"), layers(&lrun, "second"));
    assert_eq!((one.len(), two.len()), (2, 3));
    assert_eq!(two[..2], one);
    assert_eq!(once(&lrun, "first", "wc -l < /opt/runs"), "1");
    assert_eq!(once(&lrun, "second", "wc -l < /opt/runs"), "2");
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "3");
    let history = lrun.ok(&["history", "--format", "{{.Comment}}", "second"]);
    assert_eq!(history.lines().take(2).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(lrun.inspect("second", "{{.Author}}"), "Ada <ada@example.org>");
}

#[test]
fn no_change_is_no_layer() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "unstarted", "busybox", "true"]);
    sh(&lrun, "idle", "busybox", "cat /etc/passwd >/dev/null; touch /opt/x; rm /opt/x; : > /etc/hosts");
    for name in ["unstarted", "idle"] {
        let image = format!("of-{name}");
        lrun.ok(&["commit", name, &image]);
        let expected = if name == "idle" { vec!["C /opt"] } else { vec![] };
        assert_eq!(lrun.ok(&["diff", name]).lines().collect::<Vec<_>>(), expected, "{name}");
        assert_eq!(layers(&lrun, &image).len(), 1 + expected.len(), "{name}");
        assert_eq!(lrun.ok(&["history", "-q", &image]).lines().count(), 2, "{name}");
        // However often: the layer is the same, and only the last commit tells of it.
        lrun.ok(&["commit", "-m", "once more", name, "again"]);
        assert_eq!(layers(&lrun, "again"), layers(&lrun, &image), "{name}");
        let comments = lrun.ok(&["history", "--format", "{{.Comment}}", "again"]);
        let comments: Vec<_> = comments.lines().collect();
        assert!(comments.len() == 2 && comments[0] == "once more", "{name}: {comments:?}");
    }
}

#[test]
fn the_same_changes_and_clock_give_the_same_image() {
    let mut lrun = Lrun::with_busybox();
    lrun.set_env("SOURCE_DATE_EPOCH", "1700000000");
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        // Other times, another order, another inode: nothing of it counts.
        let order = if name == "one" { "a b c" } else { "c a b" };
        let script = format!("for f in {order}; do echo $f > /opt/$f; done; rm -f /var/lib/files/1");
        lrun.ok(&["create", "--name", name, "--network", "none", "busybox", "sh", "-ec", "exec sh /script"]);
        lrun.ok(&["rm", name]);
        lrun.ok(&[
            "run",
            "--name",
            name,
            "--network",
            "none",
            "-e",
            &format!("S={script}"),
            "busybox",
            "sh",
            "-ec",
            "eval \"$S\"",
        ]);
        ids.push((
            lrun.ok(&["commit", "-c", "ENV S=", name]),
            layers(&lrun, lrun.ok(&["images", "-q"]).lines().next().unwrap()),
        ));
    }
    assert_eq!(ids[0], ids[1]);
    // The image's times are cut off; the containers keep theirs.
    let copied = lrun.folder().join("copied");
    lrun.ok(&["cp", "one:/opt/a", copied.to_str().expect("UTF-8")]);
    let modified = std::fs::metadata(copied).and_then(|meta| meta.modified()).expect("it is copied");
    assert!(modified > std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000));
    // Both go on as if each had the layer for itself.
    for name in ["one", "two"] {
        lrun.ok(&["start", "-a", name]);
        assert_eq!(lrun.ok(&["diff", name]).lines().filter(|line| line.starts_with("A ")).count(), 3);
    }
}

#[test]
fn attributes_of_the_root_survive_commits() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "stat -c '%a %Y' /; chmod 1711 /; touch -d @1234567 /",
    ]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "755 1700000000");
    lrun.ok(&["commit", "box", "box"]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "1711 1234567", "the container's next layer begins like this one");
    assert_eq!(once(&lrun, "box", "stat -c '%a %Y' /"), "1711 1234567");
}

#[test]
fn a_running_container_stands_still_and_goes_on() {
    let lrun = Lrun::with_busybox();
    // Two files that are equal except in between.
    let script = "while :; do i=$((i+1)); echo $i > /opt/a; echo $i > /opt/b; done";
    lrun.ok(&["run", "-d", "--name", "busy", "--network", "none", "busybox", "sh", "-c", script]);
    eventually("it writes", || lrun.run(&["exec", "busy", "cat", "/opt/b"]).code == 0);
    for (n, flag) in ["-p", "--pause=true", "--pause=false", "--no-pause"].into_iter().enumerate() {
        let image = format!("live{n}");
        lrun.ok(&["commit", flag, "busy", &image]);
        let seen = once(&lrun, &image, "cat /opt/a /opt/b");
        assert!(seen.lines().all(|line| line.bytes().all(|b| b.is_ascii_digit())), "{seen}");
    }
    let first = lrun.ok(&["exec", "busy", "cat", "/opt/a"]);
    eventually("it goes on", || lrun.ok(&["exec", "busy", "cat", "/opt/a"]) != first);
    assert_eq!(lrun.inspect("busy", "{{.State.Status}}"), "running");
    lrun.ok(&["rm", "-f", "busy"]);
}

/// Its command is over, but that is not recorded yet: what is committed is all that it wrote.
#[test]
fn a_container_that_ends_just_now_is_committed_as_an_ended_one() {
    use rustix::process::{Pid, Signal, kill_process};
    let lrun = Lrun::with_busybox();
    let wait = "while [ ! -e /go ]; do sleep 0.01; done; echo all > /opt/x";
    lrun.ok(&["run", "-d", "--name", "ends", "--network", "none", "busybox", "sh", "-c", wait]);
    let init = lrun.inspect("ends", "{{.State.Pid}}");
    let stat = || std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
    let before = stat();
    let mut fields = before.rsplit(") ").next().unwrap_or_default().split(' ');
    let monitor = fields.nth(1).and_then(|parent| Pid::from_raw(parent.parse().ok()?)).expect("its monitor");
    kill_process(monitor, Signal::STOP).expect("stop the monitor");
    lrun.ok(&["exec", "ends", "touch", "/go"]);
    eventually("it ends", || stat().contains(") Z "));
    let commit = lrun.spawn(&["commit", "ends", "ended"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    kill_process(monitor, Signal::CONT).expect("let the monitor go on");
    let output = commit.wait();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(once(&lrun, "ended", "cat /opt/x"), "all");
}

/// Several that make it stand still, and go on, do not come between each other.
#[test]
fn a_container_stands_still_for_each_of_several_commands() {
    let lrun = Lrun::with_busybox();
    // What is copied first is never behind what is copied last, nor ahead by more than one.
    let script = "mkdir /opt/m; for i in $(seq 300); do echo > /opt/m/$i; done
        while :; do i=$((i+1)); echo $i > /opt/a; echo $i > /opt/z; done";
    lrun.ok(&["run", "-d", "--name", "busy", "--network", "none", "busybox", "sh", "-c", script]);
    eventually("it writes", || lrun.run(&["exec", "busy", "cat", "/opt/z"]).code == 0);
    let commits = (0..4).map(|n| (n, lrun.spawn(&["commit", "busy", &format!("live{n}")]))).collect::<Vec<_>>();
    for (n, commit) in commits {
        let output = commit.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
        let seen = once(&lrun, &format!("live{n}"), "echo $(cat /opt/a) - $(cat /opt/z)");
        let numbers: Vec<u64> = seen.split(" - ").filter_map(|number| number.trim().parse().ok()).collect();
        // A file that was just being written is empty.
        assert!(matches!(*numbers, [a, z] if a == z || a == z + 1) || numbers.len() < 2, "{seen}");
    }
    let stopped = || lrun.ok(&["top", "busy", "-o", "pid,stat"]).lines().skip(1).all(|line| line.contains(" T"));
    let commit = lrun.spawn(&["commit", "busy", "live"]);
    lrun.ok(&["pause", "busy"]);
    assert_eq!(commit.wait().code, 0);
    assert!(stopped(), "it is paused, whatever the commit let go on");
    let (commit, unpause) = (lrun.spawn(&["commit", "busy", "live"]), lrun.spawn(&["unpause", "busy"]));
    assert_eq!((commit.wait().code, unpause.wait().code), (0, 0));
    eventually("it goes on", || !stopped());
    lrun.ok(&["rm", "-f", "busy"]);
}

#[test]
fn the_config_is_the_containers_with_the_changes() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "-e",
        "A=1",
        "-e",
        "B=two words",
        "-u",
        "alice",
        "-w",
        "/tmp",
        "-l",
        "x=y",
        "--stop-signal",
        "SIGINT",
        "--entrypoint",
        "/bin/echo",
        "busybox",
        "hello",
    ]);
    lrun.ok(&["commit", "box", "plain"]);
    let json = |image: &str, field: &str| lrun.inspect(image, &format!("{{{{json .Config.{field}}}}}"));
    assert_eq!(json("plain", "Env"), r#"["A=1","B=two words"]"#);
    assert_eq!(json("plain", "Entrypoint"), r#"["/bin/echo"]"#);
    assert_eq!(json("plain", "Cmd"), r#"["hello"]"#);
    assert_eq!(json("plain", "User"), r#""alice""#);
    assert_eq!(json("plain", "WorkingDir"), r#""/tmp""#);
    assert_eq!(json("plain", "Labels"), r#"{"x":"y"}"#);
    assert_eq!(json("plain", "StopSignal"), r#""SIGINT""#);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "plain"]), "hello");

    let changes = [
        "CMD [\"bye\"]",
        "ENV A=3 C=$B",
        "EXPOSE 80 443/udp",
        "USER root",
        "WORKDIR sub",
        "LABEL x=z q=\"a b\"",
        "VOLUME /data",
        "ONBUILD RUN true",
        "STOPSIGNAL SIGKILL",
    ];
    let args: Vec<&str> =
        ["commit"].into_iter().chain(changes.iter().flat_map(|c| ["-c", *c])).chain(["box", "changed"]).collect();
    lrun.ok(&args);
    assert_eq!(json("changed", "Env"), r#"["A=3","B=two words","C=two words"]"#);
    assert_eq!(json("changed", "Cmd"), r#"["bye"]"#);
    assert_eq!(json("changed", "ExposedPorts"), r#"{"443/udp":{},"80/tcp":{}}"#);
    assert_eq!(json("changed", "WorkingDir"), r#""/tmp/sub""#);
    assert_eq!(json("changed", "Labels"), r#"{"q":"a b","x":"z"}"#);
    assert_eq!(json("changed", "OnBuild"), r#"["RUN true"]"#);
    assert_eq!(lrun.inspect("changed", "{{.Parent}}"), lrun.inspect("busybox", "{{.Id}}"));
}

#[test]
fn what_cannot_be_committed_changes_nothing() {
    let lrun = Lrun::with_busybox();
    sh(&lrun, "box", "busybox", "touch /opt/x");
    sh(&lrun, "whiteout", "busybox", "touch /etc/.wh.passwd");
    let images = lrun.ok(&["images", "-aq"]);
    for (args, words) in [
        (&["commit", "nothing", "x"][..], "No such container: nothing"),
        (&["commit", "box", "UPPER"], "must be lowercase"),
        (&["commit", "-c", "FROM x", "box"], "FROM is not a valid change command"),
        (&["commit", "-c", "CMD", "-c", "USER", "box"], "USER requires at least one argument"),
        (&["commit", "whiteout", "x"], ".wh."),
    ] {
        let said = lrun.fails(1, args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
    assert_eq!(lrun.ok(&["images", "-aq"]), images);
    assert_eq!(lrun.ok(&["diff", "box"]), "C /opt\nA /opt/x");
    lrun.ok(&["commit", "box", "x"]);
}

#[test]
fn a_name_moves_and_the_old_image_stays_without_one() {
    let lrun = Lrun::with_busybox();
    sh(&lrun, "box", "busybox", "touch /opt/x");
    let old = lrun.inspect("busybox", "{{.Id}}");
    let new = lrun.ok(&["commit", "box", "busybox"]);
    assert_eq!(lrun.inspect("busybox", "{{.Id}}"), new);
    assert_eq!(lrun.inspect(&old, "{{json .RepoTags}}"), "[]");
    assert_eq!(once(&lrun, "busybox", "ls /opt"), "x");
}

#[test]
fn squash_makes_one_layer_of_all() {
    let lrun = Lrun::with_busybox();
    sh(
        &lrun,
        "one",
        "busybox",
        "rm -rf /var/lib/files; mkdir /var/lib/files; echo 1 > /var/lib/files/new; chmod 700 /",
    );
    lrun.ok(&["commit", "-m", "first", "one", "two-layers"]);
    sh(&lrun, "two", "two-layers", "rm /var/lib/files/new; ln -s x /opt/link; echo 2 > /opt/two");
    lrun.ok(&["commit", "two", "three-layers"]);
    lrun.ok(&["commit", "--squash", "-m", "all", "two", "one-layer"]);
    assert_eq!((layers(&lrun, "three-layers").len(), layers(&lrun, "one-layer").len()), (3, 1));
    same_lines(&once(&lrun, "one-layer", LISTING), &once(&lrun, "three-layers", LISTING));
    let comments = lrun.ok(&["history", "--format", "{{.Comment}} {{.Size}}", "one-layer"]);
    assert_eq!(comments.lines().filter(|line| !line.ends_with(" 0B")).count(), 1, "{comments}");
    assert!(comments.starts_with("all ") && comments.contains("\nfirst 0B\n"), "{comments}");
    // A running one, too.
    lrun.ok(&[
        "run",
        "-d",
        "--name",
        "live",
        "--network",
        "none",
        "two-layers",
        "sh",
        "-c",
        "touch /opt/x; sleep 1000",
    ]);
    eventually("it has written", || lrun.run(&["exec", "live", "ls", "/opt/x"]).code == 0);
    lrun.ok(&["commit", "--squash", "live", "live-layer"]);
    assert_eq!(layers(&lrun, "live-layer").len(), 1);
    assert_eq!(once(&lrun, "live-layer", "ls /opt /var/lib/files"), "/opt:\nx\n\n/var/lib/files:\nnew");
    lrun.ok(&["rm", "-f", "live"]);
}

#[test]
fn a_container_that_is_committed_often_keeps_few_layers() {
    let lrun = Lrun::with_busybox();
    let script = "n=$(ls /opt | wc -l); echo $n > /opt/$n; rm -rf /var/lib/files/$((n + 1)) /tmp/d; mkdir /tmp/d; touch /tmp/d/$n";
    lrun.ok(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-ec", script]);
    let mut most = 0;
    for round in 0..36 {
        lrun.ok(&["start", "-a", "box"]);
        lrun.ok(&["commit", "-m", &format!("round {round}"), "box", "often"]);
        most = most.max(layers(&lrun, "often").len());
    }
    assert_eq!(most, 1 + 32);
    assert_eq!(layers(&lrun, "often").len(), 1 + 1 + 3, "33 became one, and three came after");
    assert_eq!(
        once(&lrun, "often", "ls /opt | wc -l; ls /var/lib/files | wc -l; ls /tmp/d; cat /opt/35"),
        "36\n4\n35\n35"
    );
    let added = lrun.ok(&["diff", "box"]).lines().filter(|line| line.starts_with("A /opt/")).count();
    assert_eq!(added, 36);
    let history = lrun.ok(&["history", "--format", "{{.Comment}}", "often"]);
    assert!(history.starts_with("round 35\nround 34\n"), "{history}");
}

#[test]
fn a_store_can_be_moved() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "cat /etc/hostname >> /opt/x; wc -l < /opt/x",
    ]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "1");
    let (here, there) = (lrun.store(), lrun.folder().join("moved"));
    std::fs::rename(&here, &there).expect("move the store");
    let root = there.to_str().expect("UTF-8");
    assert_eq!(lrun.ok(&["--root", root, "start", "-a", "box"]), "2");
    lrun.ok(&["--root", root, "commit", "box", "moved"]);
    let run = ["--root", root, "run", "--rm", "--network", "none", "moved", "wc", "-l", "/opt/x"];
    assert_eq!(lrun.ok(&run), "2 /opt/x");
    std::fs::rename(&there, &here).expect("move the store back");
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "3");
}

/// Links and FIFOs have several names as files do, and are the same after the way through an archive.
#[test]
fn links_and_fifos_with_several_names_stay_one() {
    let lrun = Lrun::with_busybox();
    let script = "mkdir /opt/a && mkfifo /opt/a/p && ln -s x /opt/a/l && cp -al /opt/a /opt/b";
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    lrun.ok(&["commit", "box", "made"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    lrun.ok(&["commit", "--squash", "box", "squashed"]);
    let other = Lrun::new();
    let path = |name: &str| other.folder().join(name).to_str().expect("UTF-8").to_owned();
    lrun.ok(&["save", "-o", &path("saved"), "made"]);
    lrun.ok(&["export", "-o", &path("exported"), "box"]);
    other.ok(&["load", "-q", "-i", &path("saved")]);
    other.ok(&["import", &path("exported"), "imported"]);
    let look = "cd /opt; stat -c '%n %h %F' a/p b/p a/l b/l; [ a/p -ef b/p ] && readlink b/l";
    let seen = "a/p 2 fifo\nb/p 2 fifo\na/l 2 symbolic link\nb/l 2 symbolic link\nx";
    for (lrun, image) in [(&lrun, "made"), (&lrun, "squashed"), (&other, "made"), (&other, "imported")] {
        assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", look]), seen, "{image}");
        assert_eq!(lrun.ok(&["system", "check"]), "", "{image}");
    }
}
