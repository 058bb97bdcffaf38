//! The short way through the command line: where its first word names a command, only that command's flags are built.
//!
//! Building those of every command takes half a millisecond, a tenth of a container's whole life. Whatever is not a right
//! use of the command goes the long way, which knows how to say so.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command};

use super::{
    AttachArgs, CommitArgs, CpArgs, CreateArgs, DiffArgs, ExecArgs, ExportArgs, Global, HistoryArgs, ImagesArgs,
    ImportArgs, InspectArgs, KillArgs, LONG_VERSION, LoadArgs, LogsArgs, PauseArgs, PortArgs, PsArgs, PullArgs,
    PushArgs, RenameArgs, RmArgs, RmiArgs, RunArgs, SaveArgs, StartArgs, StopArgs, TagArgs, TopArgs, UndeleteArgs,
    WaitArgs, docker_grammar, unserved,
};

type Augment = fn(Command) -> Command;

const COMMANDS: [(&str, Augment); 32] = [
    ("run", RunArgs::augment_args),
    ("create", CreateArgs::augment_args),
    ("start", StartArgs::augment_args),
    ("stop", StopArgs::augment_args),
    ("restart", StopArgs::augment_args),
    ("kill", KillArgs::augment_args),
    ("pause", PauseArgs::augment_args),
    ("unpause", PauseArgs::augment_args),
    ("port", PortArgs::augment_args),
    ("rm", RmArgs::augment_args),
    ("undelete", UndeleteArgs::augment_args),
    ("wait", WaitArgs::augment_args),
    ("attach", AttachArgs::augment_args),
    ("exec", ExecArgs::augment_args),
    ("logs", LogsArgs::augment_args),
    ("ps", PsArgs::augment_args),
    ("rename", RenameArgs::augment_args),
    ("inspect", InspectArgs::augment_args),
    ("top", TopArgs::augment_args),
    ("commit", CommitArgs::augment_args),
    ("images", ImagesArgs::augment_args),
    ("history", HistoryArgs::augment_args),
    ("tag", TagArgs::augment_args),
    ("rmi", RmiArgs::augment_args),
    ("diff", DiffArgs::augment_args),
    ("export", ExportArgs::augment_args),
    ("import", ImportArgs::augment_args),
    ("cp", CpArgs::augment_args),
    ("load", LoadArgs::augment_args),
    ("save", SaveArgs::augment_args),
    ("pull", PullArgs::augment_args),
    ("push", PushArgs::augment_args),
];

/// What the command line says, if it is a right use of a command that its first word names.
pub fn matches(argv: &[OsString]) -> Option<ArgMatches> {
    let word = argv.get(1)?.to_str()?;
    let (name, augment) = COMMANDS.iter().find(|(name, _)| *name == word)?;
    command(name, *augment).try_get_matches_from(argv).ok()
}

fn command(name: &'static str, augment: Augment) -> Command {
    let root = Command::new("lrun").version(LONG_VERSION).disable_version_flag(true);
    let root = Global::augment_args(root).subcommand(augment(Command::new(name)));
    docker_grammar(unserved::add_to(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The descriptions aside, a command is the same by either way.
    #[test]
    fn every_command_has_the_flags_that_it_has_by_the_long_way() {
        let mut long = super::super::command();
        long.build();
        for (name, augment) in COMMANDS {
            let mut short = command(name, augment);
            short.build();
            let flags = |root: &Command| -> Vec<String> {
                let command = root.find_subcommand(name).expect("a command of that name");
                let own = command.get_arguments().filter(|arg| arg.get_id() != "help");
                own.map(|arg| format!("{arg:?}")).collect()
            };
            assert_eq!(flags(&short), flags(&long), "{name}");
        }
    }
}
