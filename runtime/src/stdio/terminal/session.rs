//! The client's loop: input, output, signals, and the other side, until one of them ends it.

use nix::sys::signal::{self, Signal};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::input::Input;
use super::output::{Moved, Output};
use super::raw::RawMode;
use super::signals::Signals;
use super::{ClientOptions, Outcome, Stdio, window};
use crate::error::{Context, Error, Result};
use crate::stdio::WindowSize;
use crate::stdio::attach::{self, Report, Request};

/// The streams of a process that this process supervises itself (`exec`): the ends that are not the process's.
#[derive(Debug)]
pub enum LocalIo {
    /// The master of its terminal, which has its size.
    Tty {
        /// The engine's end.
        master: OwnedFd,
    },
    /// Pipes; `None` for what it does not have, or got from us directly.
    Pipes {
        /// Write end.
        stdin: Option<OwnedFd>,
        /// Read end.
        stdout: Option<OwnedFd>,
        /// Read end.
        stderr: Option<OwnedFd>,
    },
}

/// Serves the user like [`super::Client::run`], without a monitor: `pidfd` becomes readable when the process ends, and
/// `reap` then says its exit code. Output that is there by then is delivered; a process left behind in the background
/// that still holds the streams is not waited for. Signals are passed to `signal`.
pub fn run_local(
    io: LocalIo,
    stdio: Stdio<'_>,
    options: &ClientOptions,
    pidfd: BorrowedFd<'_>,
    reap: &mut dyn FnMut() -> Result<u8>,
    signal: &mut dyn FnMut(i32),
) -> Result<Outcome> {
    let keys = options.tty.then_some(&options.detach_keys);
    let (mut input, mut outputs, mut terminal) = (None, Vec::new(), None);
    let mut output = |from: Option<OwnedFd>, to| -> Result<()> {
        if let (Some(from), Some(to)) = (from, to) {
            rustix::io::ioctl_fionbio(&from, true)?;
            outputs.push(Output::new(from, to));
        }
        Ok(())
    };
    match io {
        LocalIo::Tty { master } => {
            let dup = || rustix::io::fcntl_dupfd_cloexec(&master, 3);
            input = stdio.stdin.map(|stdin| Ok::<_, Errno>(Input::new(stdin, dup()?, keys))).transpose()?;
            terminal = Some(dup()?);
            output(Some(master), stdio.stdout)?;
        }
        LocalIo::Pipes { stdin, stdout, stderr } => {
            if let (Some(to), Some(stdin)) = (stdin, stdio.stdin) {
                rustix::io::ioctl_fionbio(&to, true)?;
                input = Some(Input::new(stdin, to, keys));
            }
            output(stdout, stdio.stdout)?;
            output(stderr, stdio.stderr)?;
        }
    }
    let size = if options.tty { window(&stdio) } else { None };
    let peer = Peer::Local { pidfd, terminal, reap, signal };
    let signals = Signals::catch(options)?;
    Session::new(stdio, options, size, signals, input, outputs, peer)?.run()
}

/// Who is at the other end.
pub(super) enum Peer<'a> {
    /// The container's monitor, by the attach protocol.
    Monitor(OwnedFd),
    Local {
        pidfd: BorrowedFd<'a>,
        /// The master of its terminal.
        terminal: Option<OwnedFd>,
        reap: &'a mut dyn FnMut() -> Result<u8>,
        signal: &'a mut dyn FnMut(i32),
    },
}

