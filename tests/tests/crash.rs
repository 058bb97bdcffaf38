//! `kill -9` at system calls of `run`, `start`, `commit`, `import`, `load`, `rm`, `rmi` and `prune`, and calls that fail:
//! whatever process makes the call, what was acknowledged before is there afterwards, the container's files are never lost,
//! and the next commands clean up.
//!
//! A first traced run counts the calls of each kind; then, for each call, the command is run again on a store in the
//! same state with strace(1) killing whoever makes it. A sample of fixed seed by default, every call with
//! `LRUN_TEST_LONG`. strace must be root's, for it follows `newuidmap`: without root these tests are skipped.

use std::collections::BTreeMap;

use lrun_tests::{Lrun, Mode, Output, eventually, images, long, mode, record_skip, victim};

/// Calls that change something, start something, or tell somebody.
const CALLS: [&str; 29] = [
    "clone3",
    "execve",
    "exit_group",
    "fchmodat",
    "fchownat",
    "fsconfig",
    "fsmount",
    "fsync",
    "linkat",
    "mkdirat",
    "mknodat",
    "move_mount",
    "openat",
    "pivot_root",
    "rename",
    "renameat",
    "renameat2",
    "sendmsg",
    "setns",
    "setxattr",
    "symlink",
    "symlinkat",
    "syncfs",
    "umount2",
    "unlink",
    "unlinkat",
    "utimensat",
    "waitid",
    "write",
];

/// How many calls of each command are tried in the short form.
const SAMPLE: usize = 14;

/// One command under test.
struct Scenario {
    name: &'static str,
    args: Vec<String>,
    /// Brings a new store into the state that the command begins with.
    prepare: fn(&Lrun),
    /// What must hold afterwards; the output is the killed command's.
    check: fn(&Lrun, &Output),
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|word| (*word).to_owned()).collect()
}

