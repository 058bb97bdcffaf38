//! The container's terminal: a pty of the container's own devpts.
//!
//! Opened by init (or by a process that joins) through descriptors; the master goes to the supervisor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::error::{Context, Result};

/// Both ends of the container's terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The supervisor's end.
    pub master: OwnedFd,
    /// The container's end.
    pub slave: OwnedFd,
}

/// Opens a terminal in the devpts that `root` has, with this window (rows, columns).
pub fn open(root: BorrowedFd<'_>, window: Option<(u16, u16)>) -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // The multiplexer of devpts itself, never an image's /dev/ptmx.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(root, "dev/pts/ptmx", flags, Mode::empty(), resolve)
        .context(|| "open the container's /dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).context(|| "unlock the terminal")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context(|| "open the terminal")?;
    if let Some((rows, columns)) = window {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).context(|| "set the window size")?;
    }
    Ok(Terminal { master, slave })
}

/// Makes the terminal the controlling one of a new session, and the standard streams.
pub fn adopt(terminal: &Terminal) -> Result<()> {
    rustix::process::setsid().context(|| "start a session")?;
    rustix::process::ioctl_tiocsctty(terminal.slave.as_fd()).context(|| "take the terminal")?;
    for number in 0..3 {
        crate::sys::fd::place(terminal.slave.as_fd(), number)?;
    }
    Ok(())
}
