//! A read-write layer is copied as it is, overlayfs's marks included: for the commit of a container that goes on running.
//!
//! Runs in the storage helper, on descriptors. Blocks are shared where the file system can, else copied in the kernel.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, XattrFlags, copy_file_range, fchmod, fchown, fsetxattr, fstat,
    ftruncate, futimens, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::attributes::{self, timestamps};
use super::tar::{Time, shown};
use super::tree::{Step, Walk, open};
use crate::error::{Context, Error, ErrorKind, Result};

/// The mark of an opaque directory; see [`attributes`].
const OPAQUE: &str = "user.overlay.opaque";
/// Files up to this many bytes are read at once.
const SMALL: u64 = 64 << 10;
/// Directories above the current one that stay open, as in [`super::tree`].
const OPEN: usize = 64;

/// Copies the tree `from/name` to `to/name`, which must not exist. Sockets are left out. [`ErrorKind::NotFound`]:
/// something was removed meanwhile.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let source = open(from, name, OFlags::DIRECTORY).context(|| "open the tree to copy")?;
    mkdirat(to, name, Mode::from_raw_mode(0o700)).context(|| "make the copy")?;
    let root = open(to, name, OFlags::DIRECTORY)?;
    let mut copy = Copy {
        root: root.try_clone()?,
        stack: vec![Some(root)],
        links: HashMap::new(),
        reader: attributes::Reader::new(),
    };
    let mut walk = Walk::new(source.as_fd())?;
    while let Some(step) = walk.next()? {
        match step {
            Step::Enter { path: b"", .. } => {}
            Step::Enter { path, .. } => copy.enter(path).context(|| format!("copy {}", shown(path)))?,
            Step::Item { directory, name, kind, path } => {
                copy.item(directory, name, kind, path).context(|| format!("copy {}", shown(path)))?;
            }
            Step::Leave { directory } => copy.leave(directory)?,
        }
    }
    Ok(())
}

struct Copy {
    root: OwnedFd,
    /// The copies of the directories on the way; those far up are closed.
    stack: Vec<Option<OwnedFd>>,
    /// Where files with several names were copied to first.
    links: HashMap<(u64, u64), Vec<u8>>,
    reader: attributes::Reader,
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "a directory was closed while it was written")
}

