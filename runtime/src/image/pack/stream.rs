//! The tar on its way out: files are read straight into large chunks, which other threads hash and index while this one
//! reads on.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use super::behind::{Behind, Chunk, Part};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::tar::{BLOCK, Head, Limits, Segment, header, padding};

pub(crate) struct Stream<'a> {
    chunk: Chunk,
    behind: Option<Behind>,
    out: &'a mut dyn Write,
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
        let (behind, results) = Behind::start(scope, index)?;
        let mut stream = Stream { chunk: Chunk::new(), behind: Some(behind), out, size: 0, torn: 0 };
        let filled = fill(&mut stream).and_then(|()| stream.finish());
        // Of a thread that failed, the stream only knows that it ended.
        let digest = results.join()?;
        Ok((digest, filled?))
    })
}

/// Runs `fill`, ends the tar, and returns its size: for a tar that nobody asks the digest of. The files may change while
/// they are read: what one is short of in the end is filled with zeros.
pub(crate) fn without_digest(out: &mut dyn Write, fill: impl FnOnce(&mut Stream<'_>) -> Result<()>) -> Result<u64> {
    let mut stream = Stream { chunk: Chunk::new(), behind: None, out, size: 0, torn: 0 };
    fill(&mut stream)?;
    stream.finish()
}

impl Stream<'_> {
    /// An entry's header blocks.
    pub(crate) fn entry(&mut self, blocks: &[u8], content: bool) -> Result<()> {
        self.bytes(blocks, Part::Head)?;
        self.part(Part::Entry(content));
        Ok(())
    }

    /// A directory without an entry: the index alone tells of it.
    pub(crate) fn implicit(&mut self, path: &[u8]) {
        self.part(Part::Implicit(path.to_vec()));
    }

    /// A regular file with all but the sizes in `head`, which are filled in. With `sparse`, its holes are left out, in a
    /// form that not every program reads, unless it is in too many pieces.
    pub(crate) fn file(&mut self, head: &mut Head, file: BorrowedFd<'_>, stat: &Stat, sparse: bool) -> Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        (head.size, head.stored) = (size, size);
        let holes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size;
        if holes && sparse {
            head.segments = segments(file, size, Limits::default().segments / 2)?;
        }
        if let Some(segments) = &mut head.segments {
            head.stored = segments.iter().map(|segment| segment.length).sum();
            if segments.last().is_none_or(|last| last.offset + last.length < size) {
                segments.push(Segment { offset: size, length: 0 });
            }
        }
        let mut blocks = Vec::new();
        header::write(head, &mut blocks);
        self.entry(&blocks, head.stored > 0)?;
        match &head.segments {
            Some(segments) => self.ranges(file, segments, head.stored),
            None => self.content(file, size, holes),
        }
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
        if size > 0 {
            self.part(Part::ContentEnd);
        }
        self.raw(&[0; BLOCK][..padding(size)])
    }

    /// These ranges of a file, in order, and padding after their `stored` bytes.
    fn ranges(&mut self, file: BorrowedFd<'_>, segments: &[Segment], stored: u64) -> Result<()> {
        for segment in segments {
            self.read(file, segment.offset, segment.offset + segment.length)?;
        }
        self.raw(&[0; BLOCK][..padding(stored)])
    }

    fn read(&mut self, file: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<()> {
        while at < end {
            let room = self.chunk.room(end - at);
            let got = retry_on_intr(|| pread(file, &mut *room, at))?;
            if got == 0 {
                if self.behind.is_some() {
                    return Err(Error::new(ErrorKind::Conflict, "the file shrank while it was read"));
                }
                self.torn += 1;
                return self.zeros(end - at);
            }
            at += got as u64;
            self.added(got, Part::Content)?;
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let room = self.chunk.room(count);
            room.fill(0);
            let now = room.len();
            count -= now as u64;
            self.added(now, Part::Content)?;
        }
        Ok(())
    }

    /// Bytes that belong to no entry.
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes(bytes, Part::Raw)
    }

    fn bytes(&mut self, mut bytes: &[u8], part: fn(usize) -> Part) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.chunk.room(bytes.len() as u64);
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            bytes = later;
            self.added(now.len(), part)?;
        }
        Ok(())
    }

    /// There is always room in the chunk afterwards.
    fn added(&mut self, count: usize, part: fn(usize) -> Part) -> Result<()> {
        self.chunk.filled += count;
        self.part(part(count));
        if self.chunk.is_full() { self.pass_on() } else { Ok(()) }
    }

    fn part(&mut self, part: Part) {
        if self.behind.as_ref().is_some_and(Behind::indexes) {
            self.chunk.parts.push(part);
        }
    }

    fn pass_on(&mut self) -> Result<()> {
        self.out.write_all(self.chunk.filled()).context(|| "write the tar")?;
        self.size += self.chunk.filled().len() as u64;
        match &self.behind {
            Some(behind) => self.chunk = behind.pass(std::mem::replace(&mut self.chunk, Chunk::empty()))?,
            None => self.chunk.clear(),
        }
        Ok(())
    }

    /// Ends the tar; dropping the stream lets the threads behind it end.
    fn finish(mut self) -> Result<u64> {
        self.raw(&[0; 2 * BLOCK])?;
        self.pass_on()?;
        self.out.flush().context(|| "write the tar")?;
        Ok(self.size)
    }
}

/// The ranges of a file that hold data, at most `most`; `None` if there are more.
fn segments(file: BorrowedFd<'_>, size: u64, most: usize) -> Result<Option<Vec<Segment>>> {
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
