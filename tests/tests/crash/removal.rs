//! `rm`, `rmi` and `system prune`: done or not, never half; and a removed container comes back.

use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, Output, eventually};

use crate::{CHANGES, the_box_has_its_data, with_a_box};

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
    // What a container with --rm was is still being deleted when its client has ended.
    eventually("nothing is damaged or left over", || lrun.ok(&["system", "check"]).is_empty());
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
