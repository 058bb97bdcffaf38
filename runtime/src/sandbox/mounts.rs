//! The mounts of a container: made while the host is in view, attached to targets that are opened inside the new root.
//!
//! Runs in init, before it pivots. A target is a descriptor, never a path that could be swapped in between; a symbolic
//! link where the engine mounts a file is covered, not followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::plan::{Mount, MountSource};
use super::rootfs::{is_directory, open_in, open_or_make};
use super::source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::mount::{Attributes, set_attributes};

/// `statfs(2)`.
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Makes every mount of the plan as a detached tree, in order. `None` where an optional one cannot be had.
pub fn make_all(mounts: &[Mount]) -> Result<Vec<Option<OwnedFd>>> {
    mounts.iter().map(make).collect()
}

fn make(mount: &Mount) -> Result<Option<OwnedFd>> {
    let made = match &mount.source {
        MountSource::Filesystem { kind, params } => filesystem(kind, params, mount.attributes),
        MountSource::Host { path, recursive } => bind(path, *recursive, mount),
        MountSource::File { content, own } => source::file(content, *own).and_then(|file| flagged(file, mount)),
        MountSource::Tree(tree) => source::tree(tree).and_then(|tree| flagged(tree, mount)),
    };
    match made {
        Ok(fd) => Ok(Some(fd)),
        Err(_) if mount.optional => Ok(None),
        Err(error) => Err(hinted(error.context(format!("mount {}", mount.target)), &mount.source)),
    }
}

fn hinted(error: Error, source: &MountSource) -> Error {
    match source {
        MountSource::Filesystem { kind, .. }
            if error.errno() == Some(libc::EPERM) && (kind == "proc" || kind == "sysfs") =>
        {
            error.hint(format!(
                "the kernel refuses a new {kind} where parts of the existing one are covered, as inside another \
                 container: start that one with `--security-opt systempaths=unconfined` (docker) or \
                 `--security-opt unmask=ALL` (podman)"
            ))
        }
        _ => error,
    }
}

fn filesystem(kind: &str, params: &[(String, Option<String>)], attributes: u64) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).context(|| format!("open {kind}"))?;
    // Shown in /proc/mounts; it can be set once.
    if !params.iter().any(|(name, _)| name == "source") {
        fsconfig_set_string(&context, "source", kind)?;
    }
    for (name, value) in params {
        let set = match value {
            Some(value) => fsconfig_set_string(&context, name.as_str(), value.as_str()),
            None => fsconfig_set_flag(&context, name.as_str()),
        };
        set.context(|| format!("set {name} of {kind}"))?;
    }
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

fn bind(path: &str, recursive: bool, mount: &Mount) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = match rustix::mount::open_tree(CWD, path, flags) {
        Err(Errno::NOENT) => {
            return Err(Error::new(ErrorKind::NotFound, format!("bind source path does not exist: {path}")));
        }
        Err(Errno::INVAL) if !recursive => {
            let message =
                format!("{path} cannot be bound without the mounts below it: they would uncover what they hide");
            return Err(Error::new(ErrorKind::Unsupported, message).hint("leave out bind-recursive=disabled"));
        }
        other => other.context(|| format!("bind {path}"))?,
    };
    flagged(tree, mount)
}

/// Sets the flags that a mount is to have.
fn flagged(tree: OwnedFd, mount: &Mount) -> Result<OwnedFd> {
    for (set, below) in [(mount.attributes, false), (mount.recursive_attributes, true)] {
        if set != 0 {
            let attributes = Attributes { set, ..Attributes::default() };
            set_attributes(tree.as_fd(), attributes, below).context(|| format!("set the flags of {}", mount.target))?;
        }
    }
    Ok(tree)
}

/// Attaches what [`make_all`] made, in order.
pub fn attach_all(root: BorrowedFd<'_>, mounts: &[Mount], made: Vec<Option<OwnedFd>>) -> Result<()> {
    for (mount, tree) in mounts.iter().zip(made) {
        let Some(tree) = tree else { continue };
        attach(root, mount, tree.as_fd()).context(|| format!("mount {}", mount.target))?;
    }
    Ok(())
}

fn attach(root: BorrowedFd<'_>, mount: &Mount, tree: BorrowedFd<'_>) -> Result<()> {
    let directory = is_directory(tree)?;
    let target = if mount.existing {
        match open_in(root, &mount.target, mount.user) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        }
    } else {
        open_or_make(root, &mount.target, directory, mount.user)?
    };
    if mount.user && !mount.target.starts_with("/proc/") && is_proc(target.as_fd())? {
        // What covers it could redirect what is written or masked there.
        let message = format!("in the image {} leads into /proc", mount.target);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if is_directory(target.as_fd())? != directory {
        let (what, there) = if directory { ("a directory", "no directory") } else { ("a file", "a directory") };
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{what} is mounted there, but in the image {} is {there}", mount.target),
        ));
    }
    onto(tree, target.as_fd())?;
    if mount.propagation != 0 {
        let attributes = Attributes { propagation: mount.propagation, ..Attributes::default() };
        set_attributes(tree, attributes, mount.recursive_propagation)?;
    }
    Ok(())
}

/// Makes a directory in the container where it is missing, and keeps it writable when the root is sealed.
pub fn make_volume(root: BorrowedFd<'_>, path: &str, readonly_root: bool) -> Result<()> {
    let make = || -> Result<()> {
        let there = open_or_make(root, path, true, true)?;
        if readonly_root {
            onto(clone_fd(there.as_fd(), false)?.as_fd(), there.as_fd())?;
        }
        Ok(())
    };
    make().context(|| format!("make the image's volume {path}"))
}

fn is_proc(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 == PROC_SUPER_MAGIC)
}

/// Attaches the detached tree at `target`.
pub fn onto(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
}

/// A detached clone of what stands at `path` in `root`, mounts below included; `None` where nothing is.
pub fn clone_of(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>> {
    let there = match open_in(root, path, true) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(Error::from(errno).context(format!("open {path}"))),
    };
    clone_fd(there.as_fd(), true).context(|| format!("clone {path}")).map(Some)
}

/// A detached clone of the entry that `fd` refers to.
pub fn clone_fd(fd: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, "", flags)
}
