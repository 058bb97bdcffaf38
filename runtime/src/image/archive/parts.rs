//! The images of a layout in a directory, of which layers come in one by one, as they are needed.
//!
//! Runs in the CLI. Configs are what their digests say, and a layer is one of the store's when its blob and its tar are.

use std::os::fd::OwnedFd;

use super::directory::Layout;
use super::load::load_layer;
use super::resolve::{Wanted, missing, resolve};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::RemoveTree;
use crate::idmap::IdMap;
use crate::image::store::Store;

/// Such a directory.
pub struct Parts {
    layout: Layout,
    layers: Vec<Wanted>,
    configs: Vec<Vec<u8>>,
}

impl Parts {
    /// Reads the documents of the directory.
    pub fn open(directory: OwnedFd) -> Result<Self> {
        let layout = Layout(directory);
        let candidates = resolve(&|path: &str| layout.document(path), None)?;
        let (mut layers, mut configs) = (Vec::new(), Vec::new());
        for image in candidates {
            let bytes = layout.document(&image.config)?.ok_or_else(|| missing(&image.id))?;
            if Digest::of(&bytes) != image.id {
                return Err(Error::new(ErrorKind::Corrupt, format!("config {} is not what its digest says", image.id)));
            }
            configs.push(bytes);
            layers.extend(image.layers);
        }
        Ok(Self { layout, layers, configs })
    }

    /// The images' configs.
    pub fn configs(&self) -> &[Vec<u8>] {
        &self.configs
    }

    /// Brings a layer into the store. The caller has one thread.
    pub fn bring(&self, (store, map): (&Store, &IdMap), diff_id: &Digest, remove: &mut RemoveTree<'_>) -> Result<()> {
        let wanted = self.layers.iter().find(|wanted| wanted.diff_id == *diff_id);
        let wanted = wanted.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("layer {diff_id} is not in it")))?;
        load_layer((store, map), &self.layout, wanted, remove)
    }
}
