//! Layers: their facts, and their way into the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::{Extra, Store};
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, Durability, Staging};
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
    /// Its root directory has no entry either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implicit_root: bool,
    /// It hides everything of the layers below it, which are left out of a stack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque_root: bool,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Files beside a layer's tree whose digests are among its facts.
pub(crate) const SIDE_FILES: [&str; 2] = ["index", "owners"];
/// Field of [`LayerMeta::extra`]: BLAKE3 digests of those files that there are, by name.
const FILES: &str = "files";
/// Field of [`LayerMeta::extra`]: the attributes of the tree's root, where the archive says nothing about them.
pub(crate) const ROOT_ATTRIBUTES: &str = "root";
/// Field of [`LayerMeta::extra`]: the id of the container whose layer it was, and how many layers were below it.
pub(crate) const MADE_BY: &str = "container";
/// Field of [`LayerMeta::extra`]: no time in the archive is later, times in the tree may be; seconds since 1970.
pub(crate) const CLOCK: &str = "clock";
/// Field of [`LayerMeta::extra`]: directories of a layer of its own that have no entry unless something describes them.
pub(crate) const ON_THE_WAY: &str = "on_the_way";

impl LayerMeta {
    /// Adds the digests of the files beside the tree in `wrapper`.
    pub fn with_digests(mut self, wrapper: BorrowedFd<'_>) -> Result<Self> {
        let mut digests = BTreeMap::new();
        for name in SIDE_FILES {
            if let Some(digest) = digest_of(wrapper, name)? {
                digests.insert(name.to_owned(), digest);
            }
        }
        self.set(FILES, &digests)?;
        Ok(self)
    }

    /// The digests of the files beside the tree; `None`: they were not recorded.
    pub fn digests(&self) -> Option<BTreeMap<String, String>> {
        self.get(FILES)
    }

    pub(crate) fn set(&mut self, field: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        self.extra.insert(field.to_owned(), value);
        Ok(())
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, field: &str) -> Option<T> {
        serde_json::from_value(self.extra.get(field)?.clone()).ok()
    }
}

/// The BLAKE3 digest of a file, in hex; `None`: there is none.
pub(crate) fn digest_of(directory: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, name, flags, rustix::fs::Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).context(|| format!("open {name}")),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).context(|| format!("read {name}"))?;
    Ok(Some(hasher.finalize().to_hex().to_string()))
}

/// How a layer came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The given directory is it now.
    Moved,
    /// It was there already; what is in the given directory's place is the caller's to delete.
    Existing,
}

impl Store {
    /// Whether the layer is here. It stays while the caller holds [`Store::lock_shared`].
    pub fn layer_exists(&self, diff_id: &Digest) -> Result<bool> {
        file::exists(&self.layer_path(diff_id))
    }

    /// Whether the layer is here, and is not one that a check found damaged and could not mend: whoever has the same from
    /// elsewhere brings it.
    pub fn has_sound_layer(&self, diff_id: &Digest) -> Result<bool> {
        Ok(self.layer_exists(diff_id)? && !self.is_marked(diff_id)?)
    }

    fn is_marked(&self, diff_id: &Digest) -> Result<bool> {
        file::exists(&self.layer_path(diff_id).join(Root::LAYER_DAMAGED))
    }

    /// The layer's directory, with `diff/`, `index` and `meta.json`.
    pub fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.layer(diff_id)
    }

    /// The layer's facts.
    pub fn layer_meta(&self, diff_id: &Digest) -> Result<LayerMeta> {
        file::read_json(&self.root.layer_meta(diff_id), META_MAX)
    }

    /// Layers with their facts, where those can be read.
    pub fn layer_facts(&self, layers: &[Digest]) -> Vec<(Digest, Option<LayerMeta>)> {
        layers.iter().map(|layer| (layer.clone(), self.layer_meta(layer).ok())).collect()
    }

    /// Moves a finished layer directory on the store's file system to its place, durably.
    ///
    /// `wrapper` has `diff/` and `index`, both flushed by the caller; `meta.json` is written here. The caller holds
    /// [`Store::lock_shared`] until an image or a container that uses the layer is published.
    pub fn publish_layer(&self, wrapper: &Path, meta: &LayerMeta) -> Result<Published> {
        let attempt = || format!("publish layer {}", meta.diff_id);
        if !self.has_sound_layer(&meta.diff_id)? {
            let directory = file::open_dir(wrapper)?;
            let meta = meta.clone().with_digests(directory.as_fd()).context(attempt)?;
            file::write_atomic_at(&directory, Root::LAYER_META, &file::to_json(&meta)?, Durability::Flushed)
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
        let published = self.move_layer(wrapper, diff_id)?;
        // Also where it is another's, who may not have come to do that yet.
        if self.durability() == Durability::Flushed {
            file::fsync_dir(&self.root.layers())?;
        }
        Ok(published)
    }

    /// The same without flushing anything.
    pub(super) fn move_layer(&self, wrapper: &Path, diff_id: &Digest) -> Result<Published> {
        let target = self.layer_path(diff_id);
        let mut published = Published::Existing;
        if self.is_marked(diff_id)? {
            if let Some(own) = self.root.build_layer(diff_id) {
                // Not on disk yet: the damaged one stays until this is published.
                rustix::fs::rename(wrapper, self.root.layers().join(own))
                    .context(|| format!("keep layer {diff_id}"))?;
                return Ok(Published::Moved);
            }
            // A check could not mend the one that is there; what stands on it now keeps it until a collection.
            let old = self.root.layers().join(Root::replaced(diff_id)?);
            rustix::fs::renameat_with(CWD, wrapper, CWD, &target, RenameFlags::EXCHANGE)
                .and_then(|()| rustix::fs::rename(wrapper, old))
                .context(|| format!("replace the damaged layer {diff_id}"))?;
            published = Published::Moved;
        } else if !file::exists(&target)? {
            match rustix::fs::rename(wrapper, &target) {
                Ok(()) => published = Published::Moved,
                // Somebody else was faster.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Error::from(error).context(format!("publish layer {diff_id}"))),
            }
        }
        Ok(published)
    }

    /// Changes a layer's facts, durably; its content never changes.
    pub fn update_layer_meta(&self, diff_id: &Digest, change: impl FnOnce(&mut LayerMeta)) -> Result<()> {
        let _refs_lock = self.lock_refs()?;
        let mut meta = self.layer_meta(diff_id)?;
        change(&mut meta);
        // Written elsewhere: in a layer's directory nobody would delete what a killed process leaves.
        let staging = Staging::new(&self.root)?;
        let written = staging.path().join(Root::LAYER_META);
        file::write_atomic(&written, &file::to_json(&meta)?, Durability::Flushed)?;
        rustix::fs::rename(&written, self.root.layer_meta(diff_id)).context(|| "replace the layer's facts")?;
        file::fsync_dir(&self.layer_path(diff_id))?;
        // What cannot be deleted now is swept later.
        let _ = staging.remove(&mut |path| file::remove_tree(path));
        Ok(())
    }
}
