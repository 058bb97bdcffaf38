//! Compares a layer's tree with what its index says. Runs in the storage helper.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fgetxattr, fsetxattr, fstat, futimens, openat,
    openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::model::{Model, Node, What};
use crate::error::{Context, Result};
use crate::image::attributes::{self, timestamps, travels};
use crate::image::index::ContentDigest;
use crate::image::tar::{Segment, Time, shown, within};
use crate::image::tree::{Step, Walk, open};

/// More directories than this that cannot be read end the comparison.
const MOST_FAILURES: usize = 1000;
const BUFFER: usize = 256 << 10;

/// What is wrong at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: Vec<u8>,
    pub(super) kind: FaultKind,
}

/// How it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Missing,
    Extra,
    Type(&'static str),
    Content,
    Target,
    Link,
    Mode(u32),
    Owner(u32, u32),
    Time,
    Attribute(String),
    Opaque(bool),
    Unreadable(String),
}

impl FaultKind {
    /// Whether what is at the path is not what should be there, whatever its attributes are.
    pub(super) fn is_remade(&self) -> bool {
        !matches!(self, Self::Mode(_) | Self::Owner(..) | Self::Time | Self::Attribute(_) | Self::Opaque(_))
    }
}

impl Fault {
    /// One line for people, the path in front.
    pub(super) fn line(&self, model: &Model<'_>) -> String {
        let node = model.at(&self.path);
        let what = match &self.kind {
            FaultKind::Missing => "is missing".to_owned(),
            FaultKind::Extra => "does not belong to the layer".to_owned(),
            FaultKind::Type(found) => format!("is {found}, not {}", node.map_or("that", |node| name_of(&node.what))),
            FaultKind::Content => "its content was changed".to_owned(),
            FaultKind::Target => "leads elsewhere".to_owned(),
            FaultKind::Link => "is not the file that it shares with other names".to_owned(),
            FaultKind::Mode(mode) => {
                format!("its mode is {mode:04o}, not {:04o}", node.map_or(0, Node::disk_mode))
            }
            FaultKind::Owner(uid, gid) => {
                let (right_uid, right_gid) = node.map_or((0, 0), |node| (node.uid, node.gid));
                format!("its owner is {uid}:{gid}, not {right_uid}:{right_gid}")
            }
            FaultKind::Time => "its time was changed".to_owned(),
            FaultKind::Attribute(name) => format!("its extended attribute {name} was changed"),
            FaultKind::Opaque(true) => "hides what is below it, and should not".to_owned(),
            FaultKind::Opaque(false) => "does not hide what is below it".to_owned(),
            FaultKind::Unreadable(error) => format!("cannot be read: {error}"),
        };
        format!("{}: {what}", shown(&self.path))
    }
}

fn name_of(what: &What) -> &'static str {
    match what {
        What::Directory { .. } => "a directory",
        What::File { .. } => "a file",
        What::Symlink(_) => "a symbolic link",
        What::Fifo => "a FIFO",
        What::Whiteout => "a whiteout",
    }
}

fn name_of_type(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// What is known of a layer beside its index.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The attributes of the root, where the archive has no entry for it; `None`: they are not known.
    pub(super) root: Option<attributes::RootAttrs>,
    /// No time of the archive is later than this; one in the tree may be, where it was a container's.
    pub(super) clock: Option<i64>,
    /// The tree was a container's: sockets in it were left out.
    pub(super) sockets: bool,
    /// Holes of sparse files are looked into.
    pub(super) holes: bool,
}

/// What the tree in `diff` has that the model does not say, and the reverse. Contents are not read.
pub(super) fn compare(layer: BorrowedFd<'_>, model: &Model<'_>, rules: &Rules) -> Result<Vec<Fault>> {
    let diff = match openat(
        layer,
        c"diff",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(diff) => diff,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            return Ok(vec![Fault { path: Vec::new(), kind: FaultKind::Missing }]);
        }
        Err(errno) => return Err(errno).context(|| "open the layer"),
    };
    let mut compare = Compare {
        model,
        rules,
        faults: Vec::new(),
        attributes: attributes::Reader::new(),
        probe: Probe { layer, file: None },
        inodes: HashMap::new(),
        nodes: HashMap::new(),
    };
    compare.walk(diff.as_fd())?;
    let Compare { mut faults, .. } = compare;
    let missing = model.places.iter().filter(|(_, place)| !place.seen.replace(false));
    faults.extend(missing.map(|(path, _)| Fault { path: path.clone(), kind: FaultKind::Missing }));
    Ok(faults)
}

struct Compare<'a> {
    model: &'a Model<'a>,
    rules: &'a Rules,
    faults: Vec<Fault>,
    attributes: attributes::Reader,
    probe: Probe<'a>,
    /// The node of every inode with several names, and the inode of every node.
    inodes: HashMap<(u64, u64), usize>,
    nodes: HashMap<usize, (u64, u64)>,
}

