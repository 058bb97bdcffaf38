//! Reading many records at little cost each: only the fields that a list needs.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use oci_spec::runtime::Spec;
use rustix::fs::AtFlags;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Containers, IMAGE, ImageUse, State};
use crate::container::names::{ContainerId, ContainerName};
use crate::container::options::{Mount, Network};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, REPAIR, Result};
use crate::file::{self, Lock, LockState};
use crate::image::remove::ContainerUse;
use crate::paths::ContainerPaths;

/// Largest record that is read.
pub(super) const RECORD_MAX: usize = 16 << 20;

/// What `ps` shows of a container; fields as in [`super::Record`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Summary {
    /// The id.
    pub id: ContainerId,
    /// The name.
    pub name: ContainerName,
    /// When it was created.
    pub created: Timestamp,
    /// What it was made from.
    pub image: ImageUse,
    /// Entrypoint and arguments.
    pub command: Vec<String>,
    /// Its recorded state: `Running` is true only while the container's lock is held.
    pub state: State,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Removed when it exits.
    #[serde(default)]
    pub auto_remove: bool,
    /// Made by `run`.
    #[serde(default)]
    pub by_run: bool,
    /// Ports that its image exposes, as in `80/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// What `ps` shows of its options.
    pub options: Option<ShownOptions>,
}

/// The options of [`crate::container::options::RunOptions`] that `ps` shows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ShownOptions {
    /// `--network`.
    #[serde(default)]
    pub network: Network,
    /// `-v`, `--mount` and `--tmpfs`.
    #[serde(default)]
    pub mounts: Vec<Mount>,
}

impl Summary {
    /// See [`super::Record::is_leftover`].
    pub fn is_leftover(&self) -> bool {
        super::is_leftover(self.auto_remove, self.by_run, self.state.status)
    }
}

/// All containers.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those whose record could be read, newest first.
    pub summaries: Vec<Summary>,
    /// The others, and why.
    pub damaged: Vec<(ContainerId, Error)>,
}

#[derive(Deserialize)]
struct Claim {
    image: ImageUse,
    state: State,
    layers: Vec<Digest>,
    #[serde(default)]
    pending_commit: Option<Noted>,
}

#[derive(Deserialize)]
struct Noted {
    layer: Digest,
}

impl Containers {
    /// All containers, three system calls each.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        self.each(|id, read| match read {
            Ok(summary) => listing.summaries.push(summary),
            Err(error) => listing.damaged.push((id, error)),
        })?;
        listing.summaries.sort_by(|a: &Summary, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(listing)
    }

    /// What all containers need of images and layers. A record that cannot be read is an error: its layers are unknown.
    pub fn uses(&self) -> Result<Vec<ContainerUse>> {
        let mut uses = Vec::new();
        let mut failure = None;
        self.each(|id, read: Result<Claim>| match read {
            Ok(claim) => uses.push(self.claimed(&id, claim)),
            // Flushed records are never empty: this one was never acknowledged, and needs nothing.
            Err(error) if error.kind() == ErrorKind::Corrupt && self.is_empty(&id) => {}
            Err(error) => {
                failure =
                    Some(error.hint(format!("{REPAIR}, else remove the container with \"lrun rm -f {}\"", id.short())))
            }
        })?;
        failure.map_or(Ok(uses), Err)
    }

    /// Whether a power cut left an empty record, and nobody is just working on the container. That of a container which is
    /// kept was on disk before anybody heard of it: its spec says so.
    fn is_empty(&self, id: &ContainerId) -> bool {
        let paths = self.paths(id);
        let spec: Result<Spec> = file::read_json(&paths.spec(), RECORD_MAX);
        if spec.is_ok_and(|spec| spec.annotations().as_ref().is_some_and(|all| all.contains_key(IMAGE))) {
            return false;
        }
        let empty = std::fs::symlink_metadata(paths.record()).is_ok_and(|m| m.len() == 0);
        empty && Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Free)
    }

    fn claimed(&self, id: &ContainerId, claim: Claim) -> ContainerUse {
        let lock = self.root.container(id.as_str()).lock();
        // If in doubt, it runs: nothing is removed then.
        let running = claim.state.status.is_active() && Lock::probe(&lock).is_ok_and(|s| s == LockState::Held);
        let mut layers = claim.layers;
        layers.extend(claim.pending_commit.map(|note| note.layer));
        ContainerUse { id: id.to_string(), running, image: claim.image.id, layers }
    }

    /// Reads part of every record; containers that vanish meanwhile are left out. Many are read by several threads, which
    /// have ended when this returns.
    fn each<T: DeserializeOwned + Send>(&self, mut each: impl FnMut(ContainerId, Result<T>)) -> Result<()> {
        let path = self.root.containers();
        let dir = file::open_dir(&path)?;
        let names = file::list_dir(&path)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(names.len() / FEW).clamp(1, 8);
        if threads == 1 {
            read_all(&dir, &names).for_each(|(id, read)| each(id, read));
            return Ok(());
        }
        let parts = names.chunks(names.len().div_ceil(threads));
        let read: Vec<Vec<_>> = std::thread::scope(|scope| {
            let started: Vec<_> = parts.map(|part| scope.spawn(|| read_all(&dir, part).collect())).collect();
            started.into_iter().map(|thread| thread.join().map_err(|_| failed_thread())).collect::<Result<_>>()
        })?;
        read.into_iter().flatten().for_each(|(id, read)| each(id, read));
        Ok(())
    }
}

/// As many records as are worth a thread.
const FEW: usize = 100;

fn failed_thread() -> Error {
    Error::new(ErrorKind::Io, "a thread that read records failed")
}

fn read_all<'a, T: DeserializeOwned>(
    dir: &'a OwnedFd,
    names: &'a [String],
) -> impl Iterator<Item = (ContainerId, Result<T>)> + 'a {
    names.iter().filter_map(move |name| {
        let id = ContainerId::parse(name).ok()?;
        match read_at(dir, &ContainerPaths::at(name).record()) {
            // A removal takes the container as a whole.
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                let there = rustix::fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
                there.then(|| (id, Err(error.context("its record is missing").with_kind(ErrorKind::Corrupt))))
            }
            read => Some((id, read)),
        }
    })
}

fn read_at<T: DeserializeOwned>(dir: &OwnedFd, path: &Path) -> Result<T> {
    let bytes = file::read_small_at(dir, path, RECORD_MAX)?;
    file::from_json(bytes).map_err(|error| error.context(format!("{} is damaged", path.display())))
}
