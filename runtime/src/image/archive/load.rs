//! `load`: images come in from an archive.
//!
//! Runs in the CLI; one storage helper reads the archive and unpacks its layers. What is published was verified on the
//! bytes that are used: digests and sizes of manifests, configs and blobs, and the diff ID of every layer. Either all
//! images of an archive come in, or none.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::directory::Layout;
use super::documents::{DOCUMENT_MAX, Kind, Platform, Since, since};
use super::pick::Pick;
use super::resolve::{Candidate, Documents, Wanted, missing, resolve};
use super::scan::{Contents, Held, Layer, held, scan, unpack_files};
use super::{INDEX, MANIFEST, SINCE};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, RemoveTree, Staging};
use crate::idmap::{IdMap, helper};
use crate::image::import::meta_of;
use crate::image::store::{LayerMeta, NewImage, Published, Store};
use crate::image::tar::shown;
use crate::paths::Root;
use crate::reference::Reference;

/// Layers of a directory that are open at the same time; a process may have a thousand files open.
const AT_ONCE: usize = 200;
/// Links from link to link.
const MOST_LINKS: usize = 8;

/// Where images come from.
#[derive(Debug)]
pub enum Source {
    /// An archive, compressed or not: a file or a pipe.
    Stream(OwnedFd),
    /// A directory with an OCI layout, or with what was in an archive.
    Directory(OwnedFd),
}

/// What `load` was asked for.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Only images for this platform; by default this machine's where there is a choice.
    pub platform: Option<Platform>,
    /// Of a directory with an OCI layout, only this image, and no names.
    pub pick: Option<Pick>,
}

/// What came in.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The images, in the archive's order.
    pub images: Vec<LoadedImage>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// An image that came in.
#[derive(Debug)]
pub struct LoadedImage {
    /// Its id.
    pub id: Digest,
    /// The names that it has now, each with the image that had it before.
    pub names: Vec<(Reference, Option<Digest>)>,
}

/// Loads the images of an archive. `progress` gets the bytes that have been read.
///
/// They are on disk when this returns. After an error nothing of them can be seen.
pub fn load(
    store: &Store,
    map: &IdMap,
    source: Source,
    options: &LoadOptions,
    progress: &mut dyn FnMut(u64),
    remove: &mut RemoveTree<'_>,
) -> Result<Loaded> {
    let _using = store.lock_shared()?;
    let staging = Staging::new(store.root())?;
    let place = staging.path().join("load");
    let load = Load { store, map, platform: options.platform.as_ref(), held: known_layers(store)?, place };
    let outcome = file::make_dir(&load.place).and_then(|()| match source {
        Source::Stream(archive) => load.stream(archive, progress),
        Source::Directory(directory) => load.directory(&Layout(directory), options.pick.as_ref(), progress),
    });
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(remove);
    outcome.map_err(file::with_way_out)
}

/// Brings one layer of a layout into the store. The caller has one thread.
pub(super) fn load_layer(
    (store, map): (&Store, &IdMap),
    layout: &Layout,
    wanted: &Wanted,
    remove: &mut RemoveTree<'_>,
) -> Result<()> {
    let _using = store.lock_shared()?;
    let staging = Staging::new(store.root())?;
    let load = Load { store, map, platform: None, held: Held::new(), place: staging.path().join("load") };
    let outcome = file::make_dir(&load.place).and_then(|()| load.layer(layout, wanted));
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(remove);
    outcome.map_err(file::with_way_out)
}

/// The store's layers by the digests that an archive may call them. They stay while the store's lock is held.
fn known_layers(store: &Store) -> Result<Held> {
    let mut known = Held::new();
    for name in file::list_dir(&store.root().layers())? {
        let Ok(diff_id) = Digest::from_hex(&name) else { continue };
        // One that is damaged is unpacked again, and replaced.
        let damaged = file::exists(&store.layer_path(&diff_id).join(Root::LAYER_DAMAGED))?;
        let Some(meta) = store.layer_meta(&diff_id).ok().filter(|_| !damaged) else { continue };
        known.extend(meta.compressed.into_iter().map(|blob| (blob, diff_id.clone())));
        known.insert(diff_id.clone(), diff_id);
    }
    Ok(known)
}

struct Load<'a> {
    store: &'a Store,
    map: &'a IdMap,
    platform: Option<&'a Platform>,
    held: Held,
    place: PathBuf,
}

