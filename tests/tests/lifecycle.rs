//! The life of a container: create, start, stop, kill, wait, restart, rename, remove, and what is left when a command or
//! a monitor is killed in between.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lrun_tests::{Lrun, Running, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// The container has printed `ready`.
fn ready(lrun: &Lrun, container: &str) {
    eventually("the container is ready", || lrun.run(&["logs", container]).stdout.contains("ready"));
}

fn status(lrun: &Lrun, container: &str) -> String {
    lrun.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")
}

/// Process ids of the container's first process and of its monitor.
fn pids(lrun: &Lrun, container: &str) -> (Pid, Pid) {
    let init = lrun.inspect(container, "{{.State.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("the container runs");
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).expect("a parent");
    let pid = |text: &str| Pid::from_raw(text.parse().expect("a number")).expect("a process id");
    (pid(&init), pid(parent))
}

fn is_gone(pid: Pid) -> bool {
    !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
        || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "))
}

fn no_containers(lrun: &Lrun) {
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    let left = |folder: &str| fs::read_dir(lrun.store().join(folder)).expect(folder).count();
    assert_eq!((left("containers"), left("names")), (0, 0));
    // A monitor may still be deleting what nobody sees any more.
    eventually("the files are gone, too", || left("staging") == 0);
}

const TRAP: &str =
    "trap 'echo got TERM; exit 5' TERM; trap 'echo got USR1; exit 6' USR1; trap 'echo got INT; exit 7' INT
    echo ready; while :; do sleep 0.05; done";
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

#[test]
fn a_container_is_created_started_waited_for_and_started_again() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "again", "busybox", "sh", "-c", "echo x >> /opt/f; cat /opt/f; exit 3"]);
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(status(&lrun, "again"), "created 0");
    assert_eq!(lrun.ok(&["wait", "again"]), "0", "one that never ran has nothing to be waited for");
    assert_eq!(lrun.ok(&["start", "again"]), "again");
    assert_eq!(lrun.ok(&["wait", &id[..12], "again"]), "3\n3");
    assert_eq!(status(&lrun, "again"), "exited 3");
    lrun.ok(&["create", "--name", "never", "--network", "none", "busybox", "/no/such"]);
    for flags in [&["start", "never"][..], &["start", "-a", "never"]] {
        // No command ran whose code it could be.
        let complaint = lrun.fails(1, flags);
        assert!(complaint.contains("/no/such"), "{complaint}");
    }
    let attached = lrun.run(&["start", "-a", "again"]);
    assert_eq!((attached.code, attached.stdout.as_str()), (3, "x\nx\n"), "the files are kept: {}", attached.stderr);
    assert_eq!(lrun.run(&["logs", "again"]).stdout, "x\nx\nx\n");
    assert!(lrun.fails(1, &["start", "nobody"]).starts_with("lrun: No such container: nobody\n"));
    let two = lrun.fails(1, &["start", "-a", "again", "again"]);
    assert_eq!(two, "lrun: you cannot start and attach multiple containers at once\n");
}

