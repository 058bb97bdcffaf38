//! What a build asks of a container's files, and makes in them, besides copying. In the same helpers as `cp`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, readlinkat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Seen;
use super::access::Access;
use super::path::{There, Typed};
use super::place::{MOST_LINKS, Place, path_of};
use super::{Engine, Extraction, Inside, Record, is_broken_pipe, pipe, received_warnings};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::helper::{self, Helper, Work};
use crate::image::compress;
use crate::image::files::{Ownership, Received, Receiver, Target};
use crate::image::tar::join;
use crate::sandbox::user;

/// How directories are opened that something is made in.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Whose files become: numbers inside the id mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How directories become that are made where they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct New {
    /// Whose.
    pub owner: Owner,
    /// Their permission bits.
    pub mode: u32,
}

impl New {
    /// As anybody may enter them.
    pub fn of(owner: Owner) -> Self {
        Self { owner, mode: 0o755 }
    }
}

/// What is asked of a container's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Where this is, links followed.
    pub place: Option<&'a Typed>,
    /// Who `user[:group]` is, by names or numbers. A group that is not given is a named user's own, and has the number of
    /// one that is a number.
    pub owner: Option<&'a str>,
    /// A name that is not known is no error: it stands for root, and a group's for the user's own.
    pub lenient: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// It is a directory.
    pub directory: bool,
    /// Where it is or would be, from the root; `None`: it is a directory, or what it would be in is not there.
    pub at: Option<Vec<u8>>,
    /// Root, where nobody was asked for.
    pub owner: Owner,
}

/// Asks a container that does not run, or runs.
pub fn ask(engine: &Engine, record: &Record, question: Question<'_>) -> Result<Answer> {
    let access = Access::open(engine, record)?;
    let helper = access.start(engine, Seen::Reading, &[], |_| {
        let owner = question.owner.map(|owner| owner_of(owner, question.lenient)).transpose()?.unwrap_or_default();
        let (directory, at) = match question.place.map(|path| Place::inside()?.destination(path)) {
            None => (false, None),
            Some(Ok(found)) if found.there == There::Directory => (true, None),
            Some(Ok(found)) => (false, Some(join(&path_of(found.directory.as_fd())?, &found.name))),
            Some(Err(error)) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => (false, None),
            Some(Err(error)) => return Err(error),
        };
        Ok(Answer { directory, at, owner })
    })?;
    let answer = helper.finish(&mut |_| {}).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    let answer = answer?;
    ended.map(|()| answer)
}

fn owner_of(text: &str, lenient: bool) -> Result<Owner> {
    let (name, group) = text.split_once(':').unwrap_or((text, ""));
    let is_number = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    let known = |spec: &str, word: &str| match user::resolve(spec, &[]) {
        Err(error) if lenient && error.kind() == ErrorKind::Invalid && !is_number(word) => Ok(None),
        found => found.map(Some),
    };
    let Some(found) = known(name, name)? else { return Ok(Owner::default()) };
    let own = if is_number(name) { found.uid } else { found.gid };
    let gid = match group {
        "" => own,
        group => known(&format!("0:{group}"), group)?.map_or(own, |found| found.gid),
    };
    Ok(Owner { uid: found.uid, gid })
}

/// Makes a directory and those above it where they are missing, of mode 0755 and for this owner. Whether any was.
pub fn make_directory(engine: &Engine, record: &Record, path: &Typed, owner: Owner) -> Result<()> {
    let access = Access::open(engine, record)?;
    let helper =
        access.start(engine, Seen::Writing, &[], |_| Place::inside()?.make_directories(path, New::of(owner)))?;
    let made = helper.finish(&mut |_| {}).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    made.context(|| format!("make directory {}", path.shown()))?;
    ended
}

/// Looks at the files of a container's image: `work` runs in a helper whose `/` they are, and has nothing else open.
pub fn look<T: Serialize + DeserializeOwned>(
    engine: &Engine,
    record: &Record,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let access = Access::open(engine, record)?;
    let helper = access.start(engine, Seen::Image, &[], |_| work())?;
    let found = helper.finish(&mut |_| {}).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    let found = found?;
    ended.map(|()| found)
}

/// Where a tar goes: the container, the directory, and how the directories on the way are made.
pub type Destination<'a> = (&'a Record, &'a Typed, New);

/// Puts into a container the tar that `produce` writes. Entries keep the owners that the tar says, as far as the id mapping
/// has them. What the user should know, one line each.
pub fn put(
    engine: &Engine,
    to: Destination<'_>,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Vec<String>> {
    let (read, write) = pipe()?;
    let receiving = Receiving::start(engine, to, read)?;
    let sent = produce(&mut File::from(write));
    receiving.finish(engine, sent)
}

