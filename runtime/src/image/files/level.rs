//! The directories on the way to where an entry goes, each held open: what is renamed meanwhile does not lead elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, fchmod, fchown, fsetxattr, futimens, mkdirat,
    openat, openat2, statat,
};
use rustix::io::Errno;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::attributes::timestamps;
use crate::image::tar::{Time, join, shown, split, within};

/// What a directory gets when everything is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Due {
    pub(super) mode: u32,
    /// `None`: the process's own.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mtime: Option<Time>,
    pub(super) default_acl: Option<Vec<u8>>,
}

struct Level {
    path: Vec<u8>,
    fd: OwnedFd,
    due: Option<Due>,
}

/// From the directory that everything goes to down to that of the current entry.
pub(super) struct Levels {
    levels: Vec<Level>,
    /// Whether a link to a directory leads on, as in the container; only where `/` is the container's.
    follow: bool,
    /// What directories without an entry of their own get.
    implicit: Due,
    /// Attributes that the file system did not take.
    pub(super) refused: u64,
}

impl Levels {
    pub(super) fn new(directory: OwnedFd, follow: bool, owner: Option<(u32, u32)>) -> Self {
        let implicit = Due { mode: 0o755, owner, ..Due::default() };
        Self { levels: vec![Level { path: Vec::new(), fd: directory, due: None }], follow, implicit, refused: 0 }
    }

    /// The directory `path`, made where it is missing.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        while self.levels.last().is_some_and(|top| within(path, &top.path).is_none()) {
            self.leave()?;
        }
        let top = self.levels.last().map(|top| top.path.clone()).unwrap_or_default();
        let rest = within(path, &top).unwrap_or_default().to_vec();
        for name in rest.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let path = join(self.levels.last().map(|top| top.path.as_slice()).unwrap_or_default(), name);
            let (fd, made) = self.step(name, true).context(|| format!("directory {}", shown(&path)))?;
            let due = made.then(|| self.implicit.clone());
            self.levels.push(Level { path, fd, due });
        }
        self.top()
    }

    /// The directory `path` for an entry that says what it is like.
    pub(super) fn directory(&mut self, path: &[u8], due: Due) -> Result<BorrowedFd<'_>> {
        let Some((parent, name)) = split(path) else { return self.enter(path) };
        self.enter(parent)?;
        let (fd, _) = self.step(name, false)?;
        self.levels.push(Level { path: path.to_vec(), fd, due: Some(due) });
        self.top()
    }

    /// The directory `path`, which must be there, without going to it.
    pub(super) fn find(&self, path: &[u8]) -> Result<OwnedFd> {
        let base = self.levels.first().ok_or_else(lost)?;
        let mut fd = base.fd.try_clone()?;
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            fd = self.open(fd.as_fd(), name, self.follow)?;
        }
        Ok(fd)
    }

    fn top(&self) -> Result<BorrowedFd<'_>> {
        self.levels.last().map(|top| top.fd.as_fd()).ok_or_else(lost)
    }

    fn open(&self, at: BorrowedFd<'_>, name: &[u8], follow: bool) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match follow {
            true => openat2(at, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS),
            false => openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()),
        }
    }

    /// The directory `name` in the current one, and whether it was made.
    fn step(&self, name: &[u8], on_the_way: bool) -> Result<(OwnedFd, bool)> {
        let at = self.top()?;
        // Nobody else gets in before it has its own mode.
        let made = match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        match self.open(at, name, self.follow && on_the_way && !made) {
            Ok(fd) => Ok((fd, made)),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(not_a_directory(at, name)?),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the current directory what is due to it and goes back to the one above.
    fn leave(&mut self) -> Result<()> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let Some(due) = &level.due else { return Ok(()) };
        self.give(level.fd.as_fd(), due).context(|| format!("directory {}", shown(&level.path)))
    }

    fn give(&mut self, fd: BorrowedFd<'_>, due: &Due) -> Result<()> {
        if let Some((uid, gid)) = due.owner {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        fchmod(fd, Mode::from_raw_mode(due.mode))?;
        if let Some(acl) = &due.default_acl
            && fsetxattr(fd, "system.posix_acl_default", acl, XattrFlags::empty()).is_err()
        {
            self.refused += 1;
        }
        if let Some(mtime) = due.mtime {
            futimens(fd, &timestamps(mtime))?;
        }
        Ok(())
    }

    /// Leaves all directories. After a failure too, so that none keeps the mode that it was made with.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while self.levels.len() > 1 {
            let left = self.leave();
            outcome = outcome.and(left);
        }
        outcome
    }
}

fn not_a_directory(at: BorrowedFd<'_>, name: &[u8]) -> Result<Error> {
    let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => "a symbolic link",
        _ => "no directory",
    };
    let text = format!("cannot overwrite non-directory {:?} with directory", String::from_utf8_lossy(name));
    Ok(Error::new(ErrorKind::Conflict, format!("{text}: it is {what}")))
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "a directory was closed while it was written")
}
