//! Builds that are killed, builds on a disk that fails or is full, and builds beside each other and beside commands that take
//! images away: what is there afterwards is whole, `system check` finds nothing, and the next build works.

use std::fs;
use std::path::PathBuf;

use lrun_tests::build::cached;
use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, Mode, images, mode, skip};

const DOCKERFILE: &str = "FROM busybox AS one\nRUN echo one > /one\nFROM busybox\nCOPY d /d/\nENV A=1\nRUN cat /d/* > /all && rm /d/f3\nCOPY --from=one /one /\nWORKDIR /w\n";
const BUILD: [&str; 6] = ["build", "--network", "none", "-t", "built", "context"];
/// What is in the image that it makes.
const LOOK: [&str; 8] = ["run", "--rm", "--network", "none", "built", "sh", "-c", "cat /all /one; pwd; ls /d; echo $A"];
const SEEN: &str = "012345one\n/w\nf0\nf1\nf2\nf4\nf5\n1";

fn context(lrun: &Lrun) -> PathBuf {
    let folder = lrun.folder().join("context");
    fs::create_dir_all(folder.join("d")).expect("a folder");
    fs::write(folder.join("Dockerfile"), DOCKERFILE).expect("a file");
    for n in 0..6 {
        fs::write(folder.join(format!("d/f{n}")), n.to_string()).expect("a file");
    }
    folder
}

fn with_a_context(lrun: &Lrun) {
    let archive = images("busybox.tar");
    lrun.ok(&["import", archive.to_str().expect("UTF-8"), "busybox"]);
    context(lrun);
}

