//! Digests of trees on disk, with and without what is known of them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::build::context::{Chmod, Patterns, Request};

const ROOTS: Placed = Placed { owner: Some((0, 0)), mode: None, mtime: None };

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("d/e")).expect("directories");
    for n in 0..40 {
        fs::write(at(&format!("d/f{n}")), format!("content {n}")).expect("a file");
    }
    fs::write(at("d/e/g"), "g").expect("a file");
    symlink("f1", at("d/link")).expect("a link");
    root
}

fn digest_of(root: &Path, placed: &Placed, hashes: &mut Hashes) -> Result<Digest> {
    let context = Context::open(root)?;
    let request = Request { sources: &[b"."], parents: false, exclude: &Patterns::default() };
    context.digest(&mut context.select(&request)?, placed, hashes)
}

fn digest(root: &Path) -> Digest {
    digest_of(root, &ROOTS, &mut Hashes::default()).expect("it is hashed")
}

/// Lets the clock of file changes go on, so that what is there is remembered.
fn wait() {
    std::thread::sleep(Duration::from_millis(3100));
}

#[test]
fn the_same_content_has_the_same_digest() {
    let (one, two) = (tree(), tree());
    let first = digest(one.path());
    assert_eq!(first, digest(two.path()));
    File::open(two.path().join("d/f3")).expect("it opens").set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    let copy = two.path().join("d/new");
    fs::copy(two.path().join("d/f4"), &copy).expect("a copy");
    fs::rename(&copy, two.path().join("d/f4")).expect("it takes its place");
    assert_eq!(first, digest(two.path()));
}

#[test]
fn everything_that_arrives_counts() {
    let base = tree();
    let before = digest(base.path());
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: &[Change<'_>] = &[
        ("content", &|root| fs::write(root.join("d/f5"), "Content 5").expect("a file")),
        ("a name", &|root| fs::rename(root.join("d/f5"), root.join("d/f50")).expect("a name")),
        ("a new file", &|root| fs::write(root.join("d/e/h"), "").expect("a file")),
        ("a new directory", &|root| fs::create_dir(root.join("d/e/h")).expect("a directory")),
        ("a missing file", &|root| fs::remove_file(root.join("d/f7")).expect("it goes")),
        ("a mode", &|root| fs::set_permissions(root.join("d/f5"), Permissions::from_mode(0o755)).expect("a mode")),
        ("a directory's mode", &|root| {
            fs::set_permissions(root.join("d/e"), Permissions::from_mode(0o700)).expect("a mode");
        }),
        ("a target", &|root| {
            fs::remove_file(root.join("d/link")).expect("it goes");
            symlink("f2", root.join("d/link")).expect("a link");
        }),
        ("a kind", &|root| {
            fs::remove_file(root.join("d/link")).expect("it goes");
            fs::write(root.join("d/link"), "f1").expect("a file");
        }),
        ("an attribute", &|root| xattr(&root.join("d/f5"), "1")),
        ("a directory's attribute", &|root| xattr(&root.join("d/e"), "1")),
        ("one file instead of two", &|root| {
            fs::write(root.join("d/f6"), "content 5").expect("a file");
            fs::remove_file(root.join("d/f5")).expect("it goes");
            fs::hard_link(root.join("d/f6"), root.join("d/f5")).expect("a name");
        }),
    ];
    let mut all = vec![before];
    for (what, change) in changes {
        let changed = tree();
        change(changed.path());
        let digest = digest(changed.path());
        assert!(!all.contains(&digest), "{what}");
        all.push(digest);
    }
}

fn xattr(path: &Path, value: &str) {
    rustix::fs::setxattr(path, "user.note", value.as_bytes(), rustix::fs::XattrFlags::empty()).expect("an attribute");
}

