//! The containers of a store: creating, finding, renaming, changing and removing them.
//!
//! A container is built in `staging/` under its own `lock` and moved to `containers/<id>` whole; it is removed by
//! moving it back, the lock still held. Names are symlinks, so that symlink(2) decides who gets one. They change under
//! `names.lock` together with the directory that they point to, so a symlink to nothing is a leftover of a crash.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::summary::RECORD_MAX;
use super::{Record, State};
use crate::container::names::{ContainerId, ContainerName, candidates, is_hex};
use crate::error::{Context as _, Error, ErrorKind, REPAIR, Result};
use crate::file::{self, Durability, Lock, LockState, RemoveTree, Staging};
use crate::paths::{ContainerPaths, Root};

/// Mode of a new container's root directory, until its image says otherwise.
const ROOT_MODE: rustix::fs::Mode = rustix::fs::Mode::from_bits_truncate(0o755);

/// All containers of a store.
#[derive(Clone, Debug)]
pub struct Containers {
    pub(super) root: Root,
}

/// A container whose `lock` we hold: nobody runs, changes or removes it meanwhile.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its files.
    pub paths: ContainerPaths,
    /// Its lock.
    pub lock: Lock,
}

/// The name of a new container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChoice {
    /// This one, or an error.
    Given(ContainerName),
    /// One that is free.
    Generated,
}

impl Containers {
    /// The containers of the store at `root`.
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// Files of a container.
    pub fn paths(&self, id: &ContainerId) -> ContainerPaths {
        self.root.container(id.as_str())
    }

    /// Creates the container of this record and OCI spec, and returns it locked. Sets the record's name.
    ///
    /// The caller holds the store's lock shared since it resolved the image. `Flushed`: it is on disk afterwards.
    pub fn create(
        &self,
        record: &mut Record,
        spec: &[u8],
        name: NameChoice,
        durability: Durability,
    ) -> Result<Container> {
        let staging = Staging::new(&self.root)?;
        let result =
            write_spec(&staging, spec, durability).and_then(|()| self.create_in(&staging, record, name, durability));
        match result {
            Ok(paths) => Ok(Container { id: record.id.clone(), paths, lock: staging.into_lock() }),
            Err(error) => {
                // Nothing in it belongs to a mapped id yet. What cannot be deleted is left to the next sweep.
                let _ = std::fs::remove_dir_all(staging.path());
                Err(error)
            }
        }
    }

    fn create_in(
        &self,
        staging: &Staging,
        record: &mut Record,
        name: NameChoice,
        durability: Durability,
    ) -> Result<ContainerPaths> {
        let draft = ContainerPaths::at(staging.path());
        file::make_dir(&draft.layer())?;
        file::make_dir_mode(&draft.layer_diff(), ROOT_MODE)?;
        file::make_dir(&draft.work())?;
        if durability == Durability::Flushed {
            file::fsync_dir(&draft.layer())?;
        }
        let names = match name {
            NameChoice::Given(name) => vec![name],
            NameChoice::Generated => candidates(&record.id)?,
        };
        let paths = self.paths(&record.id);
        let last = names.len();
        for (attempt, name) in names.into_iter().enumerate() {
            record.name = name;
            // Flushes the draft's directory, too.
            file::write_atomic(&draft.record(), &file::to_json(record)?, durability)?;
            match self.publish(draft.path(), record, &paths) {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt + 1 < last => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        if durability == Durability::Flushed {
            file::fsync_dir(&self.root.containers())?;
            file::fsync_dir(&self.root.names())?;
        }
        Ok(paths)
    }

    /// Takes the name and moves the draft to its place, both or neither.
    fn publish(&self, draft: &Path, record: &Record, paths: &ContainerPaths) -> Result<()> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        self.take_name(&record.name, &record.id)?;
        rustix::fs::rename(draft, paths.path()).map_err(|errno| {
            let _ = rustix::fs::unlink(self.root.name(record.name.as_str()));
            Error::from(errno).context(format!("create container {}", record.id.short()))
        })
    }

    /// Makes the symlink of a name; the caller holds `names.lock`.
    fn take_name(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        let path = self.root.name(name.as_str());
        let attempt = || format!("take the name {name}");
        match rustix::fs::symlink(id.as_str(), &path) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::from(error).context(attempt())),
        }
        if let Some(owner) = self.name_target(name)?
            && self.owns_name(&owner, name)
        {
            let message = format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        rustix::fs::unlink(&path).context(attempt)?;
        rustix::fs::symlink(id.as_str(), &path).context(attempt)
    }

