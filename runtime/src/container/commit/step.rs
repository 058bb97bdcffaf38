//! Commit of a build's step: its container is not needed any more, and gives its read-write layer away. Nothing of it waits
//! for the disk: the build publishes all its layers together.

use std::os::fd::AsFd;

use jiff::Timestamp;

use super::ended::{LAYER, Times, open, pack_here, top_layer, write_meta};
use super::{check_depth, meta_of};
use crate::container::engine::Engine;
use crate::container::lifecycle;
use crate::container::owners::Recorded;
use crate::container::record::Record;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Durability};
use crate::idmap::helper;
use crate::image::store::{LayerMeta, ON_THE_WAY};

/// What is left of a step.
#[derive(Debug)]
pub struct Taken {
    /// Its layer; `None` where nothing was changed.
    pub layer: Option<Digest>,
    /// Whether it received something over a network of its own.
    pub received: bool,
}

/// Makes the read-write layer of a container that has ended one of the build's layers; `engine` is the build's view of the
/// store. The container has no read-write layer afterwards: all that is left to do
/// with it is to remove it. `implicit`: of a layer of its own, the directories that are only on the way.
pub fn take_layer(engine: &Engine, record: &Record, clock: Option<Timestamp>, implicit: &[Vec<u8>]) -> Result<Taken> {
    let attempt = || format!("commit container {}", record.id.short());
    let (container, record) = lifecycle::hold_stopped(engine, &record.id)?
        .ok_or_else(|| Error::new(ErrorKind::Conflict, "it runs").context(attempt()))?;
    let received = record.state.received;
    if !record.has_layer() {
        return Ok(Taken { layer: None, received });
    }
    let directory = file::open_dir(container.paths.path())?;
    let top = top_layer(engine, &record.layers)?;
    let recorded = Recorded::open(engine, &record.layers)?;
    let packed = helper::run(&engine.map, directory.as_fd(), &mut |_| {}, |work| {
        let layer = open(work.root.as_fd(), LAYER)?;
        let times = Times { clock, in_tree: true };
        let packed = pack_here(layer.as_fd(), top.as_ref(), &recorded, (times, implicit), Durability::Relaxed)?;
        if !packed.empty {
            let meta = with_directories(meta_of(&packed, clock)?, implicit)?;
            write_meta(layer.as_fd(), meta, &record, Durability::Relaxed).context(|| "write the layer's facts")?;
        }
        Ok(packed)
    })
    .context(attempt)?;
    if packed.empty {
        return Ok(Taken { layer: None, received });
    }
    check_depth(record.layers.len() + 1, false).context(attempt)?;
    engine.store.place_layer(&container.paths.layer(), &packed.diff_id).context(attempt)?;
    Ok(Taken { layer: Some(packed.diff_id), received })
}

/// What a layer of its own says of directories is only what something describes.
fn with_directories(mut meta: LayerMeta, implicit: &[Vec<u8>]) -> Result<LayerMeta> {
    if !implicit.is_empty() {
        meta.implicit_root = implicit.iter().any(Vec::is_empty);
        meta.set(ON_THE_WAY, &implicit)?;
    }
    Ok(meta)
}
