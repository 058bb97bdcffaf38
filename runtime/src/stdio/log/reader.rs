//! Reading the log's frames, across its files, also while they are written and rotated.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use super::{BLOCK, Dropped, HEADER, Header, Kind, MAX_FILES, Stream, file_name, frame_start, room_in_block, sum};
use crate::error::{Context, Result};

/// One piece of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where the container wrote it.
    pub stream: Stream,
    /// Whether it is known to begin a line of its stream.
    pub begins: bool,
    /// When it was read from the container, Unix ns.
    pub time: u64,
    /// Bytes of output before it since the container was created.
    pub position: u64,
    /// The output.
    pub data: &'a [u8],
}

/// What a log holds at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Output.
    Output(Frame<'a>),
    /// The disk was full, from this time (Unix ns) on.
    Dropped(u64, Dropped),
    /// So many bytes of output that were logged are gone: rotated away, or else damaged.
    Missing {
        /// How many; where that is unknown, of how many bytes of the log nothing can be read.
        bytes: u64,
        /// Not by rotation.
        damaged: bool,
    },
}

/// A frame as it lies in a file.
pub(super) struct RawFrame<'a> {
    pub(super) header: Header,
    /// Of its header, in the file.
    pub(super) offset: u64,
    /// Shorter than the header says if it was torn.
    pub(super) payload: &'a [u8],
}

impl RawFrame<'_> {
    /// Whether the payload is as it was written, as far as it is there and that can be said.
    pub(super) fn is_sound(&self) -> bool {
        let torn = self.payload.len() < self.header.length as usize;
        torn || self.header.sum == 0 || self.header.sum == sum(self.payload)
    }
}

pub(super) enum Step<'a> {
    Frame(RawFrame<'a>),
    /// The rest of a block is unreadable: so many bytes were skipped.
    Damaged(u64),
    /// Nothing more; without `last`, nothing more yet.
    End,
}

/// One file of the log, read block by block.
#[derive(Debug)]
pub(super) struct LogFile {
    file: OwnedFd,
    id: (u64, u64),
    /// Of the next frame.
    offset: u64,
    /// The part of the file from `start` on that is in memory, at most to the end of that block.
    buffer: Vec<u8>,
    start: u64,
}

impl LogFile {
    pub(super) fn new(file: OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(&file)?;
        Ok(Self { file, id: (stat.st_dev, stat.st_ino), offset: 0, buffer: Vec::new(), start: 0 })
    }

    pub(super) fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes back to `offset`, and reads from the file again what is there.
    pub(super) fn read_again(&mut self, offset: u64) {
        self.forget(offset);
        self.offset = offset;
    }

    /// Whether the beginning of a frame is there, or not even as much as a header, which is written at once.
    pub(super) fn may_begin(&mut self, at: u64) -> Result<bool> {
        self.forget(at);
        let found = self.load(at, HEADER)?;
        Ok(found < HEADER || self.header(at, found).is_some())
    }

    /// Whether there is nothing but zeros between two places in one block.
    pub(super) fn is_zero(&mut self, from: u64, to: u64) -> Result<bool> {
        let found = self.load(from, (to - from) as usize)?;
        Ok(self.bytes(from, found).iter().all(|byte| *byte == 0))
    }

