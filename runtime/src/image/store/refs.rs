//! References: one small file for each name, and finding an image by what a user typed.

use std::path::Path;

use rustix::fs::AtFlags;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Store, no_such_image};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, Durability};
use crate::paths::Root;
use crate::reference::{Lookup, Reference};

const REF_MAX: usize = 64 << 10;

/// The content of a reference's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefTarget {
    /// The image; 64 hex digits on disk.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub image: Digest,
    /// The manifest under which a registry gave it.
    pub manifest: Option<Digest>,
}

fn to_hex<S: Serializer>(digest: &Digest, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(digest.hex())
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Digest, D::Error> {
    let hex = String::deserialize(deserializer)?;
    Digest::from_hex(&hex).map_err(serde::de::Error::custom)
}

/// An image found by what a user typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The image's id.
    pub id: Digest,
    /// The name, where it was found by one.
    pub reference: Option<Reference>,
}

impl Store {
    /// What a name points to; `None` if there is no such name.
    pub fn ref_target(&self, reference: &Reference) -> Result<Option<RefTarget>> {
        let Some(path) = self.root.reference(reference) else {
            return Ok(None);
        };
        match file::read_json(&path, REF_MAX) {
            Ok(target) => Ok(Some(target)),
            // ENOTDIR and ENAMETOOLONG: a name that no file of the store can have.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds an image by name, by id, or by the unique beginning of an id, in docker's order.
    pub fn find(&self, text: &str) -> Result<Found> {
        let lookup = Lookup::parse(text)?;
        if let Some(id) = &lookup.id {
            return match file::exists(&self.root.image(id))? {
                true => Ok(Found { id: id.clone(), reference: None }),
                false => Err(no_such_image(id.as_str())),
            };
        }
        if let Some(reference) = &lookup.reference
            && let Some(id) = self.find_reference(reference)?
        {
            return Ok(Found { id, reference: lookup.reference });
        }
        if let Some(prefix) = &lookup.prefix {
            let matching: Vec<Digest> =
                self.image_ids()?.into_iter().filter(|id| id.hex().starts_with(prefix.as_str())).collect();
            match matching.as_slice() {
                [] => {}
                [id] => return Ok(Found { id: id.clone(), reference: None }),
                _ => return Err(ambiguous(prefix)),
            }
        }
        Err(no_such_image(&lookup.shown()))
    }

    fn find_reference(&self, reference: &Reference) -> Result<Option<Digest>> {
        let Some(digest) = reference.digest() else {
            return Ok(self.ref_target(reference)?.map(|target| target.image));
        };
        // With a digest the tag is only a comment, as in docker.
        let name = format!("{}/{}@{digest}", reference.registry(), reference.repository());
        for id in self.image_ids()? {
            match self.image_record(&id) {
                Ok(record) if record.digest_names().any(|known| *known == name) => return Ok(Some(id)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Ids of all images, unordered.
    pub fn image_ids(&self) -> Result<Vec<Digest>> {
        let names = file::list_dir(&self.root.images())?;
        Ok(names.iter().filter_map(|n| Digest::from_hex(n.strip_suffix(".json")?).ok()).collect())
    }

    /// Writes a reference; the caller holds `refs.lock`.
    pub(super) fn write_ref(&self, reference: &Reference, id: &Digest, manifest: Option<&Digest>) -> Result<()> {
        let Some(path) = self.root.reference(reference) else {
            return Err(Error::new(ErrorKind::Invalid, format!("{reference} has no tag")));
        };
        self.make_repository(reference)?;
        let target = RefTarget { image: id.clone(), manifest: manifest.cloned() };
        file::write_atomic(&path, &file::to_json(&target)?, Durability::Flushed)
            .map_err(|e| e.context(format!("tag {}", reference.familiar_with_tag())))
    }

    /// Makes the repository's directories, each durable in its parent.
    fn make_repository(&self, reference: &Reference) -> Result<()> {
        let mut missing = Vec::new();
        let mut dir = self.root.repository(reference);
        while dir != self.root.refs() && !file::exists(&dir)? {
            missing.push(dir.clone());
            if !dir.pop() {
                break;
            }
        }
        for dir in missing.iter().rev() {
            file::ensure_dir(dir)?;
            if let Some(parent) = dir.parent() {
                file::fsync_dir(parent)?;
            }
        }
        Ok(())
    }

    /// Removes a reference and the directories that it leaves empty; the caller holds `refs.lock`.
    pub(in crate::image) fn remove_ref(&self, reference: &Reference) -> Result<bool> {
        let Some(path) = self.root.reference(reference) else {
            return Ok(false);
        };
        let error = |e: rustix::io::Errno| Error::from(e).context(format!("untag {}", reference.familiar_with_tag()));
        match rustix::fs::unlink(&path) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(error(errno)),
        }
        file::fsync_dir(&self.root.repository(reference))?;
        let mut dir = self.root.repository(reference);
        while dir != self.root.refs() && rustix::fs::unlinkat(rustix::fs::CWD, &dir, AtFlags::REMOVEDIR).is_ok() {
            if !dir.pop() {
                break;
            }
        }
        Ok(true)
    }

    /// Removes an image's record; the caller holds `refs.lock`.
    pub(in crate::image) fn remove_record(&self, id: &Digest) -> Result<()> {
        let dir = file::open_dir(&self.root.images())?;
        rustix::fs::unlinkat(&dir, Path::new(&Root::image_file(id)), AtFlags::empty())?;
        Ok(rustix::fs::fsync(dir)?)
    }
}

fn ambiguous(prefix: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("Multiple IDs found with provided prefix: {prefix}"))
}