#[test]
fn owners_and_modes_count_as_they_will_be() {
    let root = tree();
    let as_placed = |placed: Placed| digest_of(root.path(), &placed, &mut Hashes::default()).expect("it is hashed");
    let given = Placed { mode: Some(Chmod::Octal(0o640)), ..ROOTS };
    let first = as_placed(given.clone());
    assert_ne!(first, as_placed(ROOTS));
    assert_ne!(first, as_placed(Placed { owner: Some((1, 0)), ..given.clone() }));
    assert_eq!(first, as_placed(Placed { mtime: Some(Time { secs: 1, nanos: 0 }), ..given.clone() }));
    fs::set_permissions(root.path().join("d/f1"), Permissions::from_mode(0o777)).expect("a mode");
    assert_eq!(first, as_placed(given));
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let kept = Placed { owner: None, ..ROOTS };
    assert_eq!(as_placed(kept), as_placed(Placed { owner: Some(own), ..ROOTS }));
}

#[test]
fn what_is_known_is_not_read_and_what_changed_is() {
    let root = tree();
    let store = tempfile::tempdir().expect("a directory");
    let path = store.path().join("hashes");
    wait();
    let mut hashes = Hashes::load(&path);
    let first = digest_of(root.path(), &ROOTS, &mut hashes).expect("it is hashed");
    hashes.save(&path).expect("it is saved");

    // Poisoned: it is believed, so nothing was read.
    let context = Context::open(root.path()).expect("it opens");
    let request = Request { sources: &[b"."], parents: false, exclude: &Patterns::default() };
    let mut selection = context.select(&request).expect("it is selected");
    let mut poisoned = Hashes::load(&path);
    let seen = selection.entries.iter().find(|entry| entry.name == b"d/f9").expect("it is there").seen;
    assert!(poisoned.get(&seen).is_some());
    poisoned.put(&seen, now(), [0; 32]);
    assert_ne!(context.digest(&mut selection, &ROOTS, &mut poisoned).expect("it is known"), first);

    let mut loaded = Hashes::load(&path);
    assert_eq!(digest_of(root.path(), &ROOTS, &mut loaded).expect("it is known"), first);
    // The same size and the same modification time.
    let file = root.path().join("d/f9");
    let modified = fs::metadata(&file).expect("it is there").modified().expect("a time");
    fs::write(&file, "CONTENT 9").expect("a file");
    File::options().write(true).open(&file).expect("it opens").set_modified(modified).expect("a time");
    assert_ne!(digest_of(root.path(), &ROOTS, &mut loaded).expect("it is hashed"), first);
    fs::write(&file, "content 9").expect("a file");
    assert_eq!(digest_of(root.path(), &ROOTS, &mut loaded).expect("it is hashed"), first);
}

/// A file that is changed again and again within one tick of the clock.
#[test]
fn quick_changes_are_seen() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("f");
    let mut hashes = Hashes::default();
    let mut last = None;
    for n in 0..500 {
        fs::write(&file, format!("{n:4}")).expect("a file");
        let now = digest_of(root.path(), &ROOTS, &mut hashes).expect("it is hashed");
        assert_ne!(last.replace(now.clone()), Some(now), "change {n}");
    }
}

#[test]
fn what_was_replaced_since_it_was_selected_is_refused() {
    for replace in [
        (|file: &Path| fs::remove_file(file).expect("it goes")) as fn(&Path),
        |file| {
            fs::remove_file(file).expect("it goes");
            symlink("/etc/passwd", file).expect("a link");
        },
        |file| {
            let other = file.with_extension("other");
            fs::write(&other, "other").expect("a file");
            fs::rename(other, file).expect("it takes its place");
        },
        |file| {
            fs::remove_file(file).expect("it goes");
            fs::create_dir(file).expect("a directory");
        },
    ] {
        let root = tree();
        let context = Context::open(root.path()).expect("it opens");
        let request = Request { sources: &[b"."], parents: false, exclude: &Patterns::default() };
        let mut selection = context.select(&request).expect("it is selected");
        replace(&root.path().join("d/f20"));
        let error = context.digest(&mut selection, &ROOTS, &mut Hashes::default()).expect_err("another file");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.to_string(), "d/f20 was changed while it was read");
    }
}
