//! An image of a registry of which layers are pulled one by one, as they are needed.
//!
//! Runs in the CLI. As in a pull, every document and every layer is what its digest says.

use super::layers::{Job, fetch};
use super::pull::{any, find};
use super::{Events, PullOptions};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::RemoveTree;
use crate::idmap::IdMap;
use crate::image::config::ImageConfig;
use crate::image::store::Store;
use crate::reference::Reference;
use crate::registry::client::Client;
use crate::registry::manifest::Descriptor;

/// Such an image.
pub struct Parts<'a> {
    clients: Vec<Client<'a>>,
    manifest: Digest,
    config: Vec<u8>,
    layers: Vec<(Descriptor, Digest)>,
}

impl<'a> Parts<'a> {
    /// Asks for the manifest and the config.
    pub fn find(
        clients: Vec<Client<'a>>,
        reference: &Reference,
        options: &PullOptions,
        events: &Events<'_>,
    ) -> Result<Self> {
        let digest = reference.digest().map(Digest::to_string);
        let wanted = digest.as_deref().or(reference.tag()).unwrap_or_default();
        let mut found = Err(Error::new(ErrorKind::Invalid, format!("no registry for {reference}")));
        for at in 0..clients.len() {
            found = find(&clients[at..], wanted, options, events);
            if found.is_ok() {
                break;
            }
        }
        let found = found?;
        let digest = found.documents.last().map_or(found.top, |document| document.digest.clone());
        let manifest = found.manifest;
        let config = any(&clients, events, |client| client.small_blob(&manifest.config))?;
        let diff_ids = ImageConfig::from_bytes(&config)?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(Error::new(ErrorKind::Corrupt, "the manifest has not as many layers as the config"));
        }
        let layers = manifest.layers.into_iter().zip(diff_ids).collect();
        Ok(Self { clients, manifest: digest, config, layers })
    }

    /// Its manifest's digest.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// Its config.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Brings a layer into the store. The caller has one thread, and holds [`Store::lock_shared`].
    pub fn bring(
        &self,
        (store, map): (&Store, &IdMap),
        diff_id: &Digest,
        events: &Events<'_>,
        remove: &mut RemoveTree<'_>,
    ) -> Result<()> {
        let found = self.layers.iter().find(|(_, known)| known == diff_id);
        let (descriptor, _) =
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("layer {diff_id} is not in it")))?;
        let job = Job { descriptor: descriptor.clone(), diff_id: diff_id.clone(), source: 0 };
        fetch((store, map), &self.clients, vec![job], events, remove).map(drop)
    }
}
