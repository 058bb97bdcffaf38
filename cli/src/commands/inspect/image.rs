//! What `inspect` tells of an image.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::config::Extra;
use lrun_runtime::image::store::{Image, Store};
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::manifest::{OCI_INDEX, OCI_MANIFEST};

use crate::commands::images::familiar_digests;
use crate::ui::inspect::Object;
use crate::ui::inspect::image::Image as Shown;

/// The image in docker's shape.
pub fn object(store: &Store, image: &Image) -> Result<Object> {
    let all = store.references()?;
    let names: Vec<&Reference> =
        all.iter().filter(|(_, target)| target.image == image.id).map(|(reference, _)| reference).collect();
    let config = &image.config;
    let comment = match config.history.last() {
        Some(step) if config.comment.is_empty() => step.comment.clone(),
        _ => config.comment.clone(),
    };
    let shown = Shown {
        id: image.id.to_string(),
        tags: names.iter().map(|name| name.familiar_with_tag()).collect(),
        digests: familiar_digests(&image.record),
        parent: image.record.parent.as_ref().map_or_else(String::new, Digest::to_string),
        comment,
        created: config.created_at(),
        docker_version: text(&config.extra, "docker_version"),
        author: config.author.clone(),
        config: serde_json::to_value(&config.config).map_err(|e| Error::new(ErrorKind::Corrupt, e.to_string()))?,
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: text(&config.extra, "os.version"),
        size: image.record.size,
        directories: directories(store, &image.record.layers),
        layers: config.rootfs.diff_ids.iter().map(Digest::to_string).collect(),
        tagged: names.iter().filter_map(|name| tagged(store, name)).max(),
        descriptor: image.record.manifests.first().and_then(|manifest| descriptor(store, manifest)),
    };
    Ok(shown.object())
}

/// A text among the fields that lrun does not interpret.
fn text(extra: &Extra, name: &str) -> String {
    extra.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// Media type, digest and size of a manifest that is kept; none if it is not there any more.
fn descriptor(store: &Store, manifest: &Digest) -> Option<(String, String, u64)> {
    let bytes = store.blob(manifest).ok()?;
    let document: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let only = if document.get("manifests").is_some() { OCI_INDEX } else { OCI_MANIFEST };
    let media_type = document.get("mediaType").and_then(|own| own.as_str()).unwrap_or(only);
    Some((media_type.to_owned(), manifest.to_string(), bytes.len() as u64))
}

/// The top layer, and those below it from the top down.
fn directories(store: &Store, layers: &[Digest]) -> BTreeMap<String, String> {
    let mut paths = layers.iter().rev().map(|layer| store.root().layer_diff(layer).display().to_string());
    let mut directories = BTreeMap::new();
    directories.extend(paths.next().map(|top| ("UpperDir".to_owned(), top)));
    let below = paths.collect::<Vec<_>>().join(":");
    directories.extend((!below.is_empty()).then(|| ("LowerDir".to_owned(), below)));
    directories
}

/// When the name was given: its file is written whole, and only then.
fn tagged(store: &Store, name: &Reference) -> Option<Timestamp> {
    let modified = std::fs::metadata(store.root().reference(name)?).and_then(|metadata| metadata.modified());
    Timestamp::try_from(modified.ok()?).ok()
}
