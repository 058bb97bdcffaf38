//! What builds have left in the cache, for people: `system df`, `buildx du`.

use jiff::Timestamp;

use super::cache::Entry;
use crate::digest::Digest;
use crate::error::Result;
use crate::file;
use crate::image::store::Store;

/// What is known of a step. Its layer is not counted: it is one of an image's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Digest of the step's input.
    pub key: Digest,
    /// Bytes that the entry takes on disk.
    pub bytes: u64,
    /// When the step was made.
    pub created: Option<Timestamp>,
    /// The instruction, or what else is known of its input.
    pub description: String,
}

/// All entries, newest first. Those that are damaged are left out.
pub fn list(store: &Store) -> Result<Vec<Listed>> {
    let root = store.root();
    let mut all = Vec::new();
    for name in file::list_dir(&root.cache())? {
        let Some(key) = name.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok()) else { continue };
        let path = root.cache_entry(&key);
        let Ok(entry) = file::read_json::<Entry>(&path, super::cache::MOST) else { continue };
        let bytes = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
        let known = Some(entry.text).filter(|text| !text.is_empty());
        let description = known.or_else(|| entry.input.last().cloned()).unwrap_or_default();
        all.push(Listed { key, bytes, created: entry.created.parse().ok(), description });
    }
    all.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.key.as_str().cmp(other.key.as_str())));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::record;
    use crate::image::store::tests::{open, scratch};

    #[test]
    fn entries_are_listed_newest_first_and_damaged_ones_are_not() {
        let dir = scratch();
        let store = open(&dir);
        assert_eq!(list(&store).unwrap(), []);
        for (name, created) in [("old", "2025-01-01T00:00:00Z"), ("new", "2026-01-01T00:00:00Z")] {
            let entry = Entry::new(None, created.to_owned(), vec![format!("instruction {name}")]);
            record(store.root(), &Digest::of(name.as_bytes()), &entry).unwrap();
        }
        std::fs::write(store.root().cache_entry(&Digest::of(b"damaged")), "damaged").unwrap();
        let listed = list(&store).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].key, Digest::of(b"new"));
        assert_eq!(listed[1].description, "instruction old");
        assert!(listed[0].bytes > 50);
    }
}