    /// Whether the container is there and has that name: a crash can leave a symlink with the old name, or to nothing.
    fn owns_name(&self, id: &ContainerId, name: &ContainerName) -> bool {
        match self.read(id) {
            Ok(record) => record.name == *name,
            // A damaged record may be anybody's.
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// Whether the container is there, and its record says that this is its name.
    pub fn has_name(&self, id: &ContainerId, name: &ContainerName) -> bool {
        self.read(id).is_ok_and(|record| record.name == *name)
    }

    /// Points a name at the container whose record has it, durably; whatever it pointed to.
    pub fn restore_name(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        if self.read(id)?.name == *name {
            self.take_name(name, id)?;
        }
        file::fsync_dir(&self.root.names())
    }

    /// Where a name's symlink points, if to an id.
    pub fn name_target(&self, name: &ContainerName) -> Result<Option<ContainerId>> {
        match rustix::fs::readlink(self.root.name(name.as_str()), Vec::new()) {
            Ok(target) => Ok(target.to_str().ok().and_then(|t| ContainerId::parse(t).ok())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("look up the name {name}"))),
        }
    }

    /// Finds a container by id, by name, or by the unique beginning of an id, in docker's order.
    pub fn find(&self, text: &str) -> Result<ContainerId> {
        if let Ok(id) = ContainerId::parse(text)
            && file::exists(self.paths(&id).path())?
        {
            return Ok(id);
        }
        if let Ok(name) = ContainerName::parse(text)
            && let Some(id) = self.name_target(&name)?
            && file::exists(self.paths(&id).path())?
        {
            return Ok(id);
        }
        if text.is_empty() || !text.bytes().all(is_hex) {
            return Err(no_such_container(text));
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(no_such_container(text)),
            (Some(_), Some(_)) => {
                Err(Error::new(ErrorKind::Conflict, format!("Multiple IDs found with provided prefix: {text}")))
            }
        }
    }

    /// Ids of all containers, unordered.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let names = file::list_dir(&self.root.containers())?;
        Ok(names.iter().filter_map(|name| ContainerId::parse(name).ok()).collect())
    }

    /// The whole record of a container.
    pub fn read(&self, id: &ContainerId) -> Result<Record> {
        read_record(&self.paths(id)).map_err(|error| self.gone(error, id))
    }

    /// The container's directory.
    pub fn directory(&self, id: &ContainerId) -> Result<OwnedFd> {
        file::open_dir(self.paths(id).path()).map_err(|error| self.gone(error, id))
    }

    /// Waits for the lock that a restart holds from the stop to the start.
    pub fn lock_restart(&self, id: &ContainerId) -> Result<Lock> {
        Lock::exclusive(&self.paths(id).restart_lock()).map_err(|error| self.gone(error, id))
    }

    /// Waits for the lock of whoever makes the container stand still or go on.
    pub fn lock_pause(&self, id: &ContainerId) -> Result<Lock> {
        Lock::exclusive(&self.paths(id).pause_lock()).map_err(|error| self.gone(error, id))
    }

    /// The same without waiting: `None` while another one has it.
    pub fn try_lock_pause(&self, id: &ContainerId) -> Result<Option<Lock>> {
        Lock::try_exclusive(&self.paths(id).pause_lock()).map_err(|error| self.gone(error, id))
    }

    /// What a failure means if the container was removed meanwhile, perhaps with its layers: that it is not here.
    pub fn unless_removed(&self, error: Error, id: &ContainerId) -> Error {
        if self.is_gone(id) { no_such_container(id.as_str()) } else { error }
    }

