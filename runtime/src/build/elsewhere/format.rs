//! Cache entries as a field of an image's config.
//!
//! A cache that was exported is an image whose layers are the steps' layers, so that every registry and every program for OCI
//! images keeps it whole. The image that was built may carry the entries of its own steps.
//!
//! ```json
//! "dev.lrun.cache.v1": [{"key": "sha256:…", "layer": "sha256:…", "created": "2026-01-01T00:00:00Z"}]
//! ```
//! `layer` is absent for a step that changed no file. What the input was in words is not exported: it may say what only this
//! machine's user is to know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::build::cache::Entry;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::config::{ImageConfig, RootFs};
use crate::image::store::{Image, ImageRecord};
use crate::registry::platform::Platform;

/// The field.
pub const FIELD: &str = "dev.lrun.cache.v1";

#[derive(Serialize, Deserialize)]
struct Step {
    key: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<Digest>,
    created: String,
}

/// Adds the entries to the config of an image that has their layers.
pub fn add(config: &mut ImageConfig, entries: &[(Digest, Entry)]) -> Result<()> {
    let steps = entries.iter().map(|(key, entry)| {
        let Entry { layer, created, .. } = entry.clone();
        Step { key: key.clone(), layer, created }
    });
    let field = serde_json::to_value(steps.collect::<Vec<_>>())
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("encode the cache: {error}")))?;
    config.extra.insert(FIELD.to_owned(), field);
    Ok(())
}

/// An image of these entries alone. It is not in the store; its layers are.
pub fn image(entries: &[(Digest, Entry)], platform: &Platform) -> Result<Image> {
    let mut diff_ids: Vec<Digest> = Vec::new();
    for layer in entries.iter().filter_map(|(_, entry)| entry.layer.as_ref()) {
        if !diff_ids.contains(layer) {
            diff_ids.push(layer.clone());
        }
    }
    let Platform { os, architecture, variant } = platform.clone();
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let mut config = ImageConfig { os, architecture, variant, rootfs, ..ImageConfig::default() };
    add(&mut config, entries)?;
    let bytes = config.to_bytes()?;
    let id = Digest::of(&bytes);
    let record = ImageRecord {
        version: 1,
        id: id.clone(),
        parent: None,
        created: None,
        layers: config.rootfs.diff_ids.clone(),
        size: 0,
        names: Vec::new(),
        repo_digests: Vec::new(),
        forgotten: Vec::new(),
        manifests: Vec::new(),
        extra: BTreeMap::new(),
    };
    Ok(Image { id, bytes, config, record })
}

/// The entries of a config; `None`: it has no cache. Those that could not be used are left out.
pub fn read(bytes: &[u8]) -> Result<Option<BTreeMap<Digest, Entry>>> {
    let config = ImageConfig::from_bytes(bytes)?;
    let Some(field) = config.extra.get(FIELD) else { return Ok(None) };
    let steps = Vec::<Step>::deserialize(field)
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("a cache that cannot be read: {error}")))?;
    let usable = |step: &Step| {
        let there = step.layer.as_ref().is_none_or(|layer| config.rootfs.diff_ids.contains(layer));
        there && step.created.parse::<Timestamp>().is_ok()
    };
    let entries = steps.into_iter().filter(usable);
    Ok(Some(entries.map(|step| (step.key, Entry::new(step.layer, step.created, Vec::new()))).collect()))
}

/// Whether this is the config of a cache alone, as [`image`] makes it; an image that carries one has a history.
pub fn is_cache(bytes: &[u8]) -> bool {
    read(bytes).is_ok_and(|entries| entries.is_some())
        && ImageConfig::from_bytes(bytes).is_ok_and(|config| config.history.is_empty() && config.created.is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_used() {
        let entry = |layer: Option<&str>| {
            Entry::new(layer.map(digest), "2026-01-01T00:00:00Z".to_owned(), vec!["a secret word".to_owned()])
        };
        let entries = [(digest("1"), entry(Some("a"))), (digest("2"), entry(None)), (digest("3"), entry(Some("a")))];
        let image = image(&entries, &Platform::new("linux", "amd64", "")).unwrap();
        assert_eq!(image.config.rootfs.diff_ids, [digest("a")]);
        assert!(!String::from_utf8_lossy(&image.bytes).contains("secret"));
        let found = read(&image.bytes).unwrap().unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[&digest("1")], Entry::new(Some(digest("a")), "2026-01-01T00:00:00Z".to_owned(), Vec::new()));
        // A layer that the image does not have, a time that is none.
        let mut config = image.config;
        config.rootfs.diff_ids.clear();
        assert_eq!(read(&config.to_bytes().unwrap()).unwrap().unwrap().len(), 1);
        add(&mut config, &[(digest("2"), Entry::new(None, "yesterday".to_owned(), Vec::new()))]).unwrap();
        assert_eq!(read(&config.to_bytes().unwrap()).unwrap().unwrap().len(), 0);
        config.extra.clear();
        assert_eq!(read(&config.to_bytes().unwrap()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_field_panics(field in "[\\[\\]{}a-z0-9\":,]{0,60}") {
            let text = format!("{{\"rootfs\":{{\"type\":\"layers\"}},\"{FIELD}\":{field}}}");
            let _ = read(text.as_bytes());
        }
    }
}
