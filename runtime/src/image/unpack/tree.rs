//! The tree that grows below `diff/`: every step is relative to a directory descriptor, no link is followed out of the
//! root, and what a later entry replaces is kept aside.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fchmod, fchown, fsetxattr, fstat, mkdirat, openat,
    openat2, readlinkat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::Gid;

use super::input::Event;
use super::pending::{Attributes, DIRECTORY_MODE, Pending, give, take_up};
use crate::error::{Context, Result};
use crate::image::tar::{Time, invalid, join, shown, split, within};

/// As many links as the kernel follows in one path; `path_resolution(7)`.
const MAX_LINKS: usize = 40;
/// Directories kept open: archives go through the tree depth first.
const OPEN_DIRECTORIES: usize = 16;

pub(super) const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of the tree.
#[derive(Clone)]
pub(super) struct Directory {
    pub(super) fd: Rc<OwnedFd>,
    /// Its path without symbolic links.
    pub(super) path: Vec<u8>,
}

pub(super) struct Tree<'a> {
    layer: BorrowedFd<'a>,
    root: Rc<OwnedFd>,
    open: Vec<Directory>,
    pub(super) pending: Pending,
    kept: Option<OwnedFd>,
    kept_count: u64,
    /// Whether a directory with its tree was replaced.
    pub(super) replaced_tree: bool,
    /// Mode bits that this file system takes away from what is asked for.
    pub(super) umask: u32,
    /// Whose files are without a change of owner; 0 and 0 in the storage helper.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What the index has to know, in order.
    pub(super) notes: Vec<Event>,
}