    /// Whether the container is not here, or not any more.
    pub fn is_gone(&self, id: &ContainerId) -> bool {
        file::exists(self.paths(id).path()).is_ok_and(|there| !there)
    }

    /// Whether a monitor (or whoever starts, commits or removes the container) holds its lock.
    pub fn probe(&self, id: &ContainerId) -> Result<LockState> {
        Lock::probe(&self.paths(id).lock()).map_err(|error| self.gone(error, id))
    }

    /// Takes the container's lock if it is free; `None` if not.
    pub fn try_lock(&self, id: &ContainerId) -> Result<Option<Container>> {
        let paths = self.paths(id);
        let Some(lock) = Lock::try_exclusive(&paths.lock()).map_err(|error| self.gone(error, id))? else {
            return Ok(None);
        };
        // It may have been removed before we had the lock.
        match lock.is_at(&paths.lock())? {
            true => Ok(Some(Container { id: id.clone(), paths, lock })),
            false => Err(no_such_container(id.as_str())),
        }
    }

    /// Waits for the container's lock.
    pub fn lock(&self, id: &ContainerId) -> Result<Container> {
        let paths = self.paths(id);
        let lock = Lock::exclusive(&paths.lock()).map_err(|error| self.gone(error, id))?;
        match lock.is_at(&paths.lock())? {
            true => Ok(Container { id: id.clone(), paths, lock }),
            false => Err(no_such_container(id.as_str())),
        }
    }

    /// Changes the record; returns the new one. If `change` fails, nothing is written.
    pub fn update(
        &self,
        id: &ContainerId,
        durability: Durability,
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        update_record(&self.paths(id), durability, change).map_err(|error| self.gone(error, id))
    }

    /// Changes the state in the record.
    pub fn set_state(&self, id: &ContainerId, state: State, durability: Durability) -> Result<Record> {
        self.update(id, durability, |record| {
            record.state = state;
            Ok(())
        })
    }

    /// Gives a container another name, durably.
    pub fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        let old = self.read(id)?.name;
        if old == *name {
            let message = "Renaming a container with the same name as its current name";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.take_name(name, id)?;
        let updated = self.update(id, Durability::Flushed, |record| {
            record.name = name.clone();
            Ok(())
        });
        // The record decides which of the two symlinks counts; one that could not be flushed may be either after a crash.
        match updated {
            Ok(_) => self.drop_name(&old, id)?,
            Err(error) => {
                if self.has_name(id, &old) {
                    self.drop_name(name, id)?;
                }
                return Err(error);
            }
        }
        file::fsync_dir(&self.root.names())
    }

