//! What a `COPY` or `ADD` takes from a context, in a fixed order: the sources as written, and in each a directory before
//! what is in it, by name (bytes).
//!
//! docker's rules. All links of a source are followed, also the last, inside the context; those below it are copied as
//! links. A directory stands for what is in it. A wildcard may match nothing, a path without one must be there.
//! `--exclude` is about names below the destination, and not about a file that is a source by its own name. Sockets are
//! left out, devices refused.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;

use super::Context;
use super::glob::Glob;
use super::ignore::{Matched, Patterns};
use super::resolve::{self, Found};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::image::files::is_kernels;
use crate::image::tar::{Time, join, shown, split};
use crate::image::tree::{Name, Step, Walk, names};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Paths and patterns as written, variables substituted.
    pub sources: &'a [&'a [u8]],
    /// Keep the directories of the sources' paths, from `/./` on if that is in one (`--parents`).
    pub parents: bool,
    /// What is left out (`--exclude`).
    pub exclude: &'a Patterns,
}

/// What a file was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Kind and permission bits.
    pub mode: u32,
    /// Owner, on the host.
    pub uid: u32,
    /// Group, on the host.
    pub gid: u32,
    /// Whether it has more than one name.
    pub linked: bool,
    /// Bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Time of the last change of anything, which nobody can set.
    pub ctime: Time,
}

impl From<&Stat> for Seen {
    fn from(stat: &Stat) -> Self {
        let time = |secs: i64, nanos: u64| Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            linked: stat.st_nlink > 1,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// What is copied as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A link, and where it leads.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// One thing that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the context, without links.
    pub path: Vec<u8>,
    /// Its name below the destination.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// What it was when it was selected, or hashed.
    pub seen: Seen,
    /// Its hash, if it was changed so shortly before that its times do not show a later change.
    pub(super) unsettled: Option<[u8; 32]>,
}

/// What a source stands for: a path, or one match of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whether it is a directory, whose content is copied.
    pub directory: bool,
    /// Which of the entries are its.
    pub entries: std::ops::Range<usize>,
}

/// What is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// All of it, in order; a name may be there twice, and the later one wins.
    pub entries: Vec<Entry>,
    /// By source.
    pub sources: Vec<Source>,
    /// How many patterns match nothing.
    pub unmatched: usize,
}

impl Selection {
    /// The same with these sources only: without the archives of an `ADD`, say, which are not copied.
    #[must_use]
    pub fn only(&self, mut wanted: impl FnMut(&Source, &[Entry]) -> bool) -> Self {
        let mut found = Self::default();
        for source in &self.sources {
            let entries = self.entries.get(source.entries.clone()).unwrap_or_default();
            if wanted(source, entries) {
                let start = found.entries.len();
                found.entries.extend_from_slice(entries);
                found.sources.push(Source { directory: source.directory, entries: start..found.entries.len() });
            }
        }
        found
    }
}

/// A source, taken apart.
struct Parts {
    /// As written.
    typed: Vec<u8>,
    /// The path before the first component with a wildcard.
    base: Vec<u8>,
    /// The components from there on.
    wild: Vec<Glob>,
    /// With `--parents`, what is taken of the directory; `None`: all.
    include: Option<Patterns>,
    /// Whether it must be there.
    required: bool,
}

impl Parts {
    fn of(typed: &[u8], parents: bool) -> Result<Self> {
        let pivot = typed.windows(3).position(|three| three == b"/./");
        let (path, pattern) = match (parents, pivot) {
            (false, _) => (resolve::inside(typed)?, Vec::new()),
            (true, None) => (Vec::new(), resolve::inside(typed)?),
            (true, Some(at)) => {
                let part = |range: Option<&[u8]>| resolve::inside(range.unwrap_or_default());
                (part(typed.get(..at))?, part(typed.get(at + 3..))?)
            }
        };
        let components: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        // A backslash alone makes no pattern of a path: then it is part of a name.
        let first = components.iter().position(|part| has_wildcard(part)).unwrap_or(components.len());
        let (base, wild) = components.split_at(first);
        let wild = wild.iter().map(|part| Glob::go(part)).collect::<Result<Vec<_>>>()?;
        let required = wild.is_empty() && !has_wildcard(&pattern);
        let include = if pattern.is_empty() { None } else { Some(Patterns::new([pattern.as_slice()])?) };
        Ok(Self { typed: typed.to_vec(), base: base.join(&b'/'), wild, include, required })
    }
}

