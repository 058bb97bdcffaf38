//! The `owners` file of a layer: true owners of the paths whose owner the id mapping lacks.
//!
//! On disk such a path belongs to 0 and has no setuid and setgid bits. One line per path, in the order of the archive
//! (a later line of the same path counts): `<uid|-> <gid|-> <mode in octal> <path>`, where `-` means that the id on
//! disk is the true one, and bytes of the path below 0x21, `\` and 0x7f are written `\xNN`.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use crate::error::{Context, Error, ErrorKind, Result};

/// A path's true owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// True user id, if it is not the one on disk.
    pub uid: Option<u32>,
    /// True group id, if it is not the one on disk.
    pub gid: Option<u32>,
    /// True permission bits, setuid and setgid included.
    pub mode: u32,
}

impl Owner {
    /// Owner, group and mode of a file that has `on_disk`: the recorded ones where the file still belongs to `own`, and the
    /// mode where nobody changed it.
    pub(crate) fn applied(self, on_disk: (u32, u32, u32), own: (u32, u32)) -> (u32, u32, u32) {
        let uid = self.uid.filter(|_| on_disk.0 == own.0);
        let gid = self.gid.filter(|_| on_disk.1 == own.1);
        let kept = (uid.is_some() || gid.is_some()) && on_disk.2 == self.mode & !0o6000;
        (uid.unwrap_or(on_disk.0), gid.unwrap_or(on_disk.1), if kept { self.mode } else { on_disk.2 })
    }
}

/// Writes one line.
pub(crate) fn write(out: &mut dyn Write, path: &[u8], owner: &Owner) -> std::io::Result<()> {
    for id in [owner.uid, owner.gid] {
        match id {
            Some(id) => write!(out, "{id} ")?,
            None => out.write_all(b"- ")?,
        }
    }
    write!(out, "{:o} ", owner.mode)?;
    for byte in path {
        match byte {
            ..=0x20 | b'\\' | 0x7f => write!(out, "\\x{byte:02x}")?,
            other => out.write_all(&[*other])?,
        }
    }
    out.write_all(b"\n")
}

/// All true owners of a layer, by path.
#[derive(Clone, Debug, Default)]
pub struct Owners(HashMap<Vec<u8>, Owner>);

impl Owners {
    /// Reads an `owners` file.
    pub fn read(mut input: impl BufRead) -> Result<Self> {
        let mut owners = HashMap::new();
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).context(|| "read the layer's owners")? > 0 {
            let (path, owner) =
                parse(&line).ok_or_else(|| Error::new(ErrorKind::Corrupt, "the layer's owners file is damaged"))?;
            owners.insert(path, owner);
            line.clear();
        }
        Ok(Self(owners))
    }

    /// The true owner of this path (relative to the root, no leading slash), if the file has a line for it.
    pub fn get(&self, path: &[u8]) -> Option<Owner> {
        self.0.get(path).copied()
    }
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, Owner)> {
    let line = line.strip_suffix(b"\n")?;
    let mut fields = line.splitn(4, |b| *b == b' ');
    let mut id = || match fields.next()? {
        b"-" => Some(None),
        digits => Some(Some(std::str::from_utf8(digits).ok()?.parse::<u32>().ok()?)),
    };
    let (uid, gid) = (id()?, id()?);
    let mode = u32::from_str_radix(std::str::from_utf8(fields.next()?).ok()?, 8).ok()?;
    let mut path = Vec::new();
    let mut rest = fields.next()?;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        path.push(match (first, tail) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                rest = after;
                (hex(*high)? << 4) | hex(*low)?
            }
            (b'\\', _) => return None,
            (byte, _) => *byte,
        });
    }
    Some((path, Owner { uid, gid, mode }))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_read_back(
            path in proptest::collection::vec(any::<u8>(), 0..40),
            uid: Option<u32>, gid: Option<u32>, mode in 0u32..0o10000,
        ) {
            let owner = Owner { uid, gid, mode };
            let mut file = Vec::new();
            write(&mut file, b"other", &Owner { uid: Some(1), gid: None, mode: 0 }).unwrap();
            write(&mut file, &path, &owner).unwrap();
            let owners = Owners::read(&file[..]).unwrap();
            prop_assert_eq!(owners.get(&path), Some(owner));
            prop_assert_eq!(owners.0.len(), if path == b"other" { 1 } else { 2 });
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Owners::read(&bytes[..]);
        }
    }

    #[test]
    fn the_format_is_one_line_per_path() {
        let mut file = Vec::new();
        write(&mut file, b"usr/bin/a b\\", &Owner { uid: Some(100), gid: None, mode: 0o4755 }).unwrap();
        assert_eq!(file, b"100 - 4755 usr/bin/a\\x20b\\x5c\n");
    }
}
