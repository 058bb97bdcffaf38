//! The session keyring; `keyctl(2)`, `session-keyring(7)`.

use std::ffi::CStr;

use rustix::io::Result;

use super::checked;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
const KEYCTL_SETPERM: libc::c_long = 5;
const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
/// Everything for who has it; view, read and search for the user.
const SHARED_PERMISSIONS: libc::c_long = 0x3f0b_0000;

/// Leaves the session keyring of the caller for a new one (no name), or for the shared one of that name, which is made
/// if need be. EDQUOT when the user has too many keys, ENOSYS without keyrings in the kernel.
pub fn join_session(name: Option<&CStr>) -> Result<()> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: `name` is null or a NUL-terminated string that lives through the call.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) })?;
    Ok(())
}

/// Lets other processes of the user join the caller's session keyring by its name, which takes the permission to search
/// it; a new keyring's owner does not have that.
pub fn share_session() -> Result<()> {
    // SAFETY: numbers only, no memory.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, SHARED_PERMISSIONS) })?;
    Ok(())
}
