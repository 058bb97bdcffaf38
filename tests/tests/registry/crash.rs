//! `kill -9` at system calls of `pull` and `push`, and calls that fail: an image that is there is whole, the store is
//! unharmed, and the same command brings it to its end afterwards.

use std::sync::{Arc, OnceLock};

use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, Output, images};

use crate::fake::{Content, architecture, insecure, layer};
use crate::server::Server;
use crate::uploads::{Shared, take};

/// A registry with an image of two layers, which takes what is pushed, too.
fn registry() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut content = Content::default();
        let busybox = std::fs::read(images("busybox.tar")).expect("busybox.tar");
        content.image("latest", architecture(), &[busybox, layer("more", 300_000)]);
        let got = Arc::new(Shared::default());
        Server::start("127.0.0.1", move |request| match request.path.starts_with("/v2/pushed/") {
            true => take(&got, request),
            false => content.answer(request),
        })
    })
}

/// The store is there already: how ids are mapped is decided with it.
fn knows_the_registry(lrun: &Lrun) {
    insecure(lrun, &[&registry().name()]);
    lrun.ok(&["images"]);
}

/// An image that is listed has all its files, and nothing in the store is damaged.
fn images_are_whole(lrun: &Lrun) {
    for id in lrun.ok(&["images", "-q"]).lines() {
        let run = ["run", "--rm", "--network", "none", id, "sh", "-c", "cat /var/lib/files/40; wc -c < /d/more"];
        assert_eq!(lrun.ok(&run), "file 40\n300000");
    }
    let found = lrun.run(&["system", "check"]).stdout;
    // What came whole is kept for the next try.
    assert!(found.lines().all(|line| line.starts_with("leftover: ")), "{found}");
}

/// After a collection there is nothing but whole images.
fn nothing_is_left_over(lrun: &Lrun) {
    lrun.ok(&["system", "prune", "-f"]);
    images_are_whole(lrun);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    assert_eq!(lrun.ok(&["images", "-q"]).lines().collect::<std::collections::BTreeSet<_>>().len(), 1);
}

fn pull_of_two_layers() -> Scenario {
    let name = format!("{}/x", registry().name());
    Scenario {
        name: "pull",
        args: words(&["pull", &name]),
        prepare: knows_the_registry,
        check: |lrun, output| {
            let name = format!("{}/x:latest", registry().name());
            let told = output.stdout.ends_with(&format!("\n{name}\n"));
            let is_named = lrun.run(&["inspect", &name]).code == 0;
            assert!(told || output.code != 0, "{output:?}");
            assert!(is_named || !told, "{output:?}");
            images_are_whole(lrun);
            let again = lrun.run(&["pull", &name]);
            assert_eq!(again.code, 0, "{}", again.stderr);
            assert!(!is_named || again.stdout.contains("Image is up to date"), "{again:?}");
            assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 1);
            nothing_is_left_over(lrun);
        },
    }
}

/// The image that was to be pushed, or was, is what it was, and can be pushed.
fn pushed_or_unharmed(lrun: &Lrun, output: &Output) {
    let name = format!("{}/pushed/x:latest", registry().name());
    let told = output.stdout.contains("digest: sha256:");
    assert!(told || output.code != 0, "{output:?}");
    lrun.inspect(&name, "{{.Id}}");
    images_are_whole(lrun);
    let again = lrun.run(&["push", &name]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    if told {
        assert!(again.stderr.matches(": Layer already exists").count() == 2, "{}", again.stderr);
        let digest = |output: &Output| {
            output.stdout.split_whitespace().find(|word| word.starts_with("sha256:")).map(str::to_owned)
        };
        assert_eq!(digest(&again), digest(output));
    }
    nothing_is_left_over(lrun);
}

fn push_of_two_layers() -> Scenario {
    let name = format!("{}/pushed/x", registry().name());
    Scenario {
        name: "push",
        args: words(&["push", &name]),
        prepare: |lrun| {
            knows_the_registry(lrun);
            let from = format!("{}/x", registry().name());
            assert_eq!(lrun.run(&["pull", "-q", &from]).code, 0);
            lrun.ok(&["tag", &from, &format!("{}/pushed/x", registry().name())]);
            lrun.ok(&["rmi", &from]);
        },
        check: pushed_or_unharmed,
    }
}

#[test]
fn pull() {
    kill_at_every_call(&pull_of_two_layers());
}

#[test]
fn push() {
    kill_at_every_call(&push_of_two_layers());
}

/// A limit on the size of files cuts each off at some byte.
#[test]
fn pull_and_push_whose_files_end_early() {
    let lrun = Lrun::new();
    knows_the_registry(&lrun);
    let (name, pushed) = (format!("{}/x", registry().name()), format!("{}/pushed/x", registry().name()));
    let limited = |limit: u64, args: &[&str]| {
        let output = lrun.run_in(&["prlimit", &format!("--fsize={limit}")], args);
        assert!(output.code == 0 || output.stderr.contains("file too large"), "{limit}: {output:?}");
        output
    };
    let mut failed = 0;
    for limit in [0, 100, 700, 5_000, 40_000, 400_000, 40_000_000] {
        let output = limited(limit, &["pull", "-q", &name]);
        failed += output.code;
        images_are_whole(&lrun);
        assert_eq!(lrun.run(&["rmi", &name]).code, output.code, "{limit}: {output:?}");
        assert_eq!(lrun.run(&["pull", "-q", &name]).code, 0);
        lrun.ok(&["tag", &name, &pushed]);
        lrun.ok(&["rmi", &name]);
        pushed_or_unharmed(&lrun, &limited(limit, &["push", &pushed]));
        lrun.ok(&["rmi", &pushed]);
    }
    assert!((2..7).contains(&failed), "{failed} were cut off");
}

/// Calls by which files are made, moved, flushed and written.
const CHANGES: [&str; 8] = ["fsync", "linkat", "mkdirat", "openat", "pwrite64", "renameat", "syncfs", "write"];

#[test]
fn pull_on_a_failing_disk() {
    fail_every_call(&pull_of_two_layers(), &CHANGES);
}

#[test]
fn push_on_a_failing_disk() {
    fail_every_call(&push_of_two_layers(), &CHANGES);
}
