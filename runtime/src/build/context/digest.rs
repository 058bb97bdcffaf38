//! The digest of a selection: what the cache asks for instead of the files.
//!
//! Names, kinds, owners and modes as they will be, content, targets of links, attributes that travel, and which names are
//! of one file; no times. So `touch` and another checkout of the same files change nothing.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Advice, fadvise, fstat};
use rustix::io::{pread, retry_on_intr};

use super::Context;
use super::chmod::Chmod;
use super::hashes::{Hash, Hashes, is_settled, now};
use super::select::{Entry, Kind, Seen, Selection, changed};
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::image::attributes::Reader;
use crate::image::tar::{Time, shown};

/// Changes with every change of what is hashed.
const FORM: &[u8] = b"lrun context 1\n";
const BUFFER: usize = 256 << 10;
/// Threads that read files.
const MOST_THREADS: usize = 4;
/// So many files are worth a thread.
const WORTH: usize = 16;

/// How files arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Owner and group inside the id mapping; `None`: those that the files have, as for another stage's.
    pub owner: Option<(u32, u32)>,
    /// What becomes of the permission bits of all but links; `None`: they stay.
    pub mode: Option<Chmod>,
    /// Modification time; `None`: that of the files. The digest leaves it out.
    pub mtime: Option<Time>,
}

impl Placed {
    /// The owner, group and permission bits of something that was this.
    pub(super) fn of(&self, entry: &Entry) -> (u32, u32, u32) {
        let (uid, gid) = self.owner.unwrap_or((entry.seen.uid, entry.seen.gid));
        let mode = match entry.kind {
            Kind::Symlink(_) => 0o777,
            _ => {
                let mode = entry.seen.mode & 0o7777;
                self.mode.as_ref().map_or(mode, |change| change.apply(mode, entry.kind == Kind::Directory))
            }
        };
        (uid, gid, mode)
    }
}

/// Files with more than one name, in one source: docker keeps them together only there.
#[derive(Default)]
pub(super) struct Links<'s>(HashMap<(u64, u64), &'s [u8]>);

impl<'s> Links<'s> {
    /// The first name of a file that has one already.
    pub(super) fn first(&mut self, entry: &'s Entry) -> Option<&'s [u8]> {
        if entry.kind != Kind::File || !entry.seen.linked {
            return None;
        }
        match self.0.entry((entry.seen.dev, entry.seen.ino)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(&entry.name);
                None
            }
        }
    }
}

/// What a file was while it was hashed.
struct Hashed {
    seen: Seen,
    began: Time,
    hash: Hash,
}

impl Context {
    /// The digest of a selection that is to arrive like this. Files that `hashes` knows are not read; the others are, and
    /// become known. Afterwards, the selection is of what was hashed: it can be streamed only while it stays that.
    ///
    /// `Conflict`: a file was changed meanwhile. The caller has one thread before and afterwards.
    pub fn digest(&self, selection: &mut Selection, placed: &Placed, hashes: &mut Hashes) -> Result<Digest> {
        let known: Vec<Option<Hash>> = selection.entries.iter().map(|entry| known(entry, hashes)).collect();
        let unknown = |(n, entry): (usize, &Entry)| (needs_hash(entry) && known.get(n) == Some(&None)).then_some(n);
        let todo: Vec<usize> = selection.entries.iter().enumerate().filter_map(unknown).collect();
        let mut all = known;
        for (n, hashed) in self.hash_all(&selection.entries, &todo)? {
            hashes.put(&hashed.seen, hashed.began, hashed.hash);
            if let (Some(entry), Some(slot)) = (selection.entries.get_mut(n), all.get_mut(n)) {
                entry.seen = hashed.seen;
                entry.unsettled = (!is_settled(&hashed.seen, hashed.began)).then_some(hashed.hash);
                *slot = Some(hashed.hash);
            }
        }
        Ok(combine(selection, placed, &all))
    }

