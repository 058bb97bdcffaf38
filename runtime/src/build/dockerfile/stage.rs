//! A whole Dockerfile: the arguments for all stages, the stages, and how they name each other.

use super::directives::Directives;
use super::expand::Expander;
use super::instruction::{Checked, Command, Instruction, check};
use super::reader;
use super::source::{Fault, Parsed, Position, Source, Word};
use super::suggestion::did_you_mean;
use super::tree::{Node, Tree};
use crate::error::{Error, ErrorKind, Result};

/// The base that is no image.
pub const SCRATCH: &str = "scratch";

/// A parsed and checked Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its text.
    pub source: Source,
    /// What its parser directives say.
    pub directives: Directives,
    /// The ARGs before the first stage: for FROM, and for stages that declare them again.
    pub arguments: Vec<Instruction>,
    /// The stages in their order, at least one.
    pub stages: Vec<Stage>,
    /// All instructions as they are written, in their order: `arguments`, and for each stage its FROM and its instructions.
    pub nodes: Vec<Node>,
    /// See [`Tree::empty_continuations`].
    pub empty_continuations: Vec<u32>,
}

/// A stage: what its FROM says, and its instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name, in lower case.
    pub name: Option<String>,
    /// The image or stage below it, as written; see [`Stage::base`].
    pub base: Word,
    /// `--platform=`, as written; see [`Stage::platform`].
    pub platform: Option<Word>,
    /// Where it begins.
    pub at: Position,
    /// The text of its FROM.
    pub original: String,
    /// Its instructions, without the FROM.
    pub instructions: Vec<Instruction>,
}

/// What `--from` of COPY and of mounts, or a base, names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'n> {
    /// The stage of this index.
    Stage(usize),
    /// A named context, or an image.
    Other(&'n str),
}

impl Stage {
    /// Its FROM, and where it is in the file.
    pub fn shown(&self, source: &Source) -> String {
        format!("{}:{}: {}", source.name(), self.base.at.line(), self.original)
    }

    /// The base with the values of `arguments`.
    pub fn base(&self, source: &Source, arguments: &mut Expander<'_>) -> Result<Word> {
        let base = source.expand(&self.base, arguments)?;
        match base.text.is_empty() {
            true => Err(source.error(self.base.at, format!("base name ({}) should not be blank", self.base))),
            false => Ok(base),
        }
    }

    /// The platform with the values of `arguments`.
    pub fn platform(&self, source: &Source, arguments: &mut Expander<'_>) -> Result<Option<Word>> {
        let Some(platform) = &self.platform else { return Ok(None) };
        let expanded = source.expand(platform, arguments)?;
        match expanded.text.is_empty() {
            true => Err(source.error(platform.at, format!("empty platform value from expression {platform}"))),
            false => Ok(Some(expanded)),
        }
    }
}

impl Dockerfile {
    /// Parses and checks a Dockerfile that errors call `name`.
    pub fn parse(name: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let source = Source::new(name, bytes)?;
        let tree = Tree::parse(&source)?;
        Self::new(source, tree)
    }

    /// Checks the instructions of a text.
    pub fn new(source: Source, tree: Tree) -> Result<Self> {
        let Tree { directives, nodes, empty_continuations } = tree;
        match assemble(&nodes, directives.escape) {
            Ok((arguments, stages)) => Ok(Self { source, directives, arguments, stages, nodes, empty_continuations }),
            Err(fault) => Err(source.fault(fault)),
        }
    }

    /// For each stage its FROM, and its instructions, as they are written.
    pub fn by_stage(&self) -> Vec<(&Node, &[Node])> {
        let mut rest = self.nodes.get(self.arguments.len()..).unwrap_or_default();
        let mut stages = Vec::new();
        for stage in &self.stages {
            let Some((from, after)) = rest.split_first() else { break };
            let (inside, next) = after.split_at(after.len().min(stage.instructions.len()));
            stages.push((from, inside));
            rest = next;
        }
        stages
    }

