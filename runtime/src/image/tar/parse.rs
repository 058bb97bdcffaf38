//! Decodes the gathered headers of one entry, strictly: what tar programs read differently is refused.
//!
//! tar-core resolves names, numbers and sparse maps. Times are read here, because tar-core knows neither fractions nor
//! times before 1970, and the numbers that it would let overflow are checked first.

use std::collections::HashMap;

use tar_core::parse::{ParseEvent, ParsedEntry, Parser};

use super::gather::{Layout, layout};
use super::{BLOCK, Head, Kind, Limits, Segment, Time, invalid, normalise, pax, shown};
use crate::error::{Error, ErrorKind, Result};

/// What the PAX records say beside what tar-core takes from them.
#[derive(Default)]
struct Records {
    mtime: Option<Time>,
    size: Option<u64>,
    sparse_1_0: bool,
    path: bool,
    link: bool,
}

/// Decodes `head` as [`super::gather::gather`] left it. Its bytes may be changed on the way.
pub(crate) fn parse(head: &mut [u8], limits: &Limits) -> Result<Head> {
    let layout = layout(head)?;
    let records = records(head, &layout)?;
    // Of two long names, Go's reader takes the one that GNU tar does not.
    if records.path && layout.long_name || records.link && layout.long_link {
        return Err(invalid("a name given both in a PAX header and in a GNU long name"));
    }
    let kind_byte = *head.get(layout.main + 156).ok_or_else(|| invalid("a damaged header"))?;
    check_numbers(head, layout.main)?;
    let mut parser = Parser::new(tar_core::parse::Limits {
        max_metadata_size: u32::try_from(limits.metadata).unwrap_or(u32::MAX),
        max_path_len: None,
        max_pending_entries: 16,
        max_sparse_entries: limits.segments,
    });
    let event = parser.parse(head).map_err(|error| damaged(&error))?;
    let (consumed, entry, sparse) = match event {
        ParseEvent::Entry { consumed, entry } => (consumed, entry, None),
        ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
            (consumed, entry, Some((sparse_map, real_size)))
        }
        _ => return Err(invalid("a damaged header")),
    };
    if consumed != head.len() {
        return Err(invalid("a damaged header"));
    }
    let stored = match (records.sparse_1_0, records.size) {
        (true, size) => {
            let whole = size.map_or_else(|| entry.header.entry_size().map_err(|_| invalid("a damaged size")), Ok)?;
            let map = consumed - layout.main - BLOCK;
            whole.checked_sub(map as u64).ok_or_else(|| invalid("a damaged sparse map"))?
        }
        _ => entry.size,
    };
    let segments = match sparse {
        Some((map, size)) => Some(segments(&map, size, stored)?),
        None => None,
    };
    build(&entry, kind_byte, &records, stored, segments, limits)
}

fn damaged(error: &tar_core::parse::ParseError) -> Error {
    let text = error.to_string();
    invalid(format!("a damaged header ({})", shown(text.as_bytes())))
}

/// Reads the records that are not tar-core's and hides the time from it.
fn records(head: &mut [u8], layout: &Layout) -> Result<Records> {
    let mut found = Records::default();
    let Some(data) = layout.pax.clone().and_then(|range| head.get_mut(range)) else { return Ok(found) };
    for record in pax::records(data)? {
        let value = data.get(record.value).unwrap_or_default().to_vec();
        let key = data.get_mut(record.key).unwrap_or_default();
        match &*key {
            b"mtime" => {
                // An empty value means that the record does not apply.
                if !value.is_empty() {
                    found.mtime = Some(pax::time(&value).ok_or_else(|| invalid("a damaged time in a PAX header"))?);
                }
                key.copy_from_slice(b"Mtime");
            }
            b"size" => found.size = Some(pax::number(&value).ok_or_else(|| invalid("a damaged size in a PAX header"))?),
            b"GNU.sparse.major" => found.sparse_1_0 = value == b"1",
            b"path" => found.path = true,
            b"linkpath" => found.link = true,
            _ => {}
        }
    }
    Ok(found)
}

/// Base-256 numbers of more than 64 bits, and negative ones except times, are refused.
fn check_numbers(head: &[u8], main: usize) -> Result<()> {
    for (start, length, what, signed) in [
        (100, 8, "mode", false),
        (108, 8, "owner", false),
        (116, 8, "group", false),
        (124, 12, "size", false),
        (136, 12, "time", true),
    ] {
        let field = head.get(main + start..main + start + length).unwrap_or_default();
        let fits = match field {
            [0x80, rest @ ..] => rest.iter().take(rest.len().saturating_sub(8)).all(|b| *b == 0),
            [0xff, rest @ ..] => signed && rest.iter().take(rest.len().saturating_sub(8)).all(|b| *b == 0xff),
            [first, ..] => first & 0x80 == 0,
            [] => false,
        };
        if !fits {
            return Err(invalid(format!("a damaged header (the {what} is out of range)")));
        }
    }
    Ok(())
}

