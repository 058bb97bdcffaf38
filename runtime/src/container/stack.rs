//! The layers of a container as they are now: its record and the read-write layer that goes with it.
//!
//! A commit moves the read-write layer into the store and puts a fresh one in its place. Whoever only looks takes no lock
//! (a running container's is held by its monitor), so it opens the read-write layer first and asks the record afterwards:
//! a descriptor stays with its directory wherever that is moved.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::engine::Engine;
use super::lifecycle::{containers, settle};
use super::names::ContainerId;
use super::record::Record;
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::helper::Work;

/// A record and its read-write layer.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) record: Record,
    /// Folders of the layers that commits made, and of the image's, topmost first.
    committed: Vec<String>,
    image: Vec<String>,
    /// The directory that holds `diff/`.
    pub(super) layer: OwnedFd,
}

impl Stack {
    /// Opens the read-write layer of a container, and finds the record that goes with it.
    pub(super) fn open(engine: &Engine, id: &ContainerId) -> Result<Self> {
        let all = containers(engine);
        let paths = all.paths(id);
        let mut record = all.read(id)?;
        loop {
            if record.pending_commit.is_some() {
                // A commit at work holds the lock until both are in order again; an interrupted one is ended here.
                drop(all.lock(id)?);
                record = settle(engine, id)?;
            }
            let layer = file::open_dir(&paths.layer());
            let now = all.read(id)?;
            let settled = now.pending_commit.is_none() && now.layers == record.layers;
            match layer {
                Ok(layer) if settled => {
                    let (image, committed) = now.layers.split_at(now.image_depth.min(now.layers.len()));
                    let folders = engine.folders(image).and_then(|image| Ok((image, engine.folders(committed)?)));
                    let (image, committed) = folders.map_err(|error| all.unless_removed(error, id))?;
                    return Ok(Self { record: now, committed, image, layer });
                }
                Err(error) if settled => return Err(all.unless_removed(error, id)),
                _ => record = now,
            }
        }
    }

    /// What was made of these layers, unless the container was removed meanwhile: it may lack anything then.
    pub(super) fn made<T>(&self, engine: &Engine, made: Result<T>) -> Result<T> {
        let all = containers(engine);
        match made {
            Ok(made) => all.read(&self.record.id).map(|_| made),
            Err(error) => Err(all.unless_removed(error, &self.record.id)),
        }
    }

    /// The layers on top of the image, topmost first: the read-write layer and those of earlier commits. For the
    /// storage helper, pivoted into the folder of all layers.
    pub(super) fn own(&self, work: &Work) -> Result<Vec<OwnedFd>> {
        let mut own = vec![diff_in(self.layer.as_fd(), "diff").context(|| "open the read-write layer")?];
        own.extend(open_layers(work, &self.committed)?);
        Ok(own)
    }

    /// The layers of the image, likewise.
    pub(super) fn image(&self, work: &Work) -> Result<Vec<OwnedFd>> {
        open_layers(work, &self.image)
    }
}

/// For functions that take descriptors.
pub(super) fn borrowed(owned: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    owned.iter().map(AsFd::as_fd).collect()
}

/// The `diff/` of these folders of layers.
pub(super) fn open_layers(work: &Work, folders: &[String]) -> Result<Vec<OwnedFd>> {
    let open = |folder: &String| {
        diff_in(work.root.as_fd(), &format!("{folder}/diff")).context(|| format!("open layer {folder}"))
    };
    folders.iter().map(open).collect()
}

fn diff_in(directory: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, path, flags, Mode::empty())
}
