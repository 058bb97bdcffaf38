//! `export`: the whole root file system of a container as a tar.
//!
//! Runs in the CLI; the files are read in the storage helper, from the layers themselves: nothing is mounted, so a running
//! container may go on. lrun's own layers are no part of it, and neither is what is mounted in the container. Beside the
//! packing a second helper reads the layers against their indexes: what is not as it was makes the export fail.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::engine::Engine;
use super::names::ContainerId;
use super::owners::Recorded;
use super::stack::{Stack, borrowed};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::helper::{self, Helper};
use crate::image::check::verify_layers;
use crate::image::pack::{Marks, Merged, pack_merged};

/// Writes the root file system of this container to `out`.
pub fn export(engine: &Engine, id: &ContainerId, out: OwnedFd) -> Result<Merged> {
    let stack = Stack::open(engine, id)?;
    let packed = pack(engine, &stack, out).context(|| format!("export container {}", id.short()));
    stack.made(engine, packed)
}

fn pack(engine: &Engine, stack: &Stack, out: OwnedFd) -> Result<Merged> {
    let layers = file::open_dir(&engine.root().layers())?;
    let recorded = Recorded::open(engine, &stack.record.layers)?;
    let verifying = verify(engine, layers.as_fd(), &stack.record.layers)?;
    let packed = helper::run(&engine.map, layers.as_fd(), &mut |_| {}, |work| {
        let mut all = stack.own(work)?;
        all.extend(stack.image(work)?);
        // Before its first start the read-write layer has nothing, and no attributes for the root.
        if !stack.record.has_layer() && all.len() > 1 {
            all.remove(0);
        }
        pack_merged(&borrowed(&all), Marks::None, &|path| recorded.find(path), None, &mut File::from(out))
    });
    match packed {
        Ok(packed) => verifying.finish(&mut |_| {}).map(|()| packed),
        Err(error) => {
            verifying.give_up();
            Err(error)
        }
    }
}

/// Starts to compare these layers with what they were.
fn verify(engine: &Engine, folder: BorrowedFd<'_>, layers: &[Digest]) -> Result<Helper<()>> {
    let facts = engine.store.layer_facts(layers);
    helper::start_in(&engine.map, folder, &[], |work| verify_layers(work.root.as_fd(), &facts, &engine.map))
}