impl Copy {
    fn here(&self) -> Result<BorrowedFd<'_>> {
        self.stack.last().and_then(|fd| fd.as_ref()).map(AsFd::as_fd).ok_or_else(lost)
    }

    fn enter(&mut self, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = CString::new(name).map_err(|_| lost())?;
        let here = self.here()?;
        mkdirat(here, &name, Mode::from_raw_mode(0o700))?;
        let made = open(here, &name, OFlags::DIRECTORY)?;
        self.stack.push(Some(made));
        if let Some(far) = self.stack.len().checked_sub(OPEN).and_then(|far| self.stack.get_mut(far)) {
            *far = None;
        }
        Ok(())
    }

    fn leave(&mut self, directory: BorrowedFd<'_>) -> Result<()> {
        let made = self.stack.pop().flatten().ok_or_else(lost)?;
        if let Some(parent) = self.stack.last_mut().filter(|parent| parent.is_none()) {
            *parent = Some(open(made.as_fd(), c"..", OFlags::DIRECTORY)?);
        }
        let opaque = self.attributes(directory, made.as_fd())?;
        if opaque {
            fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty())?;
        }
        futimens(&made, &timestamps(time(&fstat(directory)?)))?;
        Ok(())
    }

    /// Owner, extended attributes and mode; whether the source is an opaque directory.
    fn attributes(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
        let stat = fstat(from)?;
        fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        let found = self.reader.read(from)?;
        for (name, value) in &found.xattrs {
            fsetxattr(to, name.as_slice(), value, XattrFlags::empty())?;
        }
        fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        Ok(found.opaque)
    }

    fn item(&mut self, directory: BorrowedFd<'_>, name: &CStr, kind: FileType, path: &[u8]) -> Result<()> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kind {
            FileType::Socket => Ok(()),
            FileType::RegularFile => self.file(directory, name, path),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())?;
                symlinkat(&target, self.here()?, name)?;
                self.owner_and_time(name, &stat)
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(self.here()?, name, kind, mode, stat.st_rdev)?;
                self.owner_and_time(name, &stat)
            }
        }
    }

    fn owner_and_time(&self, name: &CStr, stat: &Stat) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let here = self.here()?;
        rustix::fs::chownat(here, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        utimensat(here, name, &timestamps(time(stat)), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        let source = open(directory, name, OFlags::empty())?;
        let stat = fstat(&source)?;
        if stat.st_nlink > 1 {
            let first = self.links.get(&(stat.st_dev, stat.st_ino));
            if let Some(first) = first
                && linkat(&self.root, first.as_slice(), self.here()?, name, AtFlags::empty()).is_ok()
            {
                return Ok(());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let made = openat(self.here()?, name, flags, Mode::from_raw_mode(0o600))?;
        content(source.as_fd(), made.as_fd(), stat.st_size as u64)?;
        self.attributes(source.as_fd(), made.as_fd())?;
        futimens(&made, &timestamps(time(&stat)))?;
        Ok(())
    }
}

fn time(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

/// Shares the blocks, or copies what is not a hole. Of a small file that is written meanwhile the copy is what one read
/// gave, never zeros where it was shorter for a moment.
fn content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    if size <= SMALL {
        let mut bytes = Vec::new();
        let mut source = std::fs::File::from(from.try_clone_to_owned()?);
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut source, SMALL), &mut bytes)?;
        std::io::Write::write_all(&mut std::fs::File::from(to.try_clone_to_owned()?), &bytes)?;
        return Ok(());
    }
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = match seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(_) => size,
        };
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
    let (mut read, mut write) = (start, start);
    while read < end {
        let most = usize::try_from(end - read).unwrap_or(usize::MAX);
        if copy_file_range(from, Some(&mut read), to, Some(&mut write), most)? == 0 {
            // A file that became shorter meanwhile is as short in the copy.
            return Ok(ftruncate(to, write)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_links_holes_marks_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from/diff");
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(dir.path().join("to")).unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
        std::os::unix::fs::symlink("../nowhere", from.join("link")).unwrap();
        let sparse = std::fs::File::create(from.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"end", 10 << 20).unwrap();
        std::fs::set_permissions(from.join("sub"), std::fs::Permissions::from_mode(0o1731)).unwrap();
        let opened = std::fs::File::open(from.join("sub")).unwrap();
        fsetxattr(&opened, OPAQUE, b"y", XattrFlags::empty()).unwrap();
        futimens(&opened, &timestamps(Time { secs: 77, nanos: 5 })).unwrap();

        let fd = |path: &str| std::fs::File::open(dir.path().join(path)).unwrap();
        copy_tree(fd("from").as_fd(), fd("to").as_fd(), c"diff").unwrap();
        let to = dir.path().join("to/diff");
        assert_eq!(std::fs::read_to_string(to.join("sub/file")).unwrap(), "content");
        assert_eq!(to.join("again").metadata().unwrap().ino(), to.join("sub/file").metadata().unwrap().ino());
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), std::path::Path::new("../nowhere"));
        let (a, b) = (std::fs::read(from.join("sparse")).unwrap(), std::fs::read(to.join("sparse")).unwrap());
        assert!(a == b && to.join("sparse").metadata().unwrap().blocks() < 1000);
        let sub = to.join("sub").metadata().unwrap();
        assert_eq!((sub.mode() & 0o7777, sub.mtime(), sub.mtime_nsec()), (0o1731, 77, 5));
        assert!(attributes::Reader::new().read(fd("to/diff/sub").as_fd()).unwrap().opaque);
    }
}
