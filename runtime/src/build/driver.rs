//! Goes through the stages that the target needs, step by step: a step that was made before with the same input is taken
//! from the cache, any other is made, and the image after each is one of the store.
//!
//! Runs in the CLI, on the host, with one thread.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::arguments::{self, PROXIES, Values};
use super::cache::Key;
use super::checks::{self, Surroundings};
use super::complete::finish;
use super::context::{Context, Hashes};
use super::dockerfile::instruction::{Invocation, Network, Run, Security};
use super::dockerfile::{self, Command, Dockerfile, Expander, Instruction, Origin, Source, Trigger};
use super::elsewhere::Elsewhere;
use super::explain::{Last, Place};
use super::foreign;
use super::frontend;
use super::graph::Graph;
use super::mounts::Sources;
use super::options::{Built, Event, Options};
use super::origin::named;
use super::state::State;
use super::step::{Ran, Steps};
use super::unpublished::Unpublished;
use super::workers::Work;
use crate::container::lifecycle::containers;
use crate::container::names::ContainerId;
use crate::container::options::{self, EnvVar, RunOptions, Streams};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::image::store::Image;
use crate::registry::platform::Platform;

/// Finds the image of this name for this platform, wherever it is, for a stage or for `--from`.
pub type Resolve<'a> = dyn FnMut(&str, &Platform) -> Result<Image> + 'a;

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
    /// The last build of this Dockerfile.
    pub(super) last: Option<Rc<Last>>,
    pub(super) published: Instant,
    /// What the mounts of steps show.
    pub(super) mounted: Sources,
    /// Of the step that was begun last, from 1.
    pub(super) number: usize,
    pub(super) total: usize,
    /// Whether the command of this step is to run again, if it is in the cache.
    pub(super) again: bool,
    /// Whether others are built at the same time.
    pub(super) worker: bool,
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
    /// The container of the command that failed, if that is why.
    pub fn failed_in(&self) -> Option<&ContainerId> {
        match self {
            Self::Ended(Built::Failed { container, .. }) => Some(container),
            _ => None,
        }
    }

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

pub(super) type Progress<T> = std::result::Result<T, Stop>;

/// A stage while its instructions are carried out.
pub(super) struct Stage<'s> {
    pub state: State,
    /// The arguments that it has declared, and what is known without.
    pub values: Values,
    pub source: &'s Source,
    pub cached: bool,
    pub place: Place<'s>,
}