/// The calls made by the command: for each name the most that one process makes.
fn count(scenario: &Scenario, user: &str, calls: &[&'static str]) -> BTreeMap<&'static str, usize> {
    let lrun = Lrun::as_user(user);
    (scenario.prepare)(&lrun);
    let log = lrun.folder().join("calls");
    let filter = format!("trace={}", calls.join(","));
    let log_path = log.to_str().expect("UTF-8");
    let wrapper = ["strace", "-u", user, "-f", "-qq", "-e", &filter, "-o", log_path];
    let output = lrun.run_in(&wrapper, &scenario.args);
    assert_eq!(output.code, 0, "{}: {}", scenario.name, output.stderr);
    (scenario.check)(&lrun, &output);
    let mut each: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).expect("the trace").lines() {
        let mut fields = line.splitn(2, ' ');
        let (Some(pid), Some(rest)) = (fields.next(), fields.next()) else { continue };
        if let Some(call) = calls.iter().find(|call| rest.trim_start().starts_with(&format!("{call}("))) {
            *each.entry((pid.to_owned(), call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), n) in each {
        let slot: &mut usize = most.entry(call).or_default();
        *slot = n.max(*slot);
    }
    assert!(most.len() > 1, "{}: {most:?}", scenario.name);
    most
}

/// The cases to try: all, or a sample that takes every kind of call alike, by a fixed sequence of numbers that looks
/// random (a linear congruential generator).
fn cases(counted: BTreeMap<&'static str, usize>) -> Vec<(&'static str, usize)> {
    let all: usize = counted.values().sum();
    if long() || all <= SAMPLE {
        return counted.into_iter().flat_map(|(call, n)| (1..=n).map(move |at| (call, at))).collect();
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let counted: Vec<_> = counted.into_iter().collect();
    let mut chosen = Vec::new();
    while chosen.len() < SAMPLE {
        let (call, n) = counted[next(counted.len())];
        let one = (call, 1 + next(n));
        if !chosen.contains(&one) {
            chosen.push(one);
        }
    }
    chosen
}

fn kill_at_every_call(scenario: &Scenario) {
    at_every_call(scenario, &CALLS, |_| "signal=KILL");
}

/// Lets calls that change files fail, as on a full, overdrawn or broken disk.
fn fail_every_call(scenario: &Scenario, calls: &[&'static str]) {
    at_every_call(scenario, calls, |number| ["error=ENOSPC", "error=EIO", "error=EDQUOT"][number % 3]);
}

/// What strace is told to do at the numbered case.
type Disturbance = fn(usize) -> &'static str;

fn at_every_call(scenario: &Scenario, calls: &[&'static str], disturbance: Disturbance) {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else {
        record_skip("strace has to be run by root");
        return;
    };
    for (number, (call, at)) in cases(count(scenario, &user, calls)).into_iter().enumerate() {
        let lrun = Lrun::as_user(&user);
        (scenario.prepare)(&lrun);
        let what = disturbance(number);
        let inject = format!("inject={call}:{what}:when={at}");
        let trace = format!("trace={call}");
        let wrapper = ["strace", "-u", &user, "-f", "-qq", "-e", &trace, "-e", &inject, "-o", "/dev/null"];
        let output = lrun.run_in(&wrapper, &scenario.args);
        println!("{}: {call} {at} {what}: code {}", scenario.name, output.code);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        (scenario.check)(&lrun, &output);
        nothing_is_left(&lrun);
    }
}

/// The next command sweeps what was in progress; no process is left.
fn nothing_is_left(lrun: &Lrun) {
    for id in lrun.ok(&["ps", "-aq"]).lines() {
        lrun.ok(&["rm", "-f", id]);
    }
    eventually("no process is left", || lrun.processes().is_empty());
    lrun.ok(&["ps", "-a"]);
    let staging = std::fs::read_dir(lrun.store().join("staging")).expect("staging");
    let left: Vec<_> = staging.filter_map(|entry| Some(entry.ok()?.path())).collect();
    assert!(left.is_empty(), "left in staging: {left:?}");
}

fn with_busybox(lrun: &Lrun) {
    let archive = images("busybox.tar");
    lrun.ok(&["import", archive.to_str().expect("UTF-8"), "busybox"]);
}

const APPEND: &str = "echo data >> /opt/kept; cat /opt/kept";

fn with_a_box(lrun: &Lrun) {
    with_busybox(lrun);
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]);
}

/// The container is there, with the data of its acknowledged runs, and starts again.
fn the_box_has_its_data(lrun: &Lrun, runs: usize) {
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "exited");
    assert!(lrun.ok(&["diff", "box"]).contains("A /opt/kept"));
    let kept = lrun.ok(&["start", "-a", "box"]);
    let lines = kept.lines().filter(|line| *line == "data").count();
    assert!(lines == kept.lines().count() && lines > runs, "{kept:?} after {runs} runs");
}

fn run_of_a_container() -> Scenario {
    Scenario {
        name: "run",
        args: words(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]),
        prepare: with_busybox,
        check: |lrun, output| {
            if output.code == 0 {
                assert_eq!(output.stdout, "data\n");
                the_box_has_its_data(lrun, 1);
            }
            // If it came to be, it can be used; if not, its name is free.
            if lrun.ok(&["ps", "-aq", "--no-trunc", "--filter", "name=^/?box$"]).is_empty() {
                lrun.ok(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]);
            }
            eventually("it ends", || lrun.inspect("box", "{{.State.Running}}") == "false");
            assert!(lrun.ok(&["start", "-a", "box"]).lines().all(|line| line == "data"));
        },
    }
}

fn run_of_one_that_removes_itself() -> Scenario {
    Scenario {
        name: "run --rm",
        args: words(&["run", "--rm", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]),
        prepare: with_busybox,
        check: |lrun, _| {
            eventually("it is gone, or never started", || {
                let states = lrun.ok(&["ps", "-a", "--format", "{{.State}}"]);
                states.is_empty() || states == "created"
            });
        },
    }
}

fn start_of_one() -> Scenario {
    Scenario {
        name: "start",
        args: words(&["start", "-a", "box"]),
        prepare: with_a_box,
        check: |lrun, output| {
            eventually("it ends", || lrun.inspect("box", "{{.State.Running}}") == "false");
            // What was told to have run, did.
            assert!(output.code != 0 || output.stdout == "data\ndata\n", "{output:?}");
            the_box_has_its_data(lrun, if output.code == 0 { 2 } else { 1 });
        },
    }
}

