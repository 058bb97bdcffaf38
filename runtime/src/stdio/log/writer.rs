//! Writing the log. Run by the monitor only; nothing here may fail or stall the container, so errors become counts.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::reader::{LogFile, Step};
use super::{
    BLOCK, Dropped, HEADER, Header, Kind, LogOptions, MAX_FILES, MIN_FRAME, Stream, file_name, frame_start,
    room_in_block, sum,
};
use crate::error::{Context, Result};

/// Appends frames to a container's log.
///
/// Output that the file system refuses (full, over quota, or any other failure) is dropped and counted; the count is
/// written down as soon as something can be written again.
#[derive(Debug)]
pub struct LogWriter {
    dir: OwnedFd,
    options: LogOptions,
    /// `None` while the new file of a rotation could not be made.
    file: Option<OwnedFd>,
    /// Where the next frame goes.
    offset: u64,
    /// See [`Header::position`].
    position: u64,
    /// Whether the next byte of a stream is known to begin a line.
    begins: [bool; 2],
    /// Not yet written down, with the time of the first drop.
    unnoted: Option<(u64, Dropped)>,
    /// Empty until a pipe has more than a few lines.
    buffer: Vec<u8>,
}

/// Bytes that go through the buffer at once. Reading and writing so much is faster than `splice`, which takes every page
/// of the pipe alone.
const BUFFER: usize = 128 * 1024;

/// What became of a [`LogWriter::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes left the pipe.
    Bytes(usize),
    /// The pipe is empty.
    Empty,
    /// The pipe is empty and nobody can write to it any more.
    Ended,
}

impl LogWriter {
    /// Opens the log in the container's directory, making it or continuing it; what a crash tore is cut off.
    pub fn open(dir: impl AsFd, options: LogOptions) -> Result<Self> {
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 3)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&dir, file_name(0), flags, Mode::RUSR | Mode::WUSR).context(|| "open the log")?;
        let (offset, mut position) = recover(&file).context(|| "read the log's end")?;
        if offset == 0 {
            position = previous_end(&dir);
        }
        let begins = [position == 0; 2];
        Ok(Self { dir, options, file: Some(file), offset, position, begins, unnoted: None, buffer: Vec::new() })
    }

    /// Appends output. Never fails; see the type.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let mut rest = data;
        let mut begins = self.begins[stream.index()];
        self.begins[stream.index()] = data.last().map_or(begins, |byte| *byte == b'\n');
        while !rest.is_empty() {
            let (Some(room), Some(file)) = (self.prepare(), &self.file) else { return self.drop_bytes(rest) };
            let (now, later) = rest.split_at(rest.len().min(room));
            let header = Header { begins, ..self.header(Kind::Output(stream), now.len()) };
            let written = write_frame(file.as_fd(), self.offset, header, now).unwrap_or(0);
            self.advance(written);
            self.drop_bytes(&now[written..]);
            begins = now.ends_with(b"\n");
            rest = later;
        }
    }

    /// Moves at most `most` bytes out of a pipe, which does not block, into the log. What cannot be logged is taken out of the pipe and dropped.
    /// An error is the pipe's, not the log's.
    pub fn take(&mut self, stream: Stream, pipe: impl AsFd, most: usize) -> Result<Taken> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let most = most.min(BUFFER);
        let taken = match rustix::io::read(pipe, &mut buffer[..most]) {
            Ok(0) => Ok(Taken::Ended),
            Ok(taken) => {
                self.write(stream, &buffer[..taken]);
                Ok(Taken::Bytes(taken))
            }
            Err(Errno::AGAIN) => Ok(Taken::Empty),
            Err(Errno::INTR) => Ok(Taken::Bytes(0)),
            Err(errno) => Err(errno.into()),
        };
        self.buffer = buffer;
        taken
    }

    /// Output dropped so far and not yet noted in the log.
    pub fn unnoted(&self) -> Dropped {
        self.unnoted.map(|(_, dropped)| dropped).unwrap_or_default()
    }

    /// Tries once more to note what was dropped; the last call before the writer goes.
    pub fn finish(&mut self) {
        self.prepare();
    }

    /// Rotates if it is time, notes what was dropped, and says how long the payload of the next frame, at
    /// `self.offset`, may be. `None`: nothing can be written now.
    fn prepare(&mut self) -> Option<usize> {
        if self.offset >= self.options.max_size || self.file.is_none() {
            self.rotate();
        }
        self.offset = frame_start(self.offset);
        let file = self.file.as_ref()?;
        if let Some((time, dropped)) = self.unnoted {
            let mut payload = [0; 16];
            payload[..8].copy_from_slice(&dropped.bytes.to_le_bytes());
            payload[8..].copy_from_slice(&dropped.lines.to_le_bytes());
            let header = Header { time, ..self.header(Kind::Dropped, payload.len()) };
            let written = write_frame(file.as_fd(), self.offset, header, &payload).ok()?;
            if written < payload.len() {
                let _ = rustix::fs::ftruncate(file, self.offset);
                return None;
            }
            self.unnoted = None;
            self.offset = frame_start(self.offset + (HEADER + payload.len()) as u64);
        }
        let until_rotation = self.options.max_size.saturating_sub(self.offset).max(MIN_FRAME);
        Some(room_in_block(self.offset).min(until_rotation) as usize - HEADER)
    }

    fn header(&self, kind: Kind, length: usize) -> Header {
        Header { kind, begins: false, sum: 0, length: length as u32, time: now(), position: self.position }
    }

    fn advance(&mut self, payload: usize) {
        if payload > 0 {
            self.offset += (HEADER + payload) as u64;
            self.position += payload as u64;
        }
    }

    fn drop_bytes(&mut self, data: &[u8]) {
        if !data.is_empty() {
            let lines = data.iter().filter(|byte| **byte == b'\n').count();
            let (_, dropped) = self.unnoted.get_or_insert_with(|| (now(), Dropped::default()));
            dropped.bytes += data.len() as u64;
            dropped.lines += lines as u64;
        }
    }

    /// Shifts every file by one, the oldest out, and begins a new one. Where that fails there is no file for now.
    fn rotate(&mut self) {
        let last = self.options.max_file.clamp(1, MAX_FILES) - 1;
        if self.file.take().is_some() {
            // Errors: a gap in the numbers is harmless, and one that matters shows when the new file is made. The oldest is
            // not replaced by a rename, at which ext4 writes what replaces it to disk at once (auto_da_alloc).
            let _ = rustix::fs::unlinkat(&self.dir, file_name(last), rustix::fs::AtFlags::empty());
            for age in (0..last).rev() {
                let _ = rustix::fs::renameat(&self.dir, file_name(age), &self.dir, file_name(age + 1));
            }
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        self.file = rustix::fs::openat(&self.dir, file_name(0), flags, Mode::RUSR | Mode::WUSR).ok();
        self.offset = 0;
    }
}

