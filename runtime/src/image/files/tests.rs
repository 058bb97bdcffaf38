//! Trees sent and received again, and archives by strangers.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, mknodat};

use super::*;
use crate::image::tar::archive::Archive;

fn directory(path: &Path) -> std::os::fd::OwnedFd {
    File::open(path).unwrap().into()
}

fn sent(root: Root, base: &[u8], sparse: bool) -> (Vec<u8>, Sent) {
    let mut out = Vec::new();
    let sent = send(&root, &SendRules { base, sparse, recorded: &|_| None }, &mut out).unwrap();
    assert_eq!(sent.bytes, out.len() as u64);
    (out, sent)
}

fn received(mut bytes: &[u8], to: &Path, name: Option<&str>) -> crate::Result<Received> {
    let mut progress = |_| {};
    let receiver = Receiver::new(&mut bytes, &mut progress);
    receiver.run(Target {
        directory: directory(to),
        name: name.map(|name| name.as_bytes().to_vec()),
        shown: b"/to",
        ownership: Ownership::Own,
        follow: false,
    })
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_tree_arrives_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| from.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/file"), "content").unwrap();
    fs::hard_link(at("d/file"), at("d/second")).unwrap();
    symlink("nowhere", at("link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::write(at("script"), "#!").unwrap();
    fs::set_permissions(at("script"), fs::Permissions::from_mode(0o4755)).unwrap();
    let mut hole = File::create(at("hole")).unwrap();
    std::io::Write::write_all(&mut hole, b"start").unwrap();
    hole.set_len(1 << 40).unwrap();
    rustix::fs::setxattr(at("script"), "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o500)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

    let (bytes, found) = sent(Root::Directory(directory(from.path())), b"", true);
    assert!(bytes.len() < 1 << 20, "holes are not sent: {}", bytes.len());
    assert_eq!((found.torn, found.kernels, found.content), (0, 0, 7 + 2 + (1 << 40)));
    let was = received(&bytes, to.path(), Some("new")).unwrap();
    assert_eq!((was.bytes, was.endless, was.refused), (bytes.len() as u64, false, 0));
    let new = |name: &str| to.path().join("new").join(name);
    assert_eq!(text(new("d/file")), "content");
    assert_eq!(fs::metadata(new("d/file")).unwrap().ino(), fs::metadata(new("d/second")).unwrap().ino());
    assert_eq!(fs::read_link(new("link")).unwrap(), Path::new("nowhere"));
    assert!(fs::metadata(new("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(new("d")).unwrap().mode() & 0o7777, 0o500);
    assert_eq!(fs::metadata(new("d")).unwrap().mtime(), fs::metadata(at("d")).unwrap().mtime());
    assert_eq!(fs::metadata(new("script")).unwrap().mode() & 0o7777, 0o755, "setuid would be the user's");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(new("script"), "user.note", &mut value[..]).unwrap(), 1);
    let hole = fs::metadata(new("hole")).unwrap();
    assert!(hole.len() == 1 << 40 && hole.blocks() < 100, "{hole:?}");
    assert!(!new("socket").exists());
    for tree in [from.path().join("d"), new("d")] {
        fs::set_permissions(tree, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn single_things_get_the_name_that_they_are_given() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("f"), "x").unwrap();
    let (bytes, _) = sent(Root::File(directory(&from.path().join("f"))), b"", true);
    received(&bytes, to.path(), Some("g")).unwrap();
    assert_eq!(text(to.path().join("g")), "x");
    symlink("away", from.path().join("l")).unwrap();
    let stat = rustix::fs::statat(CWD, from.path().join("l"), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let (bytes, _) = sent(Root::Other(stat, b"away".to_vec()), b"", true);
    received(&bytes, to.path(), Some("g")).unwrap();
    assert_eq!(fs::read_link(to.path().join("g")).unwrap(), Path::new("away"));
    // For everybody else the names begin with the source's.
    let (bytes, _) = sent(Root::Directory(directory(from.path())), b"base", false);
    received(&bytes, to.path(), None).unwrap();
    assert_eq!(text(to.path().join("base/f")), "x");
}

/// What is there is replaced or kept, never written through.
#[test]
fn what_is_there_is_not_written_through() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let canary = outside.path().join("canary");
    fs::write(&canary, "canary").unwrap();
    let archive = |name: &str| Archive::default().file(name, "new").end();
    symlink(&canary, to.path().join("link")).unwrap();
    fs::hard_link(&canary, to.path().join("hard")).unwrap();
    symlink(outside.path(), to.path().join("away")).unwrap();
    fs::create_dir(to.path().join("d")).unwrap();
    for name in ["link", "hard"] {
        received(&archive(name), to.path(), None).unwrap();
        assert_eq!(text(to.path().join(name)), "new");
    }
    for (bytes, why) in [
        (archive("away/canary"), "it is a symbolic link"),
        (Archive::default().dir("away").end(), "cannot overwrite non-directory \"away\" with directory"),
        (archive("d"), "cannot overwrite directory \"d\" with non-directory \"/to\""),
        (archive("hard/x"), "it is no directory"),
    ] {
        let error = received(&bytes, to.path(), None).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(text(&canary), "canary");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 4, "no draft is left");
}

#[test]
fn a_stream_that_ends_early_leaves_nothing_half() {
    let to = tempfile::tempdir().unwrap();
    let whole = Archive::default().file("f", &"7".repeat(5000)).end();
    let error = received(&whole[..2000], to.path(), None).unwrap_err();
    assert!(error.to_string().contains("the archive ends inside the content"), "{error}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    assert!(received(&whole[..whole.len() - 1024], to.path(), None).unwrap().endless);
}

/// A tree that changes while it is sent: what comes out is a good tar, and what was outside is not in it.
#[test]
fn a_changing_tree_makes_a_good_tar() {
    let (from, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret-of-the-host").unwrap();
    let (a, b) = (from.path().join("a"), from.path().join("b"));
    fs::create_dir(&a).unwrap();
    fs::write(a.join("secret"), "own").unwrap();
    symlink(outside.path(), &b).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &a, CWD, &b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..500 {
            let (bytes, _) = sent(Root::Directory(directory(from.path())), b"", true);
            let mut text = String::new();
            let _ = (&bytes[..]).read_to_string(&mut text);
            assert!(!text.contains("secret-of-the-host"));
            let to = tempfile::tempdir().unwrap();
            received(&bytes, to.path(), Some("new")).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
