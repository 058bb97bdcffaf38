//! The container's root: an overlay of the image's layers and the read-write layer, and the way into it.
//!
//! Runs in init, as uid 0 of the container's user namespace, in its own mount namespace, with the host's files in view
//! until [`enter`].

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::plan::Rootfs;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::userns::CONFINED;
use crate::sys::mount::{Attributes, RDONLY, set_attributes};

/// The kernel's limit of lower layers (`OVL_MAX_STACK`).
pub const MOST_LOWERS: usize = 500;

/// Tries to open a path that somebody else keeps changing.
const MOST_TRIES: usize = 1000;

/// Makes the root file system as a detached mount. The current directory becomes the store.
pub fn make_root(store: BorrowedFd<'_>, rootfs: &Rootfs) -> Result<OwnedFd> {
    rustix::process::fchdir(store).context(|| "enter the store")?;
    let Rootfs::Overlay { lowers, upper, work, volatile, seed } = rootfs;
    if let Some(seed) = seed {
        copy_root_attributes(seed, upper).context(|| "prepare the read-write layer")?;
    }
    clear(work).context(|| "clear overlayfs's work directory")?;
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context(|| "open overlayfs")
        .hint(|| "the kernel needs overlayfs: try `modprobe overlay` as root")?;
    // Shown as the source in /proc/mounts.
    fsconfig_set_string(overlay.as_fd(), "source", "overlay")?;
    let configured = configure(overlay.as_fd(), lowers, upper, work, *volatile);
    if let Err(errno) = configured {
        return Err(explain(overlay, errno, lowers.len()));
    }
    fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context(|| "mount the layers")
}

/// Makes a file system of these layers (topmost first, relative to the store) that cannot be written and leaves nothing
/// behind. The current directory becomes the store.
pub fn make_readonly_root(store: BorrowedFd<'_>, lowers: &[String]) -> Result<OwnedFd> {
    rustix::process::fchdir(store).context(|| "enter the store")?;
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open overlayfs")?;
    let configured = set_lowers(overlay.as_fd(), lowers)
        .and_then(|()| fsconfig_set_flag(overlay.as_fd(), "userxattr"))
        .and_then(|()| fsconfig_create(overlay.as_fd()));
    if let Err(errno) = configured {
        return Err(explain(overlay, errno, lowers.len()));
    }
    let readonly = MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, readonly).context(|| "mount the layers")
}

/// An earlier mount leaves things in the work directory: what a killed one was about, and the mark of a volatile one, with
/// which the kernel refuses another. No mount is alive that could miss them: the caller has the container's lock. What a
/// volatile mount wrote is there as long as the machine runs, and a container that has one does not outlive that.
fn clear(work: &str) -> Result<()> {
    match std::fs::remove_dir_all(format!("{work}/work")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Attaches the root over the store, which it hides: any directory serves until the root is pivoted to, since this
/// namespace is ours alone.
pub fn attach_root(root: BorrowedFd<'_>, store: BorrowedFd<'_>) -> Result<()> {
    let both_empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(root, "", store, "", both_empty).context(|| "attach the root file system")
}

/// Makes the root read-only, once everything in it is in its place. Runs inside it.
pub fn seal() -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let readonly = Attributes { set: RDONLY, ..Attributes::default() };
    set_attributes(root.as_fd(), readonly, false).context(|| "make the root file system read-only")
}

fn configure(
    overlay: BorrowedFd<'_>,
    lowers: &[String],
    upper: &str,
    work: &str,
    volatile: bool,
) -> std::result::Result<(), Errno> {
    set_lowers(overlay, lowers)?;
    fsconfig_set_string(overlay, "upperdir", upper)?;
    fsconfig_set_string(overlay, "workdir", work)?;
    fsconfig_set_flag(overlay, "userxattr")?;
    if volatile {
        fsconfig_set_flag(overlay, "volatile")?;
    }
    fsconfig_create(overlay)
}

fn set_lowers(overlay: BorrowedFd<'_>, lowers: &[String]) -> std::result::Result<(), Errno> {
    for (n, lower) in lowers.iter().enumerate() {
        match fsconfig_set_string(overlay, "lowerdir+", lower.as_str()) {
            // Before Linux 6.5 there is one string for all.
            Err(Errno::INVAL) if n == 0 => {
                fsconfig_set_string(overlay, "lowerdir", lowers.join(":").as_str())?;
                break;
            }
            other => other?,
        }
    }
    Ok(())
}

/// The kernel's own words about a refused overlay stand in the file system context's log.
fn explain(overlay: OwnedFd, errno: Errno, layers: usize) -> Error {
    let mut log = [0u8; 512];
    let mut file = std::fs::File::from(overlay);
    let said = file.read(&mut log).map(|n| String::from_utf8_lossy(&log[..n]).trim().to_owned()).unwrap_or_default();
    let error = Error::from(errno).context("mount the layers");
    let error = if said.is_empty() { error } else { error.context(format!("overlayfs says \"{said}\"")) };
    if layers > MOST_LOWERS {
        return error.hint("an image can have 498 layers: merge some with `lrun commit --squash`");
    }
    error.hint("`lrun info` shows whether the store's file system can hold an overlay; $LRUN_ROOT moves the store")
}

fn open_directory(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// The upper directory is what the container sees as `/`: it starts as a copy of the topmost lower root's attributes.
fn copy_root_attributes(from: &str, to: &str) -> Result<()> {
    let (from, to) = (open_directory(from)?, open_directory(to)?);
    let stat = rustix::fs::fstat(&from)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from.as_fd(), to.as_fd())?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    rustix::fs::futimens(&to, &times)?;
    Ok(())
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut names = vec![0u8; 4096];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty() && !n.starts_with(b"user.overlay.")) {
        let mut value = vec![0u8; 65536];
        let size = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty())?;
    }
    Ok(())
}

