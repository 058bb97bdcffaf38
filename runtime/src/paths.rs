//! Where everything is in the store; nothing else joins path components.
//!
//! ```text
//! <root>/
//!   format                           layout version, id mapping, what the file system can do
//!   lock                             shared by writers from resolving to publishing, exclusive for collection
//!   refs.lock  names.lock            held while references and container names change
//!   blobs/sha256/<hex>               image configs and manifests, immutable
//!   images/<hex>.json                image records
//!   layers/<hex>/{diff/,index,meta.json}
//!   layers/stack-<hex>/diff/         directories that a stack of layers needs besides: crate::image::stack
//!   layers/replaced-<hex>-<random>/  a damaged layer that was replaced, until no container that runs may have its files
//!   refs/<registry>/<repository…>/:<tag>
//!   containers/<id>/{record.json,record.lock,spec.json,lock,restart.lock,pause.lock,log,attach,files/,work/,layer/diff/}
//!   names/<name>                     symlink to a container's id
//!   staging/<random>/                work in progress
//!   trash/<time>-<bytes>-<id>…/       containers that were removed a short time ago
//!   engine/                          the engine's own layers
//!   cache/<hex>.json                 what build steps made: crate::build::cache
//!   mounts/<hex>-<n>/{about.json,lock,data/}  directories that stay from build to build: crate::container::cache_mounts
//! ```
//!
//! What a build has made and not published yet has the same shape elsewhere, and only the build sees it
//! ([`Root::of_build`]):
//!
//! ```text
//!   staging/<random>/{containers/,names/,blobs/,images/}
//!   layers/build-<random>/<hex>/     beside the store's layers, so that both can be mounted as one stack
//! ```
//!
//! Components come from types that cannot hold a path separator ([`Digest`], [`Reference`], container ids and names).

use std::path::{Path, PathBuf};

use crate::digest::{Digest, random_hex};
use crate::error::Result;
use crate::reference::Reference;

/// How the folder in `layers/` of a build's own layers begins.
const BUILD: &str = "build-";

/// The root directory of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
    /// The build whose view this is: the name of its directory in `staging/`.
    build: Option<String>,
}