/// overlayfs's whiteout; `Documentation/filesystems/overlayfs.rst`.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl<'a> Tree<'a> {
    /// Makes an empty `diff/`. `most`: bytes to remember about directories at once.
    pub(super) fn new(layer: BorrowedFd<'a>, most: usize) -> Result<Self> {
        let attempt = || "make the layer's directory";
        mkdirat(layer, c"diff", Mode::from_raw_mode(0o777)).context(attempt)?;
        let root = openat(layer, c"diff", OFlags::RDONLY | DIRECTORY, Mode::empty()).context(attempt)?;
        let stat = fstat(&root).context(attempt)?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // A store below a setgid directory, or one with a default ACL, would pass these on to every file.
        for acl in [c"system.posix_acl_default", c"system.posix_acl_access"] {
            let _ = rustix::fs::fremovexattr(&root, acl);
        }
        if stat.st_gid != gid {
            fchown(&root, None, Some(Gid::from_raw(gid))).context(attempt)?;
        }
        fchmod(&root, Mode::from_raw_mode(DIRECTORY_MODE)).context(attempt)?;
        let mut pending = Pending::new(most);
        let (mode, mtime) = (DIRECTORY_MODE, Time::default());
        pending.insert(Vec::new(), Attributes { mode, uid, gid, mtime, default_acl: None, implicit: true });
        Ok(Self {
            layer,
            root: Rc::new(root),
            open: Vec::new(),
            pending,
            kept: None,
            kept_count: 0,
            replaced_tree: false,
            umask: 0o777 & !stat.st_mode,
            uid,
            gid,
            notes: Vec::new(),
        })
    }

    /// The directory in which `path` lies, made if it is missing; `mtime` is for the directories made.
    pub(super) fn parent(&mut self, path: &[u8], mtime: Time) -> Result<Directory> {
        let (directory, _) = split(path).unwrap_or_default();
        self.directory(directory, Some(mtime))
    }

    /// A directory below the root, ready for changes; symbolic links in its path are resolved inside the root. With
    /// `make`, what is missing is made, with this time.
    pub(super) fn directory(&mut self, path: &[u8], make: Option<Time>) -> Result<Directory> {
        let directory = self.find(path, make)?;
        self.take_up(&directory)?;
        Ok(directory)
    }

    /// Before anything is made in a directory or taken from it: its attributes must be known, for its time changes.
    fn take_up(&mut self, directory: &Directory) -> Result<()> {
        if self.pending.settled && !self.pending.contains(&directory.path) {
            let attributes = take_up(directory.fd.as_fd(), self.made_as(&directory.path));
            let attributes = attributes.context(|| format!("directory {}", shown(&directory.path)))?;
            self.pending.insert(directory.path.clone(), attributes);
        }
        Ok(())
    }

    fn find(&mut self, path: &[u8], make: Option<Time>) -> Result<Directory> {
        if path.is_empty() {
            return Ok(Directory { fd: Rc::clone(&self.root), path: Vec::new() });
        }
        if let Some(at) = self.open.iter().rposition(|open| open.path == path) {
            // The last used is at the end.
            let found = self.open.remove(at);
            self.open.push(found.clone());
            return Ok(found);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.root, path, OFlags::PATH | DIRECTORY, Mode::empty(), resolve) {
            Ok(fd) => Ok(self.remember(Directory { fd: Rc::new(fd), path: path.to_vec() })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.walk(path, make),
            Err(errno) => Err(errno).context(|| format!("open the directory {}", shown(path))),
        }
    }

    fn remember(&mut self, directory: Directory) -> Directory {
        if self.open.len() == OPEN_DIRECTORIES {
            self.open.remove(0);
        }
        self.open.push(directory.clone());
        directory
    }

    /// Goes component by component, resolving links and making what is missing.
    fn walk(&mut self, path: &[u8], make: Option<Time>) -> Result<Directory> {
        let mut todo: VecDeque<Vec<u8>> = path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        // How many of the components still to go are the path's own, not a link's.
        let mut own = todo.len();
        let mut links = 0;
        let mut here = Directory { fd: Rc::clone(&self.root), path: Vec::new() };
        while let Some(name) = todo.pop_front() {
            let of_link = todo.len() >= own;
            own = own.min(todo.len());
            if name == b".." {
                let up = split(&here.path).map(|(up, _)| up.to_vec()).unwrap_or_default();
                here = self.find(&up, None)?;
                continue;
            }
            match openat(&*here.fd, name.as_slice(), OFlags::PATH | DIRECTORY, Mode::empty()) {
                Ok(fd) => here = Directory { fd: Rc::new(fd), path: join(&here.path, &name) },
                Err(Errno::NOENT) => match make {
                    Some(mtime) if !of_link => here = self.make_implicit(&here, &name, mtime)?,
                    Some(_) => return Err(invalid(format!("{} leads through a dangling link", shown(path)))),
                    None => return Err(invalid(format!("{} does not exist in the archive", shown(path)))),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = statat(&*here.fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
                    if is_whiteout(&stat)
                        && let Some(mtime) = make
                    {
                        self.take_up(&here)?;
                        unlinkat(&*here.fd, name.as_slice(), AtFlags::empty())?;
                        here = self.make_implicit(&here, &name, mtime)?;
                        self.set_opaque(&here)?;
                        continue;
                    }
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                        let file = join(&here.path, &name);
                        return Err(invalid(format!("{} is in the way: not a directory", shown(&file))));
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(format!("{} leads through too many links", shown(path))));
                    }
                    let target = readlinkat(&*here.fd, name.as_slice(), Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        here = Directory { fd: Rc::clone(&self.root), path: Vec::new() };
                    }
                    for component in target.split(|b| *b == b'/').rev().filter(|c| !matches!(*c, b"" | b".")) {
                        todo.push_front(component.to_vec());
                    }
                }
                Err(errno) => return Err(errno).context(|| format!("open the directory {}", shown(path))),
            }
        }
        Ok(self.remember(here))
    }

    fn make_implicit(&mut self, parent: &Directory, name: &[u8], mtime: Time) -> Result<Directory> {
        self.take_up(parent)?;
        let path = join(&parent.path, name);
        mkdirat(&*parent.fd, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
        let (mode, uid, gid) = (DIRECTORY_MODE, self.uid, self.gid);
        self.pending.insert(path.clone(), Attributes { mode, uid, gid, mtime, default_acl: None, implicit: true });
        self.notes.push(Event::Implicit(path.clone()));
        let fd = openat(&*parent.fd, name, OFlags::PATH | DIRECTORY, Mode::empty())?;
        Ok(Directory { fd: Rc::new(fd), path })
    }

    /// Makes a directory or takes the one that is there; its attributes are set when everything is in it. Whether
    /// something that was no directory had to make way.
    pub(super) fn make(&mut self, parent: &Directory, name: &[u8], attributes: Attributes) -> Result<Made> {
        let mode = Mode::from_raw_mode(DIRECTORY_MODE);
        let made = match mkdirat(&*parent.fd, name, mode) {
            Ok(()) => Made::New,
            Err(Errno::EXIST) => {
                let stat = statat(&*parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let fd = Rc::new(openat(&*parent.fd, name, OFlags::PATH | DIRECTORY, Mode::empty())?);
                    self.take_up(&Directory { fd, path: join(&parent.path, name) })?;
                    Made::Existing
                } else {
                    self.clear(parent, name)?;
                    mkdirat(&*parent.fd, name, mode)?;
                    Made::Instead
                }
            }
            Err(errno) => return Err(errno.into()),
        };
        self.pending.insert(join(&parent.path, name), attributes);
        Ok(made)
    }

    /// The root's attributes, when the archive has an entry for it.
    pub(super) fn set_root(&mut self, attributes: Attributes) {
        self.pending.insert(Vec::new(), attributes);
    }

    /// Opens a directory of the tree for changes of its attributes.
    pub(super) fn open_directory(&self, parent: &Directory, name: &[u8]) -> Result<OwnedFd> {
        Ok(openat(&*parent.fd, name, OFlags::RDONLY | DIRECTORY, Mode::empty())?)
    }

    /// Hides what lower layers have in this directory.
    pub(super) fn set_opaque(&self, directory: &Directory) -> Result<()> {
        let fd = openat(&*directory.fd, c".", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
        fsetxattr(&fd, c"user.overlay.opaque", b"y", XattrFlags::empty())
            .context(|| format!("make {} opaque (a user xattr)", shown(&directory.path)))
    }

    /// Makes way for an entry: content that the tar needs again goes to `kept/`.
    pub(super) fn clear(&mut self, parent: &Directory, name: &[u8]) -> Result<()> {
        let stat = statat(&*parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let path = join(&parent.path, name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.open.retain(|open| within(&open.path, &path).is_none());
                self.pending.remove_tree(&path);
                self.replaced_tree = true;
                self.keep(parent, name, path)
            }
            FileType::RegularFile if stat.st_size > 0 => self.keep(parent, name, path),
            _ => Ok(unlinkat(&*parent.fd, name, AtFlags::empty())?),
        }
    }

    fn keep(&mut self, parent: &Directory, name: &[u8], path: Vec<u8>) -> Result<()> {
        if self.kept.is_none() {
            mkdirat(self.layer, c"kept", Mode::from_raw_mode(0o700))?;
            self.kept = Some(openat(self.layer, c"kept", OFlags::PATH | DIRECTORY, Mode::empty())?);
        }
        let Some(kept) = &self.kept else { return Ok(()) };
        let number = self.kept_count;
        renameat(&*parent.fd, name, kept, number.to_string())?;
        self.kept_count += 1;
        self.notes.push(Event::Kept { number, path });
        Ok(())
    }

    /// Gives every directory what is due to it. Between entries this may come at any time.
    pub(super) fn settle(&mut self) -> Result<()> {
        for (path, due) in self.pending.take() {
            self.pending.implicit += u64::from(due.implicit && !path.is_empty());
            let taken = self.settle_one(&path, &due).context(|| format!("directory {}", shown(&path)))?;
            self.pending.refused += u64::from(!taken);
        }
        Ok(())
    }

    fn settle_one(&self, path: &[u8], due: &Attributes) -> Result<bool> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let below = if path.is_empty() { b"." } else { path };
        let fd = openat2(&self.root, below, OFlags::RDONLY | DIRECTORY, Mode::empty(), resolve)?;
        give(fd.as_fd(), due, self.made_as(path))
    }

    /// Mode and owner of a directory while the tree grows.
    fn made_as(&self, path: &[u8]) -> (u32, u32, u32) {
        let mode = if path.is_empty() { DIRECTORY_MODE } else { DIRECTORY_MODE & !self.umask };
        (mode, self.uid, self.gid)
    }
}

/// What [`Tree::make`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    New,
    Existing,
    /// Something else was there before.
    Instead,
}
