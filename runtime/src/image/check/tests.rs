//! Layers made of archives of every kind are sound; each damage is named, and mended where it can be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, XattrFlags, mknodat, setxattr, utimensat};

use super::*;
use crate::image::attributes::timestamps;
use crate::image::store::LayerMeta;
use crate::image::tar::archive::{Archive, entry, own_ids};
use crate::image::tar::{Head, Kind, Time};
use crate::image::unpack::{Limits, unpack};

/// A folder of layers.
struct Folder(tempfile::TempDir);

const FULL: CheckOptions = CheckOptions { quick: false, repair: false };
const REPAIR: CheckOptions = CheckOptions { quick: false, repair: true };

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn fd(&self) -> fs::File {
        fs::File::open(self.0.path()).unwrap()
    }

    fn path(&self, id: &Digest, below: &str) -> PathBuf {
        self.0.path().join(id.hex()).join(below)
    }

    /// Unpacks an archive as a layer.
    fn add(&self, tar: &[u8]) -> (Digest, LayerMeta) {
        let id = Digest::of(tar);
        fs::create_dir(self.path(&id, "")).unwrap();
        let layer = fs::File::open(self.path(&id, "")).unwrap();
        let unpacked = unpack(&mut { tar }, layer.as_fd(), &own_ids(), &Limits::default(), &mut |_| {}).unwrap();
        let meta = crate::image::import::meta_of(&unpacked, "import").with_digests(layer.as_fd()).unwrap();
        fs::write(self.path(&id, "meta.json"), "").unwrap();
        (id, meta)
    }

    fn check(&self, id: &Digest, meta: Option<&LayerMeta>, donors: &[Digest], options: CheckOptions) -> LayerReport {
        check_layer(self.fd().as_fd(), id, meta, &own_ids(), donors, options).unwrap()
    }

    fn lines(&self, (id, meta): &(Digest, LayerMeta)) -> Vec<String> {
        self.check(id, Some(meta), &[], FULL).wrong.into_iter().map(|wrong| wrong.line).collect()
    }
}

/// Everything that an archive can have.
fn archive() -> Vec<u8> {
    let time = Time { secs: -12, nanos: 345_678_901 };
    let xattrs = |name: &str| vec![(name.as_bytes().to_vec(), b"value".to_vec())];
    Archive::default()
        .add(Head { mode: 0o1775, mtime: time, ..entry("", Kind::Directory) }, b"")
        .add(Head { mode: 0o2711, xattrs: xattrs("user.dir"), ..entry("d", Kind::Directory) }, b"")
        .add(Head { mode: 0o4755, mtime: time, ..entry("d/suid", Kind::File) }, b"suid")
        .add(Head { xattrs: xattrs("user.file"), ..entry("d/marked", Kind::File) }, b"marked")
        .file("d/empty", "")
        .symlink("d/dangling", "/nowhere")
        .link("hard", "d/suid")
        .add(Head { mode: 0o622, ..entry("fifo", Kind::Fifo) }, b"")
        .add(entry("dev/null", Kind::Char(1, 3)), b"")
        .file("implicit/deep/file", "deep")
        .symlink("way", "d")
        .file("way/through", "through a link")
        .symlink("way/link", "through")
        .dir("way/inner")
        .file("way/below/a/link", "also")
        .add(Head { uid: 99_999, gid: 99_998, mode: 0o6755, ..entry("foreign", Kind::File) }, b"foreign")
        .file("twice", "first")
        .file("twice", "second")
        .dir("tree")
        .file("tree/inside", "kept aside")
        .file("tree", "a file now")
        .file("changed", "a file")
        .dir("changed")
        .file(".wh.gone", "")
        .dir("hides")
        .file("hides/.wh..wh..opq", "")
        .file("hides/new", "new")
        .file(".wh.middle", "")
        .file("middle/again", "below what was deleted")
        .file("d/.wh.marked", "")
        .add(Head { mtime: time, ..entry("d", Kind::Directory) }, b"")
        .end()
}

#[test]
fn an_archive_of_everything_is_sound() {
    let folder = Folder::new();
    let layer = folder.add(&archive());
    assert_eq!(folder.lines(&layer), [""; 0]);
    assert_eq!(folder.check(&layer.0, Some(&layer.1), &[], REPAIR), LayerReport::default());
    verify_layers(folder.fd().as_fd(), &[(layer.0, Some(layer.1))], &own_ids()).unwrap();
}