impl<'a> Compare<'a> {
    fn walk(&mut self, diff: BorrowedFd<'_>) -> Result<()> {
        let mut walk = Walk::new(diff)?;
        let mut failures = 0;
        // What is in a directory that is extra is extra, too, and not told of.
        let mut extra: Option<Vec<u8>> = None;
        loop {
            let step = match walk.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Step::Leave { .. })) => continue,
                Ok(Some(step)) => step,
                Err(error) => {
                    let error = error.of_the_thing()?;
                    failures += 1;
                    if failures > MOST_FAILURES {
                        return Err(error);
                    }
                    self.fault(b"", FaultKind::Unreadable(error.to_string()));
                    continue;
                }
            };
            let path = match &step {
                Step::Enter { path, .. } | Step::Item { path, .. } => *path,
                Step::Leave { .. } => continue,
            };
            if extra.as_ref().is_some_and(|extra| within(path, extra).is_some()) {
                continue;
            }
            let (known, path) = (self.model.places.contains_key(path), path.to_vec());
            let outcome = match step {
                Step::Enter { directory, .. } => self.directory(directory, &path),
                Step::Item { directory, name, kind, .. } => self.item(directory, name, kind, &path),
                Step::Leave { .. } => Ok(()),
            };
            if let Err(error) = outcome {
                self.fault(&path, FaultKind::Unreadable(error.of_the_thing()?.to_string()));
            }
            if !known {
                extra = Some(path);
            }
        }
    }

    fn fault(&mut self, path: &[u8], kind: FaultKind) {
        self.faults.push(Fault { path: path.to_vec(), kind });
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let stat = fstat(directory)?;
        let Some(node) = self.known(path) else { return Ok(()) };
        let What::Directory { opaque } = &node.what else {
            self.fault(path, FaultKind::Type("a directory"));
            return Ok(());
        };
        let found = self.attributes.read(directory)?;
        if found.opaque != *opaque {
            self.fault(path, FaultKind::Opaque(found.opaque));
        }
        if path.is_empty() && !self.model.root_entry {
            if let Some(root) = &self.rules.root {
                let node = Node { mode: root.mode, uid: root.uid, gid: root.gid, mtime: root.mtime, ..node.clone() };
                let node = Node { xattrs: root.xattrs.clone(), true_uid: None, true_gid: None, ..node };
                self.common(path, &node, &stat);
                self.xattrs(path, &node, &found.xattrs);
            }
            return Ok(());
        }
        self.common(path, node, &stat);
        self.xattrs(path, node, &found.xattrs);
        Ok(())
    }

    /// The node that the model has here; without one, what was found is extra.
    fn known(&mut self, path: &[u8]) -> Option<&'a Node> {
        let model = self.model;
        let place = model.places.get(path);
        if place.is_none() {
            self.fault(path, FaultKind::Extra);
        }
        place?.seen.set(true);
        model.at(path)
    }

    fn item(&mut self, directory: BorrowedFd<'_>, name: &std::ffi::CStr, kind: FileType, path: &[u8]) -> Result<()> {
        if kind == FileType::Socket && self.rules.sockets && !self.model.places.contains_key(path) {
            return Ok(());
        }
        let Some(node) = self.known(path) else { return Ok(()) };
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match (&node.what, kind) {
            (What::File { size, segments, .. }, FileType::RegularFile) => {
                self.links(path, &stat);
                self.common(path, node, &stat);
                let file = open(directory, name, OFlags::empty())?;
                let found = self.attributes.read(file.as_fd())?;
                self.xattrs(path, node, &found.xattrs);
                let same_size = u64::try_from(stat.st_size).is_ok_and(|found| found == *size);
                if !same_size || !self.holes_are_empty(&file, *size, segments.as_deref())? {
                    self.fault(path, FaultKind::Content);
                }
            }
            (What::Symlink(target), FileType::Symlink) => {
                self.links(path, &stat);
                self.common(path, node, &stat);
                if readlinkat(directory, name, Vec::new())?.as_bytes() != target.as_slice() {
                    self.fault(path, FaultKind::Target);
                }
            }
            (What::Fifo, FileType::Fifo) => {
                self.links(path, &stat);
                self.common(path, node, &stat);
            }
            // Nothing else of it is in the archive.
            (What::Whiteout, FileType::CharacterDevice) if stat.st_rdev == 0 => {}
            _ => self.fault(path, FaultKind::Type(name_of_type(kind))),
        }
        Ok(())
    }

    /// Owner, mode and time.
    fn common(&mut self, path: &[u8], node: &Node, stat: &Stat) {
        if (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
            self.fault(path, FaultKind::Owner(stat.st_uid, stat.st_gid));
        }
        let mode = stat.st_mode & 0o7777;
        // The group's bits are the mask of an access control list.
        let acl = node.xattrs.iter().any(|(name, _)| name == b"system.posix_acl_access");
        let masked = if acl { (mode & !0o070) | (node.disk_mode() & 0o070) } else { mode };
        if !matches!(node.what, What::Symlink(_)) && !node.has_mode(masked) {
            self.fault(path, FaultKind::Mode(mode));
        }
        let time = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        let cut = |clock| node.mtime == Time { secs: clock, nanos: 0 } && time.secs >= clock;
        if time != node.mtime && !self.rules.clock.is_some_and(cut) && !self.probe.stores_time(node.mtime, time) {
            self.fault(path, FaultKind::Time);
        }
    }

    fn xattrs(&mut self, path: &[u8], node: &Node, found: &[(Vec<u8>, Vec<u8>)]) {
        let value = |all: &[(Vec<u8>, Vec<u8>)], name: &[u8]| {
            all.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
        };
        let mut names: Vec<&Vec<u8>> = node.xattrs.iter().chain(found).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (wanted, on_disk) = (value(&node.xattrs, name), value(found, name));
            if wanted == on_disk || !travels(name) {
                continue;
            }
            // What the file system does not take is in the index only.
            let refused = wanted.is_some_and(|wanted| self.probe.stores(name, &wanted, on_disk.as_deref()));
            if !refused {
                self.fault(path, FaultKind::Attribute(shown(name)));
            }
        }
    }

    /// Hard links are one inode, other files are not. Of links and FIFOs nobody could tell, and layers that an older lrun
    /// committed have them apart.
    fn links(&mut self, path: &[u8], stat: &Stat) {
        let Some(node) = self.model.places.get(path).map(|place| place.node) else { return };
        let inode = (stat.st_dev, stat.st_ino);
        let same_inode = *self.nodes.entry(node).or_insert(inode) == inode;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let same_node = stat.st_nlink < 2 || !is_file || *self.inodes.entry(inode).or_insert(node) == node;
        if !same_inode || !same_node {
            self.fault(path, FaultKind::Link);
        }
    }

    /// Whether a sparse file has nothing but zeros where the archive has nothing.
    fn holes_are_empty(&self, file: &OwnedFd, size: u64, segments: Option<&[Segment]>) -> Result<bool> {
        let Some(segments) = segments.filter(|_| self.rules.holes) else { return Ok(true) };
        let mut at = 0;
        let end = Segment { offset: size, length: 0 };
        for segment in segments.iter().chain([&end]) {
            if !is_zero(file, at, segment.offset)? {
                return Ok(false);
            }
            at = at.max(segment.offset + segment.length);
        }
        Ok(true)
    }
}

