//! What `run` makes of its command: environment, user, groups, directory, names, limits, privileges, init, exit code.

use lrun_tests::{Lrun, Mode, eventually, long, mode, skip};
use rustix::process::Signal;

/// `run --rm --network none FLAGS busybox COMMAND`, which must succeed.
#[track_caller]
fn busybox(lrun: &Lrun, flags: &[&str], command: &[&str]) -> String {
    lrun.ok(&words(flags, command))
}

fn words<'a>(flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--rm", "--network", "none"][..], flags, &["busybox"], command].concat()
}

#[test]
fn the_environment_is_built_from_nothing() {
    let mut lrun = Lrun::with_busybox();
    lrun.set_env("SECRET", "of the host");
    lrun.set_env("TAKEN", "over");
    let plain = busybox(&lrun, &["-h", "box"], &["env"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(plain.lines().collect::<Vec<_>>(), [path, "HOSTNAME=box", "container=lrun", "HOME=/root"]);
    let file = lrun.file("vars", "# comment\n\nA=file\n  QUOTED=\"as it is\"\nTAKEN\nMISSING\nB=file\n");
    let file = file.to_str().expect("UTF-8");
    let flags = ["-e", "A=flag", "--env-file", file, "-e", "B", "-e", "EMPTY=", "-e", "HOME=/tmp", "-e", "container"];
    let vars = busybox(&lrun, &[&flags[..], &["-h", "box"]].concat(), &["env"]);
    let expected = [path, "HOSTNAME=box", "A=flag", "QUOTED=\"as it is\"", "TAKEN=over", "EMPTY=", "HOME=/tmp"];
    assert_eq!(vars.lines().collect::<Vec<_>>(), expected);
    // As with docker: an empty home directory is none.
    assert_eq!(busybox(&lrun, &["-e", "HOME="], &["sh", "-c", "env | grep ^HOME="]), "HOME=/root");
    let mut terminal = lrun.pty(&words(&["-t"], &["sh", "-c", "echo \"[$TERM]\""]));
    terminal.expect("[xterm]");
    assert_eq!(terminal.finish().1, 0);
}

#[test]
fn users_and_groups_are_the_images() {
    let lrun = Lrun::with_busybox();
    let ids = ["sh", "-c", "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n | tr '\\n' ,) $HOME"];
    let single = mode() == Mode::Single;
    // With one id, the only group is the process's own.
    for (flags, expected, expected_single) in [
        (&[][..], "0 0 0, /root", "0 0 0, /root"),
        (&["-u", "alice"], "1000 1000 50,1000, /home/alice", "1000 1000 1000, /home/alice"),
        (&["-u", "1000"], "1000 1000 50,1000, /home/alice", "1000 1000 1000, /home/alice"),
        (&["-u", "1000:50"], "1000 50 50, /home/alice", "1000 50 50, /home/alice"),
        (&["-u", "alice:staff"], "1000 50 50, /home/alice", "1000 50 50, /home/alice"),
        (&["-u", "4242"], "4242 0 0, /", "4242 0 0, /"),
        (&["-u", "4242:4343"], "4242 4343 4343, /", "4242 4343 4343, /"),
        (&["-u", ":50"], "0 50 50, /root", "0 50 50, /root"),
        (&["-u", "1:"], "1 0 0, /", "1 0 0, /"),
    ] {
        let expected = if single { expected_single } else { expected };
        assert_eq!(busybox(&lrun, flags, &ids), expected, "{flags:?}");
    }
    // Nobody said who: root, with all its groups.
    lrun.ok(&[
        "run",
        "--name",
        "wheel",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo wheel:x:10:root >> /etc/group",
    ]);
    lrun.ok(&["commit", "wheel", "wheel"]);
    let groups = lrun.ok(&["run", "--rm", "--network", "none", "wheel", "id", "-G"]);
    assert_eq!(groups, if single { "0" } else { "0 10" });
    let more = ["-u", "alice", "--group-add", "tty", "--group-add", "77"];
    if single {
        let refused = lrun.fails(125, &words(&more, &["id"]));
        assert!(refused.starts_with("lrun: --group-add tty: there is only one id"), "{refused}");
    } else {
        assert_eq!(busybox(&lrun, &more, &ids), "1000 1000 5,50,77,1000, /home/alice");
        // Also of another user's command.
        lrun.ok(
            &[&["run", "-d", "--name", "more", "--network", "none"], &more[..], &["busybox", "sleep", "1000"]].concat()
        );
        for (user, groups) in [("alice", "1000 5 50 77"), ("0", "0 5 77")] {
            assert_eq!(lrun.ok(&["exec", "-u", user, "more", "id", "-G"]), groups);
        }
    }
    for (user, complaint) in [
        ("nobody", "lrun: unable to find user nobody: no matching entries in passwd file\n"),
        ("0:nobody", "lrun: unable to find group nobody: no matching entries in group file\n"),
    ] {
        assert_eq!(lrun.fails(125, &words(&["-u", user], &["id"])), complaint);
    }
}

#[test]
fn a_user_can_write_to_its_streams_by_name() {
    let lrun = Lrun::with_busybox();
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin";
    let output = lrun.run_with(b"in\n", &words(&["-i", "-u", "alice"], &["sh", "-c", script]));
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "out\nin\n", "err\n"));
    let terminal =
        lrun.pty(&words(&["-ti", "-u", "alice"], &["sh", "-c", "echo on $(tty) > /dev/tty; echo > /dev/stdout"]));
    assert_eq!(terminal.finish(), ("on /dev/pts/0\r\n\r\n".to_owned(), 0));
}

