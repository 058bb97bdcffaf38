//! Rows 10 to 13: what the caller has and a container must not get: environment, terminal, keys, sockets.

use std::fs;

use lrun_tests::build::{build, context};
use lrun_tests::skip;
use serde_json::json;

use crate::host::Host;
use crate::made::{Made, archive};

const SECRET: &str = "hunter2-of-the-host";

/// lrun with secrets in its environment.
fn with_secrets(host: &mut Host) {
    for name in
        ["AWS_SECRET_ACCESS_KEY", "http_proxy", "HTTPS_PROXY", "LD_LIBRARY_PATH", "BASH_ENV", "SECRET", "XDG_SECRET"]
    {
        host.lrun.set_env(name, SECRET);
    }
}

/// Row 10, environment: nothing of the caller's comes in, neither into the first process nor into another one, nor does
/// it reach lrun's own processes; what an image says in its environment is its own business.
#[test]
fn nothing_of_the_callers_environment_comes_in() {
    let mut host = Host::new();
    with_secrets(&mut host);
    let archive = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let changes =
        ["-c", "ENV A=$SECRET B=${AWS_SECRET_ACCESS_KEY} LD_PRELOAD=/evil.so LRUN_ROOT=/evil PATH=/bin:$SECRET"];
    assert_eq!(host.lrun.run_with(&archive, &[&["import"], &changes[..], &["-", "expands"]].concat()).code, 0);
    for image in ["busybox", "expands"] {
        for options in [&["--network", "none"][..], &[], &["--network", "none", "--init", "-u", "1000"]] {
            let start = ["run", "-d", "--name", "env"];
            host.lrun.ok(&[&start, options, &[image, "sh", "-c", "env > /tmp/env; sleep 1000"]].concat());
            lrun_tests::eventually("the container writes its environment", || {
                host.lrun.run(&["exec", "env", "test", "-s", "/tmp/env"]).code == 0
            });
            let show =
                ["sh", "-c", "cat /tmp/env; env; cat /proc/1/environ 2>/dev/null; tr '\\0' '\\n' < /proc/self/environ"];
            let shown = host.lrun.ok(&[&["exec", "env"], &show[..]].concat());
            assert!(shown.contains("HOSTNAME="), "{shown}");
            assert!(!shown.contains(SECRET), "{image} {options:?}: {shown}");
            for (pid, why) in host.lrun.processes() {
                let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let environ = String::from_utf8_lossy(&environ).into_owned();
                assert!(!environ.contains(SECRET), "{why}: {environ}");
            }
            host.lrun.ok(&["rm", "-f", "env"]);
        }
    }
    let mut names: Vec<String> = env_names(&host.lrun.ok(&["run", "--rm", "--network", "none", "busybox", "env"]));
    names.sort();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH", "container"]);
    host.unharmed();
}

