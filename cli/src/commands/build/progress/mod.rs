//! What a build shows while it goes on: always on standard error.

mod json;
mod plain;
mod terminal;

use std::io::IsTerminal;
use std::time::Duration;

use lrun_runtime::build::{Built, Event};
use lrun_runtime::error::{Error, ErrorKind, Result};

use crate::args::{BuildArgs, ProgressKind};
use crate::ui::{escape, output, units};
use json::Json;
pub(super) use json::error;
use plain::Plain;
use terminal::Terminal;

/// A way to show it.
pub(super) trait Show {
    /// Something has happened.
    fn tell(&mut self, event: Event<'_>);
    /// The build has ended.
    fn end(&mut self, built: &Result<Built>);
}

/// The way that the flags ask for; never `Auto`.
pub(super) fn kind(args: &BuildArgs) -> ProgressKind {
    match args.progress {
        _ if args.quiet => ProgressKind::Quiet,
        ProgressKind::Auto if std::io::stderr().is_terminal() => ProgressKind::Tty,
        ProgressKind::Auto => ProgressKind::Plain,
        other => other,
    }
}

/// Whether what commands write goes through lrun.
pub(super) fn is_relayed(kind: ProgressKind) -> bool {
    matches!(kind, ProgressKind::Tty | ProgressKind::Json)
}

pub(super) fn of(kind: ProgressKind) -> Result<Box<dyn Show>> {
    Ok(match kind {
        ProgressKind::Tty if !std::io::stderr().is_terminal() => {
            let text = "--progress=tty: standard error is not a terminal";
            return Err(Error::new(ErrorKind::Invalid, text).hint("--progress=plain shows the same line by line"));
        }
        ProgressKind::Tty => Box::new(Terminal::new(std::io::stderr(), terminal::size)),
        ProgressKind::Json => Box::new(Json::default()),
        ProgressKind::Quiet | ProgressKind::None => Box::new(Nothing),
        ProgressKind::Plain | ProgressKind::Auto => Box::new(Plain::default()),
    })
}

/// How far a download is.
fn download(url: &str, bytes: u64, total: Option<u64>) -> String {
    let total = total.map_or(String::new(), |total| format!(" of {}", units::human_size(total)));
    format!("{}: {}{total}", escape::line(url), units::human_size(bytes))
}

/// `--quiet`: nothing but what was asked for besides the id.
struct Nothing;

impl Show for Nothing {
    fn tell(&mut self, event: Event<'_>) {
        match event {
            // What was asked for.
            Event::Verified { number, total, text, same: false, verdict } => {
                output::complain(&about((number, total), text, verdict));
            }
            Event::Explained { number, total, text, why } => output::complain(&about((number, total), text, why)),
            _ => {}
        }
    }

    fn end(&mut self, _: &Result<Built>) {}
}

/// What is told of a step that is done.
fn facts(cached: bool, took: Duration, size: Option<u64>) -> String {
    match (cached, size) {
        (true, _) => "Using cache".to_owned(),
        (false, Some(size)) => format!("{}, {}", seconds(took, 2), units::human_size(size)),
        (false, None) => seconds(took, 2),
    }
}

/// What is told of a step besides its result, with its number and that of all steps.
fn about((number, total): (usize, usize), text: &str, what: &str) -> String {
    format!("Step {number}/{total} {}: {}", escape::line(text), escape::line(what))
}

fn seconds(time: Duration, digits: usize) -> String {
    format!("{:.digits$}s", time.as_secs_f64())
}

/// Bytes of a line that has no end, after which it is shown as if it had one.
const LINE_MAX: usize = 16 << 10;

/// What a command writes, line by line.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes; gives each line that is whole, without its end.
    fn add(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() > LINE_MAX {
                self.end(line);
            }
        }
    }

    /// Gives the line that has no end.
    fn end(&mut self, line: &mut dyn FnMut(&[u8])) {
        let whole = std::mem::take(&mut self.begun);
        if !whole.is_empty() {
            line(whole.strip_suffix(b"\n").unwrap_or(&whole));
        }
    }
}
