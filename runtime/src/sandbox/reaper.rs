//! `--init`: lrun stays as PID 1 of the container, reaps orphans and passes signals on to the entrypoint.
//!
//! Runs as the container's user with the container's capabilities and filter; its binary is the protected clone.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Context, Result};
use crate::sys::process::fork_plainly;

/// Forks. In the child returns `None`: it goes on to the entrypoint. In PID 1 returns the entrypoint's exit code when it
/// has ended.
pub fn supervise() -> Result<Option<i32>> {
    let all = SigSet::all();
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut before)).context(|| "block signals")?;
    // The container's filter is loaded, and it answers ENOSYS to clone3.
    match fork_plainly().context(|| "fork the entrypoint")? {
        None => {
            lead_foreground();
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).context(|| "restore signals")?;
            Ok(None)
        }
        Some(pid) => {
            let main = Pid::from_raw(pid.as_raw_nonzero().get());
            sys_close();
            loop {
                let signal = all.wait().context(|| "wait for a signal")?;
                match signal {
                    Signal::SIGCHLD => {
                        if let Some(code) = reap(main) {
                            return Ok(Some(code));
                        }
                    }
                    // The terminal sent these to the foreground group, the entrypoint, already.
                    Signal::SIGTTIN | Signal::SIGTTOU | Signal::SIGTSTP => {}
                    other => {
                        let _ = kill(main, other);
                    }
                }
            }
        }
    }
}

/// Nothing but the standard streams stays open in PID 1, which tells the supervisor that the entrypoint was started.
fn sys_close() {
    let _ = crate::sys::fd::close_from(3);
}

/// The entrypoint gets a process group of its own, in the foreground of the terminal if there is one.
fn lead_foreground() {
    let own = nix::unistd::getpid();
    if nix::unistd::setpgid(own, own).is_ok() {
        let _ = nix::unistd::tcsetpgrp(rustix::stdio::stdin(), own);
    }
}

/// Collects every dead child; the exit code if the entrypoint is among them.
fn reap(main: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == main => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
