//! `mounts/`: the directories that `RUN --mount=type=cache` shows, which stay from build to build.
//!
//! ```text
//! mounts/<key>-<n>/about.json   what it is, for people; sealed
//!                  lock         shared or exclusive, as the mount asks, while a step has it; its time is that of the last use
//!                  data/        what the steps made, with the container's ids
//! ```
//!
//! The key is a digest, so that no id of a mount is part of a path. Mounts of one key that must not share have several
//! directories. Whoever makes a directory gives it its mode and owner before others see it, and they stay. Nothing is
//! flushed: what is lost is made again. Runs in the CLI; what may be another id's is made in the storage helper.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::digest::{Digest, random_hex};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Durability, Lock, Staging};
use crate::idmap::helper;
use crate::paths::Root;
use crate::sandbox::open_or_make_by;
use crate::sandbox::plan::Own;

const VERSION: u32 = 1;
/// A description is far smaller.
const MOST: usize = 64 << 10;
/// File name of what a directory is, [`About`].
pub const ABOUT: &str = "about.json";
const LOCK: &str = "lock";
const DATA: &str = "data";
/// Permission bits of what is made without a word about it.
const PLAIN: Mode = Mode::from_raw_mode(0o755);
/// Directories with one key. So many steps that run at the same time, each with one of its own, nobody has.
const MOST_PRIVATE: usize = 1024;
/// How often a prune may take the directory just before it is locked.
const ATTEMPTS: usize = 100;

/// How steps at the same time use a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// What a directory is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    version: u32,
    /// The id of the mount, as the Dockerfile has it.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// A directory that a step uses, locked.
#[derive(Debug)]
pub struct Held {
    /// Its files, relative to the store.
    pub data: String,
    _lock: Lock,
}

/// What a directory is that is made.
pub struct New<'a> {
    /// Its mode and owner; else what `fill` returns; else 0755 and the user's, who is root in the containers.
    pub own: Option<Own>,
    /// Is given the empty directory.
    pub fill: &'a mut dyn FnMut(&Path) -> Result<Option<Own>>,
}

/// Takes the directory with this key, and makes it where there is none. Waits for steps of other builds, as `sharing` says.
pub fn hold(engine: &Engine, (key, id): (&Digest, &str), sharing: Sharing, mut new: New<'_>) -> Result<Held> {
    let root = engine.root();
    file::ensure_dir(&root.cache_mounts())?;
    for n in 0..MOST_PRIVATE {
        let name = Root::cache_mount(key, n);
        let Some(lock) = lock(root, &name, sharing)? else { continue };
        let directory = root.cache_mounts().join(&name);
        let data = Root::cache_mount_data(&name);
        if !file::exists(&root.path().join(&data))? {
            make(engine, id, &name, &mut new).context(|| format!("make the cache mount {id}"))?;
        }
        // Best effort: it tells of the last use.
        let _ = std::fs::File::open(directory.join(LOCK)).and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(Held { data, _lock: lock });
    }
    Err(Error::new(ErrorKind::Conflict, format!("cache mount {id}: {MOST_PRIVATE} steps use one of their own")))
}

/// `None`: somebody else uses it alone, and so does whoever asks.
fn lock(root: &Root, name: &str, sharing: Sharing) -> Result<Option<Lock>> {
    let path = root.cache_mounts().join(name).join(LOCK);
    for _ in 0..ATTEMPTS {
        let taken = file::ensure_dir(&root.cache_mounts().join(name)).and_then(|()| match sharing {
            Sharing::Shared => Lock::shared(&path).map(Some),
            Sharing::Locked => Lock::exclusive(&path).map(Some),
            Sharing::Private => Lock::try_exclusive(&path),
        });
        // A prune may have taken it away at any point.
        match taken {
            Ok(None) => return Ok(None),
            Ok(Some(lock)) if lock.is_at(&path)? => return Ok(Some(lock)),
            Ok(Some(_)) => {}
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(ErrorKind::Conflict, format!("{} is removed again and again", path.display())))
}

fn make(engine: &Engine, id: &str, name: &str, new: &mut New<'_>) -> Result<()> {
    let staging = Staging::new(engine.root())?;
    let data = staging.path().join(DATA);
    let mut attempt = || -> Result<()> {
        file::make_dir_mode(&data, PLAIN)?;
        let filled = (new.fill)(&data)?;
        let about = About { version: VERSION, id: id.to_owned(), created: Timestamp::now().to_string() };
        let path = engine.root().cache_mounts().join(name).join(ABOUT);
        file::write_atomic(&path, &file::to_json(&about)?, Durability::Relaxed)?;
        publish(engine, &data, &Root::cache_mount_data(name), new.own.or(filled))
    };
    let made = attempt();
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    made
}

/// Moves a finished directory to its place in the store, with this mode and owner, unless another was first: that one
/// may be in use.
fn publish(engine: &Engine, made: &Path, place: &str, own: Option<Own>) -> Result<()> {
    let made = made.strip_prefix(engine.root().path());
    let made = made.map_err(|_| Error::new(ErrorKind::Io, "the staging directory is not in the store"))?;
    let work = |store: BorrowedFd<'_>| -> Result<()> {
        own.map_or(Ok(()), |own| give(store, made, own))?;
        match renameat_with(store, made, store, place, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno).context(|| "move it to its place"),
        }
    };
    let store = engine.directory()?;
    match own {
        Some(_) => helper::run(&engine.map, store.as_fd(), &mut |_| {}, |at| work(at.root.as_fd())),
        None => work(store.as_fd()),
    }
}

