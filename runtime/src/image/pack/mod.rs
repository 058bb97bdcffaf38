//! A tree becomes a tar: a container's read-write layer as a layer of an image, or a whole root file system.
//!
//! Runs in the storage helper, because files belong to mapped ids and file capabilities read differently outside. One
//! pass in a fixed order, in lrun's canonical form ([`crate::image::tar::header`]): the same tree gives the same bytes.

mod behind;
mod merged;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

pub use merged::{Marks, Merged, pack_merged};

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, futimens, major, minor, openat, readlinkat, statat, utimensat,
};
use serde::{Deserialize, Serialize};

use super::attributes::{self, RootAttrs, timestamps};
use super::owners::Owner;
use super::tar::{Head, Kind, Limits, OPAQUE, Time, WHITEOUT, header, join, shown};
use super::tree::{FirstNames, Step, Walk, open};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use stream::Stream;

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub size: u64,
    /// Bytes of its regular files, holes counted.
    pub content: u64,
    /// Its entries.
    pub entries: u64,
    /// Directories without an entry, but for the root.
    #[serde(default)]
    pub implicit: u64,
    /// Nothing was changed: the tar has no entry.
    pub empty: bool,
    /// The attributes of the tree's root, which may have no entry.
    pub root: RootAttrs,
}

/// What the tree of a read-write layer alone does not tell.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The attributes that the layer's root got when it was made; the root has an entry only if it differs. A time that
    /// alone differs does not make a layer of nothing.
    pub seed: Option<&'a RootAttrs>,
    /// The true owner of a path (relative, without leading slash) that the id mapping lacks; kept where the file still
    /// belongs to 0.
    pub recorded: &'a dyn Fn(&[u8]) -> Option<Owner>,
    /// No time in the tar is later than this (`SOURCE_DATE_EPOCH`, seconds since 1970).
    pub clock: Option<i64>,
    /// The tree gets the times that the tar has: it is nobody's yet.
    pub in_tree: bool,
    /// Directories (relative paths) that are only on the way: where nothing describes them (mode 0755, root's) and
    /// something is in them they get no entry, so that the attributes of a lower layer hold.
    pub implicit: &'a [Vec<u8>],
}

/// What becomes of the files' times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// None is later than this (seconds since 1970).
    Latest(i64),
    /// Every one is this.
    Every(i64),
}

impl Clock {
    fn of(self, time: Time) -> Time {
        match self {
            Self::Latest(clock) if time.secs < clock => time,
            Self::Latest(clock) | Self::Every(clock) => Time { secs: clock, nanos: 0 },
        }
    }
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self { seed: None, recorded: &|_| None, clock: None, in_tree: false, implicit: &[] }
    }
}

/// Packs the read-write layer in `layer` (its wrapper directory, with `diff/`).
///
/// - `index_out`: gets the layer's index; flushing is the caller's.
/// - `out`: gets the tar; a sink where only the digest counts.
///
/// The tree must not change meanwhile. Whiteouts become `.wh.` entries; a name that starts with `.wh.` would turn into
/// a deletion elsewhere and is refused as `Unsupported`. Sockets are left out.
pub fn pack_layer(
    layer: BorrowedFd<'_>,
    known: Known<'_>,
    index_out: Option<File>,
    out: &mut dyn Write,
) -> Result<Packed> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let diff = openat(layer, c"diff", flags, Mode::empty()).context(|| "open the layer")?;
    let root = RootAttrs::read(diff.as_fd())?;
    let Known { seed, recorded, clock, in_tree, implicit } = known;
    let seed = seed.map(|seed| differs(&root, seed));
    let rules = Rules { layer: true, in_tree, seed, recorded, clock: clock.map(Clock::Latest), implicit };
    pack(diff.as_fd(), root, rules, index_out, out)
}

/// How the root compares with what it was made as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    No,
    OnlyTime,
    Yes,
}

fn differs(root: &RootAttrs, seed: &RootAttrs) -> Differs {
    if (root.mode, root.uid, root.gid, &root.xattrs) != (seed.mode, seed.uid, seed.gid, &seed.xattrs) {
        return Differs::Yes;
    }
    if root.mtime == seed.mtime { Differs::No } else { Differs::OnlyTime }
}

struct Rules<'a> {
    /// Whether overlayfs's marks are turned into whiteouts.
    layer: bool,
    /// Whether the tree is to have the times that its tar has.
    in_tree: bool,
    seed: Option<Differs>,
    recorded: &'a dyn Fn(&[u8]) -> Option<Owner>,
    clock: Option<Clock>,
    implicit: &'a [Vec<u8>],
}

