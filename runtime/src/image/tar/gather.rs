//! Takes the header blocks of one entry off a stream: extended headers, the header itself, the maps of sparse files.
//!
//! The parser then sees an entry's whole metadata at once, and the same bytes go into the layer's index.

use tar_core::Header;

use super::{BLOCK, Limits, invalid, padding, pax};
use crate::error::{Error, Result};

/// Where header blocks come from.
pub(crate) trait Source {
    /// Appends up to `count` bytes; fewer only at the end of the stream. Returns how many.
    fn take(&mut self, into: &mut Vec<u8>, count: usize) -> Result<usize>;
}

impl Source for &[u8] {
    fn take(&mut self, into: &mut Vec<u8>, count: usize) -> Result<usize> {
        let (now, later) = self.split_at(count.min(self.len()));
        into.extend_from_slice(now);
        *self = later;
        Ok(now.len())
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// An entry's headers.
    Entry,
    /// A global extended header (`g`) with its data.
    Global,
    /// A block of zeros.
    Zeros,
    /// Nothing: the stream ends.
    End,
}

/// The headers in front of an entry's own header.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Where the entry's own header starts.
    pub(crate) main: usize,
    /// The PAX records, if there are some.
    pub(crate) pax: Option<std::ops::Range<usize>>,
    /// Whether there is a GNU long name.
    pub(crate) long_name: bool,
    /// Whether there is a GNU long link target.
    pub(crate) long_link: bool,
}

fn truncated(inside: &str) -> Error {
    invalid(format!("the archive ends inside {inside}"))
}

fn header(head: &[u8], at: usize) -> Result<&Header> {
    let block: &[u8; BLOCK] =
        head.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(|| truncated("an entry's header"))?;
    Ok(Header::from_bytes(block))
}

/// Fills `head` with the blocks of the next entry.
pub(crate) fn gather(source: &mut dyn Source, head: &mut Vec<u8>, limits: &Limits) -> Result<Gathered> {
    head.clear();
    let mut layout = Layout::default();
    loop {
        let at = head.len();
        let got = source.take(head, BLOCK)?;
        if got == 0 && at == 0 {
            return Ok(Gathered::End);
        }
        if got < BLOCK {
            return Err(truncated("an entry's header"));
        }
        if head.get(at..).is_some_and(|block| block.iter().all(|b| *b == 0)) {
            return match at {
                0 => Ok(Gathered::Zeros),
                _ => Err(invalid("an extended header without an entry")),
            };
        }
        let found = header(head, at)?;
        found.verify_checksum().map_err(|_| invalid("a damaged header (wrong checksum)"))?;
        match head.get(at + 156) {
            Some(b'g') if at > 0 => return Err(invalid("a global header between an extended header and its entry")),
            Some(b'g') => {
                extension(source, head, limits)?;
                return Ok(Gathered::Global);
            }
            Some(b'x') => layout.pax = Some(extension(source, head, limits)?),
            Some(b'L' | b'K') => {
                extension(source, head, limits)?;
            }
            Some(b'S') => {
                gnu_map(source, head, limits)?;
                return Ok(Gathered::Entry);
            }
            _ => {
                layout.main = at;
                pax_map(source, head, &layout, limits)?;
                return Ok(Gathered::Entry);
            }
        }
    }
}

/// Reads the data of the extended header whose block is the last in `head`; returns where it lies, without padding.
fn extension(source: &mut dyn Source, head: &mut Vec<u8>, limits: &Limits) -> Result<std::ops::Range<usize>> {
    let at = head.len();
    let size = header(head, at.saturating_sub(BLOCK))?.entry_size().map_err(|_| invalid("a header without a size"))?;
    if size > limits.metadata as u64 || at + size as usize > limits.metadata {
        return Err(invalid(format!("extended headers of more than {} bytes, the limit", limits.metadata)));
    }
    let count = size as usize + padding(size);
    if source.take(head, count)? < count {
        return Err(truncated("an extended header"));
    }
    Ok(at..at + size as usize)
}