/// Writes header and payload at this offset; how much of the payload is there now (the header says so, too).
fn write_frame(file: BorrowedFd<'_>, offset: u64, header: Header, payload: &[u8]) -> rustix::io::Result<usize> {
    let bytes = Header { sum: sum(payload), ..header }.encode();
    let slices = [IoSlice::new(&bytes), IoSlice::new(payload)];
    let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(file, &slices, offset))?;
    let written = written.saturating_sub(HEADER);
    if written == payload.len() {
        return Ok(written);
    }
    // The disk is full: keep what went in.
    if written == 0 {
        let _ = rustix::fs::ftruncate(file, offset);
        return Ok(0);
    }
    let header = Header { length: written as u32, sum: sum(payload.get(..written).unwrap_or_default()), ..header };
    write_all(file, &header.encode(), offset)?;
    Ok(written)
}

fn write_all(file: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(file, data, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => (data, offset) = (&data[written..], offset + written as u64),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Unix time in nanoseconds.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The end of the last sound frame of a file and the position there; everything behind it is cut off, and a torn
/// frame's header is made to say what is left of it.
fn recover(file: &OwnedFd) -> Result<(u64, u64)> {
    if rustix::fs::fstat(file)?.st_size == 0 {
        return Ok((0, 0));
    }
    let mut log = LogFile::new(rustix::io::fcntl_dupfd_cloexec(file, 3)?)?;
    let mut block = log.last_block();
    loop {
        let (mut end, mut position, mut found) = (block, 0, false);
        log.seek(block);
        while let Step::Frame(frame) = log.step(true)?
            && frame.offset < block + BLOCK
        {
            let mut torn = Header { length: frame.payload.len() as u32, ..frame.header };
            if torn != frame.header {
                torn.sum = sum(frame.payload);
                write_all(file.as_fd(), &torn.encode(), frame.offset)?;
            }
            end = frame.offset + (HEADER + frame.payload.len()) as u64;
            (position, found) = (torn.end(), true);
        }
        if found || block == 0 {
            rustix::fs::ftruncate(file, end)?;
            return Ok((end, position));
        }
        block -= BLOCK;
    }
}

/// The position at the end of the newest rotated file, 0 without one.
fn previous_end(dir: &OwnedFd) -> u64 {
    let open = || -> Result<u64> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut log = LogFile::new(rustix::fs::openat(dir, file_name(1), flags, Mode::empty())?)?;
        log.seek(log.last_block());
        let mut position = 0;
        while let Step::Frame(frame) = log.step(true)? {
            position = frame.header.end();
        }
        Ok(position)
    };
    open().unwrap_or_default()
}
