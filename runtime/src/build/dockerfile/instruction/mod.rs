//! Checked instructions: each with its flags and arguments, variables not yet replaced.

mod check;
mod expansion;
mod flags;
mod health;
mod mount;
mod ports;
mod run;

pub(in crate::build) use mount::last_name;
pub use mount::{Mount, MountKind, Sharing};
pub use ports::exposed;
pub use run::{Invocation, Network, Run, Security};

pub(super) use check::{Checked, check};

use super::source::{Position, Word};
use super::tree::Pair;
use crate::image::config::Healthcheck;

/// An instruction inside a stage, or an ARG before the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// In capitals.
    pub name: &'static str,
    /// Where it begins.
    pub at: Position,
    /// Its last line, heredocs included.
    pub last_line: u32,
    /// Its text without comments, continued lines joined, without heredocs, without passwords in addresses: for the
    /// history and for people.
    pub original: String,
    /// What it says.
    pub command: Command,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`: ports as they are written; [`exposed`] reads them once they are expanded.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`, as it goes into the image's config.
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(Word),
    /// `ONBUILD`: the instruction's text, with heredocs; see [`super::Trigger`].
    OnBuild(Word),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(Word),
    /// `USER`
    User(Word),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `WORKDIR`
    Workdir(Word),
}

/// The command of `RUN`, `CMD` and `ENTRYPOINT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the stage's shell; may be empty.
    Shell(String),
    /// A program and its arguments, the JSON form.
    Exec(Vec<String>),
}

/// A name that `ARG` declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: Word,
    /// Its value where none is given; [`super::Source::expand`] expands it, after the arguments before it.
    pub default: Option<Word>,
}

/// What `ADD` and `COPY` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Paths, patterns, and for `ADD` addresses.
    pub sources: Vec<Word>,
    /// Files whose content the Dockerfile has.
    pub inline: Vec<InlineFile>,
    /// A directory if it ends in a slash.
    pub destination: Word,
    /// `--chown=user[:group]`
    pub chown: Option<Word>,
    /// `--chmod=mode`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude=pattern`, never expanded.
    pub exclude: Vec<Word>,
}

/// A heredoc of `ADD` or `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The heredoc's name.
    pub name: String,
    /// The file's content.
    pub content: String,
    /// Variables in the content are to be replaced.
    pub expand: bool,
}

/// `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Sources, destination, common flags.
    pub files: Files,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--checksum=digest`
    pub checksum: Option<Word>,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// `COPY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Sources, destination, common flags.
    pub files: Files,
    /// `--from=stage`, image or context; has no variables.
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
}
