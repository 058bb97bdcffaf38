//! The channel between a process that is being set up and the one that supervises it.
//!
//! A `SOCK_SEQPACKET` socket pair, close-on-exec: the supervised side reports that it is ready (with its terminal, if it
//! has one) and waits for the go; a failure is a message; end of file without one means that the entrypoint was executed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, ErrorParts, Result};
use crate::sys::packet;

const LARGEST: usize = 16 * 1024;

/// What the supervised side says.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Ready,
    Failed(ErrorParts),
}

/// What the supervisor heard.
#[derive(Debug)]
pub enum Heard {
    /// Everything is in place; with the master of the container's terminal.
    Ready(Option<OwnedFd>),
    /// The set-up, or the execution of the entrypoint, failed.
    Failed(Error),
    /// The entrypoint runs (or the process died: its wait status tells).
    Closed,
}

/// The supervised side's end.
#[derive(Debug)]
pub struct Supervised(OwnedFd);

/// The supervisor's end.
#[derive(Debug)]
pub struct Supervisor(OwnedFd);

/// A connected pair, both close-on-exec.
pub fn pair() -> Result<(Supervisor, Supervised)> {
    let (a, b) = packet::pair().context(|| "make a socket pair")?;
    Ok((Supervisor(a), Supervised(b)))
}

impl Supervised {
    /// The end that was passed through an exec.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// For passing it through an exec.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reports readiness, hands over the terminal's master, and waits for the go.
    pub fn ready(&self, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        self.send(&Report::Ready, terminal)?;
        let mut go = [0u8; 1];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut go)) {
            Ok(1) => Ok(()),
            _ => Err(Error::new(ErrorKind::Io, "the supervisor is gone")),
        }
    }

    /// Reports a failure. Best effort: there is nobody else to tell.
    pub fn failed(&self, error: &Error) {
        let _ = self.send(&Report::Failed(error.to_parts()), None);
    }

    fn send(&self, report: &Report, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = serde_json::to_vec(report).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
        let fds: Vec<BorrowedFd<'_>> = terminal.into_iter().collect();
        let part = &bytes[..bytes.len().min(LARGEST)];
        packet::send(self.0.as_fd(), part, &fds, SendFlags::empty()).context(|| "report to the supervisor")?;
        Ok(())
    }
}

impl Supervisor {
    /// For polling.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Receives one message; blocks until there is one.
    pub fn hear(&self) -> Result<Heard> {
        let mut bytes = vec![0u8; LARGEST];
        let (length, fds) = match packet::receive(self.0.as_fd(), &mut bytes, RecvFlags::empty()) {
            Err(rustix::io::Errno::CONNRESET) => (0, Vec::new()),
            other => other?,
        };
        if length == 0 {
            return Ok(Heard::Closed);
        }
        let terminal = fds.into_iter().next();
        match serde_json::from_slice(&bytes[..length]) {
            Ok(Report::Ready) => Ok(Heard::Ready(terminal)),
            Ok(Report::Failed(parts)) => Ok(Heard::Failed(Error::from_parts(parts))),
            Err(error) => Err(Error::new(ErrorKind::Io, format!("a damaged report from init: {error}"))),
        }
    }

    /// Lets the supervised side execute the entrypoint.
    pub fn go(&self) -> Result<()> {
        rustix::net::send(&self.0, &[1], SendFlags::NOSIGNAL).context(|| "start the entrypoint")?;
        Ok(())
    }
}
