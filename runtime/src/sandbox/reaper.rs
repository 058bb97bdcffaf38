//! `--init`: lrun stays as PID 1 of the container, reaps orphans and passes signals on to the entrypoint.
//!
//! Runs as the container's user with the container's capabilities and filter; its binary is the protected clone.

use rustix::process::{Pid, WaitOptions, getpid, setpgid};

use crate::error::{Context, Result};
use crate::sys;

/// Forks. In the child returns `None`: it goes on to the entrypoint. In PID 1 returns the entrypoint's exit code when it
/// has ended.
pub fn supervise() -> Result<Option<i32>> {
    sys::signal::block_all();
    // The container's filter is loaded, and it answers ENOSYS to clone3.
    let Some(main) = sys::process::fork_plainly().context(|| "fork the entrypoint")? else {
        lead_foreground();
        sys::signal::reset_all();
        return Ok(None);
    };
    sys::process::rename(c"lrun-init");
    // Nothing but the standard streams stays open, which tells the supervisor that the entrypoint was started.
    let _ = sys::fd::close_from(3);
    loop {
        match sys::signal::wait() {
            Ok(libc::SIGCHLD) => {
                if let Some(code) = reap(main) {
                    return Ok(Some(code));
                }
            }
            // The terminal sent these to the foreground group, the entrypoint, already.
            Ok(libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP) | Err(rustix::io::Errno::INTR) => {}
            Ok(other) => pass_on(main, other),
            Err(errno) => return Err(errno).context(|| "wait for a signal"),
        }
    }
}

fn pass_on(main: Pid, signal: i32) {
    if let Ok(main) = rustix::process::pidfd_open(main, rustix::process::PidfdFlags::empty()) {
        let _ = sys::signal::send(std::os::fd::AsFd::as_fd(&main), signal);
    }
}

/// The entrypoint gets a process group of its own, in the foreground of the terminal if there is one.
fn lead_foreground() {
    let own = getpid();
    if setpgid(None, None).is_ok() {
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
    }
}

/// Collects every dead child; the exit code if the entrypoint is among them.
fn reap(main: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == main {
            code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    code
}
