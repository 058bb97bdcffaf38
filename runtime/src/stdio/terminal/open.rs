//! New open file descriptions for what the user gave us, so that non-blocking mode stays our own.

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::PipeFlags;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Context, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// Read end and write end of a new pipe, both non-blocking.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).context(|| "make a pipe")
}

pub(super) fn file_type(fd: BorrowedFd<'_>) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

/// The same pipe in a non-blocking description of our own; `None` when it is no pipe, or one of another user.
pub(super) fn pipe_anew(fd: BorrowedFd<'_>, direction: Direction) -> Option<OwnedFd> {
    if file_type(fd) == Some(FileType::Fifo) { anew(fd, direction) } else { None }
}

/// The same terminal, likewise.
pub(super) fn terminal_anew(fd: BorrowedFd<'_>, direction: Direction) -> Option<OwnedFd> {
    if rustix::termios::isatty(fd) { anew(fd, direction) } else { None }
}

fn anew(fd: BorrowedFd<'_>, direction: Direction) -> Option<OwnedFd> {
    let access = match direction {
        Direction::Read => OFlags::RDONLY,
        Direction::Write => OFlags::WRONLY,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}
