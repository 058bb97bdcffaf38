//! Two commands at once on one container or image: each has its effect, or says why not, in the words that it has when
//! nobody else is there. Nothing hangs, and nothing is lost or left half done.

use std::time::Duration;

use lrun_tests::{Lrun, Output, long};

/// How often each two meet.
fn rounds() -> std::ops::Range<u32> {
    0..if long() { 4 } else { 1 }
}

/// How a container is made that the commands are for.
#[derive(Clone, Copy, Debug)]
enum Made {
    Running,
    /// It ends by itself, soon.
    Ending,
    /// The same, with `--rm`.
    Leaving,
    Stopped,
    Removed,
}

use Made::{Ending, Leaving, Removed, Running, Stopped};

impl Made {
    fn make(self, lrun: &Lrun, name: &str, round: u32) {
        let soon = format!("touch /opt/file; usleep {}", 3000 + round * 25_000);
        let (flags, command): (&[&str], &str) = match self {
            Running => (&["-d"], "touch /opt/file; trap 'exit 3' TERM; while :; do sleep 0.05; done"),
            Ending => (&["-d"], &soon),
            Leaving => (&["-d", "--rm"], &soon),
            Stopped | Removed => (&[], "touch /opt/file"),
        };
        lrun.ok(&[&["run", "--name", name, "--network", "none"], flags, &["busybox", "sh", "-c", command]].concat());
        if matches!(self, Removed) {
            lrun.ok(&["rm", name]);
        }
    }
}

/// What a command may say of a container or an image that another one works on.
const SAID: [&str; 20] = [
    "lrun: No such container: ",
    "lrun: No such container in the trash: ",
    "lrun: the trash is empty",
    "No such image: ",
    "Error: No such object: ",
    " is not running",
    " is not paused",
    " is already paused",
    " is paused, unpause the container before exec",
    "cannot start a paused container, try unpause instead",
    "You cannot attach to a paused container, unpause it first",
    "You cannot attach to a stopped container, start it first",
    "container is paused and must be unpaused first",
    "container is running: stop the container before removing or force remove",
    "the container ended",
    // By a kill that came while it started.
    "init died before the entrypoint was started: signal 9",
    "Renaming a container with the same name as its current name",
    "Conflict. The container name ",
    "image has dependent child images",
    " is using its referenced image ",
];

#[track_caller]
fn sensible(what: &str, args: &[&str], output: &Output) {
    let first = output.stderr.lines().next().unwrap_or_default();
    let refused = matches!(output.code, 1 | 125 | 126) && SAID.iter().any(|words| first.contains(words));
    // What the program ended with, where that is told.
    let ended = matches!(output.code, 3 | 137 | 143 | 255) && matches!(args[0], "exec" | "attach");
    let quiet = output.code == 1 && args.get(1) == Some(&"exists") && first.is_empty();
    assert!(output.code == 0 || refused || ended || quiet, "{what}: {args:?}: {} {:?}", output.code, output.stderr);
}

/// Runs the two at once, on containers that are made like this, several times.
fn at_once(lrun: &Lrun, made: Made, one: &str, other: &str) {
    for round in rounds() {
        made.make(lrun, "box", round);
        let what = format!("{made:?}, {one} and {other}");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let all = [words(one), words(other)].map(|args| (lrun.spawn(&args), args));
        for (running, args) in all {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            if (one, args[0]) == ("pause box", "exec") {
                // What was there when the container was paused stands still with it.
                lrun.run(&["unpause", "box"]);
            }
            sensible(&what, &args, &running.wait_for(Duration::from_secs(60)));
        }
        let ids = lrun.ok(&["ps", "-aq", "--no-trunc"]);
        let kept = ids.lines().count();
        assert!(kept <= 1, "{what}: {ids}");
        lrun.ok(&["rm", "-f", "--all"]);
        assert_eq!(lrun.ok(&["system", "check", "--quick"]), "", "{what}");
        assert!(kept == 1 || matches!(made, Leaving) || lrun.run(&["undelete"]).code == 0, "{what}: it is lost");
        lrun.ok(&["rm", "-f", "--all", "--no-trash"]);
        lrun.ok(&["container", "prune", "-f"]);
    }
}

