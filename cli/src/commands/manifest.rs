//! `manifest inspect`: an image's manifest, as it is kept here, as a registry has it, or as it would be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::config::ImageConfig;
use lrun_runtime::image::store::{Image, Store};
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::client::{Client, Fetched};
use lrun_runtime::registry::manifest::{
    self, DOCKER_MANIFEST, Descriptor, Document, OCI_CONFIG, OCI_MANIFEST, oci_manifest,
};
use serde::Serialize as _;
use serde_json::{Value as Json, json};

use super::access::Registries;
use crate::args::{Global, ManifestArgs};
use crate::context;
use crate::ui::{escape, output};

/// The type of a layer that is not compressed: as it lies here.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Runs the command. Who says how the registry is to be asked wants it to be asked.
pub fn run(global: &Global, args: &ManifestArgs) -> Result<u8> {
    let store = context::engine(global)?.store;
    let found = if args.insecure { None } else { of_store(&store, args)? };
    let value = found.map_or_else(|| of_registry(global, args), Ok)?;
    output::line(&indented(&value)?);
    Ok(0)
}

/// `None`: the registry must be asked.
fn of_store(store: &Store, args: &ManifestArgs) -> Result<Option<Json>> {
    let image = match store.resolve(&args.name) {
        Ok(image) => image,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = of_image(store, &image, &args.name)?;
    if !args.verbose {
        return parsed(&bytes).map(Some);
    }
    match manifest::parse_kept(&bytes)? {
        // Of its other images nothing is kept.
        Document::Index(_) => Ok(None),
        Document::Image(manifest) => {
            let name = Reference::parse(&args.name).map_or_else(|_| args.name.clone(), |name| name.to_string());
            let found = Fetched { digest: Digest::of(&bytes), bytes, media_type: manifest.media_type };
            described(&name, &found, Some(platform(&image.config))).map(Some)
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
    let (registries, reference) = Registries::open_for(global, &args.name, args.insecure)?;
    let mut failure = Error::new(ErrorKind::NotFound, format!("no such manifest: {}", args.name));
    for client in registries.sources(&reference)? {
        match of_client(&client, &reference, args.verbose) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                failure = error.context(format!("no such manifest: {}", args.name));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn of_client(client: &Client<'_>, reference: &Reference, verbose: bool) -> Result<Json> {
    let digest = reference.digest().map(Digest::to_string);
    let found = client.manifest(digest.as_deref().or(reference.tag()).unwrap_or(DEFAULT_TAG))?;
    if !verbose {
        return parsed(&found.bytes);
    }
    match manifest::parse(&found.bytes, &found.media_type)? {
        Document::Image(image) => {
            let config = ImageConfig::from_bytes(&client.small_blob(&image.config)?)?;
            described(&reference.to_string(), &found, Some(platform(&config)))
        }
        Document::Index(entries) => {
            let index = parsed(&found.bytes)?;
            let each = entries.iter().enumerate().map(|(at, entry)| {
                let found = client.manifest(entry.digest.as_str())?;
                let tag = reference.tag().map_or_else(String::new, |tag| format!(":{tag}"));
                let name = format!("{}/{}{tag}@{}", reference.registry(), reference.repository(), entry.digest);
                described(&name, &found, index["manifests"][at].get("platform").cloned())
            });
            each.collect::<Result<Vec<_>>>().map(Json::Array)
        }
    }
}

/// One manifest as docker's `--verbose` has it.
fn described(name: &str, found: &Fetched, platform: Option<Json>) -> Result<Json> {
    let media_type = found.media_type.split(';').next().unwrap_or_default().trim();
    let mut value = json!({
        "Ref": name,
        "Descriptor": {"mediaType": media_type, "digest": found.digest, "size": found.bytes.len()},
        "Raw": STANDARD.encode(&found.bytes),
    });
    if let Some(platform) = platform {
        value["Descriptor"]["platform"] = platform;
    }
    match media_type {
        OCI_MANIFEST => value["OCIManifest"] = parsed(&found.bytes)?,
        DOCKER_MANIFEST => value["SchemaV2Manifest"] = parsed(&found.bytes)?,
        _ => {}
    }
    Ok(value)
}

fn platform(config: &ImageConfig) -> Json {
    let mut platform = json!({"architecture": config.architecture, "os": config.os});
    if !config.variant.is_empty() {
        platform["variant"] = json!(config.variant);
    }
    platform
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
