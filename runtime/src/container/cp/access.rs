//! How the files of a container are reached: by joining one that runs, or on the layers of one that has ended.
//!
//! Runs in the CLI; what is done to the files is done in a helper that sees nothing else.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::path::There;
use super::place::Place;
use super::{Extraction, Inside, PIPE, inside_destination};
use crate::container::alive;
use crate::container::engine::Engine;
use crate::container::exec::monitor_of;
use crate::container::launch::{self, Seen};
use crate::container::lifecycle::{self, containers, init_of, is_running};
use crate::container::record::{Container, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::enter::fork_mapped;
use crate::idmap::helper::{self, Helper, Work};
use crate::image::compress;
use crate::image::files::{Ownership, Received, Receiver, Target};
use crate::sandbox::join::is_not_running;
use crate::sandbox::view::{self, Layers};

/// How a container's files are reached.
pub(super) enum Access {
    Running {
        monitor: OwnedFd,
        init: OwnedFd,
    },
    /// Its lock is held. The flag: its read-write layer was mounted as such.
    Ended(Container, Box<Record>, Cell<bool>),
}

impl Access {
    pub(super) fn open(engine: &Engine, record: &Record) -> Result<Self> {
        let mut record = record.clone();
        loop {
            if is_running(&record) {
                match init_of(&record).and_then(|init| Ok(Self::Running { init, monitor: monitor_of(&record)? })) {
                    // It has just ended.
                    Err(error) if error.kind() == ErrorKind::Conflict => drop(lifecycle::await_end(engine, &record)?),
                    other => return other,
                }
            }
            if let Some((container, record)) = lifecycle::hold_stopped(engine, &record.id)? {
                return Ok(Self::Ended(container, Box::new(record), Cell::new(false)));
            }
            record = lifecycle::settle(engine, &record.id)?;
        }
    }

    /// What becomes readable when a container that runs ends.
    pub(super) fn end(&self) -> Result<Option<OwnedFd>> {
        match self {
            Self::Running { init, .. } => Ok(Some(init.try_clone()?)),
            Self::Ended(..) => Ok(None),
        }
    }

    /// Starts a helper in the container. `work` has nothing open but these descriptors.
    pub(super) fn start<T: Serialize + DeserializeOwned>(
        &self,
        engine: &Engine,
        seen: Seen,
        kept: &[BorrowedFd<'_>],
        work: impl FnOnce(&Work) -> Result<T>,
    ) -> Result<Helper<T>> {
        match self {
            Self::Running { monitor, init } => {
                let work = |at: &Work| {
                    at.keep_only(kept)?;
                    work(at)
                };
                helper::start(view::fork_joining, || view::join(monitor.as_fd(), init.as_fd()), work)
            }
            Self::Ended(container, record, mounted) => {
                let seen = launch::view(engine, container.paths.path(), record, seen)?;
                mounted.set(matches!(seen.layers, Layers::Writable(_)));
                let store = engine.directory()?;
                // The lock stays open in it: as long as it lives, nobody else may use the layers.
                let kept = [kept, &[container.lock.as_fd()]].concat();
                let work = |at: &Work| {
                    at.keep_only(&kept)?;
                    work(at)
                };
                let fork = || fork_mapped(&engine.map, helper::NAMESPACES);
                helper::start(fork, || view::assemble(store.as_fd(), &seen), work)
            }
        }
    }

    /// Starts a helper that extracts a tar into a directory of the container, as [`stream_in`] says.
    pub(super) fn extract(
        &self,
        engine: &Engine,
        archive: &OwnedFd,
        (to, how): (Inside<'_>, Extraction),
    ) -> Result<Helper<Received>> {
        let work = |at: &Work| {
            let place = Place::inside()?;
            if let Some(new) = how.make {
                place.make_directories(to.path, new)?;
            }
            let found = inside_destination(&place, to)?;
            if found.there != There::Directory {
                let text = format!("destination \"{}:{}\" must be a directory", to.name, to.path.shown());
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            place.check_writable(&found)?;
            at.report(0);
            let (mut tar, _) = compress::decompress(Box::new(File::from(archive.try_clone()?)))?;
            let ownership = match how.owner {
                None => Ownership::Keep(&engine.map),
                Some(owner) => Ownership::Given(owner.uid, owner.gid, &engine.map),
            };
            let target =
                Target { directory: found.directory, name: None, shown: to.path.path(), ownership, follow: true };
            let mut told = 0;
            let mut tell = |bytes: u64| {
                if bytes - told >= PIPE as u64 {
                    told = bytes;
                    at.report(bytes);
                }
            };
            Receiver::new(&mut tar, &mut tell).run(target)
        };
        self.start(engine, Seen::Writing, &[archive.as_fd()], work)
    }

    /// Ends the use. Something may have been written to the read-write layer.
    pub(super) fn finish(self, engine: &Engine) -> Result<()> {
        let Self::Ended(_held, record, mounted) = &self else { return Ok(()) };
        if record.has_layer() || !mounted.get() {
            return Ok(());
        }
        let prepared = |record: &mut Record| {
            record.prepared = true;
            Ok(())
        };
        containers(engine).update(&record.id, engine.store.durability(), prepared).map(drop)
    }

    /// The failure of a helper, for people.
    pub(super) fn explain(&self, error: Error) -> Error {
        // The first process waits for those that end with it, and takes no new ones from before its end.
        let died = error.kind() == ErrorKind::Io && error.errno().is_none() || is_not_running(&error);
        let patience = if died { 500 } else { 0 };
        match self {
            Self::Running { init, .. } if alive::wait_gone(init, patience).unwrap_or(false) => {
                Error::new(ErrorKind::Conflict, "the container ended while files were copied")
            }
            _ => error,
        }
    }
}

/// Copies, and does so again from the beginning when the container ends meanwhile: its helpers end with it, its files
/// do not. Not once something was taken or given that the next attempt would do again: `copy` says so by the flag.
pub(super) fn despite_its_end<T>(
    engine: &Engine,
    record: &Record,
    mut copy: impl FnMut(Access, &Cell<bool>) -> Result<T>,
) -> Result<T> {
    let begun = Cell::new(false);
    let mut access = Access::open(engine, record)?;
    loop {
        let end = access.end()?;
        let error = match copy(access, &begun) {
            Ok(copied) => return Ok(copied),
            Err(error) if begun.get() => return Err(error),
            Err(error) => error,
        };
        match end {
            Some(init) if alive::wait_gone(&init, 0).unwrap_or(false) => {}
            _ => return Err(error),
        }
        // Of one that was removed with its end nothing can be copied.
        let Ok(again) = Access::open(engine, record) else { return Err(error) };
        access = again;
    }
}