impl Rules<'_> {
    /// Whether this file's time is not that of its head, and is to be.
    fn sets_time(&self, stat: &Stat, head: &Head) -> bool {
        self.in_tree && self.clock.is_some() && head.mtime != time_of(stat)
    }
}

fn time_of(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

fn pack(
    diff: BorrowedFd<'_>,
    root: RootAttrs,
    rules: Rules<'_>,
    index: Option<File>,
    out: &mut dyn Write,
) -> Result<Packed> {
    let mut found = (0, 0, 0);
    let (diff_id, size) = stream::with(out, index, |stream| {
        let mut packer = Packer::new(stream, rules);
        packer.tree(diff)?;
        found = (packer.entries, packer.content, packer.implicit);
        Ok(())
    })?;
    let (entries, content, implicit) = found;
    Ok(Packed { diff_id, size, content, entries, implicit, empty: entries == 0, root })
}

fn cannot_hold(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} cannot be in an image"))
}

/// Whether a directory is as one that nothing describes.
fn is_plain(head: &Head) -> bool {
    (head.mode, head.uid, head.gid) == (0o755, 0, 0) && head.xattrs.is_empty()
}

struct Packer<'a, 's> {
    stream: &'a mut Stream<'s>,
    rules: Rules<'a>,
    /// Whose files may have a recorded owner; 0 and 0 in the storage helper.
    own: (u32, u32),
    attributes: attributes::Reader,
    names: FirstNames,
    limits: Limits,
    blocks: Vec<u8>,
    entries: u64,
    content: u64,
    implicit: u64,
    /// Directories without an entry since the last entry.
    fresh: Vec<OwnedFd>,
    /// Names that read as deletions where the tar is taken for a layer.
    marks: u64,
}

impl<'a, 's> Packer<'a, 's> {
    fn new(stream: &'a mut Stream<'s>, rules: Rules<'a>) -> Self {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let attributes = attributes::Reader::new();
        let (names, limits, blocks) = (FirstNames::default(), Limits::default(), Vec::new());
        let (entries, content, implicit, marks) = (0, 0, 0, 0);
        let fresh = Vec::new();
        Self { stream, rules, own, attributes, names, limits, blocks, entries, content, implicit, fresh, marks }
    }

    fn tree(&mut self, root: BorrowedFd<'_>) -> Result<()> {
        let mut walk = Walk::new(root)?;
        while let Some(step) = walk.next()? {
            match step {
                Step::Enter { directory, path, empty } => {
                    self.check_length(path)?;
                    self.directory(directory, path, empty).context(|| format!("pack {}", shown(path)))?;
                }
                Step::Item { directory, name, kind, path } => {
                    self.check_length(path)?;
                    self.item(directory, name, kind, path).context(|| format!("pack {}", shown(path)))?;
                }
                Step::Leave { .. } => {}
            }
        }
        Ok(())
    }

