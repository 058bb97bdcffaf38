//! `push`: an image goes to a registry.
//!
//! Runs in the CLI. First the registry is asked what it has, and what it can take from another repository; an image that
//! was pulled keeps its manifest, byte for byte, where all its layers are there. What is missing goes side by side: for
//! each thread that sends, a storage helper rebuilds the exact tars and compresses them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::crew::side_by_side;
use super::forms::{Form, Forms, forms, manifests};
use super::packed::{Format, Packed, Packer};
use super::{Event, Events, Layer};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::IdMap;
use crate::image::store::{Image, Store};
use crate::reference::Reference;
use crate::registry::client::Client;
use crate::registry::manifest::{Descriptor, OCI_CONFIG, OCI_MANIFEST, oci_manifest};
use crate::registry::upload::{Mount, Upload};

/// Layers that are looked for, and sent, at once; more would only take each other's share of the line.
const MOST: usize = 3;
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

/// In docker's words, which tell whether the repository has other tags here.
fn missing(store: &Store, reference: &Reference) -> Error {
    let known = store.references().unwrap_or_default();
    let message = match known.iter().any(|(known, _)| known.same_repository(reference)) {
        true => format!("tag does not exist: {}", reference.familiar_with_tag()),
        false => format!("An image does not exist locally with the tag: {}", reference.familiar()),
    };
    Error::new(ErrorKind::NotFound, message)
}

/// Pushes the image that `reference`, a name with a tag, points to. `format`: of the layers that must be sent.
pub fn push(
    (store, map): (&Store, &IdMap),
    client: Client<'_>,
    (reference, format): (&Reference, Format),
    events: &Events<'_>,
) -> Result<Pushed> {
    let _using = store.lock_shared()?;
    let Some(target) = store.ref_target(reference)? else { return Err(missing(store, reference)) };
    let image = store.image(&target.image)?;
    let known = forms(store, &image.id, client.registry())?;
    let mut sources: Vec<String> =
        known.values().flatten().flat_map(|form| form.repositories.iter().cloned()).collect();
    sources.sort();
    sources.dedup();
    sources.retain(|repository| repository != reference.repository());
    sources.truncate(MOST_SOURCES);
    let client = client.reading_from(&sources);
    let job = Push { store, map, client, repository: reference.repository(), sources, format, events };
    job.run(&image, reference, &known).map_err(|error| error.context(format!("push {}", reference.familiar_with_tag())))
}

/// Pushes an image that the store has no name for: its layers are the store's, its config need not be. The caller holds
/// [`Store::lock_shared`].
pub fn push_unnamed(
    (store, map): (&Store, &IdMap),
    client: Client<'_>,
    (image, reference, format): (&Image, &Reference, Format),
    events: &Events<'_>,
) -> Result<Pushed> {
    let known = forms(store, &image.id, client.registry())?;
    let (repository, sources) = (reference.repository(), Vec::new());
    let job = Push { store, map, client, repository, sources, format, events };
    job.send_image(image, reference, &known)
        .map(|(pushed, _)| pushed)
        .map_err(|error| error.context(format!("push {}", reference.familiar_with_tag())))
}

struct Push<'a> {
    store: &'a Store,
    map: &'a IdMap,
    client: Client<'a>,
    repository: &'a str,
    sources: Vec<String>,
    format: Format,
    events: &'a Events<'a>,
}

/// What the registry said of a layer.
enum Found {
    /// It has it, in this form.
    There(Descriptor),
    /// It must be sent; by this upload, if one was begun.
    Missing(Option<Upload>),
}

/// What is found out of layers by several threads.
type Shared<T> = Mutex<HashMap<Digest, T>>;

fn note<T>(shared: &Shared<T>, diff_id: &Digest, what: T) {
    shared.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone(), what);
}

