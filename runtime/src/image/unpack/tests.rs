//! Archives, good and hostile, become layers beside a canary; what is taken is rebuilt to the last byte.

use std::fs;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::image::index::{Entries, rebuild};
use crate::image::owners::{Owner, Owners};
use crate::image::tar::archive::{Archive, entry, own_ids};
use crate::image::tar::shown;
use crate::image::tar::{Head, Kind, Time};

/// A layer directory beside a canary that nothing may touch.
struct Layer {
    parent: tempfile::TempDir,
}

impl Layer {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("layer")).unwrap();
        fs::write(parent.path().join("canary"), "alive").unwrap();
        fs::set_permissions(parent.path().join("canary"), fs::Permissions::from_mode(0o640)).unwrap();
        Self { parent }
    }

    fn fd(&self) -> fs::File {
        fs::File::open(self.path("")).unwrap()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.parent.path().join("layer").join(below)
    }

    fn diff(&self, below: &str) -> PathBuf {
        self.path("diff").join(below)
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked> {
        self.unpack_with(tar, &Limits::default())
    }

    fn unpack_with(&self, tar: &[u8], limits: &Limits) -> Result<Unpacked> {
        let mut input = Cursor::new(tar.to_vec());
        let result = unpack(&mut input, self.fd().as_fd(), &own_ids(), limits, &mut |_| {});
        let canary = self.parent.path().join("canary");
        assert_eq!(fs::read(&canary).unwrap(), b"alive");
        let meta = fs::metadata(&canary).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o640, 1), "the canary was touched");
        assert_eq!(fs::read_dir(self.parent.path()).unwrap().count(), 2, "something appeared beside the layer");
        result
    }

    fn rebuilt(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let index = fs::File::open(self.path("index")).unwrap();
        let rebuilt = rebuild(&index, self.fd().as_fd(), &mut out).unwrap();
        assert_eq!(rebuilt.size, out.len() as u64);
        assert_eq!(rebuilt.diff_id, Digest::of(&out));
        out
    }

    fn text(&self, below: &str) -> String {
        fs::read_to_string(self.diff(below)).unwrap()
    }
}

/// Unpacks, and checks digest, size and rebuilding on the way.
fn good(tar: &[u8]) -> (Layer, Unpacked) {
    let layer = Layer::new();
    let unpacked = layer.unpack(tar).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(tar));
    assert_eq!(unpacked.size, tar.len() as u64);
    assert!(layer.rebuilt() == tar, "the rebuilt tar differs");
    (layer, unpacked)
}

fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::getxattr(path, c"user.overlay.opaque", &mut value[..]).is_ok_and(|n| value[..n] == *b"y")
}

#[test]
fn a_plain_archive_is_unpacked_exactly() {
    let time = Time { secs: -12, nanos: 345_678_901 };
    let tar = Archive::default()
        .add(Head { mode: 0o1775, mtime: time, ..entry("", Kind::Directory) }, b"")
        .add(Head { mode: 0o2511, ..entry("d", Kind::Directory) }, b"")
        .add(Head { mode: 0o4755, mtime: time, ..entry("d/suid", Kind::File) }, b"content")
        .add(Head { mode: 0o666, ..entry("d/\u{e9}\x01", Kind::File) }, b"")
        .add(entry([b'd', b'/', 0xff], Kind::File), b"x")
        .symlink("d/dangling", "/nowhere")
        .link("hard", "./d/suid")
        .add(Head { mode: 0o622, ..entry("fifo", Kind::Fifo) }, b"")
        .add(entry("null", Kind::Char(1, 3)), b"")
        .end();
    let (layer, unpacked) = good(&tar);
    let meta = |path: &str| fs::symlink_metadata(layer.diff(path)).unwrap();
    assert_eq!(meta("").mode() & 0o7777, 0o1775);
    assert_eq!((meta("").mtime(), meta("").mtime_nsec()), (time.secs, i64::from(time.nanos)));
    assert_eq!(meta("d").mode() & 0o7777, 0o2511);
    assert_eq!(meta("d").mtime(), 1_000_000_000);
    assert_eq!(meta("d/suid").mode() & 0o7777, 0o4755);
    assert_eq!((meta("d/suid").mtime(), meta("d/suid").mtime_nsec()), (time.secs, i64::from(time.nanos)));
    assert_eq!(meta("d/\u{e9}\x01").mode() & 0o7777, 0o666, "the umask shows");
    assert_eq!(meta("hard").ino(), meta("d/suid").ino());
    assert_eq!(fs::read_link(layer.diff("d/dangling")).unwrap(), Path::new("/nowhere"));
    assert_eq!(meta("d/dangling").mtime(), 1_000_000_000);
    assert_eq!(meta("fifo").mode(), libc::S_IFIFO | 0o622);
    assert!(!layer.diff("null").exists());
    assert_eq!((unpacked.entries, unpacked.content, unpacked.devices), (9, 8, 1));
    assert!(unpacked.root_entry);
    assert_eq!((unpacked.implicit, unpacked.squashed, unpacked.skipped_xattrs), (0, 0, 0));
    assert!(!layer.path("owners").exists() && !layer.path("kept").exists());
}

