//! The layer index: everything of a layer's tar but the content of its files, in tar order.
//!
//! With the layer's `diff/` (and `kept/`, for content that a later entry of the same archive replaced) it gives the
//! exact tar back, byte for byte: see [`rebuild`]. It also tells what [`crate::image::unpack`] decided.
//!
//! ```text
//! "lrun-index 1\n"  then a zstd stream of records, each a tag byte and its fields (numbers are LEB128):
//!   1 head      length, bytes          header blocks (an entry's may come in pieces)
//!   2 entry     flags, [length, path]  ends the blocks of an entry; 1: content follows, 2: it lies at this path
//!   3 content   32 bytes               BLAKE3 of the stored content of the last entry
//!   4 raw       length, bytes          padding, end blocks, whatever comes after them
//!   5 implicit  length, path           a directory made here without an entry of its own
//!   6 kept      number, length, path   what lay at this path is in kept/<number> from here on
//!   7 other                           the blocks before are no entry: a global header, the end of the archive
//!   8 end
//! ```

mod entries;
mod rebuild;

use std::io::{self, Read, Write};

pub use entries::{Entries, Entry, implicit_directories};
pub use rebuild::{Rebuilt, rebuild};

use crate::error::{Context, Error, ErrorKind, REPAIR, Result};
use crate::image::tar::parse::parse;
use crate::image::tar::{Head, Limits};

const MAGIC: &[u8] = b"lrun-index 1\n";
const HEAD: u8 = 1;
const ENTRY: u8 = 2;
const CONTENT: u8 = 3;
const RAW: u8 = 4;
const IMPLICIT: u8 = 5;
const KEPT: u8 = 6;
const OTHER: u8 = 7;
const END: u8 = 8;

const HAS_CONTENT: u8 = 1;
const HAS_PATH: u8 = 2;

/// Headers repeat themselves: the fastest level already makes them small.
const LEVEL: i32 = 1;
const BUFFER: usize = 64 << 10;
/// No piece of an index is longer; the longest are the maps of sparse files.
const MAX_PIECE: u64 = 64 << 20;

/// BLAKE3 digest of a file's stored content.
pub type ContentDigest = [u8; 32];

/// One record of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Header blocks.
    Head(Vec<u8>),
    /// The blocks before are an entry; whether content follows, and where it lies if not at the entry's own path.
    Entry { content: bool, path: Option<Vec<u8>> },
    /// The blocks before are no entry.
    Other,
    /// Digest of the content of the last entry.
    Content(ContentDigest),
    /// Other bytes of the tar.
    Raw(Vec<u8>),
    /// A directory without an entry.
    Implicit(Vec<u8>),
    /// What was at the path moved to `kept/<number>`.
    Kept { number: u64, path: Vec<u8> },
}

/// Writes an index as the tar streams by.
pub(crate) struct Writer<W: Write> {
    out: zstd::stream::write::Encoder<'static, W>,
    buffer: Vec<u8>,
    content: blake3::Hasher,
}

impl<W: Write> Writer<W> {
    /// Starts an index.
    pub(crate) fn new(mut out: W) -> Result<Self> {
        out.write_all(MAGIC).context(|| "write the layer index")?;
        let out = zstd::stream::write::Encoder::new(out, LEVEL).context(|| "write the layer index")?;
        Ok(Self { out, buffer: Vec::with_capacity(2 * BUFFER), content: blake3::Hasher::new() })
    }

    /// Header blocks, or a piece of them.
    pub(crate) fn head(&mut self, bytes: &[u8]) -> Result<()> {
        self.piece(HEAD, bytes)
    }

