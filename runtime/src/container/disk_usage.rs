//! What the store takes on disk, and what of it could be had back: `system df`.
//!
//! Runs in the CLI. Bytes are those on disk, and every layer counts once: for the images that have it, or, where no image
//! does, for the container whose commit made it.

use std::collections::{HashMap, HashSet};

use super::engine::Engine;
use super::lifecycle::{containers, list};
use super::record::Summary;
use super::trash;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::image::store::Listed;

/// What the store takes on disk.
#[derive(Debug, Default)]
pub struct DiskUsage {
    /// Images, newest first.
    pub images: Vec<ImageUsage>,
    /// Containers, newest first.
    pub containers: Vec<ContainerUsage>,
    /// Bytes of all layers of images.
    pub image_bytes: u64,
    /// Bytes of those that no container and no image with a container needs.
    pub image_reclaimable: u64,
    /// Bytes of removed containers that can still be brought back.
    pub trash: u64,
}

/// One image.
#[derive(Debug)]
pub struct ImageUsage {
    /// What the store knows about it.
    pub image: Listed,
    /// Bytes of its layers.
    pub bytes: u64,
    /// Bytes of those that other images have, too.
    pub shared: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// One container.
#[derive(Debug)]
pub struct ContainerUsage {
    /// What is listed of it.
    pub summary: Summary,
    /// Bytes of its own directory, and of layers that only its commits made.
    pub bytes: u64,
}

/// Adds everything up. What is damaged is left out: `ps` and `images` tell of it.
pub fn disk_usage(engine: &Engine) -> Result<DiskUsage> {
    let images = engine.store.images()?.listed;
    let summaries = list(engine)?.summaries;
    let mut sizes = Sizes { engine, known: HashMap::new() };
    let mut users: HashMap<&Digest, HashSet<&Digest>> = HashMap::new();
    for image in &images {
        for layer in &image.record.layers {
            users.entry(layer).or_default().insert(&image.record.id);
        }
    }
    let mut usage = DiskUsage { trash: trash::bytes(engine)?, ..DiskUsage::default() };
    let mut needed: HashSet<Digest> = HashSet::new();
    let mut counted: HashSet<Digest> = HashSet::new();
    for summary in &summaries {
        let Some(layers) = layers_of(engine, summary)? else { continue };
        let mut bytes = missing_is_nothing(engine.disk_usage(engine.root().container(summary.id.as_str()).path()))?;
        for layer in layers.iter().filter(|layer| !users.contains_key(layer)) {
            if counted.insert(layer.clone()) {
                bytes += sizes.of(layer)?;
            }
        }
        needed.extend(layers);
        usage.containers.push(ContainerUsage { summary: summary.clone(), bytes });
    }
    let made_from = |id: &Digest| summaries.iter().filter(|summary| summary.image.id == *id).count();
    needed.extend(images.iter().filter(|i| made_from(&i.record.id) > 0).flat_map(|i| i.record.layers.clone()));
    for layer in users.keys() {
        let bytes = sizes.of(layer)?;
        usage.image_bytes += bytes;
        usage.image_reclaimable += if needed.contains(*layer) { 0 } else { bytes };
    }
    for image in &images {
        let own: HashSet<&Digest> = image.record.layers.iter().collect();
        let (mut bytes, mut shared) = (0, 0);
        for layer in own {
            let size = sizes.of(layer)?;
            bytes += size;
            shared += if users.get(layer).is_some_and(|users| users.len() > 1) { size } else { 0 };
        }
        let containers = made_from(&image.record.id);
        usage.images.push(ImageUsage { image: image.clone(), bytes, shared, containers });
    }
    Ok(usage)
}

/// The layers below a container's read-write layer; `None`: it went meanwhile.
fn layers_of(engine: &Engine, summary: &Summary) -> Result<Option<Vec<Digest>>> {
    match containers(engine).read(&summary.id) {
        Ok(record) => Ok(Some(record.layers)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sizes of layers, each gone through once.
struct Sizes<'a> {
    engine: &'a Engine,
    known: HashMap<Digest, u64>,
}

impl Sizes<'_> {
    fn of(&mut self, layer: &Digest) -> Result<u64> {
        if let Some(bytes) = self.known.get(layer) {
            return Ok(*bytes);
        }
        let bytes = missing_is_nothing(self.engine.disk_usage(&self.engine.store.layer_path(layer)))?;
        self.known.insert(layer.clone(), bytes);
        Ok(bytes)
    }
}

fn missing_is_nothing(bytes: Result<u64>) -> Result<u64> {
    match bytes {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        other => other,
    }
}