/// In the helper: gives a directory that nobody else sees its owner and mode.
fn give(at: BorrowedFd<'_>, path: &Path, own: Own) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(at, path, flags, Mode::empty())?;
    if let Some((uid, gid)) = own.owner {
        fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .context(|| format!("give it to {uid}:{gid}"))?;
    }
    fchmod(&directory, Mode::from_raw_mode(own.mode & 0o7777)).context(|| "set its mode")
}

impl Held {
    /// Makes a directory in it where there is none, and those above it, plain ones. Links are followed inside it. One that
    /// is there stays as it is.
    pub fn ensure(&self, engine: &Engine, path: &str, own: Option<Own>) -> Result<()> {
        let directory = engine.root().path().join(&self.data).with_file_name("");
        let directory = file::open_dir(&directory)?;
        helper::run(&engine.map, directory.as_fd(), &mut |_| {}, |at| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let data = openat(&at.root, DATA, flags, Mode::empty())?;
            let mut make = |parent: BorrowedFd<'_>, name: &str, last: bool| match own.filter(|_| last) {
                Some(own) => make_owned(at.root.as_fd(), parent, name, own),
                None => Ok(mkdirat(parent, name, PLAIN)?),
            };
            open_or_make_by(data.as_fd(), path, true, &mut make).map(drop)
        })
    }
}

/// In the helper: steps of other builds see what is in `parent`, so that the directory is made in `aside`, where they do not,
/// and a helper that is killed leaves none that is not as it should be.
fn make_owned(aside: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &str, own: Own) -> Result<()> {
    let made = format!("new-{}", random_hex(8)?);
    mkdirat(aside, &made, Mode::RWXU)?;
    let placed = give(aside, Path::new(&made), own)
        .and_then(|()| Ok(renameat_with(aside, &made, parent, name, RenameFlags::NOREPLACE)?));
    if placed.is_err() {
        // Best effort: it goes with the cache.
        let _ = unlinkat(aside, &made, AtFlags::REMOVEDIR);
    }
    placed
}

/// A directory, looked at.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its folder in `mounts/`.
    pub name: String,
    /// What it is; `None`: that is lost.
    pub about: Option<About>,
    /// When a step last had it.
    pub used: Option<Timestamp>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// All directories.
pub fn list(engine: &Engine) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for name in file::list_dir(&engine.root().cache_mounts())? {
        let path = engine.root().cache_mounts().join(&name);
        let bytes = match engine.disk_usage(&path) {
            Err(error) if error.errno() == Some(libc::ENOENT) => continue,
            other => other?,
        };
        listed.push(Listed { about: about(&path), used: used(&path), name, bytes });
    }
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

fn about(directory: &Path) -> Option<About> {
    let about: About = file::read_json(&directory.join(ABOUT), MOST).ok()?;
    (about.version == VERSION).then_some(about)
}

fn used(directory: &Path) -> Option<Timestamp> {
    let time = std::fs::symlink_metadata(directory.join(LOCK)).and_then(|found| found.modified()).ok()?;
    Timestamp::try_from(time).ok()
}

/// Removes the directories that no step uses, and that `takes` picks by the time of their last use. What was removed.
pub fn prune(engine: &Engine, takes: &dyn Fn(Option<Timestamp>) -> bool) -> Result<Vec<Listed>> {
    let mut pruned = Vec::new();
    for listed in list(engine)?.into_iter().filter(|listed| takes(listed.used)) {
        let path = engine.root().cache_mounts().join(&listed.name);
        let Some(lock) = lock_unused(&path)? else { continue };
        // It may have been used meanwhile.
        if !takes(used(&path)) {
            continue;
        }
        let victim = Staging::unused_path(engine.root())?;
        rustix::fs::rename(&path, &victim).context(|| format!("remove {}", path.display()))?;
        drop(lock);
        engine.remove_tree(&victim)?;
        pruned.push(listed);
    }
    Ok(pruned)
}

/// `None`: somebody uses it, or another prune has taken it away.
fn lock_unused(directory: &Path) -> Result<Option<Lock>> {
    let path = directory.join(LOCK);
    match Lock::try_exclusive(&path) {
        Ok(Some(lock)) => Ok(if lock.is_at(&path)? { Some(lock) } else { None }),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        other => other,
    }
}

#[cfg(test)]
mod tests;
