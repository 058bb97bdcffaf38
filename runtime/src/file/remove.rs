//! Deleting trees that hostile hands made: of any depth and width, with few descriptors and little memory, following
//! nothing. Beside another process that deletes the same tree, too.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, chmod, openat, seek, statat, unlinkat};
use rustix::io::Errno;

use crate::error::{Context as _, Error, ErrorKind, Result};

/// Directories above the current one that stay open; those further up are opened again by `..`.
const OPEN: usize = 64;
/// Directories whose names are kept before they are gone into.
const BATCH: usize = 1024;
const BUFFER: usize = 32 << 10;
/// How often something may appear in an emptied directory.
const ATTEMPTS: u32 = 100;

/// Deletes the tree at `path`, itself included. What is gone already counts as deleted.
pub fn remove_tree(path: &Path) -> Result<()> {
    let attempt = || format!("delete {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::Invalid, "not a name in a directory").context(attempt()));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = match super::open_dir(parent) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(()),
        other => other.context(attempt)?,
    };
    remove_at(parent.as_fd(), name).context(attempt)
}

/// [`remove_tree`] of `name` in an open directory.
pub fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let name = CString::new(name.as_bytes()).map_err(|_| Error::new(ErrorKind::Invalid, "a name with a NUL byte"))?;
    match unlinkat(parent, &*name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory; what else these mean shows in the next step.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut refilled = 0;
    loop {
        match remove_directory(parent, &name)? {
            Outcome::Gone => return Ok(()),
            Outcome::Overtaken => {}
            Outcome::Refilled if refilled < ATTEMPTS => refilled += 1,
            Outcome::Refilled => {
                return Err(Error::new(ErrorKind::Conflict, "something is made in the directory while it is deleted"));
            }
        }
    }
}

/// Opens a directory whose mode does not allow it, if it is the caller's own.
fn open_denied(parent: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(parent, name, path, Mode::empty())?;
    // By descriptor: whatever has its name now keeps its mode.
    chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU).map_err(|_| Errno::ACCESS)?;
    openat(&found, c".", flags, Mode::empty())
}

/// How an attempt ended.
enum Outcome {
    /// Nothing is left.
    Gone,
    /// Somebody else deleted the directory that was being emptied: begin again with what is left.
    Overtaken,
    /// Something appeared in a directory that was empty.
    Refilled,
}

/// A directory that is being emptied.
struct Level {
    /// Its name in the one above.
    name: CString,
    /// Closed where the tree is deep.
    fd: Option<OwnedFd>,
    /// Directories in it that are not empty yet.
    inner: Vec<CString>,
}

impl Level {
    fn open(parent: BorrowedFd<'_>, name: CString) -> rustix::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(parent, &*name, flags, Mode::empty()) {
            // Its owner may let himself in: overlayfs's own work directories have no mode at all.
            Err(Errno::ACCESS) => open_denied(parent, &name, flags)?,
            opened => opened?,
        };
        Ok(Self { name, fd: Some(fd), inner: Vec::new() })
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::new(ErrorKind::Io, "a directory was closed"))
    }

    /// Deletes what is no directory, and notes directories; whether there was anything.
    fn scan(&mut self) -> Result<bool> {
        let Some(fd) = &self.fd else { return Ok(false) };
        seek(fd, SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut reader = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut found = false;
        while let Some(entry) = reader.next() {
            let entry = match entry {
                // The directory itself is gone.
                Err(Errno::NOENT) => break,
                other => other?,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match unlink(fd.as_fd(), name, entry.file_type())? {
                Unlinked::Done => found = true,
                Unlinked::Gone => {}
                Unlinked::Directory => self.inner.push(name.to_owned()),
            }
            if self.inner.len() == BATCH {
                break;
            }
        }
        Ok(found || !self.inner.is_empty())
    }
}

enum Unlinked {
    Done,
    Gone,
    Directory,
}

fn unlink(directory: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<Unlinked> {
    if kind == FileType::Directory {
        return Ok(Unlinked::Directory);
    }
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(Unlinked::Done),
        Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Unlinked::Directory),
            Err(Errno::NOENT) => Ok(Unlinked::Gone),
            _ => Err(errno.into()),
        },
        Err(errno) => Err(errno.into()),
    }
}

