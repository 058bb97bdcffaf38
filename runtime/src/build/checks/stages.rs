//! Rules about what instructions mean in their stage: bases, variables, values, and files that are ignored. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::form::is_secret;
use super::rules::*;
use super::{Found, Rule};
use crate::build::arguments::{self, Values};
use crate::build::context::{Patterns, clean};
use crate::build::dockerfile::instruction::{CommandLine, Files};
use crate::build::dockerfile::{
    Command, Dockerfile, Expander, Instruction, Node, Origin, SCRATCH, Stage, Trigger, nearest,
};
use crate::build::graph::Graph;
use crate::build::options::Options;
use crate::build::origin::{Named, named};
use crate::error::Result;
use crate::image::config::ImageConfig;
use crate::reference::Reference;
use crate::registry::platform::Platform;

/// Where commands are looked for in an image that says nothing of it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Known to docker alone, and no variables.
const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What a Dockerfile is checked beside.
pub struct Surroundings<'s> {
    /// The files of the context that are not there for a build.
    pub ignored: &'s Patterns,
    /// The config of an image, if it is at hand. What an image that is not at hand defines is not known, and no variable is
    /// called undefined on it.
    pub image: &'s mut dyn FnMut(&str) -> Option<ImageConfig>,
}

/// Checks the stages: `all`, or those that the target needs. Ends at what cannot be built.
pub(super) fn check(
    file: &Dockerfile,
    (options, all): (&Options, bool),
    around: &mut Surroundings<'_>,
    found: &mut Found<'_>,
) -> Result<()> {
    default_bases(file, options, found);
    let globals = arguments::global(file, options)?;
    let mut checker =
        Checker { file, options, known: arguments::known(file, options), globals, around, scopes: [].into() };
    let (stages, bases) = checker.bases(found)?;
    let replaced = |stage: usize| named(file, &options.contexts, Origin::Stage(stage)).is_some();
    let mut needs = |stage: usize| -> Result<Vec<usize>> {
        let mut triggers = |stage: usize| checker.triggers(stage, &bases[stage]);
        Ok(Graph::new(file, &bases, stage, &replaced, &mut triggers)?.stages().collect())
    };
    let wanted = match &options.target {
        Some(name) => needs(file.target(name)?)?,
        None if all => {
            (0..file.stages.len()).try_for_each(|stage| needs(stage).map(drop))?;
            (0..file.stages.len()).collect()
        }
        None => needs(file.stages.len() - 1)?,
    };
    for stage in wanted.into_iter().filter(|stage| !replaced(*stage)) {
        checker.platform(stage, &bases[stage], stages[stage].0, found);
        checker.stage(stage, &bases[stage], stages[stage].1, found)?;
    }
    Ok(())
}

/// What FROM names without any build argument must be able to be an image.
fn default_bases(file: &Dockerfile, options: &Options, found: &mut Found<'_>) {
    let options = Options { platform: options.platform.clone(), ..Options::default() };
    let known = arguments::known(file, &options);
    let Ok(globals) = arguments::global(file, &options) else { return };
    let lookup = |name: &str| globals.get(name).or_else(|| known.get(name)).map(String::as_str);
    for (stage, (node, _)) in file.stages.iter().zip(file.by_stage()) {
        let mut expander = Expander::new(file.directives.escape, &lookup);
        let Ok(base) = file.source.expand(&stage.base, &mut expander) else { return };
        if Reference::parse(&base.text).is_err() {
            let text = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
            found.add(&INVALID_DEFAULT_ARG_IN_FROM, node, text);
        }
    }
}

/// What is known in a stage at an instruction.
#[derive(Clone, Default)]
struct Scope {
    values: Values,
    /// Arguments, with a value or without.
    declared: BTreeSet<String>,
    /// Whether the base's variables are known.
    known: bool,
    /// Whether SHELL was used.
    shell: bool,
    /// Whether WORKDIR was.
    directory: bool,
}

