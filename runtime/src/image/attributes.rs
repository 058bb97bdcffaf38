//! Extended attributes of files in layers, and the attributes of a layer's root directory.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat,
    futimens,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::tar::Time;
use crate::error::{Context, Result};

/// Names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The xattr by which overlayfs (mounted with `userxattr`) marks a directory that hides its lower ones.
const OPAQUE: &[u8] = b"user.overlay.opaque";
/// Longest list of names and longest value; `xattr(7)`.
const MOST: usize = 64 << 10;
/// What is asked for first: the kernel allocates as much for each call as it is asked for, and most files have little.
const USUAL: usize = 256;

/// Whether an attribute is part of a file wherever it goes: neither overlayfs's own marks (also in the escaped form that
/// a container leaves) nor the host's labels.
pub(crate) fn travels(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        name => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

/// Reads attributes with one buffer for many files.
pub(crate) struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

/// What a file has.
#[derive(Default)]
pub(crate) struct Found {
    /// Those that travel.
    pub(crate) xattrs: Xattrs,
    /// Whether it is an opaque directory.
    pub(crate) opaque: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { names: vec![0; MOST], value: vec![0; MOST] }
    }

    /// The attributes of an open file; none where the file system has no attributes.
    pub(crate) fn read(&mut self, fd: BorrowedFd<'_>) -> Result<Found> {
        let mut found = Found::default();
        let length = match usual_first(&mut self.names, |names| flistxattr(fd, names)) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(found),
            other => other.context(|| "read extended attributes")?,
        };
        for name in self.names.get(..length).unwrap_or_default().split(|b| *b == 0) {
            let opaque = name == OPAQUE;
            if !opaque && !travels(name) {
                continue;
            }
            let length = match usual_first(&mut self.value, |value| fgetxattr(fd, name, value)) {
                Ok(length) => length,
                Err(Errno::NODATA) => continue,
                Err(errno) => return Err(errno).context(|| "read extended attributes"),
            };
            let value = self.value.get(..length).unwrap_or_default();
            match opaque {
                true => found.opaque = value == b"y",
                false => found.xattrs.push((name.to_vec(), value.to_vec())),
            }
        }
        found.xattrs.sort_unstable();
        Ok(found)
    }
}

/// Calls with a small part of the buffer, and with all of it where that is not enough.
fn usual_first(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<usize> {
    match read(buffer.get_mut(..USUAL).unwrap_or_default()) {
        Err(Errno::RANGE) => read(buffer),
        other => other,
    }
}

/// Attributes of a layer's root directory: what a container sees as `/` takes them from the topmost layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootAttrs {
    /// Permission bits, `07777`.
    pub mode: u32,
    /// Owner, inside the id mapping.
    pub uid: u32,
    /// Group, inside the id mapping.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Extended attributes, overlayfs's own left out.
    pub xattrs: Xattrs,
}

impl RootAttrs {
    /// Reads them from a directory.
    pub fn read(fd: BorrowedFd<'_>) -> Result<Self> {
        let stat = fstat(fd).context(|| "read the root directory's attributes")?;
        let xattrs = Reader::new().read(fd)?.xattrs;
        let mtime = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        Ok(Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs })
    }

    /// Gives them to a directory; `fd` must be open for reading. The time comes last: the others change it.
    pub fn apply(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let attempt = || "set the root directory's attributes";
        let stat = fstat(fd).context(attempt)?;
        if (stat.st_uid, stat.st_gid) != (self.uid, self.gid) {
            fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid))).context(attempt)?;
        }
        for (name, value) in self.xattrs.iter().filter(|(name, _)| travels(name)) {
            fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()).context(attempt)?;
        }
        fchmod(fd, Mode::from_raw_mode(self.mode)).context(attempt)?;
        futimens(fd, &timestamps(self.mtime)).context(attempt)
    }
}

/// Sets the modification time, leaves the access time.
pub(crate) fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn attributes_that_are_longer_than_usual_are_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(directory.path()).unwrap();
        let attributes: Xattrs =
            (0..8).map(|n| (format!("user.{}{n}", "n".repeat(100)).into_bytes(), vec![n; 300])).collect();
        for (name, value) in &attributes {
            fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()).unwrap();
        }
        assert_eq!(Reader::new().read(file.as_fd()).unwrap().xattrs, attributes);
    }

    #[test]
    fn attributes_of_a_root_travel_without_overlay_marks() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &tempfile::TempDir| std::fs::File::open(dir.path()).unwrap();
        let (from, to) = (open(&from), open(&to));
        for (name, value) in [(c"user.a", "1"), (c"user.overlay.opaque", "y"), (c"user.overlay.overlay.x", "z")] {
            fsetxattr(&from, name, value.as_bytes(), XattrFlags::empty()).unwrap();
        }
        fchmod(&from, Mode::from_raw_mode(0o1751)).unwrap();
        futimens(&from, &timestamps(Time { secs: -5, nanos: 7 })).unwrap();
        let attributes = RootAttrs::read(from.as_fd()).unwrap();
        assert_eq!(attributes.xattrs, [(b"user.a".to_vec(), b"1".to_vec())]);
        assert_eq!((attributes.mode, attributes.mtime), (0o1751, Time { secs: -5, nanos: 7 }));
        attributes.apply(to.as_fd()).unwrap();
        assert_eq!(RootAttrs::read(to.as_fd()).unwrap(), attributes);
        assert!(Reader::new().read(from.as_fd()).unwrap().opaque);
        assert!(!Reader::new().read(to.as_fd()).unwrap().opaque);
    }
}
