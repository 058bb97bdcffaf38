//! Small files that are whole or absent after a crash, locks, and the staging directory.
//!
//! Everything is opened close-on-exec and without following a symlink in the last component. Modes do not depend on
//! the caller's umask.

mod lock;
mod remove;
mod sealed;
mod staging;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

pub use lock::{Lock, LockState};
pub use remove::{remove_at, remove_tree};
pub use sealed::{from_json, mend, seal, seal_bytes, search_byte, to_json, unseal, unseal_bytes};
pub use staging::{RemoveTree, Staging};

use crate::digest::random_hex;
use crate::error::{Context as _, Error, ErrorKind, REPAIR, Result};

const FILE_MODE: Mode = Mode::from_bits_truncate(0o600);
const DIR_MODE: Mode = Mode::from_bits_truncate(0o700);
const TEMPORARY: &str = ".tmp-";

/// Whether a change must have reached the disk when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It has: file and directory were flushed with fsync(2).
    Flushed,
    /// It may be lost in a power cut, but never half there for other processes.
    Relaxed,
}

/// Opens a directory for `…at` calls and fsync(2).
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open {}", path.display()))
}

/// Flushes a directory: names created, renamed or removed in it are then on disk.
pub fn fsync_dir(path: &Path) -> Result<()> {
    rustix::fs::fsync(open_dir(path)?).context(|| format!("flush {}", path.display()))
}

/// Creates a directory with mode 0700. Its parent must exist, itself must not.
pub fn make_dir(path: &Path) -> Result<()> {
    make_dir_mode(path, DIR_MODE)
}

/// Creates a directory with this mode, whatever the umask. Its parent must exist, itself must not.
pub fn make_dir_mode(path: &Path, mode: Mode) -> Result<()> {
    rustix::fs::mkdir(path, mode)
        .and_then(|()| rustix::fs::chmodat(rustix::fs::CWD, path, mode, AtFlags::empty()))
        .context(|| format!("create directory {}", path.display()))
        .map_err(with_way_out)
}

/// Adds what to do where the store cannot be written at all.
pub fn with_way_out(error: Error) -> Error {
    match error.errno() {
        Some(libc::EROFS) => {
            error.hint("the store's file system is read-only: choose another store with --root or LRUN_ROOT")
        }
        Some(libc::ENOSPC | libc::EDQUOT) => {
            error.hint("free space with \"lrun rm\" and \"lrun rmi\", or choose another store with --root or LRUN_ROOT")
        }
        _ => error,
    }
}

/// Creates a directory with mode 0700 unless one is there.
pub fn ensure_dir(path: &Path) -> Result<()> {
    match make_dir(path) {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Replaces or creates a file of mode 0600; readers see the old or the new content, also after a crash.
pub fn write_atomic(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is no file name", path.display())));
    };
    write_atomic_at(&open_dir(parent)?, name, bytes, durability).map_err(|e| in_dir(e, parent))
}

fn in_dir(error: Error, dir: &Path) -> Error {
    error.context(format!("in {}", dir.display()))
}

/// [`write_atomic`] of `name` in an open directory.
pub fn write_atomic_at(dir: impl AsFd, name: &str, bytes: &[u8], durability: Durability) -> Result<()> {
    let dir = dir.as_fd();
    let temporary = format!("{TEMPORARY}{}", random_hex(8)?);
    let written = write_new_at(dir, &temporary, bytes, durability)
        .and_then(|()| rustix::fs::renameat(dir, temporary.as_str(), dir, name).map_err(Error::from));
    if let Err(error) = written {
        // What is left over is swept with the next collection; the first error is the one to report.
        let _ = rustix::fs::unlinkat(dir, temporary.as_str(), AtFlags::empty());
        return Err(with_way_out(error.context(format!("write {name}"))));
    }
    if durability == Durability::Flushed {
        rustix::fs::fsync(dir).context(|| format!("flush the directory of {name}"))?;
    }
    Ok(())
}

/// Creates a file of mode 0600 that must not exist; flushes the file, not its directory.
pub fn write_new_at(dir: impl AsFd, name: &str, bytes: &[u8], durability: Durability) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, FILE_MODE)?);
    rustix::fs::fchmod(&file, FILE_MODE)?;
    file.write_all(bytes)?;
    if durability == Durability::Flushed {
        rustix::fs::fsync(&file)?;
    }
    Ok(())
}

