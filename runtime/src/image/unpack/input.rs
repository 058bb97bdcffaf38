//! The stream of an archive in three threads: one reads (and decompresses), the caller parses and writes files, one
//! hashes and writes the index. Chunks travel round, so memory is bounded and no byte is copied for hashing.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender};

use super::Passed;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::image::index::Writer;
use crate::image::tar::gather::Source;
use crate::image::tar::{Limits, invalid, padding};

const CHUNK: usize = 256 << 10;
/// Chunks between two threads.
pub(super) const QUEUE: usize = 3;

/// What a part of a chunk is, for the index; the ranges of a chunk's events cover it in order.
#[derive(Debug)]
pub(super) enum Event {
    Head(Range<usize>),
    Raw(Range<usize>),
    Content(Range<usize>),
    ContentEnd,
    Entry { content: bool, path: Option<Vec<u8>> },
    Other,
    Implicit(Vec<u8>),
    Kept { number: u64, path: Vec<u8> },
    End,
}

/// A chunk that has been dealt with.
pub(super) struct Batch {
    chunk: Vec<u8>,
    events: Vec<Event>,
}

/// Reads the archive into chunks until its end or until nobody takes them.
pub(super) fn read(input: &mut dyn Read, chunks: &SyncSender<io::Result<Vec<u8>>>, free: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = free.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        match fill(input, &mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                if chunks.send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nobody listens only if unpacking failed already.
                let _ = chunks.send(Err(error));
                return;
            }
        }
    }
}

fn fill(input: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Hashes chunks and writes the index. `None` if unpacking stopped before the archive's end.
pub(super) fn record(batches: &Receiver<Batch>, free: &Sender<Vec<u8>>, index: File) -> Result<Option<(Digest, u64)>> {
    let mut writer = Writer::new(index)?;
    let mut hasher = Hasher::new();
    let mut size = 0u64;
    while let Ok(Batch { chunk, events }) = batches.recv() {
        hasher.update(&chunk);
        size += chunk.len() as u64;
        let part = |range: Range<usize>| chunk.get(range).unwrap_or_default();
        for event in events {
            match event {
                Event::Head(range) => writer.head(part(range))?,
                Event::Raw(range) => writer.raw(part(range))?,
                Event::Content(range) => writer.content(part(range)),
                Event::ContentEnd => writer.content_end()?,
                Event::Entry { content, path } => writer.entry(content, path.as_deref())?,
                Event::Other => writer.other()?,
                Event::Implicit(path) => writer.implicit(&path)?,
                Event::Kept { number, path } => writer.kept(number, &path)?,
                Event::End => {
                    writer.finish()?;
                    return Ok(Some((hasher.finish(), size)));
                }
            }
        }
        // The reader may have ended.
        let _ = free.send(chunk);
    }
    Ok(None)
}

/// The archive as the parsing thread sees it.
pub(super) struct Input<'a> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    batches: SyncSender<Batch>,
    chunk: Vec<u8>,
    at: usize,
    events: Vec<Event>,
    passed: Passed,
    limit: u64,
    open_end: bool,
    /// Whether an error came from the stream itself (reading it, its length), not from what it says.
    pub(super) broken: bool,
    progress: &'a mut dyn FnMut(Passed),
}

impl<'a> Input<'a> {
    pub(super) fn new(
        chunks: Receiver<io::Result<Vec<u8>>>,
        batches: SyncSender<Batch>,
        limits: &Limits,
        progress: &'a mut dyn FnMut(Passed),
    ) -> Self {
        let (chunk, events) = (Vec::new(), Vec::new());
        let (passed, limit, open_end) = (Passed::default(), limits.bytes, limits.open_end);
        Self { chunks, batches, chunk, at: 0, events, passed, limit, open_end, broken: false, progress }
    }

    /// Notes something for the index at this point of the stream.
    pub(super) fn note(&mut self, event: Event) {
        self.passed.entries += u64::from(matches!(event, Event::Entry { .. }));
        self.events.push(event);
    }