impl Load<'_> {
    fn stream(&self, archive: OwnedFd, progress: &mut dyn FnMut(u64)) -> Result<Loaded> {
        let directory = file::open_dir(&self.place)?;
        let contents: Contents = helper::run(self.map, directory.as_fd(), progress, |work| {
            scan(work, File::from(archive), &self.held, self.map)
        })?;
        let documents = |path: &str| match contents.documents.get(followed(&contents, path)?) {
            None => Ok(None),
            Some(number) => {
                let path = self.place.join("documents").join(number.to_string());
                file::read_small(&path, DOCUMENT_MAX).map(Some)
            }
        };
        let candidates = resolve(&documents, self.platform)?;
        let layer = |path: &str| Ok(contents.layers.get(followed(&contents, path)?));
        self.publish(&candidates, &documents, &layer)
    }

    fn directory(&self, layout: &Layout, pick: Option<&Pick>, progress: &mut dyn FnMut(u64)) -> Result<Loaded> {
        let documents = |path: &str| match (pick, path) {
            (Some(_), MANIFEST) => Ok(None),
            (Some(pick), INDEX) => layout.document(path)?.map(|index| pick.of(&index)).transpose(),
            _ => layout.document(path),
        };
        let mut candidates = resolve(&documents, self.platform)?;
        if pick.is_some() {
            candidates.iter_mut().for_each(|image| image.names.clear());
        }
        let mut layers = BTreeMap::new();
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for Wanted { path, .. } in candidates.iter().flat_map(|image| &image.layers).filter(|w| seen.insert(&w.path)) {
            match held(path, &self.held) {
                None => missing.push(path.as_str()),
                Some(diff_id) => {
                    let Some((_, size)) = layout.file(path)? else { continue };
                    layers.insert(path.clone(), Layer::Held { diff_id, size });
                }
            }
        }
        let directory = file::open_dir(&self.place)?;
        let (mut first, mut before) = (0, 0);
        for paths in missing.chunks(AT_ONCE) {
            let (mut files, mut size) = (Vec::new(), 0);
            for path in paths {
                if let Some((file, bytes)) = layout.file(path)? {
                    files.push((*path, file));
                    size += bytes;
                }
            }
            let mut progress = |bytes| progress(before + bytes);
            let unpacked = helper::run(self.map, directory.as_fd(), &mut progress, |work| {
                unpack_files(work, first, &files, self.map)
            })?;
            layers.extend(unpacked);
            (first, before) = (first + files.len(), before + size);
        }
        self.publish(&candidates, &documents, &|path| Ok(layers.get(path)))
    }

    fn layer(&self, layout: &Layout, wanted: &Wanted) -> Result<()> {
        let (file, _) = layout.file(&wanted.path)?.ok_or_else(|| gone(wanted))?;
        let (files, directory) = ([(wanted.path.as_str(), file)], file::open_dir(&self.place)?);
        let unpacked =
            helper::run(self.map, directory.as_fd(), &mut |_| {}, |work| unpack_files(work, 0, &files, self.map))?;
        let found = unpacked.get(&wanted.path).ok_or_else(|| gone(wanted))?;
        verify(wanted, found)?;
        self.publish_layer(found, &mut Vec::new())
    }

    /// Verifies all images, then publishes their layers, then them.
    fn publish<'l>(
        &self,
        candidates: &[Candidate],
        documents: &Documents<'_>,
        layer: &dyn Fn(&str) -> Result<Option<&'l Layer>>,
    ) -> Result<Loaded> {
        let left_out = documents(SINCE)?.map(|bytes| since(&bytes)).transpose().context(|| SINCE)?;
        let mut needed = Vec::new();
        for wanted in candidates.iter().flat_map(|image| &image.layers) {
            match (layer(&wanted.path)?, &left_out) {
                (Some(found), _) => {
                    verify(wanted, found)?;
                    needed.push(found);
                }
                (None, Some(since)) if since.layers.contains(&wanted.diff_id) => self.must_have(wanted, since)?,
                // As docker does: scripts that know what is here send only the rest.
                (None, _) if self.store.layer_exists(&wanted.diff_id)? => {}
                (None, _) => {
                    let error = wanted.blob.as_ref().map_or_else(|| gone(wanted), |blob| missing(&blob.digest));
                    return Err(error.with_kind(ErrorKind::Invalid).context(format!("layer {}", wanted.diff_id)));
                }
            }
        }
        let mut loaded = Loaded::default();
        let mut done = HashSet::new();
        for found in needed {
            if let Layer::Unpacked { number, .. } = found
                && done.insert(number)
            {
                self.publish_layer(found, &mut loaded.warnings)?;
            }
        }
        for image in candidates {
            loaded.images.push(self.publish_image(image, documents)?);
        }
        Ok(loaded)
    }

    /// A layer that the archive left out because the store should have it.
    fn must_have(&self, wanted: &Wanted, since: &Since) -> Result<()> {
        if self.store.layer_exists(&wanted.diff_id)? {
            return Ok(());
        }
        let text = format!(
            "layer {} is missing: the archive has only what image {} lacks, and the store has no such layer",
            wanted.diff_id,
            since.image.short()
        );
        Err(Error::new(ErrorKind::NotFound, text).hint(format!("load image {} first", since.image.short())))
    }

    fn publish_layer(&self, found: &Layer, warnings: &mut Vec<String>) -> Result<()> {
        let Layer::Unpacked { number, blob, unpacked, .. } = found else { return Ok(()) };
        let compressed = if *blob == unpacked.diff_id { Vec::new() } else { vec![blob.clone()] };
        let meta = LayerMeta { compressed, ..meta_of(unpacked, "load") };
        let published = self.store.publish_layer(&self.place.join(number.to_string()), &meta)?;
        warnings.extend(
            unpacked.warnings.iter().filter(|warning| !warnings.contains(warning)).cloned().collect::<Vec<_>>(),
        );
        if published == Published::Existing && *blob != unpacked.diff_id {
            // From now on it is known without being unpacked.
            self.store.update_layer_meta(&unpacked.diff_id, |meta| {
                if !meta.compressed.contains(blob) {
                    meta.compressed.push(blob.clone());
                }
            })?;
        }
        Ok(())
    }

    fn publish_image(&self, image: &Candidate, documents: &Documents<'_>) -> Result<LoadedImage> {
        // A directory may have changed meanwhile.
        let read = |path: &str, digest: &Digest| {
            let bytes = documents(path)?.ok_or_else(|| missing(digest))?;
            match Digest::of(&bytes) == *digest {
                true => Ok(bytes),
                false => Err(Error::new(ErrorKind::Corrupt, format!("{} changed meanwhile", shown(path.as_bytes())))),
            }
        };
        let config = read(&image.config, &image.id)?;
        let manifest = image.manifest.as_ref().map(|(path, digest)| read(path, digest)).transpose()?;
        let new = NewImage { config: &config, parent: None, manifest: manifest.as_deref(), references: &image.names };
        let published = self.store.publish(&new)?;
        let names = image.names.iter().cloned().zip(published.before).collect();
        Ok(LoadedImage { id: published.id, names })
    }
}