fn is_zero(file: &OwnedFd, mut at: u64, end: u64) -> Result<bool> {
    let mut buffer = vec![0; BUFFER];
    while at < end {
        let most = (end - at).min(BUFFER as u64) as usize;
        let got = rustix::io::pread(file, &mut buffer[..most], at)?;
        if buffer[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if got == 0 {
            break;
        }
        at += got as u64;
    }
    Ok(true)
}

/// A nameless file in the layer's directory, on which is tried what the file system takes.
struct Probe<'a> {
    layer: BorrowedFd<'a>,
    file: Option<OwnedFd>,
}

impl Probe<'_> {
    fn file(&mut self) -> Option<&OwnedFd> {
        if self.file.is_none() {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            self.file = openat(self.layer, c".", flags, Mode::from_raw_mode(0o600)).ok();
        }
        self.file.as_ref()
    }

    /// Whether a file that is given this time has that one.
    fn stores_time(&mut self, given: Time, read: Time) -> bool {
        let Some(file) = self.file() else { return false };
        let stored = futimens(file, &timestamps(given)).and_then(|()| fstat(file));
        stored.is_ok_and(|stat| Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 } == read)
    }

    /// Whether a file that is given this attribute has that value, or none.
    fn stores(&mut self, name: &[u8], given: &[u8], read: Option<&[u8]>) -> bool {
        // A file takes no default list, but what file system takes the one takes the other.
        let name = if name == b"system.posix_acl_default" { b"system.posix_acl_access" } else { name };
        let Some(file) = self.file() else { return false };
        let _ = rustix::fs::fremovexattr(file, name);
        if fsetxattr(file, name, given, XattrFlags::empty()).is_err() {
            return read.is_none();
        }
        let mut value = vec![0; 64 << 10];
        match fgetxattr(file, name, value.as_mut_slice()) {
            Ok(length) => read == value.get(..length),
            Err(_) => read.is_none(),
        }
    }
}

/// Whether the stored content of a file has this digest.
pub(super) fn has_content(
    layer: BorrowedFd<'_>,
    path: &[u8],
    size: u64,
    segments: Option<&[Segment]>,
    digest: &ContentDigest,
) -> Result<bool> {
    let file = match open_in(layer, path) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let whole = [Segment { offset: 0, length: size }];
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    for segment in segments.unwrap_or(&whole) {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let most = (end - at).min(BUFFER as u64) as usize;
            let got = rustix::io::pread(&file, &mut buffer[..most], at)?;
            if got == 0 {
                return Ok(false);
            }
            hasher.update(&buffer[..got]);
            at += got as u64;
        }
    }
    Ok(hasher.finalize().as_bytes() == digest)
}

/// Opens something of a layer's tree; no link is followed.
pub(super) fn open_in(layer: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = [b"diff/", path].concat();
    openat2(layer, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}
