//! `staging/<random>/`: work in progress under a lock of its own, and the trees that are being deleted.
//!
//! A directory whose lock is free was left by a process that ended. The lock file says which host made it: a lock held
//! on another machine may be invisible here, so directories of other hosts are left alone for a week.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::lock::busy;
use super::{Lock, list_dir, make_dir, read_small, with_way_out};
use crate::digest::random_hex;
use crate::error::{Context as _, Error, Result};
use crate::paths::Root;

/// Deletes the tree at a path, itself included. What mapped ids own can only be deleted inside their namespace, so
/// the caller supplies this; it treats what is gone already as deleted.
pub type RemoveTree<'a> = dyn FnMut(&Path) -> Result<()> + 'a;

const LOCK: &str = "lock";
const FOREIGN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const HOST_MAX: usize = 4096;
const ATTEMPTS: u32 = 16;
/// How often a named directory may be gone again before it is locked: each time another process was done with it.
const NAMED_ATTEMPTS: u32 = 10_000;

/// A directory of our own in `staging/`. Dropping releases its lock and leaves the directory to the next sweep.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    lock: Lock,
}

impl Staging {
    /// Makes and locks a directory with a random name.
    pub fn new(root: &Root) -> Result<Self> {
        let mut failure = busy(&root.staging());
        for _ in 0..ATTEMPTS {
            let path = Self::unused_path(root)?;
            match make_dir(&path).and_then(|()| claim(&path)) {
                Ok(Some(lock)) => return Ok(Self { path, lock }),
                Ok(None) => {}
                // A sweep took the directory before it was locked.
                Err(error) if error.errno() == Some(libc::ENOENT) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// The directory of this name, once nobody else has it: processes that need the same thing make it one after the
    /// other. Waits; the caller holds no other such directory.
    pub fn named(root: &Root, name: &str) -> Result<Self> {
        let path = root.staging().join(name);
        let lock_path = path.join(LOCK);
        let mut failure = busy(&path);
        for _ in 0..NAMED_ATTEMPTS {
            let lock = match super::ensure_dir(&path).and_then(|()| Lock::exclusive(&lock_path)) {
                // The one before removed it, or a sweep did.
                Err(error) if error.errno() == Some(libc::ENOENT) => {
                    failure = error;
                    continue;
                }
                other => other?,
            };
            if lock.is_at(&lock_path)? {
                let file = std::fs::File::from(lock.into_fd());
                std::os::unix::fs::FileExt::write_all_at(&file, host_id().as_bytes(), 0)
                    .context(|| format!("write {}", lock_path.display()))
                    .map_err(with_way_out)?;
                return Ok(Self { path, lock: Lock::from_fd(file.into()) });
            }
        }
        Err(failure)
    }

    /// A path in `staging/` that does not exist, to rename a victim to.
    pub fn unused_path(root: &Root) -> Result<PathBuf> {
        Ok(root.staging().join(random_hex(16)?))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's lock, once the directory has been renamed to its final place.
    pub fn into_lock(self) -> Lock {
        let lock = self.lock.into_fd();
        // No sweep comes there, so the host does not matter any more. Best effort: it does no harm, either.
        let _ = rustix::fs::ftruncate(&lock, 0);
        Lock::from_fd(lock)
    }

    /// Whether this is what such a lock has in it when it is this host's.
    pub fn is_mark(content: &[u8]) -> bool {
        content == host_id().as_bytes()
    }

    /// Deletes the directory now.
    pub fn remove(self, remove: &mut RemoveTree<'_>) -> Result<()> {
        // Under another name nobody who waits for its name makes a lock in it meanwhile.
        let leaving = self.path.with_file_name(random_hex(16)?);
        let path = match rustix::fs::rename(&self.path, &leaving) {
            Ok(()) => &leaving,
            Err(_) => &self.path,
        };
        remove_gone(path, remove)
    }

    /// Deletes what ended processes left; returns what was deleted. Goes on after a failure, reports the first.
    pub fn sweep(root: &Root, remove: &mut RemoveTree<'_>) -> Result<Vec<PathBuf>> {
        let mut swept = Vec::new();
        let mut failure = None;
        for name in list_dir(&root.staging())? {
            let path = root.staging().join(name);
            match sweep_one(&path, remove) {
                Ok(true) => swept.push(path),
                Ok(false) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(swept), Err)
    }
}

/// Takes the lock of a new directory. `None`: a sweep was faster, and the directory is or will be gone.
fn claim(path: &Path) -> Result<Option<Lock>> {
    let lock_path = path.join(LOCK);
    let Some(lock) = Lock::try_exclusive(&lock_path)? else {
        return Ok(None);
    };
    if !lock.is_at(&lock_path)? {
        return Ok(None);
    }
    // Into the open file, never a new one: the lock is on this inode.
    let mut file = std::fs::File::from(lock.into_fd());
    file.write_all(host_id().as_bytes()).context(|| format!("write {}", lock_path.display())).map_err(with_way_out)?;
    Ok(Some(Lock::from_fd(file.into())))
}

/// What a sweep finds at a path.
enum Found {
    /// Work of somebody who lives, or nothing any more.
    NotOurs,
    /// An empty directory, removed on looking.
    Removed,
    /// What an ended process left, with its lock if it has one.
    Left(Option<Lock>),
}

fn sweep_one(path: &Path, remove: &mut RemoveTree<'_>) -> Result<bool> {
    if is_foreign(path) && !is_old(path) {
        return Ok(false);
    }
    let _lock = match look(path)? {
        Found::NotOurs => return Ok(false),
        Found::Removed => return Ok(true),
        Found::Left(lock) => lock,
    };
    remove_gone(path, remove)?;
    Ok(true)
}

/// Never makes a lock file: that would bring one into a directory which another sweep is emptying.
fn look(path: &Path) -> Result<Found> {
    let lock_path = path.join(LOCK);
    // Once more where a maker's lock appeared between the two calls.
    for _ in 0..2 {
        match rustix::fs::open(&lock_path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => {
                let lock = Lock::try_exclusive_fd(fd).context(|| format!("lock {}", lock_path.display()))?;
                return match lock {
                    Some(lock) if lock.is_at(&lock_path)? => Ok(Found::Left(Some(lock))),
                    _ => Ok(Found::NotOurs),
                };
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Ok(Found::Left(None)),
            Err(error) => return Err(Error::from(error).context(format!("open lock {}", lock_path.display()))),
        }
        // Without a lock it was just made, and a maker that finds it gone makes another one.
        match rustix::fs::rmdir(path) {
            Ok(()) => return Ok(Found::Removed),
            Err(Errno::NOENT) => return Ok(Found::NotOurs),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(Error::from(error).context(format!("delete {}", path.display()))),
        }
    }
    // Or it is being deleted and the lock went first; or it is a layer that was moved here without one.
    Ok(Found::Left(None))
}

/// Deletes a tree; one that another process deletes at the same time is deleted too.
fn remove_gone(path: &Path, remove: &mut RemoveTree<'_>) -> Result<()> {
    match remove(path) {
        Err(_) if !super::exists(path)? => Ok(()),
        other => other.context(|| format!("delete {}", path.display())),
    }
}

fn is_foreign(path: &Path) -> bool {
    // No content, or not all: made by a process that was killed at once or could not write, or a container's directory on
    // its way out.
    read_small(&path.join(LOCK), HOST_MAX).is_ok_and(|host| !host_id().as_bytes().starts_with(&host))
}

fn is_old(path: &Path) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > FOREIGN_AGE))
}

/// What tells this machine from others: its id (cluster nodes booted from one image share it) and its name.
fn host_id() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let machine = read_small(Path::new("/etc/machine-id"), HOST_MAX).unwrap_or_default();
        let name = rustix::system::uname();
        format!("{} {}\n", String::from_utf8_lossy(&machine).trim(), name.nodename().to_string_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    // The engine's own: a lock may be made in a directory that was just renamed away, while it is emptied.
    use crate::file::remove_tree;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        make_dir(&root.staging()).unwrap();
        (dir, root)
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let (_dir, root) = root();
        let held = Staging::new(&root).unwrap();
        let left = Staging::new(&root).unwrap();
        std::fs::write(left.path().join("x"), "x").unwrap();
        let left_path = left.path().to_owned();
        drop(left);
        let half_made = root.staging().join("half");
        make_dir(&half_made).unwrap();
        // A deletion that was killed after it had unlinked the lock.
        let half_deleted = root.staging().join("rest");
        make_dir(&half_deleted).unwrap();
        make_dir(&half_deleted.join("layer")).unwrap();

        // One whose maker could not write its host's name to the end.
        let half_named = root.staging().join("named");
        make_dir(&half_named).unwrap();
        std::fs::write(half_named.join(LOCK), &host_id()[..3]).unwrap();

        let mut swept = Staging::sweep(&root, &mut remove_tree).unwrap();
        swept.sort();
        let mut expected = vec![left_path, half_made, half_deleted, half_named];
        expected.sort();
        assert_eq!(swept, expected);
        assert_eq!(list_dir(&root.staging()).unwrap().len(), 1);
        held.remove(&mut remove_tree).unwrap();
        assert!(list_dir(&root.staging()).unwrap().is_empty());
    }

    #[test]
    fn another_hosts_directory_stays_for_a_week() {
        let (_dir, root) = root();
        let path = root.staging().join("foreign");
        make_dir(&path).unwrap();
        std::fs::write(path.join(LOCK), "other machine\n").unwrap();
        assert!(Staging::sweep(&root, &mut remove_tree).unwrap().is_empty());
        let old = SystemTime::now() - FOREIGN_AGE - Duration::from_secs(60);
        std::fs::File::open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(Staging::sweep(&root, &mut remove_tree).unwrap(), [path]);
    }

    #[test]
    fn one_process_at_a_time_has_a_named_directory() {
        let (_dir, root) = root();
        let alone = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let held = Staging::named(&root, "fetch-x").unwrap();
                        assert!(alone.swap(false, std::sync::atomic::Ordering::SeqCst));
                        // It may come across one that another is just deleting.
                        let swept = Staging::sweep(&root, &mut remove_tree).unwrap();
                        assert!(!swept.iter().any(|path| path == held.path()));
                        alone.store(true, std::sync::atomic::Ordering::SeqCst);
                        held.remove(&mut remove_tree).unwrap();
                    }
                });
            }
        });
        assert!(list_dir(&root.staging()).unwrap().is_empty());
    }

    #[test]
    fn makers_and_sweepers_do_not_take_from_each_other() {
        let (_dir, root) = root();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        Staging::sweep(&root, &mut remove_tree).unwrap();
                    }
                });
                scope.spawn(|| {
                    for n in 0..200 {
                        let staging = Staging::new(&root).unwrap();
                        std::fs::write(staging.path().join("work"), n.to_string()).unwrap();
                        assert_eq!(std::fs::read_to_string(staging.path().join("work")).unwrap(), n.to_string());
                    }
                });
            }
        });
        Staging::sweep(&root, &mut remove_tree).unwrap();
        assert!(list_dir(&root.staging()).unwrap().is_empty());
    }
}
