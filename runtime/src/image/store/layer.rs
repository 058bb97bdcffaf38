//! Layers: their facts, and their way into the store.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Extra, Store};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::file::{self, Durability};
use crate::paths::Root;

const META_MAX: usize = 1 << 20;

/// `meta.json` of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerMeta {
    /// Digest of the uncompressed archive, the layer's name.
    pub diff_id: Digest,
    /// Bytes of that archive.
    pub size: u64,
    /// Bytes of file content in it.
    pub content: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// When it came into the store.
    pub created: Timestamp,
    /// Where from: `import`, `commit`, …
    pub source: String,
    /// Digests of compressed forms that registries have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compressed: Vec<Digest>,
    /// Several layers were merged into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub squashed: bool,
    /// Some of its directories have no entry of their own, so their metadata is a lower layer's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implicit: bool,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a layer came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The given directory is it now.
    Moved,
    /// It was there already; the given directory is where it was, and the caller's to delete.
    Existing,
}

impl Store {
    /// Whether the layer is here. It stays while the caller holds [`Store::lock_shared`].
    pub fn layer_exists(&self, diff_id: &Digest) -> Result<bool> {
        file::exists(&self.layer_path(diff_id))
    }

    /// The layer's directory, with `diff/`, `index` and `meta.json`.
    pub fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.layer(diff_id)
    }

    /// The layer's facts.
    pub fn layer_meta(&self, diff_id: &Digest) -> Result<LayerMeta> {
        file::read_json(&self.root.layer_meta(diff_id), META_MAX)
    }

    /// Moves a finished layer directory on the store's file system to its place, durably.
    ///
    /// `wrapper` has `diff/` and `index`, both flushed by the caller; `meta.json` is written here. The caller holds
    /// [`Store::lock_shared`] until an image or a container that uses the layer is published.
    pub fn publish_layer(&self, wrapper: &Path, meta: &LayerMeta) -> Result<Published> {
        let attempt = || format!("publish layer {}", meta.diff_id);
        if !self.layer_exists(&meta.diff_id)? {
            file::write_atomic(&wrapper.join(Root::LAYER_META), &file::to_json(meta)?, Durability::Flushed)
                .context(attempt)?;
        }
        let published = self.place_layer(wrapper, &meta.diff_id)?;
        if let (Published::Moved, Some(parent)) = (published, wrapper.parent()) {
            file::fsync_dir(parent)?;
        }
        Ok(published)
    }

    /// The last step of [`Store::publish_layer`], for a caller who has written `meta.json`, too, and flushed it all; and
    /// who flushes the directory that `wrapper` was in.
    pub fn place_layer(&self, wrapper: &Path, diff_id: &Digest) -> Result<Published> {
        let target = self.layer_path(diff_id);
        let mut published = Published::Existing;
        if !file::exists(&target)? {
            match rustix::fs::rename(wrapper, &target) {
                Ok(()) => published = Published::Moved,
                // Somebody else was faster.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Error::from(error).context(format!("publish layer {diff_id}"))),
            }
        }
        // Also where it is another's, who may not have come to do that yet.
        file::fsync_dir(&self.root.layers())?;
        Ok(published)
    }

    /// Changes a layer's facts, durably; its content never changes.
    pub fn update_layer_meta(&self, diff_id: &Digest, change: impl FnOnce(&mut LayerMeta)) -> Result<()> {
        let _refs_lock = self.lock_refs()?;
        let mut meta = self.layer_meta(diff_id)?;
        change(&mut meta);
        file::write_atomic(&self.root.layer_meta(diff_id), &file::to_json(&meta)?, Durability::Flushed)
    }
}
