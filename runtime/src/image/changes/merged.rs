//! One directory of a stack of layers, merged as overlayfs does it; `Documentation/filesystems/overlayfs.rst`.

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
        Ok(Self { layers: layers.collect::<rustix::io::Result<_>>()?, opaque: false })
    }

    /// A directory that no layer has.
    pub(super) fn nothing() -> Self {
        Self { layers: Vec::new(), opaque: false }
    }

    /// The directory whose attributes count.
    pub(super) fn top(&self) -> Option<BorrowedFd<'_>> {
        self.layers.first().map(AsFd::as_fd)
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
        let mut directories = Vec::new();
        let mut opaque = false;
        for (layer, directory) in self.layers.iter().enumerate() {
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::Directory {
                if directories.is_empty() {
                    let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
                    return Ok(if whiteout { Found::Deleted } else { Found::Other { layer, stat } });
                }
                // A file or a whiteout below a directory ends the merging.
                opaque = true;
                break;
            }
            let found = open(directory.as_fd(), name, OFlags::DIRECTORY)?;
            opaque = attributes::Reader::new().read(found.as_fd())?.opaque;
            directories.push(found);
            if opaque {
                break;
            }
        }
        match directories.is_empty() {
            true => Ok(Found::Nothing),
            false => Ok(Found::Directory(Self { layers: directories, opaque })),
        }
    }
}