    /// The stage to build, by name or number.
    pub fn target(&self, name: &str) -> Result<usize> {
        if let Some(stage) = self.find(name) {
            return Ok(stage);
        }
        match name.parse::<usize>() {
            Ok(number) if number < self.stages.len() => Ok(number),
            _ => {
                let names = self.stages.iter().filter_map(|stage| stage.name.as_deref());
                let suggestion = did_you_mean(name, names, false);
                let message = format!("target stage {name:?} could not be found{suggestion}");
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }

    /// The instructions that a stage wants to be run in those that are on it.
    pub fn on_build(&self, stage: usize) -> Vec<String> {
        let instructions = self.stages.get(stage).map_or(&[][..], |stage| &stage.instructions);
        let texts = instructions.iter().filter_map(|instruction| match &instruction.command {
            Command::OnBuild(word) => Some(word.text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// Whether this is a name of the stage, or its number.
    pub fn is_called(&self, stage: usize, given: &str) -> bool {
        let name = self.stages.get(stage).and_then(|stage| stage.name.as_deref());
        name.is_some_and(|name| name.eq_ignore_ascii_case(given)) || given.parse() == Ok(stage)
    }

    /// What the expanded base of a stage is: a stage before it, if one has exactly this name.
    pub fn base<'n>(&self, stage: usize, base: &'n str) -> Origin<'n> {
        let before = self.stages.get(..stage).unwrap_or_default();
        let found = before.iter().rposition(|other| other.name.as_deref() == Some(base));
        found.map_or(Origin::Other(base), Origin::Stage)
    }

    /// What COPY's `--from` names: a stage by number, or by its name in any case, or something else. `source`: where it is
    /// written, this file or a trigger.
    pub fn copy_from<'n>(&self, source: &Source, from: &'n Word) -> Result<Origin<'n>> {
        match from.text.parse::<i64>() {
            Err(_) => Ok(self.mount_from(&from.text)),
            Ok(number) => match usize::try_from(number) {
                Ok(index) if index < self.stages.len() => Ok(Origin::Stage(index)),
                _ => Err(source.error(from.at, format!("invalid stage index {number}"))),
            },
        }
    }

    /// What the `from` of a mount names: a stage by its name in any case, or something else.
    pub fn mount_from<'n>(&self, from: &'n str) -> Origin<'n> {
        self.find(from).map_or(Origin::Other(from), Origin::Stage)
    }

    /// The stage of this name in any case; the last, if several have it.
    fn find(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&name))
    }
}

impl Tree {
    /// How many instructions there are up to the first that is wrong by itself, which is one of them.
    pub(in crate::build) fn readable(&self) -> usize {
        let right = self.nodes.iter().take_while(|node| check(node, self.directives.escape).is_ok()).count();
        self.nodes.len().min(right + 1)
    }
}

fn assemble(nodes: &[Node], escape: char) -> Parsed<(Vec<Instruction>, Vec<Stage>)> {
    let (mut arguments, mut stages) = (Vec::new(), Vec::<Stage>::new());
    for node in nodes {
        match (check(node, escape)?, stages.last_mut()) {
            (Checked::Stage(stage), _) => stages.push(stage),
            (Checked::Instruction(instruction), Some(stage)) => stage.instructions.push(instruction),
            (Checked::Instruction(instruction), None) if matches!(instruction.command, Command::Arg(_)) => {
                arguments.push(instruction);
            }
            (Checked::Instruction(instruction), None) => {
                let message = format!("no build stage in current context: {} before the first FROM", instruction.name);
                return Err(Fault::new(instruction.at, message));
            }
        }
    }
    match (stages.is_empty(), nodes.last()) {
        (true, Some(last)) => Err(Fault::new(last.name.at, "dockerfile contains no stages to build")),
        _ => Ok((arguments, stages)),
    }
}

/// An instruction that a base image wants to be run.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Its text.
    pub source: Source,
    /// What it says.
    pub instruction: Instruction,
}

impl Trigger {
    /// Parses all that a base called `base` has for ONBUILD.
    pub fn parse_all(base: &str, texts: &[String]) -> Result<Vec<Self>> {
        texts.iter().map(|text| Self::parse(format!("ONBUILD of {base}"), text)).collect()
    }

    /// Parses what an image's config has for ONBUILD; errors call it `name`.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self> {
        let source = Source::new(name, text.as_bytes())?;
        let parsed = reader::read(&source).and_then(|tree| trigger(&tree));
        match parsed {
            Ok(instruction) => Ok(Self { source, instruction }),
            Err(fault) => Err(source.fault(fault)),
        }
    }
}

fn trigger(tree: &Tree) -> Parsed<Instruction> {
    let [node] = tree.nodes.as_slice() else {
        return Err(Fault::new(Position::START, "an ONBUILD trigger is a single instruction"));
    };
    let refused = |name: &str| Fault::new(node.name.at, format!("{name} isn't allowed as an ONBUILD trigger"));
    match check(node, tree.directives.escape)? {
        Checked::Stage(_) => Err(refused("FROM")),
        Checked::Instruction(Instruction { command: Command::OnBuild(_), .. }) => Err(refused("ONBUILD")),
        Checked::Instruction(Instruction { command: Command::Maintainer(_), .. }) => Err(refused("MAINTAINER")),
        Checked::Instruction(instruction) => Ok(instruction),
    }
}
