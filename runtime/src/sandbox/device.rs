//! `/dev`, and the paths of `/proc` and `/sys` that a container may not read or write.
//!
//! Runs in init, before it pivots. Unprivileged user namespaces cannot make device nodes, so the host's are bound, each
//! checked by its number through the descriptor that is then mounted: a fake `/dev/null` never becomes a mask. The binds
//! are read-only, which leaves the device itself writable but not the host's node: a container whose root is the host's
//! could else change its mode.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::mounts::{clone_fd, clone_of, onto};
use super::plan::Device;
use super::rootfs::{is_directory, open_in, open_or_make};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::mount::{Attributes, NODEV, NOEXEC, NOSUID, RDONLY, set_attributes};

/// The number of `/dev/null`.
const NULL: (u32, u32) = (1, 3);

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The usual links of `/dev`. `dev` is the fresh file system mounted there.
pub fn make_links(root: BorrowedFd<'_>) -> Result<()> {
    let dev = open_in(root, "/dev", false).context(|| "open /dev")?;
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::from(errno).context(format!("make /dev/{name}"))),
        }
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        let _ = rustix::fs::symlinkat("/proc/kcore", &dev, "core");
    }
    Ok(())
}

/// Opens a node of the host and checks that it is the device it should be.
fn open_node(device: &Device) -> Result<OwnedFd> {
    let fd = rustix::fs::openat(CWD, device.host.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open device {}", device.host))?;
    let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let fits = match device.number {
        Some(expected) => kind == FileType::CharacterDevice && number == expected,
        None => matches!(kind, FileType::CharacterDevice | FileType::BlockDevice),
    };
    if !fits {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is not the device it should be", device.host)));
    }
    Ok(fd)
}

/// Binds every device. The user's own must exist.
pub fn bind_all(root: BorrowedFd<'_>, devices: &[Device]) -> Result<()> {
    for device in devices {
        let node = match open_node(device) {
            Err(error) if device.optional && error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        bind(root, node.as_fd(), &device.target).context(|| format!("show device {}", device.target))?;
    }
    Ok(())
}

/// Shows the device behind `fd` at `target`, which is made.
pub fn bind(root: BorrowedFd<'_>, fd: BorrowedFd<'_>, target: &str) -> Result<()> {
    let place = open_or_make(root, target, false, false)?;
    cover(fd, place.as_fd())
}

fn cover(device: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<()> {
    Ok(onto(read_only(device)?.as_fd(), place)?)
}

/// The device on a detached read-only mount.
fn read_only(device: BorrowedFd<'_>) -> Result<OwnedFd> {
    let tree = clone_fd(device, false)?;
    let attributes = Attributes { set: NOSUID | NOEXEC | RDONLY, ..Attributes::default() };
    set_attributes(tree.as_fd(), attributes, false)?;
    Ok(tree)
}

/// The host's `/dev/null` on a detached read-only mount, as a path descriptor.
pub fn null() -> Result<OwnedFd> {
    read_only(open_null()?.as_fd())
}

fn open_null() -> Result<OwnedFd> {
    let (host, target) = ("/dev/null".to_owned(), String::new());
    open_node(&Device { host, target, number: Some(NULL), optional: false })
}

/// Whether this is the null device.
pub fn is_null(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && number == NULL)
}

/// Standard streams that are the null device, opened on the host, become the container's `/dev/null`, so that their names
/// lead where they should. It must be lrun's own, on its read-only mount: in a container that could put something else
/// there the streams stay as they are. Runs inside the container's root.
pub fn adopt_null() -> Result<()> {
    for (number, stream) in
        [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()].iter().enumerate()
    {
        if !is_null(*stream)? {
            continue;
        }
        let access = rustix::fs::fcntl_getfl(stream)? & OFlags::RWMODE;
        let careful = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
        let Ok(own) = rustix::fs::open("/dev/null", access | careful, Mode::empty()) else { continue };
        let read_only = rustix::fs::fstatvfs(&own)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        if read_only && is_null(own.as_fd())? {
            rustix::fs::fcntl_setfl(&own, access)?;
            crate::sys::fd::place(own.as_fd(), number as i32)?;
        }
    }
    Ok(())
}

/// Hides every masked path that exists: directories below an empty read-only one, everything else below `/dev/null`.
pub fn mask_all(root: BorrowedFd<'_>, paths: &[String]) -> Result<()> {
    let null = open_null()?;
    let mut empty = None;
    for pattern in paths {
        for path in expand(root, pattern) {
            mask(root, &path, null.as_fd(), &mut empty).context(|| format!("mask {path}"))?;
        }
    }
    Ok(())
}

fn mask(root: BorrowedFd<'_>, path: &str, null: BorrowedFd<'_>, empty: &mut Option<OwnedFd>) -> Result<()> {
    let target = match open_in(root, path, true) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    if !is_directory(target.as_fd())? {
        return cover(null, target.as_fd());
    }
    let tree = match empty {
        // One instance serves all: each place gets a clone of its mount.
        Some(first) => clone_fd(first.as_fd(), false)?,
        None => empty_directory()?,
    };
    onto(tree.as_fd(), target.as_fd())?;
    empty.get_or_insert(tree);
    Ok(())
}

fn empty_directory() -> Result<OwnedFd> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "size", "0")?;
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::from_bits_retain((RDONLY | NOSUID | NODEV | NOEXEC) as u32);
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// A pattern's matches: one component may hold one `*`.
fn expand(root: BorrowedFd<'_>, pattern: &str) -> Vec<String> {
    let Some(star) = pattern.find('*') else { return vec![pattern.to_owned()] };
    let start = pattern[..star].rfind('/').map_or(0, |slash| slash + 1);
    let end = pattern[star..].find('/').map_or(pattern.len(), |slash| star + slash);
    let (directory, prefix, suffix, rest) =
        (&pattern[..start], &pattern[start..star], &pattern[star + 1..end], &pattern[end..]);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let Ok(fd) = rustix::fs::openat2(root, directory, flags, Mode::empty(), resolve) else { return Vec::new() };
    let Ok(entries) = rustix::fs::Dir::new(fd) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
            let middle = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let wanted = middle.bytes().all(|b| b.is_ascii_digit()) && !middle.is_empty();
            wanted.then(|| format!("{directory}{name}{rest}"))
        })
        .collect()
}

/// Makes every path read-only that exists, with what is mounted below it.
pub fn make_readonly(root: BorrowedFd<'_>, paths: &[String]) -> Result<()> {
    for path in paths {
        let Some(tree) = clone_of(root, path)? else { continue };
        let attributes = Attributes { set: RDONLY, ..Attributes::default() };
        set_attributes(tree.as_fd(), attributes, true).context(|| format!("make {path} read-only"))?;
        let target = open_in(root, path, true).context(|| format!("open {path}"))?;
        onto(tree.as_fd(), target.as_fd()).context(|| format!("make {path} read-only"))?;
    }
    Ok(())
}
