//! From the parse tree's nodes to instructions: names, flags, numbers of arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::flags::{Flags, Kind};
use super::mount;
use super::ports;
use super::run::{Network, Run, Security};
use super::{Add, Argument, Command, CommandLine, Copy, Files, InlineFile, Instruction, health};
use crate::build::dockerfile::expand::Expander;
use crate::build::dockerfile::heredoc::{self, Heredoc};
use crate::build::dockerfile::source::{Fault, Parsed, Word};
use crate::build::dockerfile::stage::Stage;
use crate::build::dockerfile::suggestion::did_you_mean;
use crate::build::dockerfile::tree::{Arguments, Node, Pair};
use crate::build::hide::without_users;
use crate::image::config::is_signal;

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
const NO_FLAGS: &[(&str, Kind)] = &[];
const ADD_FLAGS: &[(&str, Kind)] = &[
    ("chown", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("exclude", Kind::Values),
    ("keep-git-dir", Kind::Switch),
    ("checksum", Kind::Value),
    ("unpack", Kind::Switch),
];
const COPY_FLAGS: &[(&str, Kind)] = &[
    ("from", Kind::Value),
    ("chown", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("exclude", Kind::Values),
    ("parents", Kind::Switch),
];
const RUN_FLAGS: &[(&str, Kind)] = &[("mount", Kind::Values), ("network", Kind::Value), ("security", Kind::Value)];
const NETWORKS: [(&str, Network); 3] =
    [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];
const SECURITIES: [(&str, Security); 2] = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];

/// What an instruction is.
pub(in crate::build::dockerfile) enum Checked {
    /// FROM begins a stage.
    Stage(Stage),
    /// It belongs to a stage.
    Instruction(Instruction),
}

/// Checks one instruction. `escape` is the file's escape character.
pub(in crate::build::dockerfile) fn check(node: &Node, escape: char) -> Parsed<Checked> {
    let upper = node.name.text.to_ascii_uppercase();
    let Some(name) = NAMES.into_iter().find(|name| *name == upper) else {
        let suggestion = did_you_mean(&node.name.text, NAMES, true);
        return Err(Fault::new(node.name.at, format!("unknown instruction: {}{suggestion}", node.name.text)));
    };
    let checker = Checker { node, name, escape };
    checker.no_nul()?;
    if name == "FROM" {
        return Ok(Checked::Stage(checker.stage()?));
    }
    Ok(Checked::Instruction(Instruction {
        name,
        at: node.name.at,
        last_line: node.last_line,
        original: shown(name, &node.original),
        command: checker.command()?,
    }))
}

struct Checker<'n> {
    node: &'n Node,
    name: &'static str,
    escape: char,
}

