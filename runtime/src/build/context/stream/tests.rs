//! Selections sent, and received by what `cp` receives with.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::build::context::{Chmod, Hashes, Patterns, Request};
use crate::error::ErrorKind;
use crate::image::files::{Ownership, Received, Receiver, Target};
use crate::image::tar::archive::own_ids;
use crate::image::tar::gather::{Gathered, gather};
use crate::image::tar::{Limits, Time};

const ROOTS: Placed = Placed { owner: Some((0, 0)), mode: None, mtime: None };

/// For what is received here, where not every user may give files away.
fn own() -> Placed {
    Placed { owner: Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())), ..ROOTS }
}

fn selected(root: &Path, sources: &[&str]) -> (Context, Selection) {
    let context = Context::open(root).expect("it opens");
    let sources: Vec<&[u8]> = sources.iter().map(|source| source.as_bytes()).collect();
    let request = Request { sources: &sources, parents: false, exclude: &Patterns::default() };
    let selection = context.select(&request).expect("it is selected");
    (context, selection)
}

fn sent(root: &Path, sources: &[&str], placed: &Placed) -> Result<Vec<u8>> {
    let (context, selection) = selected(root, sources);
    let mut out = Vec::new();
    let streamed = context.stream(&selection, placed, &mut out)?;
    assert_eq!(streamed.bytes, out.len() as u64);
    Ok(out)
}

fn heads(mut bytes: &[u8]) -> Vec<Head> {
    let (limits, mut found, mut blocks) = (Limits::default(), Vec::new(), Vec::new());
    while let Gathered::Entry = gather(&mut bytes, &mut blocks, &limits).expect("a good tar") {
        let head = crate::image::tar::parse::parse(&mut blocks, &limits).expect("a good header");
        let content = usize::try_from(head.stored).expect("small") + tar::padding(head.stored);
        bytes = &bytes[content..];
        found.push(head);
        blocks.clear();
    }
    found
}

fn received(mut bytes: &[u8], to: &Path) -> Result<Received> {
    let (ids, mut progress) = (own_ids(), |_| {});
    let directory = File::open(to).expect("it opens").into();
    let ownership = Ownership::Keep(&ids);
    let target = Target { directory, name: None, shown: b"/to", ownership, follow: false };
    Receiver::new(&mut bytes, &mut progress).run(target)
}

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("d/e")).expect("directories");
    fs::write(at("d/file"), "content").expect("a file");
    fs::hard_link(at("d/file"), at("d/second")).expect("a name");
    symlink("/etc/passwd", at("d/link")).expect("a link");
    fs::write(at("script"), "#!").expect("a file");
    fs::set_permissions(at("script"), Permissions::from_mode(0o4755)).expect("a mode");
    fs::set_permissions(at("d/e"), Permissions::from_mode(0o1770)).expect("a mode");
    let mut hole = File::create(at("hole")).expect("a file");
    hole.write_all(b"start").expect("it is written");
    hole.set_len(1 << 34).expect("a hole");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("script"), "user.note", b"x", flags).expect("an attribute");
    root
}

#[test]
fn a_selection_arrives_as_it_was() {
    let (root, to) = (tree(), tempfile::tempdir().expect("a directory"));
    let bytes = sent(root.path(), &["."], &own()).expect("it is sent");
    assert!(bytes.len() < 1 << 20, "holes are not sent");
    let was = received(&bytes, to.path()).expect("it is received");
    assert_eq!((was.endless, was.refused, was.squashed), (false, 0, 0));
    let at = |name: &str| fs::symlink_metadata(to.path().join(name)).expect("it is there");
    assert_eq!(at("d/file").ino(), at("d/second").ino());
    assert_eq!(at("script").mode() & 0o7777, 0o4755);
    assert_eq!(at("d/e").mode() & 0o7777, 0o1770);
    assert_eq!(at("hole").len(), 1 << 34);
    assert_eq!(at("script").mtime(), fs::metadata(root.path().join("script")).expect("it is there").mtime());
    assert_eq!(fs::read_link(to.path().join("d/link")).expect("a link"), Path::new("/etc/passwd"));
    let again = |path: &Path| {
        fs::remove_file(path.join("hole")).expect("it goes");
        let (context, mut selection) = selected(path, &["."]);
        context.digest(&mut selection, &ROOTS, &mut Hashes::default()).expect("it is hashed")
    };
    assert_eq!(again(root.path()), again(to.path()));
}