/// The container of a step whose command failed is kept; nothing else is left, and a build works.
fn builds_again(lrun: &Lrun) {
    for id in lrun.ok(&["ps", "-aq"]).lines() {
        lrun.ok(&["rm", "-f", "--no-trash", id]);
    }
    let again = lrun.run(&BUILD);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(lrun.ok(&LOOK), SEEN);
    let again = lrun.run(&BUILD);
    assert_eq!(cached(&again), 6, "{}", again.stderr);
    lrun.ok(&["system", "prune", "-f"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    assert_eq!(lrun.ok(&LOOK), SEEN);
}

fn build_of_two_stages() -> Scenario {
    Scenario {
        name: "build",
        args: words(&BUILD),
        prepare: with_a_context,
        check: |lrun, output| {
            let there = lrun.run(&["image", "inspect", "built"]).code == 0;
            assert!(there || output.code != 0, "{output:?}");
            if there {
                assert_eq!(lrun.ok(&LOOK), SEEN);
            }
            // Each step's image that is there can be run.
            for image in lrun.ok(&["images", "-aq"]).lines() {
                lrun.ok(&["run", "--rm", "--network", "none", image, "true"]);
            }
            builds_again(lrun);
        },
    }
}

#[test]
fn a_build_that_is_killed() {
    kill_at_every_call(&build_of_two_stages());
}

#[test]
fn a_build_on_a_failing_disk() {
    let calls = ["fchmodat", "fsync", "linkat", "mkdirat", "renameat", "syncfs", "openat", "write", "pwrite64"];
    fail_every_call(&build_of_two_stages(), &calls);
}

#[test]
fn a_build_of_which_the_client_is_killed_at_any_moment() {
    let lrun = Lrun::with_busybox();
    context(&lrun);
    for milliseconds in [0, 20, 50, 90, 140, 200, 280, 400] {
        let mut build = lrun.spawn(&[&BUILD[..], &["--no-cache"]].concat());
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        build.child.kill().expect("it is there");
        build.wait();
        lrun_tests::eventually("nothing runs", || lrun.ok(&["ps", "-q"]).is_empty());
        builds_again(&lrun);
    }
}

#[test]
fn eight_builds_at_once() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun);
    let running: Vec<_> = (0..8).map(|_| lrun.spawn(&BUILD)).collect();
    for build in running {
        let output = build.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    builds_again(&lrun);
    // And with other contents, each its own.
    let running: Vec<_> = (0..8)
        .map(|n| {
            let own = lrun.folder().join(format!("own{n}"));
            fs::create_dir(&own).expect("a folder");
            fs::copy(folder.join("d/f1"), own.join("f")).expect("a file");
            fs::write(own.join("Dockerfile"), format!("FROM busybox\nCOPY f /f\nRUN echo {n} > /n\n")).expect("a file");
            let own = own.to_str().expect("UTF-8").to_owned();
            lrun.spawn(&["build", "-q", "--network", "none", "-t", &format!("own{n}"), &own])
        })
        .collect();
    for (n, build) in running.into_iter().enumerate() {
        let output = build.wait();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        let seen = lrun.ok(&["run", "--rm", "--network", "none", &format!("own{n}"), "cat", "/f", "/n"]);
        assert_eq!(seen, format!("1{n}"));
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

#[test]
fn builds_beside_commands_that_take_away() {
    let lrun = Lrun::with_busybox();
    context(&lrun);
    for round in 0..4 {
        let flags: &[&str] = if round % 2 == 0 { &[] } else { &["--no-cache"] };
        let builds: Vec<_> = (0..2).map(|_| lrun.spawn(&[&BUILD[..], flags].concat())).collect();
        let others = [
            &["image", "prune", "-f"][..],
            &["builder", "prune", "-f"],
            &["builder", "prune", "-a", "-f"],
            &["rmi", "built"],
            &["image", "prune", "-f"],
            &["system", "prune", "-f"],
        ];
        for other in others.map(|args| lrun.spawn(args)) {
            let output = other.wait();
            // There may be no image to remove yet.
            assert!(output.code == 0 || output.stderr.contains("No such image"), "{output:?}");
        }
        for build in builds {
            let output = build.wait();
            assert_eq!(output.code, 0, "{}", output.stderr);
        }
        assert_eq!(lrun.ok(&["ps", "-aq"]), "");
        builds_again(&lrun);
    }
}

/// On disks of sizes at which one step or the other finds no room.
#[test]
fn a_build_on_a_full_disk() {
    if mode() != Mode::Root {
        skip!("only root can mount a small disk");
    }
    let lrun = Lrun::new();
    let folder = context(&lrun);
    let dockerfile = format!("{DOCKERFILE}RUN dd if=/dev/zero of=/big bs=1M count=3 && echo done > /done\n");
    fs::write(folder.join("Dockerfile"), dockerfile).expect("a file");
    fs::create_dir(lrun.store()).expect("a mount point");
    let archive = images("busybox.tar");
    let mut failed = 0;
    for kib in [2900, 3200, 3600, 4400, 6000, 9000] {
        let script = format!(
            "mount -t tmpfs -o size={kib}k none \"$LRUN_ROOT\" && L=\"$1\"; \"$L\" import {} busybox >/dev/null || exit 9
             \"$L\" build --network none -t built context >/dev/null; echo $?
             \"$L\" images -q built | wc -l; ls -A \"$LRUN_ROOT/staging\"; \"$L\" ps -q; \"$L\" system check
             \"$L\" rm --no-trash $(\"$L\" ps -aq) >/dev/null 2>&1; mount -o remount,size=30m \"$LRUN_ROOT\"
             for i in $(\"$L\" images -aq); do \"$L\" run --rm --network none $i true || echo $i does not run; done
             \"$L\" build -q --network none -t built context >/dev/null && \"$L\" run --rm --network none built cat /done",
            archive.display()
        );
        let output = lrun.spawn_in(&["unshare", "-m", "sh", "-c", &script, "sh"], &[] as &[&str]).wait();
        if output.code == 9 {
            continue;
        }
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        let (code, rest) = output.stdout.split_once('\n').expect("lines");
        match code {
            "0" => assert_eq!(rest, "1\ndone\n", "{kib}: {output:?}"),
            _ => {
                failed += 1;
                assert_eq!(rest, "0\ndone\n", "{kib}: {output:?}");
                let said = output.stderr.to_lowercase();
                assert!(said.contains("no space left on device"), "{kib}: {output:?}");
            }
        }
    }
    assert!(failed > 1, "no disk was too small");
}
