//! Why a step is not taken from the cache: what of its input is not as it was when the same Dockerfile was built last.
//!
//! `cache/steps-<digest>.json` has the keys of the steps of the last build of a Dockerfile with a context, stage by stage;
//! it is written when they are others than before. `cache/files-<key>.json` has what a COPY of the context's files took
//! ([`Manifest`]), beside the entry of its key. Without them a step counts as never built, and its files as changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::cache::{self, Entry};
use super::context::{Manifest, Placed, Selection};
use super::driver::{Build, Stage, stage_name};
use super::options::Event;
use super::state::State;
use crate::digest::{Digest, Hasher};
use crate::file::{self, Durability};
use crate::paths::Root;

const VERSION: u32 = 1;
/// The keys of 10,000 steps are smaller.
const MOST: usize = 1 << 20;
/// A manifest of as many files as one has is smaller.
const MOST_FILES: usize = 16 << 20;
/// So many files are named.
const NAMED: usize = 5;

/// The keys of a Dockerfile's steps, by the names of their stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    version: u32,
    stages: BTreeMap<String, Vec<Digest>>,
}

/// The last build of a Dockerfile.
#[derive(Debug)]
pub(super) struct Last {
    path: PathBuf,
    old: Memory,
}

/// Where in the Dockerfile a step is, and what is known of it before it is made.
#[derive(Clone, Default)]
pub(super) struct Place<'s> {
    /// The stage, by name or number.
    pub stage: String,
    /// What the stage is on.
    pub base: &'s str,
    /// The number of the first step that was not in the cache.
    pub missed: Option<usize>,
    /// Whether it was told what `--resume` comes to.
    pub resumed: bool,
    /// The instruction.
    pub text: String,
    /// What it copies from the context.
    pub files: Option<Rc<Copied>>,
}

/// What a step copies, until it is taken, and how.
pub(super) struct Copied {
    pub selection: RefCell<Option<Selection>>,
    pub placed: Placed,
}

/// A step that is not in the cache.
struct Missed<'m> {
    /// Its stage, by name or number.
    stage: &'m str,
    /// How many steps the stage has before it.
    position: usize,
    /// The instruction.
    text: &'m str,
    /// Its key.
    key: &'m Digest,
    /// Its input in words.
    input: &'m [String],
    /// What it copies from the context, where that is known.
    files: Option<&'m Manifest>,
    /// What the stage is built on.
    base: &'m str,
    /// The number of the first step of the stage that was not in the cache either.
    before: Option<usize>,
}

impl Build<'_> {
    /// A step is not in the cache: tells why, where that is asked for. What it copies from the context.
    pub(super) fn missed(&mut self, stage: &mut Stage<'_>, key: &Digest, input: &[String]) -> Option<Manifest> {
        let copied = stage.place.files.take();
        let manifest =
            |copied: Rc<Copied>| Manifest::of(copied.selection.borrow().as_ref()?, &copied.placed, &mut self.hashes);
        let files = copied.and_then(manifest);
        let (number, place) = (self.number, &stage.place);
        if let (true, Some(last)) = (self.options.explain, &self.last) {
            let missed = Missed {
                stage: &place.stage,
                position: stage.state.trail.len().saturating_sub(stage.state.base_trail),
                text: &place.text,
                key,
                input,
                files: files.as_ref(),
                base: place.base,
                before: place.missed,
            };
            let why = match stage.cached {
                true => last.why(self.steps.engine.root(), &missed),
                false => "the cache was not asked for it".to_owned(),
            };
            (self.tell)(Event::Explained {
                number,
                total: self.total,
                text: &place.text,
                why: &format!("not cached: {why}"),
            });
        }
        stage.place.missed.get_or_insert(number);
        files
    }

    /// A step is in the cache: tells what its command read that may be another by now, where `--explain` asks.
    pub(super) fn told(&mut self, stage: &Stage<'_>, entry: &Entry) {
        if self.options.explain && !entry.reads.is_empty() {
            let (number, total, text) = (self.number, self.total, &stage.place.text);
            let why = format!("cached: when it ran it read {}, which may have changed", entry.reads.join(", "));
            (self.tell)(Event::Explained { number, total, text, why: &why });
        }
    }

    /// Keeps the keys of all stages for the next build; this one is the target.
    pub(super) fn remember(&self, target: usize, state: &State) {
        let Some(last) = &self.last else { return };
        let own = |state: &State| state.trail.get(state.base_trail..).unwrap_or_default().to_vec();
        let stages = self.stages.iter().chain([(&target, state)]);
        last.save(stages.map(|(stage, state)| (stage_name(self.file, *stage), own(state))).collect());
    }
}

