//! A tar becomes files in a directory.
//!
//! Everything is made new: what has the name already is replaced by a rename, never opened, never followed, unless it is
//! a mount point of a file, which nothing can replace. Directories are kept and get the attributes of the tar's.

use std::ffi::OsStr;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, StatxFlags, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr, fstat,
    ftruncate, futimens, linkat, mknodat, openat, renameat, statx, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::level::{Due, Levels};
use crate::digest::random_hex;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::IdMap;
use crate::image::attributes::timestamps;
use crate::image::tar::gather::{Gathered, Source, gather};
use crate::image::tar::parse::parse;
use crate::image::tar::{BLOCK, Head, Kind, Limits, invalid, join, padding, shown, split};
use crate::image::unpack::{HOLE, SparseWriter, is_zero, write_all};

const BUFFER: usize = 256 << 10;
const SET_ID: u32 = 0o6000;
const CAPABILITY: &[u8] = b"security.capability";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Whose the files become.
#[derive(Clone, Copy, Debug)]
pub enum Ownership<'a> {
    /// The process's own; on the host. setuid and setgid bits and capabilities are dropped: they would be the user's.
    Own,
    /// As the tar says, as far as the process may; setuid and setgid bits only where that is all of it. On the host.
    Try,
    /// Root's; in a container.
    Root,
    /// As the tar says, as far as the mapping has the ids; in a container.
    Keep(&'a IdMap),
    /// This user's and group's, as far as the mapping has the ids; in a container.
    Given(u32, u32, &'a IdMap),
}

/// Where they go.
#[derive(Debug)]
pub struct Target<'a> {
    /// The directory, open for reading.
    pub directory: OwnedFd,
    /// What the tar's root is called in it; `None`: the directory itself is the root.
    pub name: Option<Vec<u8>>,
    /// The directory's path, for messages.
    pub shown: &'a [u8],
    /// Whose they become.
    pub ownership: Ownership<'a>,
    /// Whether links to directories that are there already lead on. Only where `/` is the container's.
    pub follow: bool,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Received {
    /// Bytes of the tar.
    pub bytes: u64,
    /// Bytes of its regular files.
    pub content: u64,
    /// Entries whose owner could not be kept.
    pub squashed: u64,
    /// Device nodes that were not made.
    pub devices: u64,
    /// Extended attributes that were not kept.
    pub refused: u64,
    /// The tar ended without the mark of its end.
    pub endless: bool,
}

/// The stream as it is read.
struct Input<'a> {
    inner: BufReader<&'a mut dyn Read>,
    buffer: Vec<u8>,
    total: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Input<'_> {
    fn some(&mut self, most: usize) -> Result<usize> {
        let room = self.buffer.get_mut(..most.min(BUFFER)).unwrap_or_default();
        let got = loop {
            match self.inner.read(room) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.context(|| "read the archive")?,
            }
        };
        self.total += got as u64;
        (self.progress)(self.total);
        Ok(got)
    }

    /// Hands `size` bytes on in pieces; they start in the file at the second argument of `write`.
    fn content(&mut self, size: u64, mut write: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while at < size {
            // Whole buffers, so that holes are found.
            let most = usize::try_from(size - at).unwrap_or(BUFFER).min(BUFFER);
            let mut filled = 0;
            while filled < most {
                let room = self.buffer.get_mut(filled..most).unwrap_or_default();
                match self.inner.read(room) {
                    Ok(0) => return Err(invalid("the archive ends inside the content")),
                    Ok(got) => filled += got,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context(|| "read the archive"),
                }
            }
            self.total += filled as u64;
            write(self.buffer.get(..filled).unwrap_or_default(), at)?;
            at += filled as u64;
            (self.progress)(self.total);
        }
        Ok(())
    }
}

impl Source for Input<'_> {
    fn take(&mut self, into: &mut Vec<u8>, count: usize) -> Result<usize> {
        let mut taken = 0;
        while taken < count {
            let got = self.some(count - taken)?;
            if got == 0 {
                break;
            }
            into.extend_from_slice(self.buffer.get(..got).unwrap_or_default());
            taken += got;
        }
        Ok(taken)
    }
}

/// A tar that is being received.
pub struct Receiver<'a> {
    input: Input<'a>,
    blocks: Vec<u8>,
    limits: Limits,
    next: Option<Head>,
    found: Received,
}

impl<'a> Receiver<'a> {
    /// From a stream; `progress` is told the bytes that came.
    pub fn new(inner: &'a mut dyn Read, progress: &'a mut dyn FnMut(u64)) -> Self {
        let inner = BufReader::with_capacity(BUFFER, inner);
        let input = Input { inner, buffer: vec![0; BUFFER], total: 0, progress };
        Self { input, blocks: Vec::new(), limits: Limits::default(), next: None, found: Received::default() }
    }