struct Checker<'c, 's> {
    file: &'c Dockerfile,
    options: &'c Options,
    known: Values,
    globals: Values,
    around: &'c mut Surroundings<'s>,
    /// What each stage has come to.
    scopes: BTreeMap<usize, Scope>,
}

type Nodes<'c> = Vec<(&'c Node, &'c [Node])>;

impl<'c> Checker<'c, '_> {
    /// The expanded base of each stage.
    fn bases(&self, found: &mut Found<'_>) -> Result<(Nodes<'c>, Vec<String>)> {
        let stages = self.file.by_stage();
        let mut bases = Vec::new();
        for (stage, (node, _)) in self.file.stages.iter().zip(&stages) {
            bases.push(self.base(stage, node, &mut found.before(node))?);
        }
        Ok((stages, bases))
    }

    fn base(&self, stage: &Stage, node: &Node, found: &mut Found<'_>) -> Result<String> {
        let lookup = |name: &str| self.globals.get(name).or_else(|| self.known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let base = stage.base(&self.file.source, &mut expander);
        self.undeclared(&expander, node, found);
        let base = base?.text;
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let platform = stage.platform(&self.file.source, &mut expander);
        self.undeclared(&expander, node, found);
        let (Some(platform), Some(written)) = (platform?, &stage.platform) else { return Ok(base) };
        let used: Vec<&str> = expander.used().iter().map(String::as_str).collect();
        let constant = used.is_empty() && expander.unset().is_empty();
        let target = self.known.get("TARGETPLATFORM").or_else(|| self.globals.get("TARGETPLATFORM"));
        if used == ["TARGETPLATFORM"] && expander.unset().is_empty() && target == Some(&platform.text) {
            let text = format!(
                "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
            );
            found.add(&REDUNDANT_TARGET_PLATFORM, node, text);
        }
        let name = stage.name.as_deref().unwrap_or_default();
        let named = |platform: &Platform| name.contains(&platform.os) || name.contains(&platform.architecture);
        let parsed = Platform::parse(&platform.text, &self.options.platform);
        if constant && parsed.is_ok_and(|platform| !named(&platform)) {
            let text = format!("FROM --platform flag should not use constant value {:?}", platform.text);
            found.add(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, node, text);
        }
        Ok(base)
    }

    fn undeclared(&self, expander: &Expander<'_>, node: &Node, found: &mut Found<'_>) {
        let declared = self.file.arguments.iter().flat_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => arguments.as_slice(),
            _ => &[],
        });
        let mut names: BTreeSet<&str> = declared.map(|argument| argument.name.text.as_str()).collect();
        names.extend(self.known.keys().map(String::as_str));
        names.extend(["TARGETSTAGE", "TARGETOSVERSION", "BUILDOSVERSION"]);
        for name in expander.unset().iter().filter(|name| !names.contains(name.as_str())) {
            let meant = nearest(name, names.iter().copied()).map(|name| format!(" (did you mean {name}?)"));
            let text = format!("FROM argument '{name}' is not declared{}", meant.unwrap_or_default());
            found.add(&UNDEFINED_ARG_IN_FROM, node, text);
        }
    }

    fn stage(&mut self, index: usize, base: &str, nodes: &[Node], found: &mut Found<'_>) -> Result<()> {
        let mut scope = self.scope(index, base);
        let mut once = BTreeMap::new();
        for (instruction, node) in self.file.stages[index].instructions.iter().zip(nodes) {
            let found = &mut found.before(node);
            let command = self.expanded(instruction, &mut scope, node, found)?;
            self.command(&command, &mut scope, node, found);
            if matches!(command, Command::Cmd(_) | Command::Entrypoint(_) | Command::Healthcheck(_))
                && let Some(before) = once.insert(instruction.name, node)
            {
                let text = format!(
                    "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                    node.name
                );
                found.add(&MULTIPLE_INSTRUCTIONS_DISALLOWED, before, text);
            }
        }
        self.scopes.insert(index, scope);
        Ok(())
    }

    /// What a stage is on.
    fn below<'b>(&self, index: usize, base: &'b str) -> Origin<'b>
    where
        'c: 'b,
    {
        let origin = self.file.base(index, base);
        match named(self.file, &self.options.contexts, origin) {
            Some(Named::Files(_) | Named::Later(_)) => Origin::Other(SCRATCH),
            Some(Named::Image(image)) => Origin::Other(image),
            None => origin,
        }
    }

    /// Whether what a stage is on is for its platform. One that is for neither this machine nor the stage's is refused or
    /// pulled anew by a build: of that nothing is known here.
    fn platform(&mut self, index: usize, base: &str, node: &Node, found: &mut Found<'_>) {
        let Origin::Other(name) = self.below(index, base) else { return };
        let lookup = |name: &str| self.globals.get(name).or_else(|| self.known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let given = self.file.stages[index].platform(&self.file.source, &mut expander).ok().flatten();
        let machine = &self.options.machine;
        let wanted = given.map_or(Ok(self.options.platform.clone()), |given| Platform::parse(&given.text, machine));
        if name == SCRATCH || wanted.is_err() || wanted.is_ok_and(|wanted| wanted != *machine) {
            return;
        }
        let Some(ImageConfig { os, architecture, variant, .. }) = (self.around.image)(name) else { return };
        if (&os, &architecture) != (&machine.os, &machine.architecture) {
            let actual = Platform::new(&os, &architecture, &variant).to_string();
            let expected = machine.to_string();
            let text = format!(
                "Base image {base} was pulled with platform {actual:?}, expected {expected:?} for current build"
            );
            found.before(node).add(&INVALID_BASE_IMAGE_PLATFORM, node, text);
        }
    }

    /// What a stage's base wants to be run there, as far as it is at hand.
    fn triggers(&mut self, index: usize, base: &str) -> Result<Vec<Trigger>> {
        let texts = match self.below(index, base) {
            Origin::Stage(other) => self.file.on_build(other),
            Origin::Other(SCRATCH) => Vec::new(),
            Origin::Other(image) => (self.around.image)(image).map(|image| image.config.on_build).unwrap_or_default(),
        };
        Trigger::parse_all(base, &texts)
    }

    fn scope(&mut self, index: usize, base: &str) -> Scope {
        let mut scope = match self.below(index, base) {
            Origin::Stage(other) => return self.scopes.get(&other).cloned().unwrap_or_default(),
            Origin::Other(SCRATCH) => Scope { known: true, ..Scope::default() },
            Origin::Other(name) => match (self.around.image)(name) {
                None => Scope::default(),
                Some(ImageConfig { config, .. }) => {
                    let pairs = config.env.iter().filter_map(|variable| variable.split_once('='));
                    let values = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                    Scope { values, known: true, shell: config.shell.is_some(), ..Scope::default() }
                }
            },
        };
        scope.values.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
        scope
    }

    /// An instruction with the values of its variables; those of ARG are declared.
    fn expanded(
        &self,
        instruction: &Instruction,
        scope: &mut Scope,
        node: &Node,
        found: &mut Found<'_>,
    ) -> Result<Command> {
        let source = &self.file.source;
        if let Command::Arg(arguments) = &instruction.command {
            for argument in arguments {
                let name = &argument.name.text;
                secret("ARG", name, node, found);
                let given = self.options.arguments.get(name).cloned();
                let value = match (given, &argument.default) {
                    (Some(given), _) => Some(given),
                    (None, Some(default)) => {
                        let lookup = |name: &str| scope.values.get(name).map(String::as_str);
                        let mut expander = Expander::new(self.file.directives.escape, &lookup);
                        let value = source.expand(default, &mut expander);
                        undefined(&expander, scope, node, found);
                        Some(value?.text)
                    }
                    (None, None) => self.globals.get(name).or_else(|| self.known.get(name)).cloned(),
                };
                scope.values.extend(value.map(|value| (name.clone(), value)));
                scope.declared.insert(name.clone());
            }
            return Ok(instruction.command.clone());
        }
        let lookup = |name: &str| scope.values.get(name).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let expanded = instruction.expand(source, &mut expander);
        undefined(&expander, scope, node, found);
        Ok(expanded?.command)
    }

    fn command(&self, command: &Command, scope: &mut Scope, node: &Node, found: &mut Found<'_>) {
        match command {
            Command::Env(pairs) | Command::Label(pairs) => {
                let env = matches!(command, Command::Env(_));
                for pair in pairs {
                    if !pair.equals {
                        let name = &node.name;
                        let text = format!(
                            "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                        );
                        found.add(&LEGACY_KEY_VALUE_FORMAT, node, text);
                    }
                    if env {
                        secret("ENV", &pair.name.text, node, found);
                        scope.values.insert(pair.name.text.clone(), pair.value.text.clone());
                    }
                }
            }
            Command::Cmd(CommandLine::Shell(_)) | Command::Entrypoint(CommandLine::Shell(_)) if !scope.shell => {
                let text = format!(
                    "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                    node.name
                );
                found.add(&JSON_ARGS_RECOMMENDED, node, text);
            }
            Command::Shell(_) => scope.shell = true,
            Command::Workdir(path) => {
                if !scope.directory && !path.text.starts_with('/') {
                    let text = format!(
                        "Relative workdir {:?} can have unexpected results if the base image changes",
                        path.text
                    );
                    found.add(&WORKDIR_RELATIVE_PATH, node, text);
                }
                scope.directory = true;
            }
            Command::Expose(words) => words.iter().for_each(|word| port(&word.text, node, found)),
            Command::Copy(copy) if copy.from.is_none() => self.copied("Copy", &copy.files, node, found),
            Command::Add(add) => self.copied("Add", &add.files, node, found),
            _ => {}
        }
    }

    /// Files that are copied, and ignored.
    fn copied(&self, what: &str, files: &Files, node: &Node, found: &mut Found<'_>) {
        // Where files are taken out again, a directory that is ignored may have some.
        let ignored = self.around.ignored;
        if ignored.have_exceptions() {
            return;
        }
        let local = |text: &str| !(what == "Add" && (text.contains("://") || text.starts_with("git@")));
        for source in files.sources.iter().filter(|source| local(&source.text)) {
            let path = clean(source.text.as_bytes());
            let all = matches!(path.as_slice(), b"." | b"/");
            let matched = if all { ignored.match_everything() } else { ignored.of(&path).matched };
            if matched {
                let path = String::from_utf8_lossy(&path);
                let text = format!("Attempting to {what} file {path:?} that is excluded by .dockerignore");
                found.add(&COPY_IGNORED_FILE, node, text);
            }
        }
    }
}

/// Variables without a value.
fn undefined(expander: &Expander<'_>, scope: &Scope, node: &Node, found: &mut Found<'_>) {
    if !scope.known {
        return;
    }
    for name in expander.unset() {
        if scope.declared.contains(name) || NO_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let meant = nearest(name, scope.values.keys().map(String::as_str));
        let meant = meant.map(|meant| format!(" (did you mean ${meant}?)")).unwrap_or_default();
        found.add(&UNDEFINED_VAR, node, format!("Usage of undefined variable '${name}'{meant}"));
    }
}

fn secret(instruction: &str, name: &str, node: &Node, found: &mut Found<'_>) {
    if is_secret(name) {
        let text = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        found.add(&SECRETS_USED_IN_ARG_OR_ENV, node, text);
    }
}

/// A port of EXPOSE: no part but its number and, in small letters, its protocol.
fn port(word: &str, node: &Node, found: &mut Found<'_>) {
    let (before, port) = word.rsplit_once(':').unwrap_or(("", word));
    let protocol = port.split_once('/').map_or("", |(_, protocol)| protocol);
    let mut add = |rule: &'static Rule, text: String| found.add(rule, node, text);
    if protocol != protocol.to_lowercase() {
        let text = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        add(&EXPOSE_PROTO_CASING, text);
    }
    if before.bytes().any(|byte| byte != b':') {
        let text = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
        add(&EXPOSE_INVALID_FORMAT, text);
    }
}
