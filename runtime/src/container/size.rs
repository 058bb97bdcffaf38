//! How much a container's own layers hold, for `ps -s` and `inspect -s`.
//!
//! Runs in the CLI; the read-write layers are gone through in the storage helper, since a program may have made
//! directories that only the container's root can read.

use std::os::fd::AsFd;
use std::path::Path;

use super::engine::Engine;
use super::lifecycle::containers;
use super::record::Record;
use crate::digest::Digest;
use crate::error::{Context, ErrorKind, Result};
use crate::file;
use crate::idmap::helper;
use crate::image::changes;
use crate::paths::ContainerPaths;

/// Bytes of file content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// In the layers above the image's: the read-write layer, and those that commits made.
    pub own: u64,
    /// In all layers.
    pub all: u64,
}

/// The sizes of these containers, in their order.
pub fn sizes(engine: &Engine, records: &[Record]) -> Result<Vec<Sizes>> {
    let uppers: Vec<_> = records.iter().map(|record| ContainerPaths::at(record.id.as_str()).layer_diff()).collect();
    let directory = file::open_dir(&engine.root().containers())?;
    let written: Vec<u64> = helper::run(&engine.map, directory.as_fd(), &mut |_| {}, |_| {
        uppers.iter().map(|upper| usage(&Path::new("/").join(upper))).collect()
    })
    .context(|| "add up the sizes of containers")?;
    records.iter().zip(written).map(|(record, written)| of(engine, record, written)).collect()
}

/// With `written` bytes in the read-write layer. What is asked of a container that was removed meanwhile, perhaps with
/// its image, is nothing.
fn of(engine: &Engine, record: &Record, written: u64) -> Result<Sizes> {
    let (image, committed) = record.layers.split_at(record.image_depth.min(record.layers.len()));
    let sizes = content(engine, committed)
        .and_then(|own| Ok(Sizes { own: own + written, all: own + written + content(engine, image)? }));
    match sizes {
        Err(error) if error.kind() == ErrorKind::NotFound && containers(engine).is_gone(&record.id) => {
            Ok(Sizes::default())
        }
        other => other,
    }
}

/// Runs in the storage helper. A container that was removed meanwhile has nothing.
fn usage(upper: &Path) -> Result<u64> {
    match file::open_dir(upper) {
        Ok(directory) => changes::usage(directory.as_fd()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn content(engine: &Engine, layers: &[Digest]) -> Result<u64> {
    layers.iter().map(|layer| Ok(engine.store.layer_meta(layer).context(|| format!("layer {layer}"))?.content)).sum()
}
