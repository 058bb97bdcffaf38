//! Goes through the stages that the target needs, step by step: a step that was made before with the same input is taken
//! from the cache, any other is made, and the image after each is one of the store.
//!
//! Runs in the CLI, on the host, with one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::arguments::{self, PROXIES, Values};
use super::cache::{self, Entry, Key};
use super::checks::{self, Surroundings};
use super::complete::finish;
use super::context::{Context, Hashes};
use super::dockerfile::instruction::{Invocation, Network, Run, Security};
use super::dockerfile::{self, Command, Dockerfile, Expander, Instruction, Origin, Source, Trigger};
use super::elsewhere::Elsewhere;
use super::options::{Built, Event, Options};
use super::state::State;
use super::step::{Made, Ran, Steps};
use super::unpublished::Unpublished;
use crate::container::cp::{Owner, Typed, make_directory};
use crate::container::options::{self, EnvVar, RunOptions, Streams};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::image::config::RunConfig;
use crate::image::store::Image;

/// Finds the image of this name, wherever it is, for a stage or for `--from`.
pub type Resolve<'a> = dyn FnMut(&str) -> Result<Image> + 'a;

/// A build.
pub struct Build<'a> {
    /// What all steps have in common.
    pub steps: Steps<'a>,
    /// What is built.
    pub file: &'a Dockerfile,
    /// Whose files are copied.
    pub context: &'a Context,
    /// What is asked for.
    pub options: &'a Options,
    /// Where base images come from.
    pub resolve: &'a mut Resolve<'a>,
    /// Is told what happens.
    pub tell: &'a mut dyn FnMut(Event<'_>),
    /// What is not in the store yet.
    pub unpublished: &'a Unpublished<'a>,
    /// What other builds have made; nothing, at first.
    pub elsewhere: Elsewhere<'a>,
    /// Begun and finished stages.
    pub(super) stages: BTreeMap<usize, State>,
    pub(super) hashes: Hashes,
    published: Instant,
    number: usize,
    total: usize,
}

/// Why a stage went no further.
pub(super) enum Stop {
    Failed(Error),
    Ended(Built),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Stop {
    /// Says of a failure what was attempted.
    pub fn context(self, attempt: &str) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.context(attempt)),
            ended => ended,
        }
    }

    /// Says of a failure which instruction it is about.
    pub fn at(self, source: &Source, instruction: &Instruction) -> Self {
        self.context(&format!("{}:{}: {}", source.name(), instruction.at.line(), instruction.original))
    }
}

/// How long what was made may wait to be published: so much work a power cut or a kill may undo.
const UNPUBLISHED: Duration = Duration::from_millis(500);

pub(super) type Progress<T> = std::result::Result<T, Stop>;

/// A stage while its instructions are carried out.
pub(super) struct Stage<'s> {
    pub state: State,
    /// The arguments that it has declared, and what is known without.
    pub values: Values,
    pub source: &'s Source,
    pub cached: bool,
}

impl Stage<'_> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.state.env(name).or_else(|| self.values.get(name).map(String::as_str))
    }
}

impl<'a> Build<'a> {
    /// A build that has not begun.
    pub fn new(
        steps: Steps<'a>,
        (file, context, unpublished): (&'a Dockerfile, &'a Context, &'a Unpublished<'a>),
        options: &'a Options,
        resolve: &'a mut Resolve<'a>,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        let hashes = Hashes::load(&hashes(&steps));
        let (elsewhere, stages, published) = (Elsewhere::default(), BTreeMap::new(), Instant::now());
        Self {
            steps,
            file,
            context,
            options,
            resolve,
            tell,
            unpublished,
            elsewhere,
            stages,
            hashes,
            published,
            number: 0,
            total: 0,
        }
    }

