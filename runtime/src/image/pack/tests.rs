//! Trees become tars: listed by lrun's own reader and by GNU tar, unpacked again, packed again to the same bytes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, XattrFlags, makedev, mknodat, setxattr, utimensat};

use super::*;
use crate::image::attributes::timestamps;
use crate::image::index::{Entries, rebuild};
use crate::image::tar::archive::own_ids;
use crate::image::unpack::unpack;

/// A layer's wrapper directory with a `diff/`.
struct Layer(tempfile::TempDir);

/// What a test packed.
struct Output {
    packed: Packed,
    tar: Vec<u8>,
}

impl Layer {
    fn new() -> Self {
        let layer = Self::empty();
        fs::create_dir(layer.path("")).unwrap();
        layer
    }

    /// Without a `diff/`, as the unpacker wants it.
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("diff").join(below)
    }

    fn fd(&self) -> File {
        File::open(self.0.path()).unwrap()
    }

    fn dir(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn whiteout(&self, below: &str) {
        mknodat(CWD, self.path(below), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
    }

    /// Gives everything one time, directories too.
    fn age(self) -> Self {
        age(&self.path(""), 1_700_000_000);
        self
    }

    /// Packs, and checks digest, size and index on the way.
    fn try_pack(&self, seed: Option<&RootAttrs>, clock: Option<i64>) -> Result<Output> {
        self.pack_knowing(Known { seed, clock, ..Known::default() })
    }

    fn pack_knowing(&self, known: Known<'_>) -> Result<Output> {
        let mut tar = Vec::new();
        let index = tempfile::tempfile().unwrap();
        let packed = pack_layer(self.fd().as_fd(), known, Some(index.try_clone().unwrap()), &mut tar)?;
        assert_eq!((&packed.diff_id, packed.size), (&Digest::of(&tar), tar.len() as u64));
        let mut again = Vec::new();
        rebuild(&index, self.fd().as_fd(), &mut again).unwrap();
        assert!(again == tar, "the index does not give the tar back");
        Ok(Output { packed, tar })
    }

    fn pack(&self) -> Output {
        self.try_pack(None, None).unwrap()
    }

    fn root(&self) -> RootAttrs {
        RootAttrs::read(File::open(self.path("")).unwrap().as_fd()).unwrap()
    }
}

fn age(path: &Path, secs: i64) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| age(&entry.unwrap().path(), secs));
    }
    utimensat(CWD, path, &timestamps(Time { secs, nanos: 0 }), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The entries of a tar, read through a layer that it is unpacked to.
fn heads(tar: &[u8]) -> Vec<Head> {
    let layer = Layer::empty();
    unpack(&mut { tar }, layer.fd().as_fd(), &own_ids(), &Limits::default(), &mut |_| {}).unwrap();
    let index = File::open(layer.0.path().join("index")).unwrap();
    let entries = Entries::new(index).unwrap().map(Result::unwrap);
    entries.filter(|entry| !entry.implicit).map(|entry| entry.head).collect()
}

fn lines(tar: &[u8]) -> String {
    let line = |head: &Head| {
        let kind = match head.kind {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::Hardlink => "hardlink",
            Kind::Fifo => "fifo",
            Kind::Char(..) => "char",
            Kind::Block(..) => "block",
        };
        let link = if head.link.is_empty() { String::new() } else { format!(" -> {}", shown(&head.link)) };
        let xattrs: String =
            head.xattrs.iter().map(|(name, value)| format!(" {}={}", shown(name), shown(value))).collect();
        format!("{kind} {:o} {}{link} {}{xattrs}", head.mode, shown(&head.path), head.size)
    };
    heads(tar).iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn entries_are_sorted_whatever_the_order_of_making() {
    let names = ["b/z", "a", "b/a", "b.d/x", "b-/y", "c/d/e/f", "\u{e9}", "B"];
    let forward = Layer::new();
    names.iter().for_each(|name| drop(forward.file(name, *name)));
    symlink("a", forward.path("link")).unwrap();
    mknodat(CWD, forward.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::set_permissions(forward.path("fifo"), fs::Permissions::from_mode(0o640)).unwrap();
    let backward = Layer::new();
    mknodat(CWD, backward.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::set_permissions(backward.path("fifo"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("a", backward.path("link")).unwrap();
    names.iter().rev().for_each(|name| drop(backward.file(name, *name)));
    let (forward, backward) = (forward.age().pack(), backward.age().pack());
    assert_eq!(forward.packed, backward.packed);
    assert!(forward.tar == backward.tar);
    // A directory comes before what is in it, names in the order of their bytes.
    insta::assert_snapshot!(lines(&forward.tar), @"
    directory 755 / 0
    file 644 B 1
    file 644 a 1
    directory 755 b 0
    file 644 b/a 3
    file 644 b/z 3
    directory 755 b- 0
    file 644 b-/y 4
    directory 755 b.d 0
    file 644 b.d/x 5
    directory 755 c 0
    directory 755 c/d 0
    directory 755 c/d/e 0
    file 644 c/d/e/f 7
    fifo 640 fifo 0
    symlink 777 link -> a 0
    file 644 é 2
    ");
    assert_eq!((forward.packed.entries, forward.packed.content, forward.packed.empty), (17, 26, false));
}

#[test]
fn gnu_tar_reads_it_as_it_was() {
    let layer = Layer::new();
    let long = format!("{}/{}/{}", "d".repeat(200), "e".repeat(200), "f".repeat(200));
    layer.file(&long, "deep");
    // 100 bytes of name and 155 of prefix are the most that ustar takes without a PAX record.
    for length in [99, 100, 101] {
        layer.file(&"n".repeat(length), "x");
        layer.file(&format!("{}/{}", "p".repeat(155), "n".repeat(length)), "y");
    }
    symlink("t".repeat(300), layer.path("long link")).unwrap();
    layer.file("new\nline \\ \u{1b}[0m", "z");
    fs::hard_link(layer.path(&long), layer.path("zz hard")).unwrap();
    let layer = layer.age();
    age(&layer.path("zz hard"), -5);
    let file = fs::File::options().append(true).open(layer.path("zz hard")).unwrap();
    rustix::fs::futimens(&file, &timestamps(Time { secs: -5, nanos: 250_000_000 })).unwrap();
    let packed = layer.pack();
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("tar"), &packed.tar).unwrap();
    let tree = out.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let status =
        std::process::Command::new("tar").arg("-xpf").arg(out.path().join("tar")).arg("-C").arg(&tree).status();
    assert!(status.expect("GNU tar is needed").success());
    assert_eq!(listing(&tree), listing(&layer.path("")));
}

/// Everything of a tree that a tar carries.
fn listing(root: &Path) -> Vec<String> {
    fn visit(path: &Path, root: &Path, lines: &mut Vec<String>) {
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.mode() & libc::S_IFMT;
        let content = match kind {
            libc::S_IFREG => Digest::of(&fs::read(path).unwrap()).to_string(),
            libc::S_IFLNK => fs::read_link(path).unwrap().to_string_lossy().into_owned(),
            _ => String::new(),
        };
        // A whiteout's time is not told.
        let time = if kind == libc::S_IFCHR { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        let links = if kind == libc::S_IFREG { meta.nlink() } else { 0 };
        let name = path.strip_prefix(root).unwrap();
        lines.push(format!(
            "{name:?} {:o} {}:{} {}.{:09} {links} {content} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            time.0,
            time.1,
            xattrs(path)
        ));
        if meta.is_dir() {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names.iter().for_each(|path| visit(path, root, lines));
        }
    }
    let mut lines = Vec::new();
    visit(root, root, &mut lines);
    lines
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|b| *b == 0).filter(|name| name.starts_with(b"user."));
    let value = |name: &[u8]| {
        let mut value = [0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    let mut found: Vec<_> = names.map(|name| (name.to_vec(), value(name))).collect();
    found.sort();
    found
}

#[test]
fn names_of_one_file_become_links_to_the_first() {
    let layer = Layer::new();
    layer.file("m", "content");
    layer.dir("a");
    fs::hard_link(layer.path("m"), layer.path("a/first")).unwrap();
    fs::hard_link(layer.path("m"), layer.path("z")).unwrap();
    // Only one of its names is in this tree: an ordinary file.
    let elsewhere = layer.0.path().join("elsewhere");
    layer.file("single", "1");
    fs::hard_link(layer.path("single"), elsewhere).unwrap();
    let layer = layer.age();
    insta::assert_snapshot!(lines(&layer.pack().tar), @"
    directory 755 / 0
    directory 755 a 0
    file 644 a/first 7
    hardlink 644 m -> a/first 0
    file 644 single 1
    hardlink 644 z -> a/first 0
    ");
}

#[test]
fn whiteouts_are_marks_and_alike() {
    let layer = Layer::new();
    let opaque = layer.dir("opaque");
    layer.file("opaque/in", "1");
    let not_opaque = layer.dir("not");
    setxattr(&opaque, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    setxattr(&not_opaque, c"user.overlay.opaque", b"x", XattrFlags::empty()).unwrap();
    layer.whiteout("gone");
    layer.whiteout("opaque/gone");
    // overlayfs makes all whiteouts of a mount one inode with many names.
    fs::hard_link(layer.path("gone"), layer.path("gone too")).unwrap();
    let before = layer.pack();
    insta::assert_snapshot!(lines(&before.tar), @"
    directory 755 / 0
    file 644 .wh.gone 0
    file 644 .wh.gone too 0
    directory 755 not 0
    directory 755 opaque 0
    file 644 opaque/.wh..wh..opq 0
    file 644 opaque/.wh.gone 0
    file 644 opaque/in 1
    ");
    // When and by whom something was deleted is not told.
    let later = Layer::new();
    let opaque = later.dir("opaque");
    later.file("opaque/in", "1");
    later.dir("not");
    setxattr(&opaque, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    ["gone", "gone too", "opaque/gone"].iter().for_each(|name| later.whiteout(name));
    let (layer, later) = (layer.age(), later.age());
    age(&layer.path("gone"), 12345);
    assert!(layer.pack().tar == later.pack().tar);
}

/// Row 27 of the failure classes: what a container names must not delete anything where the image is unpacked.
#[test]
fn a_name_like_a_whiteouts_is_refused() {
    let makers: [fn(&Layer, &str); 4] = [
        |layer, name| drop(layer.file(name, "")),
        |layer, name| drop(layer.dir(name)),
        |layer, name| symlink("x", layer.path(name)).unwrap(),
        |layer, name| mknodat(CWD, layer.path(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
    ];
    for name in [".wh.passwd", ".wh.", ".wh..wh..opq", ".wh..wh.plnk", ".wh...", "etc/.wh.x"] {
        for make in makers {
            let layer = Layer::new();
            layer.dir("etc");
            make(&layer, name);
            let error = layer.try_pack(None, None).err().expect(name);
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let wanted = format!("a file name that starts with .wh. cannot be in an image layer: /{name}");
            assert!(error.to_string().contains(&wanted) && error.hint_text().is_some(), "{error}");
            // A whole root file system has no whiteouts: there it is a name like any other.
            let root = File::open(layer.path("")).unwrap();
            let mut tar = Vec::new();
            pack_merged(&[root.as_fd()], Marks::None, &|_| None, None, &mut tar).unwrap();
            let count = tar.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
            assert_eq!(count, 1, "{name}");
        }
    }
    // A deletion of such a name below would be one of another name, or nonsense, elsewhere.
    for name in [".wh.x", ".wh."] {
        let layer = Layer::new();
        layer.whiteout(name);
        assert_eq!(layer.try_pack(None, None).err().expect(name).kind(), ErrorKind::Unsupported);
    }
    let layer = Layer::new();
    for name in ["wh.x", ".wh", ".whx", "x.wh.y"] {
        layer.file(name, "");
    }
    assert_eq!(layer.pack().packed.entries, 5);
}

#[test]
fn xattrs_travel_but_overlays_own_do_not() {
    let layer = Layer::new();
    for path in [layer.file("f", "1"), layer.dir("d")] {
        for (name, value) in [
            (c"user.overlay.origin", &b""[..]),
            (c"user.overlay.impure", b"y"),
            (c"user.overlay.overlay.opaque", b"y"),
            (c"user.overlay.redirect", b"/etc"),
            (c"user.z", b"\0\xff="),
            (c"user.a=b%3D", b"1"),
        ] {
            setxattr(&path, name, value, XattrFlags::empty()).unwrap();
        }
    }
    let packed = layer.pack();
    insta::assert_snapshot!(lines(&packed.tar), @r"
    directory 755 / 0
    directory 755 d 0 user.a=b%3D=1 user.z=\u{0}\xff=
    file 644 f 1 user.a=b%3D=1 user.z=\u{0}\xff=
    ");
    assert!(!packed.tar.windows(12).any(|window| window == b"user.overlay"));
}

#[test]
fn holes_are_zeros_and_cost_nothing_to_read() {
    let layer = Layer::new();
    let path = layer.file("sparse", "head");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(40_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 20_000_001).unwrap();
    fs::File::create(layer.path("all hole")).unwrap().set_len(1_000_001).unwrap();
    layer.file("dense", "");
    let sparse = layer.age();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    let packed = sparse.pack();
    assert_eq!(packed.packed.content, 41_000_001);
    // The same bytes without holes give the same tar.
    let full = Layer::new();
    full.file("sparse", fs::read(&path).unwrap());
    full.file("all hole", vec![0; 1_000_001]);
    full.file("dense", "");
    assert_eq!(full.age().pack().packed, packed.packed);
}

#[test]
fn the_root_is_an_entry_only_if_it_changed() {
    let layer = Layer::new().age();
    let seed = layer.root();
    let nothing = layer.try_pack(Some(&seed), None).unwrap();
    assert!(nothing.packed.empty && nothing.tar == [0; 1024]);
    age(&layer.path(""), 5);
    assert!(layer.try_pack(Some(&seed), None).unwrap().packed.empty, "a time alone makes no layer");
    layer.whiteout("gone");
    age(&layer.path(""), 5);
    assert_eq!(lines(&layer.try_pack(Some(&seed), None).unwrap().tar), "directory 755 / 0\nfile 644 .wh.gone 0");
    age(&layer.path(""), 1_700_000_000);
    assert_eq!(lines(&layer.try_pack(Some(&seed), None).unwrap().tar), "file 644 .wh.gone 0");
    fs::set_permissions(layer.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    let tar = layer.try_pack(Some(&seed), None).unwrap().tar;
    assert_eq!(lines(&tar), "directory 1777 / 0\nfile 644 .wh.gone 0");
    fs::set_permissions(layer.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    setxattr(layer.path(""), c"user.x", b"1", XattrFlags::empty()).unwrap();
    assert!(lines(&layer.try_pack(Some(&seed), None).unwrap().tar).starts_with("directory 755 / 0 user.x=1"));
}

#[test]
fn no_time_is_later_than_the_clock() {
    let layer = Layer::new();
    layer.file("old", "1");
    layer.file("new", "2");
    let layer = layer.age();
    let file = fs::File::options().write(true).open(layer.path("new")).unwrap();
    rustix::fs::futimens(&file, &timestamps(Time { secs: 1_800_000_000, nanos: 9 })).unwrap();
    let time =
        |clock| heads(&layer.try_pack(None, clock).unwrap().tar).iter().map(|head| head.mtime).collect::<Vec<_>>();
    let at = |secs, nanos| Time { secs, nanos };
    assert_eq!(time(None), [at(1_700_000_000, 0), at(1_800_000_000, 9), at(1_700_000_000, 0)]);
    assert_eq!(time(Some(1_750_000_000)), [at(1_700_000_000, 0), at(1_750_000_000, 0), at(1_700_000_000, 0)]);
    assert_eq!(time(Some(7)), [at(7, 0), at(7, 0), at(7, 0)]);
}

#[test]
fn recorded_owners_come_back_where_nobody_changed_them() {
    let layer = Layer::new();
    for name in ["kept", "chmodded", "other"] {
        fs::set_permissions(layer.file(name, "1"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(layer.path("chmodded"), fs::Permissions::from_mode(0o700)).unwrap();
    let recorded = |path: &[u8]| {
        let owner = Owner { uid: Some(70_000), gid: None, mode: 0o4755 };
        matches!(path, b"kept" | b"chmodded").then_some(owner)
    };
    let mut tar = Vec::new();
    let known = Known { recorded: &recorded, ..Known::default() };
    pack_layer(layer.fd().as_fd(), known, None, &mut tar).unwrap();
    let own = rustix::process::geteuid().as_raw();
    let found: Vec<_> = heads(&tar).into_iter().skip(1).map(|head| (head.path, head.uid, head.mode)).collect();
    let wanted = [("chmodded", 70_000, 0o700), ("kept", 70_000, 0o4755), ("other", own, 0o755)];
    assert_eq!(found, wanted.map(|(path, uid, mode)| (path.as_bytes().to_vec(), uid, mode)));
}

#[test]
fn a_directory_on_the_way_has_no_entry_where_nothing_describes_it() {
    let layer = Layer::new();
    fs::set_permissions(layer.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["a/b/c/own", "a/other", "a/empty"] {
        fs::create_dir_all(layer.path(path)).unwrap();
    }
    layer.file("a/b/c/file", "1");
    fs::set_permissions(layer.path("a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    let implicit: Vec<Vec<u8>> = ["", "a", "a/b", "a/b/c", "a/empty"].map(|path| path.as_bytes().to_vec()).into();
    let made = layer.pack_knowing(Known { implicit: &implicit, ..Known::default() }).unwrap();
    let found: Vec<_> = heads(&made.tar).into_iter().map(|head| String::from_utf8(head.path).unwrap()).collect();
    let own = rustix::process::geteuid().is_root();
    // Only root's can be left out.
    let wanted: &[&str] = match own {
        true => &["a/b", "a/b/c/file", "a/b/c/own", "a/empty", "a/other"],
        false => &["", "a", "a/b", "a/b/c", "a/b/c/file", "a/b/c/own", "a/empty", "a/other"],
    };
    assert_eq!(
        (found, made.packed.implicit),
        (wanted.iter().map(|path| (*path).to_owned()).collect(), if own { 2 } else { 0 })
    );
}

#[test]
fn sockets_are_left_out_and_what_cannot_be_in_an_image_is_named() {
    let layer = Layer::new();
    let _socket = std::os::unix::net::UnixListener::bind(layer.path("s")).unwrap();
    assert_eq!(layer.pack().packed.entries, 1);
    // Deeper than a path can name: made as a program in the container does it, step by step.
    let mut here = File::open(layer.path("")).unwrap();
    for _ in 0..40 {
        let name = "n".repeat(120);
        rustix::fs::mkdirat(&here, name.as_str(), Mode::from_raw_mode(0o700)).unwrap();
        here = File::from(openat(&here, name.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap());
    }
    let error = layer.try_pack(None, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("a path of 4113 bytes cannot be in an image"), "{error}");
    // As deep as a path can name, and back again.
    let layer = Layer::new();
    layer.dir(&"d/".repeat(1900));
    assert_eq!(layer.pack().packed.entries, 1901);
    let layer = Layer::new();
    fs::File::create(layer.path("c")).unwrap().set_len(2 << 40).unwrap();
    let error = layer.try_pack(None, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "pack c: files of more than 1099511627776 bytes in all cannot be in an image");
}

#[test]
fn import_and_pack_agree() {
    let layer = Layer::new();
    layer.file("etc/passwd", "root");
    fs::set_permissions(layer.file("bin/su", "suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(layer.path("bin/su"), layer.path("bin/sudo")).unwrap();
    symlink("/nowhere", layer.path("etc/link")).unwrap();
    fs::set_permissions(layer.dir("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let opaque = layer.dir("opaque");
    setxattr(&opaque, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    setxattr(layer.path("etc/passwd"), c"user.note", b"n", XattrFlags::empty()).unwrap();
    layer.whiteout("gone");
    let layer = layer.age();
    let first = layer.pack();
    let (unpacked, copy) = {
        let copy = Layer::empty();
        let ids = own_ids();
        let limits = Limits::default();
        (unpack(&mut first.tar.as_slice(), copy.fd().as_fd(), &ids, &limits, &mut |_| {}).unwrap(), copy)
    };
    assert_eq!((&unpacked.diff_id, unpacked.size), (&first.packed.diff_id, first.packed.size));
    assert_eq!((unpacked.entries, unpacked.content), (first.packed.entries, first.packed.content));
    assert_eq!((unpacked.implicit, unpacked.warnings.len()), (0, 0));
    assert_eq!(listing(&copy.path("")), listing(&layer.path("")));
    assert!(copy.pack().tar == first.tar);
}

/// A step in making a tree: a kind and a path.
fn steps() -> impl Strategy<Value = Vec<(u8, String, Vec<u8>, u32)>> {
    let path = "[ab]{1,2}(/[ab\u{e9}]{1,60}){0,3}";
    proptest::collection::vec((0u8..7, path, proptest::collection::vec(any::<u8>(), 0..2000), 0u32..0o10000), 0..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Any tree: the tar is unpacked to the same tree, and that is packed to the same tar.
    #[test]
    fn what_is_packed_is_unpacked_to_the_same(steps in steps()) {
        let layer = Layer::new();
        for (kind, path, content, mode) in steps {
            let path = layer.path(&path);
            // Steps that do not fit what is there are left out.
            if path.symlink_metadata().is_ok() || fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            let made = match kind {
                0 | 1 => fs::write(&path, &content),
                2 => fs::create_dir(&path),
                3 => symlink("target", &path),
                4 => mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).map_err(Into::into),
                5 => mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0).map_err(Into::into),
                _ => fs::hard_link(layer.path("a"), &path),
            };
            let regular = path.symlink_metadata().is_ok_and(|meta| meta.is_file() || meta.is_dir());
            if made.is_ok() && regular {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o700)).unwrap();
                if let Some(byte) = content.first() {
                    setxattr(&path, c"user.x", &[*byte], XattrFlags::empty()).unwrap();
                }
            }
        }
        let first = layer.pack();
        let copy = Layer::empty();
        unpack(&mut first.tar.as_slice(), copy.fd().as_fd(), &own_ids(), &Limits::default(), &mut |_| {}).unwrap();
        prop_assert_eq!(listing(&copy.path("")), listing(&layer.path("")));
        prop_assert!(copy.pack().tar == first.tar);
    }
}