/// Resolves `path` inside `root` as the container would, never leaving it. The last component is not followed unless
/// `follow`.
pub fn open_in(root: BorrowedFd<'_>, path: &str, follow: bool) -> rustix::io::Result<OwnedFd> {
    open_as(root, path, OFlags::PATH | if follow { OFlags::empty() } else { OFlags::NOFOLLOW })
}

/// The same with these flags. Links that the kernel makes up (`/proc/self/fd/3`) are never followed: they could lead to
/// what lrun itself has open.
pub fn open_as(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let attempt = || rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    // The kernel cannot tell whether a `..` stayed inside while somebody renames things.
    let tries = (0..MOST_TRIES).map(|_| attempt()).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
    tries.unwrap_or(Err(Errno::AGAIN))
}

/// Whether the entry that `fd` refers to is a directory.
pub fn is_directory(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens `path` inside `root`, making it and the directories above it where they are missing: an empty file, or a
/// directory. Mode 0755 and 0644, owner 0. Links are followed as the container would, also to what is not there yet; the
/// last component's only with `follow`.
pub fn open_or_make(root: BorrowedFd<'_>, path: &str, directory: bool, follow: bool) -> Result<OwnedFd> {
    open_or_make_by(root, path, follow, &mut |parent, name, last| Ok(make(parent, name, !last || directory)?))
}

/// The same, and what is missing is made by `make`: the directory that it is to be in, its name, and whether it is the last
/// one. `EEXIST` from it is no error: another made the entry, and that one is opened.
pub fn open_or_make_by(
    root: BorrowedFd<'_>,
    path: &str,
    follow: bool,
    make: &mut dyn FnMut(BorrowedFd<'_>, &str, bool) -> Result<()>,
) -> Result<OwnedFd> {
    match open_in(root, path, follow) {
        Err(Errno::NOENT) => {}
        other => return other.context(|| format!("open {path} in the container")),
    }
    let top = || open_in(root, "/", true).context(|| format!("open {path} in the container"));
    // The directories that lead to where the walk is; what is left to walk, next one last.
    let mut above = vec![top()?];
    let mut rest: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let last = rest.is_empty();
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                above.truncate(above.len().max(2) - 1);
                continue;
            }
            _ => {}
        }
        let parent = above.last().ok_or_else(|| Error::from(Errno::NOENT))?;
        let here = step(parent.as_fd(), &name, last, make).context(|| format!("make {name} of {path}"))?;
        let link = if follow || !last { link_target(here.as_fd())? } else { None };
        let Some(target) = link else {
            above.push(here);
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(Error::from(Errno::LOOP).context(format!("open {path} in the container")));
        }
        if target.starts_with('/') {
            above = vec![top()?];
        }
        rest.extend(target.rsplit('/').map(str::to_owned));
    }
    above.pop().ok_or_else(|| Error::from(Errno::NOENT))
}

/// Links on the way to one path; `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// The entry called `name`, made where it is missing.
fn step(
    parent: BorrowedFd<'_>,
    name: &str,
    last: bool,
    make: &mut dyn FnMut(BorrowedFd<'_>, &str, bool) -> Result<()>,
) -> Result<OwnedFd> {
    let open = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    };
    match open() {
        Err(Errno::NOENT) => match make(parent, name, last) {
            Err(error) if error.errno() != Some(libc::EEXIST) => Err(error),
            _ => Ok(open()?),
        },
        other => Ok(other?),
    }
}

/// Where a symbolic link leads; `None` for anything else.
fn link_target(fd: BorrowedFd<'_>) -> Result<Option<String>> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = rustix::fs::readlinkat(fd, "", Vec::new())?;
    let text = target.into_string().map_err(|_| Error::new(ErrorKind::Invalid, "a link's target is not UTF-8"))?;
    Ok(Some(text))
}

fn make(parent: BorrowedFd<'_>, name: &str, directory: bool) -> rustix::io::Result<()> {
    if directory {
        return rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Makes `root` the root of the mount namespace and lets go of everything else.
pub fn enter(root: OwnedFd) -> Result<()> {
    rustix::process::fchdir(&root).context(|| "enter the root file system")?;
    rustix::process::pivot_root(".", ".").context(|| "pivot into the root file system").hint(|| CONFINED)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context(|| "leave the host's mounts")?;
    rustix::process::chdir("/").context(|| "enter the root file system")?;
    Ok(())
}