/// Reads the extension blocks of an old GNU sparse header; `tar.h` of GNU tar.
fn gnu_map(source: &mut dyn Source, head: &mut Vec<u8>, limits: &Limits) -> Result<()> {
    const SEGMENTS_PER_BLOCK: usize = 21;
    let mut extended = head.len().checked_sub(BLOCK).and_then(|at| head.get(at + 482)).is_some_and(|b| *b != 0);
    let mut blocks = 0;
    while extended {
        blocks += 1;
        if blocks * SEGMENTS_PER_BLOCK > limits.segments + SEGMENTS_PER_BLOCK {
            return Err(too_many_segments(limits));
        }
        if source.take(head, BLOCK)? < BLOCK {
            return Err(truncated("a sparse file's map"));
        }
        extended = head.len().checked_sub(BLOCK).and_then(|at| head.get(at + 504)).is_some_and(|b| *b != 0);
    }
    Ok(())
}

fn too_many_segments(limits: &Limits) -> Error {
    invalid(format!("a sparse file with more than {} segments, the limit", limits.segments))
}

/// Reads the map at the start of the content of a PAX 1.0 sparse file: decimal lines, padded to a whole block.
fn pax_map(source: &mut dyn Source, head: &mut Vec<u8>, layout: &Layout, limits: &Limits) -> Result<()> {
    if !is_sparse_1_0(head, layout)? {
        return Ok(());
    }
    let start = head.len();
    let mut wanted = None;
    let mut lines = 0;
    while wanted.is_none_or(|wanted| lines < wanted) {
        let at = head.len();
        if source.take(head, BLOCK)? < BLOCK {
            return Err(truncated("a sparse file's map"));
        }
        lines += head.get(at..).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
        if wanted.is_none() {
            let first = head.get(start..).and_then(|map| map.split(|b| *b == b'\n').next()).unwrap_or_default();
            let count = pax::number(first).filter(|_| lines > 0).ok_or_else(|| invalid("a damaged sparse map"))?;
            if count > limits.segments as u64 {
                return Err(too_many_segments(limits));
            }
            wanted = Some(1 + 2 * count as usize);
        }
        if head.len() - start > (limits.segments + 1) * 2 * 21 {
            return Err(too_many_segments(limits));
        }
    }
    Ok(())
}

fn is_sparse_1_0(head: &[u8], layout: &Layout) -> Result<bool> {
    let Some(data) = layout.pax.clone().and_then(|range| head.get(range)) else { return Ok(false) };
    let (mut major, mut minor) = (None, None);
    for record in pax::records(data)? {
        match data.get(record.key) {
            Some(b"GNU.sparse.major") => major = data.get(record.value),
            Some(b"GNU.sparse.minor") => minor = data.get(record.value),
            _ => {}
        }
    }
    match (major, minor) {
        (None, _) | (Some(b"0"), _) => Ok(false),
        (Some(b"1"), Some(b"0")) => Ok(true),
        _ => Err(invalid("an unknown form of sparse file")),
    }
}

/// Finds the entry's own header in gathered blocks.
pub(crate) fn layout(head: &[u8]) -> Result<Layout> {
    let mut found = Layout::default();
    loop {
        let at = found.main;
        let kind = head.get(at + 156).copied().ok_or_else(|| truncated("an entry's header"))?;
        if !matches!(kind, b'x' | b'L' | b'K') {
            return Ok(found);
        }
        let size = header(head, at)?.entry_size().map_err(|_| invalid("a header without a size"))?;
        let size = usize::try_from(size).ok().filter(|size| *size <= head.len());
        let size = size.ok_or_else(|| truncated("an extended header"))?;
        let data = at + BLOCK..at + BLOCK + size;
        match kind {
            b'x' => found.pax = Some(data.clone()),
            b'L' => found.long_name = true,
            _ => found.long_link = true,
        }
        found.main = data.end + padding(size as u64);
    }
}