/// Whether there is a wildcard that no backslash makes ordinary.
pub fn has_wildcard(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    false
}

impl Context {
    /// Selects what is copied. `NotFound`: a source is not there or is ignored. `Invalid`: one is outside the context or
    /// a bad pattern. `Unsupported`: a device is among it.
    pub fn select(&self, request: &Request<'_>) -> Result<Selection> {
        let mut selection = Selection::default();
        for typed in request.sources {
            let parts = Parts::of(typed, request.parents)?;
            let found = self.source(&parts, request, &mut selection)?;
            match (found, parts.required) {
                (true, _) => {}
                (false, true) => return Err(self.not_found(&parts)),
                (false, false) => selection.unmatched += 1,
            }
        }
        Ok(selection)
    }

    /// Selects what is at a path, in which nothing has another meaning than itself. Errors are those of [`Self::select`].
    pub fn select_path(&self, path: &[u8]) -> Result<Selection> {
        let base = resolve::inside(path)?;
        let parts = Parts { typed: path.to_vec(), base, wild: Vec::new(), include: None, required: true };
        let mut selection = Selection::default();
        let request = Request { sources: &[], parents: false, exclude: &Patterns::default() };
        match self.source(&parts, &request, &mut selection)? {
            true => Ok(selection),
            false => Err(self.not_found(&parts)),
        }
    }

    /// Opens an entry for reading; a `Conflict` if it is not what was selected any more.
    pub fn open_entry(&self, entry: &Entry) -> Result<OwnedFd> {
        let directory = if entry.kind == Kind::Directory { OFlags::DIRECTORY } else { OFlags::empty() };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | directory;
        let file = match resolve::open(self.root.as_fd(), &entry.path, flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Err(changed(&entry.path)),
            other => other.context(|| format!("open {} in the build context", shown(&entry.path)))?,
        };
        let now = Seen::from(&fstat(&file)?);
        let same = (now.dev, now.ino) == (entry.seen.dev, entry.seen.ino);
        let kind = |seen: &Seen| FileType::from_raw_mode(seen.mode);
        if same && kind(&now) == kind(&entry.seen) { Ok(file) } else { Err(changed(&entry.path)) }
    }

    fn not_found(&self, parts: &Parts) -> Error {
        let path = shown(&parts.typed);
        let error = match &self.name {
            None => format!("file not found in build context or excluded by .dockerignore: {path}"),
            Some(name) => format!("file not found in {name}: {path}"),
        };
        let error = Error::new(ErrorKind::NotFound, error);
        let there = resolve::find(self.root.as_fd(), &parts.base).ok().flatten();
        let matched = there.map(|found| self.ignore.of(&found.path)).unwrap_or_default();
        match self.ignore.reason(&matched) {
            Some(pattern) => error.hint(format!("the pattern {:?} excludes it", shown(pattern))),
            None => error,
        }
    }

    /// Adds what a source stands for; whether that is anything.
    fn source(&self, parts: &Parts, request: &Request<'_>, selection: &mut Selection) -> Result<bool> {
        let Some(base) = resolve::find(self.root.as_fd(), &parts.base)? else { return Ok(false) };
        if parts.wild.is_empty() {
            let name = split(&parts.base).map(|(_, name)| name).unwrap_or_default();
            return self.one(base, name, parts, request, selection);
        }
        let mut matches = Vec::new();
        self.matches(&base.path, &parts.wild, &mut matches)?;
        let mut found = false;
        for path in matches {
            let name = split(&path).map(|(_, name)| name).unwrap_or_default();
            match resolve::find(self.root.as_fd(), &path)? {
                Some(one) => found |= self.one(one, name, parts, request, selection)?,
                None => {
                    let error = Error::new(ErrorKind::NotFound, format!("{} leads nowhere", shown(&path)));
                    return Err(error.context(format!("match {}", shown(&parts.typed))));
                }
            }
        }
        Ok(found)
    }

