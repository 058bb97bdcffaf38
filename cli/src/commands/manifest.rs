//! `manifest inspect`: an image's manifest, as it is kept here, as a registry has it, or as it would be.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::store::{Image, Store};
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::manifest::{Descriptor, OCI_CONFIG, oci_manifest};
use serde::Serialize as _;
use serde_json::Value as Json;

use super::access::Registries;
use crate::args::{Global, ManifestArgs};
use crate::context;
use crate::ui::{escape, output};

/// The type of a layer that is not compressed: as it lies here.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Runs the command.
pub fn run(global: &Global, args: &ManifestArgs) -> Result<u8> {
    let store = context::engine(global)?.store;
    let bytes = match store.resolve(&args.name) {
        Ok(image) => of_image(&store, &image, &args.name)?,
        Err(error) if error.kind() == ErrorKind::NotFound => of_registry(&args.name)?,
        Err(error) => return Err(error),
    };
    output::line(&indented(&bytes)?);
    Ok(0)
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
    let part = |media_type: &str, digest: &lrun_runtime::digest::Digest, size: u64| Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        platform: None,
    };
    let layer = |layer| Ok(part(OCI_LAYER, layer, store.layer_meta(layer)?.size));
    let layers = image.record.layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
    Ok(oci_manifest(&part(OCI_CONFIG, &image.id, image.bytes.len() as u64), &layers))
}

fn of_registry(name: &str) -> Result<Vec<u8>> {
    let registries = Registries::open()?;
    let reference = registries.settings.registries.qualify(name)?;
    let wanted = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or(DEFAULT_TAG).to_owned(),
    };
    let mut failure = None;
    for client in registries.sources(&reference)? {
        match client.manifest(&wanted) {
            Ok(found) => return Ok(found.bytes),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::NotFound, format!("no such manifest: {name}"))))
}

/// With tabs, as docker prints it.
fn indented(bytes: &[u8]) -> Result<String> {
    let damaged =
        |error: serde_json::Error| Error::new(ErrorKind::Corrupt, format!("the manifest is damaged: {error}"));
    let value: Json = serde_json::from_slice(bytes).map_err(damaged)?;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(damaged)?;
    Ok(escape::json(String::from_utf8_lossy(&out).into_owned()))
}