    /// Whether it has not been rotated away.
    fn has_name(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0)
    }

    pub(super) fn size(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.file)?.st_size.try_into().unwrap_or(0))
    }

    /// Beginning of the last block that holds anything.
    pub(super) fn last_block(&self) -> u64 {
        let last = self.size().unwrap_or(0).saturating_sub(1);
        last - last % BLOCK
    }

    /// Makes `length` bytes at `offset`, which lie in one block, available in the buffer, or as many as the file has.
    fn load(&mut self, offset: u64, length: usize) -> Result<usize> {
        let block = offset - offset % BLOCK;
        if block != self.start {
            self.buffer.clear();
            self.start = block;
        }
        let skip = (offset - block) as usize;
        if self.buffer.len() < skip + length {
            self.fill()?;
        }
        Ok(self.buffer.len().saturating_sub(skip).min(length))
    }

    /// Reads on to the end of the block, or of the file.
    fn fill(&mut self) -> Result<()> {
        loop {
            let have = self.buffer.len();
            if have as u64 >= BLOCK {
                return Ok(());
            }
            self.buffer.resize(BLOCK as usize, 0);
            let read = rustix::io::pread(&self.file, &mut self.buffer[have..], self.start + have as u64);
            self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        let skip = offset.saturating_sub(self.start) as usize;
        self.buffer.get(skip..skip + length).unwrap_or_default()
    }

    /// The next frame. `last`: nobody will add to this file, so a frame that is cut short was torn.
    pub(super) fn step(&mut self, last: bool) -> Result<Step<'_>> {
        let at = frame_start(self.offset);
        let found = self.load(at, HEADER)?;
        let Some(header) = self.header(at, found) else { return self.skip(at, last) };
        let want = header.length as usize;
        let found = self.load(at + HEADER as u64, want)?;
        if found == 0 || (found < want && !last) {
            self.forget(at);
            return Ok(Step::End);
        }
        self.offset = at + (HEADER + want) as u64;
        Ok(Step::Frame(RawFrame { header, offset: at, payload: self.bytes(at + HEADER as u64, found) }))
    }

    fn header(&self, at: u64, found: usize) -> Option<Header> {
        let header = Header::decode(self.bytes(at, found))?;
        ((HEADER as u64 + u64::from(header.length)) <= room_in_block(at)).then_some(header)
    }

    /// What lies from here on may yet be written, and is to be read again.
    fn forget(&mut self, at: u64) {
        self.buffer.truncate(at.saturating_sub(self.start) as usize);
    }

    /// There is no header at `at`: the log's end so far, or damage, which ends with the block.
    fn skip(&mut self, at: u64, last: bool) -> Result<Step<'static>> {
        let size = self.size()?;
        let next = at + room_in_block(at);
        self.forget(at);
        if size <= at || (size <= next && !last) {
            return Ok(Step::End);
        }
        // It may have been written since it was read.
        let found = self.load(at, (size.min(next) - at) as usize)?;
        if self.header(at, found).is_some() {
            return Ok(Step::Damaged(0));
        }
        self.offset = next;
        let zero = self.bytes(at, found).iter().all(|byte| *byte == 0);
        Ok(if zero && size <= next { Step::End } else { Step::Damaged(found as u64) })
    }
}

/// So many missing numbers in a row are the end of the log, and no traces of rotations that are under way.
const HOLES: u32 = 8;

/// Reads a container's log from its oldest byte on.
#[derive(Debug)]
pub struct LogReader {
    dir: OwnedFd,
    /// Oldest first. The last one is `log`, as far as is known.
    files: VecDeque<LogFile>,
    /// Where the next frame's position should be; `None` where anything will do.
    expected: Option<u64>,
    /// Bytes of files skipped since the last frame.
    damaged: Option<u64>,
    /// Nothing is read from here on in the last file, and no newer one is looked for.
    end: Option<u64>,
}

