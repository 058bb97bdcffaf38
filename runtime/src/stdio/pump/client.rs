//! A client as the monitor sees it.

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::watch::{Poller, Role, Watch};
use crate::error::Result;
use crate::stdio::Stream;
use crate::stdio::attach::{self, Hello, Report};

/// An output of a client.
#[derive(Debug)]
struct Output {
    watch: Watch,
    /// What has been taken from the container and not yet by the client.
    pending: Vec<u8>,
    /// The pipe is full.
    full: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u32,
    pub(super) control: Watch,
    /// Its [`Hello`] has come.
    pub(super) greeted: bool,
    /// To be dropped.
    pub(super) gone: bool,
    /// Feeds the container's stdin.
    pub(super) stdin: Option<Watch>,
    outputs: [Option<Output>; 2],
    wants_exit: bool,
}

impl Client {
    pub(super) fn new(poller: &Rc<Poller>, id: u32, socket: OwnedFd) -> Self {
        let control = Watch::new(poller, socket, Poller::client(id, Role::Control));
        Self { id, control, greeted: false, gone: false, stdin: None, outputs: [None, None], wants_exit: false }
    }

    /// Takes the client's descriptors. One that could block the monitor ends the client.
    pub(super) fn greet(&mut self, poller: &Rc<Poller>, hello: Hello) {
        self.greeted = true;
        self.wants_exit = hello.wants_exit;
        let fds = [&hello.stdin, &hello.stdout, &hello.stderr];
        if !fds.into_iter().flatten().all(is_nonblocking) {
            self.gone = true;
            return;
        }
        let id = self.id;
        let output = |fd: Option<OwnedFd>, role| {
            let watch = |fd| Watch::new(poller, fd, Poller::client(id, role));
            fd.map(|fd| Output { watch: watch(fd), pending: Vec::new(), full: false })
        };
        self.outputs = [output(hello.stdout, Role::Stdout), output(hello.stderr, Role::Stderr)];
        self.stdin = hello.stdin.map(|fd| Watch::new(poller, fd, Poller::client(id, Role::Stdin)));
    }

    /// Sends a report to a client that has said hello; one that cannot take it is gone.
    pub(super) fn tell(&mut self, report: &Report) {
        if !self.greeted || self.gone {
            return;
        }
        if attach::send_report(self.control.fd(), report).is_err() {
            self.gone = true;
        } else if matches!(report, Report::Started) && !self.wants_exit {
            self.gone = self.outputs.iter().all(Option::is_none) && self.stdin.is_none();
        }
    }

    /// Whether it wants this stream.
    pub(super) fn takes(&self, index: usize) -> bool {
        self.outputs[index].is_some()
    }

    /// Whether it has not yet taken what it got of this stream.
    pub(super) fn stalls(&self, index: usize) -> bool {
        self.outputs[index].as_ref().is_some_and(|output| output.full)
    }

    pub(super) fn out(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.outputs[index].as_ref().map(|output| output.watch.fd())
    }

    pub(super) fn stall(&mut self, index: usize) {
        if let Some(output) = &mut self.outputs[index] {
            output.full = true;
        }
    }

    /// Nobody reads this output any more.
    pub(super) fn close_output(&mut self, index: usize) {
        if self.outputs[index].take().is_some() {
            self.tell(&Report::OutputClosed(Stream::ALL[index]));
        }
    }

    /// Writes output to the client, after what is pending.
    pub(super) fn give(&mut self, index: usize, data: &[u8]) {
        let Some(output) = &mut self.outputs[index] else { return };
        if !output.pending.is_empty() {
            output.pending.extend_from_slice(data);
            return;
        }
        match write(output.watch.fd(), data) {
            Ok(written) => {
                output.pending.extend_from_slice(&data[written..]);
                output.full = written < data.len();
            }
            Err(_) => self.close_output(index),
        }
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self, index: usize) {
        let Some(output) = &mut self.outputs[index] else { return };
        match write(output.watch.fd(), &output.pending) {
            Ok(written) if written == output.pending.len() => (output.pending, output.full) = (Vec::new(), false),
            Ok(written) => drop(output.pending.drain(..written)),
            Err(_) => self.close_output(index),
        }
    }

    /// The container has ended: closes each output that is delivered, and after the last one says so and goes.
    pub(super) fn end(&mut self, code: u8) {
        self.stdin = None;
        for output in &mut self.outputs {
            if output.as_ref().is_some_and(|output| output.pending.is_empty()) {
                *output = None;
            }
        }
        if self.outputs.iter().all(Option::is_none) {
            if self.wants_exit {
                self.tell(&Report::Exited(code));
            }
            self.gone = true;
        }
    }

    /// `feeding`: whether the container's stdin has room.
    pub(super) fn watch(&mut self, feeding: bool) -> Result<()> {
        self.control.set(EventFlags::IN)?;
        if let Some(stdin) = &mut self.stdin {
            stdin.set(if feeding { EventFlags::IN } else { EventFlags::empty() })?;
        }
        for output in self.outputs.iter_mut().flatten() {
            output.watch.set(if output.full { EventFlags::OUT } else { EventFlags::empty() })?;
        }
        Ok(())
    }
}

fn is_nonblocking(fd: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(fd.as_fd()).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Writes as much as there is room for.
fn write(fd: BorrowedFd<'_>, data: &[u8]) -> rustix::io::Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match rustix::io::write(fd, &data[written..]) {
            Ok(more) => written += more,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(written)
}
