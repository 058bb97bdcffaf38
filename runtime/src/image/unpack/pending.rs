//! The directories that grow, and what each of them gets once everything is in it.
//!
//! Their number is the archive's, the memory for them is not: beyond a limit all get what is due to them, and one that
//! an entry comes to later is taken up again from the disk, which knows its attributes.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    Mode, OFlags, XattrFlags, fchmod, fchown, fgetxattr, fremovexattr, fsetxattr, fstat, futimens, openat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::tree::DIRECTORY;
use crate::error::Result;
use crate::image::attributes::timestamps;
use crate::image::tar::{Time, join};

/// How directories are made; their true mode comes last, so that the tree can grow below them.
pub(super) const DIRECTORY_MODE: u32 = 0o755;
/// An access control list that a directory passes on to what is made in it.
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// About what a directory takes beside its path.
const OVERHEAD: usize = 160;
const MOST_ACL: usize = 64 << 10;

/// What a directory gets once everything is in it.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) default_acl: Option<Vec<u8>>,
    /// It has no entry of its own.
    pub(super) implicit: bool,
}

/// What is still due, by path.
pub(super) struct Pending {
    map: BTreeMap<Vec<u8>, Attributes>,
    bytes: usize,
    most: usize,
    /// Whether some directories had theirs already: one that is not here may be one of them.
    pub(super) settled: bool,
    /// How many of those were implicit, until then.
    pub(super) implicit: u64,
    /// Access control lists that the file system refused.
    pub(super) refused: u64,
}

impl Pending {
    /// `most`: bytes to remember before the directories get what is due.
    pub(super) fn new(most: usize) -> Self {
        Self { map: BTreeMap::new(), bytes: 0, most, settled: false, implicit: 0, refused: 0 }
    }

    pub(super) fn insert(&mut self, path: Vec<u8>, attributes: Attributes) {
        self.bytes += OVERHEAD + path.len() + attributes.default_acl.as_ref().map_or(0, Vec::len);
        self.map.insert(path, attributes);
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.map.contains_key(path)
    }

    /// Forgets a directory and those below it.
    pub(super) fn remove_tree(&mut self, path: &[u8]) {
        self.map.remove(path);
        let below = join(path, b"");
        let gone = self.map.range(below.clone()..).map(|(path, _)| path.clone());
        for path in gone.take_while(|path| path.starts_with(&below)).collect::<Vec<_>>() {
            self.map.remove(&path);
        }
    }

    pub(super) fn is_large(&self) -> bool {
        self.bytes > self.most
    }

    /// Everything that is due, children before their parents; none of it is due any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Attributes)> + use<> {
        self.settled = true;
        self.bytes = 0;
        std::mem::take(&mut self.map).into_iter().rev()
    }
}

/// Gives an open directory its attributes; whether the file system took the access control list.
pub(super) fn give(fd: BorrowedFd<'_>, due: &Attributes, made_as: (u32, u32, u32)) -> Result<bool> {
    let (mode, uid, gid) = made_as;
    if (due.uid, due.gid) != (uid, gid) {
        fchown(fd, Some(Uid::from_raw(due.uid)), Some(Gid::from_raw(due.gid)))?;
    }
    if due.mode != mode {
        fchmod(fd, Mode::from_raw_mode(due.mode))?;
    }
    let taken = match &due.default_acl {
        None => true,
        Some(acl) => match fsetxattr(fd, DEFAULT_ACL, acl, XattrFlags::empty()) {
            Err(errno @ (Errno::IO | Errno::DQUOT | Errno::NOMEM)) => return Err(errno.into()),
            other => other.is_ok(),
        },
    };
    futimens(fd, &timestamps(due.mtime))?;
    Ok(taken)
}

/// Takes a directory up again: reads what it has, and makes it as it was made, so that what is made in it inherits
/// nothing.
pub(super) fn take_up(directory: BorrowedFd<'_>, made_as: (u32, u32, u32)) -> Result<Attributes> {
    let (made_mode, uid, gid) = made_as;
    let fd = openat(directory, c".", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
    let stat = fstat(&fd)?;
    let default_acl = default_acl(&fd)?;
    if default_acl.is_some() {
        fremovexattr(&fd, DEFAULT_ACL)?;
    }
    let mode = stat.st_mode & 0o7777;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    if mode != made_mode {
        fchmod(&fd, Mode::from_raw_mode(made_mode))?;
    }
    let mtime = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    Ok(Attributes { mode, uid: stat.st_uid, gid: stat.st_gid, mtime, default_acl, implicit: false })
}

fn default_acl(fd: impl std::os::fd::AsFd) -> Result<Option<Vec<u8>>> {
    let mut value = [0; 256];
    match fgetxattr(&fd, DEFAULT_ACL, &mut value[..]) {
        Ok(length) => Ok(Some(value.get(..length).unwrap_or_default().to_vec())),
        Err(Errno::RANGE) => {
            let mut value = vec![0; MOST_ACL];
            let length = fgetxattr(&fd, DEFAULT_ACL, value.as_mut_slice())?;
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
