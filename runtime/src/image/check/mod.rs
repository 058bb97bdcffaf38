//! A layer of the store is compared with its index, and mended from it.
//!
//! Runs in the storage helper, pivoted into the folder of all layers: the files belong to mapped ids, and what is missing
//! in one layer may be in another. The tree is looked through first (names, types, owners, modes, times, links, extended
//! attributes, whiteouts), then the layer's archive is made again: its digest is right only if every byte of the index
//! and of the files is. Where it is not, each file is read by itself, to find which. An index that is not what it was says
//! nothing of the tree, and nothing is mended from it: it is made again first.

mod index;
mod mend;
mod model;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use super::index::{Rebuilt, rebuild};
use super::store::{CLOCK, LayerMeta, ROOT_ATTRIBUTES, SIDE_FILES, digest_of};
use super::tree::names;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, REPAIR, Result};
use crate::idmap::IdMap;
use crate::paths::Root;
use model::{Model, What};
use verify::{Fault, FaultKind, Rules, compare, has_content};

/// How thorough a check is, and whether it changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Contents of files are not read.
    pub quick: bool,
    /// What can be mended is.
    pub repair: bool,
}

/// Something that is wrong, and whether it is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// One line, harmless for a terminal: the path in the layer, and what is wrong with it.
    pub line: String,
    /// It is as it was.
    pub mended: bool,
}

/// What a check found in a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// What is wrong.
    pub wrong: Vec<Wrong>,
    /// The layer's facts, where they have to be written anew.
    pub meta: Option<LayerMeta>,
}

/// Checks the layer `diff_id` below the folder `layers`. `meta`: its facts, if they can be read; `ids`: the mapping of the
/// namespace that this runs in; `donors`: layers in which files are looked for that this one lost.
pub fn check_layer(
    layers: BorrowedFd<'_>,
    diff_id: &Digest,
    meta: Option<&LayerMeta>,
    ids: &IdMap,
    donors: &[Digest],
    options: CheckOptions,
) -> Result<LayerReport> {
    let layer = open_layer(layers, diff_id)?;
    let job = Job { layer: layer.as_fd(), diff_id, meta, ids, options };
    let first = job.look()?;
    let mut found: BTreeSet<String> = first.lines().collect();
    if !options.repair || (first.is_sound() && meta.is_some()) {
        let wrong = first.lines().map(|line| Wrong { line, mended: false }).collect();
        return Ok(LayerReport { wrong, meta: None });
    }
    let restored = !first.is_trusted() && index::restore(&job)?;
    let index = restored.then(|| job.meta.cloned().map(|meta| meta.with_digests(job.layer)).transpose()).transpose()?;
    let with_index = index.flatten();
    let job = Job { meta: with_index.as_ref().or(job.meta), ..job };
    // What was behind a damaged index shows only now.
    let before = if restored { job.look()? } else { first };
    found.extend(before.lines());
    if let Some(model) = before.model.as_ref().filter(|_| before.is_trusted()) {
        mend::mend(&job, layers, donors, model, &before.faults)?;
    }
    let meta = job.new_meta(&before)?.or_else(|| with_index.clone());
    let after = Job { meta: meta.as_ref().or(job.meta), ..job }.look()?;
    let left: BTreeSet<String> = after.lines().collect();
    let wrong = found.union(&left).map(|line| Wrong { mended: !left.contains(line), line: line.clone() }).collect();
    Ok(LayerReport { wrong, meta })
}

/// Whether the trees of these layers are what they were; an error that names what is not. For whoever is about to make
/// something new of them. `ids` as in [`check_layer`].
pub fn verify_layers(layers: BorrowedFd<'_>, facts: &[(Digest, Option<LayerMeta>)], ids: &IdMap) -> Result<()> {
    for (layer, meta) in facts {
        let attempt = || format!("layer {}", layer.short());
        let report = check_layer(layers, layer, meta.as_ref(), ids, &[], CheckOptions::default()).context(attempt)?;
        if let Some(wrong) = report.wrong.into_iter().next() {
            return Err(Error::new(ErrorKind::Corrupt, wrong.line).hint(REPAIR).context(attempt()));
        }
    }
    Ok(())
}

fn open_layer(layers: BorrowedFd<'_>, diff_id: &Digest) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(layers, diff_id.hex(), flags, Mode::empty()).context(|| format!("open layer {}", diff_id.short()))
}

fn open_file(layer: BorrowedFd<'_>, name: &str) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(openat(layer, name, flags, Mode::empty()).context(|| format!("open {name}"))?))
}

/// The check of one layer.
struct Job<'a> {
    layer: BorrowedFd<'a>,
    diff_id: &'a Digest,
    meta: Option<&'a LayerMeta>,
    ids: &'a IdMap,
    options: CheckOptions,
}

/// What one look found.
struct Look<'a> {
    /// The tree that should be there; `None`: the index cannot be read.
    model: Option<Model<'a>>,
    /// What is wrong in the tree.
    faults: Vec<Fault>,
    /// What is wrong beside it.
    beside: Vec<String>,
    /// The archive, if it could be made again and is the right one.
    rebuilt: Option<Rebuilt>,
    /// Whether the index has its recorded digest; `None`: none is recorded.
    index: Option<bool>,
}