#[test]
fn exit_codes_are_dockers() {
    let lrun = Lrun::with_busybox();
    for (code, args) in [
        (0, &["true"][..]),
        (7, &["sh", "-c", "exit 7"]),
        (255, &["sh", "-c", "exit 255"]),
        (127, &["no-such-command"]),
        (127, &["/no/such/command"]),
        (126, &["/etc/passwd"]),
        (126, &["/etc"]),
    ] {
        let output = lrun.run(&[&["run", "--rm", "busybox"], args].concat());
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{args:?}: {}", output.stderr);
        assert_eq!(output.stderr.is_empty(), code < 126 || code == 255, "{args:?}: {}", output.stderr);
    }
    lrun.fails(125, &["run", "--rm", "no-such-image", "true"]);
    lrun.fails(125, &["run", "--rm", "--no-such-flag", "busybox", "true"]);
    lrun.fails(125, &["run", "--rm", "-w", "relative", "busybox", "true"]);
    no_containers(&lrun);
    // A failed start is told again by the record.
    assert_eq!(lrun.run(&["run", "--name", "broken", "busybox", "nonsense"]).code, 127);
    assert_eq!(status(&lrun, "broken"), "created 127");
    assert!(lrun.inspect("broken", "{{.State.Error}}").contains("nonsense"));
    assert!(lrun.fails(1, &["start", "broken"]).contains("nonsense"));
    let detached = lrun.run(&["run", "-d", "--name", "broken2", "busybox", "nonsense"]);
    assert_eq!((detached.code, detached.stdout.len()), (127, 65), "the id is printed: {}", detached.stdout);
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    let lrun = Lrun::with_busybox();
    for (signal, code) in [("KILL", 137), ("9", 137), ("SIGTERM", 143), ("usr1", 138), ("RTMIN+3", 128 + 37)] {
        let running =
            lrun.spawn(&["run", "--init", "--name", "target", "busybox", "sh", "-c", "echo ready; sleep 1000"]);
        ready(&lrun, "target");
        assert_eq!(lrun.ok(&["kill", "-s", signal, "target"]), "target");
        assert_eq!(running.wait().code, code, "{signal}");
        assert_eq!(status(&lrun, "target"), format!("exited {code}"));
        let refused = lrun.fails(1, &["kill", "target"]);
        assert!(refused.contains("cannot kill container: target") && refused.contains("is not running"), "{refused}");
        lrun.ok(&["rm", "target"]);
    }
    assert!(lrun.fails(1, &["kill", "-s", "NOSUCH", "target"]).contains("NOSUCH"));
}