impl Peer<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Peer::Monitor(socket) => socket.as_fd(),
            Peer::Local { pidfd, .. } => *pidfd,
        }
    }

    fn resize(&self, size: WindowSize) {
        // A peer that is gone is noticed by its descriptor.
        let _ = match self {
            Peer::Monitor(socket) => attach::send_request(socket, &Request::Resize(size)),
            Peer::Local { terminal, .. } => terminal.as_ref().map_or(Ok(()), |terminal| size.apply(terminal)),
        };
    }

    fn signal(&mut self, number: i32) {
        match self {
            Peer::Monitor(socket) => drop(attach::send_request(socket, &Request::Signal(number))),
            Peer::Local { signal, .. } => signal(number),
        }
    }

    /// Leaves; the outcome, if there is nothing to wait for.
    fn detach(&self) -> Option<Outcome> {
        match self {
            Peer::Monitor(socket) => attach::send_request(socket, &Request::Detach).err().map(|_| Outcome::Lost),
            Peer::Local { .. } => Some(Outcome::Detached),
        }
    }

    /// What the peer has to say.
    fn hear(&mut self) -> Result<Said> {
        Ok(match self {
            Peer::Monitor(socket) => match attach::receive_report(socket)? {
                Some(Report::Started) => Said::Nothing,
                Some(Report::Failed { error, code }) => Said::Over(Outcome::Failed { error, code }),
                Some(Report::Exited(code)) => Said::Ended(Outcome::Exited(code)),
                Some(Report::Detached) => Said::Over(Outcome::Detached),
                Some(Report::OutputClosed(_)) => Said::Over(Outcome::OutputClosed),
                None => Said::Ended(Outcome::Lost),
            },
            Peer::Local { reap, .. } => Said::Ended(Outcome::Exited(reap()?)),
        })
    }
}

enum Said {
    Nothing,
    /// This will be the outcome once the output that is there is delivered.
    Ended(Outcome),
    /// This is the outcome.
    Over(Outcome),
}

/// What woke the loop up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Peer,
    Signals,
    Input,
    Output(usize),
}

/// A program need not heed a signal, and the first process of a container is not killed by one that it does not know. At
/// the third SIGINT or SIGTERM the client leaves, as docker's does; the container runs on.
const ENOUGH: u32 = 3;

pub(super) struct Session<'a> {
    stdio: Stdio<'a>,
    window: Option<WindowSize>,
    input: Option<Input<'a>>,
    outputs: Vec<Output<'a>>,
    peer: Peer<'a>,
    /// Restored before the signal mask is, so that a signal finds the terminal as it was.
    raw: Option<RawMode<'a>>,
    signals: Signals,
    /// How often the user asked for the end.
    asked: u32,
    ended: Option<Outcome>,
}

impl<'a> Session<'a> {
    /// `window`: the size that the other side has been told.
    pub(super) fn new(
        stdio: Stdio<'a>,
        options: &ClientOptions,
        window: Option<WindowSize>,
        signals: Signals,
        input: Option<Input<'a>>,
        outputs: Vec<Output<'a>>,
        peer: Peer<'a>,
    ) -> Result<Self> {
        let terminal = stdio.stdin.filter(|stdin| options.tty && rustix::termios::isatty(stdin));
        let raw = terminal.map(RawMode::enter).transpose()?;
        let mut session = Self { stdio, window, input, outputs, peer, raw, signals, asked: 0, ended: None };
        if options.tty {
            session.resized();
        }
        Ok(session)
    }

    pub(super) fn run(mut self) -> Result<Outcome> {
        loop {
            if self.ended.is_some() {
                return self.deliver_rest();
            }
            for source in self.poll(true)? {
                if let Some(outcome) = self.serve(source)? {
                    return Ok(outcome);
                }
            }
        }
    }