impl Checker<'_> {
    fn command(&self) -> Parsed<Command> {
        if !matches!(self.name, "ADD" | "COPY" | "RUN" | "HEALTHCHECK" | "ONBUILD") {
            Flags::read(self.node, NO_FLAGS)?;
        }
        Ok(match self.name {
            "ADD" => Command::Add(self.add()?),
            "ARG" => Command::Arg(self.arg()?),
            "CMD" => Command::Cmd(self.command_line()),
            "COPY" => Command::Copy(self.copy()?),
            "ENTRYPOINT" => Command::Entrypoint(self.command_line()),
            "ENV" => Command::Env(self.pairs()?),
            "EXPOSE" => Command::Expose(self.expose()?),
            "HEALTHCHECK" => Command::Healthcheck(health::check(self.node)?),
            "LABEL" => Command::Label(self.pairs()?),
            "MAINTAINER" => Command::Maintainer(self.one()?),
            "ONBUILD" => Command::OnBuild(self.on_build()?),
            "RUN" => Command::Run(self.run()?),
            "SHELL" => Command::Shell(self.shell()?),
            "STOPSIGNAL" => Command::StopSignal(self.stop_signal()?),
            "USER" => Command::User(self.one()?),
            "VOLUME" => Command::Volume(self.volume()?),
            _ => Command::Workdir(self.one()?),
        })
    }

    fn fault(&self, message: &str) -> Fault {
        Fault::new(self.node.name.at, format!("{} {message}", self.name))
    }

    /// Nothing that an image's config or a program's arguments can hold has a NUL byte; JSON can write one.
    fn no_nul(&self) -> Parsed<()> {
        let json = match &self.node.arguments {
            Arguments::Json(words) => words.as_slice(),
            Arguments::Health { command, .. } => match command.as_ref() {
                Arguments::Json(words) => words.as_slice(),
                _ => &[],
            },
            _ => &[],
        };
        let scripts = self.node.heredocs.iter().filter(|_| self.name == "RUN").map(|heredoc| heredoc.body.as_str());
        let mut texts = json.iter().map(|word| word.text.as_str()).chain(scripts).chain([self.node.original.as_str()]);
        match texts.any(|text| text.contains('\0')) {
            true => Err(self.fault("holds a NUL byte")),
            false => Ok(()),
        }
    }

    fn words(&self) -> &[Word] {
        match &self.node.arguments {
            Arguments::Words(words) | Arguments::Json(words) => words,
            _ => &[],
        }
    }

    /// The one text that the instruction has.
    fn one(&self) -> Parsed<Word> {
        match &self.node.arguments {
            Arguments::Text(text) => Ok(text.clone()),
            _ => Err(self.fault("requires exactly one argument")),
        }
    }

    fn some_words(&self) -> Parsed<&[Word]> {
        match self.words() {
            [] => Err(self.fault("requires at least one argument")),
            words => Ok(words),
        }
    }

    fn stage(&self) -> Parsed<Stage> {
        let (base, name) = match self.words() {
            [base] => (base, None),
            [base, middle, name] if middle.text.eq_ignore_ascii_case("as") => (base, Some(stage_name(name)?)),
            _ => return Err(self.fault("requires either one or three arguments: FROM base [AS name]")),
        };
        let flags = Flags::read(self.node, &[("platform", Kind::Value)])?;
        Ok(Stage {
            name,
            base: base.clone(),
            platform: flags.value("platform"),
            at: self.node.name.at,
            original: capitals("FROM", &self.node.original),
            instructions: Vec::new(),
        })
    }

    fn files(&self, flags: &Flags) -> Parsed<Files> {
        let Some((destination, sources)) = self.words().split_last() else {
            return Err(self.fault("requires at least two arguments"));
        };
        if matches!(heredoc::parse(&destination.text), Ok(Some(_))) {
            return Err(Fault::new(destination.at, format!("{} cannot accept a heredoc as a destination", self.name)));
        }
        let mut files = Files {
            sources: Vec::new(),
            inline: Vec::new(),
            destination: destination.clone(),
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or(false),
            exclude: flags.values("exclude"),
        };
        // Of several heredocs of one name, the last is meant; the file is the same one.
        let bodies: BTreeMap<&str, &Heredoc> =
            self.node.heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
        let mut seen = BTreeSet::new();
        for source in sources {
            let Ok(Some(word)) = heredoc::parse(&source.text) else {
                files.sources.push(source.clone());
                continue;
            };
            let Some(heredoc) = bodies.get(word.name.as_str()) else {
                let message = format!("heredoc {} has no body: it is in JSON, or a quote does not close", word.name);
                return Err(Fault::new(source.at, message));
            };
            if seen.insert(word.name) {
                let (name, content) = (heredoc.name.clone(), heredoc.content());
                files.inline.push(InlineFile { name, content, expand: heredoc.expand });
            }
        }
        Ok(files)
    }

    fn two_or_more(&self) -> Parsed<()> {
        match self.words().len() {
            0 | 1 => Err(self.fault(
                "requires at least two arguments, but only one was provided. Destination could not be determined",
            )),
            _ => Ok(()),
        }
    }

    fn add(&self) -> Parsed<Add> {
        self.two_or_more()?;
        let flags = Flags::read(self.node, ADD_FLAGS)?;
        Ok(Add {
            files: self.files(&flags)?,
            keep_git_dir: flags.switch("keep-git-dir"),
            checksum: flags.value("checksum"),
            unpack: flags.switch("unpack"),
        })
    }

    fn copy(&self) -> Parsed<Copy> {
        self.two_or_more()?;
        let flags = Flags::read(self.node, COPY_FLAGS)?;
        let from = flags.value("from");
        if let Some(from) = &from {
            let plain = Expander::new(self.escape, &|_| None).text(&from.text);
            if plain.map_err(|message| Fault::new(from.at, message))? != from.text {
                let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
                return Err(Fault::new(from.at, message));
            }
        }
        Ok(Copy { files: self.files(&flags)?, from, parents: flags.switch("parents").unwrap_or(false) })
    }

    fn arg(&self) -> Parsed<Vec<Argument>> {
        let arguments = self.some_words()?.iter().map(|word| match word.text.split_once('=') {
            Some(("", _)) => Err(Fault::new(word.at, "ARG names can not be blank")),
            Some((name, value)) => Ok(Argument {
                name: Word::new(name, word.at),
                default: Some(Word::new(value, word.at.forward(name.len() + 1))),
            }),
            None => Ok(Argument { name: word.clone(), default: None }),
        });
        arguments.collect()
    }

    fn pairs(&self) -> Parsed<Vec<Pair>> {
        let Arguments::Pairs(pairs) = &self.node.arguments else {
            return Err(self.fault("requires at least one argument"));
        };
        match pairs.iter().find(|pair| pair.name.text.is_empty()) {
            Some(pair) => Err(Fault::new(pair.name.at, format!("{} names can not be blank", self.name))),
            None => Ok(pairs.clone()),
        }
    }

    fn command_line(&self) -> CommandLine {
        match &self.node.arguments {
            Arguments::Json(words) => CommandLine::Exec(words.iter().map(|word| word.text.clone()).collect()),
            Arguments::Text(text) => CommandLine::Shell(text.text.clone()),
            _ => CommandLine::Shell(String::new()),
        }
    }

    fn run(&self) -> Parsed<Run> {
        let flags = Flags::read(self.node, RUN_FLAGS)?;
        let command = self.command_line();
        if command == CommandLine::Exec(Vec::new()) {
            return Err(self.fault("names no program"));
        }
        let mount_flags = flags.values("mount");
        let mounts = mount_flags.iter().map(|flag| mount::preview(flag, self.escape)).collect::<Parsed<_>>()?;
        Ok(Run {
            command,
            heredocs: self.node.heredocs.clone(),
            mount_flags,
            mounts,
            network: flags.choice("network", &NETWORKS, Network::Default)?,
            security: flags.choice("security", &SECURITIES, Security::Sandbox)?,
        })
    }

    fn shell(&self) -> Parsed<Vec<String>> {
        match &self.node.arguments {
            Arguments::Json(words) if !words.is_empty() => Ok(words.iter().map(|word| word.text.clone()).collect()),
            Arguments::Text(text) => {
                let message = format!("SHELL requires the arguments to be in JSON form: not {:?}", text.text);
                Err(Fault::new(text.at, message))
            }
            _ => Err(self.fault("requires at least one argument")),
        }
    }

    /// A text in which nothing is to be replaced is what it will be.
    fn is_final(&self, text: &str) -> bool {
        !text.contains(['$', '\'', '"', self.escape])
    }

    fn expose(&self) -> Parsed<Vec<Word>> {
        let words = self.some_words()?;
        let mut count = 0;
        for word in words.iter().filter(|word| self.is_final(&word.text)) {
            count += ports::count(&word.text).map_err(|error| Fault::new(word.at, error.to_string()))?;
            ports::affordable(count).map_err(|error| Fault::new(word.at, error.to_string()))?;
        }
        Ok(words.to_vec())
    }

    fn stop_signal(&self) -> Parsed<Word> {
        let word = self.one()?;
        match self.is_final(&word.text) && !is_signal(&word.text) {
            true => Err(Fault::new(word.at, format!("Invalid signal: {word}"))),
            false => Ok(word),
        }
    }

    fn volume(&self) -> Parsed<Vec<Word>> {
        let volumes = self.some_words()?.iter().map(|word| match word.text.trim() {
            "" => Err(Fault::new(word.at, "VOLUME specified can not be an empty string")),
            path => Ok(Word::new(path, word.at)),
        });
        volumes.collect()
    }

    /// The instruction's text: whether it is right shows when an image is built on this one, as in docker.
    fn on_build(&self) -> Parsed<Word> {
        let Arguments::Instruction(inner) = &self.node.arguments else {
            return Err(self.fault("requires at least one argument"));
        };
        Flags::read(self.node, NO_FLAGS)?;
        let trigger = inner.name.text.to_ascii_uppercase();
        if matches!(trigger.as_str(), "FROM" | "MAINTAINER") {
            return Err(Fault::new(inner.name.at, format!("{trigger} isn't allowed as an ONBUILD trigger")));
        }
        let mut text = inner.original.clone();
        for heredoc in &self.node.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        Ok(Word::new(text, inner.name.at))
    }
}

fn stage_name(word: &Word) -> Parsed<String> {
    let name = word.text.to_lowercase();
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    match starts && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c)) {
        true => Ok(name),
        false => {
            let rule = "a letter, then letters, digits, '-', '_' and '.'";
            Err(Fault::new(word.at, format!("invalid name for build stage: {:?}: {rule}", word.text)))
        }
    }
}

/// What is shown of an instruction, and kept in the image's history.
fn shown(name: &str, original: &str) -> String {
    let text = capitals(name, original);
    if matches!(name, "ADD" | "COPY" | "ONBUILD") { without_users(&text) } else { text }
}

/// The text of an instruction with its name in capitals, as documented.
fn capitals(name: &str, original: &str) -> String {
    match original.split_at_checked(name.len()) {
        Some((typed, rest)) if typed.eq_ignore_ascii_case(name) => format!("{name}{rest}"),
        _ => original.to_owned(),
    }
}
