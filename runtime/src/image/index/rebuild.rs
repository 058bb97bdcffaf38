//! Writes a layer's tar again from its index and its files, byte for byte.
//!
//! Runs in the storage helper, since the files belong to mapped ids.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{ContentDigest, Reader, Record, corrupt, head_of};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, ErrorKind, REPAIR, Result};
use crate::image::tar::{Head, Segment, join, shown};

const BUFFER: usize = 256 << 10;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rebuilt {
    /// Digest of the tar, for the caller to compare.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub size: u64,
}

/// Writes the tar of the layer in `layer` (its wrapper directory) to `out`. `index` is read from its start, twice where
/// content was kept aside. A file that is missing or not what the index says is a `Corrupt` error that names it; what
/// is in `out` by then is useless.
pub fn rebuild(index: &File, layer: BorrowedFd<'_>, out: &mut dyn Write) -> Result<Rebuilt> {
    let kept = kept(index, layer)?;
    let mut reader = open(index)?;
    let mut job = Rebuild { layer, out, kept, hasher: Hasher::new(), size: 0, buffer: vec![0; BUFFER] };
    let mut blocks = Vec::new();
    let mut entries = 0u64;
    while let Some(record) = reader.next()? {
        match record {
            Record::Head(bytes) => {
                job.write(&bytes)?;
                blocks.extend_from_slice(&bytes);
            }
            Record::Raw(bytes) => job.write(&bytes)?,
            Record::Entry { content, path } => {
                let digest = match content.then(|| reader.next()).transpose()?.flatten() {
                    Some(Record::Content(digest)) => Some(digest),
                    None if !content => None,
                    _ => return Err(corrupt("content without a digest")),
                };
                if let Some(digest) = digest {
                    let head = head_of(&mut blocks)?;
                    let path = path.as_deref().unwrap_or(&head.path);
                    job.content(entries, path, &head, &digest).context(|| format!("file {}", shown(path)))?;
                }
                blocks.clear();
                entries += 1;
            }
            Record::Other => blocks.clear(),
            Record::Content(_) | Record::Implicit(_) | Record::Kept { .. } => {}
        }
    }
    Ok(Rebuilt { diff_id: job.hasher.finish(), size: job.size })
}

fn open(index: &File) -> Result<Reader<&File>> {
    let mut input = index;
    input.seek(SeekFrom::Start(0)).context(|| "read the layer index")?;
    Reader::new(input)
}

/// What was moved aside: by path, before which entries and under which numbers, ascending.
type Kept = HashMap<Vec<u8>, Vec<(u64, u64)>>;

fn kept(index: &File, layer: BorrowedFd<'_>) -> Result<Kept> {
    let mut found = Kept::new();
    if rustix::fs::accessat(layer, c"kept", rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_err() {
        return Ok(found);
    }
    let mut reader = open(index)?;
    let mut before = 0;
    while let Some(record) = reader.next()? {
        match record {
            Record::Entry { .. } => before += 1,
            Record::Kept { number, path } => found.entry(path).or_default().push((before, number)),
            _ => {}
        }
    }
    Ok(found)
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, what).hint(REPAIR)
}

struct Rebuild<'a> {
    layer: BorrowedFd<'a>,
    out: &'a mut dyn Write,
    kept: Kept,
    hasher: Hasher,
    size: u64,
    buffer: Vec<u8>,
}

impl Rebuild<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).context(|| "write the tar")
    }

    /// The content that entry number `entry` put at `path`: there, or kept aside by the first later entry that
    /// replaced it or a directory above it.
    fn place(&self, entry: u64, path: &[u8]) -> Vec<u8> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(end, _)| end).chain([path.len()]);
        let moved = ends.filter_map(|end| {
            let (ancestor, rest) = path.split_at(end);
            let moves = self.kept.get(ancestor)?;
            let (before, number) = moves.get(moves.partition_point(|(before, _)| *before <= entry))?;
            Some((before, number, rest))
        });
        match moved.min_by_key(|(before, number, _)| (*before, *number)) {
            Some((_, number, rest)) => [format!("kept/{number}").as_bytes(), rest].concat(),
            None => join(b"diff", path),
        }
    }

    fn content(&mut self, entry: u64, path: &[u8], head: &Head, digest: &ContentDigest) -> Result<()> {
        let file = self.open(&self.place(entry, path))?;
        let whole = [Segment { offset: 0, length: head.stored }];
        let mut content = blake3::Hasher::new();
        for segment in head.segments.as_deref().unwrap_or(&whole) {
            self.segment(&file, *segment, &mut content)?;
        }
        match content.finalize().as_bytes() == digest {
            true => Ok(()),
            false => Err(damaged("the content was changed")),
        }
    }

    fn open(&self, place: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(self.layer, place, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                Err(damaged("the file is gone"))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn segment(&mut self, file: &OwnedFd, segment: Segment, content: &mut blake3::Hasher) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = segment.offset;
        let end = segment.offset + segment.length;
        while at < end {
            let count = (end - at).min(buffer.len() as u64) as usize;
            let got = rustix::io::pread(file, &mut buffer[..count], at)?;
            if got == 0 {
                return Err(damaged("the file is too short"));
            }
            content.update(&buffer[..got]);
            self.write(&buffer[..got])?;
            at += got as u64;
        }
        self.buffer = buffer;
        Ok(())
    }
}