impl Last {
    /// Of the Dockerfile of this name with the context whose root has this device and inode.
    pub fn load(root: &Root, name: &str, (dev, ino): (u64, u64)) -> Self {
        // However the path is written, it is the same file.
        let name = std::fs::canonicalize(name).unwrap_or_else(|_| name.into());
        let mut hasher = Hasher::new();
        for part in [&dev.to_le_bytes()[..], &ino.to_le_bytes(), name.as_os_str().as_bytes()] {
            hasher.update(part);
        }
        let path = root.cache().join(format!("{}{}.json", cache::STEPS, hasher.finish().hex()));
        let old: Memory = file::read_json(&path, MOST).unwrap_or_default();
        let old = if old.version == VERSION { old } else { Memory::default() };
        Self { path, old }
    }

    /// Keeps what was built for the next time. Without it the next build explains less.
    pub fn save(&self, mut stages: BTreeMap<String, Vec<Digest>>) {
        // Stages that this target did not need are as they were.
        for (stage, keys) in &self.old.stages {
            stages.entry(stage.clone()).or_insert_with(|| keys.clone());
        }
        let new = Memory { version: VERSION, stages };
        if new != self.old {
            let bytes = file::to_json(&new);
            let _ = bytes.and_then(|bytes| file::write_atomic(&self.path, &bytes, Durability::Relaxed));
        } else {
            cache::used(&self.path);
        }
    }

    /// Why the step is not in the cache.
    fn why(&self, root: &Root, missed: &Missed<'_>) -> String {
        if self.old.stages.values().flatten().any(|key| key == missed.key) || cache::read(root, missed.key).is_some() {
            return "its layer was removed".to_owned();
        }
        let keys = self.old.stages.get(missed.stage).map(Vec::as_slice).unwrap_or_default();
        let entries: Vec<(usize, &Digest, Entry)> =
            keys.iter().enumerate().filter_map(|(at, key)| Some((at, key, cache::read(root, key)?))).collect();
        let same = entries.iter().filter(|(_, _, entry)| entry.text == missed.text);
        if let Some((_, key, entry)) = same.min_by_key(|(at, ..)| at.abs_diff(missed.position)) {
            let files = manifest(root, key);
            return changes(missed, entry, files.as_ref());
        }
        let instruction = |text: &str| text.split_whitespace().next().map(str::to_ascii_uppercase);
        let here = entries.iter().find(|(at, ..)| *at == missed.position);
        match here.filter(|(_, _, entry)| instruction(&entry.text) == instruction(missed.text)) {
            Some((_, _, entry)) => format!("the instruction changed, it was {}", entry.text),
            None => "it was never built".to_owned(),
        }
    }
}

/// The keys that the file of a last build has; none, if it is damaged.
pub(super) fn keys(path: &Path) -> Vec<Digest> {
    let memory: Memory = file::read_json(path, MOST).unwrap_or_default();
    memory.stages.into_values().flatten().collect()
}

fn path(root: &Root, key: &Digest) -> PathBuf {
    root.cache().join(format!("{}{}.json", cache::FILES, key.hex()))
}

fn manifest(root: &Root, key: &Digest) -> Option<Manifest> {
    file::read_json(&path(root, key), MOST_FILES).ok()
}

/// Keeps what a step copied. Without it the next build says less.
pub(super) fn record(root: &Root, key: &Digest, files: &Manifest) {
    let bytes = file::to_json(files).ok().filter(|bytes| bytes.len() <= MOST_FILES);
    if let Some(bytes) = bytes {
        let _ = file::write_atomic(&path(root, key), &bytes, Durability::Relaxed);
    }
}

/// Parts of an input by what they are.
fn parts(input: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut parts = BTreeMap::<&str, Vec<&str>>::new();
    for word in input {
        let (what, value) = word.split_once(' ').unwrap_or((word, ""));
        parts.entry(what).or_default().push(value);
    }
    parts
}

fn changes(missed: &Missed<'_>, entry: &Entry, files: Option<&Manifest>) -> String {
    let (old, new) = (parts(&entry.input), parts(missed.input));
    let mut whats: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
    whats.sort_unstable();
    whats.dedup();
    let changed = |what: &str| old.get(what) != new.get(what);
    let none = Vec::new();
    let mut reasons = Vec::new();
    for what in whats.into_iter().filter(|what| changed(what)) {
        let (before, now) = (old.get(what).unwrap_or(&none), new.get(what).unwrap_or(&none));
        match what {
            "layer" | "image" => reasons.push(match missed.before {
                Some(number) => format!("step {number} before it was made again"),
                None => format!("the base {} changed", missed.base),
            }),
            "argument" => reasons.extend(named("argument", before, now)),
            "variable" => reasons.extend(named("variable", before, now)),
            // It follows from what is below.
            "config" if changed("image") => {}
            "config" => reasons.push("the values of its variables changed".to_owned()),
            "files" => reasons.extend(copied(files, missed.files)),
            "clock" => reasons.push("the time that was asked for changed".to_owned()),
            "directory" => reasons.push("the working directory changed".to_owned()),
            "word" | "instruction" => reasons.push("the shell changed".to_owned()),
            "name" | "content" => reasons.push("a heredoc changed".to_owned()),
            what => reasons.push(format!("the {what} changed")),
        }
    }
    reasons.dedup();
    match reasons.is_empty() {
        true => "its input changed".to_owned(),
        false => reasons.join(", "),
    }
}

