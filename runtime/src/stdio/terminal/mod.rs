//! The client's side of a container's streams: the user's terminal, pipes and signals.
//!
//! Run by the CLI in the host's namespaces, with the user's rights, in a process of one thread. Descriptors of the user
//! (stdin, stdout, stderr) are never switched to non-blocking mode: others share them.

mod input;
mod keys;
mod open;
mod output;
mod raw;
mod session;
mod signals;

pub use keys::DetachKeys;
pub use session::{LocalIo, run_local};
pub use signals::Ending;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use self::input::Input;
use self::open::Direction;
use self::output::Output;
use self::session::{Peer, Session};
use self::signals::Signals;
use super::WindowSize;
use super::attach::{self, Hello, Report, Request};
use crate::error::{Context, Error, Result};

/// The user's standard streams, as far as they shall be connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdio<'a> {
    /// Feeds the container's stdin.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Gets the container's stdout, or what it writes to its terminal.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Gets the container's stderr.
    pub stderr: Option<BorrowedFd<'a>>,
}

/// How a client behaves.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// The container has a terminal: the user's is switched to raw mode, detach keys work, sizes are passed on.
    pub tty: bool,
    /// Only with `tty`.
    pub detach_keys: DetachKeys,
    /// Pass the signals that this process gets on to the container's.
    pub sig_proxy: bool,
    /// A signal that would end this process ends the session instead: [`Outcome::Interrupted`].
    pub interruptible: bool,
}

/// How a session ended.
#[derive(Debug)]
pub enum Outcome {
    /// The process has ended with this code; all its output has been delivered.
    Exited(u8),
    /// The user left with the detach keys.
    Detached,
    /// The process could not be started.
    Failed {
        /// Why.
        error: Error,
        /// 125, 126 or 127.
        code: u8,
    },
    /// The monitor is gone without a word: it was killed, or the container ended just when the client came. The
    /// container's record has the answer.
    Lost,
    /// Nobody reads this process's stdout or stderr any more (as with `| head -1`). End quietly, as SIGPIPE would.
    OutputClosed,
    /// This signal came, and is not passed on, or once too often; the terminal is as it was. End as the signal would: 128 + its number.
    Interrupted(i32),
}

/// A client of a container's monitor.
#[derive(Debug)]
pub struct Client<'a> {
    socket: OwnedFd,
    stdio: Stdio<'a>,
    options: ClientOptions,
    window: Option<WindowSize>,
    input: Option<Input<'a>>,
    outputs: Vec<Output<'a>>,
    signals: Signals,
}

impl<'a> Client<'a> {
    /// Says hello on a socket of [`attach::pair`] (before there is a monitor) or [`attach::connect`], and passes the
    /// descriptors: where the user's own stream is a pipe it is opened anew and passed, so that the monitor moves the
    /// bytes; else a new pipe, which this client serves in [`Client::run`]. From here on signals are caught as the options
    /// say, so that none is lost while the container is started.
    pub fn greet(socket: OwnedFd, stdio: Stdio<'a>, options: ClientOptions) -> Result<Self> {
        let signals = Signals::catch(&options)?;
        let stderr = stdio.stderr.filter(|_| !options.tty);
        let (mut hello, mut outputs) = (Hello { wants_exit: true, ..Hello::default() }, Vec::new());
        let mut input = None;
        if let Some(stdin) = stdio.stdin {
            let passed = if options.tty { None } else { open::pipe_anew(stdin, Direction::Read) };
            hello.stdin = Some(match passed {
                Some(pipe) => pipe,
                None => {
                    let (read, write) = open::pipe()?;
                    input = Some(Input::new(stdin, write, options.tty.then_some(&options.detach_keys)));
                    read
                }
            });
        }
        let mut output = |to: Option<BorrowedFd<'a>>| -> Result<Option<OwnedFd>> {
            let Some(to) = to else { return Ok(None) };
            if let Some(pipe) = open::pipe_anew(to, Direction::Write) {
                return Ok(Some(pipe));
            }
            let (read, write) = open::pipe()?;
            outputs.push(Output::new(read, to));
            Ok(Some(write))
        };
        hello.stdout = output(stdio.stdout)?;
        hello.stderr = output(stderr)?;
        let window = if options.tty { window(&stdio) } else { None };
        hello.window = window;
        match attach::send_request(&socket, &Request::Hello(hello)) {
            // The container ended after the connection was made: it is met as any end is.
            Err(error) if error.errno() == Some(libc::EPIPE) => {}
            sent => sent.context(|| "attach to the container")?,
        }
        Ok(Self { socket, stdio, options, window, input, outputs, signals })
    }

    /// Waits until the container has started (`None`), or has not. For a client that leaves then, and has no streams,
    /// this is all; [`Client::run`] waits by itself.
    pub fn wait_started(&self) -> Result<Option<Outcome>> {
        Ok(match attach::receive_report(&self.socket)? {
            Some(Report::Started) => None,
            Some(Report::Failed { error, code }) => Some(Outcome::Failed { error, code }),
            Some(Report::Exited(code)) => Some(Outcome::Exited(code)),
            Some(Report::Detached) => Some(Outcome::Detached),
            Some(Report::OutputClosed(_)) => Some(Outcome::OutputClosed),
            None => Some(Outcome::Lost),
        })
    }

    /// Serves the user until the session ends. The terminal is restored and the signal mask is as before whatever
    /// happens, unless this process is killed.
    pub fn run(self) -> Result<Outcome> {
        let peer = Peer::Monitor(self.socket);
        Session::new(self.stdio, &self.options, self.window, self.signals, self.input, self.outputs, peer)?.run()
    }
}

/// The size of the user's terminal: of stdout's, else of stdin's.
pub fn window(stdio: &Stdio<'_>) -> Option<WindowSize> {
    [stdio.stdout, stdio.stdin].into_iter().flatten().find_map(|fd| WindowSize::of(fd.as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_that_ended_just_before_the_greeting_is_lost_as_any_other() {
        let (ours, monitors) = attach::pair().unwrap();
        drop(monitors);
        let client = Client::greet(ours, Stdio::default(), ClientOptions::default()).unwrap();
        assert!(matches!(client.wait_started(), Ok(Some(Outcome::Lost))));
    }
}