fn commit_of_one() -> Scenario {
    Scenario {
        name: "commit",
        args: words(&["commit", "-m", "kept", "box", "committed"]),
        prepare: with_a_box,
        check: |lrun, output| {
            let id = output.stdout.trim_end();
            assert_eq!(output.code == 0, id.starts_with("sha256:"), "{output:?}");
            if !id.is_empty() {
                assert_eq!(lrun.inspect("committed", "{{.Id}}"), id);
            }
            if lrun.run(&["inspect", "committed"]).code == 0 {
                let run = ["run", "--rm", "--network", "none", "committed", "cat", "/opt/kept"];
                assert_eq!(lrun.ok(&run), "data");
            }
            the_box_has_its_data(lrun, 1);
            lrun.ok(&["commit", "box", "again"]);
            let run = ["run", "--rm", "--network", "none", "again", "cat", "/opt/kept"];
            assert_eq!(lrun.ok(&run), "data\ndata");
        },
    }
}

fn import_of_an_archive() -> Scenario {
    let archive = images("busybox.tar");
    Scenario {
        name: "import",
        args: words(&["import", archive.to_str().expect("UTF-8"), "imported"]),
        prepare: |_| {},
        check: |lrun, output| {
            let id = output.stdout.trim_end();
            assert_eq!(output.code == 0, id.starts_with("sha256:"), "{output:?}");
            if !id.is_empty() {
                assert_eq!(lrun.inspect("imported", "{{.Id}}"), id);
            }
            for name in lrun.ok(&["images", "-q"]).lines() {
                assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", name, "cat", "/var/lib/files/40"]), "file 40");
            }
            let archive = images("busybox.tar");
            lrun.ok(&["import", archive.to_str().expect("UTF-8"), "imported"]);
            assert_eq!(
                lrun.ok(&["run", "--rm", "--network", "none", "imported", "ls", "/var/lib/files"]).lines().count(),
                40
            );
        },
    }
}

fn load_of_two_layers() -> Scenario {
    Scenario {
        name: "load",
        args: words(&["load", "-i", "saved.tar"]),
        prepare: |lrun| {
            with_a_box(lrun);
            lrun.ok(&["commit", "box", "loaded:1"]);
            lrun.ok(&["save", "-o", "saved.tar", "loaded:1"]);
            lrun.ok(&["rm", "box"]);
            lrun.ok(&["rmi", "loaded:1", "busybox"]);
        },
        check: |lrun, output| {
            assert_eq!(output.code == 0, output.stdout == "Loaded image: loaded:1\n", "{output:?}");
            let run = || lrun.ok(&["run", "--rm", "--network", "none", "loaded:1", "cat", "/opt/kept"]);
            if output.code == 0 {
                assert_eq!(run(), "data");
            }
            for name in lrun.ok(&["images", "-q"]).lines() {
                assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", name, "cat", "/opt/kept"]), "data");
            }
            assert_eq!(lrun.run(&["load", "-q", "-i", "saved.tar"]).stdout, "Loaded image: loaded:1\n");
            assert_eq!(run(), "data");
        },
    }
}

#[test]
fn run() {
    kill_at_every_call(&run_of_a_container());
}

#[test]
fn run_that_removes_itself() {
    kill_at_every_call(&run_of_one_that_removes_itself());
}

#[test]
fn start() {
    kill_at_every_call(&start_of_one());
}

#[test]
fn commit() {
    kill_at_every_call(&commit_of_one());
}

#[test]
fn import() {
    kill_at_every_call(&import_of_an_archive());
}

#[test]
fn load() {
    kill_at_every_call(&load_of_two_layers());
}

/// Calls by which files are made, moved and flushed. Those that the container's own program makes are not among them.
const CHANGES: [&str; 8] = ["fchmodat", "fsync", "linkat", "mkdirat", "mknodat", "renameat", "symlinkat", "syncfs"];

#[test]
fn run_on_a_failing_disk() {
    fail_every_call(&run_of_a_container(), &CHANGES);
}

#[test]
fn start_on_a_failing_disk() {
    fail_every_call(&start_of_one(), &CHANGES);
}

#[test]
fn commit_on_a_failing_disk() {
    fail_every_call(&commit_of_one(), &[&CHANGES[..], &["openat", "write", "pwrite64"]].concat());
}