fn env_names(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

/// Row 10, environment: names and patterns without a value never mean the caller's value, but for what the caller names.
#[test]
fn only_what_the_caller_names_is_passed_on() {
    let mut host = Host::new();
    with_secrets(&mut host);
    for change in ["ENV *", "ENV AWS_*", "ENV HOME", "ENV =x", "ENV A"] {
        let archive = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
        let output = host.lrun.run_with(&archive, &["import", "-c", change, "-", "names"]);
        if output.code == 0 {
            let shown = host.lrun.run(&["run", "--rm", "--network", "none", "names", "env"]);
            assert!(!shown.stdout.contains(SECRET), "{change}: {}", shown.stdout);
        }
    }
    let run = |options: &[&str]| {
        host.lrun.run(&[&["run", "--rm", "--network", "none"], options, &["busybox", "env"]].concat())
    };
    for option in ["AWS_*", "*", "AWS_SECRET", "="] {
        let shown = run(&["-e", option]);
        assert!(!shown.stdout.contains(SECRET), "{option}: {}", shown.stdout);
    }
    assert!(run(&["-e", "SECRET"]).stdout.contains(&format!("SECRET={SECRET}\n")), "what is named is passed on");
    host.unharmed();
}

/// Row 10, environment: nor do they in the config of an image, from wherever it comes: not for `run`, `exec`, a step of a
/// build, or what is committed of them. What such an image triggers in a build reads no variable of the caller's either.
#[test]
fn a_config_names_nothing_of_the_callers_environment() {
    let mut host = Host::new();
    with_secrets(&mut host);
    let busybox = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let names = ["*", "AWS_*", "HOME", "SECRET", "AWS_SECRET_ACCESS_KEY", "LD_LIBRARY_PATH", "=x", "", "=", "FINE=1"];
    let triggers = ["ARG AWS_SECRET_ACCESS_KEY", "ENV A=$AWS_SECRET_ACCESS_KEY B=$SECRET", "RUN env"];
    let config = json!({"Env": names, "Cmd": ["env"], "OnBuild": triggers});
    let made = Made { name: "greedy:1".into(), config, layers: vec![&busybox] };
    let loaded = host.lrun.run_with(&archive(&[made]), &["load", "-q"]);
    assert_eq!(loaded.code, 0, "{}", loaded.stderr);
    let home = host.lrun.folder().join("home");
    let check = |shown: &str, what: &str| {
        assert!(shown.contains("FINE=1"), "{what}: {shown}");
        assert!(shown.contains("HOME=/root"), "{what}: {shown}");
        for foreign in [SECRET, home.to_str().expect("UTF-8"), "AWS_", "*"] {
            assert!(!shown.contains(foreign), "{what} shows {foreign}: {shown}");
        }
    };
    check(&host.lrun.ok(&["run", "--name", "greedy", "--network", "none", "greedy:1"]), "run");
    host.lrun.ok(&["commit", "greedy", "again:1"]);
    check(&host.lrun.ok(&["run", "--rm", "--init", "--network", "none", "again:1"]), "commit");
    check(&host.lrun.ok(&["run", "--rm", "again:1"]), "run with a network");
    host.lrun.ok(&["run", "-d", "--name", "joined", "--network", "none", "greedy:1", "sleep", "1000"]);
    check(&host.lrun.ok(&["exec", "joined", "env"]), "exec");
    for dockerfile in ["FROM greedy:1\n", "FROM again:1\nARG SECRET\nENV C=$SECRET\nRUN env\nRUN [\"env\"]\n"] {
        let folder = context(&host.lrun, "context", dockerfile, &[]);
        let output = build(&host.lrun, &folder, &["-t", "built:1"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let shown: Vec<&str> = output.stderr.lines().filter(|line| !line.starts_with("Step ")).collect();
        check(&shown.join("\n"), dockerfile);
        check(&host.lrun.ok(&["run", "--rm", "--network", "none", "built:1", "env"]), dockerfile);
        assert!(!host.lrun.ok(&["inspect", "built:1"]).contains(SECRET), "{dockerfile}");
        assert!(!host.lrun.ok(&["history", "--no-trunc", "built:1"]).contains(SECRET), "{dockerfile}");
    }
    host.unharmed();
}

/// Row 11, TIOCSTI and TIOCLINUX: a container started from a terminal, with and without one of its own, cannot type on
/// the caller's.
#[test]
fn nothing_is_typed_on_the_callers_terminal() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    host.lrun.ok(&["run", "-d", "--name", "typist", "--network", "none", "-v", &weapon, "busybox", "sleep", "1000"]);
    // What has been typed on the terminal waits there for the next program that reads.
    let wrapper = ["bash", "-c", "\"$@\"; code=$?; read -r -t 1 -n 1 typed; echo \"after $code [$typed]\"", "bash"];
    let run = ["run", "--rm", "--network", "none", "-v", &weapon];
    for options in [&["-i"][..], &["-ti"], &[], &["-i", "--init"], &["-ti", "--cap-add", "ALL"]] {
        let args = [&run, options, &["busybox", "/attack", "inject"]].concat();
        let (shown, _) = host.lrun.pty_in(&wrapper, &args).finish();
        assert!(shown.contains("tried") && shown.contains("after 0 []"), "{options:?}: {shown}");
        assert!(!shown.contains("INJECTED") && !shown.contains("PASTED"), "{options:?}: {shown}");
    }
    for options in [&["-i"][..], &["-ti"]] {
        let (shown, _) =
            host.lrun.pty_in(&wrapper, &[&["exec"], options, &["typist", "/attack", "inject"]].concat()).finish();
        assert!(shown.contains("tried") && shown.contains("after 0 []"), "exec {options:?}: {shown}");
        assert!(!shown.contains("INJECTED"), "exec {options:?}: {shown}");
    }
    // Without the filter the attack works where the kernel allows it at all, on the container's own terminal alone.
    let free = [&run[..], &["-ti", "--security-opt", "seccomp=unconfined", "busybox", "/attack", "inject"]].concat();
    let (shown, _) = host.lrun.pty_in(&wrapper, &free).finish();
    let allowed = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|text| text.trim() == "1");
    assert_eq!(shown.contains("INJECTED"), allowed, "{shown}");
    assert!(shown.contains("after 0 []"), "{shown}");
    host.unharmed();
}

/// Row 12, keyrings: a key of the caller's session is not found, read or linked inside, not even without the filter.
#[test]
fn the_callers_keys_stay_out() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let name = format!("lrun-test-{}", std::process::id());
    // A session of its own with the key, whose number is passed on in the place of the last argument.
    let script = format!("key=$(keyctl add user {name} {SECRET} @s) || exit 77; \"$@\" $key");
    let wrapper = ["keyctl", "session", "-", "bash", "-c", &script, "bash"];
    let run = ["run", "--rm", "--network", "none", "-v", &weapon];
    let free = ["--security-opt", "seccomp=unconfined"];
    host.lrun.ok(&[&["run", "-d", "--name", "keys"], &run[2..], &free, &["busybox", "sleep", "1000"]].concat());
    let attack = ["/attack", "keys", &name];
    for (args, filter) in [
        ([&run[..], &["busybox"], &attack].concat(), "keyctl refused"),
        ([&run[..], &free, &["busybox"], &attack].concat(), "keyctl answers"),
        ([&["exec", "keys"][..], &attack].concat(), "keyctl answers"),
    ] {
        let output = host.lrun.spawn_in(&wrapper, &args).wait();
        if output.code == 77 {
            skip!("this user cannot add keys: {}", output.stderr.trim_end());
        }
        assert_eq!((output.code, output.stdout.trim_end()), (0, filter), "{args:?}: {}", output.stderr);
    }
    // The attack finds what there is: outside, in the same session.
    let script =
        format!("key=$(keyctl add user {name} {SECRET} @s); {}/attack keys {name} $key", host.lrun.folder().display());
    let outside =
        std::process::Command::new("keyctl").args(["session", "-", "bash", "-c", &script]).output().expect("keyctl");
    assert!(String::from_utf8_lossy(&outside.stdout).contains("READ"), "{outside:?}");
    host.unharmed();
}