    /// Other bytes of the tar.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.piece(RAW, bytes)
    }

    /// Ends an entry's header blocks.
    pub(crate) fn entry(&mut self, content: bool, path: Option<&[u8]>) -> Result<()> {
        let flags = if content { HAS_CONTENT } else { 0 } | if path.is_some() { HAS_PATH } else { 0 };
        self.buffer.extend_from_slice(&[ENTRY, flags]);
        if let Some(path) = path {
            self.number(path.len() as u64);
            self.buffer.extend_from_slice(path);
        }
        self.spill(BUFFER)
    }

    /// Ends header blocks that are no entry.
    pub(crate) fn other(&mut self) -> Result<()> {
        self.buffer.push(OTHER);
        self.spill(BUFFER)
    }

    /// A piece of the entry's content; only its digest is kept.
    pub(crate) fn content(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
    }

    /// The content is complete.
    pub(crate) fn content_end(&mut self) -> Result<()> {
        self.buffer.push(CONTENT);
        self.buffer.extend_from_slice(self.content.finalize().as_bytes());
        self.content.reset();
        self.spill(BUFFER)
    }

    /// A directory without an entry.
    pub(crate) fn implicit(&mut self, path: &[u8]) -> Result<()> {
        self.piece(IMPLICIT, path)
    }

    /// What was at `path` moved to `kept/<number>`.
    pub(crate) fn kept(&mut self, number: u64, path: &[u8]) -> Result<()> {
        self.buffer.push(KEPT);
        self.number(number);
        self.number(path.len() as u64);
        self.buffer.extend_from_slice(path);
        self.spill(BUFFER)
    }

    /// Ends the index; flushing it to disk is the caller's.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.buffer.push(END);
        self.spill(0)?;
        self.out.finish().context(|| "write the layer index")
    }

    fn piece(&mut self, tag: u8, bytes: &[u8]) -> Result<()> {
        self.buffer.push(tag);
        self.number(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
        self.spill(BUFFER)
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.buffer.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.buffer.push(number as u8);
    }

    fn spill(&mut self, keep: usize) -> Result<()> {
        if self.buffer.len() > keep {
            self.out.write_all(&self.buffer).context(|| "write the layer index")?;
            self.buffer.clear();
        }
        Ok(())
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the layer index is damaged ({what})")).hint(REPAIR)
}

/// The disk's own failures are no damage of what is on it.
fn unreadable(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::from(error).context("read the layer index"),
        None => corrupt("cut off"),
    }
}

/// The header blocks of an entry, decoded; the archive was read once, so that they cannot be wrong.
fn head_of(blocks: &mut [u8]) -> Result<Head> {
    parse(blocks, &Limits::default()).map_err(|error| corrupt(&error.to_string()))
}

/// Reads an index record by record.
pub(crate) struct Reader<R: Read> {
    input: std::io::BufReader<zstd::stream::read::Decoder<'static, std::io::BufReader<R>>>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Checks that this is an index of this version.
    pub(crate) fn new(mut input: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt("too short"),
            _ => unreadable(error),
        })?;
        if magic != *MAGIC {
            return Err(corrupt("unknown format"));
        }
        let decoder = zstd::stream::read::Decoder::new(input).context(|| "read the layer index")?;
        Ok(Self { input: std::io::BufReader::with_capacity(BUFFER, decoder), ended: false })
    }

    /// The next record; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        if self.ended {
            return Ok(None);
        }
        Ok(Some(match self.byte()? {
            HEAD => Record::Head(self.bytes()?),
            ENTRY => {
                let flags = self.byte()?;
                let path = if flags & HAS_PATH != 0 { Some(self.bytes()?) } else { None };
                Record::Entry { content: flags & HAS_CONTENT != 0, path }
            }
            CONTENT => {
                let mut digest = ContentDigest::default();
                self.input.read_exact(&mut digest).map_err(unreadable)?;
                Record::Content(digest)
            }
            OTHER => Record::Other,
            RAW => Record::Raw(self.bytes()?),
            IMPLICIT => Record::Implicit(self.bytes()?),
            KEPT => Record::Kept { number: self.number()?, path: self.bytes()? },
            END => {
                self.ended = true;
                return Ok(None);
            }
            _ => return Err(corrupt("unknown record")),
        }))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte).map_err(unreadable)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(corrupt("number out of range"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = self.number()?;
        if length > MAX_PIECE {
            return Err(corrupt("length out of range"));
        }
        let mut bytes = Vec::new();
        let got = self.input.by_ref().take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        if got as u64 != length {
            return Err(corrupt("cut off"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