fn into_inner<T>(shared: Shared<T>) -> HashMap<Digest, T> {
    shared.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Push<'_> {
    fn run(&self, image: &Image, reference: &Reference, known: &Forms) -> Result<Pushed> {
        let (pushed, bytes) = self.send_image(image, reference, known)?;
        self.store.note_origin(&image.id, reference, &pushed.digest, &[&bytes])?;
        Ok(pushed)
    }

    /// Sends everything; what went, and the manifest's bytes.
    fn send_image(&self, image: &Image, reference: &Reference, known: &Forms) -> Result<(Pushed, Vec<u8>)> {
        let layers = self.layers(&image.config.rootfs.diff_ids, known)?;
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
        Ok((Pushed { digest: Digest::of(&bytes), size: bytes.len() as u64 }, bytes))
    }

    /// Sees to it that the registry has the layers: how manifests point to them.
    fn layers(&self, diff_ids: &[Digest], known: &Forms) -> Result<Vec<Descriptor>> {
        let mut each: Vec<&Digest> = Vec::new();
        for diff_id in diff_ids {
            if !each.contains(&diff_id) {
                each.push(diff_id);
            }
        }
        let (stop, found) = (AtomicBool::new(false), Shared::default());
        let look = |(): &mut (), diff_id: &Digest| {
            let forms = known.get(diff_id).map_or(&[][..], Vec::as_slice);
            note(&found, diff_id, self.look(diff_id, forms)?);
            Ok(())
        };
        side_by_side(vec![(); MOST.min(each.len())], each.clone(), &stop, look, |(), outcome| outcome)?;
        let (mut there, mut missing) = (HashMap::new(), Vec::new());
        let mut found = into_inner(found);
        for diff_id in each {
            match found.remove(diff_id) {
                Some(Found::There(descriptor)) => drop(there.insert(diff_id.clone(), descriptor)),
                Some(Found::Missing(upload)) => missing.push((diff_id, upload)),
                None => {}
            }
        }
        there.extend(self.send_all(missing)?);
        let unsent = || Error::new(ErrorKind::Io, "a layer was not sent");
        diff_ids.iter().map(|diff_id| there.get(diff_id).cloned().ok_or_else(unsent)).collect()
    }

    /// Whether the registry has a layer, or can take it from another repository.
    fn look(&self, diff_id: &Digest, known: &[Form]) -> Result<Found> {
        let tell = |what| (self.events)(Event::Layer(diff_id.short(), what));
        tell(Layer::Waiting);
        for form in known {
            if self.client.blob_size(&form.descriptor.digest)? == Some(form.descriptor.size) {
                tell(Layer::There);
                return Ok(Found::There(form.descriptor.clone()));
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
                        return Ok(Found::There(form.descriptor.clone()));
                    }
                    Mount::Upload(begun) => upload = Some(begun),
                }
            }
        }
        Ok(Found::Missing(upload))
    }

    fn send_all(&self, layers: Vec<(&Digest, Option<Upload>)>) -> Result<HashMap<Digest, Descriptor>> {
        let (stop, sent) = (AtomicBool::new(false), Shared::default());
        let packers = (0..MOST.min(layers.len())).map(|_| Packer::start(self.store, self.map));
        let packers = packers.collect::<Result<Vec<_>>>()?;
        let send = |packer: &mut Packer, (diff_id, upload): (&Digest, Option<Upload>)| {
            let descriptor = self.send(packer, diff_id, upload, &stop);
            note(&sent, diff_id, descriptor.map_err(|error| error.context(format!("layer {}", diff_id.short())))?);
            Ok(())
        };
        side_by_side(packers, layers, &stop, send, Packer::end)?;
        Ok(into_inner(sent))
    }

    /// Compresses a layer and sends it.
    fn send(
        &self,
        packer: &mut Packer,
        diff_id: &Digest,
        upload: Option<Upload>,
        stop: &AtomicBool,
    ) -> Result<Descriptor> {
        let upload = upload.map_or_else(|| self.client.begin(), Ok)?;
        let progress = |at: u64| {
            (self.events)(Event::Layer(diff_id.short(), Layer::Pushing(at)));
            !stop.load(Ordering::Relaxed)
        };
        let mut body = Packed::new(packer, (diff_id, self.format), &progress)?;
        let upload = self.client.send_blob(upload, &mut body)?;
        let (digest, size) = body.finish();
        self.client.complete(&upload, &digest, &[])?;
        self.store.update_layer_meta(diff_id, |meta| {
            if !meta.compressed.contains(&digest) {
                meta.compressed.push(digest.clone());
            }
        })?;
        (self.events)(Event::Layer(diff_id.short(), Layer::Pushed));
        Ok(Descriptor { media_type: self.format.media_type().to_owned(), digest, size, platform: None })
    }

    fn config(&self, image: &Image) -> Result<()> {
        if self.client.blob_size(&image.id)?.is_some() {
            return Ok(());
        }
        let upload = self.client.begin()?;
        self.client.complete(&upload, &image.id, &image.bytes)
    }
}
