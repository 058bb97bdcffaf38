//! Signal dispositions and masks that an `execve` would pass on; `signal(7)`.

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