/// Whether a layer is what the documents say.
fn verify(wanted: &Wanted, found: &Layer) -> Result<()> {
    let (diff_id, size) = match found {
        Layer::Unpacked { unpacked, size, .. } => (&unpacked.diff_id, *size),
        Layer::Held { diff_id, size } => (diff_id, *size),
    };
    let path = shown(wanted.path.as_bytes());
    if *diff_id != wanted.diff_id {
        return Err(corrupt(format!("layer {path} has the diff ID {diff_id}, and the config says {}", wanted.diff_id)));
    }
    let Some(listed) = &wanted.blob else { return Ok(()) };
    if size != listed.size {
        return Err(corrupt(format!("layer {} has {size} bytes, and is listed with {}", listed.digest, listed.size)));
    }
    let Layer::Unpacked { blob, compression, .. } = found else { return Ok(()) };
    if *blob != listed.digest {
        return Err(corrupt(format!("layer {} has the digest {blob}", listed.digest)));
    }
    match listed.kind() == Kind::Layer(*compression) {
        true => Ok(()),
        false => {
            let text =
                format!("layer {} is listed as {:?}, and is {}", listed.digest, listed.media_type, compression.name());
            Err(corrupt(text))
        }
    }
}

fn gone(wanted: &Wanted) -> Error {
    Error::new(ErrorKind::Invalid, format!("{} is missing from the archive", shown(wanted.path.as_bytes())))
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// Follows the links of an archive.
fn followed<'p>(contents: &'p Contents, mut path: &'p str) -> Result<&'p str> {
    for _ in 0..MOST_LINKS {
        match contents.links.get(path) {
            Some(target) => path = target,
            None => return Ok(path),
        }
    }
    Err(Error::new(ErrorKind::Invalid, format!("{} leads through too many links", shown(path.as_bytes()))))
}
