//! Where an image is known from: the manifests and digests under which registries have it.

use super::{ImageRecord, Store, add_names};
use crate::digest::Digest;
use crate::error::Result;
use crate::reference::Reference;

impl Store {
    /// Notes that a registry has the image: under `top`, the digest of its manifest or index, in the repository of
    /// `reference`, whose tag, if it has one, points to the image from then on. `documents` are kept: the index, if there
    /// is one, and the manifest.
    ///
    /// The caller holds [`Store::lock_shared`] and has published the image.
    pub fn note_origin(&self, id: &Digest, reference: &Reference, top: &Digest, documents: &[&[u8]]) -> Result<()> {
        let kept = documents.iter().map(|bytes| self.publish_blob(bytes)).collect::<Result<Vec<_>>>()?;
        let _refs_lock = self.lock_refs()?;
        let mut record = self.image_record(id)?;
        for manifest in kept {
            if !record.manifests.contains(&manifest) {
                record.manifests.push(manifest);
            }
        }
        let name = format!("{}/{}@{top}", reference.registry(), reference.repository());
        record.forgotten.retain(|gone| *gone != name);
        if !record.repo_digests.contains(&name) {
            record.repo_digests.push(name);
        }
        let tagged = reference.tag().filter(|_| reference.digest().is_none()).map(|tag| reference.with_tag(tag));
        let tagged = tagged.transpose()?;
        add_names(&mut record, tagged.as_slice());
        self.write_record(&record)?;
        match tagged {
            Some(tagged) => self.write_ref(&tagged, id, Some(top)),
            None => Ok(()),
        }
    }

    /// Removes a name by digest from an image that stays; the caller holds `refs.lock`.
    pub(in crate::image) fn forget_digest(&self, id: &Digest, name: &Reference) -> Result<()> {
        let mut record = self.image_record(id)?;
        record.forgotten.push(name.to_string());
        self.write_record(&record)
    }
}

impl ImageRecord {
    /// Names of it by digest, in complete form.
    pub fn digest_names(&self) -> impl Iterator<Item = &String> {
        self.repo_digests.iter().filter(|name| !self.forgotten.contains(name))
    }
}