    /// Hands over what is done and gets the next chunk if none is left; false at the end.
    fn refill(&mut self) -> Result<bool> {
        if self.at < self.chunk.len() {
            return Ok(true);
        }
        self.hand_over()?;
        let Ok(next) = self.chunks.recv() else { return Ok(false) };
        self.chunk = next.inspect_err(|_| self.broken = true)?;
        self.at = 0;
        self.passed.bytes += self.chunk.len() as u64;
        (self.progress)(self.passed);
        if self.passed.bytes > self.limit {
            self.broken = true;
            return Err(invalid(format!("the archive has more than {} bytes, the limit", self.limit)));
        }
        Ok(true)
    }

    fn hand_over(&mut self) -> Result<()> {
        let batch = Batch { chunk: std::mem::take(&mut self.chunk), events: std::mem::take(&mut self.events) };
        self.at = 0;
        // The recorder stops only with an error of its own, which the caller prefers to this one.
        self.batches.send(batch).map_err(|_| Error::new(ErrorKind::Io, "the layer index cannot be written"))
    }

    /// The next `most` bytes at most; empty at the end.
    fn part(&mut self, most: u64) -> Result<Range<usize>> {
        if most == 0 || !self.refill()? {
            return Ok(0..0);
        }
        let left = (self.chunk.len() - self.at) as u64;
        let start = self.at;
        self.at += left.min(most) as usize;
        Ok(start..self.at)
    }

    /// Passes `size` bytes of an entry's content to `write`.
    pub(super) fn content(&mut self, size: u64, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let range = self.part(left)?;
            if range.is_empty() {
                return Err(invalid("the archive ends inside the content"));
            }
            left -= range.len() as u64;
            write(self.chunk.get(range.clone()).unwrap_or_default())?;
            self.events.push(Event::Content(range));
        }
        self.events.push(Event::ContentEnd);
        Ok(())
    }

    /// Skips `size` bytes that belong to no file.
    pub(super) fn skip(&mut self, size: u64) -> Result<()> {
        match self.pass(size)? {
            true => Ok(()),
            false => Err(invalid("the archive ends inside the content")),
        }
    }

    /// Skips the padding after `stored` bytes of content.
    pub(super) fn skip_padding(&mut self, stored: u64) -> Result<()> {
        match self.pass(padding(stored) as u64)? || self.open_end {
            true => Ok(()),
            false => Err(invalid("the archive ends inside the content")),
        }
    }

    /// Passes `size` bytes to the index as they are; false where the archive ends before.
    fn pass(&mut self, size: u64) -> Result<bool> {
        let mut left = size;
        while left > 0 {
            let range = self.part(left)?;
            if range.is_empty() {
                return Ok(false);
            }
            left -= range.len() as u64;
            self.events.push(Event::Raw(range));
        }
        Ok(true)
    }

    /// Takes everything after the end marker, at most `most` bytes, and closes the index. Whether it was more than
    /// zeros.
    pub(super) fn finish(&mut self, most: u64) -> Result<bool> {
        let (mut taken, mut meant) = (0, false);
        loop {
            let range = self.part(u64::MAX)?;
            if range.is_empty() {
                break;
            }
            taken += range.len() as u64;
            if taken > most {
                return Err(invalid(format!("more than {most} bytes follow the archive's end, the limit")));
            }
            meant |= !is_zero(self.chunk.get(range.clone()).unwrap_or_default());
            self.events.push(Event::Raw(range));
        }
        self.events.push(Event::End);
        self.hand_over()?;
        Ok(meant)
    }
}

/// Whether all bytes are zero; as fast as memory.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|part| ZEROS.get(..part.len()) == Some(part))
}

impl Source for Input<'_> {
    fn take(&mut self, into: &mut Vec<u8>, count: usize) -> Result<usize> {
        let mut taken = 0;
        while taken < count {
            let range = self.part((count - taken) as u64)?;
            if range.is_empty() {
                break;
            }
            taken += range.len();
            into.extend_from_slice(self.chunk.get(range.clone()).unwrap_or_default());
            self.events.push(Event::Head(range));
        }
        Ok(taken)
    }
}