    /// Removes names of containers that are gone, which a removal that was cut short leaves.
    pub fn drop_stale_names(&self) -> Result<()> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        for name in file::list_dir(&self.root.names())? {
            let Ok(name) = ContainerName::parse(&name) else { continue };
            if let Some(id) = self.name_target(&name)?
                && !file::exists(self.paths(&id).path())?
            {
                self.drop_name(&name, &id)?;
            }
        }
        Ok(())
    }

    /// Removes a name's symlink if it is this container's; the caller holds `names.lock`.
    fn drop_name(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        if self.name_target(name)?.as_ref() == Some(id) {
            rustix::fs::unlinkat(rustix::fs::CWD, self.root.name(name.as_str()), AtFlags::empty())
                .context(|| format!("remove the name {name}"))?;
        }
        Ok(())
    }

    /// Removes a locked container. Once it is out of sight (durably, if `Flushed`) its tree is deleted; what a failure
    /// of that leaves is swept later.
    pub fn remove(&self, container: Container, durability: Durability, remove: &mut RemoveTree<'_>) -> Result<()> {
        let grave = self.bury(&container)?;
        if durability == Durability::Flushed {
            self.flush()?;
        }
        remove(&grave)
    }

    /// Takes a locked container out of sight; returns where its tree is now, to be deleted under its lock.
    pub fn bury(&self, container: &Container) -> Result<PathBuf> {
        // Named by the id: needs no new directory, so it works on a full disk.
        let grave = self.root.staging().join(container.id.as_str());
        self.take_out(container, &grave)?;
        Ok(grave)
    }

    /// Moves a locked container to a path in the store, durably.
    pub fn move_out(&self, container: &Container, target: &Path) -> Result<()> {
        self.take_out(container, target)?;
        self.flush()
    }

    fn take_out(&self, container: &Container, target: &Path) -> Result<()> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        let names = self.names_of(&container.id)?;
        rustix::fs::rename(container.paths.path(), target)
            .context(|| format!("remove container {}", container.id.short()))?;
        names.iter().try_for_each(|name| self.drop_name(name, &container.id))
    }

    fn flush(&self) -> Result<()> {
        file::fsync_dir(&self.root.containers())?;
        file::fsync_dir(&self.root.names())
    }

    /// Moves the container of this record back from where [`Containers::move_out`] put it, durably; its name, a new one if
    /// its own is taken.
    pub fn move_in(&self, from: &Path, mut record: Record) -> Result<ContainerName> {
        let _names_lock = Lock::exclusive(&self.root.names_lock())?;
        let own = record.name.clone();
        let mut names = vec![own.clone()];
        names.extend(candidates(&record.id)?);
        let last = names.len();
        for (attempt, name) in names.into_iter().enumerate() {
            match self.take_name(&name, &record.id) {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt + 1 < last => continue,
                other => other?,
            }
            record.name = name;
            break;
        }
        let draft = ContainerPaths::at(from);
        let renamed = match record.name == own {
            true => Ok(()),
            false => file::write_atomic(&draft.record(), &file::to_json(&record)?, Durability::Flushed),
        };
        let moved = renamed.and_then(|()| Ok(rustix::fs::rename(from, self.paths(&record.id).path())?));
        if moved.is_err() {
            self.drop_name(&record.name, &record.id)?;
        }
        moved?;
        self.flush()?;
        Ok(record.name)
    }

    /// What a file that is missing means: the container was removed, which takes it as a whole, or it is damaged.
    fn gone(&self, error: Error, id: &ContainerId) -> Error {
        match error.errno() {
            Some(libc::ENOENT) if file::exists(self.paths(id).path()).unwrap_or(true) => {
                error.context(format!("container {} is damaged", id.short())).with_kind(ErrorKind::Corrupt).hint(REPAIR)
            }
            Some(libc::ENOENT) => no_such_container(id.as_str()),
            _ => error,
        }
    }

    /// The name in the record; with a damaged record, every name that points there.
    pub fn names_of(&self, id: &ContainerId) -> Result<Vec<ContainerName>> {
        if let Ok(record) = self.read(id) {
            return Ok(vec![record.name]);
        }
        let mut names = Vec::new();
        for name in file::list_dir(&self.root.names())? {
            if let Ok(name) = ContainerName::parse(&name)
                && self.name_target(&name)?.as_ref() == Some(id)
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// The directory is flushed with the record.
fn write_spec(staging: &Staging, spec: &[u8], durability: Durability) -> Result<()> {
    let directory = file::open_dir(staging.path())?;
    file::write_new_at(&directory, ContainerPaths::SPEC, spec, durability).context(|| "write the container's spec")
}

fn read_record(paths: &ContainerPaths) -> Result<Record> {
    file::read_json(&paths.record(), RECORD_MAX)
}

/// [`Containers::update`] for whoever knows only the container's directory, as its monitor does.
pub fn update_record(
    paths: &ContainerPaths,
    durability: Durability,
    change: impl FnOnce(&mut Record) -> Result<()>,
) -> Result<Record> {
    let _record_lock = Lock::exclusive(&paths.record_lock())?;
    let mut record = read_record(paths)?;
    change(&mut record)?;
    file::write_atomic(&paths.record(), &file::to_json(&record)?, durability)?;
    Ok(record)
}

/// docker's words for a container of which no process runs.
pub fn not_running(id: &ContainerId) -> Error {
    Error::new(ErrorKind::Conflict, format!("container {id} is not running"))
}

/// docker's words for a container that is not here.
pub fn no_such_container(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such container: {name}"))
}
