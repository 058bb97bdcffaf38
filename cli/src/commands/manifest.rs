//! `manifest inspect`: an image's manifest, as it is kept here, as a registry has it, or as it would be; or a list that is
//! being made here.

use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::config::ImageConfig;
use lrun_runtime::image::store::{Image, ListEntry, ListPlatform, Store};
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::client::{Client, Fetched};
use lrun_runtime::registry::manifest::{self, Descriptor, Document, Manifest, OCI_CONFIG, oci_manifest};
use serde::Serialize as _;
use serde_json::Value as Json;

use super::access::Registries;
use crate::args::{Global, ManifestArgs};
use crate::context;
use crate::ui::{escape, output};

/// The type of a layer that is not compressed: as it lies here.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Runs the command. Who says how the registry is to be asked wants it to be asked.
pub fn run(global: &Global, args: &ManifestArgs) -> Result<u8> {
    let store = context::engine(global)?.store;
    let name = args.name.as_str();
    let text = match &args.image {
        Some(image) => indented(&of_entry(&store, (name, image), args.verbose)?)?,
        None => match made_here(&store, name, args.verbose)? {
            Some(text) => text,
            None => {
                let found = if args.insecure { None } else { of_store(&store, name, args.verbose)? };
                indented(&found.map_or_else(|| of_registry(global, args), Ok)?)?
            }
        },
    };
    output::line(&text);
    Ok(0)
}

fn of_entry(store: &Store, (list, image): (&str, &str), verbose: bool) -> Result<Json> {
    let registries = context::settings()?.registries;
    let (list, image) = (registries.qualify(list)?, registries.qualify(image)?);
    let mut found = store.list(&list)?;
    let entry = found.as_mut().and_then(|list| list.entry(&image.to_string()));
    let entry = entry.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("No such manifest: {image}")))?;
    if verbose { told(entry) } else { parsed(&entry.raw) }
}

/// The list of this name that is being made here.
fn made_here(store: &Store, name: &str, verbose: bool) -> Result<Option<String>> {
    // Another word may be an image's id.
    let Ok(name) = context::settings()?.registries.qualify(name) else { return Ok(None) };
    let Some(list) = store.list(&name)? else { return Ok(None) };
    if verbose {
        return indented(&told(&list.entries)?).map(Some);
    }
    Ok(Some(escape::json(String::from_utf8_lossy(&list.index()?.0).into_owned())))
}

/// `None`: the registry must be asked.
fn of_store(store: &Store, name: &str, verbose: bool) -> Result<Option<Json>> {
    let image = match store.resolve(name) {
        Ok(image) => image,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = of_image(store, &image, name)?;
    if !verbose {
        return parsed(&bytes).map(Some);
    }
    match manifest::parse_kept(&bytes)? {
        // Of its other images nothing is kept.
        Document::Index(_) => Ok(None),
        Document::Image(manifest) => {
            let name = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string());
            let found = Fetched { digest: Digest::of(&bytes), bytes, media_type: manifest.media_type };
            told(&described(&name, found, Some(platform(&image.config)))?).map(Some)
        }
    }
}

/// The one that its name points to, else one that is kept, else one made of its config and layers.
fn of_image(store: &Store, image: &Image, name: &str) -> Result<Vec<u8>> {
    let named = Reference::parse(name).ok();
    let references = store.references()?;
    let target = references.iter().find(|(reference, _)| named.as_ref() == Some(reference)).map(|(_, target)| target);
    let kept = target.and_then(|target| target.manifest.as_ref()).or(image.record.manifests.first());
    if let Some(kept) = kept {
        return store.blob(kept);
    }
    let part = |media_type: &str, digest: &Digest, size: u64| Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        platform: None,
    };
    let layer = |layer| Ok(part(OCI_LAYER, layer, store.layer_meta(layer)?.size));
    let layers = image.record.layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
    Ok(oci_manifest(&part(OCI_CONFIG, &image.id, image.bytes.len() as u64), &layers))
}

fn of_registry(global: &Global, args: &ManifestArgs) -> Result<Json> {
    let name = &args.name;
    let (registries, reference) = Registries::open_for(global, name, args.insecure)?;
    let mut failure = Error::new(ErrorKind::NotFound, format!("no such manifest: {name}"));
    for client in registries.sources(&reference)? {
        match of_client(&client, &reference, args.verbose) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                failure = error.context(format!("no such manifest: {name}"));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn of_client(client: &Client<'_>, reference: &Reference, verbose: bool) -> Result<Json> {
    let found = client.manifest(tag_or_digest(reference))?;
    if !verbose {
        return parsed(&found.bytes);
    }
    match manifest::parse(&found.bytes, &found.media_type)? {
        Document::Image(image) => told(&described_image(client, reference, found, &image)?),
        Document::Index(entries) => {
            let index = parsed(&found.bytes)?;
            let each = entries.iter().enumerate().map(|(at, entry)| {
                let found = client.manifest(entry.digest.as_str())?;
                let tag = reference.tag().map_or_else(String::new, |tag| format!(":{tag}"));
                let name = format!("{}/{}{tag}@{}", reference.registry(), reference.repository(), entry.digest);
                let platform = index["manifests"][at].get("platform").cloned();
                described(&name, found, platform.and_then(|platform| serde_json::from_value(platform).ok()))
            });
            told(&each.collect::<Result<Vec<_>>>()?)
        }
    }
}

/// What a registry calls a manifest by.
pub fn tag_or_digest(reference: &Reference) -> &str {
    reference.digest().map_or(reference.tag().unwrap_or(DEFAULT_TAG), Digest::as_str)
}

/// The image with this manifest, and what it is made for.
pub fn described_image(
    client: &Client<'_>,
    reference: &Reference,
    found: Fetched,
    image: &Manifest,
) -> Result<ListEntry> {
    let config = ImageConfig::from_bytes(&client.small_blob(&image.config)?)?;
    described(&reference.to_string(), found, Some(platform(&config)))
}

/// One manifest as docker's `--verbose` has it.
fn described(name: &str, found: Fetched, platform: Option<ListPlatform>) -> Result<ListEntry> {
    let media_type = found.media_type.split(';').next().unwrap_or_default().trim();
    ListEntry::new(name.to_owned(), found.bytes, media_type, platform)
}

/// What an image is made for, as its config says.
fn platform(config: &ImageConfig) -> ListPlatform {
    ListPlatform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone(),
        ..ListPlatform::default()
    }
}

fn told<T: serde::Serialize>(entries: &T) -> Result<Json> {
    serde_json::to_value(entries).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the manifest is damaged: {error}"))
}

fn parsed(bytes: &[u8]) -> Result<Json> {
    serde_json::from_slice(bytes).map_err(|error| damaged(&error))
}

/// With tabs, as docker prints it.
fn indented(value: &Json) -> Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
    written.map_err(|error| damaged(&error))?;
    Ok(escape::json(String::from_utf8_lossy(&out).into_owned()))
}