/// Whether a file name is one that [`write_atomic`] uses before it renames.
pub fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(TEMPORARY.as_bytes())
}

/// Reads a regular file of at most `max` bytes.
pub fn read_small(path: &Path, max: usize) -> Result<Vec<u8>> {
    read_small_at(rustix::fs::CWD, path, max).context(|| format!("read {}", path.display()))
}

/// [`read_small`] relative to an open directory; three system calls for a file below 8 KiB.
pub fn read_small_at(dir: impl AsFd, path: &Path, max: usize) -> Result<Vec<u8>> {
    const FIRST: usize = 8192;
    // A FIFO planted under the name must not stall us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::openat(dir, path, flags, Mode::empty())?);
    let mut bytes = vec![0; FIRST];
    let first = file.read(&mut bytes)?;
    bytes.truncate(first);
    if first == FIRST {
        let limit = max as u64 + 1 - (first.min(max) as u64);
        file.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() > max {
        return Err(Error::new(ErrorKind::Corrupt, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Reads a JSON file of the store; content that does not fit is [`ErrorKind::Corrupt`].
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path, max: usize) -> Result<T> {
    let bytes = read_small(path, max)?;
    from_json(bytes).map_err(|error| error.context(format!("{} is damaged", path.display())).hint(REPAIR))
}

/// Names in a directory, without `.` and `..`, unordered; a missing directory is empty.
pub fn list_dir(path: &Path) -> Result<Vec<String>> {
    let dir = match open_dir(path) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let attempt = || format!("list {}", path.display());
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir).context(attempt)? {
        let entry = entry.context(attempt)?;
        // Names that are not UTF-8 are none of ours.
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether something is there, symlinks not followed.
pub fn exists(path: &Path) -> Result<bool> {
    match rustix::fs::lstat(path) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
        Err(error) => Err(Error::from(error).context(format!("look up {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_mode_0600_and_nothing_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (bytes, durability) in [(&b"one"[..], Durability::Flushed), (b"three", Durability::Relaxed)] {
            write_atomic(&path, bytes, durability).unwrap();
            assert_eq!(read_small(&path, 100).unwrap(), bytes);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(list_dir(dir.path()).unwrap(), ["f"]);
        }
        // The target cannot be replaced by a file: the temporary one goes again.
        make_dir(&dir.path().join("d")).unwrap();
        assert!(write_atomic(&dir.path().join("d"), b"x", Durability::Relaxed).is_err());
        assert_eq!(list_dir(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn reading_is_bounded_and_follows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for size in [0, 10, 8191, 8192, 8193, 20_000] {
            let bytes = vec![b'x'; size];
            write_atomic(&path, &bytes, Durability::Relaxed).unwrap();
            assert_eq!(read_small(&path, size).unwrap(), bytes);
            assert_eq!(read_small(&path, 20_000).unwrap(), bytes);
            if size > 0 {
                assert_eq!(read_small(&path, size - 1).unwrap_err().kind(), ErrorKind::Corrupt, "{size}");
            }
        }
        std::os::unix::fs::symlink("f", dir.path().join("link")).unwrap();
        assert_eq!(read_small(&dir.path().join("link"), 20_000).unwrap_err().errno(), Some(libc::ELOOP));
        assert_eq!(read_small(&dir.path().join("gone"), 1).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn directories_are_0700_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        make_dir(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(make_dir(&path).unwrap_err().kind(), ErrorKind::Conflict);
        ensure_dir(&path).unwrap();
        assert_eq!(list_dir(&dir.path().join("gone")).unwrap(), Vec::<String>::new());
        assert!(exists(&path).unwrap() && !exists(&path.join("x")).unwrap());
    }
}