/// Scripts remove a container, or take its name again, in the next line.
#[test]
fn a_container_that_was_killed_has_ended() {
    let lrun = Lrun::with_busybox();
    for pause in [false, true] {
        for _ in 0..5 {
            lrun.ok(&["run", "-d", "--name", "target", "busybox", "sleep", "1000"]);
            if pause {
                lrun.ok(&["pause", "target"]);
            }
            lrun.ok(&["kill", "target"]);
            assert_eq!(status(&lrun, "target"), "exited 137");
            lrun.ok(&["rm", "target"]);
        }
    }
    for _ in 0..3 {
        lrun.ok(&["run", "-d", "--rm", "--name", "target", "busybox", "sleep", "1000"]);
        lrun.ok(&["kill", "target"]);
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn stop_asks_first_and_kills_then() {
    let lrun = Lrun::with_busybox();
    let start = |name: &str, flags: &[&str], script: &str| {
        let args = [&["run", "-d", "--name", name][..], flags, &["busybox", "sh", "-c", script]].concat();
        lrun.ok(&args);
        ready(&lrun, name);
    };
    start("polite", &[], TRAP);
    assert_eq!(lrun.ok(&["stop", "polite"]), "polite");
    assert_eq!(status(&lrun, "polite"), "exited 5");
    assert_eq!(lrun.ok(&["stop", "polite"]), "polite", "one that has ended is left alone");
    start("deaf", &[], DEAF);
    lrun.ok(&["stop", "-t", "1", "deaf"]);
    assert_eq!(status(&lrun, "deaf"), "exited 137");
    start("impatient", &["--stop-timeout", "0"], DEAF);
    lrun.ok(&["stop", "impatient"]);
    assert_eq!(status(&lrun, "impatient"), "exited 137");
    start("flagged", &["--stop-signal", "USR1"], TRAP);
    lrun.ok(&["stop", "flagged"]);
    assert_eq!(status(&lrun, "flagged"), "exited 6");
    start("told", &["--stop-signal", "USR1"], TRAP);
    lrun.ok(&["stop", "--signal", "INT", "--time=30", "told"]);
    assert_eq!(status(&lrun, "told"), "exited 7");
    let archive = fs::read(lrun_tests::images("busybox.tar")).expect("the archive");
    let made = lrun.run_with(&archive, &["import", "-c", "STOPSIGNAL SIGUSR1", "-", "usr1"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    lrun.ok(&["run", "-d", "--name", "image", "usr1", "sh", "-c", TRAP]);
    ready(&lrun, "image");
    lrun.ok(&["stop", "image"]);
    assert_eq!(status(&lrun, "image"), "exited 6");
    let names = ["deaf1", "deaf2", "deaf3", "deaf4"];
    names.iter().for_each(|name| start(name, &[], DEAF));
    let begun = std::time::Instant::now();
    lrun.ok(&[&["stop", "-t", "2"][..], &names].concat());
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "side by side: {took:?}");
    let several = lrun.run(&["stop", "polite", "nobody", "deaf"]);
    assert_eq!((several.code, several.stdout.as_str()), (1, "polite\ndeaf\n"), "{}", several.stderr);
}

#[test]
fn a_paused_container_stands_still_until_it_may_go_on() {
    let lrun = Lrun::with_busybox();
    let tick = "trap 'exit 5' TERM; echo ready; while :; do echo tick; sleep 0.02; done";
    let id = lrun.ok(&["run", "-d", "--name", "ticker", "busybox", "sh", "-c", tick]);
    ready(&lrun, "ticker");
    let said = || lrun.ok(&["logs", "ticker"]).len();
    assert_eq!(lrun.ok(&["pause", "ticker"]), "ticker");
    // What was on its way when it stopped arrives.
    std::thread::sleep(Duration::from_millis(50));
    let before = said();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(said(), before);
    assert_eq!(lrun.inspect("ticker", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}"), "paused true true");
    assert_eq!(lrun.ok(&["ps", "-q", "--no-trunc", "-f", "status=paused"]), id);
    assert!(lrun.ok(&["ps"]).contains("(Paused)"));
    for (command, refusal) in [
        (&["pause", "ticker"][..], format!("container {id} is already paused")),
        (&["exec", "ticker", "true"], format!("container {id} is paused, unpause the container before exec")),
        (&["attach", "ticker"], "You cannot attach to a paused container, unpause it first".to_owned()),
        (&["start", "ticker"], "cannot start a paused container, try unpause instead".to_owned()),
        (
            &["rm", "ticker"],
            "cannot remove container \"/ticker\": container is paused and must be unpaused first".to_owned(),
        ),
    ] {
        assert_eq!(lrun.fails(1, command), format!("lrun: {refusal}\n"));
    }
    lrun.ok(&["commit", "ticker", "still"]);
    assert_eq!(lrun.inspect("ticker", "{{.State.Status}}"), "paused", "a commit leaves it as it is");
    assert_eq!(lrun.ok(&["unpause", "ticker"]), "ticker");
    eventually("it goes on", || said() > before);
    assert_eq!(lrun.fails(1, &["unpause", "ticker"]), format!("lrun: container {id} is not paused\n"));
    lrun.ok(&["exec", "ticker", "true"]);
    for (ends, status_after) in [(&["stop", "ticker"][..], "exited 5"), (&["kill", "ticker"], "exited 137")] {
        lrun.ok(&["pause", "ticker"]);
        lrun.ok(ends);
        lrun.ok(&["wait", "ticker"]);
        assert_eq!(status(&lrun, "ticker"), status_after, "{ends:?}");
        lrun.ok(&["start", "ticker"]);
    }
    lrun.ok(&["pause", "ticker"]);
    lrun.ok(&["restart", "-t", "5", "ticker"]);
    assert_eq!(lrun.inspect("ticker", "{{.State.Status}}"), "running");
    lrun.ok(&["pause", "ticker"]);
    lrun.ok(&["rm", "-f", "ticker"]);
    assert_eq!(lrun.fails(1, &["pause", "ticker"]), "lrun: No such container: ticker\n");
}

#[test]
fn wait_waits_for_running_containers_also_for_those_that_remove_themselves() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /opt/go ]; do sleep 0.02; done; exit 4",
    ]);
    lrun.ok(&["run", "-d", "--rm", "--name", "two", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "two");
    let waiting = [lrun.spawn(&["wait", "one", "two"]), lrun.spawn(&["wait", "two"])];
    // The container may end as soon as the file is there, and takes the command along.
    let go = lrun.run(&["exec", "one", "touch", "/opt/go"]);
    assert!(matches!(go.code, 0 | 137), "{}: {}", go.code, go.stderr);
    lrun.ok(&["wait", "one"]);
    lrun.ok(&["kill", "-s", "TERM", "two"]);
    let [first, second] = waiting.map(Running::wait);
    assert_eq!((first.code, second.code, second.stdout.as_str()), (0, 0, "5\n"), "{}", second.stderr);
    assert!(first.stdout.starts_with("4\n"), "{}", first.stdout);
    eventually("it removes itself", || lrun.ok(&["ps", "-aq", "--filter", "name=two"]).is_empty());
}

#[test]
fn restart_keeps_the_files_and_a_follower_of_the_log() {
    let lrun = Lrun::with_busybox();
    let script = "echo run >> /opt/runs; echo started $(wc -l < /opt/runs) ready; exec sleep 1000";
    for (name, flags) in [("kept", &["-d"][..]), ("temporary", &["-d", "--rm"])] {
        lrun.ok(&[&["run", "--stop-timeout", "0", "--name", name], flags, &["busybox", "sh", "-c", script]].concat());
        ready(&lrun, name);
        let follower = lrun.spawn(&["logs", "-f", name]);
        assert_eq!(lrun.ok(&["restart", name]), name);
        eventually("it runs again", || lrun.run(&["logs", name]).stdout.contains("started 2 ready"));
        lrun.ok(&["stop", name]);
        let followed = follower.wait();
        assert_eq!(followed.stdout, "started 1 ready\nstarted 2 ready\n", "{}", followed.stderr);
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]).lines().count(), 1, "--rm means the end, not a restart");
    assert_eq!(lrun.ok(&["restart", "kept"]), "kept", "an ended one is started");
    eventually("it runs once more", || lrun.run(&["logs", "kept"]).stdout.contains("started 3 ready"));
}

