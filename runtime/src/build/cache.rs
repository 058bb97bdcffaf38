//! The build cache: what a step with a certain input has made before.
//!
//! An entry is a small file named after the digest of the input. It keeps nothing alive: when its layer is gone the step
//! runs again. Losing an entry costs time, no more, so that none is flushed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hide::without_users;
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Result};
use crate::file::{self, Durability};
use crate::image::store::Store;
use crate::paths::Root;

const VERSION: u32 = 1;
/// An entry is far smaller.
pub(super) const MOST: usize = 64 << 10;
/// How the name of a file begins that tells what the step of an entry copied.
pub(super) const FILES: &str = "files-";

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// Its layer; `None`: it changed no file.
    pub layer: Option<Digest>,
    /// When, RFC 3339: the same step gives the same image again.
    pub created: String,
    /// The input in words, for people: the instruction, its arguments and what it copies.
    pub input: Vec<String>,
    /// The instruction as it is written; nothing, if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What a command read that is not the same each time, paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

impl Entry {
    /// A new one.
    pub fn new(layer: Option<Digest>, created: String, input: Vec<String>) -> Self {
        Self { version: VERSION, layer, created, input, text: String::new(), reads: Vec::new() }
    }

    /// The same, of a command that read these paths.
    #[must_use]
    pub fn reading(self, reads: Vec<String>) -> Self {
        Self { reads, ..self }
    }

    /// The same, of an instruction that is written like this.
    #[must_use]
    pub fn of(mut self, text: &str) -> Self {
        self.text = text.to_owned();
        self
    }
}

/// The input of a step, as it is gathered. Each part is hashed with its length, so that no two inputs look alike.
#[derive(Default)]
pub struct Key {
    hasher: Hasher,
    words: Vec<String>,
}

impl Key {
    /// Adds a part and what it is. In words, users and passwords of its URLs are a digest.
    pub fn add(&mut self, what: &str, value: &[u8]) {
        for part in [what.as_bytes(), value] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
        let text = String::from_utf8_lossy(value);
        let shown = without_users(&text);
        let hidden = if shown == text { String::new() } else { format!(" {}", Digest::of(value)) };
        self.words.push(format!("{what} {shown}{hidden}"));
    }

    /// Adds a part that is in no entry in clear text.
    pub fn add_secret(&mut self, what: &str, value: &[u8]) {
        self.add(what, Digest::of(value).as_str().as_bytes());
    }

    /// The key, and the input in words.
    pub fn finish(self) -> (Digest, Vec<String>) {
        (self.hasher.finish(), self.words)
    }
}

/// What the step with this key made, if the store still has it. A damaged entry counts as none.
pub fn find(store: &Store, key: &Digest) -> Option<Entry> {
    let entry = read(store.root(), key)?;
    let there = entry.layer.as_ref().is_none_or(|layer| store.layer_exists(layer).is_ok_and(|there| there));
    there.then_some(entry)
}

/// What the step with this key made, whether the store still has it or not.
pub(super) fn read(root: &Root, key: &Digest) -> Option<Entry> {
    let entry: Entry = file::read_json(&root.cache_entry(key), MOST).ok()?;
    (entry.version == VERSION).then_some(entry)
}

/// What a request for files finds in an image. Layers never change, so that it finds the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The digest of what it finds.
    pub digest: Digest,
    /// Whether that is one file.
    pub single: bool,
}

/// What the request with this key finds, if it was made before.
pub fn remembered(root: &Root, request: &Digest) -> Option<Found> {
    file::read_json(&root.cache_found(request), MOST).ok()
}

/// Remembers what a request finds. Where that cannot be written, the image is looked at again.
pub fn remember(root: &Root, request: &Digest, found: &Found) {
    let bytes = file::ensure_dir(&root.cache()).and_then(|()| file::to_json(found));
    let _ = bytes.and_then(|bytes| file::write_atomic(&root.cache_found(request), &bytes, Durability::Relaxed));
}

/// Records what the step with this key made.
pub fn record(root: &Root, key: &Digest, entry: &Entry) -> Result<()> {
    file::ensure_dir(&root.cache())?;
    file::write_atomic(&root.cache_entry(key), &file::to_json(entry)?, Durability::Relaxed)
}

