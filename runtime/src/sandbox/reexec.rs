//! Running lrun's own binary where a container could reach it.
//!
//! A process of a container sees the binary of any process in its PID namespace through `/proc/<pid>/exe`, and an
//! entrypoint `#!/proc/self/exe` runs it. So no process that enters a container runs from the host's mount: it is executed
//! from a detached clone of that mount which is read-only for good, because the clone's last descriptor is closed before
//! anything of the container can reach the process that had it. Where the binary's path is gone, a sealed memfd copy
//! serves. The host's `/dev/null`, where it is a standard stream, is opened anew through such a mount: a container whose
//! root is the host's could else change the node by that descriptor.

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::device;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::mount::{Attributes, NODEV, NOSUID, RDONLY, set_attributes};
use crate::sys::process::{Fork, SHARE_FILES, exit_now, fork_into, namespace};

/// Where descriptors are kept while those below are put in their places.
const HIGH: i32 = 32;

/// What of the host a process takes along into a container: path descriptors on read-only mounts.
#[derive(Debug)]
pub struct Protected {
    binary: OwnedFd,
    null: OwnedFd,
}

impl Protected {
    /// Made here: the caller must be in its own mount namespace with `CAP_SYS_ADMIN`, and still see the host's files.
    pub fn here() -> Result<Self> {
        Ok(Self { binary: protected_self()?, null: device::null()? })
    }

    /// For a process that has no mount namespace of its own: a throw-away child in its own namespaces makes it, in the
    /// shared table of descriptors. The caller has one thread.
    pub fn by_child() -> Result<Self> {
        let (numbers, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        match fork_into(namespace::USER | namespace::MOUNT | SHARE_FILES).context(|| "protect lrun's own binary")? {
            Fork::Child => {
                let Ok(made) = Self::here() else { exit_now(1) };
                let told = [made.binary.as_raw_fd(), made.null.as_raw_fd()].map(i32::to_le_bytes).concat();
                // The table is shared: the descriptors stay for the parent.
                std::mem::forget(made);
                exit_now(i32::from(rustix::io::write(&tell, &told) != Ok(told.len())))
            }
            Fork::Parent { pid, .. } => {
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
                drop(tell);
                let mut told = Vec::new();
                std::fs::File::from(numbers).read_to_end(&mut told)?;
                let mut taken =
                    told.chunks_exact(4).map(|n| crate::sys::fd::take(i32::from_le_bytes([n[0], n[1], n[2], n[3]])));
                match (taken.next(), taken.next()) {
                    (Some(binary), Some(null)) => Ok(Self { binary: binary?, null: null? }),
                    _ => Err(Error::new(ErrorKind::Io, "the helper that protects lrun's own binary failed")),
                }
            }
        }
    }

    /// Executes the stage with these standard streams and with `passed` from 3 on.
    pub fn execute(
        self,
        stage: &CStr,
        streams: [BorrowedFd<'_>; 3],
        passed: &[BorrowedFd<'_>],
    ) -> Result<std::convert::Infallible> {
        let mut own = Vec::with_capacity(streams.len());
        for stream in streams {
            own.push(self.stream(stream)?);
        }
        let fds: Vec<BorrowedFd<'_>> = own.iter().map(AsFd::as_fd).chain(passed.iter().copied()).collect();
        execute(self.binary, stage, &fds)
    }

    /// A copy of the stream; `/dev/null` is opened through the read-only mount.
    fn stream(&self, stream: BorrowedFd<'_>) -> Result<OwnedFd> {
        if !device::is_null(stream)? {
            return Ok(rustix::io::fcntl_dupfd_cloexec(stream, HIGH)?);
        }
        let access = rustix::fs::fcntl_getfl(stream)? & OFlags::RWMODE;
        let path = format!("/proc/self/fd/{}", self.null.as_raw_fd());
        rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()).context(|| "open /dev/null")
    }
}

/// A descriptor of the running binary that is safe to execute inside a container.
fn protected_self() -> Result<OwnedFd> {
    let running = rustix::fs::stat("/proc/self/exe").context(|| "look at lrun's own binary")?;
    let path = rustix::fs::readlink("/proc/self/exe", Vec::new()).context(|| "find lrun's own binary")?;
    let clone = clone_readonly(&path);
    match clone {
        Ok(fd) if same_file(fd.as_fd(), &running) => Ok(fd),
        _ => sealed_copy(),
    }
}

fn clone_readonly(path: &CStr) -> Result<OwnedFd> {
    let fd = rustix::mount::open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attributes = Attributes { set: RDONLY | NOSUID | NODEV, ..Attributes::default() };
    set_attributes(fd.as_fd(), attributes, false)?;
    Ok(fd)
}

fn same_file(fd: BorrowedFd<'_>, running: &rustix::fs::Stat) -> bool {
    rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)
        .is_ok_and(|stat| stat.st_dev == running.st_dev && stat.st_ino == running.st_ino)
}

/// A copy in memory that nobody can write: 1.4 ms instead of 0.2.
fn sealed_copy() -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let executable = flags | MemfdFlags::from_bits_retain(MFD_EXEC);
    // MFD_EXEC is from Linux 6.3; older kernels refuse the bit and need none.
    let memfd = rustix::fs::memfd_create("lrun", executable)
        .or_else(|_| rustix::fs::memfd_create("lrun", flags))
        .context(|| "copy lrun's own binary into memory")?;
    let mut from = std::fs::File::open("/proc/self/exe").context(|| "open lrun's own binary")?;
    let mut to = std::fs::File::from(memfd);
    std::io::copy(&mut from, &mut to).context(|| "copy lrun's own binary into memory")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&to, seals).context(|| "seal lrun's own binary")?;
    Ok(to.into())
}

/// Executes `binary` as the stage called `stage`, with the environment emptied and with `fds` as its descriptors 0, 1, 2
/// and so on; all others are closed.
pub fn execute(binary: OwnedFd, stage: &CStr, fds: &[BorrowedFd<'_>]) -> Result<std::convert::Infallible> {
    // High copies first, so that no placement overwrites a source that is still needed.
    let binary = rustix::io::fcntl_dupfd_cloexec(binary, HIGH)?;
    let mut high = Vec::with_capacity(fds.len());
    for fd in fds {
        high.push(rustix::io::fcntl_dupfd_cloexec(fd, HIGH)?);
    }
    for (fd, number) in high.iter().zip(0..) {
        crate::sys::fd::place(fd.as_fd(), number)?;
    }
    crate::sys::fd::cloexec_from(i32::try_from(fds.len()).unwrap_or(HIGH))?;
    let environment: [&CStr; 0] = [];
    nix::unistd::execveat(binary, c"", &[stage], &environment, nix::fcntl::AtFlags::AT_EMPTY_PATH)
        .context(|| "execute lrun's own binary")
}
