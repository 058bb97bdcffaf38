//! True owners of what a container copied up, where the id mapping lacks them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::container::engine::Engine;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::file::{self, Durability};
use crate::image::index::implicit_directories;
use crate::image::owners::{self, Owner, Owners};

pub(super) const OWNERS: &str = "owners";
const INDEX: &str = "index";

/// The recorded owners of a stack of layers, and those that were asked for and found.
pub(super) struct Recorded {
    /// Topmost first; empty where no layer has a record.
    layers: Vec<Layer>,
    used: RefCell<Vec<(Vec<u8>, Owner)>>,
}

struct Layer {
    directory: OwnedFd,
    owners: Owners,
    /// Whether it has directories without an entry of their own: whose they are a lower layer says.
    lacks: bool,
    /// Those, once they are asked for.
    implicit: OnceCell<HashSet<Vec<u8>>>,
}

impl Layer {
    /// Whether it says whose this path is.
    fn says(&self, path: &[u8]) -> bool {
        has(self.directory.as_fd(), path) && !(self.lacks && self.implicit().contains(path))
    }

    fn implicit(&self) -> &HashSet<Vec<u8>> {
        self.implicit.get_or_init(|| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let index = rustix::fs::openat(&self.directory, INDEX, flags, Mode::empty());
            // What an index does not tell counts as told: a check finds the damage.
            index.ok().and_then(|index| implicit_directories(File::from(index), |_| true).ok()).unwrap_or_default()
        })
    }
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
            layers.push(Layer { directory, owners, lacks: false, implicit: OnceCell::new() });
        }
        if !any {
            layers.clear();
        }
        for (layer, digest) in layers.iter_mut().zip(stack.iter().rev()) {
            layer.lacks = engine.store.layer_meta(digest).is_ok_and(|meta| meta.implicit);
        }
        Ok(Self { layers, used: RefCell::default() })
    }

    /// The owner recorded by the topmost layer that has an entry for this path. Runs in the storage helper.
    pub(super) fn find(&self, path: &[u8]) -> Option<Owner> {
        for layer in &self.layers {
            if let Some(owner) = layer.owners.get(path) {
                self.used.borrow_mut().push((path.to_vec(), owner));
                return Some(owner);
            }
            if layer.says(path) {
                return None;
            }
        }
        None
    }

    /// What [`Self::find`] needs to have open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(|layer| layer.directory.as_fd())
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