impl LogReader {
    /// Opens what there is of the log in this container's directory; none is like an empty one.
    pub fn open(dir: impl AsFd) -> Result<Self> {
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 3)?;
        let mut reader = Self { dir, files: VecDeque::new(), expected: Some(0), damaged: None, end: None };
        reader.find_newer().context(|| "open the log")?;
        Ok(reader)
    }

    /// What is written from now on is not shown: a fast writer could be read for ever.
    pub(super) fn end_here(&mut self) -> Result<()> {
        self.end = Some(self.files.back().map_or(Ok(0), LogFile::size)?);
        Ok(())
    }

    /// Where the reading ends in the last file.
    pub(super) fn end(&self) -> u64 {
        self.end.unwrap_or(u64::MAX)
    }

    pub(super) fn files(&mut self) -> &mut VecDeque<LogFile> {
        &mut self.files
    }

    /// From here on, output before the next frame is not missed.
    pub(super) fn start_anywhere(&mut self) {
        self.expected = None;
    }

    /// The next item; `None` when there is no more (`live`: for now, a writer is at work).
    pub fn next(&mut self, live: bool) -> Result<Option<Item<'_>>> {
        loop {
            let newest = self.files.len() <= 1;
            let Some(file) = self.files.front_mut() else {
                if self.end.is_none() && self.find_newer()? {
                    continue;
                }
                return Ok(None);
            };
            if newest && self.end.is_some_and(|end| file.offset >= end) {
                return Ok(self.damaged.take().map(|bytes| Item::Missing { bytes, damaged: true }));
            }
            // The borrow checker wants the frame to be fetched anew where it is returned.
            let before = file.offset;
            match file.step(!newest || !live)? {
                Step::Frame(frame) => {
                    let header = frame.header;
                    if let Some(missing) = self.missing(header) {
                        self.rewind(before);
                        return Ok(Some(missing));
                    }
                    return Ok(self.item(header));
                }
                Step::Damaged(bytes) => self.damaged = Some(self.damaged.unwrap_or(0) + bytes).filter(|b| *b > 0),
                Step::End if !newest => drop(self.files.pop_front()),
                Step::End => {
                    if self.end.is_some() || !self.find_newer()? {
                        return Ok(self.damaged.take().map(|bytes| Item::Missing { bytes, damaged: true }));
                    }
                }
            }
        }
    }

    fn rewind(&mut self, offset: u64) {
        if let Some(file) = self.files.front_mut() {
            file.offset = offset;
        }
    }

    /// What is missing before a frame; told once.
    fn missing(&mut self, header: Header) -> Option<Item<'static>> {
        let damaged = self.damaged.take();
        let expected = self.expected.replace(header.position)?;
        let bytes = header.position.saturating_sub(expected);
        match damaged {
            None if bytes == 0 => None,
            None => Some(Item::Missing { bytes, damaged: false }),
            Some(skipped) => Some(Item::Missing { bytes: if bytes == 0 { skipped } else { bytes }, damaged: true }),
        }
    }

    /// The frame that was just stepped over.
    fn item(&mut self, header: Header) -> Option<Item<'_>> {
        self.expected = Some(header.end());
        let file = self.files.front()?;
        let start = file.offset - u64::from(header.length);
        let present = file.buffer.len().saturating_sub((start - file.start) as usize).min(header.length as usize);
        let data = file.bytes(start, present);
        Some(match header.kind {
            Kind::Output(stream) => {
                let Header { begins, time, position, .. } = header;
                Item::Output(Frame { stream, begins, time, position, data })
            }
            Kind::Dropped => {
                let number = |at: usize| data.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
                let dropped = Dropped { bytes: number(0).unwrap_or(0), lines: number(8).unwrap_or(0) };
                Item::Dropped(header.time, dropped)
            }
        })
    }

    /// Appends the files that are newer than the newest that is open. Opened from the newest to the oldest, a rotation
    /// in between can show a file twice but hide none that was there before: it only makes holes in the numbers.
    fn find_newer(&mut self) -> Result<bool> {
        let known = self.files.back();
        let oldest = self.oldest_age()?;
        let (mut newer, mut holes): (Vec<LogFile>, u32) = (Vec::new(), 0);
        for age in 0..MAX_FILES {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match rustix::fs::openat(&self.dir, file_name(age), flags, Mode::empty()) {
                Ok(file) => LogFile::new(file)?,
                Err(Errno::NOENT) => {
                    holes += 1;
                    // A known file that still has a name comes later.
                    if known.is_some_and(LogFile::has_name) || age < oldest || holes < HOLES {
                        continue;
                    }
                    break;
                }
                Err(errno) => return Err(errno.into()),
            };
            holes = 0;
            if known.is_some_and(|known| known.id == file.id) {
                break;
            }
            if newer.iter().all(|other| other.id != file.id) {
                newer.push(file);
            }
        }
        let found = !newer.is_empty();
        self.files.extend(newer.into_iter().rev());
        Ok(found)
    }

    /// The highest number in a `log.<number>` of the directory.
    fn oldest_age(&self) -> Result<u32> {
        let mut oldest = 0;
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let name = entry?;
            let age = name.file_name().to_str().ok().and_then(|name| name.strip_prefix("log.")?.parse().ok());
            oldest = oldest.max(age.filter(|age| *age < MAX_FILES).unwrap_or(0));
        }
        Ok(oldest)
    }
}