/// Row 13, abstract sockets: lrun has none, so that a container with the host's network has nothing of lrun's to talk to.
#[test]
fn lrun_has_no_abstract_sockets() {
    let host = Host::new();
    let abstract_names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_once(" @").map(|(_, name)| name.to_owned())).collect()
    };
    host.lrun.ok(&["run", "-d", "--name", "quiet", "busybox", "sleep", "1000"]);
    let mut terminal = host.lrun.pty(&["run", "-ti", "--name", "loud", "--network", "host", "busybox", "sh"]);
    terminal.expect("# ");
    let mut exec = host.lrun.pty(&["exec", "-ti", "quiet", "sh"]);
    exec.expect("# ");
    let inside = host.lrun.ok(&["exec", "loud", "cat", "/proc/net/unix"]);
    assert!(inside.lines().count() > 1, "the host's sockets are seen: {inside}");
    let ours: Vec<String> = abstract_names(&inside).into_iter().filter(|name| name.contains("lrun")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    // None of the sockets of lrun's processes has an abstract name, whatever it is.
    let table = fs::read_to_string("/proc/net/unix").expect("/proc/net/unix");
    for (pid, why) in host.lrun.processes() {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let Some(inode) = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')) else {
                continue;
            };
            let named = table.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
            assert!(!named.is_some_and(|line| line.contains(" @")), "{why}: {named:?}");
        }
    }
    exec.line("exit");
    terminal.line("exit");
    assert_eq!((exec.finish().1, terminal.finish().1), (0, 0));
    host.unharmed();
}
