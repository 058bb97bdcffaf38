//! Forking a child into a new user namespace and mapping its ids.
//!
//! Runs in the CLI, on the host: only a process outside can have `newuidmap` write a map. The child waits until its map
//! is written; then it is uid 0 with all capabilities in its own namespace. Until then it is nobody there, with the same
//! capabilities, and can already execute another program ([`Unmapped::keep_capabilities`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    set_capabilities,
};

use super::newidmap::{Writing, write_maps};
use super::userns::{UsernsSettings, explain_userns_failure};
use super::{IdMap, Kept};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::process::{Fork, SIBLING, exit_now, fork_into, join_namespaces, namespace, unshare};

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

/// What [`fork_mapping`] returns on either side.
#[derive(Debug)]
pub enum Mapping {
    /// The child.
    Child(Unmapped),
    /// The parent, while the child's ids are being mapped.
    Parent(Mapped),
}

/// In the child: its ids may not be mapped yet.
#[derive(Debug)]
pub struct Unmapped {
    /// Ends when the maps are written, or will not be.
    waiting: OwnedFd,
}

impl Unmapped {
    /// The one that was passed through an exec.
    pub fn from_fd(waiting: OwnedFd) -> Self {
        Self { waiting }
    }

    /// For passing it through an exec.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }

    /// Lets the capabilities last through an exec, which only root has them by, and this process has no uid yet;
    /// `capabilities(7)`, ambient set. [`Self::wait`] ends that.
    pub fn keep_capabilities(&self) -> rustix::io::Result<()> {
        let own = capabilities(None)?;
        set_capabilities(None, CapabilitySets { inheritable: own.permitted, ..own })?;
        own.permitted.iter().try_for_each(|capability| configure_capability_in_ambient_set(capability, true))
    }

    /// Waits until this process is uid 0 with all capabilities. Never returns when the maps could not be written: the
    /// parent told the user, or died.
    pub fn wait(self) -> rustix::io::Result<()> {
        let ended = rustix::io::retry_on_intr(|| rustix::io::read(&self.waiting, &mut [0u8; 1]));
        if ended != Ok(0) || !is_mapped() {
            exit_now(125);
        }
        become_root()
    }
}

/// Ends what [`Unmapped::keep_capabilities`] began, once the ids are mapped: the process is root with all capabilities and
/// without the user's groups. For a process, too, that was forked by the one which was not mapped yet.
pub fn become_root() -> rustix::io::Result<()> {
    let own = capabilities(None)?;
    if !own.inheritable.is_empty() {
        clear_ambient_capability_set()?;
        set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..own })?;
    }
    // Where the map allows it; with a single id setgroups(2) is denied and the user's groups stay.
    let _ = nix::unistd::setgroups(&[]);
    Ok(())
}

/// A child whose ids are being mapped. When this is dropped early, the child may go on or not.
#[derive(Debug)]
pub struct Mapped {
    pid: Pid,
    pidfd: OwnedFd,
    writing: Writing,
    kept: Kept,
}

impl Mapped {
    /// The child's pid in the caller's PID namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the map is written, and returns the child. When it cannot be written the child is gone before the
    /// error is returned.
    pub fn finish(self) -> Result<(Pid, OwnedFd)> {
        if let Err(error) = self.writing.finish() {
            // It may have seen the maps, and wait for what nobody sends.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
            return Err(error);
        }
        if let Some(kept) = self.kept.0.filter(|kept| kept.get().is_none()) {
            let path = format!("/proc/{}/ns/user", self.pid.as_raw_nonzero());
            // Without it the next process gets a namespace of its own.
            if let Ok(namespace) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                let _ = kept.set(namespace);
            }
        }
        Ok((self.pid, self.pidfd))
    }
}

/// Forks a child into a new user namespace with this mapping, and the other new namespaces in `namespaces`
/// ([`namespace`] bits).
///
/// When the map cannot be written the child is gone before the error is returned.
pub fn fork_mapped(map: &IdMap, namespaces: u64) -> Result<Forked> {
    match fork_mapping(map, namespaces)? {
        Mapping::Child(unmapped) => match unmapped.wait() {
            Ok(()) => Ok(Forked::Child),
            Err(_) => exit_now(125),
        },
        Mapping::Parent(mapped) => mapped.finish().map(|(pid, pidfd)| Forked::Parent { pid, pidfd }),
    }
}

/// Forks a child into a user namespace that is mapped already, and new ones of the other kinds.
///
/// Only a process that is in the namespace for users can make the others in it, and what makes a PID namespace is not in
/// it: so a process between makes the child, as a child of the caller, and tells its number.
fn fork_into_kept(kept: BorrowedFd<'_>, namespaces: u64) -> rustix::io::Result<Mapping> {
    let (waiting, written) = pipe_with(PipeFlags::CLOEXEC)?;
    let (number, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork_into(0)? {
        Fork::Child => {
            drop((number, written));
            let joined = join_namespaces(kept, namespace::USER).and_then(|()| unshare(namespaces));
            match joined.and_then(|()| fork_into(SIBLING)) {
                Ok(Fork::Child) => {
                    drop(tell);
                    Ok(Mapping::Child(Unmapped { waiting }))
                }
                Ok(Fork::Parent { pid, .. }) => {
                    let told = rustix::io::write(&tell, &pid.as_raw_nonzero().get().to_le_bytes());
                    exit_now(i32::from(told.is_err()))
                }
                Err(_) => exit_now(1),
            }
        }
        Fork::Parent { pid: between, .. } => {
            drop((tell, waiting, written));
            let mut bytes = [0; 4];
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&number, &mut bytes));
            rustix::process::waitpid(Some(between), rustix::process::WaitOptions::empty())?;
            let pid = Pid::from_raw(i32::from_le_bytes(bytes)).filter(|_| read == Ok(4)).ok_or(Errno::AGAIN)?;
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
            Ok(Mapping::Parent(Mapped { pid, pidfd, writing: Writing::default(), kept: Kept::default() }))
        }
    }
}

/// As [`fork_mapped`], and returns while the map is still being written, so that other work can be done.
pub fn fork_mapping(map: &IdMap, namespaces: u64) -> Result<Mapping> {
    if let Some(kept) = map.kept.0.as_ref().and_then(|kept| kept.get()) {
        return fork_into_kept(kept.as_fd(), namespaces).context(|| "join the build's user namespace");
    }
    let (waiting, written) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    let fork = fork_into(namespace::USER | namespaces).map_err(|errno| {
        explain_userns_failure(errno.into(), &UsernsSettings::read(), rustix::process::geteuid().is_root())
    })?;
    match fork {
        Fork::Child => {
            drop(written);
            Ok(Mapping::Child(Unmapped { waiting }))
        }
        Fork::Parent { pid, pidfd } => {
            drop(waiting);
            match write_maps(pid.as_raw_nonzero().get(), map, written) {
                Ok(writing) => Ok(Mapping::Parent(Mapped { pid, pidfd, writing, kept: map.kept.clone() })),
                Err(error) => {
                    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                    Err(error)
                }
            }
        }
    }
}

/// Whether both maps of this process's user namespace have been written: until then their files are empty.
fn is_mapped() -> bool {
    ["/proc/self/uid_map", "/proc/self/gid_map"].iter().all(|map| std::fs::read(map).is_ok_and(|text| !text.is_empty()))
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