#[test]
fn names_are_changed_and_stay_unique() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "first", "busybox", "true"]);
    let taken = lrun.fails(125, &["run", "--name", "first", "busybox", "true"]);
    let conflict = format!("Conflict. The container name \"/first\" is already in use by container \"{id}\".");
    assert!(taken.contains(&conflict), "{taken}");
    assert!(lrun.fails(1, &["create", "--name", "first", "busybox", "true"]).contains(&conflict));
    assert_eq!(lrun.ok(&["rename", "first", "second"]), "");
    assert_eq!(lrun.inspect("second", "{{.Name}} {{.Id}}"), format!("/second {id}"));
    assert_eq!(lrun.run(&["inspect", "first"]).code, 1);
    lrun.ok(&["create", "--name", "first", "busybox", "true"]);
    assert!(lrun.fails(1, &["rename", "first", "second"]).contains("Conflict. The container name \"/second\""));
    assert!(lrun.fails(1, &["rename", "second", "second"]).contains("same name"));
    for name in ["../x", "-x", "a b", "", "ünï", "x"] {
        lrun.fails(1, &["rename", "--", "second", name]);
    }
    lrun.ok(&["rename", &id[..10], "third"]);
    assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]), "first\nthird");
}

#[test]
fn rm_removes_what_does_not_run_and_by_force_what_does() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", DEAF]);
    let refused = lrun.fails(1, &["rm", "runs"]);
    assert!(refused.contains("container is running: stop the container before removing or force remove"), "{refused}");
    assert_eq!(status(&lrun, "runs"), "running 0");
    lrun.ok(&["create", "--name", "idle", "busybox", "true"]);
    // As docker: what can be removed is removed.
    let mixed = lrun.run(&["rm", "-v", "idle", "nobody"]);
    assert_eq!((mixed.code, mixed.stdout.as_str()), (1, "idle\n"), "{}", mixed.stderr);
    assert_eq!(lrun.ok(&["rm", "-f", "runs", "nobody"]), "runs");
    no_containers(&lrun);
    // Files that only the container's root can delete.
    let script = "mkdir -p /opt/a/b; chmod 0 /opt/a/b /opt/a; chown 1000:50 /opt; touch /home/alice/x; chmod 0 /home";
    lrun.ok(&["run", "--name", "locked", "busybox", "sh", "-c", script]);
    lrun.ok(&["rm", "locked"]);
    no_containers(&lrun);
}