#[test]
fn whiteouts_become_overlay_marks_whatever_the_order() {
    let tar = Archive::default()
        .file(".wh.gone", "")
        .file("a/.wh.b", "")
        .dir("replaced")
        .file("replaced/x", "1")
        .file(".wh.replaced", "")
        .file(".wh.later", "")
        .dir("later")
        .file("file", "2")
        .file(".wh.file", "")
        .file(".wh.file2", "")
        .file("file2", "3")
        .file(".wh.tree", "")
        .file("tree/below", "4")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/in", "5")
        .file(".wh..wh.plnk/123", "aufs")
        .end();
    let (layer, unpacked) = good(&tar);
    assert!(is_whiteout(&layer.diff("gone")) && is_whiteout(&layer.diff("a/b")));
    for directory in ["replaced", "later", "tree", "opaque"] {
        assert!(is_opaque(&layer.diff(directory)), "{directory}");
    }
    assert!(!is_opaque(&layer.diff("a")));
    let read = ["replaced/x", "file", "file2", "tree/below", "opaque/in"].map(|path| layer.text(path));
    assert_eq!(read, ["1", "2", "3", "4", "5"]);
    assert_eq!(unpacked.implicit, 3);
    assert!(!unpacked.opaque_root);
    assert!(good(&Archive::default().file(".wh..wh..opq", "").end()).1.opaque_root);
}

