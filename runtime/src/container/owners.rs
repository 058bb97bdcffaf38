//! True owners of what a container copied up, where the id mapping lacks them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::container::engine::Engine;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::file::{self, Durability};
use crate::image::owners::{self, Owner, Owners};

pub(super) const OWNERS: &str = "owners";

/// The recorded owners of a stack of layers, and those that were asked for and found.
pub(super) struct Recorded {
    /// Topmost first; empty where no layer has a record.
    layers: Vec<(OwnedFd, Owners)>,
    used: RefCell<Vec<(Vec<u8>, Owner)>>,
}

impl Recorded {
    /// Opens the records of these layers, bottom first.
    pub(super) fn open(engine: &Engine, stack: &[Digest]) -> Result<Self> {
        let mut layers = Vec::new();
        let mut any = false;
        for digest in stack.iter().rev() {
            let directory = file::open_dir(&engine.store.layer_path(digest))?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let owners = match rustix::fs::openat(&directory, OWNERS, flags, Mode::empty()) {
                Ok(fd) => {
                    any = true;
                    Owners::read(BufReader::new(File::from(fd))).context(|| format!("layer {digest}"))?
                }
                Err(rustix::io::Errno::NOENT) => Owners::default(),
                Err(errno) => return Err(Error::from(errno).context(format!("read the owners of layer {digest}"))),
            };
            layers.push((directory, owners));
        }
        if !any {
            layers.clear();
        }
        Ok(Self { layers, used: RefCell::default() })
    }

    /// The owner recorded by the topmost layer that has this path. Runs in the storage helper.
    pub(super) fn find(&self, path: &[u8]) -> Option<Owner> {
        for (directory, owners) in &self.layers {
            if let Some(owner) = owners.get(path) {
                self.used.borrow_mut().push((path.to_vec(), owner));
                return Some(owner);
            }
            if has(directory.as_fd(), path) {
                return None;
            }
        }
        None
    }

    /// What [`Self::find`] needs to have open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(|(directory, _)| directory.as_fd())
    }

    /// Writes what was found as the record of the new layer.
    pub(super) fn save(&self, layer: BorrowedFd<'_>, durability: Durability) -> Result<()> {
        let used = self.used.borrow();
        if used.is_empty() {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let attempt = || "write the layer's owners";
        let file = rustix::fs::openat(layer, OWNERS, flags, Mode::from_raw_mode(0o600)).context(attempt)?;
        let mut out = BufWriter::new(File::from(file));
        for (path, owner) in used.iter() {
            owners::write(&mut out, path, owner).context(attempt)?;
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).context(attempt)?;
        if durability == Durability::Flushed { file.sync_all().context(attempt) } else { Ok(()) }
    }
}

/// Whether a layer has this path; links are not followed.
fn has(layer: BorrowedFd<'_>, path: &[u8]) -> bool {
    let path = [b"diff/", path].concat();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(layer, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).is_ok()
}