/// podman's words: all containers, those that may be missing, and the question whether there is one.
#[test]
fn all_containers_at_once() {
    let lrun = Lrun::with_busybox();
    let sleep = ["--network", "none", "busybox", "sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait"];
    let run = |name: &str| lrun.ok(&[&["run", "-d", "--name", name], &sleep[..]].concat());
    let (one, two) = (run("one"), run("two"));
    let fresh = lrun.ok(&["create", "--name", "fresh", "busybox", "true"]);
    ready(&lrun, "one");
    ready(&lrun, "two");
    assert_eq!(lrun.ok(&["stop", "-a"]), format!("{two}\n{one}"), "the newest first");
    assert_eq!(status(&lrun, "one"), "exited 3");
    assert_eq!(lrun.ok(&["kill", "--all"]), "");
    lrun.ok(&["start", "one"]);
    assert_eq!(lrun.ok(&["kill", "-a"]), one);
    lrun.ok(&["wait", "one"]);
    lrun.ok(&["start", "two"]);
    eventually("it is ready again", || lrun.run(&["logs", "two"]).stdout.matches("ready").count() == 2);
    for (code, name) in [(0, "two"), (0, &two[..12]), (1, "three")] {
        let output = lrun.run(&["container", "exists", name]);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, "", ""), "{name}");
    }
    // What runs stays without --force; with --time it may end by itself.
    let output = lrun.run(&["rm", "-a"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, format!("{fresh}\n{one}\n").as_str()), "{}", output.stderr);
    assert_eq!(lrun.ok(&["rm", "-f", "-t", "20", "two"]), "two");
    lrun.ok(&["undelete", "two"]);
    assert_eq!(status(&lrun, "two"), "exited 3");
    assert_eq!(lrun.ok(&["rm", "-af"]), two);
    assert_eq!(lrun.ok(&["rm", "--ignore", "two"]), "");
    assert_eq!(lrun.ok(&["rm", "-a"]), "");
    for wrong in [&["rm"][..], &["rm", "-a", "x"], &["rm", "-t", "3", "x"], &["stop", "-a", "x"]] {
        assert_ne!(lrun.run(wrong).code, 0, "{wrong:?}");
    }
}

#[test]
fn rm_leaves_nothing_in_whatever_way_the_container_ends() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--rm", "busybox", "sh", "-c", "mkdir -p /opt/x/y; chmod 0 /opt/x"]);
    no_containers(&lrun);
    assert_eq!(lrun.run(&["run", "--rm", "busybox", "nonsense"]).code, 127);
    assert_eq!(lrun.run(&["run", "--rm", "-d", "busybox", "nonsense"]).code, 127);
    assert_eq!(lrun.run(&["run", "--rm", "-u", "nobody-there", "busybox", "true"]).code, 125);
    no_containers(&lrun);

    // The client is killed.
    let client = lrun.spawn(&["run", "--rm", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    client.signal(Signal::KILL);
    client.wait();
    lrun.ok(&["stop", "box"]);
    no_containers(&lrun);

    // The monitor is killed.
    let client = lrun.spawn(&["run", "--rm", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    let (init, monitor) = pids(&lrun, "box");
    kill_process(monitor, Signal::KILL).expect("kill the monitor");
    let lost = client.wait();
    assert_eq!(lost.code, 255, "{}", lost.stderr);
    assert!(lost.stderr.contains("monitor"), "{}", lost.stderr);
    assert!(is_gone(init));
    no_containers(&lrun);

    // Both.
    let client = lrun.spawn(&["run", "--rm", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    let (init, monitor) = pids(&lrun, "box");
    client.signal(Signal::KILL);
    kill_process(monitor, Signal::KILL).expect("kill the monitor");
    client.wait();
    eventually("the container is gone", || is_gone(init));
    no_containers(&lrun);
}

/// Made by `run --rm`, and then the command was killed before there was a monitor.
#[test]
fn a_run_that_was_killed_before_the_start_leaves_nothing_with_rm() {
    let lrun = Lrun::with_busybox();
    let Some(strace) = find_strace() else { lrun_tests::skip!("strace is not installed") };
    let kill_at = |flags: &[&str]| {
        // The start writes the container's hosts file first.
        let wrapper = [&strace, "-qq", "-o", "/dev/null", "-P", "/etc/resolv.conf", "-e", "trace=openat,open", "-e"];
        let inject = ["inject=openat,open:signal=KILL"];
        let output = lrun.run_in(&[&wrapper[..], &inject].concat(), &[&["run"], flags, &["busybox", "true"]].concat());
        assert_eq!(output.code, 137, "{} {}", output.stdout, output.stderr);
    };
    kill_at(&["--rm"]);
    no_containers(&lrun);
    kill_at(&["--name", "stays"]);
    assert_eq!(status(&lrun, "stays"), "created 0");
    lrun.ok(&["create", "--rm", "--name", "waits", "busybox", "true"]);
    assert_eq!(status(&lrun, "waits"), "created 0", "create --rm is for a later start");
    assert_eq!(lrun.run(&["start", "-a", "waits"]).code, 0);
    assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]), "stays");
}

fn find_strace() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("strace")).find(|path| path.exists());
    found.and_then(|path| path.to_str().map(str::to_owned))
}

