//! The tar on its way out: files are read straight into large chunks, which another thread hashes (SHA-256) while this
//! one reads on and digests the files (BLAKE3).

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::index;
use crate::image::tar::{BLOCK, Segment, padding};

const CHUNK: usize = 256 << 10;
const QUEUE: usize = 3;

/// A chunk and how much of it counts.
type Filled = (Vec<u8>, usize);

/// The way of the chunks to the hashing thread and back.
struct Hashing {
    chunks: SyncSender<Filled>,
    free: Receiver<Vec<u8>>,
}

pub(crate) struct Stream<'a> {
    chunk: Vec<u8>,
    filled: usize,
    hashing: Option<Hashing>,
    out: &'a mut dyn Write,
    index: Option<index::Writer<File>>,
    size: u64,
    /// Pieces of files that were not there any more when they were read.
    pub(crate) torn: u64,
}

/// Runs `fill`, ends the tar and the index, and returns the tar's digest and size.
pub(super) fn with(
    out: &mut dyn Write,
    index: Option<File>,
    fill: impl FnOnce(&mut Stream<'_>) -> Result<()>,
) -> Result<(Digest, u64)> {
    std::thread::scope(|scope| {
        let (to_hash, chunks) = sync_channel::<Filled>(QUEUE);
        let (done, free) = channel();
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::new();
            while let Ok((chunk, filled)) = chunks.recv() {
                hasher.update(chunk.get(..filled).unwrap_or_default());
                // The other side may have ended.
                let _ = done.send(chunk);
            }
            hasher.finish()
        });
        let index = index.map(index::Writer::new).transpose()?;
        let hashing = Some(Hashing { chunks: to_hash, free });
        let mut stream = Stream { chunk: vec![0; CHUNK], filled: 0, hashing, out, index, size: 0, torn: 0 };
        fill(&mut stream)?;
        let size = stream.finish()?;
        let digest = hasher.join().map_err(|_| Error::new(ErrorKind::Io, "the hashing thread failed"))?;
        Ok((digest, size))
    })
}

/// Runs `fill`, ends the tar, and returns its size: for a tar that nobody asks the digest of. The files may change while
/// they are read: what one is short of in the end is filled with zeros.
pub(crate) fn without_digest(out: &mut dyn Write, fill: impl FnOnce(&mut Stream<'_>) -> Result<()>) -> Result<u64> {
    let mut stream = Stream { chunk: vec![0; CHUNK], filled: 0, hashing: None, out, index: None, size: 0, torn: 0 };
    fill(&mut stream)?;
    stream.finish()
}

impl Stream<'_> {
    /// An entry's header blocks.
    pub(crate) fn entry(&mut self, blocks: &[u8], content: bool) -> Result<()> {
        if let Some(index) = &mut self.index {
            index.head(blocks)?;
            index.entry(content, None)?;
        }
        self.bytes(blocks)
    }

    /// The content of a file and its padding. With `holes`, what is not on disk is not read.
    pub(crate) fn content(&mut self, file: BorrowedFd<'_>, size: u64, holes: bool) -> Result<()> {
        let mut at = 0;
        while at < size {
            let data = if holes { next_data(file, at, size)? } else { at..size };
            self.zeros(data.start - at)?;
            self.read(file, data.start, data.end)?;
            at = data.end;
        }
        if size > 0
            && let Some(index) = &mut self.index
        {
            index.content_end()?;
        }
        self.raw(&[0; BLOCK][..padding(size)])
    }

    /// These ranges of a file, in order, and padding after their `stored` bytes.
    pub(crate) fn ranges(&mut self, file: BorrowedFd<'_>, segments: &[Segment], stored: u64) -> Result<()> {
        for segment in segments {
            self.read(file, segment.offset, segment.offset + segment.length)?;
        }
        self.raw(&[0; BLOCK][..padding(stored)])
    }

    fn read(&mut self, file: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<()> {
        while at < end {
            let start = self.filled;
            let most = (end - at).min((self.chunk.len() - start) as u64) as usize;
            let room = self.chunk.get_mut(start..start + most).unwrap_or_default();
            let got = retry_on_intr(|| pread(file, &mut *room, at))?;
            if got == 0 {
                if self.hashing.is_some() {
                    return Err(Error::new(ErrorKind::Conflict, "the file shrank while it was read"));
                }
                self.torn += 1;
                return self.zeros(end - at);
            }
            at += got as u64;
            self.content_added(got)?;
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let start = self.filled;
            let now = count.min((self.chunk.len() - start) as u64) as usize;
            self.chunk.get_mut(start..start + now).unwrap_or_default().fill(0);
            count -= now as u64;
            self.content_added(now)?;
        }
        Ok(())
    }

    fn content_added(&mut self, count: usize) -> Result<()> {
        if let Some(index) = &mut self.index {
            index.content(self.chunk.get(self.filled..self.filled + count).unwrap_or_default());
        }
        self.added(count)
    }

    /// Bytes that belong to no entry.
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(index) = &mut self.index
            && !bytes.is_empty()
        {
            index.raw(bytes)?;
        }
        self.bytes(bytes)
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let start = self.filled;
            let count = bytes.len().min(self.chunk.len() - start);
            let (now, later) = bytes.split_at(count);
            self.chunk.get_mut(start..start + count).unwrap_or_default().copy_from_slice(now);
            bytes = later;
            self.added(count)?;
        }
        Ok(())
    }

    /// There is always room in the chunk afterwards.
    fn added(&mut self, count: usize) -> Result<()> {
        self.filled += count;
        if self.filled < self.chunk.len() { Ok(()) } else { self.pass_on() }
    }

    fn pass_on(&mut self) -> Result<()> {
        self.out.write_all(self.chunk.get(..self.filled).unwrap_or_default()).context(|| "write the tar")?;
        self.size += self.filled as u64;
        let filled = std::mem::take(&mut self.filled);
        let Some(hashing) = &self.hashing else { return Ok(()) };
        let next = hashing.free.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let full = (std::mem::replace(&mut self.chunk, next), filled);
        hashing.chunks.send(full).map_err(|_| Error::new(ErrorKind::Io, "the hashing thread failed"))
    }

    /// Ends tar and index; dropping the channel lets the hashing thread end.
    fn finish(mut self) -> Result<u64> {
        self.raw(&[0; 2 * BLOCK])?;
        self.pass_on()?;
        if let Some(index) = self.index {
            index.finish()?;
        }
        self.out.flush().context(|| "write the tar")?;
        Ok(self.size)
    }
}

/// The ranges of a file that hold data, at most `most`; `None` if there are more.
pub(crate) fn segments(file: BorrowedFd<'_>, size: u64, most: usize) -> Result<Option<Vec<Segment>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < size {
        let data = next_data(file, at, size)?;
        if !data.is_empty() {
            found.push(Segment { offset: data.start, length: data.end - data.start });
        }
        if found.len() > most {
            return Ok(None);
        }
        at = data.end;
    }
    Ok(Some(found))
}

/// The next range with data at or after `at`; empty at the end if only a hole is left.
fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<std::ops::Range<u64>> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) => return Ok(size..size),
        Err(Errno::NXIO) => return Ok(size..size),
        // A file system that does not know holes.
        Err(Errno::INVAL) => return Ok(at..size),
        Err(errno) => return Err(errno.into()),
    };
    Ok(start..seek(file, SeekFrom::Hole(start))?.min(size))
}