    /// Waits for something to do. `all`: not only for the output's sake.
    fn poll(&self, all: bool) -> Result<Vec<Source>> {
        let mut sources = vec![(Source::Signals, self.signals.fd(), PollFlags::IN)];
        if all {
            sources.push((Source::Peer, self.peer.fd(), PollFlags::IN));
            sources.extend(self.input.as_ref().and_then(Input::wants).map(|(fd, want)| (Source::Input, fd, want)));
        }
        for (index, output) in self.outputs.iter().enumerate() {
            sources.extend(output.wants().map(|(fd, want)| (Source::Output(index), fd, want)));
        }
        let mut fds: Vec<_> = sources.iter().map(|(_, fd, want)| PollFd::from_borrowed_fd(*fd, *want)).collect();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).context(|| "wait for the container")?;
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((source, ..), _)| *source).collect())
    }

    fn serve(&mut self, source: Source) -> Result<Option<Outcome>> {
        match source {
            Source::Signals => self.signalled(),
            Source::Input => {
                let detach = self.input.as_mut().map_or(Ok(false), Input::advance)?;
                Ok(if detach { self.peer.detach() } else { None })
            }
            Source::Output(index) => match self.deliver(index)? {
                Some(_) => Ok(None),
                None => Ok(Some(Outcome::OutputClosed)),
            },
            Source::Peer => Ok(match self.peer.hear()? {
                Said::Nothing => None,
                Said::Over(outcome) => Some(outcome),
                Said::Ended(outcome) => {
                    self.ended = Some(outcome);
                    None
                }
            }),
        }
    }

    /// Moves some output; `None` when nobody reads it any more.
    fn deliver(&mut self, index: usize) -> Result<Option<Moved>> {
        let Some(output) = self.outputs.get_mut(index) else { return Ok(Some(Moved::Ended)) };
        match output.advance() {
            Ok(moved) => Ok(Some(moved)),
            // EIO: the terminal has been hung up.
            Err(Errno::PIPE | Errno::IO) => Ok(None),
            Err(errno) => Err(Error::from(errno).context("write the container's output")),
        }
    }

    /// The other side has ended, and has written everything before: what is not there now will not come.
    fn deliver_rest(mut self) -> Result<Outcome> {
        let mut ready: Vec<usize> = (0..self.outputs.len()).filter(|index| !self.outputs[*index].blocked()).collect();
        loop {
            for index in ready {
                if self.deliver_present(index)?.is_none() {
                    return Ok(Outcome::OutputClosed);
                }
            }
            if self.outputs.iter().all(|output| output.wants().is_none()) {
                return Ok(self.ended.unwrap_or(Outcome::Lost));
            }
            let sources = self.poll(false)?;
            if sources.contains(&Source::Signals)
                && let Some(outcome) = self.signalled()?
            {
                return Ok(outcome);
            }
            let output = |source: &Source| if let Source::Output(index) = source { Some(*index) } else { None };
            ready = sources.iter().filter_map(output).collect();
        }
    }

    /// Moves what an output holds, until it ends or there is no room; `None` when nobody reads it any more.
    fn deliver_present(&mut self, index: usize) -> Result<Option<()>> {
        loop {
            match self.deliver(index)? {
                None => return Ok(None),
                Some(Moved::Some) => {}
                Some(Moved::Blocked | Moved::Ended) => return Ok(Some(())),
                Some(Moved::Nothing) => {
                    self.outputs[index].end();
                    return Ok(Some(()));
                }
            }
        }
    }

    fn signalled(&mut self) -> Result<Option<Outcome>> {
        while let Some(signal) = self.signals.next() {
            match Signal::try_from(signal) {
                Ok(Signal::SIGWINCH) if self.signals.tty => self.resized(),
                Ok(Signal::SIGTSTP) => self.stop()?,
                Ok(Signal::SIGCONT) if self.signals.tty => self.resume()?,
                known if self.signals.proxy => {
                    self.peer.signal(signal);
                    self.asked += u32::from(matches!(known, Ok(Signal::SIGINT | Signal::SIGTERM)));
                    if self.asked == ENOUGH && matches!(self.peer, Peer::Monitor(_)) {
                        return Ok(Some(Outcome::Interrupted(signal)));
                    }
                }
                _ => return Ok(Some(Outcome::Interrupted(signal))),
            }
        }
        Ok(None)
    }

    /// Tells the other side the terminal's size, if it has changed.
    fn resized(&mut self) {
        let size = window(&self.stdio);
        if let Some(size) = size.filter(|_| size != self.window) {
            self.window = Some(size);
            self.peer.resize(size);
        }
    }

    /// Stops like any program; the user's shell finds its terminal as it was.
    fn stop(&mut self) -> Result<()> {
        if let Some(raw) = &self.raw {
            raw.suspend();
        }
        signal::raise(Signal::SIGSTOP)?;
        self.resume()
    }

    fn resume(&mut self) -> Result<()> {
        if let Some(raw) = &self.raw {
            raw.again()?;
        }
        self.resized();
        Ok(())
    }
}