/// The same with `produce` in a helper whose `/` are the files of the container `from`.
pub fn put_from(
    engine: &Engine,
    to: Destination<'_>,
    from: &Record,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Vec<String>> {
    let (read, write) = pipe()?;
    let source = Access::open(engine, from)?;
    let work = |_: &Work| produce(&mut File::from(write.try_clone()?));
    let sender = source.start(engine, Seen::Image, &[write.as_fd()], work)?;
    drop(write);
    let receiving = Receiving::start(engine, to, read)?;
    let sent = sender.finish(&mut |_| {}).map_err(|error| source.explain(error));
    let done = receiving.finish(engine, sent);
    let ended = source.finish(engine);
    let warnings = done?;
    ended.map(|()| warnings)
}

/// Fills a directory of the store with the tar that `produce` writes in a helper whose `/` are the files of the container
/// `from`. Entries keep their owners, as far as the id mapping has them. What `produce` returned.
pub fn take_from<T: Serialize + DeserializeOwned>(
    engine: &Engine,
    into: &Path,
    from: &Record,
    produce: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let (read, write) = pipe()?;
    let source = Access::open(engine, from)?;
    let work = |_: &Work| produce(&mut File::from(write.try_clone()?));
    let sender = source.start(engine, Seen::Image, &[write.as_fd()], work)?;
    drop(write);
    let directory = file::open_dir(into)?;
    let receiver = helper::start_in(&engine.map, directory.as_fd(), &[read.as_fd()], |at| {
        let (mut tar, _) = compress::decompress(Box::new(File::from(read.try_clone()?)))?;
        let (directory, ownership) = (at.root.try_clone()?, Ownership::Keep(&engine.map));
        let target = Target { directory, name: None, shown: b"/", ownership, follow: false };
        Receiver::new(&mut tar, &mut |_| {}).run(target)
    })?;
    drop(read);
    let sent = sender.finish(&mut |_| {}).map_err(|error| source.explain(error));
    let received = receiver.finish(&mut |_| {});
    let ended = source.finish(engine);
    match (sent, received) {
        // This side's failure is the consequence.
        (Err(consequence), Err(error)) if is_broken_pipe(&consequence) => Err(error),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(_), Ok(received)) if received.endless => Err(Error::new(ErrorKind::Io, "the copy was cut off")),
        (Ok(produced), Ok(_)) => ended.map(|()| produced),
    }
}

/// A container that a tar is put into.
struct Receiving {
    access: Access,
    helper: Helper<Received>,
}

impl Receiving {
    fn start(engine: &Engine, (record, path, new): Destination<'_>, archive: OwnedFd) -> Result<Self> {
        let access = Access::open(engine, record)?;
        let how = Extraction { make: Some(new), owner: None };
        let helper = access.extract(engine, &archive, (Inside { name: "image", path }, how))?;
        Ok(Self { access, helper })
    }

    fn finish(self, engine: &Engine, sent: Result<()>) -> Result<Vec<String>> {
        let received = self.helper.finish(&mut |_| {}).map_err(|error| self.access.explain(error));
        let ended = self.access.finish(engine);
        match (sent, received) {
            // This side's failure is the consequence.
            (Err(consequence), Err(error)) if is_broken_pipe(&consequence) => Err(error),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(received)) if received.endless => Err(Error::new(ErrorKind::Io, "the copy was cut off")),
            (Ok(()), Ok(received)) => ended.map(|()| received_warnings(&received, false)),
        }
    }
}

impl Place {
    /// Makes the directories of this path that are missing. Links on the way are followed, also to what is not there yet.
    pub(super) fn make_directories(&self, path: &Typed, new: New) -> Result<()> {
        let names = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|b| *b == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let mut todo = VecDeque::from(names(path.path()));
        let mut links = 0;
        let mut at = self.open_root()?;
        while let Some(name) = todo.pop_front() {
            at = match self.open(at.as_fd(), &name, DIRECTORY) {
                Err(Errno::NOENT) => match mkdirat(&at, name.as_slice(), Mode::from_raw_mode(new.mode)) {
                    // A link that leads nowhere yet.
                    Err(Errno::EXIST) if links < MOST_LINKS => {
                        links += 1;
                        let target = readlinkat(&at, name.as_slice(), Vec::new())?.into_bytes();
                        names(&target).into_iter().rev().for_each(|name| todo.push_front(name));
                        if target.starts_with(b"/") { self.open_root()? } else { at }
                    }
                    Err(Errno::EXIST) => return Err(Errno::LOOP.into()),
                    made => made.map_err(Error::from).and_then(|()| self.adopt(at.as_fd(), &name, new))?,
                },
                opened => opened?,
            };
        }
        Ok(())
    }

    /// Gives a directory that was just made its mode and its owner.
    fn adopt(&self, at: BorrowedFd<'_>, name: &[u8], new: New) -> Result<OwnedFd> {
        let made = self.open(at, name, DIRECTORY | OFlags::NOFOLLOW)?;
        // Whatever the umask, and before it is somebody's.
        fchmod(&made, Mode::from_raw_mode(new.mode))?;
        match fchown(&made, Some(Uid::from_raw(new.owner.uid)), Some(Gid::from_raw(new.owner.gid))) {
            // An id that the mapping does not have: it stays root's, as what is copied does.
            Err(Errno::INVAL) => {}
            changed => changed?,
        }
        Ok(made)
    }
}
