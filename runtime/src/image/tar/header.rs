//! Writes headers in lrun's canonical form: ustar, with PAX records only where ustar cannot say it.

use std::borrow::Cow;

use super::pax;
use super::{BLOCK, Head, Kind, Segment, Time};

const NAME: usize = 100;
const PREFIX: usize = 155;
/// The largest numbers of the octal fields.
const MAX_ID: u32 = 0o777_7777;
const MAX_LONG: u64 = 0o777_7777_7777;
const MAX_DEVICE: u32 = 0o777_7777;

/// Appends the header blocks of this entry. Directories get a name that ends with a slash, the root is `./`. Of a sparse
/// file the map is among them, in GNU tar's form 1.0.
pub(crate) fn write(head: &Head, out: &mut Vec<u8>) {
    let name = if head.path.is_empty() { b"." } else { head.path.as_slice() };
    let name = match head.kind {
        Kind::Directory => Cow::Owned([name, b"/"].concat()),
        _ => Cow::Borrowed(name),
    };
    let mut records = Vec::new();
    let map = head.segments.as_ref().map(|segments| map(segments)).unwrap_or_default();
    let size = head.stored + map.len() as u64;
    let (prefix, short) = fit(&name);
    if short.len() < name.len() && prefix.is_empty() {
        pax::push(&mut records, b"path", &name);
    }
    if head.link.len() > NAME {
        pax::push(&mut records, b"linkpath", &head.link);
    }
    if size > MAX_LONG {
        pax::push(&mut records, b"size", size.to_string().as_bytes());
    }
    if head.segments.is_some() {
        pax::push(&mut records, b"GNU.sparse.major", b"1");
        pax::push(&mut records, b"GNU.sparse.minor", b"0");
        pax::push(&mut records, b"GNU.sparse.name", &name);
        pax::push(&mut records, b"GNU.sparse.realsize", head.size.to_string().as_bytes());
    }
    if head.uid > MAX_ID {
        pax::push(&mut records, b"uid", head.uid.to_string().as_bytes());
    }
    if head.gid > MAX_ID {
        pax::push(&mut records, b"gid", head.gid.to_string().as_bytes());
    }
    if head.mtime.nanos != 0 || octal_time(head.mtime).is_none() {
        pax::push(&mut records, b"mtime", pax::time_text(head.mtime).as_bytes());
    }
    for (key, value) in &head.xattrs {
        pax::push(&mut records, &[b"SCHILY.xattr.", encode_key(key).as_slice()].concat(), value);
    }
    if !records.is_empty() {
        extended(&records, out);
    }
    let mut block = [0u8; BLOCK];
    put(&mut block, 0, short);
    put(&mut block, 345, prefix);
    numbers(&mut block, head, size);
    put(&mut block, 157, head.link.get(..head.link.len().min(NAME)).unwrap_or_default());
    finish(&mut block, type_byte(head.kind), out);
    out.extend_from_slice(&map);
}

/// The map of a sparse file, as whole blocks.
fn map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for segment in segments {
        map.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut map = map.into_bytes();
    map.resize(map.len() + super::padding(map.len() as u64), 0);
    map
}

fn type_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::Char(..) => b'3',
        Kind::Block(..) => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn octal_time(time: Time) -> Option<u64> {
    u64::try_from(time.secs).ok().filter(|secs| *secs <= MAX_LONG)
}

fn numbers(block: &mut [u8; BLOCK], head: &Head, size: u64) {
    let or_zero = |number: u32, max: u32| u64::from(if number > max { 0 } else { number });
    octal(block, 100, 8, u64::from(head.mode));
    octal(block, 108, 8, or_zero(head.uid, MAX_ID));
    octal(block, 116, 8, or_zero(head.gid, MAX_ID));
    octal(block, 124, 12, if size > MAX_LONG { 0 } else { size });
    octal(block, 136, 12, octal_time(head.mtime).unwrap_or(0));
    let (major, minor) = match head.kind {
        Kind::Char(major, minor) | Kind::Block(major, minor) => (major, minor),
        _ => (0, 0),
    };
    octal(block, 329, 8, or_zero(major, MAX_DEVICE));
    octal(block, 337, 8, or_zero(minor, MAX_DEVICE));
}

fn extended(records: &[u8], out: &mut Vec<u8>) {
    let mut block = [0u8; BLOCK];
    put(&mut block, 0, b"././@PaxHeader");
    octal(&mut block, 100, 8, 0);
    octal(&mut block, 108, 8, 0);
    octal(&mut block, 116, 8, 0);
    octal(&mut block, 124, 12, records.len() as u64);
    octal(&mut block, 136, 12, 0);
    finish(&mut block, b'x', out);
    out.extend_from_slice(records);
    out.resize(out.len() + super::padding(records.len() as u64), 0);
}

