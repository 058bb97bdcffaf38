//! Mounts of what is neither a new file system nor a path of the host: a file in memory, a path in trees of the store.
//!
//! Runs in init, with the host in view and the store as its current directory. A container may have made what is in the
//! trees: a path is resolved in them as in a root, and nothing leads out.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::hidden::{PLACE, memory};
use super::mounts::clone_fd;
use super::plan::{Content, Own, Rootfs, Tree};
use super::rootfs::{make_readonly_root, make_root, open_in};
use crate::error::{Context, Error, ErrorKind, Result};

/// A file in memory as a detached mount.
pub fn file(content: &Content, own: Own) -> Result<OwnedFd> {
    let memory = memory()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&memory, "file", flags, Mode::from_raw_mode(0o600)).context(|| "make a file")?;
    File::from(made).write_all(&content.0).context(|| "write a file in memory")?;
    attached(memory, |memory| {
        let file = open_in(memory, "/file", false).context(|| "open a file in memory")?;
        owned(file.as_fd(), own)?;
        Ok(clone_fd(file.as_fd(), false)?)
    })
}

/// A path in trees of the store as a detached mount.
pub fn tree(tree: &Tree) -> Result<OwnedFd> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = |path: &str| {
        rustix::fs::open(path, directory | OFlags::NOFOLLOW, Mode::empty()).context(|| format!("open {path}"))
    };
    let find = |root: BorrowedFd<'_>| {
        let found = found(root, &tree.path)?;
        tree.own.map_or(Ok(()), |own| owned(found.as_fd(), own))?;
        Ok(clone_fd(found.as_fd(), false)?)
    };
    match (tree.lowers.as_slice(), &tree.scratch) {
        ([only], None) => find(opened(only)?.as_fd()),
        (lowers, None) => attached(make_readonly_root(opened(".")?.as_fd(), lowers)?, find),
        (lowers, Some((upper, work))) => {
            let (upper, work) = (upper.clone(), work.clone());
            let rootfs =
                Rootfs::Overlay { seed: lowers.first().cloned(), lowers: lowers.to_vec(), upper, work, volatile: true };
            attached(make_root(opened(".")?.as_fd(), &rootfs)?, find)
        }
    }
}

fn found(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    let path = if path.is_empty() { "/" } else { path };
    match open_in(root, path, true) {
        Err(Errno::NOENT | Errno::NOTDIR) => {
            Err(Error::new(ErrorKind::NotFound, format!("the source {path} does not exist")))
        }
        opened => opened.context(|| format!("open the source {path}")),
    }
}

/// Attaches a detached file system for as long as `work` lasts: before Linux 6.15 the kernel clones no part of one that is
/// not attached.
fn attached(tree: OwnedFd, work: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd>) -> Result<OwnedFd> {
    rustix::mount::move_mount(&tree, "", CWD, PLACE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .context(|| "attach a mount's source")?;
    let made = work(tree.as_fd());
    let detached = rustix::mount::unmount(PLACE, UnmountFlags::DETACH).context(|| "detach a mount's source");
    let made = made?;
    detached.map(|()| made)
}

/// `file` is open as a path only.
fn owned(file: BorrowedFd<'_>, own: Own) -> Result<()> {
    if let Some((uid, gid)) = own.owner {
        rustix::fs::chownat(file, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
            .context(|| format!("give a mount to {uid}:{gid}"))?;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(own.mode & 0o7777)).context(|| "set the mode of a mount")
}
