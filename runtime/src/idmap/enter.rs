//! Forking a child into a new user namespace and mapping its ids.
//!
//! Runs in the CLI, on the host: only a process outside can have `newuidmap` write a map. The child waits until its map
//! is written; then it is uid 0 with all capabilities in its own namespace.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::IdMap;
use super::newidmap::write_maps;
use super::userns::{UsernsSettings, explain_userns_failure};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::process::{Fork, exit_now, fork_into, namespace};

/// What [`fork_mapped`] returns on either side.
#[derive(Debug)]
pub enum Forked {
    /// The child, as uid 0 of the new namespaces.
    Child,
    /// The parent; the child goes on by itself.
    Parent {
        /// The child's pid in the caller's PID namespace.
        pid: Pid,
        /// A pidfd of the child.
        pidfd: OwnedFd,
    },
}

/// Forks a child into a new user namespace with this mapping, and the other new namespaces in `namespaces`
/// ([`namespace`] bits).
///
/// When the map cannot be written the child is gone before the error is returned.
pub fn fork_mapped(map: &IdMap, namespaces: u64) -> Result<Forked> {
    let (waiting, mapped) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    let fork = fork_into(namespace::USER | namespaces).map_err(|errno| {
        explain_userns_failure(errno.into(), &UsernsSettings::read(), rustix::process::geteuid().is_root())
    })?;
    match fork {
        Fork::Child => {
            drop(mapped);
            let mut go = [0u8; 1];
            // End of file: the parent failed or died, and told the user.
            if !matches!(rustix::io::read(&waiting, &mut go), Ok(1)) {
                exit_now(125);
            }
            // Where the map allows it; with a single id setgroups(2) is denied and the user's groups stay.
            let _ = nix::unistd::setgroups(&[]);
            Ok(Forked::Child)
        }
        Fork::Parent { pid, pidfd } => {
            drop(waiting);
            let written = write_maps(pid.as_raw_nonzero().get(), map);
            if let Err(error) = written {
                drop(mapped);
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                return Err(error);
            }
            rustix::io::write(&mapped, &[1]).context(|| "start the child process")?;
            Ok(Forked::Parent { pid, pidfd })
        }
    }
}

/// Opens the directory behind `directory` again through its path. A descriptor from before a mount namespace was made is
/// on a mount of the old one, which the kernel lets nobody clone or stack (EINVAL).
pub fn reopen_directory(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let shown = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let path = rustix::fs::readlink(&shown, Vec::new()).context(|| "find a directory's path")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let again = rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {}", path.to_string_lossy()))?;
    let (before, now) = (rustix::fs::fstat(directory)?, rustix::fs::fstat(&again)?);
    if (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino) {
        return Err(Error::new(ErrorKind::Io, format!("{} was replaced meanwhile", path.to_string_lossy())));
    }
    Ok(again)
}