#[test]
fn an_unmapped_user_is_refused_where_ids_are_real() {
    let lrun = Lrun::with_busybox();
    let id = ["id", "-u"];
    match mode() {
        Mode::Subids => {
            let refused = lrun.fails(125, &words(&["-u", "100000"], &id));
            assert!(refused.starts_with("lrun: user 100000 is not among the ids"), "{refused}");
        }
        Mode::Single | Mode::Root => assert_eq!(busybox(&lrun, &["-u", "100000"], &id), "100000"),
    }
}

#[test]
fn the_working_directory_is_made_and_belongs_to_the_user() {
    let lrun = Lrun::with_busybox();
    assert_eq!(busybox(&lrun, &[], &["pwd"]), "/");
    assert_eq!(busybox(&lrun, &["-w", "/var/../tmp/"], &["pwd"]), "/tmp");
    let deep = lrun.run(&[
        "run",
        "--network",
        "none",
        "--name",
        "web",
        "-w",
        "/a/b",
        "-u",
        "alice",
        "busybox",
        "sh",
        "-c",
        "pwd; touch here; stat -c %U:%G:%a /a/b",
    ]);
    assert_eq!((deep.code, deep.stdout.as_str()), (0, "/a/b\nalice:alice:755\n"), "{}", deep.stderr);
    assert_eq!(lrun.ok(&["diff", "web"]), "A /a\nA /a/b\nA /a/b/here");
    assert_eq!(
        lrun.fails(125, &words(&["-w", "a/b"], &["pwd"])),
        "lrun: invalid argument \"a/b\" for \"-w, --workdir\" flag: the working directory 'a/b' is invalid, it needs to \
         be an absolute path\n"
    );
    let file = lrun.fails(125, &words(&["-w", "/etc/passwd"], &["pwd"]));
    assert_eq!(file, "lrun: chdir to the working directory /etc/passwd: not a directory\n");
}