#[test]
fn a_removal_beside_anything() {
    let lrun = Lrun::with_busybox();
    for other in [
        "rm -f box",
        "stop box",
        "restart -t 1 box",
        "commit box image",
        "commit --no-pause box image",
        "pause box",
        "exec box true",
        "logs -f box",
        "attach box",
        "wait box",
        "cp box:/etc/passwd -",
        "diff box",
        "export -o /dev/null box",
        "rename box box2",
        "inspect -s box",
        "top box",
        "kill box",
        "port box",
        "container exists box",
    ] {
        at_once(&lrun, Running, "rm -f box", other);
    }
    for other in ["rm box", "start box", "commit box image", "cp box:/etc/passwd -", "diff box", "restart box"] {
        at_once(&lrun, Stopped, "rm box", other);
    }
}

#[test]
fn an_end_beside_anything() {
    let lrun = Lrun::with_busybox();
    for other in [
        "exec box true",
        "commit box image",
        "commit --no-pause box image",
        "cp box:/etc/passwd -",
        "attach box",
        "kill box",
        "stop box",
        "restart -t 1 box",
        "top box",
        "logs -f box",
        "wait box",
        "unpause box",
        "inspect -s box",
    ] {
        at_once(&lrun, Ending, "wait box", other);
        at_once(&lrun, Leaving, "ps -as", other);
    }
    for made in [Ending, Leaving] {
        at_once(&lrun, made, "inspect box", "pause box");
    }
}

#[test]
fn two_of_a_kind_and_their_opposites() {
    let lrun = Lrun::with_busybox();
    for (one, other) in [
        ("pause box", "pause box"),
        ("pause box", "stop -t 1 box"),
        ("pause box", "unpause box"),
        ("pause box", "exec box true"),
        ("rename box box1", "rename box box2"),
        ("restart -t 1 box", "restart -t 1 box"),
        ("restart -t 1 box", "stop box"),
        ("stop box", "stop box"),
        ("stop box", "exec box true"),
        ("kill box", "exec box true"),
        ("kill box", "start box"),
        ("commit box image", "commit box image"),
        ("commit box image", "stop box"),
        ("stop box", "attach box"),
    ] {
        at_once(&lrun, Running, one, other);
    }
    for (one, other) in
        [("start box", "start box"), ("start box", "commit box image"), ("commit box image", "commit box other")]
    {
        at_once(&lrun, Stopped, one, other);
    }
}

/// What is in the trash comes back once, or is gone.
#[test]
fn the_trash_has_one_truth() {
    let lrun = Lrun::with_busybox();
    for other in
        ["undelete box", "undelete", "container prune -f", "system prune -f", "undelete --list", "system check"]
    {
        for round in rounds() {
            Removed.make(&lrun, "box", round);
            let all = [vec!["undelete", "box"], other.split(' ').collect()].map(|args| (lrun.spawn(&args), args));
            let mut back = 0;
            for (running, args) in all {
                let output = running.wait_for(Duration::from_secs(60));
                sensible(other, &args, &output);
                back += u32::from(output.code == 0 && args[0] == "undelete" && args.last() != Some(&"--list"));
            }
            assert!(back <= 1, "{other}");
            assert!(back == 1 || other.contains("prune"), "{other}");
            lrun.ok(&["rm", "-f", "--all", "--no-trash"]);
            lrun.ok(&["container", "prune", "-f"]);
        }
    }
}

#[test]
fn an_image_goes_beside_what_uses_it() {
    let lrun = Lrun::with_busybox();
    for other in [
        "save -o /dev/null image",
        "run --rm --pull never --network none image true",
        "create --pull never --name box image",
        "tag image other",
        "rmi image",
        "history image",
        "image tree image",
        "inspect image",
        "image prune -f",
        "image exists image",
    ] {
        for round in rounds() {
            Stopped.make(&lrun, "made", round);
            lrun.ok(&["commit", "made", "image"]);
            lrun.ok(&["rm", "--no-trash", "made"]);
            let all = [vec!["rmi", "image"], other.split(' ').collect()].map(|args| (lrun.spawn(&args), args));
            for (running, args) in all {
                sensible(other, &args, &running.wait_for(Duration::from_secs(60)));
            }
            lrun.ok(&["rm", "-f", "--all", "--no-trash"]);
            lrun.run(&["rmi", "-f", "image", "other"]);
            // A layer that somebody was just using is left to the next collection.
            lrun.ok(&["image", "prune", "-f"]);
            assert_eq!(lrun.ok(&["system", "check", "--quick"]), "", "{other}");
        }
    }
}
