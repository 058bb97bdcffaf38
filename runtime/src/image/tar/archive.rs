//! Archives made by hand, for tests.

use super::header::write;
use super::{BLOCK, Head, Kind, Time, padding};
use crate::idmap::{Extent, IdMap, Mode};

/// A mapping that has only the ids of this process, as itself.
pub(crate) fn own_ids() -> IdMap {
    let extent = |id: u32| vec![Extent { inside: id, outside: id, count: 1 }];
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    IdMap::new(Mode::Single, extent(uid), extent(gid))
}

/// An entry that belongs to this process.
pub(crate) fn entry(path: impl AsRef<[u8]>, kind: Kind) -> Head {
    Head {
        path: path.as_ref().to_vec(),
        kind,
        mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Time { secs: 1_000_000_000, nanos: 0 },
        link: Vec::new(),
        size: 0,
        stored: 0,
        segments: None,
        xattrs: Vec::new(),
    }
}

/// A tar that grows.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn add(mut self, mut head: Head, content: &[u8]) -> Self {
        head.stored = content.len() as u64;
        write(&head, &mut self.0);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len() + padding(head.stored), 0);
        self
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, content: &str) -> Self {
        self.add(entry(path, Kind::File), content.as_bytes())
    }

    pub(crate) fn dir(self, path: impl AsRef<[u8]>) -> Self {
        self.add(entry(path, Kind::Directory), b"")
    }

    pub(crate) fn symlink(self, path: impl AsRef<[u8]>, target: &str) -> Self {
        self.add(Head { link: target.into(), mode: 0o777, ..entry(path, Kind::Symlink) }, b"")
    }

    pub(crate) fn link(self, path: impl AsRef<[u8]>, target: &str) -> Self {
        self.add(Head { link: target.into(), ..entry(path, Kind::Hardlink) }, b"")
    }

    /// A header with these PAX records in front of it.
    pub(crate) fn pax(mut self, records: &[(&str, &str)], head: Head, content: &[u8]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            super::pax::push(&mut data, key.as_bytes(), value.as_bytes());
        }
        let at = self.0.len();
        self = self.add(entry("pax", Kind::File), &data);
        self.patch(at, |header| header[156] = b'x').add(head, content)
    }

    /// Changes the header at `at` and mends its checksum.
    pub(crate) fn patch(mut self, at: usize, change: impl FnOnce(&mut [u8])) -> Self {
        let header = &mut self.0[at..at + BLOCK];
        change(header);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