fn segments(map: &[tar_core::SparseEntry], size: u64, stored: u64) -> Result<Vec<Segment>> {
    let mut end = 0;
    let mut sum = 0u64;
    let mut segments = Vec::with_capacity(map.len());
    for entry in map {
        let next = entry.offset.checked_add(entry.length);
        match next {
            Some(next) if entry.offset >= end && next <= size => end = next,
            _ => return Err(invalid("a damaged sparse map")),
        }
        sum += entry.length;
        segments.push(Segment { offset: entry.offset, length: entry.length });
    }
    match sum == stored && i64::try_from(size).is_ok() {
        // The size travels as a last segment without bytes, if the map does not reach it.
        true => {
            segments.push(Segment { offset: size, length: 0 });
            Ok(segments)
        }
        false => Err(invalid("a sparse map that does not match its content")),
    }
}

fn kind(byte: u8, entry: &ParsedEntry<'_>) -> Result<Kind> {
    let directory_name = entry.path.last() == Some(&b'/');
    let device = || (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0));
    Ok(match byte {
        // Before POSIX, a directory was a name with a slash.
        0 if directory_name => Kind::Directory,
        b'0' | b'7' | b'S' | 0 if directory_name => return Err(invalid("a file whose name ends with a slash")),
        b'0' | b'7' | 0 => Kind::File,
        b'S' if entry.header.is_gnu() => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char(device().0, device().1),
        b'4' => Kind::Block(device().0, device().1),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            let text = format!("unknown entry type '{}'", other.escape_ascii());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    })
}

fn build(
    entry: &ParsedEntry<'_>,
    kind_byte: u8,
    records: &Records,
    stored: u64,
    segments: Option<Vec<Segment>>,
    limits: &Limits,
) -> Result<Head> {
    let named = |error: Error| error.context(format!("entry {}", shown(&entry.path)));
    let kind = kind(kind_byte, entry).map_err(named)?;
    let path = normalise(&entry.path, limits)?;
    let raw_link = entry.link_target.as_deref().unwrap_or_default();
    let link = match kind {
        Kind::Hardlink => normalise(raw_link, limits).map_err(named)?,
        Kind::Symlink => checked_target(raw_link, limits).map_err(named)?,
        _ => Vec::new(),
    };
    if i64::try_from(stored).is_err() {
        return Err(named(invalid("a damaged header (the size is out of range)")));
    }
    let (stored, size) = match (kind, &segments) {
        (Kind::File, None) => (stored, stored),
        (Kind::File, Some(list)) => (stored, list.last().map_or(0, |end| end.offset)),
        // The size of a link is that of its target in some old archives; no content follows.
        (Kind::Hardlink, None) => (0, 0),
        (_, None) if stored == 0 => (0, 0),
        _ => return Err(named(invalid("content where the type allows none"))),
    };
    let id = |id: u64| u32::try_from(id).map_err(|_| named(invalid(format!("the owner id {id} is too large"))));
    Ok(Head {
        kind,
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        // tar-core leaves a negative base-256 time as its two's complement.
        mtime: records.mtime.unwrap_or(Time { secs: entry.mtime.cast_signed(), nanos: 0 }),
        link,
        size,
        stored,
        segments,
        xattrs: xattrs(entry),
        path,
    })
}

fn checked_target(target: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    match target {
        [] => Err(invalid("a symbolic link without a target")),
        long if long.len() >= limits.path => {
            Err(invalid(format!("a link target of {} bytes, more than the limit of {}", long.len(), limits.path)))
        }
        target if target.contains(&0) => Err(invalid("a link target with a NUL byte")),
        target => Ok(target.to_vec()),
    }
}

/// The attributes to set. overlayfs's own never come out of an archive: they would redirect or hide files.
fn xattrs(entry: &ParsedEntry<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut places = HashMap::new();
    for (name, value) in &entry.xattrs {
        let name = decode_key(name);
        if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        // Of two with one name the later counts.
        match places.get(&name).and_then(|place: &usize| list.get_mut(*place)) {
            Some((_, old)) => *old = value.to_vec(),
            None => {
                places.insert(name.clone(), list.len());
                list.push((name, value.to_vec()));
            }
        }
    }
    list
}

/// GNU tar writes `=` and `%` of an attribute's name as `%3D` and `%25`, since the key ends at the first `=`.
fn decode_key(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((first, tail)) = rest.split_first() {
        rest = match rest {
            [b'%', b'3', b'D', tail @ ..] => {
                name.push(b'=');
                tail
            }
            [b'%', b'2', b'5', tail @ ..] => {
                name.push(b'%');
                tail
            }
            _ => {
                name.push(*first);
                tail
            }
        };
    }
    name
}
