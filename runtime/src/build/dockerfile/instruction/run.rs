//! RUN, and what its heredocs make of its command.

use super::CommandLine;
use super::mount::Mount;
use crate::build::dockerfile::heredoc::{self, Heredoc};
use crate::build::dockerfile::source::Word;

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command; variables in it are the shell's.
    pub command: CommandLine,
    /// The heredocs that follow it; then the command is for a shell.
    pub heredocs: Vec<Heredoc>,
    /// `--mount=`, as written.
    pub mount_flags: Vec<Word>,
    /// What they say. Before the instruction is expanded, of those with variables only what they are from.
    pub mounts: Vec<Mount>,
    /// `--network=`
    pub network: Network,
    /// `--security=`
    pub security: Security,
}

/// The network of a RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The build's.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// How a RUN is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As every container.
    #[default]
    Sandbox,
    /// With all privileges.
    Insecure,
}

/// What a RUN starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// A program with its arguments.
    Exec(Vec<String>),
    /// A text for the stage's shell.
    Shell(String),
    /// A program that the Dockerfile has, with `#!` in its first line: to be put into a file of that name.
    Program {
        /// The heredoc's name.
        name: String,
        /// The file.
        content: String,
    },
}

impl Run {
    /// A heredoc alone is the script itself; beside a command it is the command's, which the shell then reads.
    pub fn invocation(&self) -> Invocation {
        let text = match (&self.command, self.heredocs.first()) {
            (CommandLine::Exec(words), _) => return Invocation::Exec(words.clone()),
            (CommandLine::Shell(text), None) => return Invocation::Shell(text.clone()),
            (CommandLine::Shell(text), Some(first)) => {
                if matches!(heredoc::parse(text), Ok(Some(_))) {
                    let content = first.content();
                    return match content.starts_with("#!") {
                        true => Invocation::Program { name: first.name.clone(), content },
                        false => Invocation::Shell(content),
                    };
                }
                text
            }
        };
        let mut script = text.clone();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.body);
            script.push_str(&heredoc.name);
        }
        Invocation::Shell(script)
    }
}
