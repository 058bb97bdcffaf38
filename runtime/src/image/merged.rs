//! One directory of a stack of layers, merged as overlayfs does it; `Documentation/filesystems/overlayfs.rst`.
//!
//! The topmost layer may be a running container's: what it takes away while it is looked at counts as not there.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, statat};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::image::attributes;
use crate::image::tree::{self, open};

/// The directories of all layers that contribute, topmost first.
pub(super) struct Merged {
    layers: Vec<OwnedFd>,
    /// Which layer of the stack each belongs to; the topmost is 0.
    numbers: Vec<usize>,
    /// Whether the lowest of them hides everything below.
    pub(super) opaque: bool,
}

/// What a stack has under a name.
pub(super) enum Found {
    /// No layer says anything.
    Nothing,
    /// A whiteout.
    Deleted,
    /// A directory.
    Directory(Merged),
    /// Anything else, in this layer.
    Other { layer: usize, stat: Stat },
}

impl Merged {
    /// The roots of a stack.
    pub(super) fn new(roots: &[BorrowedFd<'_>]) -> Result<Self> {
        let layers = roots.iter().map(|root| open(*root, c".", OFlags::DIRECTORY));
        let layers = layers.collect::<rustix::io::Result<Vec<_>>>()?;
        Ok(Self { numbers: (0..layers.len()).collect(), layers, opaque: false })
    }

    /// A directory that no layer has.
    pub(super) fn nothing() -> Self {
        Self { layers: Vec::new(), numbers: Vec::new(), opaque: false }
    }

    /// The directory whose attributes count.
    pub(super) fn top(&self) -> Option<BorrowedFd<'_>> {
        self.layers.first().map(AsFd::as_fd)
    }

    /// The directories that are merged, topmost first, each with the number of its layer in the stack.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.numbers.iter().copied().zip(self.layers.iter().map(AsFd::as_fd))
    }

    /// The directory in layer number `layer`.
    pub(super) fn layer(&self, layer: usize) -> Result<BorrowedFd<'_>> {
        self.layers.get(layer).map(AsFd::as_fd).ok_or_else(|| Error::new(ErrorKind::Io, "no such layer"))
    }

    /// All names that any layer mentions, whiteouts too, unsorted.
    pub(super) fn names(&self) -> Result<Vec<CString>> {
        let mut names = Vec::new();
        for layer in &self.layers {
            names.extend(tree::names(layer.as_fd())?.into_iter().map(|name| name.name));
        }
        Ok(names)
    }

    /// Looks a name up from top to bottom.
    pub(super) fn find(&self, name: &CStr) -> Result<Found> {
        let (mut directories, mut numbers) = (Vec::new(), Vec::new());
        let mut opaque = false;
        for (layer, (number, directory)) in self.parts().enumerate() {
            let found = match look(directory, name)? {
                Here::Nothing => continue,
                Here::Directory(found) => found,
                Here::Other(stat) if directories.is_empty() => {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
                    return Ok(if whiteout { Found::Deleted } else { Found::Other { layer, stat } });
                }
                // A file or a whiteout below a directory ends the merging.
                Here::Other(_) => {
                    opaque = true;
                    break;
                }
            };
            opaque = attributes::Reader::new().read(found.as_fd())?.opaque;
            directories.push(found);
            numbers.push(number);
            if opaque {
                break;
            }
        }
        match directories.is_empty() {
            true => Ok(Found::Nothing),
            false => Ok(Found::Directory(Self { layers: directories, numbers, opaque })),
        }
    }
}

/// What one layer has under a name.
enum Here {
    Nothing,
    Directory(OwnedFd),
    Other(Stat),
}

/// How often a name is looked at again that was replaced between two system calls.
const PATIENCE: usize = 100;

fn look(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Here> {
    for _ in 0..PATIENCE {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Here::Nothing),
            Err(errno) => return Err(errno),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Here::Other(stat));
        }
        match open(directory, name, OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            other => return other.map(Here::Directory),
        }
    }
    Err(Errno::BUSY)
}
