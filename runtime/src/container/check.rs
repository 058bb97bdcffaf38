//! `system check`: everything that the store keeps is read again, and mended where there is something to mend it from.
//!
//! Runs in the CLI; layers are read in the storage helper. The store lock is shared meanwhile, so that nothing is
//! collected. What a container itself changes (its read-write layer, its generated files) has nothing to be compared with.

mod beside;
mod containers;
mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::cache_mounts;
use super::engine::Engine;
use super::lifecycle::containers as all_containers;
use crate::digest::Digest;
use crate::error::{Context, Error, REPAIR, Result};
use crate::file::{self, Durability, Lock, LockState, Staging};
use crate::idmap::helper;
use crate::image::check::{LayerReport, Wrong, check_layer};
use crate::image::config::chain_ids;
use crate::image::stack;
use crate::image::store::{ImageList, LayerMeta};
use crate::paths::Root;
use crate::reference::Reference;

pub use crate::image::check::CheckOptions;

/// Largest file that is a record.
const MOST: usize = 16 << 20;

/// What became of something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is wrong, and stays so.
    Wrong,
    /// It was wrong, and is as it was.
    Mended,
    /// It is left over, and harms nobody.
    Leftover,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, and what: one line.
    pub line: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What the user can do.
    pub hint: Option<String>,
}

/// Where the layers, the config and the manifests of an image can be had again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The image's name at its registry, with a digest.
    pub reference: Reference,
    /// What it is made for, if that can be read.
    pub platform: Option<(String, String, String)>,
}

/// Pulls an image again. What of it is damaged or missing in the store comes, the rest stays.
pub type Fetch<'a> = dyn FnMut(&Source) -> Result<()> + 'a;

/// Checks the whole store; `report` is told what is found. A repair pulls with `fetch` what nothing in the store can mend.
pub fn check(
    engine: &Engine,
    options: CheckOptions,
    fetch: &mut Fetch<'_>,
    report: &mut dyn FnMut(Finding),
) -> Result<()> {
    let _using = engine.store.lock_shared()?;
    let mut check = Check {
        engine,
        options,
        fetch,
        asked: BTreeMap::new(),
        sources: BTreeMap::new(),
        report,
        users: BTreeMap::new(),
        blobs: BTreeMap::new(),
        running: Vec::new(),
        stacks: BTreeSet::new(),
    };
    check.format()?;
    check.locks()?;
    check.images()?;
    check.lists()?;
    check.containers()?;
    check.layers()?;
    check.own_layers()?;
    check.cache()?;
    check.cache_mounts()?;
    check.leftovers()
}

struct Check<'a> {
    engine: &'a Engine,
    options: CheckOptions,
    fetch: &'a mut Fetch<'a>,
    /// Whom it was no use to ask, and why.
    asked: BTreeMap<Source, String>,
    /// Where layers can be had.
    sources: BTreeMap<Digest, Vec<Source>>,
    report: &'a mut dyn FnMut(Finding),
    /// Who has each layer, in words.
    users: BTreeMap<Digest, Vec<String>>,
    /// Who has each blob.
    blobs: BTreeMap<Digest, Vec<String>>,
    /// Layers that running containers stand on.
    running: Vec<Digest>,
    /// The stacks of layers that somebody has, bottom first.
    stacks: BTreeSet<Vec<Digest>>,
}