#[test]
fn later_entries_replace_earlier_ones_and_the_tar_can_be_rebuilt() {
    let tar = Archive::default()
        .file("f", "one")
        .file("f", "two, longer")
        .file("f", "three")
        .dir("d")
        .file("d/x", "x1")
        .file("d/sub/y", "y1")
        .file("d/x", "x2")
        .file("d", "now a file")
        .dir("d")
        .file("d/x", "x3")
        .symlink("l", "d")
        .dir("l")
        .file("l/z", "z")
        .file("h1", "linked")
        .link("h2", "h1")
        .file("h1", "other")
        .link("f2", "f2/../f")
        .link("f2", "f2")
        .dir("merged")
        .add(Head { mode: 0o700, ..entry("merged", Kind::Directory) }, b"")
        .end();
    let (layer, _) = good(&tar);
    let read = ["f", "f2", "d/x", "l/z", "h1", "h2"].map(|path| layer.text(path));
    assert_eq!(read, ["three", "three", "x3", "z", "other", "linked"]);
    assert!(!layer.diff("d/sub").exists());
    // What a file replaced hides the lower layers' directory.
    assert!(is_opaque(&layer.diff("d")) && is_opaque(&layer.diff("l")) && !is_opaque(&layer.diff("merged")));
    assert_eq!(fs::metadata(layer.diff("merged")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn links_in_parents_are_followed_inside_the_root() {
    let tar = Archive::default()
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr")
        .symlink("up", "../../../../usr")
        .symlink("etc", "/../../../../../../../../../../etc-inside")
        .dir("etc-inside")
        .file("lib/a", "1")
        .file("abs/lib/b", "2")
        .file("up/lib/deep/c", "3")
        .file("etc/passwd", "4")
        .link("lib/d", "abs/lib/a")
        .end();
    let (layer, unpacked) = good(&tar);
    let read = ["usr/lib/a", "usr/lib/b", "usr/lib/deep/c", "etc-inside/passwd", "usr/lib/d"];
    assert_eq!(read.map(|path| layer.text(path)), ["1", "2", "3", "4", "1"]);
    assert_eq!(unpacked.implicit, 2);
}

/// `failure-classes` rows 19 to 25: every archive here is refused, and nothing outside the layer changes.
#[test]
fn hostile_archives_are_refused() {
    let a = Archive::default;
    let canary_dir = "../../../../../../../../../../../..";
    let global = |key: &str| a().pax(&[(key, "1")], entry("f", Kind::File), b"").patch(0, |header| header[156] = b'g');
    let cases: Vec<(&str, Archive, &str)> = vec![
        ("dotdot", a().file("../canary", "dead"), "leaves the root"),
        ("inner dotdot", a().file("a/../../canary", "dead"), "leaves the root"),
        ("absolute dotdot", a().file("/../canary", "dead"), "leaves the root"),
        ("link target dotdot", a().link("x", "../canary"), "leaves the root"),
        ("through a link", a().symlink("x", canary_dir).file("x/canary", "dead").link("y", "x/gone"), "does not exist"),
        ("dangling parent", a().symlink("x", "nowhere").file("x/f", "dead"), "dangling"),
        ("loop", a().symlink("x", "y").symlink("y", "x").file("x/f", "dead"), "too many links"),
        ("file as parent", a().file("x", "").file("x/f", "dead"), "not a directory"),
        ("fifo as parent", a().add(entry("x", Kind::Fifo), b"").file("x/f", "dead"), "not a directory"),
        ("root as file", a().file(".", "dead"), "root can only be a directory"),
        ("root as link", a().symlink("/", "/etc"), "root can only be a directory"),
        ("root as hard link", a().file("f", "").link("./", "f"), "root can only be a directory"),
        ("link to directory", a().dir("d").link("x", "d"), "hard link to the directory"),
        ("link to the root", a().link("x", "/"), "does not exist"),
        ("link to nothing", a().link("x", "y"), "does not exist"),
        ("link to a whiteout", a().file(".wh.y", "").link("x", "y"), "does not exist"),
        ("link to a device", a().add(entry("null", Kind::Char(1, 3)), b"").link("x", "null"), "does not exist"),
        ("empty link", a().symlink("x", ""), "without a target"),
        ("whiteout of nothing", a().file(".wh.", ""), "no valid name"),
        ("whiteout of .", a().file("d/.wh..", ""), "no valid name"),
        ("whiteout of ..", a().file("d/.wh...", ""), "no valid name"),
        ("whiteout of a whiteout", a().file("d/.wh..wh.x", ""), "no valid name"),
        ("whiteout directory", a().dir(".wh.x"), "not a file"),
        ("below a whiteout", a().file(".wh.x/y", ""), "below a whiteout"),
        ("unknown type", a().file("x", "").patch(0, |header| header[156] = b'V'), "unknown entry type 'V'"),
        ("socket", a().file("x", "").patch(0, |header| header[156] = b's'), "unknown entry type"),
        ("directory with content", a().add(entry("d", Kind::Directory), b"x"), "content where the type allows none"),
        ("file with slash", a().file("x/", "1"), "ends with a slash"),
        ("NUL in a name", a().pax(&[("path", "a\0b")], entry("x", Kind::File), b""), "NUL"),
        (
            "two PAX headers",
            a().pax(&[("path", "a")], entry("x", Kind::File), b"").patch(1024, |h| h[156] = b'x').file("y", ""),
            "duplicate PAX extended header",
        ),
        (
            "PAX header without an entry",
            a().pax(&[("path", "a")], entry("x", Kind::File), b"").patch(1024, |h| h[156] = b'x'),
            "an extended header without an entry",
        ),
        (
            "PAX path and long name",
            a().pax(&[("path", "a")], entry("@", Kind::File), b"b\0").patch(1024, |h| h[156] = b'L').file("c", ""),
            "a name given both in a PAX header and in a GNU long name",
        ),
        (
            "long link and PAX linkpath",
            a().add(entry("@", Kind::File), b"b\0").patch(0, |h| h[156] = b'K').pax(
                &[("linkpath", "a")],
                entry("x", Kind::Symlink),
                b"",
            ),
            "a name given both in a PAX header and in a GNU long name",
        ),
        ("size without end", a().pax(&[("size", "18446744073709551615")], entry("x", Kind::File), b""), "out of range"),
        (
            "size of a whiteout without end",
            a().pax(&[("size", "18446744073709551615")], entry(".wh.x", Kind::File), b"").file("smuggled", ""),
            "out of range",
        ),
        (
            "size of nine exbibytes",
            a().pax(&[("size", "9223372036854775807")], entry("x", Kind::File), b""),
            "the limit",
        ),
        (
            "whiteout of nine exbibytes",
            a().pax(&[("size", "9223372036854775807")], entry(".wh.x", Kind::File), b""),
            "ends inside the content",
        ),
        ("global path", global("path"), "global header that sets path"),
        ("global size", global("size"), "global header that sets size"),
        ("negative size", a().file("x", "").patch(0, |header| header[124..136].fill(0xff)), "size is out of range"),
        ("huge size", a().file("x", "").patch(0, |header| header[124..136].fill(0x80)), "size is out of range"),
        (
            "huge owner",
            a().pax(&[("uid", "4294967296")], entry("x", Kind::File), b""),
            "owner id 4294967296 is too large",
        ),
        ("bad mtime", a().pax(&[("mtime", "x")], entry("x", Kind::File), b""), "damaged time"),
        ("lone zeros", a().file("x", "1").raw(&[0; 512]).file("y", "2"), "lone block of zeros"),
        ("checksum", a().file("x", "1").raw(&[b'x'; 512]), "wrong checksum"),
        (
            "sparse 2.0",
            a().pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")], entry("x", Kind::File), b""),
            "unknown form",
        ),
        (
            "sparse overlap",
            a().pax(&[("GNU.sparse.map", "0,4,2,4"), ("GNU.sparse.size", "9")], entry("x", Kind::File), b"12345678"),
            "damaged sparse map",
        ),
        (
            "sparse sum",
            a().pax(&[("GNU.sparse.map", "0,4"), ("GNU.sparse.size", "9")], entry("x", Kind::File), b"12345678"),
            "does not match",
        ),
        (
            "sparse end",
            a().pax(&[("GNU.sparse.map", "8,4"), ("GNU.sparse.size", "9")], entry("x", Kind::File), b"1234"),
            "damaged sparse map",
        ),
    ];
    for (name, archive, wanted) in cases {
        let error = Layer::new().unpack(&archive.end()).expect_err(name).to_string();
        assert!(error.contains(wanted), "{name}: {error}");
        assert!(!error.chars().any(char::is_control), "{name}: {error}");
    }
}

#[test]
fn every_pair_of_types_under_one_name_stays_inside() {
    let kinds = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Hardlink, Kind::Fifo, Kind::Char(0, 0)];
    let targets = ["/etc", "../../canary", "target", "../../../../../../../../tmp"];
    for first in kinds {
        for second in kinds {
            for target in targets {
                let link = |kind| match kind {
                    Kind::Symlink => target.as_bytes().to_vec(),
                    Kind::Hardlink => b"target".to_vec(),
                    _ => Vec::new(),
                };
                let make = |kind| Head { link: link(kind), ..entry("name", kind) };
                let tar = Archive::default()
                    .file("target", "t")
                    .add(make(first), b"")
                    .add(make(second), b"")
                    .file("name/child", "c")
                    .end();
                let layer = Layer::new();
                match layer.unpack(&tar) {
                    Ok(_) => assert!(layer.rebuilt() == tar, "{first:?} then {second:?}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
                }
                assert_eq!(layer.text("target"), "t");
            }
        }
    }
}

#[test]
fn what_is_no_tar_or_only_a_part_is_named() {
    let long: String = "x".repeat(700_000);
    let whole = Archive::default().dir("d").file("d/\u{1b}f", &long).file("g", "1").end();
    for (cut, wanted) in [
        (0, "not a tar archive"),
        (100, "not a tar archive"),
        (700, "after entry d: the archive ends inside"),
        (3000, "entry d/\\u{1b}f: the archive ends inside the content"),
    ] {
        let error = Layer::new().unpack(&whole[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(wanted), "{error}");
    }
    for text in ["hello", &"hello, world! ".repeat(1000)] {
        let error = Layer::new().unpack(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "not a tar archive");
    }
    let (_, unpacked) = good(&whole[..whole.len() - 1024]);
    assert_eq!(unpacked.warnings, ["the archive has no end marker: it may be cut off"]);
    good(&whole[..whole.len() - 512]);
    // Nor have some the padding of their last file. Where no digest says that it is whole, it was cut off.
    for missing in [1, 511] {
        let tar = &whole[..whole.len() - 1024 - missing];
        let error = Layer::new().unpack(tar).unwrap_err();
        assert!(error.to_string().contains("entry g: the archive ends inside the content"), "{error}");
        let layer = Layer::new();
        let unpacked = layer.unpack_with(tar, &Limits::of_known()).unwrap();
        assert_eq!(unpacked.warnings, ["the archive has no end marker: it may be cut off"]);
        assert!(layer.rebuilt() == tar, "the rebuilt tar differs");
    }
    let (_, unpacked) = good(&[&whole[..], &[0; 100_000], &[7], &[0; 600_000]].concat());
    assert_eq!(unpacked.warnings, ["what follows the archive's end marker was ignored"]);
    assert_eq!(good(&[&whole[..], &[0; 600_000]].concat()).1.warnings, [""; 0]);
    good(&[0; 1024]);
}

#[test]
fn limits_are_named() {
    let deep = "d/".repeat(40);
    let tar = Archive::default().file("a", &"x".repeat(5000)).file(format!("{deep}b"), "").end();
    let attr = [("SCHILY.xattr.user.x", &*"v".repeat(3000))];
    let pax = Archive::default().pax(&attr, entry("x", Kind::File), b"").end();
    let map = [("GNU.sparse.map", "0,1,2,1,4,1"), ("GNU.sparse.size", "9000000000")];
    let sparse = Archive::default().pax(&map, entry("x", Kind::File), b"123").end();
    let padded = [Archive::default().file("a", "").end(), vec![0; 5000]].concat();
    let limits = Limits::default;
    for (tar, limits, wanted) in [
        (&tar, Limits { bytes: 4000, ..limits() }, "more than 4000 bytes"),
        (&tar, Limits { entries: 1, ..limits() }, "more than 1 entries"),
        (&tar, Limits { depth: 40, ..limits() }, "41 components"),
        (&tar, Limits { path: 80, ..limits() }, "81 bytes"),
        (&pax, Limits { metadata: 2048, ..limits() }, "more than 2048 bytes"),
        (&sparse, Limits { segments: 2, ..limits() }, "too many sparse entries"),
        (&sparse, Limits { bytes: 8_999_999_999, ..limits() }, "files of more than 8999999999 bytes"),
        (&padded, Limits { trailer: 4999, ..limits() }, "more than 4999 bytes follow the archive's end"),
    ] {
        let error = Layer::new().unpack_with(tar, &limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn owners_outside_the_mapping_are_recorded() {
    let stranger = u32::MAX - 7;
    let tar = Archive::default()
        .add(Head { uid: stranger, mode: 0o6755, ..entry("both", Kind::File) }, b"1")
        .add(Head { gid: 3_000_000_000, mode: 0o2750, ..entry("d", Kind::Directory) }, b"")
        .add(Head { uid: stranger, ..entry("twice", Kind::File) }, b"1")
        .file("twice", "2")
        .file("mine", "3")
        .add(Head { uid: stranger, mode: 0o777, link: b"x".to_vec(), ..entry("a link\n", Kind::Symlink) }, b"")
        .end();
    let (layer, unpacked) = good(&tar);
    assert_eq!(unpacked.squashed, 4);
    assert_eq!(unpacked.warnings, ["4 entries belong to ids outside the id mapping: stored as root's"]);
    assert_eq!(fs::metadata(layer.diff("both")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(layer.diff("d")).unwrap().mode() & 0o7777, 0o750);
    let owners = Owners::read(std::io::BufReader::new(fs::File::open(layer.path("owners")).unwrap())).unwrap();
    let owner = |uid, gid, mode| Some(Owner { uid, gid, mode });
    assert_eq!(owners.get(b"both"), owner(Some(stranger), None, 0o6755));
    assert_eq!(owners.get(b"d"), owner(None, Some(3_000_000_000), 0o2750));
    assert_eq!(owners.get(b"twice"), owner(None, None, 0o644));
    assert_eq!(owners.get(b"a link\n"), owner(Some(stranger), None, 0o777));
    assert_eq!(owners.get(b"mine"), None);
}

#[test]
fn xattrs_are_set_but_never_overlay_s_own() {
    let name = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let xattrs = vec![
        name("trusted.overlay.redirect", "/etc"),
        name("user.a%=b", "\0binary\n"),
        name("user.overlay.metacopy", ""),
        name("user.overlay.opaque", "y"),
        name("user.overlay.overlay.opaque", "y"),
        name("nonsense", "z"),
    ];
    let tar = Archive::default()
        .add(Head { xattrs: xattrs.clone(), ..entry("f", Kind::File) }, b"1")
        .add(Head { xattrs, ..entry("d", Kind::Directory) }, b"")
        .end();
    let (layer, unpacked) = good(&tar);
    for path in ["f", "d"] {
        let mut list = [0; 1000];
        let length = rustix::fs::listxattr(layer.diff(path), &mut list[..]).unwrap();
        let names: Vec<_> = list[..length].split(|b| *b == 0).filter(|name| name.starts_with(b"user.")).collect();
        assert_eq!(names, [b"user.a%=b"]);
        let mut value = [0; 10];
        let length = rustix::fs::getxattr(layer.diff(path), c"user.a%=b", &mut value[..]).unwrap();
        assert_eq!(value[..length], *b"\0binary\n");
    }
    assert_eq!(unpacked.skipped_xattrs, 2);
    assert_eq!(unpacked.warnings, ["2 extended attributes cannot be stored on this file system"]);
}

/// An access control list for what is made in a directory: `default:user::rwx,group::---,other::---`.
const DEFAULT_ACL: &[u8] =
    &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255];

/// However little is remembered about directories, they come out as the archive has them, and nothing that is made in
/// them inherits from them.
#[test]
fn directories_get_what_is_due_early_or_late() {
    let acl = vec![(b"system.posix_acl_default".to_vec(), DEFAULT_ACL.to_vec())];
    let time = |secs| Time { secs, nanos: 5 };
    let dir = |path: &str, mode, secs| Head { mode, mtime: time(secs), ..entry(path, Kind::Directory) };
    let tar = Archive::default()
        .add(dir("", 0o1711, 1), b"")
        .add(dir("setgid", 0o2755, 2), b"")
        .add(Head { xattrs: acl, ..dir("acl", 0o750, 3) }, b"")
        .add(dir("twice", 0o700, 4), b"")
        .file("implicit/a", "1")
        .dir("setgid/below")
        .file("setgid/f", "2")
        .dir("acl/below")
        .file("acl/f", "3")
        .file("twice/f", "4")
        .file("twice/f", "5")
        .file("twice/.wh.gone", "")
        .symlink("link", "twice")
        .file("link/through", "6")
        .add(dir("implicit", 0o755, 7), b"")
        .add(dir("twice", 0o755, 8), b"")
        .file("twice/late", "7")
        .file("file", "then a directory")
        .add(dir("file", 0o500, 9), b"")
        .add(dir("gone", 0o700, 10), b"")
        .add(dir("gone/below", 0o700, 11), b"")
        .file("gone", "")
        .end();
    for directories in [usize::MAX, 500, 0] {
        let layer = Layer::new();
        let limits = Limits { directories, ..Limits::default() };
        let unpacked = layer.unpack_with(&tar, &limits).unwrap();
        assert!(layer.rebuilt() == tar);
        let found = |path: &str| {
            let meta = fs::metadata(layer.diff(path)).unwrap();
            (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec())
        };
        let wanted = [
            ("", (0o1711, 1, 5)),
            ("setgid", (0o2755, 2, 5)),
            ("acl", (0o750, 3, 5)),
            ("twice", (0o755, 8, 5)),
            ("implicit", (0o755, 7, 5)),
            ("file", (0o500, 9, 5)),
            ("setgid/below", (0o755, 1_000_000_000, 0)),
            ("acl/below", (0o755, 1_000_000_000, 0)),
            ("acl/f", (0o644, 1_000_000_000, 0)),
            ("gone", (0o644, 1_000_000_000, 0)),
        ];
        for (path, wanted) in wanted {
            assert_eq!(found(path), wanted, "{path} with {directories}");
        }
        assert_eq!(["twice/f", "twice/through", "twice/late"].map(|path| layer.text(path)), ["5", "6", "7"]);
        let acl = |path: &str| {
            let mut value = [0; 100];
            rustix::fs::getxattr(layer.diff(path), c"system.posix_acl_default", &mut value[..])
                .map(|length| value[..length].to_vec())
        };
        // Where the file system has no access control lists, they are counted.
        let taken = acl("acl").is_ok_and(|acl| acl == DEFAULT_ACL);
        assert_eq!((unpacked.skipped_xattrs, taken), if taken { (0, true) } else { (1, false) });
        assert!(acl("acl/below").is_err());
        assert_eq!(unpacked.warnings.len(), usize::from(!taken));
        if directories == usize::MAX {
            assert_eq!(unpacked.implicit, 0);
        }
    }
}

#[test]
fn zeros_take_no_space() {
    let zeros = "\0".repeat(3_000_000);
    let (layer, _) = good(&Archive::default().file("a", &format!("head{zeros}tail")).file("b", &zeros).end());
    assert_eq!(fs::read(layer.diff("a")).unwrap(), format!("head{zeros}tail").into_bytes());
    assert_eq!(fs::read(layer.diff("b")).unwrap(), zeros.as_bytes());
    for name in ["a", "b"] {
        assert!(fs::metadata(layer.diff(name)).unwrap().blocks() * 512 < 1 << 20, "{name}");
    }
}

/// Many attributes in one header are read in one go, not each against all before.
#[test]
fn of_two_attributes_with_one_name_the_later_counts() {
    let names: Vec<String> = (0..20_000).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
    let mut records: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    records.push(("SCHILY.xattr.user.0", "last"));
    records.push(("SCHILY.xattr.user.1", "last"));
    let tar = Archive::default().pax(&records, entry("f", Kind::File), b"").end();
    let (layer, _) = good(&tar);
    let entries = Entries::new(fs::File::open(layer.path("index")).unwrap()).unwrap();
    let xattrs = entries.map(|entry| entry.unwrap().head.xattrs).next().unwrap();
    assert_eq!((xattrs.len(), xattrs[0].1.as_slice(), xattrs[2].1.as_slice()), (20_000, &b"last"[..], &b""[..]));
}

/// Every form of sparse file: holes stay holes, content is right, the tar comes back.
#[test]
fn sparse_files_of_all_forms() {
    let size = "100000000";
    let map_0_1 = [("GNU.sparse.size", size), ("GNU.sparse.map", "0,4,50000000,4,100000000,0")];
    let map_0_0 = [
        ("GNU.sparse.size", size),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "4"),
        ("GNU.sparse.offset", "50000000"),
        ("GNU.sparse.numbytes", "4"),
    ];
    let map_1_0 =
        [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "x"), ("GNU.sparse.realsize", size)];
    let mut content = b"2\n0\n4\n50000000\n4\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"headtail");
    let a = Archive::default;
    let file = || entry("x", Kind::File);
    for (form, tar) in [
        ("0.1", a().pax(&map_0_1, file(), b"headtail")),
        ("0.0", a().pax(&map_0_0, file(), b"headtail")),
        ("1.0", a().pax(&map_1_0, entry("GNUSparseFile.0/y", Kind::File), &content)),
    ] {
        let (layer, unpacked) = good(&tar.file("next", "n").end());
        let meta = fs::metadata(layer.diff("x")).unwrap();
        assert_eq!(meta.len(), 100_000_000, "{form}");
        assert!(meta.blocks() * 512 < 1 << 20, "{form}: holes were filled");
        assert_eq!(unpacked.content, 100_000_001);
        let data = fs::read(layer.diff("x")).unwrap();
        assert_eq!((&data[..5], &data[50_000_000..50_000_005]), (&b"head\0"[..], &b"tail\0"[..]), "{form}");
        assert_eq!(layer.text("next"), "n");
    }
}

#[test]
fn the_size_of_a_pax_record_wins() {
    let tar = Archive::default().pax(&[("size", "3")], entry("x", Kind::File), b"123");
    let at = tar.0.len() - 1024;
    for header_size in ["00000000000", "00000000001", "00000001000"] {
        let tar = tar.clone().patch(at, |header| header[124..135].copy_from_slice(header_size.as_bytes()));
        let (layer, _) = good(&tar.file("y", "next").end());
        assert_eq!((layer.text("x"), layer.text("y")), ("123".into(), "next".into()));
    }
}

#[test]
fn the_index_lists_entries_in_tar_order() {
    let tar = Archive::default().file("a/b", "content").symlink("l", "a").file("l/c", "2").file(".wh.x", "").end();
    let (layer, _) = good(&tar);
    let entries: Vec<_> =
        Entries::new(fs::File::open(layer.path("index")).unwrap()).unwrap().collect::<Result<_>>().unwrap();
    let names: Vec<_> = entries.iter().map(|e| (shown(&e.head.path), e.implicit, e.digest.is_some())).collect();
    let name = |name: &str, implicit, digest| (name.to_owned(), implicit, digest);
    let wanted = [
        name("a", true, false),
        name("a/b", false, true),
        name("l", false, false),
        name("l/c", false, true),
        name(".wh.x", false, false),
    ];
    assert_eq!(names, wanted);
    assert_eq!(entries[1].digest, Some(*blake3::hash(b"content").as_bytes()));
    assert_eq!(entries[3].place.as_deref(), Some(&b"a/c"[..]));
    assert_eq!(entries[2].head.link, b"a");
}

#[test]
fn damaged_layers_are_corrupt_by_name() {
    let tar = Archive::default().file("a/b", "content").end();
    for (damage, wanted) in [("Content", "was changed"), ("c", "too short"), ("", "too short")] {
        let (layer, _) = good(&tar);
        fs::write(layer.diff("a/b"), damage).unwrap();
        let index = fs::File::open(layer.path("index")).unwrap();
        let error = rebuild(&index, layer.fd().as_fd(), &mut std::io::sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("a/b") && error.to_string().contains(wanted), "{error}");
    }
    let (layer, _) = good(&tar);
    fs::remove_file(layer.diff("a/b")).unwrap();
    let index = fs::File::open(layer.path("index")).unwrap();
    let error = rebuild(&index, layer.fd().as_fd(), &mut std::io::sink()).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Corrupt, "file a/b: the file is gone".into()));
}

#[test]
fn flushing_takes_both_ways() {
    let (layer, unpacked) = good(&Archive::default().file("a/b", "content").symlink("l", "a").end());
    flush(layer.fd().as_fd(), unpacked.entries).unwrap();
    flush(layer.fd().as_fd(), 1_000_000).unwrap();
}

/// A tree that every format of tar can hold, or with `long` one that only the newer ones can.
fn program_tree(long: bool) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let dir = tree.path();
    fs::create_dir_all(dir.join("d/e")).unwrap();
    fs::write(dir.join("d/e/f"), "deep").unwrap();
    fs::write(dir.join("plain"), vec![b'x'; 300_000]).unwrap();
    fs::hard_link(dir.join("plain"), dir.join("other")).unwrap();
    std::os::unix::fs::symlink("d/e", dir.join("link")).unwrap();
    fs::File::create(dir.join("sparse")).unwrap().set_len(5_000_000).unwrap();
    if long {
        fs::create_dir_all(dir.join("d".repeat(120)).join("e".repeat(120))).unwrap();
        fs::write(dir.join("d".repeat(120)).join("e".repeat(120)).join("f"), "deeper").unwrap();
        std::os::unix::fs::symlink("l".repeat(200), dir.join("long link")).unwrap();
        fs::write(dir.join("\u{e9} \\ \n"), "odd").unwrap();
        rustix::fs::setxattr(dir.join("plain"), c"user.note", b"a=b", rustix::fs::XattrFlags::empty()).unwrap();
    }
    tree
}

/// What lies in an archive of [`program_tree`].
fn check_program_tree(tar: &[u8], long: bool, format: &str) -> Layer {
    let (layer, _) = good(tar);
    assert_eq!(layer.text("d/e/f"), "deep", "{format}");
    assert_eq!(fs::read(layer.diff("plain")).unwrap(), vec![b'x'; 300_000], "{format}");
    assert_eq!(fs::metadata(layer.diff("plain")).unwrap().nlink(), 2, "{format}");
    assert_eq!(fs::read_link(layer.diff("link")).unwrap(), Path::new("d/e"), "{format}");
    assert_eq!(fs::read(layer.diff("sparse")).unwrap(), vec![0; 5_000_000], "{format}");
    if long {
        assert_eq!(layer.text(&format!("{}/{}/f", "d".repeat(120), "e".repeat(120))), "deeper", "{format}");
        assert_eq!(fs::read_link(layer.diff("long link")).unwrap(), Path::new(&"l".repeat(200)), "{format}");
        assert_eq!(layer.text("\u{e9} \\ \n"), "odd", "{format}");
    }
    layer
}

#[test]
fn archives_of_gnu_tar_come_back_exactly() {
    for (format, long, options) in [
        ("v7", false, &[][..]),
        ("ustar", false, &[]),
        ("oldgnu", true, &["-S"]),
        ("gnu", true, &["-S"]),
        ("gnu", true, &["--blocking-factor=1"]),
        ("gnu", true, &["--numeric-owner", "--hard-dereference"]),
        ("posix", true, &["-S", "--sparse-version=0.0"]),
        ("posix", true, &["-S", "--sparse-version=0.1", "--xattrs"]),
        ("posix", true, &["-S", "--sparse-version=1.0", "--xattrs"]),
        ("posix", true, &["--pax-option=delete=atime,delete=ctime", "--mtime=@1.123456789"]),
    ] {
        let tree = program_tree(long);
        let mut tar = std::process::Command::new("tar");
        tar.args(["--format", format]).args(options).arg("-C").arg(tree.path()).args(["-cf", "-", "."]);
        let out = tar.output().expect("GNU tar is needed");
        assert!(out.status.success(), "{format} {options:?}: {}", String::from_utf8_lossy(&out.stderr));
        if options.contains(&"--hard-dereference") {
            good(&out.stdout);
            continue;
        }
        let layer = check_program_tree(&out.stdout, long, format);
        if options.contains(&"-S") {
            assert_eq!(fs::metadata(layer.diff("sparse")).unwrap().blocks(), 0, "{format} {options:?}");
        }
        if options.contains(&"--xattrs") {
            let mut value = [0; 10];
            let length = rustix::fs::getxattr(layer.diff("plain"), c"user.note", &mut value[..]).unwrap();
            assert_eq!(value[..length], *b"a=b");
        }
    }
}

#[test]
fn archives_of_python_come_back_exactly() {
    let script = "import sys, tarfile\nfor f in sys.argv[3:]:\n t = tarfile.open(sys.argv[2] + f, 'w', format=getattr(tarfile, f + '_FORMAT'))\n t.add(sys.argv[1], '.')\n t.close()\n";
    for (long, formats) in [(false, &["USTAR", "GNU", "PAX"][..]), (true, &["GNU", "PAX"])] {
        let (tree, out) = (program_tree(long), tempfile::tempdir().unwrap());
        let prefix = out.path().join("t");
        let mut python = std::process::Command::new("python3");
        python.args(["-c", script]).arg(tree.path()).arg(&prefix).args(formats);
        assert!(python.status().expect("Python is needed").success());
        for format in formats {
            let tar = fs::read(out.path().join(format!("t{format}"))).unwrap();
            check_program_tree(&tar, long, format);
        }
    }
}

/// What libarchive's bsdtar writes: a PAX header with records of its own for most entries, `SCHILY` and `LIBARCHIVE`
/// keys, directories with a slash, and an archive filled up to a whole record of 10 KiB.
#[test]
fn archives_like_bsdtars_come_back_exactly() {
    let records = [
        ("atime", "1700000000.123456789"),
        ("ctime", "1700000001.5"),
        ("mtime", "1700000002.25"),
        ("LIBARCHIVE.creationtime", "1699999999"),
        ("SCHILY.dev", "65024"),
        ("SCHILY.ino", "1234"),
        ("SCHILY.nlink", "1"),
        ("SCHILY.fflags", "nodump"),
        ("SCHILY.acl.access", "user::rwx,group::r-x,other::r-x"),
        ("LIBARCHIVE.xattr.user.note", "YT1i"),
        ("SCHILY.xattr.user.note", "a=b"),
        ("uname", "r\u{e9}my"),
        ("hdrcharset", "ISO-IR 10646 2000 UTF-8"),
    ];
    let mut tar = Archive::default()
        .pax(&records[..3], entry("", Kind::Directory), b"")
        .pax(&records, entry("f", Kind::File), b"content")
        .pax(&records[..7], Head { link: b"f".to_vec(), ..entry("link", Kind::Hardlink) }, b"")
        .end();
    tar.resize(tar.len().next_multiple_of(10_240), 0);
    let (layer, unpacked) = good(&tar);
    let meta = fs::metadata(layer.diff("f")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.nlink()), (1_700_000_002, 250_000_000, 2));
    let mut value = [0; 10];
    let length = rustix::fs::getxattr(layer.diff("f"), c"user.note", &mut value[..]).unwrap();
    assert_eq!(value[..length], *b"a=b");
    assert_eq!(unpacked.warnings, [""; 0]);
}

/// Finding what was kept aside takes no longer for the last of many than for the first.
#[test]
fn a_path_given_many_times_is_rebuilt() {
    let many = (0..3000).fold(Archive::default(), |tar, n| match n % 3 {
        0 => tar.file("d/f", &n.to_string()),
        1 => tar.file("d/sub/g", &n.to_string()),
        _ => tar.file("d", &n.to_string()).dir("d"),
    });
    let (layer, unpacked) = good(&many.file("d/f", "last").end());
    assert_eq!((layer.text("d/f"), unpacked.entries), ("last".into(), 4001));
    assert!(layer.path("kept").exists());
}

fn names() -> impl Strategy<Value = String> {
    "(\\./|/)?[abc]{1,2}(/(\\.wh\\.)?[abcd]|/\\.\\.){0,3}"
}

fn archives() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        4 => Just(Kind::File), 3 => Just(Kind::Directory), 2 => Just(Kind::Symlink), 2 => Just(Kind::Hardlink),
        1 => Just(Kind::Fifo), 1 => Just(Kind::Char(0, 0)),
    ];
    let one = (names(), kinds, names(), proptest::collection::vec(any::<u8>(), 0..1500), any::<u32>());
    proptest::collection::vec(one, 0..12).prop_map(|list| {
        let archive = list.into_iter().fold(Archive::default(), |archive, (path, kind, link, content, random)| {
            let link = if matches!(kind, Kind::Symlink | Kind::Hardlink) { link.into_bytes() } else { Vec::new() };
            let content = if kind == Kind::File { content } else { Vec::new() };
            let mtime = Time { secs: i64::from(random) - (1 << 31), nanos: random % 1_000_000_000 };
            // What the storage helper may do, the user of a test may not: its files and directories stay readable.
            let mode = if kind == Kind::Directory { random | 0o700 } else { random | 0o400 } & 0o7777;
            archive.add(Head { link, mtime, mode, ..entry(path, kind) }, &content)
        });
        archive.end()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_is_rebuilt_exactly(tar in archives(), directories in prop_oneof![Just(0), Just(400), Just(1 << 20)]) {
        let layer = Layer::new();
        match layer.unpack_with(&tar, &Limits { directories, ..Limits::default() }) {
            Ok(unpacked) => {
                prop_assert_eq!(unpacked.diff_id, Digest::of(&tar));
                prop_assert!(layer.rebuilt() == tar);
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error),
        }
    }

    #[test]
    fn damaged_archives_never_panic(
        tar in archives(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        mend: bool,
    ) {
        let mut archive = Archive(tar);
        for (at, byte) in changes {
            let at = at.index(archive.0.len());
            archive.0[at] = byte;
            if mend {
                archive = archive.patch(at / 512 * 512, |_| {});
            }
        }
        let layer = Layer::new();
        if layer.unpack(&archive.0).is_ok() {
            let mut rebuilt = Vec::new();
            let index = fs::File::open(layer.path("index")).unwrap();
            match rebuild(&index, layer.fd().as_fd(), &mut rebuilt) {
                Ok(_) => prop_assert!(rebuilt == archive.0),
                // A damaged mode can close a file to the user of a test.
                Err(error) => prop_assert_eq!(error.errno(), Some(libc::EACCES), "{}", error),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = Layer::new().unpack(&bytes);
    }
}
