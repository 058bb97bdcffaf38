//! `push`: an image goes to a registry.
//!
//! Runs in the CLI, with one thread: for each layer that the registry lacks, a storage helper rebuilds the exact tar and
//! compresses it, while its bytes are hashed and sent here. Where the registry has the form in which a layer came, or can
//! take it from another repository, nothing is sent, and an image that was pulled keeps its manifest, byte for byte.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use flate2::write::GzEncoder;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::forms::{Form, Forms, forms, manifests};
use super::{Event, Events, Layer};
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::IdMap;
use crate::idmap::helper::{self, Helper};
use crate::image::index::{Rebuilt, rebuild};
use crate::image::store::{Image, Store};
use crate::reference::Reference;
use crate::registry::client::Client;
use crate::registry::manifest::{Descriptor, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, oci_manifest};
use crate::registry::upload::Mount;
use crate::registry::url::Url;

/// Level 6, which others use, is three times as slow as level 1, which makes a Debian a third larger; this is between.
const LEVEL: u32 = 4;
const PIPE: usize = 1 << 20;
/// Repositories that a token is asked for, at most: token servers refuse endless lists.
const MOST_SOURCES: usize = 8;

/// What went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Pushes the image that `reference`, a name with a tag, points to.
pub fn push(
    (store, map): (&Store, &IdMap),
    client: Client<'_>,
    reference: &Reference,
    events: &Events<'_>,
) -> Result<Pushed> {
    let _using = store.lock_shared()?;
    let missing = || {
        let message = format!("An image does not exist locally with the tag: {}", reference.familiar());
        Error::new(ErrorKind::NotFound, message)
    };
    let target = store.ref_target(reference)?.ok_or_else(missing)?;
    let image = store.image(&target.image)?;
    let known = forms(store, &image.id, client.registry())?;
    let mut sources: Vec<String> =
        known.values().flatten().flat_map(|form| form.repositories.iter().cloned()).collect();
    sources.sort();
    sources.dedup();
    sources.retain(|repository| repository != reference.repository());
    sources.truncate(MOST_SOURCES);
    let job =
        Push { store, map, client: client.reading_from(&sources), repository: reference.repository(), sources, events };
    job.run(&image, reference, &known).map_err(|error| error.context(format!("push {}", reference.familiar_with_tag())))
}

struct Push<'a> {
    store: &'a Store,
    map: &'a IdMap,
    client: Client<'a>,
    repository: &'a str,
    sources: Vec<String>,
    events: &'a Events<'a>,
}

