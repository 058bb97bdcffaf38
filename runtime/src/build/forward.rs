//! How a step takes a stage further: by what the cache has of it, or by making it; either way there is one more image.
//!
//! Runs in the CLI, on the host, with one thread.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cache::{self, Entry, Key};
use super::driver::{Build, Progress, Stage};
use super::options::Event;
use super::state::State;
use super::step::Made;
use super::{explain, resume};
use crate::container::options::RunOptions;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, Staging};
use crate::image::config::RunConfig;

/// How long what was made may wait to be published: so much work a power cut or a kill may undo.
const UNPUBLISHED: Duration = Duration::from_millis(500);

impl Build<'_> {
    /// A step that changes no file.
    pub(super) fn metadata(&mut self, stage: &mut Stage<'_>, run: RunConfig, text: &str) -> Progress<()> {
        let mut key = Key::default();
        key.add("image", Digest::of(&stage.state.config.to_bytes()?).as_str().as_bytes());
        key.add(
            "config",
            &serde_json::to_vec(&run).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?,
        );
        key.add("instruction", text.as_bytes());
        let (key, input) = key.finish();
        let created = match self.found(stage, &key) {
            // A time that was asked for is not the one at which it was made before.
            Some(_) if self.options.clock.is_some() => self.now(),
            Some(entry) => entry.created,
            None => {
                let created = self.now();
                self.missed(stage, &key, &input);
                self.record(&key, &Entry::new(None, created.clone(), input).of(text));
                created
            }
        };
        stage.state.trail.push(key);
        self.forward(stage, run, None, (created, text.to_owned()))
    }

    /// The next image of the stage, in the store.
    fn forward(
        &mut self,
        stage: &mut Stage<'_>,
        run: RunConfig,
        layer: Option<Digest>,
        (created, created_by): (String, String),
    ) -> Progress<()> {
        let entry = stage.state.entry(created, created_by);
        stage.state.add(run, layer, entry);
        let id = self.steps.publish(&stage.state.config, stage.state.image.as_ref())?;
        stage.state.image = Some(id);
        if self.published.elapsed() > UNPUBLISHED {
            self.unpublished.publish()?;
            self.published = Instant::now();
        }
        Ok(())
    }

    pub(super) fn now(&self) -> String {
        self.options.clock.unwrap_or_else(Timestamp::now).to_string()
    }

    /// What was made before with this input.
    pub(super) fn found(&mut self, stage: &Stage<'_>, key: &Digest) -> Option<Entry> {
        let store = &self.steps.engine.store;
        let mut entry = if stage.cached { cache::find(store, key) } else { None };
        if entry.is_none() && stage.cached {
            entry = self.elsewhere.find(store, key, &mut |text| (self.tell)(Event::Warning(text)));
            if let Some(entry) = &entry {
                self.record(key, entry);
            }
        }
        if entry.is_some() {
            (self.tell)(Event::Cached);
        }
        entry
    }

    /// A cache that cannot be written is none; the step was made.
    fn record(&mut self, key: &Digest, entry: &Entry) {
        if let Err(error) = cache::record(self.steps.engine.root(), key, entry) {
            (self.tell)(Event::Warning(&format!("the step is not in the cache: {error}")));
        }
    }

    /// The key of a step that may make a layer, as far as all have it in common.
    pub(super) fn layer_key(&self, state: &State) -> Key {
        self.layer_key_on(&state.config.rootfs.diff_ids)
    }

    /// The same of one that depends on these layers alone.
    pub(super) fn layer_key_on(&self, layers: &[Digest]) -> Key {
        let mut key = Key::default();
        for layer in layers {
            key.add("layer", layer.as_str().as_bytes());
        }
        let clock = self.options.clock.map(|clock| clock.to_string()).unwrap_or_default();
        key.add("clock", clock.as_bytes());
        key
    }

    /// A step that may make a layer: from the cache, or by `make`. Bytes of the files in it.
    pub(super) fn layer(
        &mut self,
        stage: &mut Stage<'_>,
        key: Key,
        (run, created_by): (RunConfig, String),
        make: impl FnOnce(&mut Self, &RunOptions, &State) -> Progress<Made>,
    ) -> Progress<Option<u64>> {
        let (key, input) = key.finish();
        let mut found = self.found(stage, &key);
        let turn = if found.is_none() && stage.cached { self.turn(&key)? } else { None };
        if turn.is_some() {
            found = self.found(stage, &key);
        }
        let stepped = self.step(stage, (key, input), found, (run, created_by), make);
        if let Some(turn) = turn {
            // Whoever waits for it finds the layer in the store.
            let published = self.unpublished.publish();
            // What cannot be deleted now is swept later.
            let _ = turn.remove(&mut |path| file::remove_tree(path));
            published?;
        }
        stepped
    }

    /// Where other stages are built at the same time: waits until none of them makes the step with this key.
    fn turn(&self, key: &Digest) -> Result<Option<Staging>> {
        let root = self.unpublished.store().root();
        self.worker.then(|| Staging::named(root, &format!("step-{}", key.hex()))).transpose()
    }

    fn step(
        &mut self,
        stage: &mut Stage<'_>,
        (key, input): (Digest, Vec<String>),
        found: Option<Entry>,
        (run, created_by): (RunConfig, String),
        make: impl FnOnce(&mut Self, &RunOptions, &State) -> Progress<Made>,
    ) -> Progress<Option<u64>> {
        let mut files = None;
        let (layer, created, made) = match found {
            Some(entry) => {
                if self.again {
                    let image = self.image(&mut stage.state)?;
                    let options = RunOptions { image: image.to_string(), ..self.options.run.clone() };
                    let again = make(self, &options, &stage.state);
                    self.verify(stage, &entry, again)?;
                }
                self.told(stage, &entry);
                (entry.layer, entry.created, None)
            }
            None => {
                files = self.missed(stage, &key, &input);
                let resumed = self.resume(stage, &key, &created_by)?;
                let image = self.image(&mut stage.state)?;
                let options = RunOptions { image: image.to_string(), ..self.options.run.clone() };
                let created = self.now();
                let root = self.steps.engine.root();
                let made = make(self, &options, &stage.state)
                    .inspect_err(|stop| stop.failed_in().into_iter().for_each(|id| resume::remember(root, &key, id)))?;
                resume::forget(root, &key);
                (made.layer, created, (!resumed).then_some(made.reads))
            }
        };
        let size = match &layer {
            Some(layer) => Some(self.steps.engine.store.layer_meta(layer)?.content),
            None => Some(0),
        };
        self.forward(stage, run, layer.clone(), (created.clone(), created_by))?;
        if let Some(reads) = made {
            self.record(&key, &Entry::new(layer, created, input).of(&stage.place.text).reading(reads));
            if let Some(files) = files {
                explain::record(self.steps.engine.root(), &key, &files);
            }
        }
        stage.state.trail.push(key);
        Ok(size)
    }

    /// The image of a stage, for a container; `FROM scratch` becomes one of no layers.
    pub(super) fn image(&mut self, state: &mut State) -> Result<Digest> {
        if let Some(image) = &state.image {
            return Ok(image.clone());
        }
        let id = self.steps.publish(&state.config, None)?;
        state.image = Some(id.clone());
        Ok(id)
    }
}
