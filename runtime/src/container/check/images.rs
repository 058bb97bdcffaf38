//! Blobs, image records and references.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Check, Source};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::file::{self, Durability, search_byte};
use crate::image::config::ImageConfig;
use crate::image::store::{ImageRecord, RefTarget};
use crate::reference::Reference;

/// Configs are searched for a damaged byte up to this size: a search digests the whole for every byte.
const SEARCHED: usize = 16 << 10;

impl Check<'_> {
    pub(super) fn images(&mut self) -> Result<()> {
        let names = self.ref_names();
        let mut records = Vec::new();
        let mut ids = BTreeSet::new();
        for name in file::list_dir(&self.root().images())? {
            match name.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok()) {
                Some(id) => drop(ids.insert(id)),
                None => self.leftover(format!("images/{name}: is no image's record")),
            }
        }
        // A removal takes the names first: who has a name has lost the record.
        for (id, _) in &names {
            if file::exists(&self.root().blob(id))? {
                ids.insert(id.clone());
            }
        }
        for id in ids {
            let own: Vec<String> = names.iter().filter(|(target, _)| *target == id).map(|(_, n)| n.clone()).collect();
            let words = format!("image {}", own.first().map_or(id.short(), String::as_str));
            let sources = self.sources_of(&id);
            self.blob(&id, &format!("{words}: config"), &sources)?;
            self.blobs.entry(id.clone()).or_default().push(words.clone());
            if let Some(record) = self.image(&id, &words, &sources)? {
                records.push(record);
            }
        }
        self.references(&records)
    }

    /// Image ids and the names that can be read; those that cannot are looked at later.
    fn ref_names(&self) -> Vec<(Digest, String)> {
        let files = self.engine.store.reference_files().unwrap_or_default();
        let name = |(name, path): (String, std::path::PathBuf)| {
            let target: RefTarget = file::read_json(&path, super::MOST).ok()?;
            Some((target.image, Reference::parse(&name).ok()?.familiar_with_tag()))
        };
        files.into_iter().filter_map(name).collect()
    }

    fn names_of(&self, id: &Digest) -> Vec<String> {
        self.ref_names().into_iter().filter(|(target, _)| target == id).map(|(_, name)| name).collect()
    }

    /// Where the image came from, as its record says.
    fn sources_of(&self, id: &Digest) -> Vec<Source> {
        let config = self.engine.store.blob(id).and_then(|bytes| ImageConfig::from_bytes(&bytes)).ok();
        let platform = config.map(|config| (config.os, config.architecture, config.variant));
        let names = self.engine.store.image_record(id).map(|record| record.repo_digests).unwrap_or_default();
        let references = names.iter().filter_map(|name| Reference::parse(name).ok());
        references.map(|reference| Source { reference, platform: platform.clone() }).collect()
    }

    fn image(&mut self, id: &Digest, words: &str, sources: &[Source]) -> Result<Option<ImageRecord>> {
        let path = self.root().image(id);
        let place = format!("{words}: record");
        let hint = format!("pull or import it again, or remove it: lrun rmi -f {}", id.short());
        let record = match self.read_sealed::<ImageRecord>(&path)? {
            super::Sealed::Good(record) => record,
            super::Sealed::Mended(record, what) => {
                self.tell(format!("{place}: {what}"), true, None);
                record
            }
            // It was removed a moment ago, its names first.
            super::Sealed::Lost(_) if !file::exists(&path)? && self.names_of(id).is_empty() => return Ok(None),
            super::Sealed::Lost(what) => {
                let made = self.options.repair.then(|| self.engine.store.restore_record(id)).transpose();
                let hint = match &made {
                    Err(error) => format!("it could not be made again: {error}"),
                    Ok(_) => hint,
                };
                let made = made.unwrap_or_default();
                self.tell(format!("{place}: {what}"), made.is_some(), Some(hint));
                let Some(record) = made.or_else(|| self.engine.store.record_of_config(id).ok()) else {
                    return Ok(None);
                };
                record
            }
        };
        self.stacks.insert(record.layers.clone());
        for layer in &record.layers {
            self.sources.entry(layer.clone()).or_default().extend_from_slice(sources);
            let users = self.users.entry(layer.clone()).or_default();
            if !users.iter().any(|user| user == words) {
                users.push(words.to_owned());
            }
        }
        for manifest in &record.manifests {
            self.blob(manifest, &format!("{words}: manifest"), sources)?;
            self.blobs.entry(manifest.clone()).or_default().push(words.to_owned());
        }
        let told = record.id == *id && self.agrees(id, &record);
        if !told {
            let line = format!("{place}: does not agree with the image's config");
            let mended = self.options.repair && self.engine.store.restore_record(id).is_ok();
            self.tell(line, mended, Some("remove the image: lrun rmi -f".to_owned()));
        }
        Ok(Some(record))
    }

    /// Whether the record has the layers of the config; a config that cannot be read is told of elsewhere.
    fn agrees(&self, id: &Digest, record: &ImageRecord) -> bool {
        let config = self.engine.store.blob(id).and_then(|bytes| ImageConfig::from_bytes(&bytes));
        config.map_or(true, |config| config.rootfs.diff_ids == record.layers)
    }

    /// A blob against its digest.
    pub(super) fn blob(&mut self, digest: &Digest, place: &str, sources: &[Source]) -> Result<()> {
        let path = self.root().blob(digest);
        let (what, mut mended) = match file::read_small(&path, super::MOST) {
            Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(()),
            Ok(bytes) => (format!("blob {} was changed", digest.short()), self.mend_blob(digest, bytes)?),
            Err(error) => (super::reason(error)?, false),
        };
        let mut failure = None;
        if !mended {
            failure = self.ask(sources);
            mended = self.options.repair && self.engine.store.blob(digest).is_ok();
        }
        let hint = failure.unwrap_or_else(|| "pull or import the image again, or remove it".to_owned());
        self.tell(format!("{place}: {what}"), mended, Some(hint));
        Ok(())
    }

    /// One damaged byte of a small blob is found by its digest.
    fn mend_blob(&self, digest: &Digest, mut bytes: Vec<u8>) -> Result<bool> {
        let small = self.options.repair && bytes.len() <= SEARCHED;
        let mended = small && search_byte(&mut bytes, |bytes| Digest::of(bytes) == *digest);
        if mended {
            file::write_atomic(&self.root().blob(digest), &bytes, Durability::Flushed)?;
        }
        Ok(mended)
    }

    fn references(&mut self, records: &[ImageRecord]) -> Result<()> {
        for (name, path) in self.engine.store.reference_files()? {
            let Ok(reference) = Reference::parse(&name) else {
                self.leftover(format!("refs/{name}: is no reference"));
                continue;
            };
            self.reference(&reference, &path, records)?;
        }
        for name in file::list_dir(&self.root().blobs())? {
            match Digest::from_hex(&name) {
                Ok(digest) if self.blobs.contains_key(&digest) || self.is_base(&digest)? => {}
                Ok(digest) => self.leftover(format!("blob {}: nothing uses it", digest.short())),
                Err(_) => self.leftover(format!("blobs/sha256/{name}: is no blob")),
            }
        }
        Ok(())
    }

    fn reference(&mut self, reference: &Reference, path: &Path, records: &[ImageRecord]) -> Result<()> {
        let name = reference.familiar_with_tag();
        let place = format!("reference {name}");
        match self.read_sealed::<RefTarget>(path)? {
            super::Sealed::Good(target) => {
                let (store, image) = (&self.engine.store, &target.image);
                // With the image a removal takes its names, before its record; one that lost only that is told of, and
                // keeps its names.
                let lost = !file::exists(&self.root().image(image))? && !file::exists(&self.root().blob(image))?;
                if lost && store.ref_target(reference)?.is_some_and(|now| now.image == *image) {
                    let mended = self.options.repair && store.untag_from(reference, image)?;
                    let line = format!("{place}: points to image {}, which is not here", image.short());
                    self.tell(line, mended, None);
                }
            }
            super::Sealed::Mended(_, what) => self.tell(format!("{place}: {what}"), true, None),
            // It was removed a moment ago.
            super::Sealed::Lost(_) if !file::exists(path)? => {}
            super::Sealed::Lost(what) => {
                let mut named = records.iter().filter(|record| record.names.contains(&name));
                let mended = match (self.options.repair, named.next(), named.next()) {
                    // The only image that ever had the name.
                    (true, Some(record), None) => self.engine.store.tag(&record.id, reference).is_ok(),
                    (true, ..) => {
                        self.engine.store.untag(reference)?;
                        false
                    }
                    (false, ..) => false,
                };
                let hint = format!("the name was removed; give it again: lrun tag IMAGE {name}");
                self.tell(format!("{place}: {what}"), mended, Some(hint));
            }
        }
        Ok(())
    }

    /// Whether a container was made from the image with this config, which is removed.
    fn is_base(&self, digest: &Digest) -> Result<bool> {
        match super::all_containers(self.engine).uses() {
            Ok(uses) => Ok(uses.iter().any(|container| container.image == *digest)),
            // Nothing is called unused whose users are not all known.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }
}