    /// Whether the tar begins with a directory; `None` if it has nothing.
    pub fn begins_with_directory(&mut self) -> Result<Option<bool>> {
        self.next = self.head()?;
        Ok(self.next.as_ref().map(|head| head.kind == Kind::Directory))
    }

    fn head(&mut self) -> Result<Option<Head>> {
        loop {
            match gather(&mut self.input, &mut self.blocks, &self.limits)? {
                Gathered::Entry => return parse(&mut self.blocks, &self.limits).map(Some),
                // What it says is for every entry, and not for where files go.
                Gathered::Global => {}
                Gathered::Zeros => {
                    // What pads the archive after its end is read, or its writer would be cut off.
                    while self.input.some(BUFFER)? > 0 {}
                    return Ok(None);
                }
                Gathered::End => {
                    self.found.endless = true;
                    return Ok(None);
                }
            }
        }
    }

    /// Makes everything.
    pub fn run(mut self, into: Target<'_>) -> Result<Received> {
        let owner =
            matches!(into.ownership, Ownership::Root | Ownership::Keep(_) | Ownership::Given(..)).then_some((0, 0));
        let levels = Levels::new(into.directory, into.follow, owner);
        let mut writer = Writer { levels, name: into.name, shown: into.shown, ownership: into.ownership, entries: 0 };
        let made = self.entries(&mut writer);
        let left = writer.levels.finish();
        made.and(left)?;
        self.found.refused += writer.levels.refused;
        self.found.bytes = self.input.total;
        Ok(self.found)
    }

    fn entries(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        let mut next = self.next.take();
        loop {
            let head = match next.take() {
                Some(head) => head,
                None => match self.head()? {
                    Some(head) => head,
                    None => return Ok(()),
                },
            };
            writer.entries += 1;
            if writer.entries > self.limits.entries {
                return Err(invalid(format!("the archive has more than {} entries, the limit", self.limits.entries)));
            }
            let path = writer.place(&head.path);
            let shown = |error: Error| error.context(shown(&path));
            match split(&path) {
                // The directory that everything goes to stays as it is.
                None if head.kind == Kind::Directory => {}
                None => return Err(invalid("the archive's root is no directory")),
                Some((parent, name)) => self.entry(writer, &head, &path, (parent, name)).map_err(shown)?,
            }
        }
    }

    fn entry(&mut self, writer: &mut Writer<'_>, head: &Head, path: &[u8], at: (&[u8], &[u8])) -> Result<()> {
        let (owner, mode) = writer.placed(head, &mut self.found);
        match head.kind {
            Kind::Directory => {
                let default_acl = head.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL);
                let default_acl = default_acl.map(|(_, value)| value.clone());
                let due = Due { mode, owner, mtime: Some(head.mtime), default_acl };
                let fd = writer.levels.directory(path, due)?;
                self.found.refused += xattrs(head, fd, writer.ownership)?;
            }
            Kind::Char(..) | Kind::Block(..) => self.found.devices += 1,
            Kind::File => return self.file(writer, head, at, owner, mode),
            Kind::Hardlink => writer.hardlink(head, at)?,
            Kind::Symlink | Kind::Fifo => writer.special(head, at, owner, mode)?,
        }
        self.skip(head.stored)
    }

    fn skip(&mut self, stored: u64) -> Result<()> {
        self.input.content(stored + padding(stored) as u64, |_, _| Ok(()))
    }

    fn file(
        &mut self,
        writer: &mut Writer<'_>,
        head: &Head,
        (parent, name): (&[u8], &[u8]),
        owner: Option<(u32, u32)>,
        mode: u32,
    ) -> Result<()> {
        let ownership = writer.ownership;
        let shown = writer.shown;
        let parent = writer.levels.enter(parent)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = |name: &[u8]| openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let (file, claim) = match claim(parent, name, shown, &make)? {
            Claimed::New(file, claim) => (file, Some(claim)),
            Claimed::Mounted(file) => (file, None),
        };
        let written = self.fill(head, &file).and_then(|()| {
            self.found.refused += attributes(head, &file, owner, mode, ownership)?;
            self.skip_padding(head.stored)
        });
        match (written, claim) {
            (Ok(()), Some(claim)) => claim.settle(shown),
            (Err(error), Some(claim)) => {
                claim.forget();
                Err(error)
            }
            (written, None) => written,
        }
    }

    fn skip_padding(&mut self, stored: u64) -> Result<()> {
        self.input.content(padding(stored) as u64, |_, _| Ok(()))
    }

    /// Writes the content; holes stay holes.
    fn fill(&mut self, head: &Head, file: &OwnedFd) -> Result<()> {
        self.found.content = self.found.content.saturating_add(head.size);
        let mut hole = false;
        if let Some(segments) = &head.segments {
            ftruncate(file, head.size)?;
            let mut writer = SparseWriter::new(file, segments);
            self.input.content(head.stored, |bytes, _| writer.write(bytes))?;
        } else {
            self.input.content(head.stored, |bytes, at| {
                hole = bytes.len() >= HOLE && is_zero(bytes);
                if hole { Ok(()) } else { write_all(file, bytes, at) }
            })?;
        }
        if hole {
            ftruncate(file, head.size)?;
        }
        Ok(())
    }
}

