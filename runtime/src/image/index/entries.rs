//! The entries of an index, without unpacking anything.

use std::collections::HashSet;
use std::io::Read;

use super::{ContentDigest, Reader, Record, head_of};
use crate::error::{Error, ErrorKind, Result};
use crate::image::tar::{Head, Kind, Time};

/// One entry of the layer's tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the header says; whiteouts under their `.wh.` names, device nodes too.
    pub head: Head,
    /// Digest of the stored content (for sparse files: of the segments, one after the other).
    pub digest: Option<ContentDigest>,
    /// Where the content lies in `diff/`, if a symbolic link of the same layer leads there.
    pub place: Option<Vec<u8>>,
    /// A directory without an entry in the tar: the other fields are defaults.
    pub implicit: bool,
}

/// Iterator over the entries of an index, in tar order. A path can come more than once: the last counts.
pub struct Entries<R: Read> {
    reader: Reader<R>,
    head: Vec<u8>,
    failed: bool,
}

impl<R: Read> Entries<R> {
    /// Reads the index from its start.
    pub fn new(index: R) -> Result<Self> {
        Ok(Self { reader: Reader::new(index)?, head: Vec::new(), failed: false })
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        while let Some(record) = self.reader.next()? {
            match record {
                Record::Head(bytes) if self.head.is_empty() => self.head = bytes,
                Record::Head(bytes) => self.head.extend_from_slice(&bytes),
                Record::Implicit(path) => return Ok(Some(implicit(path))),
                Record::Entry { content, path } => {
                    let mut blocks = std::mem::take(&mut self.head);
                    let head = head_of(&mut blocks)?;
                    let digest = if content { Some(self.content()?) } else { None };
                    return Ok(Some(Entry { head, digest, place: path, implicit: false }));
                }
                Record::Other => self.head.clear(),
                Record::Raw(_) | Record::Kept { .. } | Record::Content(_) => {}
            }
        }
        Ok(None)
    }

    /// The digest follows its entry at once.
    fn content(&mut self) -> Result<ContentDigest> {
        match self.reader.next()? {
            Some(Record::Content(digest)) => Ok(digest),
            _ => Err(super::corrupt("content without a digest")),
        }
    }
}

/// Directories without an entry of their own, at most.
const MOST: usize = 500_000;

/// The directories of a layer that have no entry of their own, of those that `counts` says yes to.
pub fn implicit_directories(index: impl Read, counts: impl Fn(&[u8]) -> bool) -> Result<HashSet<Vec<u8>>> {
    let mut found = HashSet::new();
    for entry in Entries::new(index)? {
        let entry = entry?;
        match entry.implicit {
            true if counts(&entry.head.path) => {
                found.insert(entry.head.path);
            }
            // It came after what is in it.
            false if entry.head.kind == Kind::Directory => {
                found.remove(&entry.head.path);
            }
            _ => {}
        }
        if found.len() > MOST {
            let text = format!("more than {MOST} directories without an entry of their own, the limit");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(found)
}

fn implicit(path: Vec<u8>) -> Entry {
    let head = Head {
        path,
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        link: Vec::new(),
        size: 0,
        stored: 0,
        segments: None,
        xattrs: Vec::new(),
    };
    Entry { head, digest: None, place: None, implicit: true }
}

impl<R: Read> Iterator for Entries<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
