//! The way from the clients to the container's stdin.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::BURST;
use super::client::Client;
use super::watch::{Poller, Role, Watch};
use crate::error::Result;

/// The container's stdin: the write end of a pipe, or the master of its terminal.
#[derive(Debug)]
pub(super) struct Stdin {
    sink: Option<Watch>,
    terminal: bool,
    /// See [`super::PumpOptions::stdin_once`].
    once: bool,
    full: bool,
}

impl Stdin {
    /// `None`: the container has none.
    pub(super) fn pipe(poller: &Rc<Poller>, fd: Option<OwnedFd>, once: bool) -> Result<Self> {
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let sink = fd.map(|fd| Watch::new(poller, fd, Poller::container(Role::Stdin)));
        Ok(Self { sink, terminal: false, once, full: false })
    }

    /// `master` is another descriptor of the description that the output comes from, and is watched there.
    pub(super) fn terminal(poller: &Rc<Poller>, master: OwnedFd) -> Self {
        let sink = Some(Watch::new(poller, master, Poller::container(Role::Stdin)));
        Self { sink, terminal: true, once: false, full: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether input is taken now.
    pub(super) fn accepts(&self) -> bool {
        self.is_open() && !self.full
    }

    pub(super) fn close(&mut self) {
        self.sink = None;
        self.full = false;
    }

    /// There may be room again (or the container has closed its end, which the next write shows).
    pub(super) fn ready(&mut self) {
        self.full = false;
    }

    /// Moves what the client has typed or piped in.
    pub(super) fn feed(&mut self, client: &mut Client) {
        let (Some(sink), Some(from)) = (&self.sink, &client.stdin) else {
            client.stdin = None;
            return;
        };
        match rustix::pipe::splice(from.fd(), None, sink.fd(), None, BURST, SpliceFlags::NONBLOCK) {
            Ok(0) => self.ended(client),
            Ok(_) | Err(Errno::INTR) => {}
            // Either there is no more input, or no room for it.
            Err(Errno::AGAIN) => self.full = has_data(from.fd()),
            Err(Errno::PIPE | Errno::IO) => {
                self.close();
                client.stdin = None;
            }
            Err(_) => client.stdin = None,
        }
    }

    /// A client that goes away takes its input with it.
    pub(super) fn lost(&mut self, client: &mut Client) {
        if client.stdin.is_some() {
            self.ended(client);
        }
    }

    fn ended(&mut self, client: &mut Client) {
        client.stdin = None;
        if self.once && !self.terminal {
            self.close();
        }
    }

    /// A full pipe is watched here; a full terminal where its output is.
    pub(super) fn watch(&mut self) -> Result<()> {
        match &mut self.sink {
            Some(sink) if !self.terminal => sink.set(if self.full { EventFlags::OUT } else { EventFlags::empty() }),
            _ => Ok(()),
        }
    }
}

fn has_data(pipe: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(pipe.as_fd()).is_ok_and(|waiting| waiting > 0)
}