#[test]
fn a_killed_client_leaves_the_container_running_and_another_takes_its_place() {
    let lrun = Lrun::with_busybox();
    let client = lrun.spawn(&["run", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    client.signal(Signal::KILL);
    assert_eq!(client.wait().code, 137);
    assert_eq!(status(&lrun, "box"), "running 0");
    let second = lrun.spawn(&["attach", "box"]);
    lrun.ok(&["exec", "box", "true"]);
    lrun.ok(&["stop", "box"]);
    let second = second.wait();
    assert_eq!(second.code, 5, "{}", second.stderr);
    assert_eq!(lrun.run(&["logs", "box"]).stdout, "ready\ngot TERM\n");
    let stopped = lrun.fails(1, &["attach", "box"]);
    assert!(stopped.contains("You cannot attach to a stopped container, start it first"), "{stopped}");
}

#[test]
fn a_killed_monitor_takes_the_container_along_and_is_recorded_as_lost() {
    let lrun = Lrun::with_busybox();
    let script = format!("(setsid sh -c 'exec sleep 1234' &); echo kept > /opt/kept; {TRAP}");
    lrun.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]);
    ready(&lrun, "box");
    let all = lrun.ok(&["top", "box", "-eo", "pid"]);
    let all: Vec<Pid> = all.lines().skip(1).filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)).collect();
    assert!(all.len() >= 2, "{all:?}");
    let (init, monitor) = pids(&lrun, "box");
    let (waiting, attached) = (lrun.spawn(&["wait", "box"]), lrun.spawn(&["attach", "box"]));
    lrun.ok(&["exec", "box", "true"]);
    kill_process(monitor, Signal::KILL).expect("kill the monitor");
    eventually("the next command records it", || status(&lrun, "box") == "exited 255");
    assert!(is_gone(init) && all.iter().all(|pid| is_gone(*pid)), "the kernel ends them all");
    assert_eq!(lrun.inspect("box", "{{.State.Error}}"), "monitor lost");
    assert_eq!(waiting.wait().stdout, "255\n");
    let attached = attached.wait();
    assert_eq!(attached.code, 255, "{}", attached.stderr);
    assert!(lrun.ok(&["ps", "-a"]).contains("Exited (255) "));
    lrun.ok(&["start", "box"]);
    assert_eq!(lrun.ok(&["exec", "box", "cat", "/opt/kept"]), "kept");
    assert_eq!(status(&lrun, "box"), "running 0");
}

#[test]
fn starts_at_once_make_one_run() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&[
        "create",
        "--stop-timeout",
        "0",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "echo run >> /opt/runs; sleep 1000",
    ]);
    for round in 1..=3 {
        let starts: Vec<_> = (0..6).map(|_| lrun.spawn(&["start", "box"])).collect();
        for start in starts {
            let start = start.wait();
            assert_eq!((start.code, start.stdout.as_str()), (0, "box\n"), "{}", start.stderr);
        }
        eventually("it has begun", || {
            lrun.run(&["exec", "box", "wc", "-l", "/opt/runs"]).stdout.starts_with(&round.to_string())
        });
        lrun.ok(&["stop", "box"]);
    }
    lrun.ok(&["start", "box"]);
    assert_eq!(lrun.ok(&["exec", "box", "wc", "-l", "/opt/runs"]), "4 /opt/runs");
}