fn touch(path: &Path, secs: i64) {
    utimensat(CWD, path, &timestamps(Time { secs, nanos: 0 }), rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes a file and leaves its time as it was.
fn keeping_time(path: &Path, change: impl FnOnce()) {
    let before = fs::symlink_metadata(path).unwrap().modified().unwrap();
    change();
    fs::File::open(path).unwrap().set_modified(before).unwrap();
}

fn flip(path: &Path) {
    keeping_time(path, || {
        let mut bytes = fs::read(path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    });
}

type Damage = (&'static str, fn(&Path));

/// What is done to the tree, and the beginning of the line that names it.
const DAMAGES: &[Damage] = &[
    ("d/suid: its content was changed", |diff| {
        flip(&diff.join("d/suid"));
        fs::set_permissions(diff.join("d/suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    }),
    ("way/through", |_| {}),
    // As any program leaves a file, with a new time.
    ("d/through: its content was changed", |diff| fs::write(diff.join("d/through"), "THROUGH a link").unwrap()),
    ("d/through: its content was changed", |diff| flip(&diff.join("d/through"))),
    ("d/suid: its mode is 0755, not 4755", |diff| {
        fs::set_permissions(diff.join("d/suid"), fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("d: its mode is 0711, not 0755", |diff| {
        fs::set_permissions(diff.join("d"), fs::Permissions::from_mode(0o711)).unwrap();
    }),
    ("foreign: its time was changed", |diff| touch(&diff.join("foreign"), 5)),
    ("/: its time was changed", |diff| touch(diff, 5)),
    ("d/link: its time was changed", |diff| touch(&diff.join("d/link"), 5)),
    ("d/link: leads elsewhere", |diff| {
        fs::remove_file(diff.join("d/link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", diff.join("d/link")).unwrap();
    }),
    ("d/marked: its extended attribute user.file was changed", |diff| {
        setxattr(diff.join("d/marked"), "user.file", b"other", XattrFlags::empty()).unwrap();
    }),
    ("d: its extended attribute user.dir was changed", |diff| {
        rustix::fs::removexattr(diff.join("d"), "user.dir").unwrap();
    }),
    ("d/empty: its extended attribute user.new was changed", |diff| {
        setxattr(diff.join("d/empty"), "user.new", b"x", XattrFlags::empty()).unwrap();
    }),
    ("hides: does not hide what is below it", |diff| {
        rustix::fs::removexattr(diff.join("hides"), "user.overlay.opaque").unwrap();
    }),
    ("d: hides what is below it, and should not", |diff| {
        setxattr(diff.join("d"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }),
    ("gone: is missing", |diff| fs::remove_file(diff.join("gone")).unwrap()),
    ("gone: is a file, not a whiteout", |diff| {
        fs::remove_file(diff.join("gone")).unwrap();
        fs::write(diff.join("gone"), "").unwrap();
    }),
    ("fifo: is missing", |diff| fs::remove_file(diff.join("fifo")).unwrap()),
    ("fifo: is a symbolic link, not a FIFO", |diff| {
        fs::remove_file(diff.join("fifo")).unwrap();
        std::os::unix::fs::symlink("x", diff.join("fifo")).unwrap();
    }),
    ("hard: is not the file that it shares with other names", |diff| {
        fs::remove_file(diff.join("hard")).unwrap();
        fs::copy(diff.join("d/suid"), diff.join("hard")).unwrap();
        fs::set_permissions(diff.join("hard"), fs::Permissions::from_mode(0o4755)).unwrap();
    }),
    ("hard: is missing", |diff| fs::remove_file(diff.join("hard")).unwrap()),
    ("implicit: is missing", |diff| fs::remove_dir_all(diff.join("implicit")).unwrap()),
    ("implicit/deep: is a file, not a directory", |diff| {
        fs::remove_dir_all(diff.join("implicit/deep")).unwrap();
        fs::write(diff.join("implicit/deep"), "x").unwrap();
    }),
    ("twice: is a directory, not a file", |diff| {
        fs::remove_file(diff.join("twice")).unwrap();
        fs::create_dir_all(diff.join("twice/full")).unwrap();
    }),
    ("d/extra: does not belong to the layer", |diff| {
        fs::create_dir_all(diff.join("d/extra/deep")).unwrap();
        fs::write(diff.join("d/extra/deep/file"), "x").unwrap();
    }),
    ("socket: does not belong to the layer", |diff| {
        mknodat(CWD, diff.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    }),
    ("d/empty: its content was changed", |diff| {
        keeping_time(&diff.join("d/empty"), || fs::write(diff.join("d/empty"), "x").unwrap());
    }),
];

#[test]
fn each_damage_is_named_and_mended_from_the_index_and_another_layer() {
    for (line, damage) in DAMAGES.iter().filter(|(line, _)| *line != "way/through") {
        let folder = Folder::new();
        let (id, meta) = folder.add(&archive());
        // Another layer that has the files' contents.
        let donor = ["suid", "marked", "deep", "through a link", "second"];
        let donor = donor.iter().fold(Archive::default(), |tar, text| tar.file(text, text)).end();
        let (donor, _) = folder.add(&donor);
        damage(&folder.path(&id, "diff"));
        let found = folder.check(&id, Some(&meta), &[], FULL);
        assert!(found.wrong.iter().any(|wrong| wrong.line == *line && !wrong.mended), "{line}: {found:?}");
        let repaired = folder.check(&id, Some(&meta), &[id.clone(), donor], REPAIR);
        assert!(repaired.wrong.iter().any(|wrong| wrong.line == *line), "{line}: {repaired:?}");
        assert!(repaired.wrong.iter().all(|wrong| wrong.mended), "{line}: {repaired:?}");
        assert_eq!(folder.check(&id, Some(&meta), &[], FULL), LayerReport::default(), "{line}");
    }
}

#[test]
fn a_content_that_nobody_else_has_stays_wrong_and_makes_no_silent_archive() {
    let folder = Folder::new();
    let (id, meta) = folder.add(&archive());
    flip(&folder.path(&id, "diff/foreign"));
    let repaired = folder.check(&id, Some(&meta), std::slice::from_ref(&id), REPAIR);
    let wrong = Wrong { line: "foreign: its content was changed".to_owned(), mended: false };
    assert_eq!(repaired.wrong, [wrong]);
    let error = verify_layers(folder.fd().as_fd(), &[(id.clone(), Some(meta.clone()))], &own_ids()).unwrap_err();
    let message = format!("layer {}: foreign: its content was changed", id.short());
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Corrupt, message));
    let quick = folder.check(&id, Some(&meta), &[], CheckOptions { quick: true, repair: false });
    assert_eq!(quick, LayerReport::default());
}

#[test]
fn every_changed_byte_beside_the_tree_is_noticed() {
    let folder = Folder::new();
    let layer = folder.add(&archive());
    for name in ["index", "owners", "kept/0", "kept/1/inside"] {
        let path = folder.path(&layer.0, name);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            assert!(!folder.lines(&layer).is_empty(), "{name}: byte {at}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!folder.lines(&layer).is_empty(), "{name} is gone");
        fs::write(&path, &whole).unwrap();
        assert_eq!(folder.lines(&layer), [""; 0], "{name}");
    }
    fs::write(folder.path(&layer.0, "more"), "").unwrap();
    assert_eq!(folder.lines(&layer), ["more: does not belong to the layer"]);
}

#[test]
fn lost_owners_and_facts_are_made_again() {
    let folder = Folder::new();
    let (id, meta) = folder.add(&archive());
    let owners = fs::read(folder.path(&id, "owners")).unwrap();
    fs::write(folder.path(&id, "owners"), "").unwrap();
    let repaired = folder.check(&id, Some(&meta), &[], REPAIR);
    assert!(!repaired.wrong.is_empty() && repaired.wrong.iter().all(|wrong| wrong.mended), "{repaired:?}");
    let owner = |bytes: &[u8]| crate::image::owners::Owners::read(bytes).unwrap().get(b"foreign");
    assert_eq!(owner(&fs::read(folder.path(&id, "owners")).unwrap()), owner(&owners));
    let meta = repaired.meta.unwrap();
    assert_eq!(folder.check(&id, Some(&meta), &[], FULL), LayerReport::default());
    let made = folder.check(&id, None, &[], REPAIR).meta.unwrap();
    assert_eq!(
        (made.diff_id, made.size, made.content, made.entries, made.implicit),
        (meta.diff_id, meta.size, meta.content, meta.entries, meta.implicit)
    );
}

/// A tree's names, modes and contents.
fn picture(path: &Path) -> Vec<String> {
    let meta = path.symlink_metadata().unwrap();
    let mut lines = vec![format!("{} {:?} {:?}", path.display(), meta.permissions(), meta.modified().unwrap())];
    if meta.is_dir() {
        let mut inner: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        inner.sort();
        lines.extend(inner.iter().flat_map(|path| picture(path)));
    } else if meta.is_file() {
        lines.push(format!("{:?}", fs::read(path).unwrap()));
    }
    lines
}

#[test]
fn a_damaged_index_is_found_again_and_nothing_is_mended_from_it() {
    let folder = Folder::new();
    let (id, meta) = folder.add(&archive());
    let index = folder.path(&id, "index");
    let (whole, tree) = (fs::read(&index).unwrap(), picture(&folder.path(&id, "diff")));
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&index, damaged).unwrap();
        let repaired = folder.check(&id, Some(&meta), &[], REPAIR);
        assert!(repaired.wrong.iter().all(|wrong| wrong.mended), "byte {at}: {repaired:?}");
        assert_eq!(fs::read(&index).unwrap(), whole, "byte {at}");
    }
    // More than a byte of one that no tree tells, and with the facts lost, too.
    for facts in [Some(&meta), None] {
        let mut damaged = whole.clone();
        damaged[20..60].reverse();
        fs::write(&index, damaged).unwrap();
        let repaired = folder.check(&id, facts, &[], REPAIR);
        assert!(repaired.wrong.iter().any(|wrong| wrong.line.starts_with("index: ") && !wrong.mended), "{repaired:?}");
        assert_eq!(picture(&folder.path(&id, "diff")), tree);
    }
}

#[test]
fn a_lost_index_is_made_again_from_a_tree_in_our_own_form() {
    let own = |root: bool| {
        let source = tempfile::tempdir().unwrap();
        let diff = source.path().join("diff");
        fs::create_dir_all(diff.join("d/e")).unwrap();
        fs::write(diff.join("d/file"), "content").unwrap();
        std::os::unix::fs::symlink("file", diff.join("d/link")).unwrap();
        let seed = crate::image::attributes::RootAttrs::read(fs::File::open(&diff).unwrap().as_fd()).unwrap();
        let wrapper = fs::File::open(source.path()).unwrap();
        let mut tar = Vec::new();
        let seed = (!root).then_some(&seed);
        let known = crate::image::pack::Known { seed, ..Default::default() };
        crate::image::pack::pack_layer(wrapper.as_fd(), known, None, &mut tar).unwrap();
        tar
    };
    for tar in [own(true), own(false)] {
        let folder = Folder::new();
        let (id, meta) = folder.add(&tar);
        for change in [|path: &Path| fs::write(path, "nothing"), |path: &Path| fs::remove_file(path)] {
            change(&folder.path(&id, "index")).unwrap();
            let repaired = folder.check(&id, Some(&meta), &[], REPAIR);
            assert!(!repaired.wrong.is_empty() && repaired.wrong.iter().all(|wrong| wrong.mended), "{repaired:?}");
            let meta = repaired.meta.unwrap();
            assert_eq!(folder.check(&id, Some(&meta), &[], FULL), LayerReport::default());
        }
        // Of a tree that was changed, too, no index is made.
        fs::remove_file(folder.path(&id, "index")).unwrap();
        flip(&folder.path(&id, "diff/d/file"));
        let repaired = folder.check(&id, Some(&meta), &[], REPAIR);
        assert!(repaired.wrong.iter().all(|wrong| !wrong.mended), "{repaired:?}");
    }
}

fn entries() -> impl Strategy<Value = Head> {
    let component = prop_oneof!["[ab]", "[ab]", "l", Just(".wh.a".to_owned()), Just(".wh..wh..opq".to_owned())];
    let path = proptest::collection::vec(component, 1..4).prop_map(|parts| parts.join("/"));
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::Hardlink),
        Just(Kind::Fifo),
        Just(Kind::Char(1, 3)),
    ];
    let target = prop_oneof!["a", "b", "a/b", "l", "../a"];
    (path, kind, target, 0u32..0o1000, 0i64..5).prop_map(|(path, kind, target, mode, secs)| {
        let link = if matches!(kind, Kind::Symlink | Kind::Hardlink) { target.into_bytes() } else { Vec::new() };
        Head { link, mode: mode | 0o700, mtime: Time { secs, nanos: 0 }, ..entry(path, kind) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_is_unpacked_is_what_the_model_says(heads in proptest::collection::vec(entries(), 1..12)) {
        let folder = Folder::new();
        let tar = heads.into_iter().enumerate().fold(Archive::default(), |tar, (number, head)| {
            let content = if head.kind == Kind::File && number % 3 > 0 { format!("content {number}") } else { String::new() };
            let head = Head { size: content.len() as u64, ..head };
            tar.add(head, content.as_bytes())
        });
        let tar = tar.end();
        let id = Digest::of(&tar);
        fs::create_dir(folder.path(&id, "")).unwrap();
        let layer = fs::File::open(folder.path(&id, "")).unwrap();
        if unpack(&mut &*tar, layer.as_fd(), &own_ids(), &Limits::default(), &mut |_| {}).is_ok() {
            let report = folder.check(&id, None, &[], FULL);
            prop_assert_eq!(report.wrong, []);
        }
    }
}
