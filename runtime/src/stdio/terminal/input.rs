//! What the user types or pipes in, on its way to the container.

use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::keys::{DetachKeys, KeyFilter};
use crate::error::{Context, Result};

#[derive(Debug)]
pub(super) struct Input<'a> {
    from: BorrowedFd<'a>,
    /// Non-blocking. `None` once the input has ended and is delivered, or nobody takes it any more.
    to: Option<OwnedFd>,
    filter: Option<KeyFilter>,
    pending: Vec<u8>,
    ended: bool,
}

impl<'a> Input<'a> {
    /// `keys`: with a terminal.
    pub(super) fn new(from: BorrowedFd<'a>, to: OwnedFd, keys: Option<&DetachKeys>) -> Self {
        Self { from, to: Some(to), filter: keys.map(KeyFilter::new), pending: Vec::new(), ended: false }
    }

    /// What to wait for.
    pub(super) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let to = self.to.as_ref()?;
        Some(if self.pending.is_empty() { (self.from, PollFlags::IN) } else { (to.as_fd(), PollFlags::OUT) })
    }

    /// Moves what can be moved without waiting. `true`: the user has typed the detach keys.
    pub(super) fn advance(&mut self) -> Result<bool> {
        let mut detach = false;
        if self.pending.is_empty() {
            detach = self.read().context(|| "read stdin")?;
        }
        self.write();
        Ok(detach)
    }

    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(self.from, &mut buffer) {
            // A terminal that has been hung up, or whose session is not ours any more, has ended, too.
            Ok(0) | Err(Errno::IO) => {
                self.ended = true;
                if let Some(filter) = &mut self.filter {
                    filter.flush(&mut self.pending);
                }
                Ok(false)
            }
            Ok(read) => match &mut self.filter {
                Some(filter) => Ok(filter.feed(&buffer[..read], &mut self.pending)),
                None => {
                    self.pending.extend_from_slice(&buffer[..read]);
                    Ok(false)
                }
            },
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self) {
        while let Some(to) = self.to.as_ref().filter(|_| !self.pending.is_empty()) {
            match rustix::io::write(to, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // Nobody reads it any more.
                Err(_) => {
                    self.to = None;
                    self.pending.clear();
                }
            }
        }
        if self.ended {
            self.to = None;
        }
    }
}
