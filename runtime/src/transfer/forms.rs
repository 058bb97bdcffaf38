//! The forms in which registries are known to have layers: from the manifests that came with images, or went.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::error::Result;
use crate::image::config::ImageConfig;
use crate::image::store::{ImageRecord, Store};
use crate::reference::Reference;
use crate::registry::manifest::{self, Descriptor, Document, Manifest};

/// A compressed layer that a registry has, or had.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    /// How manifests point to it.
    pub(super) descriptor: Descriptor,
    /// Repositories of the registry in question that have an image with it.
    pub(super) repositories: Vec<String>,
}

/// Known forms by diff ID.
pub(super) type Forms = HashMap<Digest, Vec<Form>>;

/// The manifests of an image that are kept, with their exact bytes.
pub(super) fn manifests(store: &Store, record: &ImageRecord) -> Vec<(Vec<u8>, Manifest)> {
    let read = |digest: &Digest| {
        let bytes = store.blob(digest).ok()?;
        match manifest::parse_kept(&bytes).ok()? {
            Document::Image(manifest) if manifest.config.digest == record.id => Some((bytes, manifest)),
            _ => None,
        }
    };
    record.manifests.iter().filter_map(read).collect()
}

/// What is known of a registry's layers. The forms of `own` come first. An image that cannot be read is passed over.
pub(super) fn forms(store: &Store, own: &Digest, registry: &str) -> Result<Forms> {
    let mut forms = Forms::new();
    let mut ids = store.image_ids()?;
    ids.sort_by_key(|id| id != own);
    for id in ids {
        let Ok(record) = store.image_record(&id) else { continue };
        let manifests = manifests(store, &record);
        if manifests.is_empty() {
            continue;
        }
        let config = store.blob(&id).and_then(|bytes| ImageConfig::from_bytes(&bytes));
        let Ok(config) = config else { continue };
        let repositories = repositories(&record, registry);
        for (_, manifest) in manifests {
            for (descriptor, diff_id) in manifest.layers.into_iter().zip(&config.rootfs.diff_ids) {
                add(forms.entry(diff_id.clone()).or_default(), descriptor, &repositories);
            }
        }
    }
    Ok(forms)
}

fn add(known: &mut Vec<Form>, descriptor: Descriptor, repositories: &[String]) {
    match known.iter_mut().find(|form| form.descriptor == descriptor) {
        Some(form) => {
            for repository in repositories {
                if !form.repositories.contains(repository) {
                    form.repositories.push(repository.clone());
                }
            }
        }
        None => known.push(Form { descriptor, repositories: repositories.to_vec() }),
    }
}

/// The repositories of a registry that have the image.
fn repositories(record: &ImageRecord, registry: &str) -> Vec<String> {
    let names = record.repo_digests.iter().filter_map(|name| Reference::parse(name).ok());
    names.filter(|name| name.registry() == registry).map(|name| name.repository().to_owned()).collect()
}
