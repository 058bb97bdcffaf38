//! Makes what the entries say.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, ftruncate, futimens,
    linkat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use tar_core::Header;

use super::input::{Event, Input, is_zero};
use super::pending::{Attributes, DEFAULT_ACL};
use super::tree::{Directory, Made, Tree, is_whiteout};
use super::{Unpacked, create};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::image::attributes::{timestamps, travels};
use crate::image::owners::{self, Owner};
use crate::image::tar::gather::{Gathered, Source, gather};
use crate::image::tar::parse::parse;
use crate::image::tar::{BLOCK, Head, Kind, Limits, OPAQUE, Segment, WHITEOUT, invalid, join, pax, shown, split};

/// Runs of zeros from here on become holes.
pub(crate) const HOLE: usize = 64 << 10;
/// Mode bits that do not survive a change of owner or a write.
const SET_ID: u32 = 0o6000;

/// How an entry lies on disk.
struct Placed {
    uid: u32,
    gid: u32,
    mode: u32,
    true_owner: Option<Owner>,
}

pub(super) struct Unpacker<'a> {
    input: Input<'a>,
    layer: BorrowedFd<'a>,
    tree: Tree<'a>,
    ids: &'a IdMap,
    limits: &'a Limits,
    owners: Option<BufWriter<File>>,
    /// Whether a header was seen, be it a global one.
    headers: bool,
    found: Unpacked,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(input: Input<'a>, layer: BorrowedFd<'a>, ids: &'a IdMap, limits: &'a Limits) -> Result<Self> {
        let found = Unpacked {
            diff_id: Digest::of(b""),
            size: 0,
            content: 0,
            entries: 0,
            squashed: 0,
            skipped_xattrs: 0,
            devices: 0,
            implicit: 0,
            root_entry: false,
            opaque_root: false,
            warnings: Vec::new(),
        };
        Ok(Self {
            input,
            layer,
            tree: Tree::new(layer, limits.directories)?,
            ids,
            limits,
            owners: None,
            headers: false,
            found,
        })
    }

    /// Unpacks everything. Digest and size of the result are the recorder's to fill in.
    pub(super) fn run(mut self) -> Result<Unpacked> {
        let mut blocks = Vec::with_capacity(4 * BLOCK);
        let mut last = Vec::new();
        loop {
            let gathered = gather(&mut self.input, &mut blocks, self.limits);
            match gathered.map_err(|error| self.stream_error(error, &blocks, &last))? {
                Gathered::Entry => {
                    self.headers = true;
                    let head = parse(&mut blocks, self.limits).map_err(|error| after(error, &last))?;
                    self.entry(&head).map_err(|error| error.context(format!("entry {}", shown(&head.path))))?;
                    last = head.path;
                }
                Gathered::Global => self.global(&blocks)?,
                Gathered::Zeros => {
                    self.input.note(Event::Other);
                    self.end(&mut blocks)?;
                    break;
                }
                Gathered::End if self.found.entries == 0 => return Err(invalid("not a tar archive (it is empty)")),
                Gathered::End => {
                    self.found.warnings.push("the archive has no end marker: it may be cut off".into());
                    break;
                }
            }
        }
        if self.input.finish(self.limits.trailer)? {
            self.found.warnings.push("what follows the archive's end marker was ignored".into());
        }
        self.tree.settle()?;
        self.found.implicit = self.tree.pending.implicit;
        self.found.skipped_xattrs += self.tree.pending.refused;
        if let Some(mut owners) = self.owners.take() {
            owners.flush().context(|| "write the layer's owners")?;
        }
        self.warn();
        Ok(self.found)
    }

    /// An archive is one that begins with a header, and is damaged from there on.
    fn stream_error(&self, error: Error, blocks: &[u8], last: &[u8]) -> Error {
        let header = || blocks.first_chunk().is_some_and(|block| Header::from_bytes(block).verify_checksum().is_ok());
        match self.input.broken {
            true => error,
            false if self.headers || header() => after(error, last),
            false => invalid("not a tar archive"),
        }
    }

    /// After a block of zeros: another one, or nothing at all.
    fn end(&mut self, block: &mut Vec<u8>) -> Result<()> {
        block.clear();
        let got = self.input.take(block, BLOCK)?;
        self.input.note(Event::Other);
        match got == BLOCK && block.iter().any(|b| *b != 0) {
            true => Err(invalid("the archive goes on after a lone block of zeros")),
            false => Ok(()),
        }
    }

    /// Global headers are ignored, as other engines do, but not where that would change what is unpacked.
    fn global(&mut self, blocks: &[u8]) -> Result<()> {
        self.headers = true;
        self.input.note(Event::Other);
        let data = blocks.get(BLOCK..).unwrap_or_default();
        // The size was checked when the blocks were gathered.
        let header = blocks.first_chunk().ok_or_else(|| invalid("a damaged header"))?;
        let size = Header::from_bytes(header).entry_size().map_err(|_| invalid("a damaged header"))?;
        let data = data.get(..size as usize).unwrap_or_default();
        for record in pax::records(data)? {
            let key = data.get(record.key).unwrap_or_default();
            if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse") {
                return Err(invalid(format!("a global header that sets {}", shown(key))));
            }
            if key != b"comment" {
                let key = shown(key.get(..100).unwrap_or(key));
                self.found.warnings.push(format!("a global header's {key} was ignored"));
                self.found.warnings.dedup();
                self.found.warnings.truncate(20);
            }
        }
        Ok(())
    }

    fn entry(&mut self, head: &Head) -> Result<()> {
        self.found.entries += 1;
        if self.found.entries > self.limits.entries {
            return Err(invalid(format!("the archive has more than {} entries, the limit", self.limits.entries)));
        }
        if self.tree.pending.is_large() {
            self.tree.settle()?;
        }
        let Some((parent, name)) = split(&head.path) else { return self.root(head) };
        if head.path.starts_with(b".wh..wh.") && head.path != OPAQUE {
            // Bookkeeping of AUFS, which some old layers contain.
            return self.nothing(head);
        }
        if parent.split(|b| *b == b'/').any(|component| component.starts_with(WHITEOUT)) {
            return Err(invalid("a path below a whiteout"));
        }
        if name.starts_with(WHITEOUT) {
            return self.whiteout(head, name);
        }
        let parent = self.tree.parent(&head.path, head.mtime)?;
        match head.kind {
            Kind::File => return self.file(head, &parent, name),
            Kind::Directory => self.directory(head, &parent, name)?,
            Kind::Symlink => self.symlink(head, &parent, name)?,
            Kind::Hardlink => self.hardlink(head, &parent, name)?,
            Kind::Fifo => self.fifo(head, &parent, name)?,
            Kind::Char(..) | Kind::Block(..) => {
                if statat(&*parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    self.tree.clear(&parent, name)?;
                }
                // A container's /dev is the engine's: nothing is missing there.
                self.found.devices += u64::from(!head.path.starts_with(b"dev/"));
            }
        }
        self.nothing(head)
    }

    /// Notes the entry; content that belongs to no file on disk goes into the index.
    fn nothing(&mut self, head: &Head) -> Result<()> {
        self.note(false, None);
        self.input.skip(head.stored)?;
        self.input.skip_padding(head.stored)
    }

    fn note(&mut self, content: bool, path: Option<Vec<u8>>) {
        for note in self.tree.notes.drain(..) {
            self.input.note(note);
        }
        self.input.note(Event::Entry { content, path });
    }

    fn root(&mut self, head: &Head) -> Result<()> {
        if head.kind != Kind::Directory {
            return Err(invalid("the root can only be a directory"));
        }
        let placed = self.placed(head)?;
        self.tree.set_root(attributes(head, &placed));
        self.found.root_entry = true;
        if !head.xattrs.is_empty() {
            let root = self.tree.directory(b"", None)?;
            self.xattrs(head, root.fd.as_fd())?;
        }
        self.own(&head.path, placed.true_owner, head.mode, true)?;
        self.nothing(head)
    }

    fn whiteout(&mut self, head: &Head, name: &[u8]) -> Result<()> {
        if !matches!(head.kind, Kind::File | Kind::Hardlink) {
            return Err(invalid("a whiteout that is not a file"));
        }
        let parent = self.tree.parent(&head.path, head.mtime)?;
        if name == OPAQUE {
            match parent.path.is_empty() {
                true => self.found.opaque_root = true,
                false => self.tree.set_opaque(&parent)?,
            }
            return self.nothing(head);
        }
        let hidden = name.get(WHITEOUT.len()..).unwrap_or_default();
        if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
            return Err(invalid("a whiteout of no valid name"));
        }
        match mknodat(&*parent.fd, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {}
            // Whiteouts touch only lower layers. What this layer has hides them already, except inside directories.
            Err(Errno::EXIST) => {
                let stat = statat(&*parent.fd, hidden, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let directory = self.tree.directory(&join(&parent.path, hidden), None)?;
                    self.tree.set_opaque(&directory)?;
                }
            }
            Err(errno) => return Err(errno).context(|| "make a whiteout (character device 0:0)"),
        }
        self.nothing(head)
    }

    fn file(&mut self, head: &Head, parent: &Directory, name: &[u8]) -> Result<()> {
        let placed = self.placed(head)?;
        self.found.content += head.size;
        if self.found.content > self.limits.bytes {
            return Err(invalid(format!("files of more than {} bytes in all, the limit", self.limits.bytes)));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(placed.mode & 0o777);
        let (file, replaced) = self.replacing(parent, name, || openat(&*parent.fd, name, flags, mode))?;
        if head.stored > 0 {
            let path = join(&parent.path, name);
            self.note(true, (path != head.path).then_some(path));
        } else {
            self.note(false, None);
        }
        self.content(head, &file)?;
        if (placed.uid, placed.gid) != (self.tree.uid, self.tree.gid) {
            fchown(&file, Some(Uid::from_raw(placed.uid)), Some(Gid::from_raw(placed.gid)))?;
        }
        self.xattrs(head, file.as_fd())?;
        if placed.mode & (0o7000 | self.tree.umask) != 0 {
            fchmod(&file, Mode::from_raw_mode(placed.mode))?;
        }
        futimens(&file, &timestamps(head.mtime))?;
        self.own(&join(&parent.path, name), placed.true_owner, head.mode, replaced)?;
        self.input.skip_padding(head.stored)
    }

    /// Writes the content; holes stay holes.
    fn content(&mut self, head: &Head, file: &OwnedFd) -> Result<()> {
        if let Some(segments) = &head.segments {
            ftruncate(file, head.size)?;
            if head.stored > 0 {
                let mut writer = SparseWriter::new(file, segments);
                self.input.content(head.stored, |bytes| writer.write(bytes))?;
            }
        } else if head.stored > 0 {
            let (mut at, mut hole) = (0, false);
            self.input.content(head.stored, |bytes| {
                // Long runs of zeros need no space: neither those of a disk image nor those of an attack.
                hole = bytes.len() >= HOLE && is_zero(bytes);
                if !hole {
                    write_all(file, bytes, at)?;
                }
                at += bytes.len() as u64;
                Ok(())
            })?;
            if hole {
                ftruncate(file, head.size)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, head: &Head, parent: &Directory, name: &[u8]) -> Result<()> {
        let placed = self.placed(head)?;
        let made = self.tree.make(parent, name, attributes(head, &placed))?;
        if made == Made::Instead {
            let directory = self.tree.directory(&join(&parent.path, name), None)?;
            self.tree.set_opaque(&directory)?;
        }
        if !head.xattrs.is_empty() {
            let directory = self.tree.open_directory(parent, name)?;
            self.xattrs(head, directory.as_fd())?;
        }
        self.own(&join(&parent.path, name), placed.true_owner, head.mode, made != Made::New)
    }

    fn symlink(&mut self, head: &Head, parent: &Directory, name: &[u8]) -> Result<()> {
        let placed = self.placed(head)?;
        let ((), replaced) = self.replacing(parent, name, || symlinkat(head.link.as_slice(), &*parent.fd, name))?;
        self.chown(parent, name, &placed)?;
        utimensat(&*parent.fd, name, &timestamps(head.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        // No descriptor of a link takes attributes.
        self.found.skipped_xattrs += head.xattrs.len() as u64;
        self.own(&join(&parent.path, name), placed.true_owner, head.mode, replaced)
    }

    fn fifo(&mut self, head: &Head, parent: &Directory, name: &[u8]) -> Result<()> {
        let placed = self.placed(head)?;
        let mode = Mode::from_raw_mode(placed.mode & 0o777);
        let ((), replaced) = self.replacing(parent, name, || mknodat(&*parent.fd, name, FileType::Fifo, mode, 0))?;
        self.chown(parent, name, &placed)?;
        if placed.mode & (0o7000 | self.tree.umask) != 0 {
            // Nobody else is in this tree, so the name is still the FIFO just made.
            chmodat(&*parent.fd, name, Mode::from_raw_mode(placed.mode), AtFlags::empty())?;
        }
        utimensat(&*parent.fd, name, &timestamps(head.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        self.found.skipped_xattrs += head.xattrs.len() as u64;
        self.own(&join(&parent.path, name), placed.true_owner, head.mode, replaced)
    }

    fn hardlink(&mut self, head: &Head, parent: &Directory, name: &[u8]) -> Result<()> {
        let missing = || invalid(format!("the hard link's target {} does not exist in the archive", shown(&head.link)));
        let (directory, target) = split(&head.link).ok_or_else(missing)?;
        let directory = self.tree.directory(directory, None)?;
        match statat(&*directory.fd, target, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => return Err(missing()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(invalid(format!("a hard link to the directory {}", shown(&head.link))));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(errno.into()),
        }
        if (&directory.path, target) == (&parent.path, name) {
            // Archivers that were given a file twice write it as a link to itself.
            return Ok(());
        }
        let link = || linkat(&*directory.fd, target, &*parent.fd, name, AtFlags::empty());
        let ((), replaced) = self.replacing(parent, name, link)?;
        let placed = self.placed(head)?;
        self.own(&join(&parent.path, name), placed.true_owner, head.mode, replaced)
    }

    /// Makes something, and once more after clearing the way if the name is taken. Whether it was.
    fn replacing<T>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<(T, bool)> {
        match make() {
            Ok(made) => Ok((made, false)),
            Err(Errno::EXIST) => {
                self.tree.clear(parent, name)?;
                Ok((make()?, true))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn chown(&self, parent: &Directory, name: &[u8], placed: &Placed) -> Result<()> {
        if (placed.uid, placed.gid) == (self.tree.uid, self.tree.gid) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(placed.uid), Gid::from_raw(placed.gid));
        Ok(chownat(&*parent.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Owner and mode on disk: what the mapping lacks belongs to 0 and loses setuid and setgid.
    fn placed(&mut self, head: &Head) -> Result<Placed> {
        let (has_uid, has_gid) = (self.ids.has_uid(head.uid), self.ids.has_gid(head.gid));
        if has_uid && has_gid {
            return Ok(Placed { uid: head.uid, gid: head.gid, mode: head.mode, true_owner: None });
        }
        self.found.squashed += 1;
        Ok(Placed {
            uid: if has_uid { head.uid } else { self.tree.uid },
            gid: if has_gid { head.gid } else { self.tree.gid },
            mode: head.mode & !SET_ID,
            true_owner: Some(Owner {
                uid: (!has_uid).then_some(head.uid),
                gid: (!has_gid).then_some(head.gid),
                mode: head.mode,
            }),
        })
    }

    /// Records the true owner of a path; also where an earlier line for the path may have to be taken back.
    fn own(&mut self, path: &[u8], owner: Option<Owner>, mode: u32, replaced: bool) -> Result<()> {
        let owner = match owner {
            Some(owner) => owner,
            None if self.owners.is_some() && (replaced || self.tree.replaced_tree) => {
                Owner { uid: None, gid: None, mode }
            }
            None => return Ok(()),
        };
        let file = match &mut self.owners {
            Some(file) => file,
            None => self.owners.insert(BufWriter::new(create(self.layer, c"owners")?)),
        };
        owners::write(file, path, &owner).context(|| "write the layer's owners")
    }

    /// Sets extended attributes; what the file system refuses (8 KiB on ext4 is "no space"), and what no container reads
    /// back, stays in the index only.
    fn xattrs(&mut self, head: &Head, fd: BorrowedFd<'_>) -> Result<()> {
        for (name, value) in &head.xattrs {
            if name == DEFAULT_ACL && head.kind == Kind::Directory {
                // What is made in the directory would inherit it: it comes last.
                continue;
            }
            // The host's labels are the host's.
            if !travels(name) {
                self.found.skipped_xattrs += 1;
                continue;
            }
            match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(errno @ (Errno::IO | Errno::DQUOT | Errno::NOMEM)) => return Err(errno.into()),
                Err(_) => self.found.skipped_xattrs += 1,
            }
        }
        Ok(())
    }

    fn warn(&mut self) {
        let Unpacked { squashed, skipped_xattrs, devices, opaque_root, .. } = self.found;
        let warnings = &mut self.found.warnings;
        if squashed > 0 {
            warnings.push(format!("{squashed} entries belong to ids outside the id mapping: stored as root's"));
        }
        if skipped_xattrs > 0 {
            warnings.push(format!("{skipped_xattrs} extended attributes cannot be stored on this file system"));
        }
        if devices > 0 {
            warnings.push(format!("{devices} device nodes outside /dev were not made"));
        }
        if opaque_root {
            warnings.push("the layer hides everything below it".into());
        }
    }
}

fn attributes(head: &Head, placed: &Placed) -> Attributes {
    let default_acl = head.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL).map(|(_, value)| value.clone());
    let Placed { mode, uid, gid, .. } = *placed;
    Attributes { mode, uid, gid, mtime: head.mtime, default_acl, implicit: false }
}

/// Names the entry after which the archive is damaged.
fn after(error: Error, last: &[u8]) -> Error {
    match last {
        [] => error,
        last => error.context(format!("after entry {}", shown(last))),
    }
}

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, at))?;
        bytes = bytes.get(count..).unwrap_or_default();
        at += count as u64;
    }
    Ok(())
}

/// Puts the stored bytes of a sparse file where they belong.
pub(crate) struct SparseWriter<'a> {
    file: &'a OwnedFd,
    segments: &'a [Segment],
    /// Bytes of the first segment that are written.
    done: u64,
}

impl<'a> SparseWriter<'a> {
    pub(crate) fn new(file: &'a OwnedFd, segments: &'a [Segment]) -> Self {
        Self { file, segments, done: 0 }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let Some((segment, rest)) = self.segments.split_first() else {
                return Err(invalid("a sparse map that does not match its content"));
            };
            if self.done == segment.length {
                (self.segments, self.done) = (rest, 0);
                continue;
            }
            let count = (segment.length - self.done).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(count);
            let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(self.file, now, segment.offset + self.done))?;
            self.done += count as u64;
            bytes = if count == now.len() { later } else { bytes.get(count..).unwrap_or_default() };
        }
        Ok(())
    }
}
