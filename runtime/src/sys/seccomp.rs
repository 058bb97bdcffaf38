//! Loading a system call filter: `seccomp(2)`, which nix and rustix do not wrap.

use std::io;

/// Loads `program` as a filter of the calling thread and of what it starts from then on.
///
/// Each element has the fields of `struct sock_filter` from the low end: 16 bits code, 8 bits jump if true, 8 bits jump
/// if false, 32 bits operand. With `log`, refused calls go to the audit log as `actions_logged` says. The caller has
/// either set `no_new_privs` or has CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
/// `InvalidInput` when the program is empty or longer than the kernel takes (4096 instructions); else what the kernel
/// reports: EINVAL for a malformed program, EACCES without one of the two conditions.
pub fn load_filter(program: &[u64], log: bool) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> = program
        .iter()
        .map(|word| libc::sock_filter {
            code: *word as u16,
            jt: (*word >> 16) as u8,
            jf: (*word >> 24) as u8,
            k: (*word >> 32) as u32,
        })
        .collect();
    let Some(len) = u16::try_from(code.len()).ok().filter(|len| (1..=4096).contains(len)) else {
        let message = format!("a system call filter of {} instructions; the kernel takes 1 to 4096", code.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    let filter = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    let flags = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    // SAFETY: `filter` is a valid sock_fprog whose pointer and length are those of `code`; both outlive the call, and
    // the kernel only copies from them. No flag that gives back a descriptor or touches other threads is used.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