#[test]
fn the_entrypoint_comes_before_the_command() {
    let lrun = Lrun::with_busybox();
    let archive = lrun_tests::images("busybox.tar");
    let archive = archive.to_str().expect("UTF-8");
    lrun.ok(&["import", "-c", "ENTRYPOINT [\"echo\", \"entry\"]", "-c", "CMD [\"cmd\"]", archive, "entry"]);
    let run = |flags: &[&str], command: &[&str]| {
        lrun.ok(&[&["run", "--rm", "--network", "none"][..], flags, &["entry"], command].concat())
    };
    assert_eq!(run(&[], &[]), "entry cmd");
    assert_eq!(run(&[], &["a", "b"]), "entry a b");
    assert_eq!(run(&["--entrypoint", "printf"], &["<%s>", "x"]), "<x>");
    assert_eq!(run(&["--entrypoint="], &["echo", "plain"]), "plain");
    // As podman has it: a list of the program and its arguments.
    assert_eq!(run(&["--entrypoint", r#"["printf", "<%s>"]"#], &["x"]), "<x>");
    let nothing = "lrun: no command specified\n  hint: the image names none, so add one after its name: entry sh\n";
    assert_eq!(lrun.fails(125, &["run", "--rm", "--network", "none", "--entrypoint=", "entry"]), nothing);
}

#[test]
fn the_container_has_a_name_on_its_network() {
    let lrun = Lrun::with_busybox();
    let show = "hostname; cat /etc/hostname; tail -n 1 /etc/hosts; cat /proc/sys/kernel/domainname";
    let named = busybox(&lrun, &["-h", "box", "--domainname", "example.org"], &["sh", "-c", show]);
    assert_eq!(named, "box\nbox\n127.0.1.1\tbox.example.org box\nexample.org");
    let full = busybox(&lrun, &["-h", "box.example.org"], &["sh", "-c", show]);
    assert_eq!(full, "box.example.org\nbox.example.org\n127.0.1.1\tbox.example.org box\n(none)");
    lrun.ok(&["create", "--name", "web", "busybox", "hostname"]);
    let id = lrun.inspect("web", "{{.Id}}");
    let start = lrun.ok(&["start", "-a", "web"]);
    assert_eq!(start, id[..12]);
}

#[test]
fn umask_and_limits() {
    let lrun = Lrun::with_busybox();
    assert_eq!(busybox(&lrun, &[], &["sh", "-c", "umask; ulimit -c"]).lines().next(), Some("0022"));
    let mut own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    own.current = own.maximum.map(|most| most.min(1_048_576));
    if mode() != Mode::Root {
        let most = own.current.expect("a limit").to_string();
        assert_eq!(busybox(&lrun, &[], &["sh", "-c", "ulimit -n; ulimit -Hn"]), format!("{most}\n{most}"));
    }
    let asked =
        ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nofile=101:200", "--ulimit", "cpu=60"];
    let script = "ulimit -n; ulimit -Hn; ulimit -c; ulimit -t";
    assert_eq!(busybox(&lrun, &asked, &["sh", "-c", script]), "101\n200\n0\n60");
    // A process that joins has them, too, and keeps what its session has where that is less.
    lrun.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "web",
        "--ulimit",
        "nofile=100:200",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(lrun.ok(&["exec", "web", "sh", "-c", "ulimit -n; ulimit -Hn"]), "100\n200");
    let low =
        lrun.spawn_in(&["prlimit", "--nofile=90:90"], &["exec", "web", "sh", "-c", "ulimit -n; ulimit -Hn"]).wait();
    assert_eq!((low.code, low.stdout.as_str()), (0, "90\n90\n"), "{}", low.stderr);
}

#[test]
fn limits_beyond_the_sessions_are_refused() {
    if mode() == Mode::Root {
        skip!("root may raise limits");
    }
    let lrun = Lrun::with_busybox();
    let command = words(&["--ulimit", "nofile=51:51"], &["true"]);
    let refused = lrun.spawn_in(&["prlimit", "--nofile=50:50"], &command).wait();
    assert_eq!(refused.code, 125);
    let (line, hint) = refused.stderr.split_once('\n').expect("a line");
    assert_eq!(line, "lrun: ulimit nofile: the hard limit (51) is above the one of this session (50)");
    assert!(hint.starts_with("  hint: give at most nofile=50"), "{hint}");
}

#[test]
fn the_score_for_running_out_of_memory_can_only_grow() {
    let lrun = Lrun::with_busybox();
    assert_eq!(busybox(&lrun, &["--oom-score-adj", "500"], &["cat", "/proc/self/oom_score_adj"]), "500");
    lrun.ok(&["run", "-d", "--network", "none", "--name", "web", "--oom-score-adj", "400", "busybox", "sleep", "1000"]);
    assert_eq!(lrun.ok(&["exec", "web", "cat", "/proc/self/oom_score_adj"]), "400");
    assert_eq!(lrun.inspect("web", "{{.HostConfig.OomScoreAdj}}"), "400");
    let refused = lrun.fails(125, &words(&["--oom-score-adj", "-1000"], &["true"]));
    assert!(refused.starts_with("lrun: --oom-score-adj -1000 is below the 0 of this session\n  hint: "), "{refused}");
}

/// The five sets as in `/proc/self/status`.
fn capabilities(lrun: &Lrun, flags: &[&str]) -> String {
    let status = busybox(lrun, flags, &["grep", "^Cap", "/proc/self/status"]);
    status
        .lines()
        .map(|line| line.split_once(":\t").expect("a set").1.trim_start_matches('0'))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn capabilities_are_podmans_unless_changed() {
    let lrun = Lrun::with_busybox();
    // Inheritable, permitted, effective, bounding, ambient; an empty set is empty text.
    for (flags, expected) in [
        (&[][..], " 800405fb 800405fb 800405fb "),
        (&["--cap-drop", "ALL"], "    "),
        (&["--cap-drop", "all", "--cap-add", "net_raw"], " 2000 2000 2000 "),
        (&["--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "chown"], " 802405fa 802405fa 802405fa "),
        (&["-u", "alice"], "   800405fb "),
        (&["-u", "alice", "--cap-add", "NET_RAW"], "2000 2000 2000 800425fb 2000"),
        (&["-u", "alice", "--security-opt", "no-new-privileges"], "   800405fb "),
    ] {
        assert_eq!(capabilities(&lrun, flags), expected, "{flags:?}");
    }
    let unknown = lrun.fails(125, &words(&["--cap-add", "FLY"], &["true"]));
    assert!(unknown.contains("invalid CapAdd: unknown capability: \"CAP_FLY\""), "{unknown}");
}

#[test]
fn the_filter_and_no_new_privileges_are_chosen_by_security_options() {
    let lrun = Lrun::with_busybox();
    let status = |flags: &[&str]| {
        let lines = busybox(&lrun, flags, &["grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"]);
        lines.lines().map(|line| line.split_once('\t').expect("a value").1.to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(status(&[]), "0 2");
    assert_eq!(status(&["--security-opt", "no-new-privileges"]), "1 2");
    assert_eq!(status(&["--security-opt", "no-new-privileges=false"]), "0 2");
    // With one id, root is emulated by a filter.
    let unconfined = if mode() == Mode::Single { "0 2" } else { "0 0" };
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"]), unconfined);
    assert_eq!(status(&["--security-opt", "label=disable", "--security-opt", "apparmor=unconfined"]), "0 2");

    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    let profile = format!("seccomp={}", lrun.file("profile.json", profile).display());
    let full = lrun.run(&words(&["--security-opt", &profile], &["mkdir", "/x"]));
    assert_eq!(full.stderr, "mkdir: can't create directory '/x': No space left on device\n");
    let broken = format!("seccomp={}", lrun.file("broken.json", r#"{"defaultAction":"SCMP_ACT_DANCE"}"#).display());
    let refused = lrun.fails(125, &["run", "--security-opt", &broken, "busybox", "true"]);
    assert_eq!(refused, "lrun: unknown action \"SCMP_ACT_DANCE\" in a seccomp profile\n");
    assert_eq!(lrun.ok(&["ps", "-aq"]), "", "nothing was made");
}

#[test]
fn init_reaps_and_passes_signals_on() {
    let lrun = Lrun::with_busybox();
    let script = "cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline; echo; echo $$; exit 3";
    let output = lrun.run(&words(&["--init"], &["sh", "-c", script]));
    assert_eq!((output.code, output.stdout.as_str()), (3, "lrun-init\nlrun-init\n2\n"), "{}", output.stderr);
    assert_eq!(lrun.run(&words(&["--init", "-u", "alice"], &["sh", "-c", "kill -9 $$"])).code, 137);
    assert_eq!(lrun.fails(127, &words(&["--init"], &["missing"])).lines().count(), 1);
    // An orphan that ends does not stay a zombie; a real-time signal arrives.
    let script = "(sleep 0.01 &); trap 'echo got it; exit 7' 37; echo ready; while :; do sleep 0.02; done";
    lrun.ok(&[
        "run",
        "-d",
        "--init",
        "--network",
        "none",
        "--name",
        "web",
        "--stop-signal",
        "RTMIN+3",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    eventually("the trap is set", || lrun.run(&["logs", "web"]).stdout == "ready\n");
    eventually("no zombie is left", || !lrun.ok(&["exec", "web", "ps", "-o", "stat"]).contains('Z'));
    lrun.ok(&["stop", "web"]);
    assert_eq!(lrun.inspect("web", "{{.State.ExitCode}} {{.Config.StopSignal}}"), "7 RTMIN+3", "as it was typed");
    assert_eq!(lrun.ok(&["logs", "web"]), "ready\ngot it");
}

#[test]
fn exit_codes_are_dockers() {
    let lrun = Lrun::with_busybox();
    let script = lrun.file("script", "no interpreter\n");
    let exec = |mode: u32| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&script, exec(0o755)).expect("chmod");
    let bind = format!("{}:/script", script.display());
    for (command, code, complaint) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 42"], 42, ""),
        (&["missing"], 127, "lrun: exec: \"missing\": executable file not found in $PATH\n"),
        (&["/missing"], 127, "lrun: exec: \"/missing\": no such file or directory\n"),
        (&["/etc"], 126, "lrun: exec: \"/etc\": is a directory\n"),
        (&["/etc/passwd"], 126, "lrun: exec: \"/etc/passwd\": permission denied\n"),
        (&["/script"], 126, "lrun: exec: \"/script\": exec format error\n"),
        (&["/etc/passwd/x"], 127, "lrun: exec: \"/etc/passwd/x\": not a directory\n"),
    ] {
        let output = lrun.run(&words(&["-v", &bind], command));
        assert_eq!((output.code, output.stderr.as_str()), (code, complaint), "{command:?}");
    }
    // What could not be started is kept, as created.
    lrun.fails(127, &["run", "--network", "none", "--name", "web", "busybox", "missing"]);
    assert_eq!(lrun.inspect("web", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
}

#[test]
fn stop_sends_the_signal_that_was_asked_for_and_then_kills() {
    let lrun = Lrun::with_busybox();
    let stubborn = "trap 'echo usr1' USR1; trap 'echo term' TERM; echo ready; while :; do sleep 0.02; done";
    let start = |name: &str, flags: &[&str]| {
        let common = ["run", "-d", "--network", "none", "--name", name];
        lrun.ok(&[&common[..], flags, &["busybox", "sh", "-c", stubborn]].concat());
        eventually("the trap is set", || lrun.run(&["logs", name]).stdout == "ready\n");
    };
    start("one", &["--stop-signal", "SIGUSR1", "--stop-timeout", "1"]);
    lrun.ok(&["stop", "one"]);
    assert_eq!(lrun.ok(&["logs", "one"]), "ready\nusr1");
    assert_eq!(lrun.inspect("one", "{{.State.ExitCode}} {{.Config.StopTimeout}}"), "137 1");
    start("two", &[]);
    lrun.ok(&["stop", "-t", "1", "two"]);
    assert_eq!(lrun.ok(&["logs", "two"]), "ready\nterm");
    start("web", &["--stop-signal", "9"]);
    lrun.ok(&["stop", "web"]);
    assert_eq!(lrun.ok(&["logs", "web"]), "ready");
    let unknown = lrun.fails(125, &words(&["--stop-signal", "SIGNOPE"], &["true"]));
    assert!(unknown.contains("invalid signal: SIGNOPE"), "{unknown}");
}

#[test]
fn streams_are_attached_as_asked() {
    let lrun = Lrun::with_busybox();
    let script = ["sh", "-c", "cat; echo err >&2"];
    let run = |flags: &[&str]| {
        let output = lrun.run_with(b"in\n", &words(flags, &script));
        assert_eq!(output.code, 0, "{flags:?}: {}", output.stderr);
        (output.stdout, output.stderr)
    };
    let pair = |out: &str, err: &str| (out.to_owned(), err.to_owned());
    assert_eq!(run(&[]), pair("", "err\n"), "without -i nothing is read");
    assert_eq!(run(&["-i"]), pair("in\n", "err\n"));
    assert_eq!(run(&["-i", "-a", "stdout"]), pair("in\n", ""));
    assert_eq!(run(&["-i", "-a", "STDERR"]), pair("", "err\n"));
    let (id, err) = run(&["-i", "-a", "stdin"]);
    assert!(id.len() == 65 && err.is_empty(), "only the id is printed: {id}{err}");
    let refused = lrun.fails(1, &words(&["-ti"], &["true"]));
    assert!(refused.starts_with("lrun: the input device is not a TTY\n"), "{refused}");
}

#[test]
fn signals_reach_the_command_unless_they_shall_not() {
    let lrun = Lrun::with_busybox();
    let script = "trap 'echo got int; exit 5' INT; echo ready; while :; do sleep 0.02; done";
    for (flags, code) in [(&["--name", "one"][..], 5), (&["--name", "two", "--sig-proxy=false"], 130)] {
        let client = lrun.spawn(&[&["run", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat());
        eventually("the trap is set", || lrun.run(&["logs", flags[1]]).stdout == "ready\n");
        client.signal(Signal::INT);
        assert_eq!(client.wait().code, code, "{flags:?}");
    }
    assert_eq!(lrun.inspect("two", "{{.State.Status}}"), "running", "the client has left it alone");
    // Those of a terminal, where there is none, and those without a name.
    let script = "trap 'echo got winch' WINCH; trap 'echo got cont' CONT; trap 'exit 6' 37
        echo ready; while :; do sleep 0.02; done";
    let client = lrun.spawn(&["run", "--network", "none", "--name", "three", "busybox", "sh", "-c", script]);
    let said = |wanted: &str| eventually("it tells", || lrun.run(&["logs", "three"]).stdout.ends_with(wanted));
    said("ready\n");
    client.signal(Signal::WINCH);
    said("got winch\n");
    client.signal(Signal::CONT);
    said("got cont\n");
    let kill = std::process::Command::new("kill").args(["-37", &client.child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    assert_eq!(client.wait().code, 6);
}

#[test]
fn the_keys_that_detach_can_be_chosen() {
    let lrun = Lrun::with_busybox();
    let mut terminal =
        lrun.pty(&["run", "-ti", "--network", "none", "--name", "web", "--detach-keys", "ctrl-x,x", "busybox", "cat"]);
    terminal.send("a\x10\x11b\r");
    terminal.expect("b\r\n");
    terminal.send("\x18x");
    assert_eq!(terminal.finish().1, 0);
    assert_eq!(lrun.inspect("web", "{{.State.Status}}"), "running");
}

/// What a package's scripts do as root works with one id as well, where it is answered and not done.
#[test]
fn roots_work_on_owners_succeeds() {
    let lrun = Lrun::new();
    lrun.run(&["import", lrun_tests::images("stage0.tar").to_str().expect("UTF-8"), "stage0"]);
    let script = "set -e; cd /tmp; touch f; chown www-data:mail f; chgrp games f
        install -o daemon -g sys -m 2755 /dev/null tool; stat -c %a tool
        mkfifo fifo; test -p fifo; mknod pipe p; test -p pipe
        useradd -m -G mail bob; test \"$(getent passwd bob | cut -d: -f6)\" = /home/bob
        su bob -c id >/dev/null; setpriv --reuid bob --regid mail --init-groups true
        tar -C / -cf t.tar --owner=1 --group=2 etc/passwd; tar --same-owner -xpf t.tar; chown -h 3:4 f
        stat -c %u:%g f etc/passwd";
    let output = lrun.run(&["run", "--rm", "--network", "none", "stage0", "sh", "-c", script]);
    let owners = if mode() == Mode::Single { "0:0\n0:0\n" } else { "3:4\n1:2\n" };
    assert_eq!((output.code, output.stdout), (0, format!("2755\n{owners}")), "{}", output.stderr);
    let devices = [
        "run",
        "--rm",
        "--network",
        "none",
        "stage0",
        "sh",
        "-c",
        "mknod /dev/x c 1 3; echo $?; test -e /dev/x; echo $?",
    ];
    let made = lrun.run(&devices).stdout;
    let expected = if mode() == Mode::Single { "0\n1\n" } else { "1\n1\n" };
    assert_eq!(made, expected, "a device is answered with one id, and refused where ids are real");
}

/// Packages that create users and set owners, from the distribution's archive.
#[test]
fn packages_that_create_users_are_installed() {
    if mode() != Mode::Single && !long() {
        skip!("only with --long where ids are real");
    }
    let lrun = Lrun::new();
    lrun.run(&["import", lrun_tests::images("stage0.tar").to_str().expect("UTF-8"), "stage0"]);
    let script = "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get update -q
        apt-get install -q -y --no-install-recommends openssh-client man-db postgresql-common
        getent passwd postgres man; getent group _ssh; su postgres -c id";
    let deadline = std::time::Duration::from_secs(600);
    let output = lrun.run_for(deadline, &["run", "--name", "web", "stage0", "sh", "-c", script]);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("\npostgres:x:"), "{}", output.stdout);
    assert!(
        !lrun.ok(&["diff", "web"]).contains("99lrun"),
        "the engine's setting for apt is no change of the container's"
    );
}

#[test]
fn a_low_soft_limit_of_open_files_does_not_hinder() {
    let lrun = Lrun::with_busybox();
    let wrapper = ["sh", "-c", "ulimit -Sn 20; exec \"$@\"", "sh"];
    let plain = busybox(&lrun, &[], &["sh", "-c", "ulimit -Sn"]);
    let output = lrun.run_in(&wrapper, &words(&[], &["sh", "-c", "ulimit -Sn"]));
    assert_eq!((output.code, output.stdout.trim_end()), (0, plain.as_str()), "{}", output.stderr);
}

#[test]
fn a_current_directory_that_was_deleted_is_missed_only_where_it_is_needed() {
    let lrun = Lrun::with_busybox();
    let gone = lrun.folder().join("gone");
    let script = format!("mkdir {0} && cd {0} && rmdir {0} && exec \"$@\"", gone.display());
    let wrapper = ["sh", "-c", &script, "sh"];
    let output = lrun.run_in(&wrapper, &["run", "--rm", "busybox", "pwd"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "/\n"), "{}", output.stderr);
    for (flag, value) in [("--env-file", "vars"), ("-v", ".:/mnt")] {
        let refused = lrun.run_in(&wrapper, &["run", "--rm", flag, value, "busybox", "true"]);
        assert_eq!(refused.code, 125, "{flag}: {}", refused.stderr);
    }
}
