//! What a read-write layer changed, as `docker diff` tells it: A, C and D, with the directories on the way.
//!
//! Runs in the storage helper, on descriptors of the layers' `diff/` directories. Several upper layers (a container that
//! was committed and went on) are seen as one, and so are the lower ones: both sides are merged as overlayfs merges.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, readlinkat, statat};

pub use super::attributes::RootAttrs;

use super::attributes;
use super::merged::{Found, Merged};
use super::tar::{join, shown};
use super::tree::{Step, Walk, open};
use crate::error::{Context, Error, ErrorKind, Result};

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChangeKind {
    /// Not in the lower layers.
    Added,
    /// Other content or attributes than in the lower layers, or a directory with changes inside.
    Changed,
    /// In the lower layers, no longer there.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// How it changed.
    pub kind: ChangeKind,
    /// Absolute path inside the container.
    #[serde(with = "bytes_as_text")]
    pub path: Vec<u8>,
}

/// Bytes as characters of the same number: paths are mostly ASCII, and a list of numbers would be four times as long.
mod bytes_as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&bytes.iter().map(|byte| char::from(*byte)).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        text.chars().map(|c| u8::try_from(c).map_err(D::Error::custom)).collect()
    }
}

/// Longer than any path that a program can name.
const MAX_PATH: usize = 4095;

/// Reports what the layers `uppers` (their `diff/` directories, topmost first) change in the layers `lowers` (topmost
/// first, without lrun's own), sorted by path. What was copied up but is the same as below is left out. `seed`: the
/// attributes that the topmost upper layer's root was made with; `/` is reported if its mode, owner or extended
/// attributes are others.
pub fn changes(
    uppers: &[BorrowedFd<'_>],
    lowers: &[BorrowedFd<'_>],
    seed: Option<&RootAttrs>,
    out: &mut dyn FnMut(Change),
) -> Result<()> {
    let (upper, lower) = (Merged::new(uppers)?, Merged::new(lowers)?);
    let mut diff = Diff { out, pending: Vec::new(), attributes: attributes::Reader::new() };
    if let (Some(root), Some(seed)) = (uppers.first(), seed) {
        let root = RootAttrs::read(*root)?;
        if (root.mode, root.uid, root.gid, &root.xattrs) != (seed.mode, seed.uid, seed.gid, &seed.xattrs) {
            diff.report(ChangeKind::Changed, b"");
        }
    }
    diff.walk(upper, lower)
}

/// Bytes of the regular files below `upper`, a layer's `diff/`; a file with several names counts once. What goes away
/// meanwhile counts for nothing: a container may be at work in it.
pub fn usage(upper: BorrowedFd<'_>) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut sum = 0u64;
    let mut walk = Walk::new(upper)?;
    loop {
        match walk.next() {
            Ok(None) => return Ok(sum),
            Ok(Some(Step::Item { directory, name, kind: FileType::RegularFile, .. })) => {
                let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                    sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                }
            }
            Ok(Some(_)) => {}
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
            Err(error) => return Err(error),
        }
    }
}

struct Diff<'a> {
    out: &'a mut dyn FnMut(Change),
    /// Directories on the way to here that were not reported yet.
    pending: Vec<Vec<u8>>,
    attributes: attributes::Reader,
}

/// A directory that is being compared.
struct Frame {
    path: Vec<u8>,
    upper: Merged,
    lower: Merged,
    names: std::vec::IntoIter<CString>,
}

impl Frame {
    fn new(path: Vec<u8>, upper: Merged, lower: Merged) -> Result<Self> {
        let names = names(&upper, &lower)?.into_iter();
        Ok(Self { path, upper, lower, names })
    }
}

