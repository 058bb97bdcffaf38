//! Containers' records, specs and names.

use oci_spec::runtime::Spec;

use super::{Check, Sealed};
use crate::container::names::{ContainerId, ContainerName};
use crate::container::record::{Evidence, IMAGE, ImageUse, REFERENCE, Record, salvage};
use crate::container::trash;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::{self, Durability, Lock, LockState};
use crate::image::store::{MADE_BY, Store};
use crate::paths::ContainerPaths;

/// What a damaged record was, beside the one that was made of it.
const DAMAGED: &str = "record.damaged";

impl Check<'_> {
    pub(super) fn containers(&mut self) -> Result<()> {
        let mut named: Vec<(ContainerName, ContainerId)> = Vec::new();
        for name in file::list_dir(&self.root().containers())? {
            match ContainerId::parse(&name) {
                Ok(id) => named.extend(self.container(&id)?.map(|record| (record.name, id))),
                Err(_) => self.leftover(format!("containers/{name}: is no container")),
            }
        }
        self.names(&named)?;
        self.trash()
    }

    /// What `undelete` needs of removed containers.
    fn trash(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().trash())? {
            let paths = ContainerPaths::at(self.root().trash().join(&name));
            let Some(entry) = trash::Entry::parse(&name) else {
                self.leftover(format!("trash/{name}: is no container"));
                continue;
            };
            let place = format!("trash {}", entry.id.short());
            let hint = "lrun container prune empties the trash";
            self.record(&entry.id, &paths, &place, hint)?;
            self.sealed::<Spec>(&paths.spec(), &format!("{place}: spec"), hint)?;
            if !file::exists(&paths.layer_diff())? && !removed(&paths)? {
                self.tell(format!("{place}: its read-write layer is missing"), false, Some(hint.to_owned()));
            }
            self.beside(&paths, &place)?;
        }
        Ok(())
    }

    /// The record of a container; one that is damaged is made again from what is left of it and beside it.
    fn record(&mut self, id: &ContainerId, paths: &ContainerPaths, place: &str, hint: &str) -> Result<Option<Record>> {
        let (record, what, mended) = match self.read_sealed::<Record>(&paths.record())? {
            Sealed::Good(record) => return Ok(Some(record)),
            Sealed::Mended(record, what) => (Some(record), what, true),
            Sealed::Lost(_) if removed(paths)? => return Ok(None),
            Sealed::Lost(what) => {
                let made = if self.options.repair { self.made_again(id, paths)? } else { None };
                match made {
                    Some(record) => {
                        let what = format!("{what}; it stands on image {} again", record.image.id.short());
                        (Some(record), what, true)
                    }
                    None => (None, what, false),
                }
            }
        };
        self.tell(format!("{place}: record: {what}"), mended, Some(hint.to_owned()));
        Ok(record)
    }

    fn made_again(&self, id: &ContainerId, paths: &ContainerPaths) -> Result<Option<Record>> {
        let _record_lock = Lock::exclusive(&paths.record_lock())?;
        let bytes = file::read_small(&paths.record(), super::MOST).unwrap_or_default();
        let spec = super::super::launch::load_spec(paths.path()).ok();
        let annotation = |key: &str| spec.as_ref()?.annotations().as_ref()?.get(key).cloned();
        let image = annotation(IMAGE).and_then(|id| Digest::parse(&id).ok()).map(|id| {
            let reference = annotation(REFERENCE).unwrap_or_else(|| id.short().to_owned());
            ImageUse { id, reference }
        });
        let process = spec.as_ref().and_then(|spec| spec.process().clone());
        let made = std::fs::symlink_metadata(paths.layer_diff()).and_then(|made| made.modified()).ok();
        let (all, store) = (super::all_containers(self.engine), &self.engine.store);
        let commits = store_commits(store, id)?;
        let record = salvage(
            &bytes,
            Evidence {
                id: id.clone(),
                name: all
                    .names_of(id)?
                    .into_iter()
                    .next()
                    .map_or_else(|| ContainerName::parse(id.short()).map(Err), |name| Ok(Ok(name)))?,
                image,
                commits,
                command: process.and_then(|process| process.args().clone()).unwrap_or_default(),
                created: made.and_then(|made| made.try_into().ok()).unwrap_or_else(jiff::Timestamp::now),
                layers_of: &|image| store.record_of_config(image).ok().map(|record| record.layers),
                has_layer: &|layer| store.layer_exists(layer).unwrap_or(true),
            },
        );
        // Of one that runs, only its record knows its processes.
        let runs = Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held);
        let Some(record) = record.filter(|record| !runs || record.state.status.is_active()) else { return Ok(None) };
        let directory = file::open_dir(paths.path())?;
        file::write_atomic_at(&directory, DAMAGED, &bytes, Durability::Flushed)?;
        file::write_atomic_at(&directory, ContainerPaths::RECORD, &file::to_json(&record)?, Durability::Flushed)?;
        Ok(Some(record))
    }

    fn container(&mut self, id: &ContainerId) -> Result<Option<Record>> {
        let paths = self.root().container(id.as_str());
        let hint = format!("its files are in {}; lrun rm -f {} removes it", paths.layer_diff().display(), id.short());
        let record = self.record(id, &paths, &format!("container {}", id.short()), &hint)?;
        let words = match &record {
            Some(record) => format!("container {}", record.name),
            None => format!("container {}", id.short()),
        };
        let spec_hint = format!("it cannot be started; lrun commit {} makes an image of its files", id.short());
        self.sealed::<Spec>(&paths.spec(), &format!("{words}: spec"), &spec_hint)?;
        self.own_layer(id, &paths, &words, &hint)?;
        if !file::exists(&paths.lock())? && !removed(&paths)? {
            // It holds nothing, and whoever starts the container takes it. The monitor of one that runs has another.
            let ended = record.as_ref().is_some_and(|record| !record.state.status.is_active());
            let mended = self.options.repair && ended && Lock::try_exclusive(&paths.lock())?.is_some();
            self.tell(format!("{words}: its lock is missing"), mended, Some(hint.clone()));
        }
        self.beside(&paths, &words)?;
        let Some(record) = record else { return Ok(None) };
        if record.id != *id {
            self.tell(format!("{words}: record: is another container's"), false, Some(hint));
        }
        self.stacks.extend(stacks(&record));
        let noted = record.pending_commit.as_ref().map(|note| note.layer.clone());
        for layer in record.layers.iter().cloned() {
            let users = self.users.entry(layer).or_default();
            // An image's name says more.
            if users.is_empty() {
                users.push(words.clone());
            }
        }
        if let Some(noted) = noted.filter(|_| self.options.repair) {
            // A commit that was interrupted is ended when the container is used next.
            self.leftover(format!("{words}: a commit of layer {} was interrupted", noted.short()));
        }
        if Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held) {
            self.running.extend(record.layers.iter().cloned());
        }
        if !self.blobs.contains_key(&record.image.id) {
            let image = record.image.id.clone();
            self.blob(&image, &format!("{words}: config of its image"), &[])?;
            self.blobs.entry(image).or_default().push(words);
        }
        Ok(Some(record))
    }

    fn own_layer(&mut self, id: &ContainerId, paths: &ContainerPaths, words: &str, hint: &str) -> Result<()> {
        let diff = paths.layer_diff();
        let is_there = || Ok::<_, Error>(file::exists(&diff)? || self.is_at_work(id, paths)? || file::exists(&diff)?);
        let what = match is_there()? {
            false => "is missing",
            true if [paths.layer(), diff].iter().any(|path| path.symlink_metadata().is_ok_and(|it| !it.is_dir())) => {
                "is no directory"
            }
            true => return Ok(()),
        };
        self.tell(format!("{words}: its read-write layer {what}"), false, Some(hint.to_owned()));
        Ok(())
    }

    /// Whether the container was removed a moment ago, or a commit just puts the next read-write layer into its place.
    fn is_at_work(&self, id: &ContainerId, paths: &ContainerPaths) -> Result<bool> {
        let commits = |record: Record| {
            let held = Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held);
            held && record.pending_commit.is_some()
        };
        Ok(removed(paths)? || super::all_containers(self.engine).read(id).is_ok_and(commits))
    }

    fn names(&mut self, named: &[(ContainerName, ContainerId)]) -> Result<()> {
        let all = super::all_containers(self.engine);
        for (name, id) in named {
            // Its name may be another one now.
            let lost = all.name_target(name)?.as_ref() != Some(id);
            if lost && all.has_name(id, name) {
                let mended = self.options.repair && all.restore_name(name, id).is_ok();
                let line = format!("name {name}: does not point to its container {}", id.short());
                let hint = "by its id the container can be used".to_owned();
                self.tell(line, mended, Some(hint));
            }
        }
        if self.options.repair {
            all.drop_stale_names()?;
        }
        for name in file::list_dir(&self.root().names())? {
            let new = || {
                let name = ContainerName::parse(&name).ok()?;
                Some(all.has_name(&all.name_target(&name).ok()??, &name))
            };
            if !named.iter().any(|(own, _)| own.as_str() == name) && new() != Some(true) {
                self.leftover(format!("name {name}: no container has it"));
            }
        }
        Ok(())
    }
}

/// Whether the container was removed a moment ago, which takes its directory as a whole: nothing of it is missing.
fn removed(paths: &ContainerPaths) -> Result<bool> {
    Ok(!file::exists(paths.path())?)
}

/// The layers that commits made of a container, and how many layers were below each.
fn store_commits(store: &Store, id: &ContainerId) -> Result<Vec<(usize, Digest)>> {
    let names = file::list_dir(&store.root().layers())?;
    let commits = names.iter().filter_map(|name| {
        let layer = Digest::from_hex(name).ok()?;
        let (container, below): (String, usize) = store.layer_meta(&layer).ok()?.get(MADE_BY)?;
        (container == id.as_str()).then_some((below, layer))
    });
    Ok(commits.collect())
}

/// The stacks that are completed for a container: all of its layers, and those of its image and of its commits by
/// themselves.
fn stacks(record: &Record) -> [Vec<Digest>; 3] {
    let (image, commits) = record.layers.split_at(record.image_depth.min(record.layers.len()));
    [record.layers.clone(), image.to_vec(), commits.to_vec()]
}
