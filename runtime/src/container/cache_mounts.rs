//! `mounts/`: the directories that `RUN --mount=type=cache` shows, which stay from build to build.
//!
//! ```text
//! mounts/<key>-<n>/about.json   what it is, for people; sealed
//!                  lock         shared or exclusive, as the mount asks, while a step has it; its time is that of the last use
//!                  data/        what the steps made, with the container's ids
//! ```
//!
//! The key is a digest, so that no id of a mount is part of a path. Mounts of one key that must not share have several
//! directories. Nothing is flushed: what is lost is made again. Runs in the CLI.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Durability, Lock, Staging};
use crate::paths::Root;

const VERSION: u32 = 1;
/// A description is far smaller.
const MOST: usize = 64 << 10;
/// File name of what a directory is, [`About`].
pub const ABOUT: &str = "about.json";
const LOCK: &str = "lock";
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
    /// It was made just now.
    pub new: bool,
    _lock: Lock,
}

/// Takes the directory with this key, and makes it where there is none: `fill` is given the new, empty one. Waits for
/// steps of other builds, as `sharing` says.
pub fn hold(
    engine: &Engine,
    (key, id): (&Digest, &str),
    sharing: Sharing,
    fill: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Held> {
    let root = engine.root();
    file::ensure_dir(&root.cache_mounts())?;
    for n in 0..MOST_PRIVATE {
        let name = Root::cache_mount(key, n);
        let Some(lock) = lock(root, &name, sharing)? else { continue };
        let directory = root.cache_mounts().join(&name);
        let data = Root::cache_mount_data(&name);
        let new = !file::exists(&root.path().join(&data))? && make(engine, id, &directory, fill)?;
        // Best effort: it tells of the last use.
        let _ = std::fs::File::open(directory.join(LOCK)).and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(Held { data, new, _lock: lock });
    }
    Err(Error::new(ErrorKind::Conflict, format!("cache mount {id}: {MOST_PRIVATE} steps use one of their own")))
}

/// `None`: somebody else uses it alone, and so does whoever asks.
fn lock(root: &Root, name: &str, sharing: Sharing) -> Result<Option<Lock>> {
    let path = root.cache_mounts().join(name).join(LOCK);
    for _ in 0..ATTEMPTS {
        file::ensure_dir(&root.cache_mounts().join(name))?;
        let taken = match sharing {
            Sharing::Shared => Lock::shared(&path).map(Some),
            Sharing::Locked => Lock::exclusive(&path).map(Some),
            Sharing::Private => Lock::try_exclusive(&path),
        };
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

/// Whether it was made by this call, and not by another step that shares it.
fn make(engine: &Engine, id: &str, directory: &Path, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<bool> {
    let staging = Staging::new(engine.root())?;
    let data = staging.path().join("data");
    let mut attempt = || -> Result<bool> {
        file::make_dir_mode(&data, rustix::fs::Mode::from_raw_mode(0o755))?;
        fill(&data)?;
        let about = About { version: VERSION, id: id.to_owned(), created: Timestamp::now().to_string() };
        file::write_atomic(&directory.join(ABOUT), &file::to_json(&about)?, Durability::Relaxed)?;
        match std::fs::rename(&data, directory.join("data")) {
            Ok(()) => Ok(true),
            // Another was first.
            Err(_) if file::exists(&directory.join("data"))? => Ok(false),
            Err(error) => Err(error).context(|| format!("make the cache mount {id}")),
        }
    };
    let made = attempt();
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    made
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
        let Some(lock) = Lock::try_exclusive(&path.join(LOCK))? else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idmap::{Extent, IdMap, Mode};
    use crate::image::store::tests::{open, scratch};

    fn engine(dir: &tempfile::TempDir) -> Engine {
        let extent = vec![Extent { inside: 0, outside: rustix::process::geteuid().as_raw(), count: 1 }];
        Engine { store: open(dir), map: IdMap::new(Mode::Single, extent.clone(), extent) }
    }

    fn held(engine: &Engine, id: &str, sharing: Sharing) -> Held {
        hold(engine, (&Digest::of(id.as_bytes()), id), sharing, &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn who_shares_and_who_does_not() {
        let dir = scratch();
        let engine = engine(&dir);
        let one = held(&engine, "../../etc", Sharing::Shared);
        let two = held(&engine, "../../etc", Sharing::Shared);
        assert!(one.new && !two.new && one.data == two.data);
        let alone = held(&engine, "../../etc", Sharing::Private);
        let other = held(&engine, "../../etc", Sharing::Private);
        assert!(alone.new && other.new && alone.data != one.data && alone.data != other.data);
        drop(alone);
        assert!(!held(&engine, "../../etc", Sharing::Private).new);
        assert_ne!(held(&engine, "x", Sharing::Locked).data, one.data);
        for name in file::list_dir(&engine.root().cache_mounts()).unwrap() {
            assert!(name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{name}");
        }
    }

    #[test]
    fn a_prune_takes_what_nobody_has() {
        let dir = scratch();
        let engine = engine(&dir);
        let used = held(&engine, "used", Sharing::Shared);
        drop(held(&engine, "free", Sharing::Locked));
        std::fs::write(engine.root().path().join(&used.data).join("f"), "f").unwrap();
        let listed = list(&engine).unwrap();
        let mut ids: Vec<&str> = listed.iter().filter_map(|one| one.about.as_ref()).map(|a| a.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["free", "used"]);
        assert!(prune(&engine, &|_| false).unwrap().is_empty());
        let pruned = prune(&engine, &|used| used.is_some()).unwrap();
        assert_eq!(pruned.len(), 1);
        assert_eq!(pruned[0].about.as_ref().unwrap().id, "free");
        drop(used);
        assert_eq!(prune(&engine, &|_| true).unwrap().len(), 1);
        assert!(list(&engine).unwrap().is_empty());
    }
}
