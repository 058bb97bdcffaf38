//! The store of images: configs, records, references and layers.
//!
//! What is on disk, and where, is in [`crate::paths`]. A writer holds the store lock shared from the moment it decides
//! what to use (resolves a name, finds a layer present) until it has published the record or reference that keeps it;
//! collection takes the lock exclusively. References and image records change under `refs.lock`, so that a `tag` and
//! an `rmi` of one image follow each other. Locks are taken in that order.
//!
//! Published means: flushed, then renamed into place, then the directory flushed. First layers, then the config's
//! blob, then the image's record, then references: a crash in between leaves something unreferenced, never something
//! incomplete.

mod build;
mod format;
mod layer;
mod list;
mod lists;
mod origin;
mod refs;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use format::{Features, Format, Verdict, fs_verdict, mend_directories, mend_format, renew_format};
pub(crate) use layer::{CLOCK, MADE_BY, ON_THE_WAY, ROOT_ATTRIBUTES, SIDE_FILES, digest_of};
pub use layer::{LayerMeta, Published};
pub use list::{Damaged, Images, Listed};
pub use lists::{ImageList, ListDescriptor, ListEntry, ListPlatform};
pub use refs::{Found, RefTarget};

use super::config::{Extra, ImageConfig};
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, REPAIR, Result};
use crate::file::{self, Durability, Lock};
use crate::idmap::Mode;
use crate::paths::Root;
use crate::reference::Reference;

const RECORD_VERSION: u32 = 1;
const RECORD_MAX: usize = 16 << 20;
/// Largest image config; registries limit manifests and configs to a few MiB.
pub const CONFIG_MAX: usize = 16 << 20;

/// An open store.
#[derive(Clone, Debug)]
pub struct Store {
    root: Root,
    format: Format,
}

/// What the store knows about an image beside its config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Layout of this record.
    pub version: u32,
    /// The config's digest.
    pub id: Digest,
    /// The image that it was made from, if that was here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// When it was made, as its config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Its layers, bottom first.
    pub layers: Vec<Digest>,
    /// Bytes of file content in all layers.
    #[serde(default)]
    pub size: u64,
    /// Every name that it had, oldest first, in familiar form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `repository@digest` under which registries know it, in complete form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repo_digests: Vec<String>,
    /// Those of them that were removed as names. The registries still have it there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<String>,
    /// Manifests of it, kept as blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Digest>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: std::collections::BTreeMap<String, Value>,
}

/// An image to be published.
#[derive(Clone, Copy, Debug)]
pub struct NewImage<'a> {
    /// The config's exact bytes.
    pub config: &'a [u8],
    /// The image that it was made from, if that is here.
    pub parent: Option<&'a Digest>,
    /// The exact bytes of the manifest that it came with.
    pub manifest: Option<&'a [u8]>,
    /// Its names.
    pub references: &'a [Reference],
}

/// An image that was published.
#[derive(Clone, Debug)]
pub struct PublishedImage {
    /// Its id.
    pub id: Digest,
    /// For each name the other image that had it before.
    pub before: Vec<Option<Digest>>,
}

/// A whole image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The config's digest.
    pub id: Digest,
    /// The config's exact bytes.
    pub bytes: Vec<u8>,
    /// The config.
    pub config: ImageConfig,
    /// What the store knows beside it.
    pub record: ImageRecord,
}

impl Store {
    /// Opens the store at `root`; with `create`, makes it there if there is none.
    ///
    /// A store of another user, another version or another id mapping is refused, as is a file system that cannot
    /// hold one. `probe` is called once, when the store is made; it finds out what the file system at the new root can
    /// do, or says why that is not enough.
    pub fn open(root: &Path, create: bool, idmap: Mode, probe: &dyn Fn(&Path) -> Result<Features>) -> Result<Self> {
        format::open(root, create, idmap, probe)
    }

    /// The same store as the build with this directory in `staging/` sees it; [`Root::of_build`].
    pub fn of_build(&self, name: &str) -> Self {
        Self { root: self.root.of_build(name), format: self.format.clone() }
    }

