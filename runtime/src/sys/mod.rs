//! System calls that nix and rustix do not wrap: the only `unsafe` code of lrun.
//!
//! Nothing here decides anything, and nothing here knows the rest of lrun. Each function is one system call (or the few
//! that only make sense together), takes and returns owned types, and reports the error number.

pub mod fd;
pub mod keyring;
pub mod mount;
pub mod net;
pub mod packet;
pub mod process;
pub mod seccomp;
pub mod signal;

/// The result of a raw call: -1 and `errno`, or the value.
fn checked(value: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if value < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(rustix::io::Errno::from_raw_os_error(errno));
    }
    Ok(value)
}
