//! Goes through a directory tree by descriptors, in a fixed order: a directory, then what is in it by name (bytes).
//!
//! No path is ever resolved, so depth is not limited by `PATH_MAX` and no link is followed. Few descriptors are held.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::tar::{Head, Kind, shown};
use crate::error::{Context, Error, ErrorKind, Result};

/// Directories above the current one that stay open; those further up are opened again by `..`.
const OPEN: usize = 64;
const BUFFER: usize = 32 << 10;

/// What comes next in a tree.
pub(crate) enum Step<'w> {
    /// Into a directory, the root itself first (its path is empty).
    Enter { directory: BorrowedFd<'w>, path: &'w [u8], empty: bool },
    /// Something that is no directory.
    Item { directory: BorrowedFd<'w>, name: &'w CStr, kind: FileType, path: &'w [u8] },
    /// Out of a directory again.
    Leave { directory: BorrowedFd<'w> },
}

/// The first names of what has several, by device and inode.
#[derive(Debug, Default)]
pub(crate) struct FirstNames(HashMap<(u64, u64), Vec<u8>>);

impl FirstNames {
    /// Makes a hard link of a head whose thing was met before by another name.
    pub(crate) fn link(&mut self, head: &mut Head, stat: &Stat) {
        if stat.st_nlink < 2 {
            return;
        }
        match self.0.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) => {
                head.kind = Kind::Hardlink;
                head.link.clone_from(first);
                head.xattrs.clear();
            }
            None => drop(self.0.insert((stat.st_dev, stat.st_ino), head.path.clone())),
        }
    }
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: CString,
    pub(crate) kind: FileType,
}

struct Frame {
    /// Closed where the tree is deep.
    fd: Option<OwnedFd>,
    /// Device and inode of one that was closed.
    closed: Option<(u64, u64)>,
    names: std::vec::IntoIter<Name>,
    path: usize,
}

/// A walk through a tree.
pub(crate) struct Walk {
    stack: Vec<Frame>,
    path: Vec<u8>,
    name: CString,
    left: Option<OwnedFd>,
    started: bool,
}

impl Walk {
    /// Starts at `root`.
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self> {
        let fd = open(root, c".", OFlags::DIRECTORY)?;
        let names = names(fd.as_fd())?.into_iter();
        let stack = vec![Frame { fd: Some(fd), closed: None, names, path: 0 }];
        Ok(Self { stack, path: Vec::new(), name: CString::default(), left: None, started: false })
    }

    /// The next step; `None` after leaving the root.
    pub(crate) fn next(&mut self) -> Result<Option<Step<'_>>> {
        self.next_if(&mut |_, _| true)
    }

    /// The next step that is wanted. What is not, by its path and kind, is not even opened.
    pub(crate) fn next_if(&mut self, wanted: &mut dyn FnMut(&[u8], FileType) -> bool) -> Result<Option<Step<'_>>> {
        self.left = None;
        if !std::mem::replace(&mut self.started, true) {
            return self.entered();
        }
        let (name, kind) = loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            self.path.truncate(frame.path);
            let Some(Name { name, kind }) = frame.names.next() else { return self.leave() };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            if wanted(&self.path, kind) {
                break (name, kind);
            }
        };
        if kind == FileType::Directory {
            self.enter(&name).context(|| format!("directory {}", shown(&self.path)))?;
            return self.entered();
        }
        self.name = name;
        match self.stack.last().and_then(|frame| frame.fd.as_ref()) {
            Some(fd) => Ok(Some(Step::Item { directory: fd.as_fd(), name: &self.name, kind, path: &self.path })),
            None => Err(lost()),
        }
    }

    /// Leaves out what is in the directory that was just entered.
    pub(crate) fn skip(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.names = Vec::new().into_iter();
        }
    }

    fn enter(&mut self, name: &CStr) -> Result<()> {
        let parent = self.stack.last().and_then(|frame| frame.fd.as_ref()).ok_or_else(lost)?;
        let fd = open(parent.as_fd(), name, OFlags::DIRECTORY)?;
        let names = names(fd.as_fd())?.into_iter();
        self.stack.push(Frame { fd: Some(fd), closed: None, names, path: self.path.len() });
        if let Some(far) = self.stack.len().checked_sub(OPEN).and_then(|far| self.stack.get_mut(far)) {
            far.closed = far.fd.take().map(identity).transpose()?;
        }
        Ok(())
    }

    fn entered(&self) -> Result<Option<Step<'_>>> {
        let frame = self.stack.last().ok_or_else(lost)?;
        let directory = frame.fd.as_ref().ok_or_else(lost)?.as_fd();
        Ok(Some(Step::Enter { directory, path: &self.path, empty: frame.names.len() == 0 }))
    }

    fn leave(&mut self) -> Result<Option<Step<'_>>> {
        let fd = self.stack.pop().and_then(|frame| frame.fd).ok_or_else(lost)?;
        if let Some(parent) = self.stack.last_mut().filter(|parent| parent.fd.is_none()) {
            let above = open(fd.as_fd(), c"..", OFlags::DIRECTORY)?;
            // One that was moved meanwhile has another directory above it.
            if parent.closed != Some(identity(&above)?) {
                return Err(Error::new(ErrorKind::Conflict, "a directory was moved while it was read"));
            }
            parent.fd = Some(above);
        }
        let left: &OwnedFd = self.left.insert(fd);
        Ok(Some(Step::Leave { directory: left.as_fd() }))
    }
}

fn identity(fd: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "a directory was closed while it was read")
}

/// Opens for reading, without changing the access time where that is allowed, and without waiting for a FIFO's writer.
pub(crate) fn open(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}

/// What is in a directory, sorted by the names' bytes: nothing in one that was removed since it was opened, of which the
/// kernel says that there is no such directory (getdents(2)).
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<Name>> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut reader = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            other => other.context(|| "read a directory")?,
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
            known => known,
        };
        names.push(Name { name: name.to_owned(), kind });
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_holds_nothing() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("removed");
        std::fs::create_dir(&path).expect("a directory");
        let directory = std::fs::File::open(&path).expect("it opens");
        std::fs::remove_dir(&path).expect("it is removed");
        assert!(names(directory.as_fd()).expect("it is read").is_empty());
        let mut walk = Walk::new(directory.as_fd()).expect("it is walked");
        assert!(matches!(walk.next(), Ok(Some(Step::Enter { empty: true, .. }))));
        assert!(matches!(walk.next(), Ok(Some(Step::Leave { .. }))));
        assert!(matches!(walk.next(), Ok(None)));
    }
}
