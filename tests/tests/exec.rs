//! `exec`: more processes in a running container, confined as its first one is.

use std::fs;
use std::io::Write;

use lrun_tests::{Lrun, Mode, eventually, mode};

/// A container that runs until it is stopped.
fn running(flags: &[&str]) -> Lrun {
    let lrun = Lrun::with_busybox();
    let args =
        [&["run", "-d", "--stop-timeout", "0", "--name", "box"][..], flags, &["busybox", "sleep", "1000"]].concat();
    lrun.ok(&args);
    lrun
}

fn exec(lrun: &Lrun, flags: &[&str], command: &[&str]) -> String {
    lrun.ok(&[&["exec"][..], flags, &["box"], command].concat())
}

#[test]
fn the_commands_exit_code_is_the_clients() {
    let lrun = running(&[]);
    for (code, command) in [
        (0, &["true"][..]),
        (7, &["sh", "-c", "exit 7"]),
        (125, &["sh", "-c", "exit 125"]),
        (127, &["nonsense"]),
        (127, &["/no/such/command"]),
        (126, &["/etc/passwd"]),
        (137, &["sh", "-c", "kill -KILL $$"]),
        (143, &["sh", "-c", "kill -TERM $$"]),
    ] {
        let output = lrun.run(&[&["exec", "box"], command].concat());
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{command:?}: {}", output.stderr);
        assert_eq!(output.stderr.is_empty(), code != 126 && code != 127, "{command:?}: {}", output.stderr);
    }
    assert_eq!(lrun.run(&["exec", "-d", "box", "nonsense"]).code, 127);
    for (code, flags) in [(126, ["-u", "nobody-at-all"]), (126, ["-w", "/etc/passwd"]), (127, ["-w", "/no/such/place"])]
    {
        let output = lrun.run(&[&["exec"][..], &flags, &["box", "true"]].concat());
        assert!(output.code == code && !output.stderr.is_empty(), "{flags:?}: {} {}", output.code, output.stderr);
    }
    assert!(lrun.fails(1, &["exec", "nobody", "true"]).starts_with("lrun: No such container: nobody\n"));
    let id = lrun.inspect("box", "{{.Id}}");
    lrun.ok(&["stop", "box"]);
    assert_eq!(lrun.fails(1, &["exec", "box", "true"]), format!("lrun: container {id} is not running\n"));
}

