//! The loopback interface of a fresh network namespace, `netdevice(7)`; how names of hosts are looked up.

use std::os::fd::AsRawFd;

use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::checked;

/// Brings `lo` up in the caller's network namespace, which gives it 127.0.0.1 and ::1.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain old data for which all zeroes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of the ifreq, which is live and initialised.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    checked(libc::c_long::from(result))?;
    Ok(())
}

/// Has host names looked up in `/etc/hosts` and by DNS alone, whatever `nsswitch.conf` lists: a static program that loads
/// another plugin of the host's C library gets a second C library, and crashes. For a process with one thread.
pub fn plain_host_lookup() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
        }
        // SAFETY: two C strings that outlive the call; glibc copies them. No other thread looks anything up.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    }
}
