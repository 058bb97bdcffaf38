//! `--verify`: a RUN that is in the cache runs again on the same layers, and what it makes is compared with what it made.
//!
//! Compared are the paths, and of each its kind, mode, owner, size, content, target and extended attributes; not its
//! times, which are other ones whenever a command writes. Nothing that is made for this is kept.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use super::cache::Entry as Cached;
use super::driver::{Build, Progress, Stage, Stop};
use super::options::{Built, Event};
use super::step::Made;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::index::{Entries, Entry};
use crate::image::tar::shown;
use crate::paths::Root;

/// So many differences of a step are named.
const NAMED: usize = 5;

impl Build<'_> {
    /// Tells whether a step that is in the cache with this entry came to the same when it was made again.
    pub(super) fn verify(&mut self, stage: &Stage<'_>, entry: &Cached, again: Progress<Made>) -> Progress<()> {
        let cached = entry.layer.as_ref();
        let mut reads: BTreeSet<String> = entry.reads.iter().cloned().collect();
        let (same, verdict) = match again {
            Ok(made) => {
                reads.extend(made.reads);
                let differences = differences(self.steps.engine.root(), cached, made.layer.as_ref());
                self.discard(stage, cached, made.layer.as_ref())?;
                let differences = differences.context(|| "compare what the step made")?;
                (differences.count == 0, differences.to_string())
            }
            Err(Stop::Ended(Built::Failed { code, .. })) => (false, format!("it ended with code {code}")),
            Err(other) => return Err(other),
        };
        let mut verdict = if same { "idempotent".to_owned() } else { format!("not idempotent: {verdict}") };
        if !reads.is_empty() {
            let reads: Vec<String> = reads.into_iter().collect();
            verdict.push_str(&format!(" (read {})", reads.join(", ")));
        }
        let (number, total) = (self.number, self.total());
        (self.tell)(Event::Verified { number, total, text: &stage.place.text, same, verdict: &verdict });
        Ok(())
    }

    /// Removes the layer that was made again, unless it is one that an image of the build has.
    fn discard(&self, stage: &Stage<'_>, cached: Option<&Digest>, made: Option<&Digest>) -> Result<()> {
        let engine = self.steps.engine;
        let (Some(made), Some(folder)) = (made, engine.root().build_layers()) else { return Ok(()) };
        let states = self.stages.values().chain([&stage.state]);
        let mut used = states.flat_map(|state| &state.config.rootfs.diff_ids).chain(cached);
        if used.any(|layer| layer == made) {
            return Ok(());
        }
        engine.remove_tree(&engine.root().layers().join(folder).join(made.hex()))
    }
}

/// How two layers differ.
#[derive(Debug, Default)]
struct Differences {
    count: usize,
    named: Vec<String>,
}

impl Differences {
    fn add(&mut self, path: &[u8], what: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("/{} {what}", shown(path)));
        }
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.named.join(", "))?;
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn differences(root: &Root, before: Option<&Digest>, now: Option<&Digest>) -> Result<Differences> {
    if before == now {
        return Ok(Differences::default());
    }
    let index = |layer: Option<&Digest>| layer.map(|layer| File::open(root.layer_index(layer))).transpose();
    compare(&mut || Ok(index(before)?), index(now)?)
}

/// The differences of two indexes; the first is read twice, so that no path need be kept.
fn compare<R: Read>(before: &mut dyn FnMut() -> Result<Option<R>>, now: Option<R>) -> Result<Differences> {
    let mut known: HashMap<u64, u64> = HashMap::new();
    each(before()?, &mut |entry| {
        known.insert(hash(&entry.head.path), summary(entry));
    })?;
    let mut found = Differences::default();
    each(now, &mut |entry| match known.remove(&hash(&entry.head.path)) {
        None => found.add(&entry.head.path, "is new"),
        Some(before) if before != summary(entry) => found.add(&entry.head.path, "differs"),
        Some(_) => {}
    })?;
    if !known.is_empty() {
        each(before()?, &mut |entry| {
            if known.remove(&hash(&entry.head.path)).is_some() {
                found.add(&entry.head.path, "is missing");
            }
        })?;
    }
    Ok(found)
}

fn each<R: Read>(index: Option<R>, work: &mut dyn FnMut(&Entry)) -> Result<()> {
    let Some(index) = index else { return Ok(()) };
    for entry in Entries::new(index)? {
        work(&entry?);
    }
    Ok(())
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// All of an entry that counts.
fn summary(entry: &Entry) -> u64 {
    let head = &entry.head;
    let what = format!("{:?} {:?}", head.kind, entry.digest);
    hash(&(what, head.mode, head.uid, head.gid, &head.link, head.size, &head.xattrs))
}
