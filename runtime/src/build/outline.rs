//! What can be asked of a Dockerfile besides an image: its targets, and what can be given to one of them. Pure. What the
//! images say that stages are on is not known here: their variables have no value, and they want nothing to be run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::arguments::{self, Values};
use super::dockerfile::instruction::{Argument, Mount, MountKind};
use super::dockerfile::{Command, Dockerfile, Expander, Instruction, Node, Origin, Trigger, Word};
use super::graph::Graph;
use super::options::Options;
use super::origin::named;
use crate::error::Result;

/// A stage that can be built.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'f> {
    /// Its name.
    pub name: Option<&'f str>,
    /// What the comment before it says that begins with its name.
    pub description: Option<&'f str>,
    /// What it is on, as written.
    pub base: &'f str,
    /// What it is for, as written.
    pub platform: Option<&'f str>,
    /// Where its FROM is.
    pub lines: RangeInclusive<u32>,
}

/// What can be given to a target.
#[derive(Debug, PartialEq, Eq)]
pub struct Outline<'f> {
    /// The target's name.
    pub name: Option<&'f str>,
    /// What the comment before it says that begins with its name.
    pub description: Option<&'f str>,
    /// Arguments.
    pub arguments: Vec<Taken>,
    /// Secrets.
    pub secrets: Vec<Taken>,
    /// SSH agents.
    pub agents: Vec<Taken>,
}

/// Something that can be given, and where it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// The value that an argument has.
    pub value: String,
    /// What the comment before an argument says that begins with its name.
    pub description: Option<String>,
    /// Whether a build without the secret or agent fails.
    pub required: bool,
    /// Where it is asked for.
    pub lines: RangeInclusive<u32>,
}

/// All stages. The last is the one that is built where none is named.
pub fn targets(file: &Dockerfile) -> Vec<Target<'_>> {
    file.stages
        .iter()
        .zip(file.by_stage())
        .map(|(stage, (node, _))| {
            let name = stage.name.as_deref();
            let platform = stage.platform.as_ref().map(|platform| platform.text.as_str());
            let description = name.and_then(|name| about(node, name));
            Target { name, description, base: &stage.base.text, platform, lines: lines(node) }
        })
        .collect()
}

/// What can be given to the target of the options.
pub fn outline<'f>(file: &'f Dockerfile, options: &Options) -> Result<Outline<'f>> {
    let target = options.target.as_deref().map_or(Ok(file.stages.len() - 1), |name| file.target(name))?;
    let reader = Reader::new(file, options)?;
    let replaced = |stage: usize| named(file, &options.contexts, Origin::Stage(stage)).is_some();
    let bases: Vec<String> =
        (0..file.stages.len()).map(|stage| reader.base(stage).map(|(base, _)| base)).collect::<Result<_>>()?;
    let mut triggers = |stage: usize| match file.base(stage, &bases[stage]) {
        Origin::Stage(other) => Trigger::parse_all(&bases[stage], &file.on_build(other)),
        Origin::Other(_) => Ok(Vec::new()),
    };
    let graph = Graph::new(file, &bases, target, &replaced, &mut triggers)?;
    let mut read = BTreeMap::new();
    for stage in graph.stages().filter(|stage| !replaced(*stage)) {
        let below = match file.base(stage, &bases[stage]) {
            Origin::Stage(other) => read.get(&other).map(|below: &Stage| below.values.clone()),
            Origin::Other(_) => None,
        };
        read.insert(stage, reader.stage(stage, below.unwrap_or_default())?);
    }
    // What the target itself says of a name counts more than what the stages say that it needs.
    let own = read.remove(&target).unwrap_or_default();
    let all: Vec<Stage> = [own].into_iter().chain(read.into_values().rev()).collect();
    let about = targets(file).swap_remove(target);
    Ok(Outline {
        name: about.name,
        description: about.description,
        arguments: sorted(all.iter().flat_map(|stage| &stage.arguments)),
        secrets: sorted(all.iter().flat_map(|stage| &stage.secrets)),
        agents: sorted(all.iter().flat_map(|stage| &stage.agents)),
    })
}

/// The first of each name, by their lines.
fn sorted<'t>(all: impl Iterator<Item = (&'t String, &'t Taken)>) -> Vec<Taken> {
    let mut first = BTreeMap::new();
    for (name, taken) in all {
        first.entry(name).or_insert_with(|| taken.clone());
    }
    let mut sorted: Vec<Taken> = first.into_values().collect();
    sorted.sort_by_key(|taken| *taken.lines.start());
    sorted
}

