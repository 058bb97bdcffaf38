//! From the documents of an archive to its images. Pure: documents come through a function, nothing is written.
//!
//! docker's `manifest.json` says which images there are where there is one; an index beside it adds the manifests. Where
//! the two say different things of one name, or a digest is not that of the bytes, the archive is refused.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::documents::{
    Descriptor, DockerImage, Document, IMAGE_NAME, Index, Kind, Manifest, Platform, REF_NAME, docker_images,
};
use super::{INDEX, MANIFEST, REPOSITORIES, blob_path};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::config::ImageConfig;
use crate::image::tar::{Limits, normalise, shown};
use crate::reference::Reference;

/// An index may hold indexes that hold indexes that hold indexes.
const DEPTH: usize = 4;
/// Documents that are read of one archive.
const MOST_DOCUMENTS: usize = 5_000;

/// Gives the document at a path of the archive, links followed; `None` where there is none.
pub(super) type Documents<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>> + 'a;

/// An image as the documents have it; its layers are still to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Digest of the config.
    pub(super) id: Digest,
    /// Path of the config.
    pub(super) config: String,
    /// Its names.
    pub(super) names: Vec<Reference>,
    /// Path and digest of its OCI manifest.
    pub(super) manifest: Option<(String, Digest)>,
    /// Its layers, bottom first.
    pub(super) layers: Vec<Wanted>,
}

/// A layer that an image needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Where it should be.
    pub(super) path: String,
    /// What the config says of it.
    pub(super) diff_id: Digest,
    /// What the manifest says of it.
    pub(super) blob: Option<Descriptor>,
}

/// The images of an archive. With a platform, those for it alone.
pub(super) fn resolve(documents: &Documents<'_>, wanted: Option<&Platform>) -> Result<Vec<Candidate>> {
    let platform = wanted.map_or_else(Platform::own, |platform| Ok(platform.clone()))?;
    let resolver = Resolver { documents, platform, explicit: wanted.is_some(), read: Cell::new(0) };
    let (docker, index) = (resolver.document(MANIFEST)?, resolver.document(INDEX)?);
    let images = match (docker, index) {
        (None, None) if resolver.document(REPOSITORIES)?.is_some_and(|bytes| names_something(&bytes)) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "it has docker's layout before version 1.10, without manifest.json",
            )
            .hint("docker 1.10 to 24 reads it: `docker load` it there, and `docker save` writes it anew"));
        }
        (None, None) => {
            return Err(invalid("there is no image in it: neither manifest.json nor index.json")
                .hint("lrun import makes an image of a root file system's archive"));
        }
        (None, Some(index)) => resolver.index(&index).context(|| INDEX)?,
        (Some(docker), index) => {
            let images = resolver.docker(&docker).context(|| MANIFEST)?;
            match index.map(|index| resolver.index(&index)).transpose() {
                Ok(listed) => with_manifests(images, listed.unwrap_or_default())?,
                // Not everything that the index lists has to be there.
                Err(error) if error.kind() == ErrorKind::NotFound => images,
                Err(error) => return Err(error.context(INDEX)),
            }
        }
    };
    let images = united(images);
    unambiguous(&images)?;
    Ok(images)
}

/// Whether docker's `repositories` lists any.
fn names_something(bytes: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(bytes).is_ok_and(|names| !names.is_empty())
}

struct Resolver<'a> {
    documents: &'a Documents<'a>,
    platform: Platform,
    /// Whether the user asked for the platform.
    explicit: bool,
    read: Cell<usize>,
}

