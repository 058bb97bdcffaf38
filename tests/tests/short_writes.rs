//! Writes that take only a part of what they were given: a limit on the size of files cuts each off at some byte. What was
//! acknowledged is whole, what was not is whole or not there, and the same command works without the limit.

use lrun_tests::{Lrun, images};

/// Bytes at which files end: nothing, a part of a record, of an index, of a layer's files.
const LIMITS: [u64; 7] = [0, 1, 100, 700, 5_000, 40_000, 400_000];

/// Runs a command with files of at most so many bytes; whether it said that it worked.
fn limited(lrun: &Lrun, limit: u64, args: &[&str]) -> bool {
    let output = lrun.run_in(&["prlimit", &format!("--fsize={limit}")], args);
    assert!(!output.stderr.contains("panicked"), "{limit}: {args:?}: {output:?}");
    if output.code != 0 {
        // Never by a signal of which nobody knows what it was about.
        assert!(output.stderr.contains("file too large"), "{limit}: {args:?}: {output:?}");
    }
    output.code == 0
}

/// Nothing is damaged; what is left over goes with the next prune.
fn assert_sound(lrun: &Lrun, after: &str) {
    let output = lrun.run(&["system", "check"]);
    assert_eq!(output.code, 0, "{after}: {output:?}");
    assert!(output.stdout.lines().all(|line| line.starts_with("leftover: ")), "{after}: {output:?}");
}

#[test]
fn every_command_that_writes_is_whole_or_not_at_all() {
    let lrun = Lrun::with_busybox();
    let archive = images("busybox.tar");
    let archive = archive.to_str().expect("UTF-8");
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "cp /bin/busybox /opt/copy"]);
    lrun.ok(&["commit", "box", "base"]);
    lrun.ok(&["save", "-o", "saved.tar", "base"]);
    lrun.ok(&["rmi", "base"]);
    std::fs::create_dir(lrun.folder().join("context")).expect("a folder");
    lrun.file("context/Dockerfile", "FROM busybox\nCOPY f /f\nRUN wc -c < /f > /g\n");
    lrun.file("context/f", vec![b'f'; 50_000]);
    let commands: [&[&str]; 9] = [
        &["import", archive, "made"],
        &["load", "-q", "-i", "saved.tar"],
        &["create", "--name", "made", "busybox", "true"],
        &["commit", "box", "made"],
        &["tag", "busybox", "made"],
        &["rename", "box", "box2"],
        &["save", "-o", "out.tar", "busybox"],
        &["run", "--name", "made", "--network", "none", "busybox", "true"],
        &["build", "-q", "--network", "none", "-t", "made", "context"],
    ];
    let mut failed = 0;
    for limit in LIMITS {
        for args in commands {
            let what = format!("{} with at most {limit} bytes", args[0]);
            let worked = limited(&lrun, limit, args);
            failed += usize::from(!worked);
            assert_sound(&lrun, &what);
            match args[0] {
                "rename" if worked => drop(lrun.ok(&["rename", "box2", "box"])),
                "rename" => drop(lrun.ok(&["inspect", "box"])),
                "create" => assert_eq!(lrun.run(&["rm", "--no-trash", "made"]).code, i32::from(!worked), "{what}"),
                // One that was made and could not be started is there, as docker leaves it.
                "run" => assert!(lrun.run(&["rm", "--no-trash", "made"]).code == 0 || !worked, "{what}"),
                "save" => assert_eq!(std::fs::remove_file(lrun.folder().join("out.tar")).is_ok(), worked, "{what}"),
                "load" => assert_eq!(lrun.run(&["rmi", "base"]).code, i32::from(!worked), "{what}"),
                _ => assert_eq!(lrun.run(&["rmi", "made"]).code, i32::from(!worked), "{what}"),
            }
            // What removes needs no file that grows.
            assert!(limited(&lrun, limit, &["system", "prune", "-f", "--filter", "label=none"]), "{what}");
            lrun.ok(&["image", "prune", "-f"]);
            assert_eq!(lrun.ok(&["system", "check"]), "", "{what}");
        }
    }
    assert!(failed > 20, "{failed} commands failed");
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "");
    let copied = lrun.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "md5sum < /bin/busybox"]);
    lrun.ok(&["commit", "box", "last"]);
    let kept = lrun.ok(&["run", "--rm", "--network", "none", "last", "sh", "-c", "md5sum < /opt/copy"]);
    assert_eq!(kept, copied);
}
