//! The tar format as container layers use it: limits, names, and the decoded header of an entry.
//!
//! Formats: POSIX `pax(1)` (ustar and extended headers), the GNU extensions (`L`, `K`, `S`, base-256 numbers) and the
//! `SCHILY.xattr.` records. [`gather`] takes the header blocks of one entry off a stream, [`parse`] decodes them,
//! [`header`] writes the canonical form.

#[cfg(test)]
pub(crate) mod archive;
pub(crate) mod gather;
pub(crate) mod header;
pub(crate) mod parse;
pub(crate) mod pax;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Size of a tar block.
pub(crate) const BLOCK: usize = 512;
/// Prefix of a whiteout's name; OCI image specification, "Layer Filesystem Changeset".
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Name of the marker that makes its directory opaque.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an archive may ask for before it is refused; the defaults are far beyond what images contain.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the uncompressed stream; also the apparent bytes of all files together (holes counted).
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Components of a path; by default as many as fit into one.
    pub depth: usize,
    /// Bytes of a path or a link target (Linux takes 4095, and files are opened below `diff/`).
    pub path: usize,
    /// Bytes of one entry's extended headers (PAX records, long names).
    pub metadata: usize,
    /// Segments of one sparse file.
    pub segments: usize,
    /// Bytes of memory for what directories get once everything is in them; beyond, they get it early.
    pub directories: usize,
    /// Bytes after the archive's end: padding, at most.
    pub trailer: u64,
    /// Whether the archive may end with the last byte of its last entry, without padding.
    pub open_end: bool,
}

impl Limits {
    /// For an archive of which the digest is known: it cannot have been cut off. What was never closed after the last entry
    /// (`umoci insert` does so) is whole, and Go's reader takes it, too.
    pub fn of_known() -> Self {
        Self { open_end: true, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 40,
            entries: 20_000_000,
            depth: 2048,
            path: 4090,
            metadata: 1 << 20,
            segments: 100_000,
            directories: 8 << 20,
            trailer: 16 << 20,
            open_end: false,
        }
    }
}

/// Longest file name that Linux file systems take (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Seconds since 1970 and nanoseconds (0..1_000_000_000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// The rest.
    pub nanos: u32,
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier file.
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character device (major, minor).
    Char(u32, u32),
    /// A block device (major, minor).
    Block(u32, u32),
}

/// A range of a sparse file that the archive stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// An entry's decoded header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Normalised path relative to the root; empty for the root itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Target: as written for symbolic links, normalised for hard links.
    pub link: Vec<u8>,
    /// The file's size, holes included.
    pub size: u64,
    /// Bytes of content that follow in the archive, padding not counted.
    pub stored: u64,
    /// For sparse files, what the stored bytes are.
    pub segments: Option<Vec<Segment>>,
    /// Extended attributes, overlayfs's own left out.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Head {
    /// Root's, of the beginning of 1970, with no content and no attributes.
    pub(crate) fn new(path: Vec<u8>, kind: Kind, mode: u32) -> Self {
        let (link, xattrs, mtime) = (Vec::new(), Vec::new(), Time::default());
        Self { path, kind, mode, uid: 0, gid: 0, mtime, link, size: 0, stored: 0, segments: None, xattrs }
    }
}

/// An `Invalid` error.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// Bytes that follow `size` bytes of content up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// Whether a block is a header, of whatever kind: its checksum is right, nothing else is looked at.
pub(crate) fn is_header(block: &[u8; BLOCK]) -> bool {
    tar_core::Header::from_bytes(block).verify_checksum().is_ok()
}

/// Longest part of a path that is shown, before and after what is left out.
const SHOWN: usize = 150;