impl Diff<'_> {
    /// Without recursion: how deep the tree is, is the container's choice.
    fn walk(&mut self, upper: Merged, lower: Merged) -> Result<()> {
        let mut stack = vec![Frame::new(Vec::new(), upper, lower)?];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                self.pending.retain(|pending| *pending != frame.path);
                stack.pop();
                continue;
            };
            let path = join(&frame.path, name.to_bytes());
            let inner = self.name(&path, &name, &frame.upper, &frame.lower);
            if let Some((upper, lower)) = inner.context(|| format!("compare {}", shown(&path)))? {
                if path.len() > MAX_PATH {
                    let text = format!("a path of {} bytes is too long to compare", path.len());
                    return Err(Error::new(ErrorKind::Unsupported, text).context(shown(&path)));
                }
                stack.push(Frame::new(path, upper, lower)?);
            }
        }
        Ok(())
    }

    /// Compares what both sides have under a name; the directories to go into, if it is one.
    fn name(&mut self, path: &[u8], name: &CStr, upper: &Merged, lower: &Merged) -> Result<Option<(Merged, Merged)>> {
        let below = lower.find(name)?;
        let above = match upper.find(name)? {
            // An opaque directory hides what it does not have.
            Found::Nothing if upper.opaque => Found::Deleted,
            found => found,
        };
        match (above, below) {
            (Found::Nothing, _) | (Found::Deleted, Found::Nothing | Found::Deleted) => {}
            (Found::Deleted, _) => self.report(ChangeKind::Deleted, path),
            (Found::Directory(upper), Found::Directory(lower)) => {
                match self.same_directory(&upper, &lower)? {
                    true => self.pending.push(path.to_vec()),
                    false => self.report(ChangeKind::Changed, path),
                }
                return Ok(Some((upper, lower)));
            }
            (Found::Directory(upper), below) => {
                self.report(kind(&below), path);
                return Ok(Some((upper, Merged::nothing())));
            }
            (Found::Other { layer, stat }, Found::Other { layer: lower_layer, stat: lower_stat }) => {
                let above = (upper.layer(layer)?, stat);
                let below = (lower.layer(lower_layer)?, lower_stat);
                if !self.same_file(name, above, below)? {
                    self.report(ChangeKind::Changed, path);
                }
            }
            (Found::Other { .. }, below) => self.report(kind(&below), path),
        }
        Ok(None)
    }

    fn report(&mut self, kind: ChangeKind, path: &[u8]) {
        for directory in self.pending.drain(..) {
            (self.out)(Change { kind: ChangeKind::Changed, path: absolute(&directory) });
        }
        (self.out)(Change { kind, path: absolute(path) });
    }

    fn same_directory(&mut self, upper: &Merged, lower: &Merged) -> Result<bool> {
        let (Some(upper), Some(lower)) = (upper.top(), lower.top()) else { return Ok(false) };
        let (above, below) = (fstat(upper)?, fstat(lower)?);
        if attributes_of(&above) != attributes_of(&below) {
            return Ok(false);
        }
        let upper = open(upper, c".", OFlags::DIRECTORY)?;
        let lower = open(lower, c".", OFlags::DIRECTORY)?;
        Ok(self.attributes.read(upper.as_fd())?.xattrs == self.attributes.read(lower.as_fd())?.xattrs)
    }

    /// One that is replaced or taken away meanwhile is not the same.
    fn same_file(&mut self, name: &CStr, above: (BorrowedFd<'_>, Stat), below: (BorrowedFd<'_>, Stat)) -> Result<bool> {
        match self.is_same_file(name, above, below) {
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL | libc::ELOOP)) => Ok(false),
            other => other,
        }
    }

    fn is_same_file(
        &mut self,
        name: &CStr,
        (upper, above): (BorrowedFd<'_>, Stat),
        (lower, below): (BorrowedFd<'_>, Stat),
    ) -> Result<bool> {
        if attributes_of(&above) != attributes_of(&below) {
            return Ok(false);
        }
        match FileType::from_raw_mode(above.st_mode) {
            FileType::RegularFile if above.st_size != below.st_size => Ok(false),
            FileType::RegularFile => {
                let (upper, lower) = (open(upper, name, OFlags::empty())?, open(lower, name, OFlags::empty())?);
                let xattrs = self.attributes.read(upper.as_fd())?.xattrs;
                Ok(xattrs == self.attributes.read(lower.as_fd())?.xattrs && same_content(upper, lower)?)
            }
            FileType::Symlink => Ok(readlinkat(upper, name, Vec::new())? == readlinkat(lower, name, Vec::new())?),
            _ => Ok(above.st_rdev == below.st_rdev),
        }
    }
}

/// Time and size alone prove nothing: images are often made with one time for all files.
fn same_content(a: OwnedFd, b: OwnedFd) -> Result<bool> {
    const CHUNK: usize = 64 << 10;
    let (mut a, mut b) = (File::from(a), File::from(b));
    let (mut left, mut right) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(CHUNK as u64).read_to_end(&mut left)?;
        b.by_ref().take(CHUNK as u64).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

/// Type, mode, owner and time; sizes of directories mean nothing.
fn attributes_of(stat: &Stat) -> (u32, u32, u32, i64, u64) {
    (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec)
}

fn kind(below: &Found) -> ChangeKind {
    match below {
        Found::Nothing | Found::Deleted => ChangeKind::Added,
        _ => ChangeKind::Changed,
    }
}

fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

/// What may have changed: the names of the upper layers, and those of the lower ones if they are hidden.
fn names(upper: &Merged, lower: &Merged) -> Result<Vec<CString>> {
    let mut names = upper.names()?;
    if upper.opaque {
        names.extend(lower.names()?);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests;
