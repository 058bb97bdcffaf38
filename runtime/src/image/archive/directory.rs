//! A layout that lies in a directory, as `skopeo`, `umoci`, `podman save --format oci-dir` and `lrun save` leave one.
//!
//! Runs in the CLI, with the user's rights: the directory may belong to anybody. Nothing outside of it is opened,
//! whatever its links say.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::documents::DOCUMENT_MAX;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::tar::shown;

/// Tries to open a path that somebody keeps changing.
const TRIES: usize = 100;

/// The directory.
pub(super) struct Layout(pub(super) OwnedFd);

impl Layout {
    /// A document; `None` where there is none.
    pub(super) fn document(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some((file, _)) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let attempt = || format!("read {}", shown(path.as_bytes()));
        File::from(file).take(DOCUMENT_MAX as u64 + 1).read_to_end(&mut bytes).context(attempt)?;
        match bytes.len() > DOCUMENT_MAX {
            true => Err(invalid(path, &format!("has more than {DOCUMENT_MAX} bytes, the limit"))),
            false => Ok(Some(bytes)),
        }
    }

    /// A regular file and its size; `None` where there is none.
    pub(super) fn file(&self, path: &str) -> Result<Option<(OwnedFd, u64)>> {
        // A FIFO must not stall us.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(&self.0, path, flags, Mode::empty(), resolve);
        let opened = (0..TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
        let file = match opened.unwrap_or(Err(Errno::AGAIN)) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::XDEV) => return Err(invalid(path, "leads out of the directory")),
            Err(errno) => return Err(errno).context(|| format!("open {}", shown(path.as_bytes()))),
        };
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some((file, stat.st_size as u64))),
            _ => Err(invalid(path, "is no regular file")),
        }
    }
}

fn invalid(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{} {what}", shown(path.as_bytes())))
}