/// Forgets what the store does not have any more, or with `all` everything, and what is known of the context's files; of
/// that only what `takes` picks by the time when it was written. The keys of what is forgotten, and the bytes of the files
/// that it stood in.
pub fn prune(store: &Store, all: bool, takes: &dyn Fn(Option<Timestamp>) -> bool) -> Result<(Vec<String>, u64)> {
    let (mut pruned, mut bytes) = (Vec::new(), 0);
    let root = store.root();
    for name in file::list_dir(&root.cache())? {
        let digest = |name: &str| name.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok());
        let key = digest(&name);
        let of = key.clone().or_else(|| name.strip_prefix(FILES).and_then(digest));
        if !all && of.is_none_or(|key| find(store, &key).is_some()) {
            continue;
        }
        let path = root.cache().join(&name);
        let found = std::fs::symlink_metadata(&path);
        let written = found.as_ref().ok().and_then(|found| Timestamp::try_from(found.modified().ok()?).ok());
        if !takes(written) {
            continue;
        }
        let size = found.map_or(0, |found| found.len());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            removed => removed.context(|| format!("remove {}", path.display()))?,
        }
        pruned.extend(key.map(|key| key.hex().to_owned()));
        bytes += size;
    }
    Ok((pruned, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::store::tests::{add_layer, open, scratch};

    fn key(parts: &[(&str, &str)]) -> Digest {
        let mut key = Key::default();
        parts.iter().for_each(|(what, value)| key.add(what, value.as_bytes()));
        key.finish().0
    }

    #[test]
    fn no_two_inputs_have_one_key() {
        let inputs: [&[(&str, &str)]; 5] =
            [&[], &[("run", "ab")], &[("run", "a"), ("run", "b")], &[("runa", "b")], &[("run", "a"), ("", "runb")]];
        for (at, one) in inputs.iter().enumerate() {
            assert!(inputs.iter().skip(at + 1).all(|other| key(one) != key(other)), "{one:?}");
            assert_eq!(key(one), key(one));
        }
    }

    #[test]
    fn a_secret_is_in_no_entry() {
        let mut key = Key::default();
        key.add_secret("secret", b"hunter2");
        assert!(!key.finish().1.concat().contains("hunter2"));
        let words = |password: &str| {
            let mut key = Key::default();
            key.add("argument", format!("URL=https://me:{password}@h/x").as_bytes());
            key.finish().1.concat()
        };
        assert!(words("hunter2").starts_with("argument URL=https://h/x sha256:"));
        assert_ne!(words("hunter2"), words("hunter3"));
    }

    #[test]
    fn an_entry_counts_while_its_layer_is_there_and_it_is_whole() {
        let dir = scratch();
        let store = open(&dir);
        let layer = add_layer(&store, "made");
        let entry = |layer| Entry::new(layer, "2026-01-01T00:00:00Z".to_owned(), vec!["run true".to_owned()]);
        let (made, nothing, gone) = (key(&[("run", "1")]), key(&[("run", "2")]), key(&[("run", "3")]));
        assert_eq!(find(&store, &made), None);
        record(store.root(), &made, &entry(Some(layer.clone()))).unwrap();
        record(store.root(), &nothing, &entry(None)).unwrap();
        record(store.root(), &gone, &entry(Some(Digest::of(b"elsewhere")))).unwrap();
        assert_eq!(find(&store, &made), Some(entry(Some(layer))));
        assert_eq!(find(&store, &nothing), Some(entry(None)));
        assert_eq!(find(&store, &gone), None);
        let path = store.root().cache_entry(&made);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(find(&store, &made), None);
        assert_eq!(prune(&store, true, &|_| false).unwrap(), (Vec::new(), 0));
        let (mut pruned, bytes) = prune(&store, false, &|_| true).unwrap();
        pruned.sort();
        let mut expected = [made.hex(), gone.hex()].map(str::to_owned);
        expected.sort();
        assert_eq!(pruned, expected);
        assert!(bytes > 100);
        assert!(find(&store, &nothing).is_some());
        assert_eq!(prune(&store, true, &|_| true).unwrap().0, [nothing.hex()]);
        assert_eq!(find(&store, &nothing), None);
        assert_eq!(prune(&store, true, &|_| true).unwrap(), (Vec::new(), 0));
    }
}