    /// Where everything is.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Whether what is published must be on disk: what a build has made is, when the build publishes it.
    pub fn durability(&self) -> Durability {
        if self.root.build().is_some() { Durability::Relaxed } else { Durability::Flushed }
    }

    /// What the store is.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Shares the store with other writers, from resolving names to publishing.
    pub fn lock_shared(&self) -> Result<Lock> {
        Lock::shared(&self.root.lock())
    }

    fn lock_refs(&self) -> Result<Lock> {
        Lock::exclusive(&self.root.refs_lock())
    }

    /// Keeps these bytes under their digest, durably.
    pub fn publish_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if let Some(dir) = self.root.build_blobs() {
            if self.blob(&digest).is_err() {
                file::write_atomic(&dir.join(digest.hex()), bytes, Durability::Relaxed)?;
            }
            return Ok(digest);
        }
        let dir = file::open_dir(&self.root.blobs())?;
        let there = file::read_small_at(&dir, Path::new(digest.hex()), bytes.len());
        // A blob that was damaged is written anew.
        if there.is_ok_and(|old| old == bytes) {
            rustix::fs::fsync(&dir)?;
            return Ok(digest);
        }
        file::write_atomic_at(&dir, digest.hex(), bytes, Durability::Flushed)
            .context(|| format!("store blob {digest}"))?;
        Ok(digest)
    }

    /// The bytes of a blob, checked against their digest.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = file::read_small(&self.root.blob(digest), CONFIG_MAX)?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::new(ErrorKind::Corrupt, format!("blob {digest} is damaged")).hint(REPAIR));
        }
        Ok(bytes)
    }

    /// [`Store::publish`] of an image without a manifest; its id.
    pub fn publish_image(&self, config: &[u8], parent: Option<&Digest>, refs: &[Reference]) -> Result<Digest> {
        Ok(self.publish(&NewImage { config, parent, manifest: None, references: refs })?.id)
    }

    /// Publishes an image whose layers are in the store, then points its names to it.
    ///
    /// The caller holds [`Store::lock_shared`]. An image that exists already keeps its record, and gets the manifest and
    /// the names.
    pub fn publish(&self, image: &NewImage<'_>) -> Result<PublishedImage> {
        let NewImage { config, references, .. } = *image;
        let parsed = ImageConfig::from_bytes(config)?;
        let mut size = 0;
        for layer in &parsed.rootfs.diff_ids {
            let meta = self.layer_meta(layer).context(|| format!("layer {layer}"))?;
            size += meta.content;
        }
        let id = self.publish_blob(config)?;
        let manifest = image.manifest.map(|bytes| self.publish_blob(bytes)).transpose()?;
        let _refs_lock = self.lock_refs()?;
        let mut record = match self.image_record(&id) {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => ImageRecord {
                version: RECORD_VERSION,
                id: id.clone(),
                parent: image.parent.cloned(),
                created: parsed.created_at(),
                layers: parsed.rootfs.diff_ids,
                size,
                names: Vec::new(),
                repo_digests: Vec::new(),
                forgotten: Vec::new(),
                manifests: Vec::new(),
                extra: Extra::new(),
            },
            Err(error) => return Err(error),
        };
        add_names(&mut record, references);
        record.manifests.extend(manifest.filter(|digest| !record.manifests.contains(digest)));
        self.write_record(&record)?;
        let mut before = Vec::with_capacity(references.len());
        for reference in references {
            let target = self.ref_target(reference)?.map(|target| target.image);
            before.push(target.filter(|other| *other != id));
            self.write_ref(reference, &id, None)?;
        }
        Ok(PublishedImage { id, before })
    }

    /// Points a name at an image, durably; takes the name from another image if need be.
    pub fn tag(&self, id: &Digest, reference: &Reference) -> Result<()> {
        let _refs_lock = self.lock_refs()?;
        let mut record = self.image_record(id)?;
        if add_names(&mut record, std::slice::from_ref(reference)) {
            self.write_record(&record)?;
        }
        self.write_ref(reference, id, None)
    }

    /// Removes a name, durably; the image stays. `false` if there was none.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        let _refs_lock = self.lock_refs()?;
        self.remove_ref(reference)
    }

    /// The same, if the name points to this image.
    pub fn untag_from(&self, reference: &Reference, id: &Digest) -> Result<bool> {
        let _refs_lock = self.lock_refs()?;
        let points_there = self.ref_target(reference)?.is_some_and(|target| target.image == *id);
        Ok(points_there && self.remove_ref(reference)?)
    }

    /// Changes an image's record, durably.
    pub fn update_image(&self, id: &Digest, change: impl FnOnce(&mut ImageRecord)) -> Result<()> {
        let _refs_lock = self.lock_refs()?;
        let mut record = self.image_record(id)?;
        change(&mut record);
        self.write_record(&record)
    }

    /// The record of an image as far as its config tells it: without its parent, its former names and what registries
    /// know it by.
    pub fn record_of_config(&self, id: &Digest) -> Result<ImageRecord> {
        let config = ImageConfig::from_bytes(&self.blob(id)?)?;
        let size = |layer: &Digest| self.layer_meta(layer).map_or(0, |meta| meta.content);
        Ok(ImageRecord {
            version: RECORD_VERSION,
            id: id.clone(),
            parent: None,
            created: config.created_at(),
            size: config.rootfs.diff_ids.iter().map(size).sum(),
            layers: config.rootfs.diff_ids,
            names: Vec::new(),
            repo_digests: Vec::new(),
            forgotten: Vec::new(),
            manifests: Vec::new(),
            extra: Extra::new(),
        })
    }

    /// Writes the record of an image anew, from its config and the names that point to it.
    pub fn restore_record(&self, id: &Digest) -> Result<ImageRecord> {
        let _refs_lock = self.lock_refs()?;
        let mut record = self.record_of_config(id)?;
        for (name, path) in self.reference_files()? {
            let target = file::read_json::<RefTarget>(&path, RECORD_MAX);
            if target.is_ok_and(|target| target.image == *id)
                && let Ok(reference) = Reference::parse(&name)
            {
                add_names(&mut record, &[reference]);
            }
        }
        self.write_record(&record)?;
        Ok(record)
    }

    fn write_record(&self, record: &ImageRecord) -> Result<()> {
        file::write_atomic(&self.root.image(&record.id), &file::to_json(record)?, self.durability())
    }

    /// The record of an image.
    pub fn image_record(&self, id: &Digest) -> Result<ImageRecord> {
        file::read_json(&self.root.image(id), RECORD_MAX).map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_such_image(id.as_str()),
            _ => error,
        })
    }

    /// An image by its id.
    pub fn image(&self, id: &Digest) -> Result<Image> {
        let record = self.image_record(id)?;
        let attempt = || format!("image {}", id.short());
        let bytes = self.blob(id).context(attempt).map_err(|error| self.unless_removed(error, id))?;
        let config = ImageConfig::from_bytes(&bytes).context(attempt)?;
        Ok(Image { id: id.clone(), bytes, config, record })
    }

    /// What a failure means if the image was removed meanwhile, with what only it needed: that it is not here.
    pub fn unless_removed(&self, error: Error, id: &Digest) -> Error {
        if self.is_gone(id) { no_such_image(id.as_str()) } else { error }
    }

    /// Whether the image is not here, or not any more.
    pub fn is_gone(&self, id: &Digest) -> bool {
        file::exists(&self.root.image(id)).is_ok_and(|there| !there)
    }

    /// An image by what a user typed: a name, an id, or the unique beginning of one.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        // The name may move between two steps: once is bad luck, twice is a damaged store.
        self.find(text).and_then(|found| self.image(&found.id)).or_else(|error| match error.kind() {
            ErrorKind::NotFound => self.image(&self.find(text)?.id),
            _ => Err(error),
        })
    }
}

fn add_names(record: &mut ImageRecord, refs: &[Reference]) -> bool {
    let before = record.names.len();
    for reference in refs {
        let name = reference.familiar_with_tag();
        if !record.names.contains(&name) {
            record.names.push(name);
        }
    }
    record.names.len() > before
}

/// docker's words for an image that is not here.
pub fn no_such_image(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such image: {name}"))
}

#[cfg(test)]
pub(crate) mod tests;