fn remove_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<Outcome> {
    let mut stack: Vec<Level> = Vec::new();
    match Level::open(parent, name.to_owned()) {
        Ok(level) => stack.push(level),
        Err(Errno::NOENT) => return Ok(Outcome::Gone),
        Err(errno) => return Err(errno.into()),
    }
    while let Some(level) = stack.last_mut() {
        if let Some(inner) = level.inner.pop() {
            if let Some(inner) = enter(level.fd()?, inner)? {
                stack.push(inner);
                if let Some(far) = stack.len().checked_sub(OPEN).and_then(|far| stack.get_mut(far)) {
                    far.fd = None;
                }
            }
            continue;
        }
        if level.scan()? {
            continue;
        }
        let Some(emptied) = stack.pop() else { break };
        let above = match stack.last_mut() {
            Some(above) => {
                if above.fd.is_none() {
                    above.fd = match openat(emptied.fd()?, c"..", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                        Ok(fd) => Some(fd),
                        Err(Errno::NOENT) => return Ok(Outcome::Overtaken),
                        Err(errno) => return Err(errno.into()),
                    };
                }
                above.fd()?
            }
            None => parent,
        };
        match unlinkat(above, &*emptied.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Outcome::Refilled),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Outcome::Gone)
}

/// An inner directory, opened; `None` where it was empty or is gone.
fn enter(directory: BorrowedFd<'_>, name: CString) -> Result<Option<Level>> {
    match unlinkat(directory, &*name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    match Level::open(directory, name) {
        Ok(level) => Ok(Some(level)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn trees_go_and_nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("alive"), "1").unwrap();
        let tree = dir.path().join("tree");
        for path in ["a/b/c", "d", "e/f"] {
            fs::create_dir_all(tree.join(path)).unwrap();
            fs::write(tree.join(path).join("file"), "1").unwrap();
            symlink("../../../canary", tree.join(path).join("link")).unwrap();
        }
        fs::set_permissions(tree.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o0)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, tree.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        for path in ["tree", "tree/below", "nowhere/x"] {
            remove_tree(&dir.path().join(path)).unwrap();
        }
        symlink("canary", dir.path().join("link")).unwrap();
        remove_tree(&dir.path().join("link")).unwrap();
        fs::write(dir.path().join("file"), "1").unwrap();
        remove_tree(&dir.path().join("file")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(canary.join("alive")).unwrap(), "1");
        assert_eq!(remove_tree(Path::new("/")).unwrap_err().kind(), ErrorKind::Invalid);
    }

    /// Deeper than descriptors and paths reach, and wider than a batch.
    #[test]
    fn depth_and_width_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut here = super::super::open_dir(&tree).unwrap();
        for n in 0..1500 {
            mkdirat(&here, "deep", Mode::RWXU).unwrap();
            if n % 500 == 0 {
                drop(openat(&here, "file", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap());
            }
            here = openat(&here, "deep", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        for n in 0..BATCH + 100 {
            fs::create_dir_all(tree.join("wide").join(n.to_string()).join("x")).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn many_may_delete_the_same_tree_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for _ in 0..5 {
            for n in 0..5 {
                fs::create_dir_all(tree.join(n.to_string()).join("d/".repeat(100))).unwrap();
                fs::write(tree.join(n.to_string()).join("file"), "1").unwrap();
            }
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| remove_tree(&tree).unwrap());
                }
            });
            assert!(!tree.exists());
        }
    }

    #[test]
    fn what_may_not_be_deleted_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let locked = dir.path().join("tree/locked");
        fs::create_dir_all(locked.join("x")).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
        let outcome = remove_tree(&dir.path().join("tree"));
        // Modes do not hold root.
        if !rustix::process::geteuid().is_root() {
            let error = outcome.unwrap_err();
            assert_eq!(error.errno(), Some(libc::EACCES));
            assert!(error.to_string().starts_with("delete /"), "{error}");
            fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}