impl Push<'_> {
    fn run(&self, image: &Image, reference: &Reference, known: &Forms) -> Result<Pushed> {
        let mut sent: Vec<(Digest, Descriptor)> = Vec::new();
        let mut layers = Vec::with_capacity(image.config.rootfs.diff_ids.len());
        for diff_id in &image.config.rootfs.diff_ids {
            let descriptor = match sent.iter().find(|(known, _)| known == diff_id) {
                Some((_, descriptor)) => descriptor.clone(),
                None => self.layer(diff_id, known.get(diff_id).map_or(&[], Vec::as_slice))?,
            };
            sent.push((diff_id.clone(), descriptor.clone()));
            layers.push(descriptor);
        }
        self.config(image)?;
        let kept = manifests(self.store, &image.record);
        let (bytes, media_type) = match kept.iter().find(|(_, manifest)| manifest.layers == layers) {
            Some((bytes, manifest)) => (bytes.clone(), manifest.media_type.clone()),
            None => {
                if let Some((old, _)) = kept.first() {
                    let message = "the registry does not have the layers in the form in which they came, so they were \
                                   compressed anew: the manifest's digest is not";
                    (self.events)(Event::Warning(&format!("{message} {}", Digest::of(old))));
                }
                let config = Descriptor {
                    media_type: OCI_CONFIG.to_owned(),
                    digest: image.id.clone(),
                    size: image.bytes.len() as u64,
                    platform: None,
                };
                (oci_manifest(&config, &layers), OCI_MANIFEST.to_owned())
            }
        };
        self.client.put_manifest(reference.tag().unwrap_or_default(), &media_type, &bytes)?;
        let digest = Digest::of(&bytes);
        self.store.note_origin(&image.id, reference, &digest, &[&bytes])?;
        Ok(Pushed { digest, size: bytes.len() as u64 })
    }

    /// Sees to it that the registry has a layer: how manifests point to it.
    fn layer(&self, diff_id: &Digest, known: &[Form]) -> Result<Descriptor> {
        let tell = |what| (self.events)(Event::Layer(diff_id.short(), what));
        tell(Layer::Waiting);
        for form in known {
            if self.client.blob_size(&form.descriptor.digest)? == Some(form.descriptor.size) {
                tell(Layer::There);
                return Ok(form.descriptor.clone());
            }
        }
        let mut upload = None;
        for form in known {
            for from in form.repositories.iter().filter(|from| self.sources.contains(from) && *from != self.repository)
            {
                if let Some(unused) = upload.take() {
                    self.client.abandon(&unused);
                }
                match self.client.mount(&form.descriptor.digest, from)? {
                    Mount::Mounted => {
                        tell(Layer::Mounted(from));
                        return Ok(form.descriptor.clone());
                    }
                    Mount::Upload(url) => upload = Some(url),
                }
            }
        }
        let upload = upload.map_or_else(|| self.client.begin(), Ok)?;
        let descriptor =
            self.send(diff_id, &upload).map_err(|error| error.context(format!("layer {}", diff_id.short())))?;
        tell(Layer::Pushed);
        Ok(descriptor)
    }

    /// Rebuilds, compresses and sends a layer.
    fn send(&self, diff_id: &Digest, upload: &Url) -> Result<Descriptor> {
        let (helper, pipe) = compress(self.store, self.map, diff_id)?;
        let mut body = Sent { pipe, hasher: Hasher::new(), size: 0, diff_id, events: self.events };
        let appended = self.client.append(upload, &mut body);
        let Sent { pipe, hasher, size, .. } = body;
        drop(pipe);
        let rebuilt = helper.finish(&mut |_| {});
        // What the helper says is the cause, unless it only lost its reader.
        let url = match (appended, rebuilt) {
            (Ok(url), Ok(rebuilt)) if rebuilt.diff_id == *diff_id => url,
            (Ok(url), Ok(_)) => {
                self.client.abandon(&url);
                return Err(Error::new(ErrorKind::Corrupt, "the store's copy is damaged"));
            }
            (Ok(url), Err(error)) => {
                self.client.abandon(&url);
                return Err(error);
            }
            (Err(_), Err(error)) if error.kind() == ErrorKind::Corrupt => return Err(error),
            (Err(error), _) => return Err(error),
        };
        let digest = hasher.finish();
        self.client.complete(&url, &digest, &[])?;
        self.store.update_layer_meta(diff_id, |meta| {
            if !meta.compressed.contains(&digest) {
                meta.compressed.push(digest.clone());
            }
        })?;
        Ok(Descriptor { media_type: OCI_LAYER_GZIP.to_owned(), digest, size, platform: None })
    }

    fn config(&self, image: &Image) -> Result<()> {
        if self.client.blob_size(&image.id)?.is_some() {
            return Ok(());
        }
        let upload = self.client.begin()?;
        self.client.complete(&upload, &image.id, &image.bytes)
    }
}

/// Starts a helper that writes a layer's tar, compressed, into the pipe whose other end comes back.
fn compress(store: &Store, map: &IdMap, diff_id: &Digest) -> Result<(Helper<Rebuilt>, File)> {
    let directory = file::open_dir(&store.layer_path(diff_id))?;
    let (out, into): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    let _ = fcntl_setpipe_size(&into, PIPE);
    let helper = helper::start_in(map, directory.as_fd(), &[into.as_fd()], |work| {
        let index = open_index(work.root.as_fd())?;
        let mut packed = GzEncoder::new(File::from(into.try_clone()?), flate2::Compression::new(LEVEL));
        let rebuilt = rebuild(&index, work.root.as_fd(), &mut packed)?;
        packed.finish().context(|| "compress the layer")?;
        Ok(rebuilt)
    })?;
    Ok((helper, File::from(out)))
}

fn open_index(layer: std::os::fd::BorrowedFd<'_>) -> Result<File> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOFOLLOW;
    let index = rustix::fs::openat(layer, "index", flags, rustix::fs::Mode::empty());
    Ok(File::from(index.context(|| "open the layer's index")?))
}

/// The body of an upload: hashed and counted on the way.
struct Sent<'a> {
    pipe: File,
    hasher: Hasher,
    size: u64,
    diff_id: &'a Digest,
    events: &'a Events<'a>,
}

impl Read for Sent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.pipe.read(into)?;
        self.hasher.update(&into[..got]);
        self.size += got as u64;
        (self.events)(Event::Layer(self.diff_id.short(), Layer::Pushing(self.size)));
        Ok(got)
    }
}