#[test]
fn import_on_a_failing_disk() {
    fail_every_call(&import_of_an_archive(), &[&CHANGES[..], &["openat", "write", "pwrite64"]].concat());
}

#[test]
fn load_on_a_failing_disk() {
    fail_every_call(&load_of_two_layers(), &[&CHANGES[..], &["openat", "write", "pwrite64"]].concat());
}

/// What a removal that was told of must have done, and one that was not may have.
fn removed_or_whole(lrun: &Lrun, told: bool) {
    let listed = lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    let back = lrun.run(&["undelete", "box"]);
    match (told, listed.is_empty()) {
        (true, false) => panic!("it was removed, and is there: {listed:?}"),
        // Either it never went, or it comes back.
        (_, false) => assert_eq!(back.code, 1, "{back:?}"),
        (_, true) => assert_eq!((back.code, back.stderr.as_str()), (0, ""), "{back:?}"),
    }
    the_box_has_its_data(lrun, 1);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

fn removal_of_a_container() -> Scenario {
    Scenario {
        name: "rm",
        args: words(&["rm", "box"]),
        prepare: with_a_box,
        check: |lrun, output| removed_or_whole(lrun, output.stdout == "box\n"),
    }
}

#[test]
fn rm() {
    kill_at_every_call(&removal_of_a_container());
}

#[test]
fn rm_on_a_failing_disk() {
    let check = |lrun: &Lrun, output: &Output| {
        // A disk that takes nothing more keeps no trash: the container was deleted at once, as asked.
        let kept = !lrun.ok(&["undelete", "--list", "--format", "{{.Names}}"]).is_empty();
        match output.code == 0 && !kept {
            true => assert_eq!(lrun.ok(&["ps", "-aq"]), ""),
            false => removed_or_whole(lrun, output.code == 0),
        }
    };
    fail_every_call(&Scenario { check, ..removal_of_a_container() }, &CHANGES);
}

/// No name, no layer and no blob that nothing needs is left once another removal has ended.
fn nothing_unused(lrun: &Lrun) {
    assert_eq!(lrun.ok(&["system", "check"]), "", "nothing is damaged or left over");
}

fn removal_of_an_image() -> Scenario {
    Scenario {
        name: "rmi",
        args: words(&["rmi", "two"]),
        prepare: |lrun| {
            with_a_box(lrun);
            lrun.ok(&["commit", "box", "two"]);
            lrun.ok(&["rm", "--no-trash", "box"]);
        },
        check: |lrun, output| {
            let there = lrun.run(&["inspect", "--type", "image", "two"]).code == 0;
            assert!(!(there && output.code == 0), "{output:?}");
            if there {
                let run = ["run", "--rm", "--network", "none", "two", "cat", "/opt/kept"];
                assert_eq!(lrun.ok(&run), "data");
                lrun.ok(&["rmi", "two"]);
            }
            lrun.ok(&["system", "prune", "-f"]);
            assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "there"]), "there");
            nothing_unused(lrun);
        },
    }
}

#[test]
fn rmi() {
    kill_at_every_call(&removal_of_an_image());
}

#[test]
fn rmi_on_a_failing_disk() {
    fail_every_call(&removal_of_an_image(), &CHANGES);
}

fn prune_of_the_store() -> Scenario {
    Scenario {
        name: "system prune",
        args: words(&["system", "prune", "-f"]),
        prepare: |lrun| {
            with_a_box(lrun);
            lrun.ok(&["commit", "box"]);
            lrun.ok(&["create", "--name", "removed", "busybox", "true"]);
            lrun.ok(&["rm", "removed"]);
        },
        check: |lrun, output| {
            let boxes = lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]);
            assert!(boxes.is_empty() || (boxes == "box" && output.code != 0), "{boxes:?} after {output:?}");
            if !boxes.is_empty() {
                the_box_has_its_data(lrun, 1);
            }
            lrun.ok(&["system", "prune", "-f"]);
            assert_eq!(lrun.ok(&["images", "--format", "{{.Repository}}"]), "busybox");
            assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "there"]), "there");
            nothing_unused(lrun);
        },
    }
}

#[test]
fn prune() {
    kill_at_every_call(&prune_of_the_store());
}

#[test]
fn prune_on_a_failing_disk() {
    fail_every_call(&prune_of_the_store(), &CHANGES);
}
