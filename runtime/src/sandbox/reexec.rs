//! Running lrun's own binary where a container could reach it.
//!
//! A process of a container sees the binary of any process in its PID namespace through `/proc/<pid>/exe`, and an
//! entrypoint `#!/proc/self/exe` runs it. So no process that enters a container runs from the host's mount: it is executed
//! from a detached clone of that mount which is read-only for good, because the clone's last descriptor is closed before
//! anything of the container runs. Where the binary's path is gone, a sealed memfd copy serves.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, MemfdFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::mount::{Attributes, NODEV, NOSUID, RDONLY, set_attributes};

/// A descriptor of the running binary that is safe to execute inside a container. The caller must be in its own mount
/// namespace with `CAP_SYS_ADMIN`, and still see the host's files.
pub fn protected_self() -> Result<OwnedFd> {
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

/// Makes [`protected_self`] for a process that is about to join a container and has no mount namespace of its own: a
/// throw-away child in its own namespaces makes it, in the shared table of descriptors. The caller has one thread.
pub fn protected_self_for_join() -> Result<OwnedFd> {
    use crate::sys::process::{Fork, SHARE_FILES, exit_now, fork_into, namespace};
    let failed = || Error::new(ErrorKind::Io, "the helper that protects lrun's own binary failed");
    match fork_into(namespace::USER | namespace::MOUNT | SHARE_FILES).context(|| "protect lrun's own binary")? {
        Fork::Child => match protected_self() {
            Ok(fd) => {
                let number = fd.as_raw_fd();
                // The table is shared: the descriptor stays for the parent.
                std::mem::forget(fd);
                exit_now(if (1..250).contains(&number) { number } else { 0 })
            }
            Err(_) => exit_now(0),
        },
        Fork::Parent { pid, .. } => {
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
            match status.and_then(|(_, status)| status.exit_status()) {
                Some(number) if number > 0 => crate::sys::fd::take(number).map_err(Into::into),
                _ => Err(failed()),
            }
        }
    }
}

/// Executes `binary` as the stage called `stage`, with the environment emptied. Descriptors without close-on-exec pass.
pub fn execute(binary: &OwnedFd, stage: &CStr) -> Result<std::convert::Infallible> {
    let path = c"";
    let environment: [&CStr; 0] = [];
    nix::unistd::execveat(binary, path, &[stage], &environment, nix::fcntl::AtFlags::AT_EMPTY_PATH)
        .context(|| "execute lrun's own binary")
}
