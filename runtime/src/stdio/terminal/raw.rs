//! Raw mode of the user's terminal.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::termios::{OptionalActions, Termios};
use std::os::fd::BorrowedFd;

use crate::error::{Context, Result};

/// The terminal is in raw mode (`cfmakeraw`, termios(3)) until this is dropped.
#[derive(Debug)]
pub(super) struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// From a background process group this stops the process (SIGTTOU) until it is in the foreground.
    pub(super) fn enter(terminal: BorrowedFd<'a>) -> Result<Self> {
        let before = rustix::termios::tcgetattr(terminal).context(|| "read the terminal's mode")?;
        let raw = Self { terminal, before };
        raw.again()?;
        Ok(raw)
    }

    /// Raw mode again, after [`RawMode::suspend`] or after a shell has changed it.
    pub(super) fn again(&self) -> Result<()> {
        let mut mode = self.before.clone();
        mode.make_raw();
        rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &mode)
            .context(|| "set the terminal to raw mode")
    }

    /// The mode from before.
    pub(super) fn suspend(&self) {
        // From the background, without being stopped by it.
        let mut ttou = SigSet::empty();
        ttou.add(Signal::SIGTTOU);
        let mask = ttou.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        // A terminal that is gone needs no restoring.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        if let Ok(mask) = mask {
            let _ = mask.thread_set_mask();
        }
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        self.suspend();
    }
}
