//! Descriptors that cross an `execve`: taken over by number, and everything else closed.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags, Result};

use super::checked;

/// Takes over an inherited descriptor by its number and marks it close-on-exec. EBADF if it is not open.
///
/// Call it once per number: the caller's protocol with its parent says which numbers are passed.
pub fn take(number: RawFd) -> Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: only asks whether the number is open; borrowed for this one call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(borrowed)?;
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open (just asked) and, as the parent's protocol passes each number to one owner, nobody
    // else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a copy of `fd` at `number`, open across exec, closing what was there. For the last steps before an exec.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    if fd.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(fd, FdFlags::empty());
    }
    // SAFETY: dup2 takes two numbers and touches no memory. Whatever owned `number` is about to vanish with the exec.
    checked(libc::c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) }))?;
    Ok(())
}

/// Closes every descriptor from `first` on, except by ownership rules of nobody: only for a process about to exec or a
/// fresh child that has taken over what it needs below `first`. `close_range(2)`.
pub fn close_from(first: RawFd) -> Result<()> {
    // SAFETY: plain numbers; the caller is in a child that holds no other owner of these descriptors it will use again.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, 0) })?;
    Ok(())
}

/// Closes every descriptor but these, as [`close_from`] does: only for a fresh child that uses no other any more.
pub fn close_all_but(kept: &[RawFd]) -> Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|number| *number >= 0).collect();
    kept.sort_unstable();
    let mut first = 0;
    for number in kept {
        if number > first {
            // SAFETY: plain numbers; see `close_from`.
            checked(unsafe {
                libc::syscall(libc::SYS_close_range, first as libc::c_uint, number as libc::c_uint - 1, 0)
            })?;
        }
        first = number.saturating_add(1);
    }
    close_from(first)
}

/// Marks every descriptor from `first` on close-on-exec (`CLOSE_RANGE_CLOEXEC`, Linux 5.11).
pub fn cloexec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: changes a flag of descriptors, no memory.
    checked(unsafe {
        libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}
