//! The log of a container: every byte of its output, time-stamped, in files that rotate by size.
//!
//! ```text
//! containers/<id>/log      being written by the monitor (one writer: it holds the container's lock)
//! containers/<id>/log.1    the one before … log.<max_file - 1> the oldest
//! ```
//!
//! A file is a row of blocks of [`BLOCK`] bytes. A block is a row of frames and never begins inside one, so any block
//! can be read without those before it: `--tail` reads from the end, and damage costs at most the rest of one block. A
//! frame is a header of [`HEADER`] bytes, then `length` bytes of output as they came:
//!
//! | bytes | field (little endian) |
//! | --- | --- |
//! | 0–3 | magic `lrL1` |
//! | 4 | kind: 1 stdout, 2 stderr, 3 note of dropped output (payload: bytes u64, lines u64) |
//! | 5 | 1: the payload begins a line of its stream; 0: it may |
//! | 6–7 | sum of the payload, see [`sum`]; 0: there is none |
//! | 8–11 | length of the payload, at least 1 |
//! | 12–15 | check: FNV-1a of the other 28 bytes |
//! | 16–23 | time it was read from the container, Unix ns |
//! | 24–31 | position: bytes of output in all frames before it, since the container was created |
//!
//! Where fewer than [`MIN_FRAME`] bytes are left, the rest of a block is zero. A frame whose payload is cut short
//! by the end of the file was torn by a crash; its bytes that are there count.

mod reader;
mod verify;
mod view;
mod writer;

pub use reader::{Frame, Item, LogReader};
pub use verify::damage;
pub use view::{Notice, View, show};
pub use writer::{LogWriter, Taken};

use super::Stream;

/// Block size; a frame never crosses a multiple of it.
const BLOCK: u64 = 256 * 1024;
/// Header size.
const HEADER: usize = 32;
/// No frame begins with less room than this in its block; a note of dropped output needs so much.
const MIN_FRAME: u64 = HEADER as u64 + 16;
const MAGIC: [u8; 4] = *b"lrL1";
/// More files than this are not kept.
const MAX_FILES: u32 = 1000;
/// The newest file.
const NAME: &str = "log";

/// How much log a container keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogOptions {
    /// A file that has reached this size in bytes is rotated; `u64::MAX`: never.
    pub max_size: u64,
    /// Number of files, 1 to 1000; others count as the nearest.
    pub max_file: u32,
}

/// 5 files of 32 MiB.
impl Default for LogOptions {
    fn default() -> Self {
        Self { max_size: 32 * 1024 * 1024, max_file: 5 }
    }
}

/// Output that could not be logged because the disk was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes.
    pub bytes: u64,
    /// Line ends among them.
    pub lines: u64,
}

/// Name of the file that was rotated `age` times.
fn file_name(age: u32) -> String {
    if age == 0 { NAME.to_owned() } else { format!("{NAME}.{age}") }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Output(Stream),
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    kind: Kind,
    /// Whether the payload is known to begin a line of its stream.
    begins: bool,
    /// Of the payload; 0: not known.
    sum: u16,
    length: u32,
    time: u64,
    position: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let kind = match self.kind {
            Kind::Output(Stream::Stdout) => 1,
            Kind::Output(Stream::Stderr) => 2,
            Kind::Dropped => 3,
        };
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = kind;
        bytes[5] = self.begins.into();
        bytes[6..8].copy_from_slice(&self.sum.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_le_bytes());
        bytes[24..].copy_from_slice(&self.position.to_le_bytes());
        let check = check(&bytes);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The header at the beginning of these bytes, if there is a sound one.
    fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let (fixed, numbers) = bytes.split_at(16);
        if !fixed.starts_with(&MAGIC) || check(bytes).to_le_bytes() != fixed[12..] {
            return None;
        }
        let kind = match fixed[4] {
            1 => Kind::Output(Stream::Stdout),
            2 => Kind::Output(Stream::Stderr),
            3 => Kind::Dropped,
            _ => return None,
        };
        let length = u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        let (time, position) = numbers.split_at(8);
        let header = Header {
            kind,
            begins: fixed[5] == 1,
            sum: u16::from_le_bytes([fixed[6], fixed[7]]),
            length,
            time: u64::from_le_bytes(time.try_into().ok()?),
            position: u64::from_le_bytes(position.try_into().ok()?),
        };
        (1..=BLOCK - HEADER as u64).contains(&u64::from(length)).then_some(header)
    }

    /// The position after this frame.
    fn end(&self) -> u64 {
        match self.kind {
            Kind::Output(_) => self.position.saturating_add(u64::from(self.length)),
            Kind::Dropped => self.position,
        }
    }
}

/// FNV-1a over a header without its check field.
fn check(bytes: &[u8; HEADER]) -> u32 {
    let covered = bytes[..12].iter().chain(&bytes[16..]);
    covered.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The 16-bit little-endian words of a payload (an odd last byte is one) added up modulo 65535, plus 1: any single byte
/// that changes shows for certain, and whatever else nearly so.
fn sum(payload: &[u8]) -> u16 {
    // Modulo 65535, 65536 is 1, so larger words have the same sum.
    let (words, rest) = payload.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let halves = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        (word >> 32) + (word & 0xffff_ffff)
    };
    let total = words.iter().map(halves).sum::<u64>() + halves(&last);
    (total % 65535) as u16 + 1
}

/// Bytes from this offset to the end of its block.
fn room_in_block(offset: u64) -> u64 {
    BLOCK - offset % BLOCK
}

/// Where the next frame's header goes or is: this offset, or the next block when no frame fits here.
fn frame_start(offset: u64) -> u64 {
    let room = room_in_block(offset);
    if room < MIN_FRAME { offset + room } else { offset }
}

#[cfg(test)]
mod tests;
