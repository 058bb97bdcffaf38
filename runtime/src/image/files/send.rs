//! A file, or a directory with all that is below it, becomes a tar while it may be changing.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, major, minor, readlinkat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::is_kernels;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::attributes::{Reader, Xattrs};
use crate::image::owners::Owner;
use crate::image::pack::stream::{Stream, without_digest};
use crate::image::tar::{Head, Kind, Limits, Time, header, join, shown};
use crate::image::tree::{FirstNames, Step, Walk, open};

/// What is sent, opened already.
#[derive(Debug)]
pub enum Root {
    /// A directory, open for reading.
    Directory(OwnedFd),
    /// A regular file, open for reading.
    File(OwnedFd),
    /// Anything else, by its attributes; and where a link leads.
    Other(Stat, Vec<u8>),
}

/// How it is sent.
pub struct SendRules<'a> {
    /// The name that the root has in the tar; below a directory it is the beginning of all names. May be empty.
    pub base: &'a [u8],
    /// Whether holes are left out, in a form that not every program reads.
    pub sparse: bool,
    /// The true owner of a path below the root, where the id mapping lacks it.
    pub recorded: &'a dyn Fn(&[u8]) -> Option<Owner>,
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Bytes of the tar.
    pub bytes: u64,
    /// Bytes of its regular files.
    pub content: u64,
    /// Files that became shorter while they were read; their rest is zeros.
    pub torn: u64,
    /// Directories of the kernel's file systems, sent as empty ones.
    pub kernels: u64,
}

/// Sends `root` to `out`. What is taken away meanwhile is left out; sockets are.
pub fn send(root: &Root, rules: &SendRules<'_>, out: &mut dyn Write) -> Result<Sent> {
    let mut sent = Sent::default();
    sent.bytes = without_digest(out, |stream| {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (names, limits) = (FirstNames::default(), Limits::default());
        let (attributes, blocks) = (Reader::new(), Vec::new());
        let mut sender = Sender { stream, rules, own, names, limits, attributes, blocks, sent: &mut sent };
        match root {
            Root::Directory(fd) => sender.tree(fd.as_fd())?,
            Root::File(fd) => sender.file(fd.as_fd(), b"")?,
            Root::Other(stat, link) => sender.other(b"", stat, link.clone())?,
        }
        sender.sent.torn = sender.stream.torn;
        Ok(())
    })?;
    Ok(sent)
}

struct Sender<'a, 's> {
    stream: &'a mut Stream<'s>,
    rules: &'a SendRules<'a>,
    /// Whose files may have a recorded owner.
    own: (u32, u32),
    names: FirstNames,
    limits: Limits,
    attributes: Reader,
    blocks: Vec<u8>,
    sent: &'a mut Sent,
}

/// Whether what was being looked at is not there any more, or is something else.
fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO | libc::ESTALE))
}

impl Sender<'_, '_> {
    fn tree(&mut self, root: BorrowedFd<'_>) -> Result<()> {
        let mut walk = Walk::new(root)?;
        loop {
            let step = match walk.next() {
                Ok(Some(step)) => step,
                Ok(None) => return Ok(()),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            let skip = match step {
                Step::Enter { directory, path, .. } => {
                    self.directory(directory, path).context(|| format!("read {}", shown(path)))?
                }
                Step::Item { directory, name, kind, path } => match self.item(directory, name, kind, path) {
                    Err(error) if is_gone(&error) => false,
                    done => done.map(|()| false).context(|| format!("read {}", shown(path)))?,
                },
                Step::Leave { .. } => false,
            };
            if skip {
                walk.skip();
            }
        }
    }

    /// Whether what is in it shall be left out.
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<bool> {
        let stat = fstat(directory)?;
        let xattrs = self.attributes.read(directory)?.xattrs;
        let head = self.head(path, Kind::Directory, &stat, xattrs);
        self.write(&head)?;
        let kernels = is_kernels(directory)?;
        self.sent.kernels += u64::from(kernels);
        Ok(kernels)
    }

    fn item(&mut self, directory: BorrowedFd<'_>, name: &CStr, kind: FileType, path: &[u8]) -> Result<()> {
        if kind == FileType::RegularFile {
            return self.file(open(directory, name, OFlags::NOCTTY)?.as_fd(), path);
        }
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let link = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => match readlinkat(directory, name, Vec::new()) {
                Ok(link) => link.into_bytes(),
                // It was replaced by something else.
                Err(Errno::INVAL) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            },
            _ => Vec::new(),
        };
        self.other(path, &stat, link)
    }

    fn other(&mut self, path: &[u8], stat: &Stat, link: Vec<u8>) -> Result<()> {
        let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Kind::Char(numbers.0, numbers.1),
            FileType::BlockDevice => Kind::Block(numbers.0, numbers.1),
            FileType::Fifo => Kind::Fifo,
            FileType::Symlink => Kind::Symlink,
            // A socket is nothing without its process; a file or a directory was something else a moment ago.
            _ => return Ok(()),
        };
        let mut head = self.head(path, kind, stat, Vec::new());
        head.link = link;
        if matches!(kind, Kind::Symlink | Kind::Fifo) {
            self.names.link(&mut head, stat);
        }
        self.write(&head)
    }

    fn file(&mut self, file: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let stat = fstat(file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let xattrs = self.attributes.read(file)?.xattrs;
        let mut head = self.head(path, Kind::File, &stat, xattrs);
        self.names.link(&mut head, &stat);
        if head.kind == Kind::Hardlink {
            return self.write(&head);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.sent.content = self.sent.content.saturating_add(size);
        self.check(&head)?;
        self.stream.file(&mut head, file, &stat, self.rules.sparse)
    }

    fn head(&self, path: &[u8], kind: Kind, stat: &Stat, xattrs: Xattrs) -> Head {
        let on_disk = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
        let (uid, gid, mode) = match (stat.st_uid == self.own.0 || stat.st_gid == self.own.1)
            .then(|| (self.rules.recorded)(path))
            .flatten()
        {
            Some(owner) => owner.applied(on_disk, self.own),
            None => on_disk,
        };
        let mtime = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        let path = match (self.rules.base, path) {
            (base, b"") => base.to_vec(),
            (base, path) => join(base, path),
        };
        Head { path, kind, mode, uid, gid, mtime, link: Vec::new(), size: 0, stored: 0, segments: None, xattrs }
    }

    fn check(&self, head: &Head) -> Result<()> {
        if head.path.len() > self.limits.path {
            let text = format!("a path of {} bytes, more than the limit of {}", head.path.len(), self.limits.path);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(())
    }

    fn write(&mut self, head: &Head) -> Result<()> {
        self.check(head)?;
        self.blocks.clear();
        header::write(head, &mut self.blocks);
        self.stream.entry(&self.blocks, head.stored > 0)
    }
}
