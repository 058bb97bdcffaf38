//! What lists and tells beside commands that make, change and remove what is listed.

use std::sync::atomic::{AtomicBool, Ordering};

use lrun_tests::{Lrun, Tar};

const WORKERS: usize = 3;
const ROUNDS: usize = 6;

/// Fails if one of these looks does, while the workers are busy.
fn look_beside(lrun: &Lrun, busy: impl Fn(usize) + Sync, looks: &[&(dyn Fn() + Sync)]) {
    let done = AtomicBool::new(false);
    let watch = |look: &(dyn Fn() + Sync)| {
        while !done.load(Ordering::Relaxed) {
            look();
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn({
                    let busy = &busy;
                    move || busy(worker)
                })
            })
            .collect();
        let watchers: Vec<_> = looks.iter().map(|look| scope.spawn(|| watch(*look))).collect();
        let workers: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in workers.into_iter().chain(watchers.into_iter().map(|watcher| watcher.join())) {
            outcome.expect("no thread panics");
        }
    });
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

/// Nothing but what was asked for is said.
#[track_caller]
fn silent(lrun: &Lrun, args: &[&str]) -> String {
    let output = lrun.run(args);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{args:?}: {}", output.stdout);
    output.stdout
}

/// The same, or the one thing that was named is not here.
#[track_caller]
fn silent_or_gone(lrun: &Lrun, args: &[&str]) {
    let output = lrun.run(args);
    let gone = ["lrun: No such image: ", "Error: No such object: "]
        .iter()
        .any(|words| output.stderr.strip_prefix(words).is_some_and(|name| name.split_whitespace().count() == 1));
    let whole = output.code == 0 && output.stderr.is_empty();
    assert!(whole || (output.code == 1 && gone), "{args:?}: {} {:?}", output.code, output.stderr);
}

/// What a check tells beside others may be work in progress, but nothing is damaged or missing.
#[track_caller]
fn checks(lrun: &Lrun) {
    for line in silent(lrun, &["system", "check", "--quick"]).lines() {
        assert!(line.starts_with("leftover: "), "{line}");
    }
}

/// A listing beside containers that start, end, are renamed and removed never fails and never shows half of one.
#[test]
fn listing_beside_everything_else_never_fails() {
    let lrun = Lrun::with_busybox();
    let busy = |worker: usize| {
        for round in 0..ROUNDS {
            let (name, other) = (format!("w{worker}r{round}"), format!("x{worker}r{round}"));
            lrun.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
            lrun.ok(&["run", "-d", "--name", &name, "--network", "none", "busybox", "sleep", "1000"]);
            lrun.ok(&["rename", &name, &other]);
            lrun.ok(&["rm", "-f", &other]);
            lrun.ok(&["run", "--name", &name, "--network", "none", "busybox", "touch", "/file"]);
            lrun.ok(&["commit", &name, &format!("image{worker}")]);
            lrun.ok(&["rm", &name]);
            lrun.ok(&["rmi", &format!("image{worker}")]);
        }
    };
    let columns = |args: &[&str]| {
        for line in silent(&lrun, args).lines() {
            let fields: Vec<&str> = line.split('|').collect();
            assert!(fields.len() == 3 && fields.iter().all(|field| !field.is_empty()), "{line}");
        }
    };
    let plain = || columns(&["ps", "-a", "--format", "{{.ID}}|{{.Names}}|{{.Status}}"]);
    let sizes = || columns(&["ps", "-as", "--format", "{{.ID}}|{{.Names}}|{{.Size}}"]);
    let store = || {
        silent(&lrun, &["system", "df"]);
        silent(&lrun, &["system", "df", "-v"]);
        silent(&lrun, &["undelete", "--list"]);
        checks(&lrun);
    };
    look_beside(&lrun, busy, &[&plain, &sizes, &store]);
}

/// The same for images that are made, named, used and removed.
#[test]
fn looking_at_images_beside_everything_else_never_fails() {
    let lrun = Lrun::with_busybox();
    let busy = |worker: usize| {
        for round in 0..ROUNDS / 2 {
            let (name, other) = (format!("image{worker}"), format!("host.example/deep/w{worker}r{round}"));
            let layer = Tar::new().file("file", format!("{worker} {round}").as_bytes());
            lrun.import_bytes(&layer.finish(), &name);
            lrun.ok(&["tag", &name, &other]);
            lrun.ok(&["rmi", &name]);
            lrun.ok(&[
                "run",
                "--name",
                &name,
                "--network",
                "none",
                "busybox",
                "sh",
                "-c",
                &format!("echo {name} > /file"),
            ]);
            lrun.ok(&["commit", &name, &name]);
            lrun.ok(&["rm", &name]);
            lrun.ok(&["rmi", "-f", &other, &name]);
            lrun.ok(&["image", "prune", "-f"]);
        }
    };
    let lists = || {
        for line in silent(&lrun, &["images", "--format", "{{.ID}}|{{.Repository}}|{{.Size}}"]).lines() {
            assert!(line.split('|').count() == 3 && !line.contains("||"), "{line}");
        }
        silent(&lrun, &["images", "--filter", "label=none"]);
        assert!(silent(&lrun, &["image", "tree"]).contains("busybox"));
        silent(&lrun, &["system", "df"]);
    };
    let one = || {
        for args in [&["history", "image0"][..], &["inspect", "image1"], &["image", "tree", "image2"]] {
            silent_or_gone(&lrun, args);
        }
    };
    look_beside(&lrun, busy, &[&lists, &one, &|| checks(&lrun)]);
}