    /// Paths below `directory` that the components match. Links are not followed on the way.
    fn matches(&self, directory: &[u8], wild: &[Glob], found: &mut Vec<Vec<u8>>) -> Result<()> {
        let Some((glob, rest)) = wild.split_first() else { return Ok(()) };
        let attempt = || format!("read the directory {} of the build context", shown(directory));
        let open = resolve::open(self.root.as_fd(), directory, OFlags::RDONLY | OFlags::DIRECTORY);
        let list = match open {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => names(other.context(attempt)?.as_fd()).context(attempt)?,
        };
        for Name { name, kind } in list.iter().filter(|name| glob.matches(name.name.to_bytes())) {
            let path = join(directory, name.to_bytes());
            let may_show = *kind == FileType::Directory && self.ignore.may_except_below(&path);
            if !may_show && self.ignore.of(&path).matched {
                continue;
            }
            match (rest.is_empty(), kind) {
                (true, _) => found.push(path),
                (false, FileType::Directory) => self.matches(&path, rest, found)?,
                (false, _) => {}
            }
        }
        Ok(())
    }

    /// Adds one file, or what is in one directory; whether it is there.
    fn one(
        &self,
        found: Found,
        name: &[u8],
        parts: &Parts,
        request: &Request<'_>,
        selection: &mut Selection,
    ) -> Result<bool> {
        // Links that are ignored lead nowhere.
        if found.links.iter().any(|link| self.ignore.of(link).matched) {
            return Ok(false);
        }
        let start = selection.entries.len();
        let ignored = self.ignore.of(&found.path);
        let seen = Seen::from(&found.stat);
        let directory = FileType::from_raw_mode(seen.mode) == FileType::Directory;
        if directory {
            let mut gather = Gather::new(self, parts.include.as_ref(), request.exclude, &mut selection.entries);
            if !gather.tree(&found, ignored)? {
                return Ok(false);
            }
        } else {
            let excluded = !parts.required && request.exclude.of(name).matched;
            let Some(kind) = kind_of(&seen, &found.path, || Err(changed(&found.path)))? else { return Ok(false) };
            if ignored.matched || excluded {
                return Ok(!ignored.matched);
            }
            selection.entries.push(Entry { path: found.path, name: name.to_vec(), kind, seen, unsettled: None });
        }
        selection.sources.push(Source { directory, entries: start..selection.entries.len() });
        Ok(true)
    }
}

/// What is not as it was when it was selected.
pub(super) fn changed(path: &[u8]) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} was changed while it was read", shown(path)))
        .hint("leave out of the context what is written to during the build, with .dockerignore")
}

/// What something is copied as; `None`: it is left out. `link` reads a link.
fn kind_of(seen: &Seen, path: &[u8], link: impl FnOnce() -> Result<Vec<u8>>) -> Result<Option<Kind>> {
    Ok(Some(match FileType::from_raw_mode(seen.mode) {
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink(link()?),
        FileType::Fifo => Kind::Fifo,
        // A socket is nothing without its process.
        FileType::Socket => return Ok(None),
        FileType::CharacterDevice | FileType::BlockDevice => {
            let text = format!("{} is a device, which cannot be copied into an image", shown(path));
            return Err(Error::new(ErrorKind::Unsupported, text).hint("leave it out with .dockerignore or --exclude"));
        }
        _ => return Err(changed(path)),
    }))
}

/// A directory that is being gone through.
struct Frame {
    ignored: Matched,
    excluded: Matched,
    included: Matched,
    /// Whether it is there for the user: it is not ignored, or something in it is not.
    visible: bool,
    /// Whether it is copied for itself, if it is visible; else with the first thing in it that is.
    wanted: bool,
    /// Until it is copied.
    entry: Option<Entry>,
    dev: u64,
}

/// Goes through a directory and takes what is asked for.
struct Gather<'a> {
    context: &'a Context,
    include: Option<&'a Patterns>,
    exclude: &'a Patterns,
    entries: &'a mut Vec<Entry>,
    /// The directory, in the context.
    base: Vec<u8>,
    frames: Vec<Frame>,
    /// The directory that is entered next.
    next: Option<Frame>,
    /// Whether anything is there that is asked for, excluded or not.
    found: bool,
}

impl<'a> Gather<'a> {
    fn new(
        context: &'a Context,
        include: Option<&'a Patterns>,
        exclude: &'a Patterns,
        entries: &'a mut Vec<Entry>,
    ) -> Self {
        Self { context, include, exclude, entries, base: Vec::new(), frames: Vec::new(), next: None, found: false }
    }

