//! The `lrun` command: reads the command line, runs one command, and says what came of it.
//!
//! The same binary is every process of a container's making: the monitor and what `exec` adds start it again under names
//! of their own, before anything else is looked at.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod context;
mod ui;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use lrun_runtime::container::monitor;
use lrun_runtime::sandbox::join;
use lrun_runtime::sys;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit, umask};

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let name = argv.first().map(|name| name.as_bytes()).unwrap_or_default();
    if name == monitor::STAGE.to_bytes() {
        monitor::main()
    } else if name == join::STAGE.to_bytes() {
        join::main()
    }
    // A file that may not grow is an error like a full disk, and not this process's silent end.
    sys::signal::ignore(Signal::XFSZ.as_raw());
    raise_file_limit();
    keep_own_files();
    let early = commands::begin(&argv);
    match args::parse(argv) {
        Ok(cli) => commands::run(cli, early),
        Err(usage) => {
            if usage.stdout {
                ui::output::line(&usage.text);
            } else {
                ui::output::complain_lines(&format!("{}\n", usage.text));
            }
            ExitCode::from(usage.exit_code)
        }
    }
}

/// What lrun makes, lrun can open again: a mask that takes that from the owner would leave locks that nobody can take.
fn keep_own_files() {
    let mask = umask(Mode::empty());
    umask(mask - Mode::RWXU);
}

/// Opens as many files as the session may: the soft limit is for programs that use select(2), and a low one would end a
/// start half-way. What a container gets does not depend on it.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // With the old one, most things work as well.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}