impl Stage<'_> {
    pub fn lookup(&self, name: &str) -> Option<&str> {
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
        let (elsewhere, stages, mounted) = (Elsewhere::default(), BTreeMap::new(), Sources::default());
        let published = Instant::now();
        let identity = context.identity().ok();
        let last = identity.map(|identity| Rc::new(Last::load(steps.engine.root(), file.source.name(), identity)));
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
            mounted,
            last,
            published,
            number: 0,
            total: 0,
            again: false,
            worker: false,
        }
    }

    /// The same build in a worker, which has a place of its own for what it makes.
    pub(super) fn of_worker<'w>(
        &'w mut self,
        unpublished: &'w Unpublished<'w>,
        output: BorrowedFd<'w>,
        tell: &'w mut dyn FnMut(Event<'_>),
    ) -> Build<'w> {
        let Steps { host, clock, remote, .. } = self.steps;
        Build {
            steps: Steps { engine: unpublished.engine(), host, clock, remote, output },
            file: self.file,
            context: self.context,
            options: self.options,
            resolve: self.resolve,
            tell,
            unpublished,
            elsewhere: std::mem::take(&mut self.elsewhere),
            stages: std::mem::take(&mut self.stages),
            hashes: std::mem::take(&mut self.hashes).again(&hashes(&self.steps)),
            mounted: Sources::default(),
            last: self.last.clone(),
            published: Instant::now(),
            number: 0,
            total: self.total,
            again: false,
            worker: true,
        }
    }

    /// Builds. The image is on disk when this returns it.
    pub fn run(mut self) -> Result<Built> {
        // A prune waits, as for a pull: the steps' images have no names yet. Nothing is collected meanwhile.
        let _using = self.steps.engine.store.lock_shared()?;
        let built = self.target();
        match self.settle(built) {
            Ok(state) => {
                let others = self.stages.values();
                finish(self.unpublished.store(), state, others, self.options).map(Built::Image)
            }
            Err(Stop::Ended(built)) => Ok(built),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Publishes what was made, also before a failure, so that it is not made again; with the container of the command that
    /// failed, if one did.
    pub(super) fn settle<T>(&mut self, built: Progress<T>) -> Progress<T> {
        self.mounted.remove(self.steps.engine);
        let published = self.unpublished.publish();
        // Without it the files are read again, no more.
        let _ = file::ensure_dir(&self.steps.engine.root().cache());
        let _ = self.hashes.save(&hashes(&self.steps));
        match &built {
            Ok(_) => published?,
            Err(Stop::Ended(ended)) => {
                published?;
                if let Built::Failed { container, .. } = ended
                    && !self.is_kept(container)
                {
                    self.unpublished.keep(container)?;
                }
            }
            Err(Stop::Failed(_)) => {}
        }
        built
    }

    /// Whether a worker has done so.
    fn is_kept(&self, container: &ContainerId) -> bool {
        !containers(self.unpublished.store()).is_gone(container)
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
        let contexts = &self.options.contexts;
        let replaced = |stage: usize| named(file, contexts, Origin::Stage(stage)).is_some();
        let (mut triggered, mut wanted) = (BTreeMap::new(), Vec::new());
        let mut triggers = |stage: usize| {
            let triggers = self.triggers(stage, &bases[stage], &globals)?;
            triggered.insert(stage, triggers.len());
            wanted.extend(triggers.clone());
            Ok(triggers)
        };
        let graph = Graph::new(file, &bases, target, &replaced, &mut triggers)?;
        let unused = arguments::unused(file, self.options, &wanted);
        if !unused.is_empty() {
            (self.tell)(Event::Warning(&format!("One or more build-args [{}] were not consumed", unused.join(" "))));
        }
        let written = |stage: usize| if replaced(stage) { 0 } else { file.stages[stage].instructions.len() };
        let (mut before, mut instructions) = (BTreeMap::new(), 0);
        for stage in graph.stages() {
            before.insert(stage, instructions);
            instructions += 1 + triggered.get(&stage).copied().unwrap_or_default() + written(stage);
        }
        let name = |stage: usize| file.stages[stage].name.clone().unwrap_or_else(|| format!("stage-{stage}"));
        self.total = instructions + usize::from(!self.options.labels.is_empty());
        let alone = graph.is_chain() || self.options.jobs() < 2;
        if alone && !self.options.relayed {
            for stage in graph.stages() {
                let state = self.stage(stage, &bases[stage], &globals)?;
                self.stages.insert(stage, state);
            }
        } else {
            self.bring(&graph, &bases, &globals)?;
            let build = |build: &mut Build<'_>, stage: usize| build.stage(stage, &bases[stage], &globals);
            self.side_by_side(&Work { graph: &graph, build: &build, before: &before, name: &name })?;
            self.number = instructions;
        }
        let mut state = self.stages.remove(&target).ok_or_else(|| Error::new(ErrorKind::Io, "the target is lost"))?;
        if !self.options.labels.is_empty() {
            self.labels(&mut state, &stage_name(file, target))?;
        }
        self.image(&mut state)?;
        self.remember(target, &state);
        Ok(state)
    }

    /// Tells what docker's checks find.
    fn warn(&mut self) -> Result<()> {
        frontend::check(self.file, self.options)?;
        let store = &self.unpublished.store().store;
        let mut image = |name: &str| store.resolve(name).ok().map(|image| image.config);
        let mut around = Surroundings { ignored: self.context.ignored(), image: &mut image };
        let report = checks::beside(self.file, self.options, &mut around);
        for warning in report.warnings {
            let (name, line) = (self.file.source.name(), warning.lines.start());
            (self.tell)(Event::Warning(&format!("{name}:{line}: {}: {}", warning.rule.name, warning.detail)));
        }
        for given in self.options.no_cache_stages.iter().filter(|given| self.file.target(given).is_err()) {
            (self.tell)(Event::Warning(&format!("--no-cache-filter: the Dockerfile has no stage {given:?}")));
        }
        report.error.map_or(Ok(()), Err)
    }

    /// What each stage is based on, expanded.
    fn bases(&self, globals: &Values) -> Result<Vec<String>> {
        let known = arguments::known(self.file, self.options);
        let lookup = |name: &str| globals.get(name).or_else(|| known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let stages = self.file.stages.iter();
        stages.map(|stage| Ok(stage.base(&self.file.source, &mut expander)?.text)).collect()
    }

    fn stage(&mut self, index: usize, base: &str, globals: &Values) -> Progress<State> {
        let file = self.file;
        let from = &file.stages[index];
        let begun = self.begin(&from.original);
        let platform = self.platform(from, globals)?;
        let replaced = self.named(Origin::Stage(index)).is_some();
        let origin = self.below(index, base);
        let name = stage_name(file, index);
        let again = self.options.no_cache_stages.iter().any(|given| file.is_called(index, given));
        let cached = !self.options.no_cache && !again;
        let place = Place { stage: name, base, text: from.original.clone(), ..Place::default() };
        let (state, triggers) =
            self.base(origin, &platform, (&place, cached)).map_err(|stop| stop.context(&from.shown(&file.source)))?;
        (self.tell)(Event::Done { image: state.image.as_ref(), took: begun.elapsed(), size: None });
        let known = arguments::known(self.file, self.options);
        let values = state.arguments.clone();
        let mut stage = Stage { state, values, source: &file.source, cached, place };
        for trigger in Trigger::parse_all(base, &triggers)? {
            let place = stage.place.clone();
            let mut other = Stage {
                state: stage.state,
                values: stage.values,
                source: &trigger.source,
                cached: stage.cached,
                place,
            };
            self.instruction(&mut other, &trigger.instruction, (globals, &known))?;
            stage.state = other.state;
            stage.values = other.values;
            stage.place.missed = other.place.missed;
        }
        for instruction in file.stages[index].instructions.iter().filter(|_| !replaced) {
            self.instruction(&mut stage, instruction, (globals, &known))?;
        }
        stage.state.arguments = stage.values;
        Ok(stage.state)
    }

    /// What a stage is for.
    pub(super) fn platform(&self, from: &dockerfile::Stage, globals: &Values) -> Result<Platform> {
        let known = arguments::known(self.file, self.options);
        let lookup = |name: &str| globals.get(name).or_else(|| known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        match from.platform(&self.file.source, &mut expander)? {
            None => Ok(self.options.platform.clone()),
            Some(given) => Platform::parse(&given.text, &self.options.machine)
                .map_err(|error| self.file.source.error(given.at, error)),
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
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
        stage.place.text.clone_from(&instruction.original);
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
            Command::Run(run) => {
                self.again = self.options.verify;
                let size = self.command(stage, run, &expanded);
                self.again = false;
                size?
            }
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
    fn labels(&mut self, state: &mut State, name: &str) -> Progress<()> {
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
            place: Place { stage: name.to_owned(), text: text.clone(), ..Place::default() },
        };
        self.metadata(&mut stage, run, &text)?;
        *state = stage.state;
        (self.tell)(Event::Done { image: state.image.as_ref(), took: begun.elapsed(), size: None });
        Ok(())
    }

    fn command(&mut self, stage: &mut Stage<'_>, run: &Run, instruction: &Instruction) -> Progress<Option<u64>> {
        let refused = |text: &str| stage.source.error(instruction.at, text);
        if run.security == Security::Insecure {
            return Err(
                refused("RUN --security=insecure: a container never has the privileges of the host's root").into()
            );
        }
        let mut key = self.layer_key(&stage.state);
        let mut mounts = self.declared(stage, run, &mut key)?;
        let words = match run.invocation() {
            Invocation::Exec(words) => words,
            Invocation::Shell(text) => stage.state.shell().into_iter().chain([text]).collect(),
            Invocation::Program { name, content } => {
                key.add("script", content.as_bytes());
                vec![mounts.script(&name, content)]
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
        let config = stage.state.run();
        config.env.iter().for_each(|variable| key.add("variable", variable.as_bytes()));
        key.add("user", config.user.as_bytes());
        key.add("directory", config.working_dir.as_bytes());
        key.add("network", format!("{network:?}").as_bytes());
        if let Some(hostname) = &self.options.run.hostname {
            key.add("hostname", hostname.as_bytes());
        }
        self.add_machine(&mut key);
        words.iter().for_each(|word| key.add("word", word.as_bytes()));
        let hidden = |name: &str| PROXIES.contains(&name) && !stage.values.contains_key(name);
        let declared = env.iter().filter(|variable| !hidden(&variable.name));
        let shown: Vec<String> = declared.filter_map(EnvVar::assignment).collect();
        shown.iter().for_each(|variable| key.add("argument", variable.as_bytes()));
        let count = if shown.is_empty() { String::new() } else { format!("|{} {} ", shown.len(), shown.join(" ")) };
        let created_by = format!("RUN {count}{}", words.join(" "));
        let config = config.clone();
        let text = instruction.original.clone();
        let source = stage.source;
        self.layer(stage, key, (config, created_by), |build, options, state| {
            if let Some(why) = foreign::refusal(&build.options.machine, &state.config) {
                return Err(source.error(instruction.at, why).hint(foreign::HINT).into());
            }
            let options = RunOptions {
                entrypoint: Some(Vec::new()),
                command: words,
                env,
                network,
                attach: Streams { stdin: false, stdout: true, stderr: true },
                ..options.clone()
            };
            let at = |error: Error| Stop::from(error).at(source, instruction);
            let given = mounts.give(build).map_err(at)?;
            let ran = build.steps.run(&options, &given.passing);
            given.end(build.steps.engine);
            match ran.map_err(at)? {
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

    /// Adds to a key what the command line says of the machine that a command finds. An address may be another each time,
    /// and only its name counts, as with BuildKit.
    fn add_machine(&self, key: &mut Key) {
        let run = &self.options.run;
        run.add_hosts.iter().for_each(|host| key.add("host", host.name.as_bytes()));
        run.ulimits
            .iter()
            .for_each(|limit| key.add("ulimit", format!("{} {} {}", limit.name(), limit.soft, limit.hard).as_bytes()));
        if let Some(size) = run.shm_size {
            key.add("shm", size.to_string().as_bytes());
        }
    }

    /// The variables of RUN besides the image's: declared arguments, unless the image's own hide them, and proxies.
    fn environment(&self, stage: &Stage<'_>) -> Vec<EnvVar> {
        let proxies = arguments::proxies(self.options).into_iter();
        let declared = stage.values.clone().into_iter();
        let all: Values = proxies.chain(declared).filter(|(name, _)| stage.state.env(name).is_none()).collect();
        all.into_iter().map(|(name, value)| EnvVar { name, value: Some(value) }).collect()
    }
}

/// What a stage is called where it may have no name.
pub(super) fn stage_name(file: &Dockerfile, stage: usize) -> String {
    file.stages[stage].name.clone().unwrap_or_else(|| stage.to_string())
}

/// Where the hashes of the context's files are.
fn hashes(steps: &Steps<'_>) -> PathBuf {
    steps.engine.root().cache().join("files")
}
