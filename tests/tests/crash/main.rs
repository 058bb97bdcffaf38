//! `kill -9` at system calls of commands, and calls that fail: whatever process makes the call, what was acknowledged before is
//! there afterwards, the container's files are never lost, and the next commands clean up. Here `run`, `start`, `commit`,
//! `import` and `load`; in modules what removes, and the smaller commands.

mod removal;
mod small;

use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, eventually, images};

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
            assert!(output.code != 0 || id.starts_with("sha256:"), "{output:?}");
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
            assert!(output.code != 0 || id.starts_with("sha256:"), "{output:?}");
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
            let told = output.stdout == "Loaded image: loaded:1\n";
            assert!(told || output.code != 0, "{output:?}");
            let run = || lrun.ok(&["run", "--rm", "--network", "none", "loaded:1", "cat", "/opt/kept"]);
            if told {
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
