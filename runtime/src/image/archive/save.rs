//! `save`: images go out into an archive.
//!
//! Runs in the CLI; one storage helper rebuilds the layers' tars and writes everything. Layers are not compressed, so
//! that the same image always gives the same bytes. Where an image came with a manifest of uncompressed layers, that one
//! goes out again.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::documents::{
    Descriptor, DockerImage, Document, IMAGE_NAME, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
    Platform, REF_NAME, Since,
};
use super::sink::{Output, Sink};
use super::{INDEX, LAYOUT, MANIFEST, SINCE, blob_path};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::{IdMap, helper};
use crate::image::store::{Image, Store};
use crate::reference::{Lookup, Reference};

/// The layout of what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// docker's since version 25: its own documents and an OCI layout, as a tar.
    #[default]
    DockerArchive,
    /// An OCI layout as a tar.
    OciArchive,
    /// An OCI layout as a directory.
    OciDirectory,
}

/// An image that goes out, with the names that it has in the archive.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The image.
    pub image: Image,
    /// Its names, sorted.
    pub names: Vec<Reference>,
}

/// How images go out.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// The layout.
    pub format: Format,
    /// An image that the receiver has: its layers are left out.
    pub since: Option<Image>,
}

/// What docker saves for these words: a name with a tag, every tag of a name without one, or an image without a name.
pub fn select(store: &Store, words: &[String]) -> Result<Vec<Selected>> {
    let mut selected: Vec<Selected> = Vec::new();
    let mut add = |image: Image, name: Option<&Reference>| {
        let at = selected.iter().position(|other| other.image.id == image.id).unwrap_or_else(|| {
            selected.push(Selected { image, names: Vec::new() });
            selected.len() - 1
        });
        if let Some(selected) = selected.get_mut(at) {
            selected.names.extend(name.filter(|name| !selected.names.contains(name)).cloned());
            selected.names.sort();
        }
    };
    for word in words {
        let lookup = Lookup::parse(word)?;
        let bare = !word.contains('@') && !word.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let repository = lookup.reference.filter(|_| lookup.id.is_none() && bare);
        let mut tags = Vec::new();
        if let Some(repository) = repository {
            tags = store.references()?;
            tags.retain(|(reference, _)| reference.same_repository(&repository));
        }
        for (reference, target) in &tags {
            add(store.image(&target.image)?, Some(reference));
        }
        if tags.is_empty() {
            let found = store.find(word)?;
            add(store.image(&found.id)?, found.reference.filter(|reference| reference.digest().is_none()).as_ref());
        }
    }
    Ok(selected)
}

/// Writes images to `output`: a stream, or for [`Format::OciDirectory`] an empty directory. `progress` gets the bytes of
/// layers that have been written.
///
/// A layer that is not what it was is an error that names it; what was written by then is useless. The caller holds
/// [`Store::lock_shared`] since it selected the images.
pub fn save(
    store: &Store,
    map: &IdMap,
    selected: &[Selected],
    options: &SaveOptions,
    output: OwnedFd,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let plan = Plan::new(store, selected, options)?;
    let layers = file::open_dir(&store.root().layers())?;
    helper::run(map, layers.as_fd(), progress, |work| {
        let output = output.try_clone()?;
        let output = match options.format {
            Format::OciDirectory => Output::Directory(output),
            Format::DockerArchive | Format::OciArchive => Output::Tar(output.into()),
        };
        let mut sink = Sink::new(work, output);
        for (path, bytes) in &plan.documents {
            sink.document(path, bytes)?;
        }
        for directory in ["blobs", "blobs/sha256"] {
            sink.directory(directory)?;
        }
        for (digest, bytes) in &plan.blobs {
            sink.document(&blob_path(digest), bytes)?;
        }
        for (diff_id, size) in &plan.layers {
            sink.layer(&blob_path(diff_id), diff_id, *size).context(|| format!("layer {diff_id}"))?;
        }
        sink.finish()
    })
}

/// The bytes of layers that [`save`] will write.
pub fn size(store: &Store, selected: &[Selected], options: &SaveOptions) -> Result<u64> {
    Ok(Plan::new(store, selected, options)?.layers.iter().map(|(_, size)| size).sum())
}

