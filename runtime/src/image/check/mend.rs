//! Makes a layer's tree again what its index says. Runs in the storage helper.
//!
//! What is made anew is made beside the tree and renamed into it, so that a crash leaves the old or the new. Contents come
//! from another name or another layer that has a file with the same digest.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags, chmodat, chownat, fchmod, fchown, fremovexattr,
    fsetxattr, fstat, ftruncate, futimens, linkat, mkdirat, mknodat, openat, openat2, renameat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::process::{Gid, Uid};

use super::Job;
use super::model::{Model, Node, What};
use super::verify::{Fault, FaultKind, Rules, open_in};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::file::remove_at;
use crate::image::attributes::{self, timestamps};
use crate::image::index::ContentDigest;
use crate::image::owners::{self, Owner};
use crate::image::tar::{Segment, Time, shown, split};

/// What is being made, beside the tree.
const DRAFT: &std::ffi::CStr = c"draft";
const OWNERS: &str = "owners";
const OPAQUE: &str = "user.overlay.opaque";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Mends what can be mended of these faults, on disk when this returns. What could not shows in the next look.
pub(super) fn mend(
    job: &Job<'_>,
    layers: BorrowedFd<'_>,
    donors: &[Digest],
    model: &Model<'_>,
    faults: &[Fault],
) -> Result<()> {
    let mut mend = Mend { job, layers, donors, model, rules: job.rules(), sources: HashMap::new() };
    let _ = unlinkat(job.layer, DRAFT, AtFlags::empty());
    mend.sources = mend.find_sources(faults);
    let mut faults: Vec<&Fault> = faults.iter().collect();
    // What does not belong there first, then directories before what is in them.
    faults.sort_by_key(|fault| (fault.kind != FaultKind::Extra, fault.path.clone()));
    for fault in faults {
        // One that cannot be mended does not keep the others from it.
        let _ = mend.one(fault).context(|| format!("mend {}", shown(&fault.path)));
    }
    mend.owners()?;
    mend.times()?;
    rustix::fs::syncfs(job.layer).context(|| "write the layer to disk")
}

/// Where a content can be had: the layer, and the path in its tree.
type Source = (Digest, Vec<u8>);

struct Mend<'a> {
    job: &'a Job<'a>,
    layers: BorrowedFd<'a>,
    donors: &'a [Digest],
    model: &'a Model<'a>,
    rules: Rules,
    sources: HashMap<ContentDigest, Vec<Source>>,
}

