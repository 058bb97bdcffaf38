//! Signals by number, real-time ones included: dispositions and masks that an `execve` would pass on, waiting, sending;
//! `signal(7)`.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::SigSet;
use rustix::io::Result;

use super::checked;

/// Gives every signal its default action and unblocks all, for a process that is about to execute a program: ignored
/// signals stay ignored over an exec, and Rust's runtime ignores SIGPIPE.
pub fn reset_all() {
    // SAFETY: sigaction is plain old data; all zeroes is SIG_DFL with an empty mask and no flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: sets the default action, which runs no code of this process; the struct lives through the call. SIGKILL
        // and SIGSTOP are refused with EINVAL, which changes nothing.
        unsafe { libc::sigaction(number, &raw const default, std::ptr::null_mut()) };
    }
    // SAFETY: an empty set, initialised by sigemptyset, is live through both calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores this signal.
pub fn ignore(number: i32) {
    // SAFETY: SIG_IGN runs no code of this process.
    unsafe { libc::signal(number, libc::SIG_IGN) };
}

/// Blocks every signal that can be blocked, for [`wait`].
pub fn block_all() {
    // SAFETY: the set is initialised by sigfillset and lives through both calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// The set with all real-time signals; nix knows them not.
pub fn with_realtime(set: &SigSet) -> SigSet {
    let mut set = *set.as_ref();
    for number in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: the set was initialised by nix and lives through the call; the numbers are signals'.
        unsafe { libc::sigaddset(&raw mut set, number) };
    }
    // SAFETY: it is an initialised set.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Waits for a signal, all of which are blocked, and takes it; `sigwaitinfo(2)`.
pub fn wait() -> Result<i32> {
    // SAFETY: the set is initialised by sigfillset and lives through both calls; nothing is asked for beside the number.
    let number = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwaitinfo(&raw const all, std::ptr::null_mut())
    };
    checked(libc::c_long::from(number)).map(|_| number)
}

/// Sends a signal to the process that `pidfd` refers to; `pidfd_send_signal(2)`.
pub fn send(pidfd: BorrowedFd<'_>, number: i32) -> Result<()> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no memory is passed: without information, the kernel fills in what kill(2) does.
    checked(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, nothing, 0) }).map(drop)
}
