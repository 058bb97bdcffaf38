//! `pull`: an image comes from a registry.
//!
//! Runs in the CLI. Every document is checked against the digest and the size that led to it; what is published is
//! complete. After an error no image and no name has changed; layers that came whole stay for the next try until the next
//! collection.

use super::layers::{Job, fetch};
use super::{Event, Events};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::RemoveTree;
use crate::idmap::IdMap;
use crate::image::config::ImageConfig;
use crate::image::store::Store;
use crate::reference::Reference;
use crate::registry::client::{Client, Fetched};
use crate::registry::manifest::{self, Descriptor, Document, Manifest};
use crate::registry::platform::Platform;
use crate::sandbox::lower::MOST_LAYERS;

/// Builds begin with it; it is no image.
const RESERVED: &str = "scratch";
/// An index may hold indexes that hold indexes that hold indexes.
const DEPTH: usize = 4;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// What the image must be made for.
    pub platform: Platform,
    /// The user said so: an image for another platform is refused.
    pub explicit: bool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: Digest,
    /// Digest of its manifest, or of the index that lists it.
    pub digest: Digest,
    /// The name pointed to another image before, or to none.
    pub is_new: bool,
}

/// Pulls the image that `reference` names from the first of `clients` that has it: mirrors first, then the registry. What
/// one lacks of it comes from those that follow.
pub fn pull(
    (store, map): (&Store, &IdMap),
    clients: &[Client<'_>],
    reference: &Reference,
    options: &PullOptions,
    events: &Events<'_>,
    remove: &mut RemoveTree<'_>,
) -> Result<Pulled> {
    if reference.familiar() == RESERVED {
        return Err(Error::new(ErrorKind::Invalid, format!("'{RESERVED}' is a reserved name")));
    }
    let _using = store.lock_shared()?;
    let digest = reference.digest().map(Digest::to_string);
    let wanted = digest.as_deref().or(reference.tag()).unwrap_or_default();
    let mut failure = Error::new(ErrorKind::Invalid, format!("no registry for {reference}"));
    for (at, client) in clients.iter().enumerate() {
        let found = current(store, client, reference, options).and_then(|current| match current {
            Some(pulled) => Ok(Found::Current(pulled)),
            None => find(&clients[at..], wanted, options, events).map(Found::Image),
        });
        if found.is_ok() {
            events(Event::Pulling { wanted, repository: reference.repository() });
        }
        match found {
            Ok(Found::Current(pulled)) => return Ok(pulled),
            Ok(Found::Image(found)) => {
                return bring((store, map), &clients[at..], reference, (found, options), events, remove);
            }
            Err(error) if at + 1 < clients.len() => {
                events(Event::Warning(&format!("{}: {error}", client.registry())));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure.context(format!("pull {}", reference.familiar_with_tag())))
}

/// Asks one after the other. What comes is known by its digest, so it does not matter who has it.
pub(super) fn any<T>(clients: &[Client<'_>], events: &Events<'_>, ask: impl Fn(&Client<'_>) -> Result<T>) -> Result<T> {
    let mut failure = Error::new(ErrorKind::Invalid, "no registry");
    for (at, client) in clients.iter().enumerate() {
        match ask(client) {
            Ok(found) => return Ok(found),
            Err(error) if at + 1 < clients.len() => {
                events(Event::Warning(&format!("{}: {error}", client.registry())));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

enum Found {
    /// Nothing has changed.
    Current(Pulled),
    Image(Image),
}

/// An image as its registry describes it.
pub(super) struct Image {
    /// Digest of what the name points to.
    pub(super) top: Digest,
    /// Indexes, outermost first, and last the manifest.
    pub(super) documents: Vec<Fetched>,
    pub(super) manifest: Manifest,
}

/// Whether the tag still points to what it pointed to when it was pulled, and that is all here: one small request.
fn current(store: &Store, client: &Client<'_>, reference: &Reference, options: &PullOptions) -> Result<Option<Pulled>> {
    let (Some(tag), None, false) = (reference.tag(), reference.digest(), options.explicit) else { return Ok(None) };
    let Some(target) = store.ref_target(reference)? else { return Ok(None) };
    let Some(manifest) = target.manifest else { return Ok(None) };
    let Ok(record) = store.image_record(&target.image) else { return Ok(None) };
    for layer in &record.layers {
        if !store.has_sound_layer(layer)? {
            return Ok(None);
        }
    }
    match client.manifest_digest(tag)? == Some(manifest.clone()) {
        true => Ok(Some(Pulled { id: target.image, digest: manifest, is_new: false })),
        false => Ok(None),
    }
}

/// Finds the image's manifest, through indexes. The first says what is wanted; what that consists of may be at others.
pub(super) fn find(clients: &[Client<'_>], wanted: &str, options: &PullOptions, events: &Events<'_>) -> Result<Image> {
    let mut fetched = any(&clients[..1], events, |client| client.manifest(wanted))?;
    let top = fetched.digest.clone();
    let mut documents = Vec::new();
    for _ in 0..=DEPTH {
        let document = manifest::parse(&fetched.bytes, &fetched.media_type)?;
        documents.push(fetched);
        match document {
            Document::Image(manifest) => return Ok(Image { top, documents, manifest }),
            Document::Index(list) => {
                let chosen = choose(&list, &options.platform)?;
                fetched = any(clients, events, |client| {
                    let fetched = client.manifest(chosen.digest.as_str())?;
                    let is_it = fetched.bytes.len() as u64 == chosen.size
                        && manifest::is_type(&fetched.media_type, &chosen.media_type);
                    let message = || format!("manifest {} is not what the index says", chosen.digest);
                    if is_it { Ok(fetched) } else { Err(Error::new(ErrorKind::Corrupt, message())) }
                })?;
            }
        }
    }
    Err(Error::new(ErrorKind::Invalid, format!("indexes in indexes, more than {DEPTH} deep")))
}

fn choose<'a>(list: &'a [Descriptor], platform: &Platform) -> Result<&'a Descriptor> {
    let suiting = platform.choose(list.iter().filter_map(|entry| Some((entry.platform.as_ref()?, entry))));
    // What says nothing of its platform may be anything: its config will tell.
    suiting.or_else(|| list.iter().find(|entry| entry.platform.is_none())).ok_or_else(|| {
        let message = format!("no matching manifest for {platform} in the manifest list entries");
        let there: Vec<String> =
            list.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).collect();
        let there = there.into_iter().filter(|name| name != "unknown/unknown").collect::<Vec<_>>().join(", ");
        Error::new(ErrorKind::NotFound, message).hint(format!("there is: {there}"))
    })
}

/// Brings what is missing of an image, and publishes it.
fn bring(
    (store, map): (&Store, &IdMap),
    clients: &[Client<'_>],
    reference: &Reference,
    (image, options): (Image, &PullOptions),
    events: &Events<'_>,
    remove: &mut RemoveTree<'_>,
) -> Result<Pulled> {
    let attempt = || format!("pull {}", reference.familiar_with_tag());
    let id = image.manifest.config.digest.clone();
    let bytes = match store.blob(&id) {
        Ok(bytes) => bytes,
        Err(_) => any(clients, events, |client| client.small_blob(&image.manifest.config))
            .map_err(|error| error.context(attempt()))?,
    };
    let config = ImageConfig::from_bytes(&bytes).map_err(|error| error.context(attempt()))?;
    check(&image.manifest, &config, options, events).map_err(|error| error.context(attempt()))?;
    let mut jobs: Vec<Job> = Vec::new();
    for (descriptor, diff_id) in image.manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        if store.has_sound_layer(diff_id)? {
            events(Event::Layer(descriptor.digest.short(), super::Layer::Here));
        } else if !jobs.iter().any(|job| job.diff_id == *diff_id) {
            jobs.push(Job { descriptor: descriptor.clone(), diff_id: diff_id.clone(), source: 0 });
        }
    }
    let warnings = fetch((store, map), clients, jobs, events, remove).map_err(|error| error.context(attempt()))?;
    let before = store.ref_target(reference)?.map(|target| target.image);
    let known = store.image_record(&id).is_ok();
    store.publish_image(&bytes, None, &[])?;
    let documents: Vec<&[u8]> = image.documents.iter().map(|document| document.bytes.as_slice()).collect();
    store.note_origin(&id, reference, &image.top, &documents)?;
    warnings.iter().for_each(|warning| events(Event::Warning(warning)));
    let is_new = if reference.digest().is_some() { !known } else { before.as_ref() != Some(&id) };
    Ok(Pulled { id, digest: image.top, is_new })
}

/// What a manifest and a config say of each other, and whether the image can be used.
fn check(manifest: &Manifest, config: &ImageConfig, options: &PullOptions, events: &Events<'_>) -> Result<()> {
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        let message = format!("the manifest has {layers} layers, and the image's config {diff_ids}");
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    if layers > MOST_LAYERS {
        let message = format!("the image has {layers} layers; the kernel stacks at most {MOST_LAYERS}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let made_for = Platform::new(&config.os, &config.architecture, &config.variant);
    let (wanted, known) = (&options.platform, !config.os.is_empty() && !config.architecture.is_empty());
    if known && !wanted.accepts(&made_for) {
        if options.explicit {
            let message = format!("the image is for {made_for} and does not provide the specified platform ({wanted})");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        events(Event::Warning(&format!(
            "The requested image's platform ({made_for}) does not match the detected host platform ({wanted})"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, platform: Option<(&str, &str, &str)>) -> Descriptor {
        Descriptor {
            media_type: manifest::OCI_MANIFEST.to_owned(),
            digest: Digest::of(name.as_bytes()),
            size: 1,
            platform: platform.map(|(os, architecture, variant)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            }),
        }
    }

    #[test]
    fn the_suiting_entry_is_chosen_and_the_others_are_named() {
        let list = [
            entry("attestation", Some(("unknown", "unknown", ""))),
            entry("arm", Some(("linux", "arm64", "v8"))),
            entry("intel", Some(("linux", "amd64", ""))),
        ];
        let wanted = |text| Platform::parse(text, &Platform::new("linux", "amd64", "")).unwrap();
        assert_eq!(choose(&list, &wanted("linux/arm64")).unwrap().digest, Digest::of(b"arm"));
        let error = choose(&list, &wanted("linux/riscv64")).unwrap_err();
        assert_eq!(error.to_string(), "no matching manifest for linux/riscv64 in the manifest list entries");
        assert_eq!(error.hint_text(), Some("there is: linux/arm64/v8, linux/amd64"));
        let unsaid = [entry("other", Some(("linux", "arm", "v5"))), entry("any", None)];
        assert_eq!(choose(&unsaid, &wanted("linux/amd64")).unwrap().digest, Digest::of(b"any"));
    }
}