    /// Whether it was marked as opaque.
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8], empty: bool) -> Result<bool> {
        self.check_name(path)?;
        let stat = fstat(directory)?;
        let found = self.attributes.read(directory)?;
        let skip = match self.rules.seed {
            _ if !path.is_empty() => false,
            None | Some(Differs::Yes) => false,
            Some(Differs::No) => true,
            Some(Differs::OnlyTime) => empty,
        };
        let head = Head { xattrs: found.xattrs, ..self.head(path, Kind::Directory, &stat) };
        if !empty && is_plain(&head) && self.rules.implicit.iter().any(|implicit| implicit == path) {
            self.without_entry(directory, path)?;
        } else if !skip {
            self.write(&head)?;
            if self.rules.sets_time(&stat, &head) {
                futimens(directory, &timestamps(head.mtime)).context(|| "set the time of a directory")?;
            }
        }
        let marked = self.rules.layer && found.opaque;
        if marked {
            self.mark(join(path, OPAQUE))?;
        }
        Ok(marked)
    }

    /// A directory of which only the index tells, and of the root not even that.
    fn without_entry(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if !path.is_empty() {
            self.implicit += 1;
            self.stream.implicit(path);
            self.fresh.push(directory.try_clone_to_owned()?);
        }
        Ok(())
    }

    fn item(&mut self, directory: BorrowedFd<'_>, name: &CStr, kind: FileType, path: &[u8]) -> Result<()> {
        if kind == FileType::Socket {
            return Ok(());
        }
        self.check_name(path)?;
        if kind == FileType::RegularFile {
            return self.file(directory, name, path);
        }
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match kind {
            FileType::CharacterDevice if self.rules.layer && stat.st_rdev == 0 => {
                let parent = path.strip_suffix(name.to_bytes()).unwrap_or_default();
                return self.mark([parent, WHITEOUT, name.to_bytes()].concat());
            }
            FileType::CharacterDevice => Kind::Char(numbers.0, numbers.1),
            FileType::BlockDevice => Kind::Block(numbers.0, numbers.1),
            FileType::Fifo => Kind::Fifo,
            FileType::Symlink => Kind::Symlink,
            _ => return Err(Error::new(ErrorKind::Unsupported, "an unknown type of file")),
        };
        let mut head = self.head(path, kind, &stat);
        if kind == Kind::Symlink {
            head.link = readlinkat(directory, name, Vec::new())?.into_bytes();
        }
        if self.rules.sets_time(&stat, &head) {
            utimensat(directory, name, &timestamps(head.mtime), AtFlags::SYMLINK_NOFOLLOW).context(|| "set a time")?;
        }
        // Devices are not made, so that nothing could be linked to them.
        if matches!(kind, Kind::Symlink | Kind::Fifo) {
            self.names.link(&mut head, &stat);
        }
        self.write(&head)
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        let file = open(directory, name, OFlags::empty())?;
        let stat = fstat(&file)?;
        let mut head = self.head(path, Kind::File, &stat);
        if self.rules.sets_time(&stat, &head) {
            futimens(&file, &timestamps(head.mtime)).context(|| "set the time of a file")?;
        }
        self.names.link(&mut head, &stat);
        if head.kind == Kind::Hardlink {
            return self.write(&head);
        }
        head.xattrs = self.attributes.read(file.as_fd())?.xattrs;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        (head.size, head.stored) = (size, size);
        self.content = self.content.saturating_add(size);
        if self.content > self.limits.bytes {
            return Err(cannot_hold(&format!("files of more than {} bytes in all", self.limits.bytes)));
        }
        self.write(&head)?;
        let holes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size;
        self.stream.content(file.as_fd(), size, holes)
    }

    /// What the unpacker would refuse is not packed.
    fn check_length(&self, path: &[u8]) -> Result<()> {
        if path.len() <= self.limits.path {
            return Ok(());
        }
        let start = shown(path.get(..100).unwrap_or(path));
        let hint = format!("shorten or remove what is below /{start}…");
        Err(cannot_hold(&format!("a path of {} bytes", path.len())).hint(hint))
    }

    /// In a layer, a name like a whiteout's would delete a file of the layers below wherever the image is unpacked.
    fn check_name(&mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        self.marks += u64::from(name.starts_with(WHITEOUT));
        if self.rules.layer && name.starts_with(WHITEOUT) {
            let text = format!("a file name that starts with .wh. cannot be in an image layer: /{}", shown(path));
            return Err(Error::new(ErrorKind::Unsupported, text).hint("rename or remove that file"));
        }
        Ok(())
    }

    fn head(&self, path: &[u8], kind: Kind, stat: &Stat) -> Head {
        let (uid, gid, mode) = self.owner(path, stat);
        let mtime = self.rules.clock.map_or_else(|| time_of(stat), |clock| clock.of(time_of(stat)));
        Head { uid, gid, mtime, ..Head::new(path.to_vec(), kind, mode) }
    }

    /// The owner on disk, or the recorded one where the mapping lacked it and nobody gave the file to another id.
    fn owner(&self, path: &[u8], stat: &Stat) -> (u32, u32, u32) {
        let on_disk = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
        if stat.st_uid != self.own.0 && stat.st_gid != self.own.1 {
            return on_disk;
        }
        let Some(owner) = (self.rules.recorded)(path) else { return on_disk };
        owner.applied(on_disk, self.own)
    }

    /// A whiteout. All are alike: when something was deleted is nobody's business.
    fn mark(&mut self, path: Vec<u8>) -> Result<()> {
        self.write(&Head::new(path, Kind::File, 0o644))
    }

    fn write(&mut self, head: &Head) -> Result<()> {
        self.entries += 1;
        // As unpacking leaves them.
        for directory in self.fresh.drain(..) {
            futimens(&directory, &timestamps(head.mtime)).context(|| "set the time of a directory")?;
        }
        self.blocks.clear();
        header::write(head, &mut self.blocks);
        self.stream.entry(&self.blocks, head.stored > 0)
    }
}
