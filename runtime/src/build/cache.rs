//! The build cache: what a step with a certain input has made before.
//!
//! An entry is a small file named after the digest of the input. It keeps nothing alive: when its layer is gone the step
//! runs again. Losing an entry costs time, no more, so that none is flushed.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use serde::{Deserialize, Serialize};

use super::hide::without_users;
use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::file::{self, Durability};
use crate::image::store::Store;
use crate::paths::Root;

const VERSION: u32 = 1;
/// An entry is far smaller.
pub(super) const MOST: usize = 64 << 10;
/// How the name of a file begins that tells what the step of an entry copied.
pub(super) const FILES: &str = "files-";
/// The same of one that tells what is found in an image.
pub(super) const FOUND: &str = "found-";
/// The same of one that has the steps of a Dockerfile.
pub(super) const STEPS: &str = "steps-";
/// The same of one that names the container in which a step failed.
pub(super) const FAILED: &str = "failed-";
/// The same of one that tells what a URL led to.
pub(super) const URL: &str = "url-";
/// That a file was of use is noted when its time is older than this.
const NOTED: Duration = Duration::from_secs(24 * 3600);

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
    /// What a command read that is not the same each time, as [`super::step::Made::reads`] has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

impl Entry {
    /// A new one.
    pub fn new(layer: Option<Digest>, created: String, input: Vec<String>) -> Self {
        Self { version: VERSION, layer, created, input, text: String::new(), reads: Vec::new() }
    }

    /// The same, of a command that read this.
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

/// What the step with this key made, if the store still has it. A damaged entry counts as none, as does one whose layer a
/// check found damaged: the step makes it anew.
pub fn find(store: &Store, key: &Digest) -> Option<Entry> {
    let entry = read(store.root(), key)?;
    let there = entry.layer.as_ref().is_none_or(|layer| store.has_sound_layer(layer).is_ok_and(|there| there));
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
    /// How many wildcards match nothing.
    #[serde(default)]
    pub unmatched: usize,
    /// The image's layers.
    pub layers: Vec<Digest>,
}

/// What the request with this key finds, if it was made before.
pub fn remembered(root: &Root, request: &Digest) -> Option<Found> {
    read_found(&root.cache_found(request))
}

/// What such a file says. A damaged one says nothing.
pub(super) fn read_found(path: &Path) -> Option<Found> {
    file::read_json(path, MOST).ok()
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

/// Notes that a file of the cache was of use: a prune takes what was not for long. Where that cannot be written, it goes
/// sooner.
pub(super) fn used(path: &Path) {
    let written = path.symlink_metadata().and_then(|found| found.modified());
    if written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > NOTED)) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }
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
    }
}
