//! Which descriptors the pump has in the epoll set, and under which tokens.

use rustix::event::epoll::{self, EventData, EventFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::error::Result;
use crate::stdio::Stream;

/// Tokens from here on are the pump's.
const BASE: u64 = 1 << 40;

/// Which descriptor of the container (client 0) or of a client a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Stdout,
    Stderr,
    Stdin,
    /// The client's socket; of client 0, the listening one.
    Control,
}

impl Role {
    pub(super) fn of(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Role::Stdout,
            Stream::Stderr => Role::Stderr,
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// The monitor's epoll instance. Client numbers are never used twice, so an event that was fetched before its client
/// was dropped finds nobody.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub(super) fn new(epoll: impl AsFd) -> Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(epoll, 3)?))
    }

    pub(super) fn owns(token: u64) -> bool {
        token >= BASE
    }

    pub(super) fn container(role: Role) -> u64 {
        Self::client(0, role)
    }

    pub(super) fn client(id: u32, role: Role) -> u64 {
        BASE | u64::from(id) << 2 | role.index() as u64
    }

    /// The client and the role of a token.
    pub(super) fn split(token: u64) -> (u32, Role) {
        let role = match token & 3 {
            0 => Role::Stdout,
            1 => Role::Stderr,
            2 => Role::Stdin,
            _ => Role::Control,
        };
        ((token >> 2) as u32, role)
    }
}

/// A descriptor that is in the epoll set only while something is wanted of it: a hang-up would be reported, again and
/// again, to one that is in the set for nothing.
#[derive(Debug)]
pub(super) struct Watch {
    poller: Rc<Poller>,
    fd: OwnedFd,
    token: u64,
    wanted: EventFlags,
}

impl Watch {
    pub(super) fn new(poller: &Rc<Poller>, fd: OwnedFd, token: u64) -> Self {
        Self { poller: Rc::clone(poller), fd, token, wanted: EventFlags::empty() }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Changes what is waited for.
    pub(super) fn set(&mut self, want: EventFlags) -> Result<()> {
        if want == self.wanted {
            return Ok(());
        }
        let (epoll, data) = (&self.poller.0, EventData::new_u64(self.token));
        if want.is_empty() {
            epoll::delete(epoll, &self.fd)?;
        } else if self.wanted.is_empty() {
            epoll::add(epoll, &self.fd, data, want)?;
        } else {
            epoll::modify(epoll, &self.fd, data, want)?;
        }
        self.wanted = want;
        Ok(())
    }
}

/// The set refers to the open file description, which another process may keep open.
impl Drop for Watch {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is in the set.
        let _ = self.set(EventFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for id in [0, 1, 77, u32::MAX] {
            for role in [Role::Stdout, Role::Stderr, Role::Stdin, Role::Control] {
                let token = Poller::client(id, role);
                assert!(Poller::owns(token));
                assert_eq!(Poller::split(token), (id, role));
            }
        }
        assert!(!Poller::owns(12));
    }
}
