//! Whether a file system can hold a store: an overlay is mounted there, as a container's would be.
//!
//! Runs once, when a store is made; the answer is kept in `format`. The child that tries is in namespaces of its own.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::IdMap;
use crate::idmap::enter::{Forked, fork_mapped, reopen_directory};
use crate::image::store::{Features, Verdict, fs_verdict};
use crate::sys::process::{exit_now, namespace};

/// What the file system at `path` (an existing directory of the user's) can do, or why that is not enough.
pub fn probe(map: &IdMap, path: &Path) -> Result<Features> {
    let kind = rustix::fs::statfs(path).context(|| format!("look at the file system of {}", path.display()))?.f_type;
    let (file_system, must_try) = match fs_verdict(kind as i64) {
        Verdict::Good(name) => (name, false),
        Verdict::Probe(name) => (name, true),
        Verdict::Refused { name, reason } => return Err(unsuitable(path, name, reason)),
    };
    let scratch = path.join(".probe");
    // One that was killed left something.
    clear(&scratch);
    for name in ["", "lower", "upper", "work"] {
        file::ensure_dir(&scratch.join(name))?;
    }
    let tried = try_overlay(map, &scratch);
    clear(&scratch);
    if let Err(error) = tried.context(|| format!("try an overlay in {}", path.display()))? {
        let reason = if must_try { format!("an overlay there failed: {error}") } else { error.to_string() };
        return Err(unsuitable(path, file_system, &reason));
    }
    Ok(Features { file_system: file_system.to_owned(), ..Features::default() })
}

/// Best effort: what stays shows when it is in the way.
fn clear(scratch: &Path) {
    // Overlay leaves a directory there that not even its owner may list.
    let _ = rustix::fs::chmod(scratch.join("work/work"), rustix::fs::Mode::from_raw_mode(0o700));
    let _ = std::fs::remove_dir_all(scratch);
}

fn unsuitable(path: &Path, name: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{} is on {name}, which cannot hold a store: {reason}", path.display()))
        .hint("set LRUN_ROOT (or LRUN_SCRATCH) to a directory on a local ext4, xfs or btrfs")
}

/// Mounts an overlay in a child, writes through it, and reports the error number as exit code: the inner result says what
/// the file system can do. The outer one is that of trying, which says nothing of it.
fn try_overlay(map: &IdMap, scratch: &Path) -> Result<Result<()>> {
    let directory = file::open_dir(scratch)?;
    match fork_mapped(map, namespace::MOUNT)? {
        Forked::Child => {
            let attempt = || -> Result<()> {
                use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
                rustix::process::fchdir(reopen_directory(directory.as_fd())?)?;
                let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
                fsconfig_set_string(&overlay, "lowerdir", "lower")?;
                fsconfig_set_string(&overlay, "upperdir", "upper")?;
                fsconfig_set_string(&overlay, "workdir", "work")?;
                fsconfig_set_flag(&overlay, "userxattr")?;
                fsconfig_create(&overlay)?;
                let root = fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
                rustix::fs::mkdirat(&root, "made", rustix::fs::Mode::from_raw_mode(0o755))?;
                rustix::fs::unlinkat(&root, "made", rustix::fs::AtFlags::REMOVEDIR)?;
                Ok(())
            };
            exit_now(attempt().map_or_else(|error| error.errno().unwrap_or(libc::EIO), |()| 0))
        }
        Forked::Parent { pid, .. } => {
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
            match status.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(Ok(())),
                Some(errno) => verdict(std::io::Error::from_raw_os_error(errno).into()),
                None => Err(Error::new(ErrorKind::Io, "the process that tried was killed")),
            }
        }
    }
}

/// Whether an overlay that failed so fails there always. No memory, no space and a broken disk pass; as does
/// ECANCELED, with which a child ends that was not let go on.
fn verdict(error: Error) -> Result<Result<()>> {
    let passes = matches!(error.errno(), Some(libc::EIO | libc::EINTR | libc::EAGAIN | libc::ECANCELED));
    if passes || error.kind() == ErrorKind::Exhausted { Err(error) } else { Ok(Err(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_held_against_a_file_system() {
        let of = |errno| verdict(std::io::Error::from_raw_os_error(errno).into());
        for errno in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPERM, libc::ENODEV] {
            assert!(matches!(of(errno), Ok(Err(_))), "{errno}");
        }
        for errno in [libc::ENOMEM, libc::ENOSPC, libc::EIO, libc::EMFILE, 125] {
            assert!(of(errno).is_err(), "{errno}");
        }
    }
}