impl Check<'_> {
    fn root(&self) -> &Root {
        self.engine.root()
    }

    fn tell(&mut self, line: String, mended: bool, hint: Option<String>) {
        let outcome = if mended { Outcome::Mended } else { Outcome::Wrong };
        // What a repair cannot mend it says then.
        let hint = if self.options.repair { hint } else { Some(REPAIR.to_owned()) };
        (self.report)(Finding { line, outcome, hint: hint.filter(|_| !mended) });
    }

    fn leftover(&mut self, line: String) {
        (self.report)(Finding { line, outcome: Outcome::Leftover, hint: None });
    }

    /// Reads a file that has a checksum; one that is damaged is told of, and mended where that is possible.
    fn sealed<T: DeserializeOwned>(&mut self, path: &Path, place: &str, hint: &str) -> Result<Option<T>> {
        match self.read_sealed(path)? {
            Sealed::Good(value) => Ok(Some(value)),
            Sealed::Mended(value, what) => {
                self.tell(format!("{place}: {what}"), true, None);
                Ok(Some(value))
            }
            Sealed::Lost(what) => {
                // A container that is removed goes with its directory.
                if path.parent().is_none_or(|directory| file::exists(directory).unwrap_or(true)) {
                    self.tell(format!("{place}: {what}"), false, Some(hint.to_owned()));
                }
                Ok(None)
            }
        }
    }

    fn read_sealed<T: DeserializeOwned>(&self, path: &Path) -> Result<Sealed<T>> {
        let bytes = match file::read_small(path, MOST) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Sealed::Lost(reason(error)?)),
        };
        let error = match file::from_json(bytes.clone()) {
            Ok(value) => return Ok(Sealed::Good(value)),
            Err(error) => format!("is damaged: {error}"),
        };
        let mended = if self.options.repair { file::mend(bytes) } else { None };
        let Some(mended) = mended else { return Ok(Sealed::Lost(error)) };
        let Ok(value) = file::from_json(mended.clone()) else { return Ok(Sealed::Lost(error)) };
        file::write_atomic(path, &mended, Durability::Flushed)?;
        Ok(Sealed::Mended(value, error))
    }

    fn format(&mut self) -> Result<()> {
        let path = self.root().format();
        self.sealed::<crate::image::store::Format>(&path, "format", "").map(drop)
    }

    /// Layers that somebody has.
    fn layers(&mut self) -> Result<()> {
        let users = std::mem::take(&mut self.users);
        let all: Vec<Digest> = users.keys().cloned().collect();
        let mut damaged = Vec::new();
        for (digest, users) in &users {
            let place = format!("{}: layer {}", users.join(", "), digest.short());
            let wrong = match self.engine.store.layer_exists(digest)? {
                true => self.layer(digest, &all).context(|| place.clone())?,
                false => vec![Wrong { line: "is missing".to_owned(), mended: false }],
            };
            match self.options.repair && wrong.iter().any(|wrong| !wrong.mended) {
                true => damaged.push((digest, users, place, wrong)),
                false => self.tell_layer(&place, wrong, None),
            }
        }
        // Whoever is asked for one may have others: all are known by now.
        self.asked.clear();
        for (digest, users, place, mut wrong) in damaged {
            let sources = self.sources.get(digest).cloned().unwrap_or_default();
            let failure = self.ask(&sources);
            let replaced = !sources.is_empty() && failure.is_none() && self.engine.store.has_sound_layer(digest)?;
            wrong.iter_mut().for_each(|wrong| wrong.mended |= replaced);
            let hint = match self.running.contains(digest) {
                true => "a running container uses the layer: stop it and repair again".to_owned(),
                false => way_out(users),
            };
            self.tell_layer(&place, wrong, Some(failure.unwrap_or(hint)));
        }
        for name in file::list_dir(&self.root().layers())? {
            match Digest::from_hex(&name) {
                Ok(digest) if users.contains_key(&digest) => {}
                Ok(digest) => self.leftover(format!("layer {}: nothing uses it", digest.short())),
                Err(_) if let Some(chain) = Root::completed_chain(&name) => self.completion(&name, &chain)?,
                // The next collection takes it, unless a container that runs has its files.
                Err(_) if let Some(layer) = Root::replaced_layer(&name) => {
                    if self.options.repair && !self.is_in_use(&layer) {
                        let grave = Staging::unused_path(self.root())?;
                        rustix::fs::rename(self.root().layers().join(&name), &grave)
                            .context(|| format!("take away {name}"))?;
                        self.engine.remove_tree(&grave)?;
                    }
                }
                // Of a build that goes on.
                Err(_)
                    if Root::build_of(&name)
                        .is_some_and(|build| file::exists(&self.root().staging().join(build)).unwrap_or(false)) => {}
                Err(_) => self.leftover(format!("layers/{name}: is no layer")),
            }
        }
        Ok(())
    }

    fn layer(&mut self, digest: &Digest, all: &[Digest]) -> Result<Vec<Wrong>> {
        let in_use = self.running.contains(digest);
        let options = CheckOptions { repair: self.options.repair && !in_use, ..self.options };
        let path = self.root().layer_meta(digest);
        let (meta, mut lines) = match self.read_sealed::<LayerMeta>(&path)? {
            Sealed::Good(meta) => (Some(meta), Vec::new()),
            Sealed::Mended(meta, what) => {
                (Some(meta), vec![Wrong { line: format!("{}: {what}", Root::LAYER_META), mended: true }])
            }
            Sealed::Lost(what) => (None, vec![Wrong { line: format!("{}: {what}", Root::LAYER_META), mended: false }]),
        };
        let report = match self.look(digest, meta.as_ref(), all, options) {
            Err(error) => LayerReport {
                wrong: vec![Wrong { line: format!("cannot be checked: {}", error.of_the_thing()?), mended: false }],
                meta: None,
            },
            Ok(report) => report,
        };
        if let Some(meta) = &report.meta {
            file::write_atomic(&path, &file::to_json(meta)?, Durability::Flushed)?;
            lines.iter_mut().for_each(|line| line.mended = true);
        }
        lines.extend(report.wrong);
        if self.options.repair {
            self.mark(digest, lines.iter().any(|line| !line.mended));
        }
        Ok(lines)
    }

    /// Whether a container that runs now stands on the layer; if in doubt, one does.
    fn is_in_use(&self, layer: &Digest) -> bool {
        let uses = all_containers(self.engine).uses();
        uses.map_or(true, |uses| uses.iter().any(|container| container.running && container.layers.contains(layer)))
    }

    fn tell_layer(&mut self, place: &str, wrong: Vec<Wrong>, hint: Option<String>) {
        for Wrong { line, mended } in wrong {
            self.tell(format!("{place}: {line}"), mended, hint.clone());
        }
    }

    /// In a repair: asks these for what they have, until one gives it; why none did.
    fn ask(&mut self, sources: &[Source]) -> Option<String> {
        let mut failure = None;
        for source in sources.iter().filter(|_| self.options.repair) {
            if let Some(reason) = self.asked.get(source) {
                failure = Some(reason.clone());
                continue;
            }
            let Err(error) = (self.fetch)(source) else { return None };
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            let reason = format!("{error}{hint}");
            self.asked.insert(source.clone(), reason.clone());
            failure = Some(reason);
        }
        failure
    }

    /// What completes a stack: it has no content, and can be made again from the layers.
    fn completion(&mut self, name: &str, chain: &Digest) -> Result<()> {
        let parts = |stack: &Vec<Digest>| {
            (1..=stack.len()).filter_map(|end| stack.get(..end).map(<[Digest]>::to_vec)).collect::<Vec<_>>()
        };
        let Some(stack) = self.stacks.iter().flat_map(parts).find(|part| chain_ids(part).last() == Some(chain)) else {
            self.leftover(format!("layers/{name}: completes no stack of layers"));
            return Ok(());
        };
        let in_use = stack.iter().all(|layer| self.running.contains(layer));
        let repair = self.options.repair && !in_use;
        let (store, map) = (&self.engine.store, &self.engine.map);
        let place = format!("layers/stack-{}", chain.short());
        match stack::check(store, map, &stack, repair, &mut |path| self.engine.remove_tree(path)) {
            Ok(faults) => {
                let hint = "a running container uses it: stop it and repair again";
                faults
                    .into_iter()
                    .for_each(|line| self.tell(format!("{place}: {line}"), repair, Some(hint.to_owned())));
            }
            Err(error) => {
                let error = error.of_the_thing().context(|| place.clone())?;
                self.tell(format!("{place}: cannot be checked: {error}"), false, error.hint_text().map(str::to_owned))
            }
        }
        Ok(())
    }

    /// Runs [`check_layer`] in a storage helper.
    fn look(
        &self,
        digest: &Digest,
        meta: Option<&LayerMeta>,
        all: &[Digest],
        options: CheckOptions,
    ) -> Result<LayerReport> {
        let layers = file::open_dir(&self.root().layers())?;
        let map = &self.engine.map;
        helper::run(map, layers.as_fd(), &mut |_| {}, |work| {
            check_layer(work.root.as_fd(), digest, meta, map, all, options)
        })
    }

    /// The same layer from elsewhere replaces one that could not be mended. Best effort.
    fn mark(&self, digest: &Digest, damaged: bool) {
        let mark = self.engine.store.layer_path(digest).join(Root::LAYER_DAMAGED);
        let _ = match damaged {
            true => file::write_atomic(&mark, b"", Durability::Flushed),
            false => rustix::fs::unlink(&mark).map_err(Error::from),
        };
    }

    /// lrun's own layers.
    fn own_layers(&mut self) -> Result<()> {
        let faults = self.engine.base_faults();
        if faults.is_empty() {
            return Ok(());
        }
        if self.options.repair {
            self.engine.renew_base()?;
        }
        let left = if self.options.repair { self.engine.base_faults() } else { faults.clone() };
        for fault in faults {
            let mended = !left.contains(&fault);
            self.tell(format!("engine/{fault}"), mended, None);
        }
        Ok(())
    }

    /// Lists of images that are being made.
    fn lists(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().lists())? {
            if file::is_temporary(name.as_bytes()) {
                continue;
            }
            let path = self.root().lists().join(&name);
            let list = match self.read_sealed::<ImageList>(&path)? {
                Sealed::Good(list) => list,
                Sealed::Mended(list, what) => {
                    self.tell(format!("lists/{name}: {what}"), true, None);
                    list
                }
                // What was removed meanwhile is not damaged.
                Sealed::Lost(_) if !file::exists(&path)? => continue,
                Sealed::Lost(what) => {
                    let hint = "make the list again: `lrun manifest rm` and `lrun manifest create`";
                    self.tell(format!("lists/{name}: {what}"), false, Some(hint.to_owned()));
                    continue;
                }
            };
            if self.root().list(&list.name) != path {
                self.leftover(format!("lists/{name}: is the list {} in another's place", list.name));
            }
        }
        Ok(())
    }

    /// What build steps made. It is not flushed, and a step whose entry is damaged runs again: nothing is lost.
    fn cache(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().cache())? {
            // One that a build is about to write; or left by one that was killed, and a collection takes it.
            if file::is_temporary(name.as_bytes()) {
                continue;
            }
            let path = self.root().cache().join(&name);
            let lost = match name.ends_with(".json") {
                true => match self.read_sealed::<serde_json::Value>(&path)? {
                    Sealed::Good(_) => None,
                    Sealed::Mended(_, what) => {
                        self.tell(format!("cache/{name}: {what}"), true, None);
                        None
                    }
                    Sealed::Lost(what) => Some(format!("{what}; the build step runs again")),
                },
                false => {
                    let whole = std::fs::read(&path).is_ok_and(|bytes| file::unseal_bytes(&bytes).is_some());
                    (!whole).then(|| "is damaged; the files that it tells of are read again".to_owned())
                }
            };
            // What a prune has taken meanwhile is not damaged.
            if let Some(what) = lost.filter(|_| file::exists(&path).unwrap_or(true)) {
                if self.options.repair {
                    match std::fs::remove_file(&path) {
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        removed => removed.context(|| format!("remove {}", path.display()))?,
                    }
                }
                self.leftover(format!("cache/{name}: {what}"));
            }
        }
        Ok(())
    }

    /// Directories that stay from build to build. What is in them is the steps' own; nobody else knows how it should be.
    fn cache_mounts(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().cache_mounts())? {
            let path = self.root().cache_mounts().join(&name).join(cache_mounts::ABOUT);
            match self.read_sealed::<cache_mounts::About>(&path)? {
                Sealed::Good(_) => {}
                Sealed::Mended(_, what) => self.tell(format!("mounts/{name}: {what}"), true, None),
                Sealed::Lost(what) => {
                    self.leftover(format!("mounts/{name}: its description {what}; `lrun builder prune` removes it"));
                }
            }
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().staging())? {
            let lock = self.root().staging().join(&name).join("lock");
            if !Lock::probe(&lock).is_ok_and(|state| state == LockState::Held) {
                self.leftover(format!("staging/{name}: left by an interrupted command"));
            }
        }
        Ok(())
    }
}

/// A file with a checksum.
enum Sealed<T> {
    Good(T),
    /// It was damaged in this way, and is as it was.
    Mended(T, String),
    /// It cannot be had again.
    Lost(String),
}

/// What is wrong with a file that cannot be read; an error where that says nothing of the file.
fn reason(error: Error) -> Result<String> {
    let error = error.of_the_thing()?;
    Ok(match error.errno() {
        Some(libc::ENOENT) => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    })
}

/// What to do about something that images need and that is lost.
fn way_out(users: &[String]) -> String {
    format!("pull or import it again, which replaces what is damaged; or remove what uses it ({})", users.join(", "))
}
