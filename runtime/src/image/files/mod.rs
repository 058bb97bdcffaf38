//! Files on their way between two trees, as a tar: what `cp` carries.
//!
//! Neither side trusts the other. [`send`] reads by descriptors and follows nothing; [`Receiver`] makes everything new, by
//! descriptors of the directories that it came through, and never writes into what was there. Devices are never made.

mod level;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use receive::{Ownership, Received, Receiver, Target};
pub use send::{Root, SendRules, Sent, send};

/// File systems in which the kernel shows itself, by their `statfs(2)` numbers: nothing in them has a size or an end.
/// proc, sysfs, cgroup2, cgroup, devpts, mqueue, tracefs, debugfs, securityfs, bpf, configfs, binfmt_misc, nsfs, pstore,
/// efivarfs, selinuxfs.
const KERNELS: [u64; 16] = [
    0x9fa0,
    0x6265_6572,
    0x6367_7270,
    0x0027_e0eb,
    0x1cd1,
    0x1980_0202,
    0x7472_6163,
    0x6462_6720,
    0x7363_6673,
    0xcafe_4a11,
    0x6265_6570,
    0x4249_4e4d,
    0x6e73_6673,
    0x6165_676c,
    0xde5e_81e4,
    0xf97c_ff8c,
];

/// Whether this is a file of the kernel's.
pub fn is_kernels(fd: impl std::os::fd::AsFd) -> rustix::io::Result<bool> {
    let kind = rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(KERNELS.contains(&kind))
}