    /// Takes what is in a directory, itself not; whether it is there for the user.
    fn tree(&mut self, directory: &Found, ignored: Matched) -> Result<bool> {
        let visible = !ignored.matched;
        self.base.clone_from(&directory.path);
        self.found = visible && self.include.is_none();
        let (excluded, included) = (Matched::default(), Matched::default());
        let dev = directory.stat.st_dev;
        self.next = Some(Frame { ignored, excluded, included, visible, wanted: true, entry: None, dev });
        let attempt = || format!("read the directory {} of the build context", shown(&directory.path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = resolve::open(self.context.root.as_fd(), &directory.path, flags).context(attempt)?;
        let mut walk = Walk::new(fd.as_fd()).context(attempt)?;
        loop {
            let mut skip = false;
            match walk.next_if(&mut |path, kind| self.wants(path, kind)) {
                Ok(Some(Step::Enter { directory, path, .. })) => skip = self.enter(directory, path)?,
                Ok(Some(Step::Item { directory, name, path, .. })) => self.item(directory, name, path)?,
                Ok(Some(Step::Leave { .. })) => drop(self.frames.pop()),
                Ok(None) => return Ok(self.found),
                // It was taken away since its directory was read.
                Err(error) if matches!(error.errno(), Some(libc::ENOENT)) => {}
                Err(error) => return Err(error.context(attempt())),
            }
            if skip {
                walk.skip();
            }
        }
    }

    fn full(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() { self.base.clone() } else { join(&self.base, path) }
    }

    /// Whether this has to be looked at.
    fn wants(&mut self, path: &[u8], kind: FileType) -> bool {
        let Some(parent) = self.frames.last() else { return false };
        let dev = parent.dev;
        let mut full = Vec::new();
        let ignored = if self.context.ignore.is_empty() {
            Matched::default()
        } else {
            full = self.full(path);
            self.context.ignore.step(&full, &parent.ignored)
        };
        let excluded = self.exclude.step(path, &parent.excluded);
        let included = self.include.map(|include| include.step(path, &parent.included)).unwrap_or_default();
        let is_included = self.include.is_none() || included.matched;
        let (visible, wanted) = (!ignored.matched, is_included && !excluded.matched);
        if visible {
            self.found |= is_included;
            self.show();
        }
        if kind != FileType::Directory {
            return visible && wanted;
        }
        let may_show = visible || self.context.ignore.may_except_below(&full);
        let may_include = is_included || self.include.is_some_and(|include| include.may_match_below(path));
        let may_keep = !excluded.matched || self.exclude.may_except_below(path);
        self.next = Some(Frame { ignored, excluded, included, visible, wanted, entry: None, dev });
        may_show && may_include && may_keep
    }

    /// Something that is not ignored shows the directories that it is in.
    fn show(&mut self) {
        for at in 0..self.frames.len() {
            let Some(frame) = self.frames.get_mut(at).filter(|frame| !frame.visible) else { continue };
            frame.visible = true;
            let wanted = frame.wanted;
            self.found |= self.include.is_none() || wanted;
            if wanted {
                self.copy_directories(at + 1);
            }
        }
    }

    /// The first so many directories on the way are copied now, if they are not yet.
    fn copy_directories(&mut self, count: usize) {
        let waiting = self.frames.iter_mut().take(count).filter_map(|frame| frame.entry.take());
        self.entries.extend(waiting);
    }

    /// Whether what is in it is to be left out.
    fn enter(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<bool> {
        let Some(mut frame) = self.next.take() else { return Ok(true) };
        let seen = Seen::from(&fstat(directory)?);
        // The root's own attributes are not copied.
        if !path.is_empty() {
            frame.entry = Some(Entry {
                path: self.full(path),
                name: path.to_vec(),
                kind: Kind::Directory,
                seen,
                unsettled: None,
            });
        }
        let mounted = std::mem::replace(&mut frame.dev, seen.dev) != seen.dev;
        let copied = frame.visible && frame.wanted;
        self.frames.push(frame);
        if copied {
            self.copy_directories(self.frames.len());
        }
        Ok(mounted && is_kernels(directory)?)
    }

    fn item(&mut self, directory: BorrowedFd<'_>, name: &std::ffi::CStr, path: &[u8]) -> Result<()> {
        let full = self.full(path);
        let attempt = || format!("look at {} in the build context", shown(&full));
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.context(attempt)?,
        };
        let seen = Seen::from(&stat);
        let link = || match readlinkat(directory, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL | Errno::NOENT) => Err(changed(&full)),
            Err(errno) => Err(errno).context(attempt),
        };
        let Some(kind) = kind_of(&seen, &full, link)? else { return Ok(()) };
        self.copy_directories(self.frames.len());
        self.entries.push(Entry { path: full, name: path.to_vec(), kind, seen, unsettled: None });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
