//! How a wrong command line is answered: one line that says what is wrong, and docker's exit codes.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use lrun_runtime::Error;

use super::unserved;
use crate::ui::{escape, report};

/// What to print instead of running a command, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The text, without a final newline.
    pub text: String,
    /// Whether it is the answer (`--help`, `--version`) and goes to standard output.
    pub stdout: bool,
    /// 0 for an answer; 125 for a wrong flag of any command; 1 for a wrong command or number of arguments.
    pub exit_code: u8,
}

impl Usage {
    /// The answer to a flag that is known but refused.
    pub fn refused(error: &Error) -> Self {
        Self { text: report::lines(error).trim_end().to_owned(), stdout: false, exit_code: 125 }
    }

    /// The answer to `error`, which `argv` caused.
    pub fn new(root: &clap::Command, argv: &[OsString], error: &clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self { text: error.to_string().trim_end().to_owned(), stdout: true, exit_code: 0 }
            }
            _ => {
                if let Some(refusal) = invalid_command(error).and_then(|word| unserved::command(argv, &word)) {
                    return Self { exit_code: 1, ..Self::refused(&refusal) };
                }
                let mut root = root.clone();
                root.build();
                let (path, command) = command_path(&root, argv);
                let (what, exit_code) = explain(&path, command, error);
                let text = escape::line(&format!("lrun: {what}. See '{path} --help'.")).into_owned();
                Self { text, stdout: false, exit_code }
            }
        }
    }
}

/// The word that stands where a command should.
fn invalid_command(error: &clap::Error) -> Option<String> {
    text_of(error, ContextKind::InvalidSubcommand).filter(|_| error.kind() == ErrorKind::InvalidSubcommand)
}

/// The command that `argv` names: `lrun image ls`.
fn command_path<'a>(root: &'a clap::Command, argv: &[OsString]) -> (String, &'a clap::Command) {
    let mut path = vec![root.get_name()];
    let mut at = root;
    let mut words = argv.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            match flag(at, &word) {
                // Its value is no command.
                Some(arg) if arg.get_action().takes_values() && !word.contains('=') => drop(words.next()),
                Some(_) => {}
                None => break,
            }
            continue;
        }
        let Some(next) = at.find_subcommand(&*word) else { break };
        path.push(next.get_name());
        at = next;
        if !at.has_subcommands() {
            break;
        }
    }
    (path.join(" "), at)
}

/// The flag of a command that this word is.
fn flag<'c>(command: &'c clap::Command, word: &str) -> Option<&'c clap::Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| name.chars().skip(1).eq([short])),
    })
}

/// One of the things that an error says.
fn text_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) => Some(all.join(" ")),
        _ => None,
    }
}

/// What is wrong, and the exit code.
fn explain(path: &str, command: &clap::Command, error: &clap::Error) -> (String, u8) {
    let context = |kind: ContextKind| text_of(error, kind);
    let arg = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            (format!("'{word}' is not a {path} command"), 1)
        }
        ErrorKind::MissingSubcommand => (format!("'{path}' requires a command"), 1),
        ErrorKind::MissingRequiredArgument | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            (format!("'{path}' {}", wanted(command)), 1)
        }
        ErrorKind::UnknownArgument if !arg.starts_with('-') => (format!("'{path}' {}", wanted(command)), 1),
        ErrorKind::UnknownArgument => {
            let meant = context(ContextKind::SuggestedArg).map(|arg| format!(" (did you mean {arg}?)"));
            let what = match arg.strip_prefix('-').filter(|letter| !letter.starts_with('-')) {
                Some(letter) => format!("unknown shorthand flag: '{letter}' in -{letter}"),
                None => format!("unknown flag: {arg}"),
            };
            (what + &meant.unwrap_or_default(), 125)
        }
        ErrorKind::InvalidValue if value.is_empty() => (format!("flag needs an argument: {}", plain_flag(&arg)), 125),
        // docker's commands check this one themselves, so it ends as their other errors do.
        ErrorKind::InvalidValue if plain_flag(&arg) == "--type" => {
            (format!("\"{value}\" is not a valid value for --type: it is one of {}", valid_values(error)), 1)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let why = match std::error::Error::source(error) {
                Some(source) if source.is::<std::num::ParseIntError>() => {
                    format!("parsing \"{value}\": invalid syntax")
                }
                Some(source) => source.to_string(),
                None => format!("must be one of {}", valid_values(error)),
            };
            (format!("invalid argument \"{value}\" for \"{}\" flag: {why}", plain_flag(&arg)), 125)
        }
        ErrorKind::InvalidUtf8 => ("an argument is not valid UTF-8".to_owned(), 125),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            (first.strip_prefix("error: ").unwrap_or(first).to_owned(), 125)
        }
    }
}

/// How many arguments a command takes, in docker's words.
fn wanted(command: &clap::Command) -> String {
    let range = |arg: &clap::Arg| arg.get_num_args().unwrap_or_else(|| 1.into());
    let required = command.get_positionals().filter(|arg| arg.is_required_set());
    let least: usize = required.map(|arg| range(arg).min_values()).sum();
    let most = command.get_positionals().map(|arg| range(arg).max_values()).fold(0, usize::saturating_add);
    let arguments = |n: usize| if n == 1 { "1 argument".to_owned() } else { format!("{n} arguments") };
    match (least, most) {
        (_, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires {}", arguments(least)),
        // Those that `--all` stands for are required without it.
        (least, usize::MAX) => format!("requires at least {}", arguments(least.max(1))),
        (0, most) => format!("requires at most {}", arguments(most)),
        (least, most) => format!("requires at least {least} and at most {}", arguments(most)),
    }
}

fn valid_values(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) => all.join(", "),
        _ => "its values".to_owned(),
    }
}

/// `--tail <N>` → `--tail`.
fn plain_flag(arg: &str) -> &str {
    arg.split([' ', '=', '[']).next().unwrap_or(arg)
}
