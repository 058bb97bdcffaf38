//! Open-file-description locks, fcntl(2): released when the last descriptor of the opening is closed, whatever
//! process that is in, and never by another opening of the same file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{Mode, OFlags};

use super::{FILE_MODE, with_way_out};
use crate::error::{Context as _, Error, ErrorKind, Result};

/// What [`Lock::probe`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Nobody holds it exclusively.
    Free,
    /// Somebody holds it exclusively.
    Held,
}

/// A held lock. Dropping closes the descriptor; the lock ends when no process has a copy of it any more.
#[derive(Debug)]
pub struct Lock(OwnedFd);

fn flock(kind: i32) -> libc::flock {
    // l_start 0 and l_len 0: the whole file. l_pid must be 0 for these commands.
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, FILE_MODE).context(|| format!("open lock {}", path.display())).map_err(with_way_out)
}

/// A read-only store can be read: a shared lock needs no more than reading, an exclusive one needs writing.
fn open_shared(path: &Path) -> Result<OwnedFd> {
    match open(path) {
        Err(error) if error.errno() == Some(libc::EROFS) => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|_| error)
        }
        other => other,
    }
}

fn wait(fd: BorrowedFd<'_>, kind: i32) -> nix::Result<()> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLKW(&flock(kind))) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

impl Lock {
    /// Waits until nobody else holds the lock at `path`, and takes it. Creates the file if it is missing.
    pub fn exclusive(path: &Path) -> Result<Self> {
        let fd = open(path)?;
        wait(fd.as_fd(), libc::F_WRLCK).context(|| format!("lock {}", path.display()))?;
        Ok(Self(fd))
    }

    /// Waits until nobody holds the lock exclusively, and shares it. Creates the file if it is missing.
    pub fn shared(path: &Path) -> Result<Self> {
        let fd = open_shared(path)?;
        wait(fd.as_fd(), libc::F_RDLCK).context(|| format!("lock {}", path.display()))?;
        Ok(Self(fd))
    }

    /// Takes the lock if it is free at once; `None` if somebody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::try_exclusive_fd(open(path)?).context(|| format!("lock {}", path.display()))
    }

    /// [`Lock::try_exclusive`] on a file that is open for writing.
    pub fn try_exclusive_fd(fd: OwnedFd) -> Result<Option<Self>> {
        match fcntl(&fd, FcntlArg::F_OFD_SETLK(&flock(libc::F_WRLCK))) {
            Ok(_) => Ok(Some(Self(fd))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks whether somebody holds the lock at `path` exclusively, without ever taking it.
    ///
    /// The asker's own lock counts too, since this opens the file anew.
    pub fn probe(path: &Path) -> Result<LockState> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open lock {}", path.display()))?;
        Self::probe_fd(&fd).context(|| format!("probe lock {}", path.display()))
    }

    /// [`Lock::probe`] through an open file; locks held by this very opening do not count.
    pub fn probe_fd(fd: impl AsFd) -> Result<LockState> {
        let mut question = flock(libc::F_RDLCK);
        fcntl(fd.as_fd(), FcntlArg::F_OFD_GETLK(&mut question))?;
        Ok(if i32::from(question.l_type) == libc::F_UNLCK { LockState::Free } else { LockState::Held })
    }

    /// Whether the locked file still is the one at `path`: a lock on a removed file protects nothing.
    pub fn is_at(&self, path: &Path) -> Result<bool> {
        let ours = rustix::fs::fstat(&self.0)?;
        match rustix::fs::lstat(path) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(Error::from(error).context(format!("look up {}", path.display()))),
        }
    }

    /// The descriptor, to hand the lock on to a child: it holds the lock as long as it keeps its copy.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Takes over a descriptor that holds a lock already, as [`Lock::into_fd`] gave it.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The error of an operation that found the lock taken.
pub(super) fn busy(path: &Path) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} is locked by another process", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_sharing_and_probing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        assert_eq!(Lock::probe(&path).unwrap(), LockState::Held);
        assert_eq!(Lock::probe_fd(&held).unwrap(), LockState::Free);
        drop(held);
        assert_eq!(Lock::probe(&path).unwrap(), LockState::Free);

        let (one, two) = (Lock::shared(&path).unwrap(), Lock::shared(&path).unwrap());
        assert_eq!(Lock::probe(&path).unwrap(), LockState::Free);
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((one, two));
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn a_copy_of_the_descriptor_keeps_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        let copy = held.as_fd().try_clone_to_owned().unwrap();
        drop(held);
        assert_eq!(Lock::probe(&path).unwrap(), LockState::Held);
        drop(copy);
        assert_eq!(Lock::probe(&path).unwrap(), LockState::Free);
    }

    #[test]
    fn waiting_ends_when_the_holder_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let counter = dir.path().join("counter");
        std::fs::write(&counter, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _held = Lock::exclusive(&path).unwrap();
                        let n: u32 = std::fs::read_to_string(&counter).unwrap().parse().unwrap();
                        std::fs::write(&counter, (n + 1).to_string()).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "400");
    }

    #[test]
    fn a_lock_knows_whether_its_file_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        assert!(held.is_at(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!held.is_at(&path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(!held.is_at(&path).unwrap());
    }
}