/// What a comment before an instruction says of this name, with which it begins.
fn about<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    node.comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '))
}

fn lines(node: &Node) -> RangeInclusive<u32> {
    node.name.at.line()..=node.last_line
}

type Names = BTreeMap<String, Taken>;

/// What one stage asks for.
#[derive(Default)]
struct Stage {
    /// The variables at its end.
    values: Values,
    arguments: Names,
    secrets: Names,
    agents: Names,
}

/// The arguments before the first stage, and those that the value of each comes of.
struct Reader<'f, 'o> {
    file: &'f Dockerfile,
    options: &'o Options,
    known: Values,
    values: Values,
    globals: BTreeMap<String, (Taken, BTreeSet<String>)>,
}

impl<'f, 'o> Reader<'f, 'o> {
    fn new(file: &'f Dockerfile, options: &'o Options) -> Result<Self> {
        let known = arguments::known(file, options);
        let mut reader = Self { file, options, known, values: Values::new(), globals: BTreeMap::new() };
        for (instruction, node) in file.arguments.iter().zip(&file.nodes) {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let name = &argument.name.text;
                let (value, mut used) = reader.value(argument, &reader.values)?;
                if let Some((_, before)) = reader.globals.get(name).filter(|_| used.contains(name)) {
                    used.extend(before.iter().cloned());
                }
                reader.globals.insert(name.clone(), (taken(argument, value.as_deref(), node), used));
                reader.values.extend(value.map(|value| (name.clone(), value)));
            }
        }
        Ok(reader)
    }

    /// The value of an argument: given, or its default; and the variables in that.
    fn value(&self, argument: &Argument, values: &Values) -> Result<(Option<String>, BTreeSet<String>)> {
        if let Some(given) = self.options.arguments.get(&argument.name.text) {
            return Ok((Some(given.clone()), BTreeSet::new()));
        }
        let Some(default) = &argument.default else { return Ok((None, BTreeSet::new())) };
        self.expand(default, values).map(|(value, used)| (Some(value), used))
    }

    fn expand(&self, word: &Word, values: &Values) -> Result<(String, BTreeSet<String>)> {
        let lookup = |name: &str| values.get(name).or_else(|| self.known.get(name)).map(String::as_str);
        let mut expander = Expander::new(self.file.directives.escape, &lookup);
        let expanded = self.file.source.expand(word, &mut expander)?.text;
        Ok((expanded, expander.used().clone()))
    }

    /// What a stage is on, and the variables that its FROM uses.
    fn base(&self, stage: usize) -> Result<(String, BTreeSet<String>)> {
        let stage = &self.file.stages[stage];
        let (base, mut used) = self.expand(&stage.base, &self.values)?;
        if let Some(platform) = &stage.platform {
            used.extend(self.expand(platform, &self.values)?.1);
        }
        Ok((base, used))
    }

    fn stage(&self, index: usize, values: Values) -> Result<Stage> {
        let mut stage = Stage { values, ..Stage::default() };
        for name in self.base(index)?.1 {
            self.global(&name, &mut stage.arguments);
        }
        let Some((_, nodes)) = self.file.by_stage().into_iter().nth(index) else { return Ok(stage) };
        for (instruction, node) in self.file.stages[index].instructions.iter().zip(nodes) {
            match &instruction.command {
                Command::Arg(arguments) => {
                    for argument in arguments {
                        self.argument(argument, node, &mut stage)?;
                    }
                }
                Command::Env(_) | Command::Run(_) => self.instruction(instruction, node, &mut stage)?,
                _ => {}
            }
        }
        Ok(stage)
    }

    fn argument(&self, argument: &Argument, node: &Node, stage: &mut Stage) -> Result<()> {
        let name = &argument.name.text;
        let (own, _) = self.value(argument, &stage.values)?;
        let global = self.values.get(name).or_else(|| self.known.get(name));
        let value = own.as_ref().or(global);
        match (&own, global) {
            (None, Some(_)) => self.global(name, &mut stage.arguments),
            _ => drop(stage.arguments.insert(name.clone(), taken(argument, value.map(String::as_str), node))),
        }
        stage.values.extend(value.map(|value| (name.clone(), value.clone())));
        Ok(())
    }

    /// An argument from before the first stage, with those that its value comes of.
    fn global(&self, name: &str, into: &mut Names) {
        let mut open = vec![name];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some((taken, used)) = self.globals.get(name).filter(|_| seen.insert(name)) else { continue };
            into.entry(name.to_owned()).or_insert_with(|| taken.clone());
            open.extend(used.iter().map(String::as_str));
        }
    }

    fn instruction(&self, instruction: &Instruction, node: &Node, stage: &mut Stage) -> Result<()> {
        let expanded = {
            let lookup = |name: &str| stage.values.get(name).map(String::as_str);
            instruction.expand(&self.file.source, &mut Expander::new(self.file.directives.escape, &lookup))?
        };
        match expanded.command {
            Command::Env(pairs) => stage.values.extend(pairs.into_iter().map(|pair| (pair.name.text, pair.value.text))),
            Command::Run(run) => {
                for mount in &run.mounts {
                    let (name, into) = match mount.kind {
                        MountKind::Secret => (mount.secret_id(), &mut stage.secrets),
                        MountKind::Ssh => (mount.agent_id().to_owned(), &mut stage.agents),
                        _ => continue,
                    };
                    into.entry(name.clone()).or_insert_with(|| given(name, mount, node));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn taken(argument: &Argument, value: Option<&str>, node: &Node) -> Taken {
    let name = argument.name.text.clone();
    let description = about(node, &name).map(str::to_owned);
    Taken { name, value: value.unwrap_or_default().to_owned(), description, required: false, lines: lines(node) }
}

fn given(name: String, mount: &Mount, node: &Node) -> Taken {
    Taken { name, value: String::new(), description: None, required: mount.required, lines: lines(node) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str, target: Option<&str>, given: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let file = Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap();
        let arguments = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options { target: target.map(str::to_owned), arguments, ..Options::default() };
        let outline = outline(&file, &options).unwrap();
        let argument = |taken: &Taken| {
            let Taken { name, value, description, lines, .. } = taken;
            format!("{}: {name}={value} {}", lines.start(), description.as_deref().unwrap_or("-"))
        };
        let given = |taken: &Taken| format!("{}: {} {}", taken.lines.start(), taken.name, taken.required);
        let all = outline.secrets.iter().chain(&outline.agents).map(given).collect();
        (outline.arguments.iter().map(argument).collect(), all)
    }

    #[test]
    fn a_target_takes_what_its_stages_and_their_bases_declare() {
        let text = "\
ARG base=box
ARG other=${base}2
# Kinds are many
# kind is its kind
ARG kind=\"usy${base}\"
FROM b${kind} AS one
# A says nothing of B
ARG A=1 B
ENV C=3
# D is made of C
ARG D=${C}${A}
FROM other$other AS two
ARG E
# three is the last
FROM one AS three
COPY --from=one / /
ARG base
ARG A=4
";
        let (arguments, given) = offered(text, Some("three"), &[("B", "2")]);
        let expected =
            ["1: base=box -", "5: kind=usybox is its kind", "8: B=2 -", "11: D=31 is made of C", "18: A=4 -"];
        assert_eq!((arguments, given), (expected.map(str::to_owned).to_vec(), Vec::new()));
        assert_eq!(offered(text, Some("two"), &[]).0, ["1: base=box -", "2: other=box2 -", "13: E= -"]);
        let file = Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap();
        let told: Vec<_> = targets(&file).into_iter().map(|target| (target.name, target.description)).collect();
        assert_eq!(told, [(Some("one"), None), (Some("two"), None), (Some("three"), Some("is the last"))]);
    }

    #[test]
    fn an_argument_that_comes_of_itself_brings_what_it_came_of() {
        let text = "ARG A=1\nARG B=b\nARG UNUSED\nARG A=$A$B\nARG C=$A\nARG A=$A$C\nFROM scratch\nARG A\nARG D=1\nARG D=$D$D\n";
        assert_eq!(offered(text, None, &[]).0, ["2: B=b -", "5: C=1b -", "6: A=1b1b -", "10: D=11 -"]);
    }

    #[test]
    fn secrets_and_agents_of_stages_that_are_needed() {
        let text = "\
FROM scratch AS one
RUN --mount=type=secret,target=/run/key,required --mount=type=ssh true
FROM scratch AS two
RUN --mount=type=secret,id=unused --mount=type=ssh,id=unused true
FROM scratch
ARG N=1
RUN --mount=type=secret,id=s$N --mount=type=bind,from=one true
RUN --mount=type=secret,id=s$N,required --mount=type=ssh,id=a,required true
";
        let given = offered(text, None, &[]).1;
        assert_eq!(given, ["2: key true", "7: s1 false", "2: default false", "8: a true"]);
    }
}