    /// Builds. The image is on disk when this returns it.
    pub fn run(mut self) -> Result<Built> {
        // A prune waits, as for a pull: the steps' images have no names yet. Nothing is collected meanwhile.
        let _using = self.steps.engine.store.lock_shared()?;
        let built = self.target();
        // What was made before a failure is not made again.
        let published = self.unpublished.publish();
        // Without it the files are read again, no more.
        let _ = file::ensure_dir(&self.steps.engine.root().cache());
        let _ = self.hashes.save(&hashes(&self.steps));
        match built {
            Ok(state) => {
                published?;
                let others = self.stages.values();
                finish(self.unpublished.store(), state, others, self.options).map(Built::Image)
            }
            Err(Stop::Ended(built)) => {
                published?;
                if let Built::Failed { container, .. } = &built {
                    self.unpublished.keep(container)?;
                }
                Ok(built)
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn target(&mut self) -> Progress<State> {
        let file = self.file;
        self.warn()?;
        let globals = arguments::global(file, self.options)?;
        let target = match &self.options.target {
            Some(name) => file.target(name)?,
            None => file.stages.len() - 1,
        };
        let bases = self.bases(&globals)?;
        let replaced = |stage: usize| self.named(Origin::Stage(stage)).is_some();
        let needed = needed(file, &bases, target, &replaced)?;
        let steps = |stage: usize| if replaced(stage) { 0 } else { file.stages[stage].instructions.len() };
        let instructions: usize = needed.iter().map(|stage| steps(*stage) + 1).sum();
        self.total = instructions + usize::from(!self.options.labels.is_empty());
        for stage in needed {
            let state = self.stage(stage, &bases[stage], &globals)?;
            self.stages.insert(stage, state);
        }
        let mut state = self.stages.remove(&target).ok_or_else(|| Error::new(ErrorKind::Io, "the target is lost"))?;
        if !self.options.labels.is_empty() {
            self.labels(&mut state)?;
        }
        self.image(&mut state)?;
        Ok(state)
    }

    /// Tells what docker's checks find.
    fn warn(&mut self) -> Result<()> {
        let store = &self.unpublished.store().store;
        let mut image = |name: &str| store.resolve(name).ok().map(|image| image.config);
        let mut around = Surroundings { ignored: self.context.ignored(), image: &mut image };
        let report = checks::beside(self.file, self.options, &mut around);
        for warning in report.warnings {
            let (name, line) = (self.file.source.name(), warning.lines.start());
            (self.tell)(Event::Warning(&format!("{name}:{line}: {}: {}", warning.rule.name, warning.detail)));
        }
        report.error.map_or(Ok(()), Err)
    }

    /// What each stage is based on, expanded.
    fn bases(&self, globals: &Values) -> Result<Vec<String>> {
        let known = arguments::platform(self.options);
        let lookup = |name: &str| globals.get(name).or_else(|| known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let stages = self.file.stages.iter();
        stages.map(|stage| Ok(stage.base(&self.file.source, &mut expander)?.text)).collect()
    }

    fn stage(&mut self, index: usize, base: &str, globals: &Values) -> Progress<State> {
        let file = self.file;
        let from = &file.stages[index];
        let begun = self.begin(&from.original);
        self.check_platform(from, globals)?;
        // A context of the stage's own name takes its place.
        let replaced = self.named(Origin::Stage(index)).is_some();
        let origin = if replaced { Origin::Stage(index) } else { file.base(index, base) };
        let (state, triggers) = self.base(origin).map_err(|stop| stop.context(&from.original))?;
        (self.tell)(Event::Done { image: state.image.as_ref(), took: begun.elapsed(), size: None });
        let name = from.name.clone().unwrap_or_else(|| index.to_string());
        let cached = !self.options.no_cache && !self.options.no_cache_stages.contains(&name);
        let known = arguments::platform(self.options);
        let mut stage = Stage { state, values: Values::new(), source: &file.source, cached };
        for text in triggers {
            let trigger = Trigger::parse(format!("ONBUILD of {base}"), &text)?;
            self.total += 1;
            let mut other =
                Stage { state: stage.state, values: stage.values, source: &trigger.source, cached: stage.cached };
            self.instruction(&mut other, &trigger.instruction, (globals, &known))?;
            stage.state = other.state;
            stage.values = other.values;
        }
        for instruction in file.stages[index].instructions.iter().filter(|_| !replaced) {
            self.instruction(&mut stage, instruction, (globals, &known))?;
        }
        Ok(stage.state)
    }

    fn check_platform(&self, from: &dockerfile::Stage, globals: &Values) -> Result<()> {
        let known = arguments::platform(self.options);
        let lookup = |name: &str| globals.get(name).or_else(|| known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let Some(platform) = from.platform(&self.file.source, &mut expander)? else { return Ok(()) };
        self.options.serves(&platform.text).map_err(|error| self.file.source.error(platform.at, error))
    }

    fn begin(&mut self, text: &str) -> Instant {
        self.number += 1;
        (self.tell)(Event::Step { number: self.number, total: self.total, text });
        Instant::now()
    }

    fn instruction(
        &mut self,
        stage: &mut Stage<'_>,
        instruction: &Instruction,
        (globals, known): (&Values, &Values),
    ) -> Progress<()> {
        let begun = self.begin(&instruction.original);
        let expanded = {
            let lookup = |name: &str| stage.lookup(name);
            let mut expander = Expander::new(self.file.directives.escape, &lookup);
            instruction.expand(stage.source, &mut expander)?
        };
        let size = match &expanded.command {
            Command::Arg(arguments) => {
                for argument in arguments {
                    let name = &argument.name.text;
                    let given = {
                        let lookup = |name: &str| stage.lookup(name);
                        arguments::value(stage.source, self.file.directives.escape, argument, self.options, &lookup)?
                    };
                    let value = given.or_else(|| globals.get(name).or_else(|| known.get(name)).cloned());
                    stage.values.extend(value.map(|value| (name.clone(), value)));
                }
                let run = stage.state.run().clone();
                self.metadata(stage, run, &expanded.original)?;
                None
            }
            Command::Run(run) => self.command(stage, run, &expanded)?,
            Command::Copy(_) | Command::Add(_) => self.files(stage, &expanded)?,
            Command::Workdir(word) => self.workdir(stage, &word.text, &expanded)?,
            _ => {
                let run = stage.state.changed(&expanded)?;
                self.metadata(stage, run.unwrap_or_else(|| stage.state.run().clone()), &expanded.original)?;
                None
            }
        };
        (self.tell)(Event::Done { image: stage.state.image.as_ref(), took: begun.elapsed(), size });
        Ok(())
    }

    /// Labels that the command line gives, as one more step.
    fn labels(&mut self, state: &mut State) -> Progress<()> {
        let words: Vec<String> = self.options.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let text = format!("LABEL {}", words.join(" "));
        let begun = self.begin(&text);
        let mut run = state.run().clone();
        run.labels.extend(self.options.labels.clone());
        let mut stage = Stage {
            state: std::mem::take(state),
            values: Values::new(),
            source: &self.file.source,
            cached: !self.options.no_cache,
        };
        self.metadata(&mut stage, run, &text)?;
        *state = stage.state;
        (self.tell)(Event::Done { image: state.image.as_ref(), took: begun.elapsed(), size: None });
        Ok(())
    }

    /// A step that changes no file.
    fn metadata(&mut self, stage: &mut Stage<'_>, run: RunConfig, text: &str) -> Progress<()> {
        let mut key = Key::default();
        key.add("image", Digest::of(&stage.state.config.to_bytes()?).as_str().as_bytes());
        key.add(
            "config",
            &serde_json::to_vec(&run).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?,
        );
        key.add("instruction", text.as_bytes());
        let (key, input) = key.finish();
        let created = match self.found(stage, &key) {
            Some(entry) => entry.created,
            None => {
                let created = self.now();
                self.record(&key, &Entry::new(None, created.clone(), input));
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

    fn now(&self) -> String {
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
        let mut key = Key::default();
        for layer in &state.config.rootfs.diff_ids {
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
        let (layer, created, made) = match self.found(stage, &key) {
            Some(entry) => (entry.layer, entry.created, false),
            None => {
                let image = self.image(&mut stage.state)?;
                let options = RunOptions { image: image.to_string(), ..self.options.run.clone() };
                let created = self.now();
                let made = make(self, &options, &stage.state)?;
                (made.layer, created, true)
            }
        };
        let size = match &layer {
            Some(layer) => Some(self.steps.engine.store.layer_meta(layer)?.content),
            None => Some(0),
        };
        self.forward(stage, run, layer.clone(), (created.clone(), created_by))?;
        if made {
            self.record(&key, &Entry::new(layer, created, input));
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

    fn command(&mut self, stage: &mut Stage<'_>, run: &Run, instruction: &Instruction) -> Progress<Option<u64>> {
        let refused = |text: &str| stage.source.error(instruction.at, text);
        if run.security == Security::Insecure {
            return Err(
                refused("RUN --security=insecure: a container never has the privileges of the host's root").into()
            );
        }
        if !run.mounts.is_empty() {
            return Err(refused("RUN --mount: this version of lrun does not mount anything for a step").into());
        }
        let words = match run.invocation() {
            Invocation::Exec(words) => words,
            Invocation::Shell(text) => stage.state.shell().into_iter().chain([text]).collect(),
            Invocation::Program { .. } => {
                return Err(refused(
                    "a heredoc that begins with #!: this version of lrun runs those of the shell only",
                )
                .into());
            }
        };
        if words.iter().all(String::is_empty) {
            return Err(refused("RUN has no command").into());
        }
        let network = match run.network {
            Network::Default => self.options.run.network.clone(),
            Network::None => options::Network::None,
            Network::Host => options::Network::Host,
        };
        let env = self.environment(stage);
        let mut key = self.layer_key(&stage.state);
        let config = stage.state.run();
        config.env.iter().for_each(|variable| key.add("variable", variable.as_bytes()));
        key.add("user", config.user.as_bytes());
        key.add("directory", config.working_dir.as_bytes());
        key.add("network", format!("{network:?}").as_bytes());
        words.iter().for_each(|word| key.add("word", word.as_bytes()));
        let declared = env.iter().filter(|variable| !PROXIES.contains(&variable.name.as_str()));
        let shown: Vec<String> = declared.filter_map(EnvVar::assignment).collect();
        shown.iter().for_each(|variable| key.add("argument", variable.as_bytes()));
        let count = if shown.is_empty() { String::new() } else { format!("|{} {} ", shown.len(), shown.join(" ")) };
        let created_by = format!("RUN {count}{}", words.join(" "));
        let config = config.clone();
        let text = instruction.original.clone();
        self.layer(stage, key, (config, created_by), |build, options, state| {
            let options = RunOptions {
                entrypoint: Some(Vec::new()),
                command: words,
                env,
                network,
                attach: Streams { stdin: false, stdout: true, stderr: true },
                ..options.clone()
            };
            match build.steps.run(&options)? {
                Ran::Well(made) => Ok(made),
                Ran::Interrupted(signal) => Err(Stop::Ended(Built::Interrupted(signal))),
                Ran::Failed(code, container) => {
                    let image =
                        state.image.clone().ok_or_else(|| Error::new(ErrorKind::Io, "the step had no image"))?;
                    Err(Stop::Ended(Built::Failed { text, code, container, image }))
                }
            }
        })
    }

    /// The variables of RUN besides the image's: declared arguments, unless the image's own hide them, and proxies.
    fn environment(&self, stage: &Stage<'_>) -> Vec<EnvVar> {
        let proxies = PROXIES.iter().filter_map(|name| {
            let value = self.options.arguments.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        let declared = stage.values.clone().into_iter();
        let all: Values = proxies.chain(declared).filter(|(name, _)| stage.state.env(name).is_none()).collect();
        all.into_iter().map(|(name, value)| EnvVar { name, value: Some(value) }).collect()
    }

    fn workdir(&mut self, stage: &mut Stage<'_>, path: &str, instruction: &Instruction) -> Progress<Option<u64>> {
        let path = Typed::inside(stage.state.absolute(path).as_bytes());
        let text = String::from_utf8_lossy(path.path()).into_owned();
        let run = RunConfig { working_dir: text.clone(), ..stage.state.run().clone() };
        let mut key = self.layer_key(&stage.state);
        key.add("directory", text.as_bytes());
        key.add("user", run.user.as_bytes());
        let created_by = instruction.original.clone();
        self.layer(stage, key, (run, created_by), |build, options, state| {
            let engine = build.steps.engine;
            let user = state.run().user.clone();
            Ok(build.steps.change(options, |record| {
                let owner = match user.as_str() {
                    "" => Owner::default(),
                    user => super::files::owner(engine, record, user)?,
                };
                make_directory(engine, record, &path, owner)
            })?)
        })
    }
}

/// Where the hashes of the context's files are.
fn hashes(steps: &Steps<'_>) -> PathBuf {
    steps.engine.root().cache().join("files")
}

/// The stages that the target needs, in their order. What is `replaced` by a context needs none.
pub(super) fn needed(
    file: &Dockerfile,
    bases: &[String],
    target: usize,
    replaced: &dyn Fn(usize) -> bool,
) -> Result<BTreeSet<usize>> {
    let (mut needed, mut open) = (BTreeSet::new(), vec![target]);
    while let Some(stage) = open.pop() {
        // Nothing is built for a stage in whose place a context is, unless it is the target.
        if replaced(stage) {
            needed.extend((stage == target).then_some(stage));
            continue;
        }
        if !needed.insert(stage) {
            continue;
        }
        if let Origin::Stage(other) = file.base(stage, &bases[stage]) {
            open.push(other);
        }
        for instruction in &file.stages[stage].instructions {
            for (other, at) in origins(file, instruction)? {
                if other >= stage {
                    return Err(file.source.error(at, "it copies from a stage that comes later, or from itself"));
                }
                open.push(other);
            }
        }
    }
    Ok(needed)
}

/// The stages that an instruction takes files from.
fn origins(file: &Dockerfile, instruction: &Instruction) -> Result<Vec<(usize, dockerfile::Position)>> {
    let mut found = Vec::new();
    match &instruction.command {
        Command::Copy(copy) => {
            if let Some(from) = &copy.from
                && let Origin::Stage(stage) = file.copy_from(from)?
            {
                found.push((stage, from.at));
            }
        }
        Command::Run(run) => {
            for from in run.mounts.iter().filter_map(|mount| mount.from.as_ref()) {
                if let Origin::Stage(stage) = file.mount_from(&from.text) {
                    found.push((stage, from.at));
                }
            }
        }
        _ => {}
    }
    Ok(found)
}