/// An owner as far as the mapping has it, root where not, and the mode, without what only the true owner may have.
fn known((uid, gid): (u32, u32), mode: u32, ids: &IdMap, found: &mut Received) -> (Option<(u32, u32)>, u32) {
    let (has_uid, has_gid) = (ids.has_uid(uid), ids.has_gid(gid));
    let owner = (if has_uid { uid } else { 0 }, if has_gid { gid } else { 0 });
    let kept = has_uid && has_gid;
    found.squashed += u64::from(!kept);
    (Some(owner), if kept { mode } else { mode & !SET_ID })
}

/// What is being written to.
struct Writer<'a> {
    levels: Levels,
    name: Option<Vec<u8>>,
    shown: &'a [u8],
    ownership: Ownership<'a>,
    entries: u64,
}

impl Writer<'_> {
    /// A path of the tar below the directory.
    fn place(&self, path: &[u8]) -> Vec<u8> {
        match &self.name {
            None => path.to_vec(),
            Some(name) if path.is_empty() => name.clone(),
            Some(name) => join(name, path),
        }
    }

    /// The owner to set, if any, and the mode.
    fn placed(&self, head: &Head, found: &mut Received) -> (Option<(u32, u32)>, u32) {
        match self.ownership {
            Ownership::Own => (None, head.mode & !SET_ID),
            Ownership::Try => {
                let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                let may = own.0 == 0 || (head.uid, head.gid) == own;
                found.squashed += u64::from(!may);
                if may { (Some((head.uid, head.gid)), head.mode) } else { (None, head.mode & !SET_ID) }
            }
            Ownership::Root => (Some((0, 0)), head.mode),
            Ownership::Keep(ids) => known((head.uid, head.gid), head.mode, ids, found),
            Ownership::Given(uid, gid, ids) => known((uid, gid), head.mode, ids, found),
        }
    }

    fn hardlink(&mut self, head: &Head, (parent, name): (&[u8], &[u8])) -> Result<()> {
        let target = self.place(&head.link);
        let missing = || invalid(format!("the hard link's target {} is not there", shown(&target)));
        let (directory, target_name) = split(&target).ok_or_else(missing)?;
        let directory = match self.levels.find(directory) {
            Err(error) if error.errno() == Some(libc::ENOENT) => return Err(missing()),
            other => other?,
        };
        if target == join(parent, name) {
            return Ok(());
        }
        let shown = self.shown;
        let parent = self.levels.enter(parent)?;
        let make = |name: &[u8]| linkat(&directory, target_name, parent, name, AtFlags::empty());
        let claimed = claim(parent, name, shown, &make);
        match claimed {
            Ok(Claimed::New((), claim)) => claim.settle(shown),
            Ok(Claimed::Mounted(_)) => Err(Error::new(ErrorKind::Conflict, "a file is mounted there")),
            Err(error) if error.errno() == Some(libc::ENOENT) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// A link or a FIFO. Its owner and time are set through a descriptor of what is there, once that is seen to be one.
    fn special(
        &mut self,
        head: &Head,
        (parent, name): (&[u8], &[u8]),
        owner: Option<(u32, u32)>,
        mode: u32,
    ) -> Result<()> {
        let shown = self.shown;
        let parent = self.levels.enter(parent)?;
        let kind = if head.kind == Kind::Fifo { FileType::Fifo } else { FileType::Symlink };
        let make = |name: &[u8]| match kind {
            FileType::Fifo => mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(mode & 0o777), 0),
            _ => symlinkat(OsStr::from_bytes(&head.link), parent, name),
        };
        let Claimed::New((), claim) = claim(parent, name, shown, &make)? else {
            return Err(Error::new(ErrorKind::Conflict, "a file is mounted there"));
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(parent, claim.made(), flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&made)?.st_mode) != kind {
            return Err(Error::new(ErrorKind::Conflict, "it was replaced while it was made"));
        }
        if let Some((uid, gid)) = owner {
            chownat(&made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)?;
        }
        utimensat(&made, "", &timestamps(head.mtime), AtFlags::EMPTY_PATH)?;
        claim.settle(shown)
    }
}