#[test]
fn all_sorts_of_commands_at_once_leave_one_truth() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--stop-timeout", "0", "--name", "box", "busybox", "sleep", "1000"]);
    let commands: [&[&str]; 8] = [
        &["start", "box"],
        &["stop", "box"],
        &["restart", "box"],
        &["ps", "-a"],
        &["start", "box"],
        &["wait", "box"],
        &["diff", "box"],
        &["kill", "box"],
    ];
    let running: Vec<_> = commands.iter().cycle().take(24).map(|args| (args, lrun.spawn(args))).collect();
    // Whoever waits is let go.
    eventually("the others have ended", || {
        lrun.run(&["stop", "box"]);
        lrun.processes().iter().all(|(_, what)| !what.starts_with("lrun:"))
    });
    for (args, running) in running {
        let output = running.wait();
        let refused = output.stderr.contains("is not running");
        assert!(output.code == 0 || (args[0] == "kill" && refused), "{args:?}: {}", output.stderr);
    }
    assert!(status(&lrun, "box").starts_with("exited "));
    lrun.ok(&["rm", "box"]);
    no_containers(&lrun);
}

#[test]
fn init_reaps_orphans_and_passes_signals_on() {
    let lrun = Lrun::with_busybox();
    let orphans = "for i in 1 2 3 4 5; do (true & exec true); done; sleep 0.1; ps -o pid,stat,comm; echo $$";
    let listed = lrun.ok(&["run", "--rm", "--init", "busybox", "sh", "-c", orphans]);
    assert!(!listed.lines().any(|line| line.contains(" Z ")), "{listed}");
    assert!(!listed.ends_with("\n1"), "the program is not process 1: {listed}");
    let client = lrun.spawn(&["run", "--init", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    lrun.ok(&["stop", "box"]);
    assert_eq!(client.wait().code, 5);
    assert_eq!(lrun.run(&["run", "--rm", "--init", "busybox", "nonsense"]).code, 127);
}

#[test]
fn signals_of_the_client_are_the_programs_unless_it_is_told_otherwise() {
    let lrun = Lrun::with_busybox();
    for (signal, code) in [(Signal::TERM, 5), (Signal::INT, 7), (Signal::USR1, 6)] {
        let client = lrun.spawn(&["run", "--rm", "--name", "box", "busybox", "sh", "-c", TRAP]);
        ready(&lrun, "box");
        client.signal(signal);
        let output = client.wait();
        assert_eq!(output.code, code, "{signal:?}: {}", output.stderr);
    }
    let client = lrun.spawn(&["run", "--sig-proxy=false", "--name", "box", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    client.signal(Signal::TERM);
    assert_eq!(client.wait().code, 143);
    assert_eq!(status(&lrun, "box"), "running 0");
    let client = lrun.spawn(&["attach", "--sig-proxy=false", "box"]);
    lrun.ok(&["exec", "box", "true"]);
    client.signal(Signal::INT);
    assert_eq!(client.wait().code, 130);
    assert_eq!(status(&lrun, "box"), "running 0");
    let client = lrun.spawn(&["attach", "box"]);
    eventually("the client takes signals for the program", || client.catches(Signal::USR1));
    client.signal(Signal::USR1);
    assert_eq!(client.wait().code, 6);
}

/// Whoever is only attached to a terminal takes nothing with them: a connection that breaks ends no container.
#[test]
fn a_terminal_that_is_closed_ends_the_client_and_not_the_container() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-dti", "--name", "box", "--network", "none", "busybox", "sh", "-c", TRAP]);
    ready(&lrun, "box");
    let attached = || {
        let mut terminal = lrun.pty(&["attach", "box"]);
        terminal.send("x");
        terminal.expect("x");
        terminal
    };
    attached().close().wait().expect("the client ends");
    assert_eq!(status(&lrun, "box"), "running 0");
    let terminal = attached();
    lrun.ok(&["stop", "-t", "20", "box"]);
    assert_eq!(terminal.finish().1, 5);
    let mut terminal = lrun.pty(&["start", "-ai", "box"]);
    terminal.expect("ready");
    terminal.close().wait().expect("the client ends");
    assert_eq!(status(&lrun, "box"), "running 0");
}

#[test]
fn a_program_that_heeds_no_signal_does_not_keep_the_client() {
    let lrun = Lrun::with_busybox();
    let deaf = "trap '' INT TERM; echo ready; while :; do sleep 0.02; done";
    let client = lrun.spawn(&["run", "--name", "box", "busybox", "sh", "-c", deaf]);
    ready(&lrun, "box");
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        client.signal(signal);
        // Two of a kind that come at once are one.
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = client.wait();
    assert_eq!(output.code, 130);
    assert!(output.stderr.contains(" runs on\n"), "{}", output.stderr);
    assert_eq!(status(&lrun, "box"), "running 0");
}

#[test]
fn the_id_goes_to_the_file_that_was_asked_for() {
    let lrun = Lrun::with_busybox();
    let file = lrun.folder().join("cid");
    let path = file.to_str().expect("UTF-8");
    assert_eq!(lrun.ok(&["run", "--name", "box", "--cidfile", path, "busybox", "echo", "hi"]), "hi");
    assert_eq!(fs::read_to_string(&file).expect("the file"), lrun.inspect("box", "{{.Id}}"));
    let there = lrun.fails(125, &["run", "--cidfile", path, "busybox", "true"]);
    assert!(
        there.contains("container ID file found, make sure the other container isn't running or delete"),
        "{there}"
    );
    assert_eq!(fs::read_to_string(&file).expect("the file"), lrun.inspect("box", "{{.Id}}"));
    fs::remove_file(&file).expect("remove");
    lrun.fails(125, &["run", "--cidfile", path, "--name", "box", "busybox", "true"]);
    lrun.fails(125, &["run", "--cidfile", path, "no-such-image", "true"]);
    assert!(!file.exists(), "no container, no file");
    lrun.fails(125, &["run", "--cidfile", "no/such/folder/cid", "busybox", "true"]);
    assert_eq!(lrun.ok(&["ps", "-aq"]).lines().count(), 1);
    let id = lrun.ok(&["create", "--cidfile", path, "busybox", "true"]);
    assert_eq!(fs::read_to_string(&file).expect("the file"), id);
}

/// `--replace` takes the name from the container that has it, which can be brought back; nothing else is touched.
#[test]
fn a_container_is_replaced_by_another_of_its_name() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
    let first = lrun.inspect("box", "{{.Id}}");
    let run = |flags: &[&str]| {
        lrun.run(&[&["run", "--replace"][..], flags, &["--network", "none", "busybox", "echo", "new"]].concat())
    };
    // The beginning of an id is no name.
    assert_eq!(run(&["--name", &first[..12]]).stdout, "new\n");
    assert_eq!(lrun.inspect(&first, "{{.State.Running}}"), "true");
    let output = run(&["--name", "box"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "new\n", ""));
    let second = lrun.inspect("box", "{{.Id}}");
    assert_ne!(first, second);
    let third = lrun.ok(&["create", "--replace", "--name", "box", "busybox", "true"]);
    assert_eq!(lrun.inspect("box", "{{.Id}}"), third);
    assert!(lrun.ok(&["undelete", "--list", "--no-trunc", "--format", "{{.ID}}"]).contains(&first));
    // What cannot be made removes nothing, and without a name there is nothing to replace.
    assert_eq!(lrun.run(&["create", "--replace", "--name", "box", "nothing:v1", "true"]).code, 1);
    for command in ["create", "run"] {
        let missing = ["--replace", "--name", "box", "--mount", "type=bind,src=/no/such,dst=/m", "busybox", "true"];
        assert_ne!(lrun.run(&[&[command][..], &missing].concat()).code, 0);
    }
    assert_eq!(lrun.inspect("box", "{{.Id}}"), third);
    assert_eq!(run(&[]).code, 125);
}
