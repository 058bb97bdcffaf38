//! The command line: every command, flag and help text, and how a wrong one is answered.
//!
//! Docker's grammar: a boolean flag takes `=false`, a repeated flag's last value counts, a flag's value may begin with a
//! hyphen, and `run`, `create`, `exec` and `top` stop reading flags at their first argument.

mod archive;
mod build;
mod builder;
mod commands;
mod container;
mod cp;
mod exec;
mod help;
mod images;
mod lifecycle;
mod listing;
mod registry;
mod run;
mod short;
mod system;
pub mod time;
mod unserved;
mod usage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

pub use archive::{LoadArgs, SaveArgs, SaveFormat};
pub use build::{BuildArgs, BuilderPruneArgs, Call, Method, Outputs, ProgressKind};
pub use builder::{BuilderCreateArgs, BuilderDuArgs, BuilderLsArgs, BuilderNameArgs, BuildxVersionArgs};
pub use commands::Command;
pub use container::ContainerFlags;
pub use cp::{CpArgs, End};
pub use exec::ExecArgs;
pub use images::{
    CommitArgs, DiffArgs, ExportArgs, HistoryArgs, ImagesArgs, ImportArgs, RmiArgs, TagArgs, TreeArgs, UntagArgs,
};
pub use lifecycle::{
    AttachArgs, ExistsArgs, KillArgs, PauseArgs, PortArgs, RenameArgs, RmArgs, StartArgs, StopArgs, UndeleteArgs,
    WaitArgs,
};
pub use listing::{InspectArgs, InspectType, LogsArgs, PsArgs, SortBy, SystemArgs, TopArgs};
pub use registry::{
    CompressionFormat, ListAnnotateArgs, ListCreateArgs, ListPushArgs, ListRemoveArgs, LoginArgs, LogoutArgs,
    ManifestArgs, PullArgs, Pulling, PushArgs, ReferrersArgs, SearchArgs, When,
};
pub use run::{CreateArgs, RunArgs};
pub use system::{CheckArgs, ContainerPruneArgs, DfArgs, ImagePruneArgs, SystemPruneArgs};
pub use usage::Usage;

/// lrun's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this binary was built from.
pub const BUILD: &str = env!("LRUN_BUILD");
/// The docker whose command line this is.
const DOCKER: &str = "29.8.0";
/// The podman whose words are understood, too.
const PODMAN: &str = "6.0.0";
/// As docker words it: `lrun version 0.1.0, build 068a01ea94`.
const LONG_VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), ", build ", env!("LRUN_BUILD"));

/// Run containers and make images of them, without root and without a daemon.
#[derive(Debug, Parser)]
#[command(name = "lrun", bin_name = "lrun", version = LONG_VERSION, disable_version_flag = true)]
#[command(subcommand_required = true, arg_required_else_help = true, subcommand_value_name = "COMMAND")]
pub struct Cli {
    /// Options of every command, given before it.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that go before the command.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Keep images and containers in this directory [env: LRUN_ROOT]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// How ids are mapped: auto, subids (the user's subordinate ids), single (one id, root is emulated), root
    /// [env: LRUN_IDMAP]
    #[arg(long, value_name = "MODE", ignore_case = true, hide_possible_values = true)]
    pub idmap: Option<IdMapChoice>,
    /// Keep the users and passwords of registries in config.json in this directory [env: DOCKER_CONFIG]
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Print debug messages
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Least severity of the messages that are printed: debug, info, warn, error
    #[arg(short = 'l', long, value_name = "LEVEL", ignore_case = true, hide_possible_values = true)]
    pub log_level: Option<LogLevel>,
    /// Print the version and quit
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// `--idmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IdMapChoice {
    /// What the machine allows
    Auto,
    /// The user's subordinate ids, by newuidmap and newgidmap
    Subids,
    /// One id only, with root emulated
    Single,
    /// All ids, for root
    Root,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything
    Debug,
    /// What is done
    Info,
    /// What may be wrong
    #[value(alias = "warning")]
    Warn,
    /// What is wrong
    #[value(aliases = ["fatal", "panic"])]
    Error,
}

/// Reads a command line, program name first. The command comes out canonical: `container ls` as `ps`.
///
/// # Errors
/// What to print and which code to exit with, for a wrong command line and also for `--help` and `--version`.
pub fn parse(argv: Vec<OsString>) -> Result<Cli, Usage> {
    let matches = match short::matches(&argv) {
        Some(matches) => matches,
        None => command().try_get_matches_from(&argv).map_err(|error| usage_of(&argv, error))?,
    };
    unserved::check(&matches).map_err(|error| Usage::refused(&error))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| usage_of(&argv, error))?;
    cli.command = cli.command.canonical();
    Ok(cli)
}

/// The answer to what clap did not take. Help is rendered without the optional values of boolean flags.
fn usage_of(argv: &[OsString], error: clap::Error) -> Usage {
    if error.kind() == ErrorKind::DisplayVersion {
        return Usage { text: version_text(argv.first()), stdout: true, exit_code: 0 };
    }
    if error.kind() == ErrorKind::DisplayHelp
        && let Err(plain) = plain_command().try_get_matches_from(argv)
        && plain.kind() == ErrorKind::DisplayHelp
    {
        return Usage::new(&plain_command(), argv, &plain);
    }
    Usage::new(&plain_command(), argv, &error)
}

/// The version that templates are told, for a program of this name: as [`version_text`] has it.
pub fn version_told(program: Option<&OsString>) -> &'static str {
    match program_name(program) {
        Some("docker") => DOCKER,
        Some("podman") => PODMAN,
        _ => VERSION,
    }
}

fn program_name(program: Option<&OsString>) -> Option<&str> {
    program.and_then(|program| Path::new(program).file_name()).and_then(|name| name.to_str())
}

/// The version that a program of this name shows. Tools that start `docker` or `podman` look for that word, and for a version
/// whose commands they know.
fn version_text(program: Option<&OsString>) -> String {
    match program_name(program) {
        Some("docker") => format!("Docker version {}, build {BUILD} (lrun {VERSION})", version_told(program)),
        Some("podman") => format!("podman version {} (lrun {VERSION})", version_told(program)),
        _ => format!("lrun {LONG_VERSION}"),
    }
}

fn plain_command() -> clap::Command {
    help::grouped(unserved::add_to(Cli::command()))
}

/// The whole command line in docker's grammar.
pub fn command() -> clap::Command {
    docker_grammar(plain_command())
}

fn docker_grammar(command: clap::Command) -> clap::Command {
    command.args_override_self(true).mut_args(docker_flag).mut_subcommands(docker_grammar)
}

/// Lets a boolean flag take `=true` and `=false`, and every other flag a value that begins with a hyphen.
fn docker_flag(arg: Arg) -> Arg {
    let default = match arg.get_action() {
        ArgAction::SetTrue => "false",
        ArgAction::SetFalse => "true",
        ArgAction::Set | ArgAction::Append if !arg.is_positional() => return arg.allow_hyphen_values(true),
        _ => return arg,
    };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value(default)
        .default_missing_value("true")
        .value_parser(parse_bool)
}

/// The truth values of Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("parsing \"{text}\": invalid syntax")),
    }
}

#[cfg(test)]
mod tests;
