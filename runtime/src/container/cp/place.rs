//! Finds what is copied and where it goes, once, by descriptors: on the host as its user names it, or in the helper whose
//! `/` is the container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, fstatvfs, openat2, readlinkat,
};
use rustix::io::Errno;

use super::path::{There, Typed};
use crate::error::{Error, ErrorKind, Result};
use crate::image::files::{Root, is_kernels};
use crate::image::tar::split;

/// Links on the way to a destination; `path_resolution(7)`.
pub(super) const MOST_LINKS: usize = 40;
/// Tries to open a path that somebody else keeps changing.
const MOST_TRIES: usize = 1000;

/// A tree of files in which paths are looked up.
pub struct Place {
    root: OwnedFd,
    resolve: ResolveFlags,
}

/// A destination that was found.
pub struct Found {
    pub there: There,
    /// The directory itself, where it is one; else the one that it is or would be in. Open for reading.
    pub directory: OwnedFd,
    /// Its name there, links followed.
    pub name: Vec<u8>,
    /// What is there, if it is no directory.
    other: Option<OwnedFd>,
}

impl Found {
    fn directory(directory: OwnedFd, name: Vec<u8>) -> Self {
        Self { there: There::Directory, directory, name, other: None }
    }

    /// The same, to be used once more.
    pub fn try_clone(&self) -> Result<Self> {
        let other = self.other.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Self { there: self.there, directory: self.directory.try_clone()?, name: self.name.clone(), other })
    }
}

impl Place {
    /// The host's files.
    pub fn host() -> Result<Self> {
        Self::at(ResolveFlags::empty())
    }

    /// The container's, in a helper that has entered it. Links that the kernel makes up are not followed.
    pub fn inside() -> Result<Self> {
        Self::at(ResolveFlags::NO_MAGICLINKS)
    }

    fn at(resolve: ResolveFlags) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open("/", flags, Mode::empty())?, resolve })
    }

    /// The root, open for reading.
    pub(super) fn open_root(&self) -> Result<OwnedFd> {
        Ok(self.open(self.root.as_fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    pub(super) fn open(&self, at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let attempt = || openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), self.resolve);
        let opened = (0..MOST_TRIES).map(|_| attempt()).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
        opened.unwrap_or(Err(Errno::AGAIN))
    }

    /// Opens what is to be copied. A link at the end is one, unless the path asserts a directory, or with `follow`.
    pub fn source(&self, typed: &Typed, follow: bool) -> Result<Root> {
        let root = self.root.as_fd();
        let directory = if typed.asserts_directory() { OFlags::DIRECTORY } else { OFlags::empty() };
        let last = if follow || typed.asserts_directory() { OFlags::empty() } else { OFlags::NOFOLLOW };
        let fd = self.open(root, typed.path(), OFlags::PATH | directory | last)?;
        let stat = fstat(&fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::RegularFile && is_kernels(&fd)? {
            let text = format!("{} is the kernel's and has no size", typed.shown());
            return Err(Error::new(ErrorKind::Unsupported, text)
                .hint("read it with a command: lrun exec CONTAINER cat PATH > FILE"));
        }
        let changed = || Error::new(ErrorKind::Conflict, format!("{} was replaced meanwhile", typed.shown()));
        let again = |flags: OFlags| -> Result<OwnedFd> {
            let opened =
                self.open(root, typed.path(), flags | last | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
            let same = FileType::from_raw_mode(fstat(&opened)?.st_mode) == kind;
            if same { Ok(opened) } else { Err(changed()) }
        };
        match kind {
            FileType::Directory => again(OFlags::DIRECTORY).map(Root::Directory),
            FileType::RegularFile => again(OFlags::empty()).map(Root::File),
            FileType::Symlink => Ok(Root::Other(stat, readlinkat(&fd, "", Vec::new())?.into_bytes())),
            FileType::Socket => Err(Error::new(ErrorKind::Unsupported, format!("{} is a socket", typed.shown()))),
            _ => Ok(Root::Other(stat, Vec::new())),
        }
    }

    /// Finds where something is to go. Links at the end are followed, also to what is not there yet.
    pub fn destination(&self, typed: &Typed) -> Result<Found> {
        let mut at = self.root.try_clone()?;
        let mut path = typed.path().to_vec();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        for _ in 0..MOST_LINKS {
            while path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            let (parent, name) = split(&path).unwrap_or((b"", b""));
            if matches!(name, b"" | b"." | b"..") {
                let directory = self.open(at.as_fd(), &path, flags)?;
                return Ok(Found::directory(directory, Vec::new()));
            }
            let name = name.to_vec();
            let parent: &[u8] = match parent {
                b"" if path.starts_with(b"/") => b"/",
                b"" => b".",
                parent => parent,
            };
            let parent = self.open(at.as_fd(), parent, flags)?;
            let child = match self.open(parent.as_fd(), &name, OFlags::PATH | OFlags::NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(Found { there: There::Nothing, directory: parent, name, other: None }),
                other => other?,
            };
            match FileType::from_raw_mode(fstat(&child)?.st_mode) {
                FileType::Symlink => {
                    path = readlinkat(&child, "", Vec::new())?.into_bytes();
                    at = parent;
                }
                FileType::Directory => {
                    let directory = self.open(parent.as_fd(), &name, flags | OFlags::NOFOLLOW)?;
                    return Ok(Found::directory(directory, name));
                }
                FileType::CharacterDevice | FileType::BlockDevice => {
                    return Err(Error::new(ErrorKind::Invalid, "must be a directory or a regular file: got a device"));
                }
                _ => return Ok(Found { there: There::Other, directory: parent, name, other: Some(child) }),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// A directory that was not there when the copy began: what is copied is it, and does not go into it.
    pub fn as_missing(&self, found: Found) -> Result<Found> {
        if found.there != There::Directory || found.name.is_empty() {
            return Ok(found);
        }
        let parent = self.open(found.directory.as_fd(), b"..", OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Found { there: There::Nothing, directory: parent, ..found })
    }

    /// Refuses a destination in the container that cannot be written, in docker's words. A file that is there may be
    /// mounted by itself.
    pub fn check_writable(&self, found: &Found) -> Result<()> {
        let directory = found.other.as_ref().unwrap_or(&found.directory).as_fd();
        let refused = |text: &str| Err(Error::new(ErrorKind::Conflict, text));
        if is_kernels(directory)? {
            return refused("the destination is in a file system of the kernel's");
        }
        if !fstatvfs(directory)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Ok(());
        }
        let mount = |fd: BorrowedFd<'_>| {
            rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID).map(|found| found.stx_mnt_id)
        };
        if mount(directory)? == mount(self.root.as_fd())? {
            return refused("container rootfs is marked read-only");
        }
        const TMPFS: u64 = 0x0102_1994;
        match rustix::fs::fstatfs(directory)?.f_type as u64 {
            TMPFS => Err(Error::new(ErrorKind::Conflict, "the destination is in a tmpfs that cannot be written")
                .hint("what is in a tmpfs of a container is there only while it runs: start it first")),
            _ => refused("mounted volume is marked read-only"),
        }
    }
}

/// The path of an open directory in the helper's `/`, without the leading slash.
pub fn path_of(directory: BorrowedFd<'_>) -> Result<Vec<u8>> {
    rustix::process::fchdir(directory)?;
    let path = rustix::process::getcwd(Vec::new())?.into_bytes();
    Ok(path.strip_prefix(b"/").unwrap_or(&path).to_vec())
}