/// A path for people: control and direction-changing characters, backslashes and bytes that are not UTF-8 escaped, and
/// of a very long one the beginning and the end.
pub fn shown(path: &[u8]) -> String {
    match path.len().checked_sub(SHOWN) {
        Some(end) if end > SHOWN => {
            let part = |range| escaped(path.get::<std::ops::Range<usize>>(range).unwrap_or_default());
            format!("{}…{}", part(0..SHOWN), part(end..path.len()))
        }
        _ if path.is_empty() => "/".into(),
        _ => escaped(path),
    }
}

fn escaped(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || is_bidi(c) => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// The parent's path and the last component; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => Some((path.get(..at)?, path.get(at + 1..)?)),
        None => Some((b"", path)),
    }
}

/// `directory` and `name` as one path.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + name.len() + 1);
    path.extend_from_slice(directory);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` is `ancestor` or lies below it.
pub(crate) fn within<'p>(path: &'p [u8], ancestor: &[u8]) -> Option<&'p [u8]> {
    if ancestor.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(ancestor)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// A name of the archive as a path below the root: no leading `/`, no `.`, no empty component, `..` resolved by name.
/// A `..` that would leave the root, a NUL byte and names beyond the limits are refused.
pub(crate) fn normalise(name: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    if name.len() > limits.path {
        return Err(invalid(format!("the path has {} bytes, more than the limit of {}", name.len(), limits.path)));
    }
    if name.contains(&0) {
        return Err(invalid(format!("the path {} contains a NUL byte", shown(name))));
    }
    let mut path: Vec<&[u8]> = Vec::new();
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                path.pop().ok_or_else(|| invalid(format!("the path {} leaves the root", shown(name))))?;
            }
            long if long.len() > NAME_MAX => {
                return Err(invalid(format!(
                    "a file name has {} bytes, more than the limit of {NAME_MAX}",
                    long.len()
                )));
            }
            other => path.push(other),
        }
    }
    if path.len() > limits.depth {
        return Err(invalid(format!(
            "the path has {} components, more than the limit of {}",
            path.len(),
            limits.depth
        )));
    }
    Ok(path.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_below_the_root() {
        let limits = Limits { path: 600, depth: 3, ..Limits::default() };
        let long = vec![b'a'; 256];
        let cases: [(&[u8], Option<&[u8]>); 14] = [
            (b"a/b", Some(b"a/b")),
            (b"./a//b/", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"./", Some(b"")),
            (b"/", Some(b"")),
            (b"a/../b", Some(b"b")),
            (b"a/./b/..", Some(b"a")),
            (b"\xff\xfe", Some(b"\xff\xfe")),
            (b"..", None),
            (b"a/../../b", None),
            (b"/../x", None),
            (b"a\0b", None),
            (b"a/b/c/d", None),
            (&long, None),
        ];
        for (name, wanted) in cases {
            let got = normalise(name, &limits);
            assert_eq!(got.as_deref().ok(), wanted, "{}", shown(name));
            if let Err(error) = got {
                assert_eq!(error.kind(), ErrorKind::Invalid);
            }
        }
    }

    #[test]
    fn shown_paths_cannot_steer_a_terminal() {
        assert_eq!(shown(b"a\x1b[31m\n\xff\\"), "a\\u{1b}[31m\\n\\xff\\\\");
        assert_eq!(shown("é\u{202e}\u{9b}".as_bytes()), "é\\u{202e}\\u{9b}");
        assert_eq!(shown(b""), "/");
        assert_eq!(shown(&[b'a'; 300]), "a".repeat(300));
        let long = [vec![b'a'; 5000], vec![0x1b; 10], vec![b'z'; 140]].concat();
        assert_eq!(shown(&long), format!("{}…{}{}", "a".repeat(150), "\\u{1b}".repeat(10), "z".repeat(140)));
    }

    #[test]
    fn within_compares_components() {
        assert_eq!(within(b"a/b", b"a"), Some(&b"b"[..]));
        assert_eq!(within(b"a", b"a"), Some(&b""[..]));
        assert_eq!(within(b"ab", b"a"), None);
        assert_eq!(within(b"x", b""), Some(&b"x"[..]));
    }
}
