//! `export`: the whole root file system of a container as a tar.
//!
//! Runs in the CLI; the files are read in the storage helper, from the layers themselves: nothing is mounted, so a running
//! container may go on. lrun's own layers are no part of it, and neither is what is mounted in the container.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::engine::Engine;
use super::names::ContainerId;
use super::owners::Recorded;
use super::stack::{Stack, borrowed};
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::helper;
use crate::image::pack::{Marks, Merged, pack_merged};

/// Writes the root file system of this container to `out`.
pub fn export(engine: &Engine, id: &ContainerId, out: OwnedFd) -> Result<Merged> {
    let stack = Stack::open(engine, id)?;
    let layers = file::open_dir(&engine.root().layers())?;
    let recorded = Recorded::open(engine, &stack.record.layers)?;
    let packed = helper::run(&engine.map, layers.as_fd(), &mut |_| {}, |work| {
        let mut all = stack.own(work)?;
        all.extend(stack.image(work)?);
        // Before its first start the read-write layer has nothing, and no attributes for the root.
        if !stack.record.has_layer() && all.len() > 1 {
            all.remove(0);
        }
        pack_merged(&borrowed(&all), Marks::None, &|path| recorded.find(path), None, &mut File::from(out))
    });
    let packed = packed.context(|| format!("export container {}", id.short()))?;
    stack.check(engine)?;
    Ok(packed)
}