impl Mend<'_> {
    /// Files of this and other layers that have the contents of damaged files.
    fn find_sources(&self, faults: &[Fault]) -> HashMap<ContentDigest, Vec<Source>> {
        let mut found: HashMap<ContentDigest, Vec<Source>> = HashMap::new();
        for fault in faults {
            if let Some(Node { what: What::File { digest: Some(digest), .. }, .. }) = self.model.at(&fault.path) {
                found.entry(*digest).or_default();
            }
        }
        if found.is_empty() {
            return found;
        }
        let mut add = |layer: &Digest, model: &Model<'_>| {
            for path in model.places.keys() {
                if let Some(Node { what: What::File { digest: Some(digest), .. }, .. }) = model.at(path)
                    && let Some(sources) = found.get_mut(digest)
                {
                    sources.push((layer.clone(), path.clone()));
                }
            }
        };
        add(self.job.diff_id, self.model);
        for donor in self.donors.iter().filter(|donor| *donor != self.job.diff_id) {
            let index =
                super::open_layer(self.layers, donor).and_then(|layer| super::open_file(layer.as_fd(), "index"));
            if let Ok(model) = index.and_then(|index| Model::read(index, self.job.ids, (0, 0))) {
                add(donor, &model);
            }
        }
        found
    }

    fn one(&self, fault: &Fault) -> Result<()> {
        match &fault.kind {
            FaultKind::Extra => {
                let Some((parent, name)) = split(&fault.path) else { return Ok(()) };
                remove_at(self.directory(parent)?.as_fd(), std::ffi::OsStr::from_bytes(name))
            }
            FaultKind::Missing | FaultKind::Type(_) | FaultKind::Content | FaultKind::Target | FaultKind::Link => {
                self.remake(&fault.path)
            }
            FaultKind::Unreadable(_) => Ok(()),
            FaultKind::Mode(_)
            | FaultKind::Owner(..)
            | FaultKind::Time
            | FaultKind::Attribute(_)
            | FaultKind::Opaque(_) => self.attributes(&fault.path),
        }
    }

    /// The node that the path is to be; that of a root without an entry has the recorded attributes.
    fn node(&self, path: &[u8]) -> Option<Node> {
        let node = self.model.at(path)?.clone();
        match &self.rules.root {
            Some(root) if path.is_empty() && !self.model.root_entry => Some(Node {
                mode: root.mode,
                uid: root.uid,
                gid: root.gid,
                mtime: root.mtime,
                xattrs: root.xattrs.clone(),
                ..node
            }),
            _ => Some(node),
        }
    }

    fn diff(&self) -> rustix::io::Result<OwnedFd> {
        openat(self.job.layer, c"diff", DIRECTORY, Mode::empty())
    }

    fn directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let below = if path.is_empty() { b"." } else { path };
        openat2(self.diff()?, below, DIRECTORY, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    fn remake(&self, path: &[u8]) -> Result<()> {
        let (Some(node), Some((parent, name))) = (self.node(path), split(path)) else { return Ok(()) };
        let parent = self.directory(parent)?;
        if let What::Directory { .. } = node.what {
            let _ = unlinkat(&parent, name, AtFlags::empty());
            mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
            return self.attributes(path);
        }
        if !self.draft(path, &node)? {
            return Ok(());
        }
        let there = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            self.one(&Fault { path: path.to_vec(), kind: FaultKind::Extra })?;
        }
        renameat(self.job.layer, DRAFT, &parent, name)?;
        self.relink(path, parent.as_fd(), name)
    }

    /// The other names of what was just made become names of it, too.
    fn relink(&self, path: &[u8], parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let Some(own) = self.model.places.get(path).map(|place| place.node) else { return Ok(()) };
        let inode = |directory: BorrowedFd<'_>, name: &[u8]| {
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| (stat.st_dev, stat.st_ino))
        };
        let others = self.model.places.iter().filter(|(other, place)| place.node == own && other.as_slice() != path);
        for (other, _) in others {
            let Some((directory, other_name)) = split(other) else { continue };
            let directory = self.directory(directory)?;
            let there = inode(directory.as_fd(), other_name);
            // One that is missing is told of by itself.
            if there.is_some() && there != inode(parent, name) {
                linkat(parent, name, self.job.layer, DRAFT, AtFlags::empty())?;
                renameat(self.job.layer, DRAFT, &directory, other_name)?;
            }
        }
        Ok(())
    }

    /// Makes the draft of a path; whether there is one.
    fn draft(&self, path: &[u8], node: &Node) -> Result<bool> {
        let layer = self.job.layer;
        let _ = unlinkat(layer, DRAFT, AtFlags::empty());
        match &node.what {
            What::Directory { .. } => return Ok(false),
            What::Symlink(target) => {
                symlinkat(target.as_slice(), layer, DRAFT)?;
                self.attributes_of(layer, DRAFT, node)?;
            }
            What::Fifo => {
                mknodat(layer, DRAFT, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                self.attributes_of(layer, DRAFT, node)?;
            }
            What::Whiteout => mknodat(layer, DRAFT, FileType::CharacterDevice, Mode::empty(), 0)?,
            What::File { size, digest, segments } => {
                if self.link(path, node)? {
                    return Ok(true);
                }
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let file = openat(layer, DRAFT, flags, Mode::from_raw_mode(0o600))?;
                ftruncate(&file, *size)?;
                if let Some(digest) = digest
                    && !self.fill(&file, *size, segments.as_deref(), digest)
                {
                    let _ = unlinkat(layer, DRAFT, AtFlags::empty());
                    return Ok(false);
                }
                give(file.as_fd(), node)?;
            }
        }
        Ok(true)
    }

    /// Another name of the same file that has its content; whether there is one.
    fn link(&self, path: &[u8], node: &Node) -> Result<bool> {
        let Some(own) = self.model.places.get(path).map(|place| place.node) else { return Ok(false) };
        let What::File { size, digest, segments } = &node.what else { return Ok(false) };
        let others = self.model.places.iter().filter(|(other, place)| place.node == own && other.as_slice() != path);
        for (other, _) in others {
            let good = match digest {
                Some(digest) => {
                    super::has_content(self.job.layer, other, *size, segments.as_deref(), digest).unwrap_or(false)
                }
                None => open_in(self.job.layer, other).and_then(fstat).is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size as u64 == *size
                }),
            };
            let Some((directory, name)) = split(other).filter(|_| good) else { continue };
            linkat(self.directory(directory)?, name, self.job.layer, DRAFT, AtFlags::empty())?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Writes a content that some file has; whether one has.
    fn fill(&self, file: &OwnedFd, size: u64, segments: Option<&[Segment]>, digest: &ContentDigest) -> bool {
        let whole = [Segment { offset: 0, length: size }];
        let segments = segments.unwrap_or(&whole);
        let sources = self.sources.get(digest).into_iter().flatten();
        sources.into_iter().any(|(layer, path)| {
            let source = super::open_layer(self.layers, layer).and_then(|layer| Ok(open_in(layer.as_fd(), path)?));
            source.is_ok_and(|source| copy(&source, file, segments).is_ok_and(|found| found == *digest))
        })
    }

    /// Gives the attributes of its node to what is at a path.
    fn attributes(&self, path: &[u8]) -> Result<()> {
        let Some(node) = self.node(path) else { return Ok(()) };
        match (&node.what, split(path)) {
            (What::Directory { .. }, _) => give(self.directory(path)?.as_fd(), &node),
            (What::File { .. }, _) => give(open_in(self.job.layer, path)?.as_fd(), &node),
            (_, Some((parent, name))) => self.attributes_of(self.directory(parent)?.as_fd(), name, &node),
            (_, None) => Ok(()),
        }
    }

    /// The same for what cannot be opened.
    fn attributes_of(&self, directory: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy, node: &Node) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if node.what == What::Fifo {
            chmodat(directory, name, Mode::from_raw_mode(node.disk_mode()), AtFlags::empty())?;
        }
        Ok(utimensat(directory, name, &timestamps(node.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Writes the true owners of what the id mapping lacks anew, if they are not what they were.
    fn owners(&self) -> Result<()> {
        let mut wrong = Vec::new();
        self.job.wrapper(&mut wrong)?;
        if !wrong.iter().any(|line| line.starts_with("owners: ")) {
            return Ok(());
        }
        let mut text = Vec::new();
        for path in self.model.places.keys() {
            if let Some(node) = self.model.at(path).filter(|node| node.is_foreign()) {
                let owner = Owner { uid: node.true_uid, gid: node.true_gid, mode: node.mode };
                owners::write(&mut text, path, &owner)?;
            }
        }
        match text.is_empty() {
            true => Ok(unlinkat(self.job.layer, OWNERS, AtFlags::empty())?),
            false => crate::file::write_atomic_at(self.job.layer, OWNERS, &text, crate::file::Durability::Flushed),
        }
    }

    /// Directories in which something was made have a new time.
    fn times(&self) -> Result<()> {
        for path in self.model.places.keys().rev() {
            let Some(node) = self.node(path).filter(|node| matches!(node.what, What::Directory { .. })) else {
                continue;
            };
            if path.is_empty() && !self.model.root_entry && self.rules.root.is_none() {
                continue;
            }
            // One that is not there could not be mended.
            let Ok(directory) = self.directory(path) else { continue };
            let stat = fstat(&directory)?;
            let time = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
            if time != node.mtime && self.rules.clock != Some(node.mtime.secs) {
                futimens(&directory, &timestamps(node.mtime))?;
            }
        }
        Ok(())
    }
}

/// Gives a file or directory what its node says; the time comes last.
fn give(fd: BorrowedFd<'_>, node: &Node) -> Result<()> {
    let found = attributes::Reader::new().read(fd)?;
    fchown(fd, Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)))?;
    for (name, _) in found.xattrs.iter().filter(|(name, _)| !node.xattrs.iter().any(|(own, _)| own == name)) {
        fremovexattr(fd, name.as_slice())?;
    }
    for (name, value) in node.xattrs.iter().filter(|(name, _)| attributes::travels(name)) {
        // What the file system refuses is in the index only.
        let _ = fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
    }
    match node.what {
        What::Directory { opaque: true } => fsetxattr(fd, OPAQUE, b"y", XattrFlags::empty())?,
        What::Directory { opaque: false } if found.opaque => fremovexattr(fd, OPAQUE)?,
        _ => {}
    }
    fchmod(fd, Mode::from_raw_mode(node.disk_mode()))?;
    Ok(futimens(fd, &timestamps(node.mtime))?)
}

/// Copies these parts of a file to the same places of another; the digest of what was copied.
fn copy(from: &OwnedFd, to: &OwnedFd, segments: &[Segment]) -> Result<ContentDigest> {
    let (from, to) = (File::from(from.try_clone()?), File::from(to.try_clone()?));
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    for segment in segments {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let most = (end - at).min(buffer.len() as u64) as usize;
            let got = std::os::unix::fs::FileExt::read_at(&from, &mut buffer[..most], at)?;
            if got == 0 {
                break;
            }
            hasher.update(&buffer[..got]);
            std::os::unix::fs::FileExt::write_all_at(&to, &buffer[..got], at)?;
            at += got as u64;
        }
    }
    Ok(*hasher.finalize().as_bytes())
}
