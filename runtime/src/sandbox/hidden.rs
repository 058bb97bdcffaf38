//! Mount points of the engine's that an image hides, by a whiteout or an opaque directory, and those of mounts that leave no
//! trace.
//!
//! The engine's are usually at the bottom of the stack, where the image's own entries win. Where the image has none and
//! hides those, they must not be made in the read-write layer, whose content is what the user did. So a layer in memory goes
//! between it and the image. The kernel makes it: as the read-write layer of a throw-away overlay it gets, by copying up,
//! the directories above the mount points as they are.
//!
//! Runs in init, before it pivots, with the store as its current directory. Few containers need it, and only those pay.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::plan::{Mount, Rootfs};
use super::rootfs::{MOST_LOWERS, is_directory, make_root, open_in, open_or_make};
use crate::error::{Context, Result};

/// A directory of the store where a file system can be attached for a while: no layer is in it and no mount's source, and
/// this mount namespace is ours alone.
pub const PLACE: &str = "images";

/// A mount point that is not to be made in the read-write layer.
#[derive(Debug)]
pub struct Hidden<'a> {
    target: &'a str,
    directory: bool,
    /// A link at its place is followed.
    follow: bool,
}

/// Such mount points that `root` does not have. `made` are the mounts, as detached trees.
pub fn find<'a>(root: BorrowedFd<'_>, mounts: &'a [Mount], made: &[Option<OwnedFd>]) -> Result<Vec<Hidden<'a>>> {
    let mut hidden = Vec::new();
    for (mount, tree) in mounts.iter().zip(made) {
        let wanted = (!mount.user || mount.traceless) && !mount.existing;
        let Some(tree) = tree.as_ref().filter(|_| wanted) else { continue };
        let below = |other: &Mount| mount.target.strip_prefix(&other.target).is_some_and(|rest| rest.starts_with('/'));
        let missing = || matches!(open_in(root, &mount.target, mount.user), Err(rustix::io::Errno::NOENT));
        if !mounts.iter().any(below) && missing() {
            let (target, directory) = (mount.target.as_str(), is_directory(tree.as_fd())?);
            hidden.push(Hidden { target, directory, follow: mount.user });
        }
    }
    Ok(hidden)
}

/// The root with a layer that has these mount points.
pub fn root_with(hidden: &[Hidden<'_>], store: BorrowedFd<'_>, rootfs: &Rootfs) -> Result<OwnedFd> {
    let Rootfs::Overlay { lowers, upper, work, volatile, seed } = rootfs;
    let memory = memory()?;
    let attach = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(memory.as_fd(), "", CWD, PLACE, attach).context(|| "attach a layer in memory")?;
    let [layer, scratch] = ["layer", "work"].map(|name| format!("{PLACE}/{name}"));
    for directory in [&layer, &scratch] {
        rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)).context(|| format!("make {directory}"))?;
    }
    let throw_away =
        Rootfs::Overlay { lowers: lowers.clone(), upper: layer.clone(), work: scratch, volatile: false, seed: None };
    let image = make_root(store, &throw_away)?;
    for point in hidden {
        make(image.as_fd(), point).context(|| format!("make the mount point {}", point.target))?;
    }
    drop(image);
    let mut lowers = lowers.clone();
    lowers.insert(0, layer);
    let (upper, work) = (upper.clone(), work.clone());
    make_root(store, &Rootfs::Overlay { lowers, upper, work, volatile: *volatile, seed: seed.clone() })
}

/// Whether the kernel can stack one layer more.
pub fn fits(rootfs: &Rootfs) -> bool {
    let Rootfs::Overlay { lowers, .. } = rootfs;
    lowers.len() < MOST_LOWERS
}

/// A new file system in memory, as a detached mount.
pub fn memory() -> Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open tmpfs")?;
    fsconfig_set_string(&context, "mode", "755")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Makes the mount point; the directory that it is made in keeps its times.
fn make(image: BorrowedFd<'_>, point: &Hidden<'_>) -> Result<()> {
    let above = nearest(image, point.target)?;
    let stat = rustix::fs::fstat(&above)?;
    open_or_make(image, point.target, point.directory, point.follow)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    Ok(rustix::fs::futimens(&above, &times)?)
}

/// The nearest directory above a path that exists.
fn nearest(image: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    let mut above = path;
    loop {
        above = above.rsplit_once('/').map_or("", |(above, _)| above);
        let at = if above.is_empty() { "/" } else { above };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(image, at, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT) if !above.is_empty() => {}
            other => return other.context(|| format!("open {at} in the image")),
        }
    }
}