#[test]
fn owners_modes_and_times_are_those_that_are_given() {
    let root = tree();
    let time = Time { secs: 7, nanos: 0 };
    let placed = Placed { owner: Some((5, 6)), mode: Some(Chmod::Octal(0o604)), mtime: Some(time) };
    let found = heads(&sent(root.path(), &["d", "script"], &placed).expect("it is sent"));
    let names: Vec<&[u8]> = found.iter().map(|head| head.path.as_slice()).collect();
    assert_eq!(names, [&b"e"[..], b"file", b"link", b"second", b"script"]);
    for head in &found {
        let mode = if head.kind == tar::Kind::Symlink { 0o777 } else { 0o604 };
        assert_eq!((head.uid, head.gid, head.mode, head.mtime), (5, 6, mode, time), "{head:?}");
    }
    assert_eq!((found[3].kind, found[3].link.as_slice()), (tar::Kind::Hardlink, &b"file"[..]));
    // Of one source only: a later one may have another file of that name.
    let apart = heads(&sent(root.path(), &["d/file", "d/second"], &placed).expect("it is sent"));
    assert!(apart.iter().all(|head| head.kind == tar::Kind::File));
}

#[test]
fn a_single_file_can_have_another_name() {
    let (root, to) = (tree(), tempfile::tempdir().expect("a directory"));
    let (context, mut selection) = selected(root.path(), &["d/file"]);
    selection.entries[0].name.clear();
    let mut bytes = Vec::new();
    context.stream(&selection, &ROOTS, &mut bytes).expect("it is sent");
    let directory = File::open(to.path()).expect("it opens").into();
    let name = Some(b"other".to_vec());
    let target = Target { directory, name, shown: b"/to", ownership: Ownership::Own, follow: false };
    Receiver::new(&mut &bytes[..], &mut |_| {}).run(target).expect("it is received");
    assert_eq!(fs::read_to_string(to.path().join("other")).expect("it is there"), "content");
}

#[test]
fn what_changed_since_is_not_sent() {
    let change = |path: &Path, text: &str| fs::write(path, text).expect("a file");
    for (what, change) in [
        ("shorter", &(|root: &Path| change(&root.join("d/file"), "c")) as &dyn Fn(&Path)),
        ("longer", &|root| change(&root.join("d/file"), "content and more")),
        ("a mode", &|root| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::set_permissions(root.join("d/file"), Permissions::from_mode(0o777)).expect("a mode");
        }),
        ("another file", &|root| {
            change(&root.join("new"), "content");
            fs::rename(root.join("new"), root.join("d/file")).expect("it takes its place");
        }),
        ("a link", &|root| {
            fs::remove_file(root.join("d/file")).expect("it goes");
            symlink("/etc/passwd", root.join("d/file")).expect("a link");
        }),
        ("no directory", &|root| fs::remove_dir(root.join("d/e")).expect("it goes")),
        ("a directory's link", &|root| {
            fs::rename(root.join("d"), root.join("moved")).expect("it is moved");
            symlink("moved", root.join("d")).expect("a link");
        }),
    ] {
        let root = tree();
        let (context, selection) = selected(root.path(), &["d"]);
        change(root.path());
        let error = context.stream(&selection, &ROOTS, &mut Vec::new()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error}");
        assert!(error.to_string().ends_with("was changed while it was read"), "{error}");
    }
}

/// Within one tick of the clock, neither size nor times show a change; the content that was hashed does.
#[test]
fn what_changed_since_it_was_hashed_is_not_sent() {
    for n in 0..300 {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("f");
        fs::write(&file, format!("{n:4}")).expect("a file");
        let (context, mut selection) = selected(root.path(), &["."]);
        context.digest(&mut selection, &ROOTS, &mut Hashes::default()).expect("it is hashed");
        fs::write(&file, format!("{:4}", n + 1)).expect("a file");
        let error = context.stream(&selection, &ROOTS, &mut Vec::new()).expect_err("it was changed");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}

/// A file that is written to all the time: what is sent is what was hashed, or nothing.
#[test]
fn no_torn_file_arrives() {
    const SIZE: usize = 1 << 20;
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("f");
    fs::write(&file, vec![b'a'; SIZE]).expect("a file");
    let done = std::sync::atomic::AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = File::options().write(true).open(&file).expect("it opens");
            for n in (0..=u8::MAX).cycle() {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let at = u64::from(n) * 4096;
                std::os::unix::fs::FileExt::write_all_at(&writer, &[n.wrapping_add(1)], at).expect("it is written");
                std::thread::sleep(std::time::Duration::from_micros(u64::from(n % 7) * 2000));
            }
        });
        let mut sent = Vec::new();
        for _ in 0..300 {
            let (context, mut selection) = selected(root.path(), &["."]);
            let mut bytes = Vec::new();
            let digest = context.digest(&mut selection, &own(), &mut Hashes::default());
            if let Ok(digest) = digest
                && context.stream(&selection, &own(), &mut bytes).is_ok()
            {
                sent.push((digest, bytes));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        sent
    });
    assert!(!sent.is_empty(), "the writer pauses");
    for (digest, bytes) in sent {
        let to = tempfile::tempdir().expect("a directory");
        received(&bytes, to.path()).expect("it is received");
        let (context, mut selection) = selected(to.path(), &["."]);
        assert_eq!(context.digest(&mut selection, &own(), &mut Hashes::default()).expect("it is hashed"), digest);
    }
}
