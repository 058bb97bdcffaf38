//! `cp`: files between a container and the host.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use lrun_runtime::container::cp::{
    Copied, CopyOptions, Extraction, Inside, Typed, copy_in, copy_out, stream_in, stream_out,
};
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{Error, ErrorKind, Result};

use crate::args::{CpArgs, End, Global};
use crate::context;
use crate::ui::progress::{Progress, Style};
use crate::ui::{escape, output, units};

/// Runs the command.
pub fn run(global: &Global, args: &CpArgs) -> Result<u8> {
    let invalid = |text: &str| Err(Error::new(ErrorKind::Invalid, text));
    let empty = |text: &OsString| text.is_empty();
    if empty(&args.source) {
        return invalid("source can not be empty");
    }
    if empty(&args.destination) {
        return invalid("destination can not be empty");
    }
    let quiet = args.quiet.unwrap_or(!std::io::stdout().is_terminal());
    let options = CopyOptions { follow: args.follow_link, archive: args.archive };
    match (End::parse(&args.source), End::parse(&args.destination)) {
        (End::Container(..), End::Container(..)) => invalid("copying between containers is not supported"),
        (End::Container(name, path), to) => out(global, (&name, &path), &to, options, quiet),
        (from, End::Container(name, path)) => into(global, &from, (&name, &path), options, quiet),
        _ => invalid("must specify at least one container source"),
    }
}

fn inside(name: &str, path: &[u8]) -> Result<Typed> {
    match path.is_empty() {
        true => Err(Error::new(ErrorKind::Invalid, "bad parameter: path cannot be empty")
            .hint(format!("{name}:/ is the root of the container"))),
        false => Ok(Typed::inside(path)),
    }
}

fn host(path: &[u8]) -> Result<Typed> {
    // Who names it from the root may stand in a directory that was deleted.
    let from = if path.starts_with(b"/") { PathBuf::from("/") } else { context::cwd()? };
    Ok(Typed::new(from.as_os_str().as_bytes(), path))
}

fn out(global: &Global, (name, path): (&str, &[u8]), to: &End, options: CopyOptions, quiet: bool) -> Result<u8> {
    let typed = inside(name, path)?;
    let from = Inside { name, path: &typed };
    let End::Host(to) = to else { return to_stdout(global, from, options) };
    let to = host(to)?;
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, name)?;
    let mut progress = progress("Copying from container", quiet);
    let copied = copy_out(&engine, &record, from, &to, options, &mut |bytes| progress.set(bytes))?;
    drop(progress);
    report(&copied, &to.shown(), quiet);
    Ok(0)
}

fn to_stdout(global: &Global, from: Inside<'_>, options: CopyOptions) -> Result<u8> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(Error::new(ErrorKind::Invalid, "standard output is a terminal: an archive would garble it")
            .hint("redirect the output, or give a path instead of -"));
    }
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, from.name)?;
    let out = rustix::io::fcntl_dupfd_cloexec(stdout.as_fd(), 3)?;
    match stream_out(&engine, &record, from, out, options) {
        // A reader that has gone away ends the program quietly, as SIGPIPE would.
        Err(error) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => Ok(141),
        Err(error) => Err(error),
        Ok(copied) => {
            warn(&copied);
            Ok(0)
        }
    }
}

fn into(global: &Global, from: &End, (name, path): (&str, &[u8]), options: CopyOptions, quiet: bool) -> Result<u8> {
    let typed = inside(name, path)?;
    let to = Inside { name, path: &typed };
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, name)?;
    let mut progress = progress("Copying to container", quiet);
    let mut tell = |bytes| progress.set(bytes);
    let copied = match from {
        End::Host(from) => copy_in(&engine, &record, &host(from)?, to, options, &mut tell)?,
        _ => stream_in(&engine, &record, stdin()?, (to, Extraction::default()), &mut tell)?,
    };
    drop(progress);
    report(&copied, &format!("{name}:{}", typed.shown()), quiet);
    Ok(0)
}

fn stdin() -> Result<OwnedFd> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let message = "standard input is a terminal: an archive is expected";
        return Err(Error::new(ErrorKind::Invalid, message).hint("lrun cp - CONTAINER:PATH < archive.tar"));
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?)
}

fn progress(label: &str, quiet: bool) -> Progress<std::io::Stderr> {
    let style = match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Style::Quiet,
        (false, false) => Style::Plain,
        (false, true) => {
            let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col);
            Style::Terminal { columns: usize::from(columns.max(20)) }
        }
    };
    Progress::new(std::io::stderr(), style, label, None)
}

fn warn(copied: &Copied) {
    for warning in &copied.warnings {
        output::complain(&format!("WARNING: {}", escape::line(warning)));
    }
}

fn report(copied: &Copied, place: &str, quiet: bool) {
    warn(copied);
    if quiet {
        return;
    }
    let (content, transferred) = (units::human_size(copied.content), units::human_size(copied.transferred));
    let transferred = match copied.content == copied.transferred {
        true => String::new(),
        false => format!(" (transferred {transferred})"),
    };
    output::complain(&format!("Successfully copied {content}{transferred} to {place}"));
}