    /// Hashes these entries, several at once where they are many.
    fn hash_all(&self, entries: &[Entry], todo: &[usize]) -> Result<Vec<(usize, Hashed)>> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(MOST_THREADS).min(todo.len().div_ceil(WORTH)).max(1);
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Hashed)>> {
            let (mut reader, mut buffer, mut done) = (Reader::new(), vec![0; BUFFER], Vec::new());
            while let Some(n) = todo.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                let Some(entry) = entries.get(n) else { continue };
                match self.hash(entry, &mut reader, &mut buffer) {
                    Ok(hashed) => done.push((n, hashed)),
                    Err(error) => {
                        // The others need not go on.
                        next.store(todo.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(done)
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut found = work();
            for other in others {
                let other = other.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a hashing thread failed")));
                found = found.and_then(|mut found| {
                    found.extend(other?);
                    Ok(found)
                });
            }
            found
        })
    }

    /// Reads a file's attributes and content, or a directory's attributes.
    fn hash(&self, entry: &Entry, reader: &mut Reader, buffer: &mut [u8]) -> Result<Hashed> {
        let began = now();
        let file = self.open_entry(entry)?;
        let attempt = || format!("read {} in the build context", shown(&entry.path));
        let seen = Seen::from(&fstat(&file).context(attempt)?);
        let hash = hash_open(&file, &entry.kind, reader, buffer).context(attempt)?;
        if Seen::from(&fstat(&file).context(attempt)?) != seen {
            return Err(changed(&entry.path));
        }
        Ok(Hashed { seen, began, hash })
    }

    /// Whether a file that changed shortly before it was hashed still has that hash.
    pub(super) fn is_still(&self, file: &OwnedFd, entry: &Entry, reader: &mut Reader) -> Result<bool> {
        let Some(hash) = entry.unsettled else { return Ok(true) };
        Ok(hash_open(file, &entry.kind, reader, &mut vec![0; BUFFER])? == hash)
    }
}

fn needs_hash(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File | Kind::Directory)
}

pub(super) fn known(entry: &Entry, hashes: &mut Hashes) -> Option<Hash> {
    if needs_hash(entry) { hashes.get(&entry.seen) } else { None }
}

fn hash_open(file: &OwnedFd, kind: &Kind, reader: &mut Reader, buffer: &mut [u8]) -> Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let xattrs = reader.read(file.as_fd())?.xattrs;
    hasher.update(&(xattrs.len() as u64).to_le_bytes());
    for (name, value) in &xattrs {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    if *kind == Kind::File {
        // Best effort: the kernel reads further ahead.
        let _ = fadvise(file, 0, None, Advice::Sequential);
        let mut at = 0;
        loop {
            let got = retry_on_intr(|| pread(file, &mut *buffer, at))?;
            hasher.update(buffer.get(..got).unwrap_or_default());
            at += got as u64;
            if got == 0 {
                break;
            }
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

/// One digest of all.
fn combine(selection: &Selection, placed: &Placed, hashes: &[Option<Hash>]) -> Digest {
    let mut hasher = Hasher::new();
    let mut record = FORM.to_vec();
    let text = |record: &mut Vec<u8>, text: &[u8]| {
        record.extend_from_slice(&(text.len() as u64).to_le_bytes());
        record.extend_from_slice(text);
    };
    for source in &selection.sources {
        let mut links = Links::default();
        record.extend_from_slice(&[b'S', u8::from(source.directory)]);
        record.extend_from_slice(&(source.entries.len() as u64).to_le_bytes());
        for n in source.entries.clone() {
            let Some(entry) = selection.entries.get(n) else { continue };
            let hash = hashes.get(n).copied().flatten().unwrap_or_default();
            let first = links.first(entry);
            let (uid, gid, mode) = placed.of(entry);
            record.push(match (&entry.kind, first) {
                (_, Some(_)) => b'h',
                (Kind::Directory, _) => b'd',
                (Kind::File, _) => b'f',
                (Kind::Symlink(_), _) => b'l',
                (Kind::Fifo, _) => b'p',
            });
            text(&mut record, &entry.name);
            for number in [uid, gid, mode] {
                record.extend_from_slice(&number.to_le_bytes());
            }
            match (&entry.kind, first) {
                (_, Some(first)) => text(&mut record, first),
                (Kind::Symlink(target), _) => text(&mut record, target),
                _ => record.extend_from_slice(&hash),
            }
            hasher.update(&record);
            record.clear();
        }
    }
    hasher.update(&record);
    hasher.finish()
}

#[cfg(test)]
mod tests;
