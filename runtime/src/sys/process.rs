//! Making processes: `clone3(2)`, and joining the namespaces of another by its pidfd, `setns(2)`.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::checked;

/// New namespaces for [`fork_into`]; `namespaces(7)`. Bits of `clone(2)`.
pub mod namespace {
    /// A new user namespace.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// A new mount namespace.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// A new PID namespace, with the child as its PID 1.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// A new network namespace.
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
    /// A new IPC namespace.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// A new UTS namespace.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// A new cgroup namespace.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
}

/// Shares the table of descriptors with the child instead of copying it (`CLONE_FILES`).
pub const SHARE_FILES: u64 = libc::CLONE_FILES as u64;

/// Makes the child one of the caller's parent (`CLONE_PARENT`).
pub const SIBLING: u64 = libc::CLONE_PARENT as u64;

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller, with the child's pid in the caller's PID namespace and a pidfd for it.
    Parent {
        /// The child, in the caller's PID namespace.
        pid: Pid,
        /// Refers to the child for as long as it is held, whatever happens to the number.
        pidfd: OwnedFd,
    },
}

/// `clone3(2)` as a fork: the child has a copy of everything, and the namespaces in `flags` are new.
///
/// The caller must have one thread. The child is then an ordinary single-threaded process; only the thread id that the C
/// library cached is stale, so the child does not raise signals at itself through it.
pub fn fork_into(flags: u64) -> Result<Fork> {
    debug_assert_eq!(threads(), 1, "fork in a process with threads");
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain old data for which all zeroes are a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // A sibling gets the caller's own.
    args.exit_signal = if flags & SIBLING == 0 { libc::SIGCHLD as u64 } else { 0 };
    // SAFETY: without CLONE_VM the child has its own copy of memory, as after fork(2); `args` and `pidfd` are live. One
    // thread (asserted above), so no lock is held by a thread that the child does not have.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    match Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?) {
        None => Ok(Fork::Child),
        // SAFETY: the kernel stored a new descriptor, which nobody else owns, before it returned in the parent.
        Some(pid) => Ok(Fork::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// `fork(2)` where `clone3(2)` is filtered: the child's pid in the parent, `None` in the child. One thread, as for
/// [`fork_into`].
pub fn fork_plainly() -> Result<Option<Pid>> {
    debug_assert_eq!(threads(), 1, "fork in a process with threads");
    // SAFETY: one thread (asserted above), so no lock is held by a thread that the child does not have.
    let pid = checked(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?))
}

/// Has the kernel kill the caller as soon as `parent` ends, which made it; ESRCH if that has ended already.
pub fn die_with(parent: Pid) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // No signal comes for what happened before.
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH) }
}

/// How many threads this process has. One that was joined runs nothing any more, but is listed until it was given a processor
/// once more.
fn threads() -> usize {
    let count = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let now = count();
        if now == 1 || std::time::Instant::now() > end {
            return now;
        }
        std::thread::yield_now();
    }
}

/// Joins namespaces (bits of [`namespace`]) of the process that `pidfd` refers to, in one step; Linux 5.8.
///
/// The new PID namespace is that of children only. ESRCH when the process is gone.
pub fn join_namespaces(pidfd: BorrowedFd<'_>, namespaces: u64) -> Result<()> {
    let namespaces = i32::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: two numbers, no memory. The caller has one thread, which user and mount namespaces demand.
    checked(libc::c_long::from(unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) }))?;
    Ok(())
}

/// Moves the caller into new namespaces (bits of [`namespace`]); `unshare(2)`.
pub fn unshare(namespaces: u64) -> Result<()> {
    let namespaces = i32::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: only namespace bits are passed (no CLONE_FILES), so no descriptor changes owner.
    checked(libc::c_long::from(unsafe { libc::unshare(namespaces) }))?;
    Ok(())
}

/// Changes what `ps` shows of this process: its name, and its only argument, which must not be shorter.
pub fn rename(name: &CStr) {
    let _ = rustix::thread::set_name(name);
    // SAFETY: glibc keeps a pointer to `argv[0]` here, which the kernel put on the stack, writable and terminated, and
    // which nobody else refers to: the standard library hands out copies. Nothing beyond its end is written.
    unsafe {
        unsafe extern "C" {
            static program_invocation_name: *mut libc::c_char;
        }
        let length = libc::strlen(program_invocation_name);
        if name.count_bytes() <= length {
            std::ptr::write_bytes(program_invocation_name, 0, length);
            std::ptr::copy_nonoverlapping(name.as_ptr(), program_invocation_name, name.count_bytes());
        }
    }
}

/// Ends the process at once with this code, without running destructors or exit handlers that belong to the parent
/// this process was forked from; `_exit(2)`.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing can observe memory afterwards.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_outlives_a_parent_that_has_ended_before() {
        let parent = getppid().expect("this has one");
        let tied = die_with(parent);
        let late = die_with(rustix::process::getpid());
        set_parent_process_death_signal(None).expect("no signal");
        assert_eq!((tied, late), (Ok(()), Err(Errno::SRCH)));
    }
}
