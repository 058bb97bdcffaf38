//! What the container writes, on its way to the user's stdout or stderr.

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::open::{self, Direction};

const BURST: usize = 256 * 1024;
/// What a descriptor in blocking mode takes at once when poll(2) says that it takes something: a page of a pipe.
const CAREFUL: usize = 4096;

/// How bytes get to the user.
#[derive(Debug)]
enum Way {
    /// By `splice`.
    Splice,
    /// By reading and writing, at most so much.
    Copy(usize),
}

#[derive(Debug)]
pub(super) struct Output<'a> {
    /// Non-blocking: a pipe, or the master of a terminal.
    from: OwnedFd,
    to: BorrowedFd<'a>,
    /// A non-blocking description of `to`, where there can be one.
    own: Option<OwnedFd>,
    way: Way,
    pending: Vec<u8>,
    /// To wait for room, not for more.
    blocked: bool,
    ended: bool,
}

/// What [`Output::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Some,
    /// There is nothing to move now.
    Nothing,
    /// The user's side has no room now.
    Blocked,
    /// The other side has closed.
    Ended,
}

impl<'a> Output<'a> {
    pub(super) fn new(from: OwnedFd, to: BorrowedFd<'a>) -> Self {
        let own = open::terminal_anew(to, Direction::Write);
        let append = rustix::fs::fcntl_getfl(to).is_ok_and(|flags| flags.contains(OFlags::APPEND));
        let way = match open::file_type(to) {
            Some(FileType::Fifo) => Way::Splice,
            Some(FileType::RegularFile) if !append => Way::Splice,
            Some(FileType::RegularFile) => Way::Copy(BURST),
            _ if own.is_some() => Way::Copy(BURST),
            _ => Way::Copy(CAREFUL),
        };
        Self { from, to, own, way, pending: Vec::new(), blocked: false, ended: false }
    }

    /// What to wait for; `None` once it has ended.
    pub(super) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match () {
            () if self.ended => None,
            () if self.blocked => Some((self.sink(), PollFlags::OUT)),
            () => Some((self.from.as_fd(), PollFlags::IN)),
        }
    }

    /// Whether there has to be room before [`Output::advance`] is called again.
    pub(super) fn blocked(&self) -> bool {
        self.blocked
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    fn sink(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.to, |own| own.as_fd())
    }

    /// Moves what can be moved without waiting; called when [`Output::wants`] is fulfilled. An error is one of the
    /// user's side.
    pub(super) fn advance(&mut self) -> rustix::io::Result<Moved> {
        let moved = match self.way {
            _ if self.ended => Moved::Ended,
            Way::Splice => self.splice()?,
            Way::Copy(_) if !self.pending.is_empty() => self.write()?,
            Way::Copy(most) => self.copy(most)?,
        };
        self.blocked = moved == Moved::Blocked;
        self.ended = moved == Moved::Ended;
        Ok(moved)
    }

    fn splice(&mut self) -> rustix::io::Result<Moved> {
        let (from, to, flags) = (&self.from, self.sink(), SpliceFlags::NONBLOCK);
        match rustix::pipe::splice(from, None, to, None, BURST, flags) {
            Ok(0) => Ok(Moved::Ended),
            Ok(_) | Err(Errno::INTR) => Ok(Moved::Some),
            Err(Errno::AGAIN) if rustix::io::ioctl_fionread(&self.from)? > 0 => Ok(Moved::Blocked),
            Err(Errno::AGAIN) => Ok(Moved::Nothing),
            // The source is the master of a terminal, whose other side may be closed (EIO), or the file's system cannot.
            Err(Errno::INVAL | Errno::BADF | Errno::IO) => {
                self.way = Way::Copy(CAREFUL);
                Ok(Moved::Some)
            }
            Err(errno) => Err(errno),
        }
    }

    fn copy(&mut self, most: usize) -> rustix::io::Result<Moved> {
        let mut buffer = [0; 16 * 1024];
        let most = most.min(buffer.len());
        match rustix::io::read(&self.from, &mut buffer[..most]) {
            // EIO: a terminal's other side is closed.
            Ok(0) | Err(Errno::IO) => Ok(Moved::Ended),
            Ok(read) => {
                self.pending.extend_from_slice(&buffer[..read]);
                // A blocking descriptor is asked for room first.
                if most == CAREFUL { Ok(Moved::Blocked) } else { self.write() }
            }
            Err(Errno::AGAIN) => Ok(Moved::Nothing),
            Err(Errno::INTR) => Ok(Moved::Some),
            Err(errno) => Err(errno),
        }
    }

    fn write(&mut self) -> rustix::io::Result<Moved> {
        match rustix::io::write(self.sink(), &self.pending) {
            Ok(written) => {
                self.pending.drain(..written);
                Ok(if self.pending.is_empty() { Moved::Some } else { Moved::Blocked })
            }
            Err(Errno::AGAIN) => Ok(Moved::Blocked),
            Err(Errno::INTR) => Ok(Moved::Some),
            Err(errno) => Err(errno),
        }
    }
}