/// A name that something new is to get.
struct Claim<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
    /// What it is called until it takes the place of what is there.
    draft: Option<String>,
}

enum Claimed<'a, T> {
    New(T, Claim<'a>),
    /// A file is mounted there: it is written as it is.
    Mounted(OwnedFd),
}

/// Makes something under a name, or beside it if the name is taken.
fn claim<'a, T>(
    parent: BorrowedFd<'a>,
    name: &'a [u8],
    shown: &[u8],
    make: &dyn Fn(&[u8]) -> rustix::io::Result<T>,
) -> Result<Claimed<'a, T>> {
    match make(name) {
        Ok(made) => return Ok(Claimed::New(made, Claim { parent, name, draft: None })),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let there = statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    if let Ok(there) = there {
        match FileType::from_raw_mode(there.stx_mode.into()) {
            FileType::Directory => return Err(is_directory(name, shown)),
            FileType::RegularFile if is_mount(&there) => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::empty())?;
                if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
                    return Err(Error::new(ErrorKind::Conflict, "it was replaced meanwhile"));
                }
                ftruncate(&file, 0)?;
                return Ok(Claimed::Mounted(file));
            }
            _ => {}
        }
    }
    let draft = format!(".lrun-cp-{}", random_hex(8)?);
    let made = make(draft.as_bytes())?;
    Ok(Claimed::New(made, Claim { parent, name, draft: Some(draft) }))
}

fn is_mount(there: &rustix::fs::Statx) -> bool {
    there.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT)
}

fn is_directory(name: &[u8], shown: &[u8]) -> Error {
    let (name, shown) = (String::from_utf8_lossy(name), String::from_utf8_lossy(shown));
    Error::new(ErrorKind::Conflict, format!("cannot overwrite directory {name:?} with non-directory {shown:?}"))
}

impl Claim<'_> {
    /// The name that it has now.
    fn made(&self) -> &[u8] {
        self.draft.as_ref().map_or(self.name, |draft| draft.as_bytes())
    }

    /// Puts it in its place.
    fn settle(self, shown: &[u8]) -> Result<()> {
        let Some(draft) = &self.draft else { return Ok(()) };
        let error = match renameat(self.parent, draft.as_str(), self.parent, self.name) {
            // Two names of one file: rename(2) leaves both.
            Ok(()) => {
                let _ = unlinkat(self.parent, draft.as_str(), AtFlags::empty());
                return Ok(());
            }
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => is_directory(self.name, shown),
            Err(Errno::BUSY) => Error::new(ErrorKind::Conflict, "something is mounted there"),
            Err(errno) => errno.into(),
        };
        self.forget();
        Err(error)
    }

    /// Takes away what was made.
    fn forget(self) {
        // The failure is what matters.
        let _ = unlinkat(self.parent, self.made(), AtFlags::empty());
    }
}

/// Everything but the content of a file; how many attributes were not kept.
fn attributes(
    head: &Head,
    file: &OwnedFd,
    owner: Option<(u32, u32)>,
    mode: u32,
    ownership: Ownership<'_>,
) -> Result<u64> {
    if let Some((uid, gid)) = owner {
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    let refused = xattrs(head, file.as_fd(), ownership)?;
    fchmod(file, Mode::from_raw_mode(mode))?;
    futimens(file, &timestamps(head.mtime))?;
    Ok(refused)
}

/// Sets extended attributes; how many were not kept.
fn xattrs(head: &Head, fd: BorrowedFd<'_>, ownership: Ownership<'_>) -> Result<u64> {
    let on_host = matches!(ownership, Ownership::Own | Ownership::Try);
    let mut refused = 0;
    for (name, value) in &head.xattrs {
        if name == DEFAULT_ACL && head.kind == Kind::Directory {
            // What is made in the directory would inherit it: it comes last.
            continue;
        }
        let travels = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == CAPABILITY;
        if !travels || (on_host && name == CAPABILITY) {
            refused += 1;
            continue;
        }
        match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(errno @ (Errno::IO | Errno::DQUOT | Errno::NOMEM)) => return Err(errno.into()),
            Err(_) => refused += 1,
        }
    }
    Ok(refused)
}

const _: () = assert!(BUFFER.is_multiple_of(BLOCK));
