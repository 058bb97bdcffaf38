//! Removing all that is not used: containers that do not run, images that no container was made from.
//!
//! Runs in the CLI. Nothing here needs free space: locks exist already, and what is removed is moved out of sight first.
//! Beside other commands: a container whose lock somebody holds is in use, and while images are chosen and removed nobody
//! makes a container.

use std::path::Path;

use super::engine::Engine;
use super::lifecycle::{containers, list, remove_idle};
use super::names::ContainerId;
use super::record::Summary;
use super::trash;
use crate::error::{Error, Result};
use crate::image::remove::{Removed, collect, unused_images};
use crate::image::store::Listed;

/// What was removed.
#[derive(Debug)]
pub struct Pruned<T> {
    /// The things.
    pub removed: Vec<T>,
    /// Bytes on disk that they took.
    pub bytes: u64,
    /// What could not be removed, and why.
    pub failures: Vec<Error>,
}

impl<T> Pruned<T> {
    fn new() -> Self {
        Self { removed: Vec::new(), bytes: 0, failures: Vec::new() }
    }

    /// Deletes a tree and adds its size.
    fn delete(engine: &Engine, bytes: &mut u64, path: &Path) -> Result<()> {
        // A tree that cannot be measured is deleted all the same.
        *bytes += engine.disk_usage(path).unwrap_or(0);
        engine.remove_tree(path)
    }

    /// Deletes layers and blobs that nothing needs any more. Somebody's work in progress leaves that to a later
    /// collection.
    fn collect(&mut self, engine: &Engine) {
        let bytes = &mut self.bytes;
        let mut delete = |path: &Path| Self::delete(engine, bytes, path);
        let collected = collect(&engine.store, &|| containers(engine).uses(), &mut delete);
        match collected.and_then(|_| trash::follow(engine)) {
            Ok(more) => self.bytes += more,
            Err(error) => self.failures.push(error),
        }
    }
}

/// Removes the containers that do not run and that are wanted, for good; with `trash`, also those that were removed before.
pub fn prune_containers(
    engine: &Engine,
    trash: bool,
    wanted: &dyn Fn(&Summary) -> bool,
) -> Result<Pruned<ContainerId>> {
    let mut pruned = Pruned::new();
    if trash {
        pruned.bytes = trash::empty(engine)?;
    }
    for summary in list(engine)?.summaries {
        if summary.state.status.is_active() || !wanted(&summary) {
            continue;
        }
        let bytes = &mut pruned.bytes;
        let mut delete = |path: &Path| Pruned::<ContainerId>::delete(engine, bytes, path);
        match remove_idle(engine, &summary.id, &mut delete) {
            Ok(true) => pruned.removed.push(summary.id),
            Ok(false) => {}
            Err(error) => pruned.failures.push(error),
        }
    }
    containers(engine).drop_stale_names()?;
    // Layers that only their commits made.
    pruned.collect(engine);
    Ok(pruned)
}

/// Removes the images that no container was made from and that are wanted: those without a name, with `all` the others,
/// too.
pub fn prune_images(engine: &Engine, all: bool, wanted: &dyn Fn(&Listed) -> Result<bool>) -> Result<Pruned<Removed>> {
    let mut pruned = Pruned::new();
    pruned.removed = unused_images(&engine.store, all, wanted, &|| containers(engine).uses())?;
    pruned.collect(engine);
    Ok(pruned)
}