impl Look<'_> {
    fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.beside.is_empty()
    }

    /// Whether the index is what it was, so that a tree may be mended from it.
    fn is_trusted(&self) -> bool {
        self.model.is_some() && (self.rebuilt.is_some() || self.index == Some(true))
    }

    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let model = self.model.as_ref();
        let faults = self.faults.iter().filter_map(move |fault| Some(fault.line(model?)));
        self.beside.iter().cloned().chain(faults)
    }
}

impl<'a> Job<'a> {
    fn rules(&self) -> Rules {
        Rules {
            root: self.meta.and_then(|meta| meta.get(ROOT_ATTRIBUTES)),
            clock: self.meta.and_then(|meta| meta.get(CLOCK)),
            sockets: self.meta.is_none_or(|meta| meta.source == "commit"),
            holes: !self.options.quick,
        }
    }

    fn look(&self) -> Result<Look<'a>> {
        let mut look = Look { model: None, faults: Vec::new(), beside: Vec::new(), rebuilt: None, index: None };
        self.wrapper(&mut look.beside)?;
        let recorded = self.meta.and_then(LayerMeta::digests);
        look.index = recorded.map(|_| !look.beside.iter().any(|line| line.starts_with("index: ")));
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let read = open_file(self.layer, "index").and_then(|index| {
            let model = Model::read(&index, self.ids, own)?;
            Ok((index, model))
        });
        match read {
            // It would call the tree wrong for what is wrong with itself.
            Ok(_) if look.index == Some(false) => {}
            Ok((index, model)) => {
                look.faults = compare(self.layer, &model, &self.rules())?;
                if !self.options.quick {
                    self.contents(&index, &model, &mut look)?;
                }
                look.model = Some(model);
            }
            Err(error) => look.beside.push(format!("index: {}", error.of_the_thing()?)),
        }
        Ok(look)
    }

    /// What is beside the tree.
    fn wrapper(&self, wrong: &mut Vec<String>) -> Result<()> {
        const OTHERS: [&str; 4] = ["diff", "kept", Root::LAYER_META, Root::LAYER_DAMAGED];
        for name in names(self.layer)? {
            let name = name.name.to_string_lossy().into_owned();
            if !OTHERS.contains(&name.as_str()) && !SIDE_FILES.contains(&name.as_str()) {
                wrong.push(format!("{}: does not belong to the layer", super::tar::shown(name.as_bytes())));
            }
        }
        let Some(recorded) = self.meta.and_then(LayerMeta::digests) else { return Ok(()) };
        for name in SIDE_FILES {
            match (recorded.get(name), digest_of(self.layer, name)) {
                (Some(_), Ok(None)) => wrong.push(format!("{name}: is missing")),
                (None, Ok(Some(_))) => wrong.push(format!("{name}: does not belong to the layer")),
                (Some(recorded), Ok(Some(found))) if *recorded != found => {
                    wrong.push(format!("{name}: its content was changed"));
                }
                (_, Err(error)) => wrong.push(format!("{name}: cannot be read: {}", error.of_the_thing()?)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads all files.
    fn contents(&self, index: &File, model: &Model<'_>, look: &mut Look<'_>) -> Result<()> {
        let error = match rebuild(index, self.layer, &mut std::io::sink()) {
            Ok(rebuilt) if rebuilt.diff_id == *self.diff_id => {
                look.rebuilt = Some(rebuilt);
                return Ok(());
            }
            Ok(_) => "the archive that it describes is not the layer's".to_owned(),
            Err(error) => error.of_the_thing()?.to_string(),
        };
        // Whoever changes a file changes its time, too: only what is made anew anyway is passed over.
        let is_remade = |fault: &&Fault| fault.kind.is_remade();
        let known: BTreeSet<Vec<u8>> = look.faults.iter().filter(is_remade).map(|fault| fault.path.clone()).collect();
        let mut explained = !look.faults.is_empty();
        let mut done = BTreeSet::new();
        for (path, place) in &model.places {
            let Some(node) = model.nodes.get(place.node).filter(|_| !known.contains(path)) else { continue };
            if let What::File { size, digest: Some(digest), segments } = &node.what
                && done.insert(place.node)
            {
                let kind = match has_content(self.layer, path, *size, segments.as_deref(), digest) {
                    Ok(true) => continue,
                    Ok(false) => FaultKind::Content,
                    Err(error) => FaultKind::Unreadable(error.of_the_thing()?.to_string()),
                };
                look.faults.push(Fault { path: path.clone(), kind });
                explained = true;
            }
        }
        if !explained {
            // Files that a later entry of the archive replaced, or the index itself.
            look.beside.push(format!("the archive cannot be made again: {error}"));
        }
        Ok(())
    }

    /// The facts, where they were lost or a file that they speak of was made anew.
    fn new_meta(&self, look: &Look<'_>) -> Result<Option<LayerMeta>> {
        let changed = look.beside.iter().any(|line| line.starts_with("owners: "));
        match (self.meta, &look.rebuilt, &look.model) {
            (Some(meta), _, _) if changed => meta.clone().with_digests(self.layer).map(Some),
            (None, Some(rebuilt), Some(model)) => LayerMeta {
                diff_id: rebuilt.diff_id.clone(),
                size: rebuilt.size,
                content: model.content,
                entries: model.entries,
                created: jiff::Timestamp::now(),
                source: "check".to_owned(),
                compressed: Vec::new(),
                squashed: false,
                implicit: model.implicit,
                implicit_root: !model.root_entry,
                opaque_root: model.opaque_root,
                extra: Default::default(),
            }
            .with_digests(self.layer)
            .map(Some),
            _ => Ok(None),
        }
    }
}
