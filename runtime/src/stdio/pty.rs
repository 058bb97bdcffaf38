//! Pseudo-terminals out of a given devpts instance.
//!
//! Run by init (or by `exec` after it joined) inside the container's mount namespace, so that the slave has a name in
//! the container's own `/dev/pts`; the master is then sent to the monitor.

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use std::os::fd::{AsFd, OwnedFd};

use super::WindowSize;
use crate::error::{Context, Result};

/// The two ends of a pseudo-terminal, both close-on-exec and blocking.
#[derive(Debug)]
pub struct Pty {
    /// The engine's end.
    pub master: OwnedFd,
    /// The container's end. Opened without becoming the controlling terminal: the session leader that shall own it
    /// calls `TIOCSCTTY` (`rustix::process::ioctl_tiocsctty`).
    pub slave: OwnedFd,
}

/// Opens a new pseudo-terminal in the devpts file system whose root directory is `devpts` (`/dev/pts`), and gives it
/// its size before anyone can look.
///
/// The slave comes from `TIOCGPTPEER` (ioctl_tty(2)), so no path is resolved that the container could have replaced,
/// and its owner and mode are those that devpts was mounted with; the caller chowns it for another user.
pub fn open_pty(devpts: impl AsFd, size: Option<WindowSize>) -> Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).context(|| "open /dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).context(|| "unlock the new terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).context(|| "open the new terminal's other end")?;
    if let Some(size) = size {
        size.apply(&slave).context(|| "set the new terminal's size")?;
    }
    Ok(Pty { master, slave })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn both_ends_are_connected_and_the_size_is_set() {
        let devpts = File::open("/dev/pts").unwrap();
        let size = WindowSize { rows: 33, cols: 101 };
        let pty = open_pty(&devpts, Some(size)).unwrap();
        assert_eq!(WindowSize::of(&pty.slave), Some(size));
        File::from(pty.slave).write_all(b"hi\n").unwrap();
        let mut seen = [0; 4];
        File::from(pty.master).read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hi\r\n");
    }

    #[test]
    fn a_directory_without_ptmx_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        let dir = File::open(empty.path()).unwrap();
        let error = open_pty(&dir, None).unwrap_err();
        assert_eq!(error.to_string(), "open /dev/pts/ptmx: No such file or directory");
    }
}