impl Root {
    /// The store at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), build: None }
    }

    /// The same store as the build with this directory in `staging/` sees it: its containers are its own, and what the
    /// store does not have is read from, and written to, the build's own place.
    pub fn of_build(&self, name: impl Into<String>) -> Self {
        Self { path: self.path.clone(), build: Some(name.into()) }
    }

    /// The build whose view this is.
    pub fn build(&self) -> Option<&str> {
        self.build.as_deref()
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of_this_build(&self, part: &str) -> Option<PathBuf> {
        self.build.as_ref().map(|build| self.staging().join(build).join(part))
    }

    /// The path in the store if something is there, else that of the build.
    fn own(&self, path: PathBuf, build: impl FnOnce(&str) -> PathBuf) -> PathBuf {
        match &self.build {
            Some(name) if path.symlink_metadata().is_err() => build(name),
            _ => path,
        }
    }

    /// What the store is; its presence makes a directory a store.
    pub fn format(&self) -> PathBuf {
        self.path.join("format")
    }

    /// The store lock.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The lock held while references and image records change.
    pub fn refs_lock(&self) -> PathBuf {
        self.path.join("refs.lock")
    }

    /// The lock held while container names change.
    pub fn names_lock(&self) -> PathBuf {
        self.path.join("names.lock")
    }

    /// All blobs.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs/sha256")
    }

    /// One blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.own(self.blobs().join(digest.hex()), |build| self.staging().join(build).join("blobs").join(digest.hex()))
    }

    /// Where a build keeps the blobs that the store does not have.
    pub fn build_blobs(&self) -> Option<PathBuf> {
        self.of_this_build("blobs")
    }

    /// All image records.
    pub fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// File name of an image's record in [`Root::images`].
    pub fn image_file(id: &Digest) -> String {
        format!("{}.json", id.hex())
    }

    /// The record of an image.
    pub fn image(&self, id: &Digest) -> PathBuf {
        let file = Self::image_file(id);
        self.own(self.images().join(&file), |build| self.staging().join(build).join("images").join(&file))
    }

    /// Where a build keeps the records of its images.
    pub fn build_images(&self) -> Option<PathBuf> {
        self.of_this_build("images")
    }

    /// All layers.
    pub fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    /// One layer's directory.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(self.layer_folder(diff_id))
    }

    /// Its path in [`Root::layers`]; a build's own where it has one: the store's may be damaged.
    pub fn layer_folder(&self, diff_id: &Digest) -> String {
        let hex = diff_id.hex();
        let there = |folder: &str| self.layers().join(folder).symlink_metadata().is_ok();
        match self.build_layer(diff_id) {
            Some(own) if there(&own) || !there(hex) => own,
            _ => hex.to_owned(),
        }
    }

    /// Path in [`Root::layers`] of a layer that the build has made and not published.
    pub fn build_layer(&self, diff_id: &Digest) -> Option<String> {
        self.build_layers().map(|build| format!("{build}/{}", diff_id.hex()))
    }

    /// Folder in [`Root::layers`] of the layers that the build has made and not published.
    pub fn build_layers(&self) -> Option<String> {
        self.build.as_ref().map(|build| format!("{BUILD}{build}"))
    }

    /// The build that such a folder belongs to.
    pub fn build_of(folder: &str) -> Option<&str> {
        folder.strip_prefix(BUILD)
    }

    /// The tree of a layer, which overlayfs mounts.
    pub fn layer_diff(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("diff")
    }

    /// The index of a layer's archive.
    pub fn layer_index(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("index")
    }

    /// File name of a layer's facts inside its directory.
    pub const LAYER_META: &'static str = "meta.json";

    /// File name of the mark of a layer that is damaged and could not be mended: the same layer from elsewhere replaces it.
    pub const LAYER_DAMAGED: &'static str = "damaged";

    /// The facts of a layer.
    pub fn layer_meta(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join(Self::LAYER_META)
    }

    /// Folder in [`Root::layers`] of what completes the stack of layers with this chain id.
    pub fn completion(chain: &Digest) -> String {
        format!("stack-{}", chain.hex())
    }

    /// The chain id of a folder that [`Root::completion`] names.
    pub fn completed_chain(name: &str) -> Option<Digest> {
        Digest::from_hex(name.strip_prefix("stack-")?).ok()
    }

    /// A folder in [`Root::layers`] for a damaged layer that was replaced, of which containers that run may have files.
    pub fn replaced(diff_id: &Digest) -> Result<String> {
        Ok(format!("replaced-{}-{}", diff_id.hex(), random_hex(4)?))
    }

    /// The layer that such a folder was.
    pub fn replaced_layer(name: &str) -> Option<Digest> {
        Digest::from_hex(name.strip_prefix("replaced-")?.split('-').next()?).ok()
    }

    /// All references.
    pub fn refs(&self) -> PathBuf {
        self.path.join("refs")
    }

    /// The directory with the tags of a reference's repository.
    pub fn repository(&self, reference: &Reference) -> PathBuf {
        self.refs().join(reference.registry()).join(reference.repository())
    }

    /// The file of one reference; `None` for one without a tag.
    pub fn reference(&self, reference: &Reference) -> Option<PathBuf> {
        // A repository's component never starts with ':', so a tag never meets a deeper repository.
        reference.tag().map(|tag| self.repository(reference).join(format!(":{tag}")))
    }

    /// Lists of images that are being made.
    pub fn lists(&self) -> PathBuf {
        self.path.join("lists")
    }

    /// The file of one list, by its complete name.
    pub fn list(&self, name: &str) -> PathBuf {
        self.lists().join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    /// All containers.
    pub fn containers(&self) -> PathBuf {
        self.of_this_build("containers").unwrap_or_else(|| self.path.join("containers"))
    }

    /// One container's directory; `id` is a checked container id.
    pub fn container(&self, id: &str) -> ContainerPaths {
        ContainerPaths(self.containers().join(id))
    }

    /// All names.
    pub fn names(&self) -> PathBuf {
        self.of_this_build("names").unwrap_or_else(|| self.path.join("names"))
    }

    /// The symlink of one container name, already checked.
    pub fn name(&self, name: &str) -> PathBuf {
        self.names().join(name)
    }

    /// Work in progress.
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }

    /// Containers that were removed a short time ago.
    pub fn trash(&self) -> PathBuf {
        self.path.join("trash")
    }

    /// What build steps made.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// What the build step with this key made.
    pub fn cache_entry(&self, key: &Digest) -> PathBuf {
        self.cache().join(format!("{}.json", key.hex()))
    }

    /// Directories that stay from build to build.
    pub fn cache_mounts(&self) -> PathBuf {
        self.path.join("mounts")
    }

    /// Folder in [`Root::cache_mounts`] of the `n`th directory with this key.
    pub fn cache_mount(key: &Digest, n: usize) -> String {
        format!("{}-{n}", key.hex())
    }

    /// The files of a directory that stays, relative to the store; `name` is from [`Root::cache_mount`].
    pub fn cache_mount_data(name: &str) -> String {
        format!("mounts/{name}/data")
    }

    /// What a request with this digest finds in an image.
    pub fn cache_found(&self, request: &Digest) -> PathBuf {
        self.cache().join(format!("found-{}.json", request.hex()))
    }

    /// The container in which the step with this key failed.
    pub fn cache_failed(&self, key: &Digest) -> PathBuf {
        self.cache().join(format!("failed-{}.json", key.hex()))
    }

    /// What is known of the URL with this digest.
    pub fn cache_url(&self, url: &Digest) -> PathBuf {
        self.cache().join(format!("url-{}.json", url.hex()))
    }

    /// The engine's own layers.
    pub fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }
}

/// A container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPaths(PathBuf);

impl ContainerPaths {
    /// File name of the record.
    pub const RECORD: &'static str = "record.json";

    /// File name of the OCI spec.
    pub const SPEC: &'static str = "spec.json";

    /// The files of a container that still is in `staging/`, or elsewhere.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The record.
    pub fn record(&self) -> PathBuf {
        self.0.join(Self::RECORD)
    }

    /// The OCI spec.
    pub fn spec(&self) -> PathBuf {
        self.0.join(Self::SPEC)
    }

    /// The lock that its monitor holds.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The lock held from the stop to the start of a restart.
    pub fn restart_lock(&self) -> PathBuf {
        self.0.join("restart.lock")
    }

    /// The lock of whoever makes the container stand still or go on.
    pub fn pause_lock(&self) -> PathBuf {
        self.0.join("pause.lock")
    }

    /// The lock held while the record is replaced.
    pub fn record_lock(&self) -> PathBuf {
        self.0.join("record.lock")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The attach socket.
    pub fn attach(&self) -> PathBuf {
        self.0.join("attach")
    }

    /// Where overlay work directories are made.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// The read-write layer, in the shape of a store layer.
    pub fn layer(&self) -> PathBuf {
        self.0.join("layer")
    }

    /// The tree of the read-write layer.
    pub fn layer_diff(&self) -> PathBuf {
        self.0.join("layer/diff")
    }
}