impl Resolver<'_> {
    fn document(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.read.set(self.read.get() + 1);
        if self.read.get() > MOST_DOCUMENTS {
            return Err(invalid(format!("the archive has more than {MOST_DOCUMENTS} documents, the limit")));
        }
        (self.documents)(path)
    }

    /// The bytes of a document, which are what its descriptor says.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        let bytes = self.document(&blob_path(digest))?.ok_or_else(|| missing(digest))?;
        if bytes.len() as u64 != *size {
            return Err(corrupt(format!("blob {digest} has {} bytes, and is listed with {size}", bytes.len())));
        }
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(corrupt(format!("blob {digest} has the digest {found}"))),
        }
    }

    fn docker(&self, bytes: &[u8]) -> Result<Vec<Candidate>> {
        let mut images = Vec::new();
        for image in docker_images(bytes)? {
            let (candidate, platform) = self.docker_image(&image)?;
            if !self.explicit || self.platform.fit(&platform).is_some() {
                images.push(candidate);
            }
        }
        match images.is_empty() {
            true => Err(self.none()),
            false => Ok(images),
        }
    }

    fn docker_image(&self, image: &DockerImage) -> Result<(Candidate, Platform)> {
        let path = inside(&image.config)?;
        let bytes = self.document(&path)?.ok_or_else(|| invalid(format!("{} is missing", shown(path.as_bytes()))))?;
        let id = Digest::of(&bytes);
        let name = path.rsplit('/').next().unwrap_or_default();
        if Digest::from_hex(name.strip_suffix(".json").unwrap_or(name)).is_ok_and(|claimed| claimed != id) {
            return Err(corrupt(format!("the config {} has the digest {id}", shown(path.as_bytes()))));
        }
        let config = ImageConfig::from_bytes(&bytes)?;
        let diff_ids = counted(&config, image.layers.len())?;
        let layer = |(path, diff_id): (&String, &Digest)| {
            Ok(Wanted { path: inside(path)?, diff_id: diff_id.clone(), blob: None })
        };
        let layers = image.layers.iter().zip(diff_ids).map(layer).collect::<Result<_>>()?;
        let names = image.repo_tags.iter().map(|name| tagged(name)).collect::<Result<_>>()?;
        Ok((Candidate { id, config: path, names, manifest: None, layers }, platform_of(&config)))
    }

    /// What the top index lists; each entry is an image of its own, or an index of one image for many platforms.
    fn index(&self, bytes: &[u8]) -> Result<Vec<Candidate>> {
        let Document::Index(Index { manifests, .. }) = Document::read(bytes, "")? else {
            return Err(invalid("it is no index"));
        };
        let mut images = Vec::new();
        // Signatures and other artifacts may lie beside images.
        let mut other = None;
        for entry in manifests.iter().filter(|entry| !entry.is_attestation()) {
            let names = names_of(entry)?;
            let found = match self.read_document(entry) {
                Ok(Some(Document::Index(index))) => Some(self.choose(&index, 1)?.ok_or_else(|| self.none())?),
                Ok(Some(Document::Manifest(_))) if self.is_others(entry, &manifests) => None,
                Ok(Some(Document::Manifest(manifest))) if manifest.config.kind() != Kind::Config => {
                    other.get_or_insert_with(|| no_image(entry, &manifest));
                    None
                }
                Ok(Some(Document::Manifest(_))) => {
                    let (image, platform) = self.image(entry)?;
                    (!self.explicit || self.platform.fit(&platform).is_some()).then_some(image)
                }
                Ok(None) => None,
                // One of another platform need not be there.
                Err(error) if error.kind() == ErrorKind::NotFound && self.is_others(entry, &manifests) => None,
                Err(error) => return Err(error),
            };
            images.extend(found.map(|image| Candidate { names, ..image }));
        }
        match images.is_empty() {
            true => Err(other.unwrap_or_else(|| self.none())),
            false => Ok(images),
        }
    }

    /// Whether an entry is for another platform, and another entry of the same name is for ours.
    fn is_others(&self, entry: &Descriptor, all: &[Descriptor]) -> bool {
        let fits = |entry: &Descriptor| entry.platform.as_ref().map(|platform| self.platform.fit(platform));
        let name = |entry: &Descriptor| [IMAGE_NAME, REF_NAME].map(|key| entry.annotations.get(key).cloned());
        let Some(own) = fits(entry) else { return false };
        let others = all.iter().filter(|other| name(other) == name(entry)).filter_map(fits);
        others.flatten().max() > own
    }

    /// The document behind a descriptor; `None` for what is no image.
    fn read_document(&self, descriptor: &Descriptor) -> Result<Option<Document>> {
        match descriptor.kind() {
            Kind::Manifest | Kind::Index | Kind::Unsaid => {
                let bytes = self.blob(descriptor)?;
                let document = Document::read(&bytes, &descriptor.media_type);
                document.context(|| format!("document {}", descriptor.digest)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The image of an index that is for the wanted platform.
    fn choose(&self, index: &Index, depth: usize) -> Result<Option<Candidate>> {
        if depth > DEPTH {
            return Err(invalid(format!("indexes inside each other, deeper than {DEPTH}, the limit")));
        }
        let entries = || index.manifests.iter().filter(|entry| !entry.is_attestation());
        let mut best: Option<(u8, &Descriptor)> = None;
        for entry in entries().filter(|entry| entry.kind() == Kind::Manifest) {
            let fit = entry.platform.as_ref().and_then(|platform| self.platform.fit(platform));
            if fit.is_some_and(|fit| best.is_none_or(|(other, _)| fit > other)) {
                best = fit.map(|fit| (fit, entry));
            }
        }
        if let Some((_, entry)) = best {
            return Ok(Some(self.image(entry)?.0));
        }
        for entry in entries().filter(|entry| entry.platform.is_none() || entry.kind() == Kind::Index) {
            match self.read_document(entry)? {
                Some(Document::Index(inner)) => match self.choose(&inner, depth + 1)? {
                    None => {}
                    found => return Ok(found),
                },
                Some(Document::Manifest(_)) => match self.image(entry)? {
                    (image, platform) if self.platform.fit(&platform).is_some() => return Ok(Some(image)),
                    _ => {}
                },
                None => {}
            }
        }
        Ok(None)
    }

    fn image(&self, entry: &Descriptor) -> Result<(Candidate, Platform)> {
        let Some(Document::Manifest(manifest)) = self.read_document(entry)? else {
            return Err(invalid(format!("document {} is no manifest", entry.digest)));
        };
        if manifest.config.kind() != Kind::Config {
            return Err(no_image(entry, &manifest));
        }
        let config = ImageConfig::from_bytes(&self.blob(&manifest.config)?)?;
        let diff_ids = counted(&config, manifest.layers.len())?;
        let layer = |(blob, diff_id): (Descriptor, &Digest)| match blob.kind() {
            Kind::Layer(_) => Ok(Wanted { path: blob_path(&blob.digest), diff_id: diff_id.clone(), blob: Some(blob) }),
            _ => {
                let text =
                    format!("layer {} is of the type {:?}, which lrun does not read", blob.digest, blob.media_type);
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        };
        let layers = manifest.layers.into_iter().zip(diff_ids).map(layer).collect::<Result<_>>()?;
        let (id, path) = (manifest.config.digest.clone(), blob_path(&manifest.config.digest));
        let manifest = Some((blob_path(&entry.digest), entry.digest.clone()));
        Ok((Candidate { id, config: path, names: Vec::new(), manifest, layers }, platform_of(&config)))
    }

    fn none(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no image for {} in it", self.platform))
    }
}

fn no_image(entry: &Descriptor, manifest: &Manifest) -> Error {
    let text = format!("manifest {} is of no container image, but of {:?}", entry.digest, manifest.config.media_type);
    Error::new(ErrorKind::Unsupported, text)
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform { architecture: config.architecture.clone(), os: config.os.clone(), variant: config.variant.clone() }
}

/// The config's layers, which are as many as listed.
fn counted(config: &ImageConfig, listed: usize) -> Result<&[Digest]> {
    let diff_ids = &config.rootfs.diff_ids;
    match diff_ids.len() {
        count if count == listed => Ok(diff_ids),
        count => Err(invalid(format!("the config has {count} layers, and {listed} are listed"))),
    }
}

/// A path that a document names, inside the archive.
fn inside(path: &str) -> Result<String> {
    let path = normalise(path.as_bytes(), &Limits::default())?;
    String::from_utf8(path).map_err(|_| invalid("a path that is not UTF-8"))
}

/// A name with a tag, as docker's document has them.
fn tagged(name: &str) -> Result<Reference> {
    let attempt = || format!("name {}", shown(name.as_bytes()));
    let reference = Reference::parse(name).context(attempt)?;
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match has_tag && reference.digest().is_none() {
        true => Ok(reference),
        false => Err(invalid(format!("invalid tag {:?}", shown(name.as_bytes())))),
    }
}

/// The names of an index entry. A bare tag names no repository, and a digest nothing that could be typed.
fn names_of(entry: &Descriptor) -> Result<Vec<Reference>> {
    let (whole, short) = (entry.annotations.get(IMAGE_NAME), entry.annotations.get(REF_NAME));
    let name = whole.or_else(|| short.filter(|name| name.contains([':', '/'])));
    let Some(name) = name.filter(|name| !name.contains('@')) else { return Ok(Vec::new()) };
    let reference = Reference::parse(name).context(|| format!("name {}", shown(name.as_bytes())))?;
    // umoci gives a changed image another tag, and leaves the name as it was.
    Ok(vec![match short.map(|tag| reference.with_tag(tag)) {
        Some(Ok(tagged)) => tagged,
        _ => reference,
    }])
}

/// Gives docker's images the manifests that the index has for them.
fn with_manifests(images: Vec<Candidate>, listed: Vec<Candidate>) -> Result<Vec<Candidate>> {
    unambiguous(&[&images[..], &listed[..]].concat())?;
    let paths = |image: &Candidate| image.layers.iter().map(|layer| layer.path.clone()).collect::<Vec<_>>();
    let with_manifest = |image: Candidate| {
        let same = listed.iter().find(|other| other.id == image.id && paths(other) == paths(&image));
        match same {
            Some(other) => Candidate { manifest: other.manifest.clone(), layers: other.layers.clone(), ..image },
            None => image,
        }
    };
    Ok(images.into_iter().map(with_manifest).collect())
}

/// One candidate for each image, with all its names.
fn united(images: Vec<Candidate>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    for image in images {
        match all.iter_mut().find(|other| other.id == image.id && other.layers == image.layers) {
            None => all.push(image),
            Some(other) => {
                other.names.extend(image.names);
                other.manifest = other.manifest.take().or(image.manifest);
            }
        }
    }
    for image in &mut all {
        let mut seen = Vec::new();
        image.names.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
    }
    all
}

fn unambiguous(images: &[Candidate]) -> Result<()> {
    let mut named = std::collections::HashMap::new();
    for (name, id) in images.iter().flat_map(|image| image.names.iter().map(|name| (name, &image.id))) {
        if *named.entry(name).or_insert(id) != id {
            return Err(invalid(format!("two different images are called {}", name.familiar_with_tag())));
        }
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// A blob that should be in the archive.
pub(super) fn missing(digest: &Digest) -> Error {
    Error::new(ErrorKind::NotFound, format!("blob {digest} is missing from the archive"))
}
