//! What a container changed in its image: `diff`.
//!
//! Runs in the CLI; the comparison itself in the storage helper, pivoted into the folder of all layers. The layers are
//! read beside the mount that may be using them, never mounted again.

use std::os::fd::AsFd;

use super::engine::Engine;
use super::names::ContainerId;
use super::stack::{Stack, borrowed};
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::helper;
use crate::image::changes::{Change, RootAttrs, changes as compare};

/// What this container added, changed and deleted since it was made from its image, commits included; sorted by path.
/// Mount points of the engine are not among it. Of a running container, what could be seen while it went on.
pub fn changes(engine: &Engine, id: &ContainerId) -> Result<Vec<Change>> {
    let stack = Stack::open(engine, id)?;
    let layers = file::open_dir(&engine.root().layers())?;
    let found = helper::run(&engine.map, layers.as_fd(), &mut |_| {}, |work| {
        let (own, image) = (stack.own(work)?, stack.image(work)?);
        // Before its first start a container's root has nobody's attributes.
        let seed = image.first().filter(|_| stack.record.has_layer());
        let seed = seed.map(|root| RootAttrs::read(root.as_fd())).transpose()?;
        let mut found = Vec::new();
        compare(&borrowed(&own), &borrowed(&image), seed.as_ref(), &mut |change| found.push(change))?;
        Ok(found)
    });
    stack.made(engine, found.context(|| format!("compare container {} with its image", id.short())))
}