/// Splits a name into ustar's prefix and name fields; where it does not fit, the name cut off and no prefix.
fn fit(name: &[u8]) -> (&[u8], &[u8]) {
    if name.len() <= NAME {
        return (b"", name);
    }
    // The cut must be at a slash, with a name of 1..=100 bytes after it.
    let first = name.len() - NAME - 1;
    let cut = (first..name.len() - 1).find(|at| name.get(*at) == Some(&b'/')).filter(|at| (1..=PREFIX).contains(at));
    match cut.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?))) {
        Some(parts) => parts,
        None => (b"", name.get(..NAME).unwrap_or_default()),
    }
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Octal digits up to the last byte, which is NUL.
fn octal(block: &mut [u8; BLOCK], at: usize, width: usize, number: u64) {
    let mut rest = number;
    for byte in block.iter_mut().skip(at).take(width - 1).rev() {
        *byte = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

fn finish(block: &mut [u8; BLOCK], kind: u8, out: &mut Vec<u8>) {
    put(block, 156, &[kind]);
    put(block, 257, b"ustar\x0000");
    put(block, 148, b"        ");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(block, 148, 7, sum);
    put(block, 154, b"\0 ");
    out.extend_from_slice(block);
}

fn encode_key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            other => key.push(*other),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gather::{Gathered, gather};
    use super::super::parse::parse;
    use super::super::{Limits, normalise};
    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::File),
            Just(Kind::Directory),
            Just(Kind::Symlink),
            Just(Kind::Hardlink),
            Just(Kind::Fifo),
            (0u32..4096, 0u32..1_000_000).prop_map(|(major, minor)| Kind::Char(major, minor)),
            (0u32..4096, 0u32..1_000_000).prop_map(|(major, minor)| Kind::Block(major, minor)),
        ]
    }

    prop_compose! {
        fn heads()(
            path in proptest::collection::vec(proptest::collection::vec(1u8..=255, 1..120), 1..6),
            kind in kinds(),
            mode in 0u32..0o10000,
            uid: u32, gid: u32,
            secs in -100_000_000_000i64..100_000_000_000, nanos in prop_oneof![Just(0u32), 1u32..1_000_000_000],
            link in proptest::collection::vec(1u8..=255, 1..200),
            size in prop_oneof![0u64..100, Just(1 << 40)],
            xattrs in proptest::collection::btree_map("user\\.[a-z%=]{1,20}", proptest::collection::vec(any::<u8>(), 0..50), 0..3),
        ) -> Head {
            let limits = Limits::default();
            let path = normalise(&path.join(&b'/'), &limits).unwrap_or_else(|_| b"x".to_vec());
            let path = if path.is_empty() { b"x".to_vec() } else { path };
            let link = match kind {
                Kind::Symlink => link,
                Kind::Hardlink => normalise(&link, &limits).ok().filter(|l| !l.is_empty()).unwrap_or_else(|| b"y".to_vec()),
                _ => Vec::new(),
            };
            let size = if kind == Kind::File { size } else { 0 };
            let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            Head { path, kind, mode, uid, gid, mtime: Time { secs, nanos }, link, size, stored: size, segments: None, xattrs }
        }
    }

    proptest! {
        #[test]
        fn headers_are_read_back(head in heads()) {
            let mut bytes = Vec::new();
            write(&head, &mut bytes);
            let mut source: &[u8] = &bytes;
            let mut blocks = Vec::new();
            prop_assert_eq!(gather(&mut source, &mut blocks, &Limits::default()).unwrap(), Gathered::Entry);
            prop_assert!(source.is_empty());
            prop_assert_eq!(parse(&mut blocks, &Limits::default()).unwrap(), head);
        }
    }

    #[test]
    fn sparse_headers_are_read_back() {
        let segment = |offset, length| Segment { offset, length };
        for (segments, size) in [
            (vec![segment(0, 512), segment(1 << 40, 100), segment(1 << 41, 0)], 1u64 << 41),
            (vec![segment(5 << 30, 0)], 5 << 30),
            ((0..3000).map(|n| segment(n * 8192, 4096)).chain([segment(3000 * 8192, 0)]).collect(), 3000 * 8192),
        ] {
            let stored = segments.iter().map(|segment| segment.length).sum();
            let head = Head {
                path: b"a/disk".to_vec(),
                kind: Kind::File,
                mode: 0o640,
                uid: 1,
                gid: 2,
                mtime: Time::default(),
                link: Vec::new(),
                size,
                stored,
                segments: Some(segments),
                xattrs: Vec::new(),
            };
            let mut bytes = Vec::new();
            write(&head, &mut bytes);
            let mut source: &[u8] = &bytes;
            let mut blocks = Vec::new();
            assert_eq!(gather(&mut source, &mut blocks, &Limits::default()).unwrap(), Gathered::Entry);
            assert!(source.is_empty());
            let read = parse(&mut blocks, &Limits::default()).unwrap();
            // The reader ends the map with the size, whether it is there or not.
            let mut wanted = head.clone();
            wanted.segments.as_mut().unwrap().push(segment(size, 0));
            assert_eq!(read, wanted);
        }
    }
}
