//! Commands that change little: a container, a name, a file; and those that go on beside a running container, which must not
//! notice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, Output, eventually};

use crate::{APPEND, CHANGES, the_box_has_its_data, with_a_box, with_busybox};

/// A container that was told of is there; one that is there can be started.
fn there_if_told(lrun: &Lrun, output: &Output) {
    let id = lrun.ok(&["ps", "-aq", "--no-trunc"]);
    let told = output.stdout.trim_end();
    assert!(told == id || (told.is_empty() && output.code != 0), "{output:?}");
    if id.is_empty() {
        lrun.ok(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]);
    }
    eventually("it ends", || lrun.inspect("box", "{{.State.Running}}") == "false");
    lrun.ok(&["start", "-a", "box"]);
    the_box_has_its_data(lrun, 1);
}

fn run_in_the_background() -> Scenario {
    Scenario {
        name: "run -d",
        args: words(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]),
        prepare: with_busybox,
        check: there_if_told,
    }
}

fn create_of_one() -> Scenario {
    Scenario {
        name: "create",
        args: words(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", APPEND]),
        prepare: with_busybox,
        check: there_if_told,
    }
}

fn rename_of_one() -> Scenario {
    Scenario {
        name: "rename",
        args: words(&["rename", "box", "other"]),
        prepare: with_a_box,
        check: |lrun, output| {
            let name = lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]);
            match (name.as_str(), output.code) {
                ("other", _) => drop(lrun.ok(&["rename", "other", "box"])),
                // The new name is free.
                ("box", 1..) => ["other", "box"].iter().zip(["box", "other"]).for_each(|(to, from)| {
                    lrun.ok(&["rename", from, to]);
                }),
                _ => panic!("{name} after {output:?}"),
            }
            the_box_has_its_data(lrun, 1);
        },
    }
}

fn tag_of_an_image() -> Scenario {
    Scenario {
        name: "tag",
        args: words(&["tag", "busybox", "other:1"]),
        prepare: with_busybox,
        check: |lrun, output| {
            let is_there = lrun.run(&["inspect", "other:1"]).code == 0;
            assert!(is_there || output.code != 0, "{output:?}");
            if !is_there {
                lrun.ok(&["tag", "busybox", "other:1"]);
            }
            assert_eq!(lrun.inspect("other:1", "{{.Id}}"), lrun.inspect("busybox", "{{.Id}}"));
            assert_eq!(lrun.ok(&["rmi", "other:1"]), "Untagged: other:1");
            assert_eq!(lrun.ok(&["system", "check"]), "");
        },
    }
}

fn undelete_of_one() -> Scenario {
    Scenario {
        name: "undelete",
        args: words(&["undelete", "box"]),
        prepare: |lrun| {
            with_a_box(lrun);
            lrun.ok(&["rm", "box"]);
        },
        check: |lrun, output| {
            let is_there = lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]) == "box";
            assert!(is_there || output.code != 0, "{output:?}");
            assert_eq!(lrun.run(&["undelete", "box"]).code, i32::from(is_there));
            the_box_has_its_data(lrun, 1);
            assert_eq!(lrun.ok(&["system", "check"]), "");
        },
    }
}

fn copy_into_one() -> Scenario {
    Scenario {
        name: "cp",
        args: words(&["cp", "new", "box:/opt/kept"]),
        prepare: |lrun| {
            with_a_box(lrun);
            lrun.file("new", "data\n".repeat(2));
        },
        check: |lrun, output| {
            // The old file or the new one.
            the_box_has_its_data(lrun, if output.code == 0 { 2 } else { 1 });
            lrun.ok(&["cp", "-q", "new", "box:/opt/kept"]);
            the_box_has_its_data(lrun, 2);
        },
    }
}

fn save_of_an_image() -> Scenario {
    Scenario {
        name: "save",
        args: words(&["save", "-o", "saved.tar", "busybox"]),
        prepare: with_busybox,
        check: |lrun, output| {
            let is_there = lrun.folder().join("saved.tar").exists();
            assert!(is_there || output.code != 0, "{output:?}");
            if !is_there {
                lrun.ok(&["save", "-o", "saved.tar", "busybox"]);
            }
            lrun.ok(&["rmi", "busybox"]);
            assert_eq!(lrun.run(&["load", "-q", "-i", "saved.tar"]).code, 0);
            assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "there"]), "there");
            let names = fs::read_dir(lrun.folder()).expect("the folder").flatten().map(|entry| entry.file_name());
            let left: Vec<_> = names.filter(|name| name != "home" && name != "store" && name != "saved.tar").collect();
            assert!(output.code == 137 || left.is_empty(), "{left:?} after {output:?}");
        },
    }
}

/// It says that it lives, and knows how often it was told to write.
fn with_a_running_box(lrun: &Lrun) {
    with_busybox(lrun);
    let script = "echo data > /opt/kept; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    lrun.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    eventually("it has written", || lrun.run(&["exec", "box", "grep", "data", "/opt/kept"]).code == 0);
}

/// The container was not ended, stopped or changed, and nothing but its own is in it.
fn it_still_runs(lrun: &Lrun) {
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "running");
    eventually("nobody else is in it", || {
        let programs = lrun.ok(&["top", "box", "-o", "args"]);
        programs.lines().skip(1).all(|line| line.starts_with("sh -c echo") || line.starts_with("sleep 0.05"))
    });
    assert_eq!(lrun.ok(&["exec", "box", "grep", "-q", "^data", "/opt/kept"]), "");
    lrun.ok(&["stop", "box"]);
    assert_eq!(lrun.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
}