#[test]
fn streams_go_both_ways() {
    let lrun = running(&[]);
    let output = lrun.run(&["exec", "box", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(lrun.run_with(b"typed", &["exec", "-i", "box", "cat"]).stdout, "typed");
    assert_eq!(lrun.run_with(b"typed", &["exec", "box", "cat"]).stdout, "", "without -i there is no input");
    let input = b"0123456789abcdef".repeat(1 << 20);
    let output = lrun.run_with(&input, &["exec", "-i", "box", "cat"]);
    assert!(output.code == 0 && output.bytes == input, "{} bytes: {}", output.bytes.len(), output.stderr);
    assert_eq!(lrun.ok(&["logs", "box"]), "", "the log is the first program's");
    // A terminal whose output goes into a pipe ends with the command, and with its exit code.
    for (code, command) in [(0, "echo -n hi"), (0, "true"), (7, "echo hi; exit 7")] {
        let output = lrun.run(&["exec", "-t", "box", "sh", "-c", command]);
        assert_eq!((output.code, output.stderr.as_str()), (code, ""), "{command}");
    }
    // A program that is left behind holds nobody up.
    assert_eq!(lrun.ok(&["exec", "box", "sh", "-c", "sleep 500 & echo done"]), "done");
}

#[test]
fn a_detached_command_goes_on_by_itself() {
    let lrun = running(&[]);
    let script = "echo begun > /opt/a; while [ ! -e /opt/go ]; do sleep 0.02; done; echo ended > /opt/a";
    assert_eq!(lrun.ok(&["exec", "-d", "box", "sh", "-c", script]), "");
    eventually("it has begun", || lrun.run(&["exec", "box", "cat", "/opt/a"]).stdout == "begun\n");
    lrun.ok(&["exec", "box", "touch", "/opt/go"]);
    eventually("it ends", || lrun.run(&["exec", "box", "cat", "/opt/a"]).stdout == "ended\n");
    // With a terminal that nobody looks at, and that is more than full.
    let script = "seq 20000; tty > /opt/tty; echo full > /opt/a";
    lrun.ok(&["exec", "-d", "-t", "box", "sh", "-c", script]);
    eventually("it is not held up", || lrun.run(&["exec", "box", "cat", "/opt/a"]).stdout == "full\n");
    assert!(exec(&lrun, &[], &["cat", "/opt/tty"]).starts_with("/dev/pts/"));
}

#[test]
fn environment_and_directory_are_the_containers_with_the_commands_on_top() {
    let lrun = running(&["-e", "A=container", "-e", "B=container", "-w", "/opt", "-h", "named"]);
    let file = lrun.file("env", "# comment\nB=file\nC=file\n");
    let file = file.to_str().expect("UTF-8");
    let vars = exec(&lrun, &["-e", "C=flag", "--env-file", file, "-e", "D=x y"], &["env"]);
    let has = |line: &str| vars.lines().any(|found| found == line);
    for line in ["A=container", "B=file", "C=flag", "D=x y", "HOSTNAME=named", "HOME=/root"] {
        assert!(has(line), "{line}: {vars}");
    }
    assert!(!vars.contains("LRUN") && !vars.contains(lrun.folder().to_str().expect("UTF-8")), "{vars}");
    assert_eq!(exec(&lrun, &[], &["pwd"]), "/opt");
    assert_eq!(exec(&lrun, &["-w", "/var/lib"], &["pwd"]), "/var/lib");
    let missing = lrun.run(&["exec", "-w", "/no/such", "box", "pwd"]);
    assert!(missing.code == 127 && missing.stderr.contains("/no/such"), "{} {}", missing.code, missing.stderr);
    assert!(lrun.run(&["exec", "box", "ls", "/no"]).code != 0, "no directory is made");
}

#[test]
fn users_come_with_their_groups() {
    let lrun = running(&[]);
    let id = exec(&lrun, &["-u", "alice"], &["sh", "-c", "id -u; id -g; id -G; echo $HOME"]);
    let lines: Vec<&str> = id.lines().collect();
    assert_eq!((lines[0], lines[1], lines[3]), ("1000", "1000", "/home/alice"));
    let mut groups: Vec<&str> = lines[2].split(' ').collect();
    groups.sort_unstable();
    // With one id to give there are no other groups to be in.
    let expected: &[&str] = if mode() == Mode::Single { &["1000"] } else { &["1000", "50"] };
    assert_eq!(groups, expected);
    assert_eq!(exec(&lrun, &["-u", "1000:1000"], &["id", "-u"]), "1000");
    assert_eq!(exec(&lrun, &[], &["id", "-u"]), "0");
    let unknown = lrun.run(&["exec", "-u", "nobody-there", "box", "true"]);
    assert!(unknown.code != 0 && unknown.stderr.contains("nobody-there"), "{}", unknown.stderr);
}

/// What the kernel says of a process that matters for what it may do.
fn confinement(status: &str) -> Vec<&str> {
    let fields = ["Uid:", "Gid:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp"];
    status.lines().filter(|line| fields.iter().any(|field| line.starts_with(field))).collect()
}

#[test]
fn a_command_may_do_what_the_container_may_and_no_more() {
    for flags in [
        &[][..],
        &["--cap-drop", "ALL"],
        &["--cap-add", "NET_RAW", "--cap-drop", "CHOWN"],
        &["--security-opt", "no-new-privileges"],
        &["--security-opt", "seccomp=unconfined"],
    ] {
        let lrun = running(flags);
        for user in ["0", "alice"] {
            let args = [&["run", "--rm", "-u", user][..], flags, &["busybox", "cat", "/proc/self/status"]].concat();
            let (first, added) = (lrun.ok(&args), exec(&lrun, &["-u", user], &["cat", "/proc/self/status"]));
            assert_eq!(confinement(&first), confinement(&added), "{flags:?} {user}");
            assert!(confinement(&first).len() >= 9, "{first}");
        }
        let namespaces = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done";
        let first = exec(&lrun, &[], &["sh", "-c", &namespaces.replace("self", "1")]);
        assert_eq!(exec(&lrun, &[], &["sh", "-c", namespaces]), first);
        let limits = |of: &str| exec(&lrun, &[], &["cat", &format!("/proc/{of}/limits")]);
        assert_eq!(limits("self"), limits("1"));
        assert_eq!(exec(&lrun, &[], &["sh", "-c", "ls /proc/self/fd | wc -l"]), "4", "0, 1, 2, and ls's own");
    }
}

#[test]
fn twenty_at_once() {
    let lrun = running(&[]);
    let all: Vec<_> = (0..20)
        .map(|n| lrun.spawn(&["exec", "box", "sh", "-c", &format!("echo {n}; sleep 0.2; echo {n} >&2; exit {n}")]))
        .collect();
    for (n, running) in all.into_iter().enumerate() {
        let output = running.wait();
        let (code, text) = (i32::try_from(n).expect("small"), format!("{n}\n"));
        assert_eq!((output.code, &output.stdout, &output.stderr), (code, &text, &text));
    }
    eventually("none is left", || exec(&lrun, &[], &["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]) == "4");
}

#[test]
fn a_terminal_has_its_size_from_the_beginning_and_follows() {
    let lrun = running(&[]);
    let (shown, code) = lrun.pty(&["exec", "-ti", "box", "stty", "size"]).finish();
    assert_eq!((shown.as_str(), code), ("24 80\r\n", 0));
    let mut terminal = lrun.pty(&["exec", "-ti", "-e", "A=given", "box", "sh"]);
    terminal.expect("# ");
    terminal.line("echo A=$A TERM=$TERM; tty");
    terminal.expect("A=given TERM=xterm");
    terminal.expect("/dev/pts/");
    terminal.resize(50, 132);
    terminal.line("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.02; done; echo now $(stty size)");
    terminal.expect("\nnow 50 132");
    terminal.line("sleep 1000");
    eventually("it sleeps", || {
        lrun.ok(&["top", "box", "-eo", "args"]).lines().filter(|l| *l == "sleep 1000").count() == 2
    });
    terminal.send("\x03");
    terminal.line("echo code $?");
    terminal.expect("code 130");
    terminal.line("exit 5");
    assert_eq!(terminal.finish().1, 5);
    assert!(lrun.fails(1, &["exec", "-ti", "box", "true"]).contains("the input device is not a TTY"));
}

#[test]
fn detach_keys_leave_the_command_running() {
    let lrun = running(&[]);
    let mut terminal = lrun.pty(&["exec", "-ti", "--detach-keys", "ctrl-a,d", "box", "sh"]);
    terminal.expect("# ");
    terminal.line("while [ ! -e /opt/go ]; do sleep 0.02; echo waiting; done; echo done > /opt/done");
    terminal.expect("waiting");
    terminal.send("\x01d");
    assert_eq!(terminal.finish().1, 0);
    lrun.ok(&["exec", "box", "touch", "/opt/go"]);
    eventually("it went on", || lrun.run(&["exec", "box", "cat", "/opt/done"]).stdout == "done\n");
}

#[test]
fn a_command_ends_with_its_container() {
    let lrun = running(&[]);
    let mut command = lrun.spawn(&["exec", "-i", "box", "sh", "-c", "echo begun > /opt/a; cat; sleep 1000"]);
    let mut stdin = command.stdin();
    stdin.write_all(b"x").expect("write");
    eventually("it has begun", || lrun.run(&["exec", "box", "cat", "/opt/a"]).stdout == "begun\n");
    // A client that is stopped must not keep the container from ending.
    command.signal(rustix::process::Signal::STOP);
    lrun.ok(&["stop", "box"]);
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "exited");
    lrun.ok(&["start", "box"]);
    lrun.ok(&["exec", "box", "true"]);
    command.signal(rustix::process::Signal::CONT);
    assert_eq!(command.wait().code, 137);
    let mount = lrun.ok(&["exec", "box", "cat", "/proc/mounts"]);
    assert!(mount.starts_with("overlay / "), "{mount}");
}

/// Commands that come just when the container ends.
#[test]
fn an_end_in_between_is_told_as_one() {
    let lrun = Lrun::with_busybox();
    for round in 0..5 {
        let name = format!("box{round}");
        lrun.ok(&["run", "-d", "--name", &name, "busybox", "sleep", "1000"]);
        let all: Vec<_> = (0..6).map(|_| lrun.spawn(&["exec", &name, "true"])).collect();
        lrun.ok(&["kill", &name]);
        for running in all {
            let output = running.wait();
            let told = output.stderr.contains("not running") || output.stderr.contains("the container ended");
            assert!(output.code == 0 || output.code == 137 || told, "{} {:?}", output.code, output.stderr);
        }
        lrun.ok(&["rm", "-f", &name]);
    }
}

#[test]
fn a_killed_client_leaves_no_process_on_the_host_that_waits_for_ever() {
    let lrun = running(&[]);
    let client = lrun.spawn(&["exec", "box", "sleep", "1234"]);
    let sleeping = || lrun.ok(&["top", "box", "-eo", "args"]).lines().any(|line| line == "sleep 1234");
    eventually("it runs", sleeping);
    client.signal(rustix::process::Signal::KILL);
    client.wait();
    assert!(sleeping(), "the command goes on");
    lrun.ok(&["stop", "box"]);
    eventually("all are gone", || lrun.processes().is_empty());
    assert!(fs::read_dir(lrun.store()).is_ok());
}
