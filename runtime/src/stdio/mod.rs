//! Standard streams of a container: its pty or pipes, its log, and the clients that attach to it.
//!
//! Two processes meet here. The *monitor* ([`pump`], the writing half of [`log`]) runs in the container's user
//! namespace and is the only one that reads what the container writes. A *client* ([`terminal`]) runs in the CLI with
//! the user's rights and terminal. They speak [`attach`], and bytes travel through pipes that the client passes, so a
//! message never waits behind output.
//!
//! ```text
//! container ──pipe or pty──> Pump ──tee──> client's pipe (or the user's own) ──> user's stdout
//!                             └──read───> log
//! ```

use rustix::termios::Winsize;
use std::os::fd::AsFd;

use crate::error::Result;

pub mod attach;
pub mod log;
pub mod pty;
pub mod pump;
pub mod terminal;

/// One of the two output streams of a container. With a terminal everything is [`Stream::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// Both streams, in the order of their file descriptors.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// Position in [`Stream::ALL`].
    pub(crate) fn index(self) -> usize {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        }
    }
}

/// A terminal's size in characters; 0 means unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

impl WindowSize {
    /// The size of this terminal; `None` when it is not a terminal.
    pub fn of(terminal: impl AsFd) -> Option<WindowSize> {
        let size = rustix::termios::tcgetwinsize(terminal).ok()?;
        Some(WindowSize { rows: size.ws_row, cols: size.ws_col })
    }

    /// Sets a terminal's size (`TIOCSWINSZ` on either side of a pty); the kernel sends SIGWINCH to the foreground
    /// process group when it changed.
    pub fn apply(self, terminal: impl AsFd) -> Result<()> {
        let size = Winsize { ws_row: self.rows, ws_col: self.cols, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }
}
