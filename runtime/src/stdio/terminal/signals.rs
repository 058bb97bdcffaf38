//! The signals that a client takes for the length of its session.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

use super::ClientOptions;
use crate::error::{Context, Result};
use crate::sys::signal::with_realtime;

/// Those that end a process that does not expect them: with the terminal in raw mode they must pass by us.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
/// Never passed on: they are about this process itself (its child, pipe, terminal, job control, faults), or cannot be
/// caught.
const OWN: [Signal; 13] = [
    Signal::SIGCHLD,
    Signal::SIGPIPE,
    Signal::SIGURG,
    Signal::SIGKILL,
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGXFSZ,
];

/// Blocks signals in this thread and receives them from a descriptor; the mask is restored when this is dropped.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    before: SigSet,
    pub(super) proxy: bool,
    /// Whether those of the terminal are this process's.
    pub(super) tty: bool,
}

impl Signals {
    /// Those that are passed on, that a terminal in raw mode needs, or that end the session.
    pub(super) fn catch(options: &ClientOptions) -> Result<Self> {
        let proxy = options.sig_proxy;
        let mut set = SigSet::empty();
        if proxy {
            Signal::iterator().filter(|signal| !OWN.contains(signal)).for_each(|signal| set.add(signal));
        }
        if options.tty || options.interruptible {
            ENDING.into_iter().for_each(|signal| set.add(signal));
        }
        if options.tty {
            [Signal::SIGWINCH, Signal::SIGTSTP, Signal::SIGCONT].into_iter().for_each(|signal| set.add(signal));
        }
        if proxy {
            set = with_realtime(&set);
        }
        let fd =
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context(|| "receive signals")?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).context(|| "block signals")?;
        Ok(Self { fd, before, proxy, tty: options.tty })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The number of the next signal that has come.
    pub(super) fn next(&self) -> Option<i32> {
        Some(self.fd.read_signal().ok()??.ssi_signo as i32)
    }
}

/// The signals that end a process, for whoever has others to end first. Blocked while this is held.
#[derive(Debug)]
pub struct Ending(Signals);

impl Ending {
    /// Begins to catch them.
    pub fn catch() -> Result<Self> {
        Signals::catch(&ClientOptions { interruptible: true, sig_proxy: false, ..ClientOptions::default() }).map(Self)
    }

    /// Readable when one has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// The number of the next one that has come.
    pub fn next(&self) -> Option<i32> {
        self.0.next()
    }

    /// In a forked child: has them end the process as before.
    pub fn restore(&self) -> Result<()> {
        self.0.before.thread_set_mask().context(|| "restore the signal mask")
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Restoring a mask that was in force cannot fail.
        let _ = self.before.thread_set_mask();
    }
}