/// `NAME=value` pairs that are not the same; the values may be nobody's business.
fn named(what: &str, before: &[&str], now: &[&str]) -> Vec<String> {
    let split = |pairs: &[&str]| -> BTreeMap<String, String> {
        let pairs = pairs.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (before, now) = (split(before), split(now));
    let gone = before.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("the {what} {name} is gone"));
    let other = now.iter().filter_map(|(name, value)| match before.get(name) {
        None => Some(format!("the {what} {name} is new")),
        Some(before) if before != value => Some(format!("the {what} {name} changed")),
        Some(_) => None,
    });
    let mut reasons: Vec<String> = other.chain(gone).collect();
    if reasons.is_empty() {
        reasons.push(format!("the order of its {what}s changed"));
    }
    reasons
}

fn copied(before: Option<&Manifest>, now: Option<&Manifest>) -> Vec<String> {
    let (Some(before), Some(now)) = (before, now) else { return vec!["the files changed".to_owned()] };
    let mut reasons = now.changes(before);
    let more = reasons.len().saturating_sub(NAMED);
    reasons.truncate(NAMED);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    if reasons.is_empty() {
        reasons.push("the names of the files in the image changed".to_owned());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::store::tests::{open, scratch};

    fn key(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn words(input: &[&str]) -> Vec<String> {
        input.iter().map(|word| (*word).to_owned()).collect()
    }

    const OLD: &[&str] = &["layer a", "layer b", "variable A=1", "argument X=1", "argument Y=1", "word sh", "user "];

    /// Why a step with this text and input is not in the cache, after a build with `OLD` as the second step.
    fn why(text: &str, input: &[&str], before: Option<usize>) -> String {
        let dir = scratch();
        let store = open(&dir);
        let root = store.root();
        let entry = |text: &str| Entry::new(None, String::new(), words(OLD)).of(text);
        for (name, text) in [("1", "RUN first"), ("2", "RUN it")] {
            cache::record(root, &key(name), &entry(text)).unwrap();
        }
        let last = Last::load(root, "Dockerfile", (1, 2));
        last.save([("0".to_owned(), vec![key("1"), key("2")])].into());
        let last = Last::load(root, "Dockerfile", (1, 2));
        assert_eq!(Last::load(root, "Dockerfile", (1, 3)).old, Memory::default());
        let input = words(input);
        let key = key("3");
        let (stage, position, base) = ("0", 1, "busybox");
        last.why(root, &Missed { stage, position, text, key: &key, input: &input, files: None, base, before })
    }

    fn with(from: &str, to: &[&'static str]) -> Vec<&'static str> {
        let (at, _) = OLD.iter().enumerate().find(|(_, word)| **word == from).unwrap();
        [&OLD[..at], to, &OLD[at + 1..]].concat()
    }

    #[test]
    fn what_changed_of_a_step_of_the_same_text() {
        for (from, to, expected) in [
            ("layer b", &["layer c"][..], "the base busybox changed"),
            ("argument X=1", &["argument X=2"], "the argument X changed"),
            ("argument X=1", &[], "the argument X is gone"),
            ("argument X=1", &["argument X=1", "argument Z=1"], "the argument Z is new"),
            ("argument X=1", &["variable X=1"], "the argument X is gone, the variable X is new"),
            ("variable A=1", &["variable A=2"], "the variable A changed"),
            ("word sh", &["word bash"], "the shell changed"),
            ("user ", &["user root"], "the user changed"),
        ] {
            assert_eq!(why("RUN it", &with(from, to), None), expected);
        }
        assert_eq!(why("RUN it", &with("layer b", &[]), Some(3)), "step 3 before it was made again");
    }

    #[test]
    fn steps_of_another_text_and_those_whose_layer_is_gone() {
        assert_eq!(why("RUN this", OLD, None), "the instruction changed, it was RUN it");
        assert_eq!(why("COPY a b", OLD, None), "it was never built");
        let dir = scratch();
        let store = open(&dir);
        let entry = Entry::new(Some(key("layer")), String::new(), words(OLD));
        cache::record(store.root(), &key("3"), &entry).unwrap();
        let last = Last::load(store.root(), "Dockerfile", (1, 2));
        let (text, base, input) = ("RUN it", "", words(OLD));
        let mut missed =
            Missed { stage: "0", position: 0, text, key: &key("3"), input: &input, files: None, base, before: None };
        assert_eq!(last.why(store.root(), &missed), "its layer was removed");
        let other = key("4");
        missed.key = &other;
        assert_eq!(last.why(store.root(), &missed), "it was never built");
    }
}
