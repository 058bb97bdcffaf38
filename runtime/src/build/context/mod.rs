//! The build context: the directory whose files `COPY` and `ADD` take.
//!
//! It is opened once, and everything in it is reached from that descriptor, without the kernel following a link: where one
//! is followed, lrun reads it and goes on inside the context, whose root is `/` for it. So nothing outside is reachable, by
//! links, by `..` or by swapping names meanwhile. What is selected is looked at again whenever it is read; if it is not what
//! it was, the build ends, and no layer is half of one file and half of another.
//!
//! ```text
//! Patterns (.dockerignore) ─> Context ──select──> Selection ──digest──> key of the cache
//!                                                     └──────stream──> tar for the container
//! ```

mod archive;
mod chmod;
mod digest;
mod glob;
mod hashes;
mod ignore;
mod manifest;
mod resolve;
mod select;
mod stream;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

pub use chmod::Chmod;
pub use digest::Placed;
pub use hashes::Hashes;
pub(super) use ignore::clean;
pub use ignore::{Matched, Patterns};
pub use manifest::Manifest;
pub use select::{Entry, Kind, Request, Seen, Selection, Source, has_wildcard};
pub use stream::Streamed;

use super::hide::without_users;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::image::tar::shown;

/// A directory that files are copied from, opened.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
    ignore: Patterns,
    name: Option<String>,
}

impl Context {
    /// Opens a directory of the host, by the path that the user gave.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self::at(root.context(|| format!("open the build context {}", without_users(&path.to_string_lossy())))?))
    }

    /// Takes a directory that is open for reading.
    pub fn at(root: OwnedFd) -> Self {
        Self { root, ignore: Patterns::default(), name: None }
    }

    /// The same without what these patterns match.
    #[must_use]
    pub fn ignoring(mut self, patterns: Patterns) -> Self {
        self.ignore = patterns;
        self
    }

    /// Device and inode of its root: what it is, wherever it is called from.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let found = rustix::fs::fstat(&self.root).context(|| "look at the build context")?;
        Ok((found.st_dev, found.st_ino))
    }

    /// What its root is.
    pub fn seen(&self) -> Result<Seen> {
        rustix::fs::fstat(&self.root).map(|stat| Seen::from(&stat)).context(|| "look at the build context")
    }

    /// What is ignored.
    pub fn ignored(&self) -> &Patterns {
        &self.ignore
    }

    /// The same as another thing than the build's context, which messages call by this name: `stage "base"`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A directory in it, links followed inside the context, by itself: nothing else of the context is reachable.
    pub fn below(&self, path: &[u8]) -> Result<Self> {
        let attempt = || format!("open {} in the build context", shown(path));
        let Some(found) = resolve::find(self.root.as_fd(), &resolve::inside(path)?)? else {
            return Err(Error::new(ErrorKind::NotFound, "no such directory").context(attempt()));
        };
        let root = resolve::open(self.root.as_fd(), &found.path, OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(Self::at(root.context(attempt)?))
    }

    /// A regular file of at most `max` bytes, ignored or not: the Dockerfile, `.dockerignore`. `None`: it is not there.
    pub fn read(&self, path: &[u8], max: u64) -> Result<Option<Vec<u8>>> {
        let attempt = || format!("read {} in the build context", shown(path));
        let Some(found) = resolve::find(self.root.as_fd(), &resolve::inside(path)?)? else { return Ok(None) };
        if FileType::from_raw_mode(found.stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(ErrorKind::Invalid, "it is no regular file").context(attempt()));
        }
        let file = resolve::open(self.root.as_fd(), &found.path, OFlags::RDONLY | OFlags::NONBLOCK).context(attempt)?;
        let mut bytes = Vec::new();
        File::from(file).take(max.saturating_add(1)).read_to_end(&mut bytes).context(attempt)?;
        if bytes.len() as u64 > max {
            return Err(Error::new(ErrorKind::Invalid, format!("it is larger than {max} bytes")).context(attempt()));
        }
        Ok(Some(bytes))
    }
}