fn exec_in_a_running_one() -> Scenario {
    Scenario {
        name: "exec",
        args: words(&["exec", "box", "sh", "-c", APPEND]),
        prepare: with_a_running_box,
        check: |lrun, output| {
            assert!(output.code != 0 || output.stdout == "data\ndata\n", "{output:?}");
            it_still_runs(lrun);
        },
    }
}

fn commit_of_a_running_one() -> Scenario {
    Scenario {
        name: "commit of a running one",
        args: words(&["commit", "box", "committed"]),
        prepare: with_a_running_box,
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
            it_still_runs(lrun);
        },
    }
}

fn stop_of_one() -> Scenario {
    Scenario {
        name: "stop",
        args: words(&["stop", "box"]),
        prepare: with_a_running_box,
        check: |lrun, output| {
            if output.code != 0 {
                // It may have been told to end or not.
                lrun.ok(&["stop", "box"]);
            }
            assert_eq!(lrun.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0", "{output:?}");
        },
    }
}

fn restart_of_one() -> Scenario {
    Scenario {
        name: "restart",
        args: words(&["restart", "box"]),
        prepare: |lrun| {
            with_busybox(lrun);
            // The first run waits to be stopped, the others end by themselves.
            let script = format!(
                "{APPEND} >/tmp/said; [ $(wc -l </opt/kept) = 1 ] || exec cat /tmp/said; trap 'exit 0' TERM; \
                 while :; do sleep 0.05; done"
            );
            lrun.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", &script]);
            eventually("it has written", || lrun.run(&["exec", "box", "grep", "data", "/opt/kept"]).code == 0);
        },
        check: |lrun, output| {
            if output.code != 0 {
                // It may have been told to end or not.
                lrun.ok(&["stop", "box"]);
            }
            eventually("it ends", || lrun.inspect("box", "{{.State.Running}}") == "false");
            the_box_has_its_data(lrun, if output.code == 0 { 2 } else { 1 });
        },
    }
}

fn pause_of_one() -> Scenario {
    Scenario {
        name: "pause",
        args: words(&["pause", "box"]),
        prepare: with_a_running_box,
        check: |lrun, output| {
            let status = lrun.inspect("box", "{{.State.Status}}");
            assert!(status == "paused" || (status == "running" && output.code != 0), "{status} after {output:?}");
            if status == "paused" {
                lrun.ok(&["unpause", "box"]);
            }
            it_still_runs(lrun);
        },
    }
}

fn repair_of_a_layer() -> Scenario {
    Scenario {
        name: "system check --repair",
        args: words(&["system", "check", "--repair"]),
        prepare: |lrun| {
            with_a_box(lrun);
            // Another layer that has the same contents; it has one digest, so that the layers are looked at in one order.
            let copy = "cp -a /var/lib/files /opt/ && touch -d @0 /opt";
            lrun.ok(&["run", "--name", "copy", "--network", "none", "busybox", "sh", "-c", copy]);
            lrun.ok(&["commit", "copy", "copied"]);
            let layers = fs::read_dir(lrun.store().join("layers")).expect("layers").flatten();
            let tree = layers.map(|layer| layer.path().join("diff")).find(|tree| tree.join("var/lib/files").exists());
            let files = tree.expect("busybox's layer").join("var/lib/files");
            fs::set_permissions(files.join("1"), fs::Permissions::from_mode(0o600)).expect("chmod");
            fs::rename(files.join("2"), files.join("two")).expect("rename");
            fs::write(files.join("3"), "FILE 3\n").expect("write");
        },
        check: |lrun, output| {
            let again = lrun.run(&["system", "check", "--repair"]);
            assert_eq!(again.code, 0, "{again:?} after {output:?}");
            assert_eq!(lrun.ok(&["system", "check"]), "");
            let look = "stat -c %a /var/lib/files/1; cat /var/lib/files/[23]; ls /var/lib/files | wc -l";
            let run = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", look];
            assert_eq!(lrun.ok(&run), "644\nfile 2\nfile 3\n40");
            the_box_has_its_data(lrun, 1);
        },
    }
}

#[test]
fn run_in_the_background_and_create() {
    kill_at_every_call(&run_in_the_background());
    kill_at_every_call(&create_of_one());
}

#[test]
fn rename_and_tag() {
    kill_at_every_call(&rename_of_one());
    kill_at_every_call(&tag_of_an_image());
}

#[test]
fn undelete_and_cp() {
    kill_at_every_call(&undelete_of_one());
    kill_at_every_call(&copy_into_one());
}

#[test]
fn save() {
    kill_at_every_call(&save_of_an_image());
}

#[test]
fn exec_and_stop() {
    kill_at_every_call(&exec_in_a_running_one());
    kill_at_every_call(&stop_of_one());
}

#[test]
fn restart_and_pause() {
    kill_at_every_call(&restart_of_one());
    kill_at_every_call(&pause_of_one());
}

#[test]
fn repair() {
    kill_at_every_call(&repair_of_a_layer());
}

#[test]
fn repair_on_a_failing_disk() {
    fail_every_call(&repair_of_a_layer(), &CHANGES);
}

#[test]
fn commit_while_it_runs() {
    kill_at_every_call(&commit_of_a_running_one());
}

#[test]
fn names_on_a_failing_disk() {
    fail_every_call(&create_of_one(), &CHANGES);
    fail_every_call(&rename_of_one(), &CHANGES);
    fail_every_call(&tag_of_an_image(), &CHANGES);
    fail_every_call(&undelete_of_one(), &CHANGES);
}

#[test]
fn files_on_a_failing_disk() {
    fail_every_call(&copy_into_one(), &CHANGES);
    fail_every_call(&save_of_an_image(), &CHANGES);
    fail_every_call(&commit_of_a_running_one(), &CHANGES);
}