/// Everything that will be written, in order.
struct Plan {
    documents: Vec<(&'static str, Vec<u8>)>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    layers: Vec<(Digest, u64)>,
}

impl Plan {
    fn new(store: &Store, selected: &[Selected], options: &SaveOptions) -> Result<Self> {
        let left_out: HashSet<&Digest> = options.since.iter().flat_map(|image| &image.config.rootfs.diff_ids).collect();
        let mut plan = Self { documents: Vec::new(), blobs: BTreeMap::new(), layers: Vec::new() };
        let (mut manifests, mut docker, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for Selected { image, names } in selected {
            let mut sizes = Vec::new();
            for diff_id in &image.config.rootfs.diff_ids {
                let size = store.layer_meta(diff_id).context(|| format!("layer {diff_id}"))?.size;
                sizes.push((diff_id, size));
                let seen = |known: &Digest| known == diff_id;
                match left_out.contains(diff_id) {
                    true if !without.iter().any(seen) => without.push(diff_id.clone()),
                    false if !plan.layers.iter().any(|(known, _)| seen(known)) => {
                        plan.layers.push((diff_id.clone(), size))
                    }
                    _ => {}
                }
            }
            let (bytes, media_type) = manifest_of(store, image, &sizes)?;
            let mut entry = Descriptor::new(&media_type, Digest::of(&bytes), bytes.len() as u64);
            entry.platform = Some(platform(image));
            plan.blobs.insert(entry.digest.clone(), bytes);
            plan.blobs.insert(image.id.clone(), image.bytes.clone());
            manifests.extend(names.iter().map(|name| named(&entry, name)));
            if names.is_empty() {
                manifests.push(entry);
            }
            docker.push(DockerImage {
                config: blob_path(&image.id),
                repo_tags: names.iter().map(Reference::familiar_with_tag).collect(),
                layers: image.config.rootfs.diff_ids.iter().map(blob_path).collect(),
            });
        }
        plan.documents.push((LAYOUT, encode(&json!({"imageLayoutVersion": "1.0.0"}))?));
        if let Some(image) = &options.since {
            plan.documents.push((SINCE, encode(&Since { image: image.id.clone(), layers: without })?));
        }
        let index = Index { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests };
        plan.documents.push((INDEX, encode(&index)?));
        if options.format == Format::DockerArchive {
            plan.documents.push((MANIFEST, encode(&docker)?));
        }
        Ok(plan)
    }
}

/// The index entry of a manifest under one of its names.
fn named(entry: &Descriptor, name: &Reference) -> Descriptor {
    let tag = name.tag().unwrap_or_default().to_owned();
    let annotations = BTreeMap::from([(IMAGE_NAME.to_owned(), name.to_string()), (REF_NAME.to_owned(), tag)]);
    Descriptor { annotations, ..entry.clone() }
}

/// What an image runs on.
pub fn platform(image: &Image) -> Platform {
    Platform {
        architecture: image.config.architecture.clone(),
        os: image.config.os.clone(),
        variant: image.config.variant.clone(),
    }
}

/// The manifest with which an image goes out, and its media type. The caller holds [`Store::lock_shared`].
pub fn manifest(store: &Store, image: &Image) -> Result<(Vec<u8>, String)> {
    let mut sizes = Vec::new();
    for diff_id in &image.config.rootfs.diff_ids {
        sizes.push((diff_id, store.layer_meta(diff_id).context(|| format!("layer {diff_id}"))?.size));
    }
    manifest_of(store, image, &sizes)
}

/// The manifest that the image came with, if it is about uncompressed layers; else a new one.
fn manifest_of(store: &Store, image: &Image, layers: &[(&Digest, u64)]) -> Result<(Vec<u8>, String)> {
    for digest in &image.record.manifests {
        // One that is damaged is as good as none.
        let Ok(bytes) = store.blob(digest) else { continue };
        let Ok(Document::Manifest(manifest)) = Document::read(&bytes, "") else { continue };
        let same = manifest.layers.iter().map(|layer| (&layer.digest, layer.size)).eq(layers.iter().copied());
        if same && manifest.config.digest == image.id {
            return Ok((bytes, manifest.media_type));
        }
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: Descriptor::new(OCI_CONFIG, image.id.clone(), image.bytes.len() as u64),
        layers: layers.iter().map(|(digest, size)| Descriptor::new(OCI_LAYER, (*digest).clone(), *size)).collect(),
    };
    Ok((encode(&manifest)?, OCI_MANIFEST.to_owned()))
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Invalid, format!("encode JSON: {error}")))
}
