//! `logs`: what a container wrote, and what it goes on to write.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, BorrowedFd};

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::options_of;
use lrun_runtime::container::lifecycle::{self, containers, is_restarting};
use lrun_runtime::container::names::ContainerId;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::file::{Lock, LockState};
use lrun_runtime::paths::ContainerPaths;
use lrun_runtime::stdio::log::{Notice, View, show};

use crate::args::{Global, LogsArgs, time};
use crate::context;
use crate::ui::output;

/// Written at once; a line is shown as soon as nothing follows it.
const BUFFER: usize = 64 * 1024;

/// Runs the command.
pub fn run(global: &Global, args: &LogsArgs) -> Result<u8> {
    let view = view(args)?;
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    if options_of(&record)?.log.none {
        let message = format!("container {} keeps no log: it was created with --log-driver none", record.id.short());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let all = containers(&engine);
    let (paths, directory) = (all.paths(&record.id), all.directory(&record.id)?);
    let (mut out, mut err) = (writer(std::io::stdout().as_fd(), BUFFER)?, writer(std::io::stderr().as_fd(), BUFFER)?);
    let mut alive = || lives(&paths);
    match show(&directory, &view, &mut alive, &mut notice, &mut out, &mut err) {
        // A reader that has gone away ends the program quietly, as SIGPIPE would.
        Err(error) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => Ok(141),
        other => other.map(|()| 0),
    }
}

/// What a container that has ended wrote, all of it on standard error.
pub(super) fn complain(engine: &Engine, id: &ContainerId) -> Result<()> {
    let directory = containers(engine).directory(id)?;
    // Unbuffered, so that what was written to the two streams stays in its order.
    let (mut out, mut err) = (writer(std::io::stderr().as_fd(), 0)?, writer(std::io::stderr().as_fd(), 0)?);
    show(&directory, &View::default(), &mut || false, &mut notice, &mut out, &mut err)
}

fn writer(fd: BorrowedFd<'_>, buffer: usize) -> Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(buffer, File::from(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)))
}

fn view(args: &LogsArgs) -> Result<View> {
    let (now, zone) = (jiff::Timestamp::now(), context::zone());
    let point = |text: &Option<String>| -> Result<Option<u64>> {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let nanoseconds = time::parse(text, now, &zone)?.as_nanosecond();
        // Nothing was written before 1970, nor will be after 2500.
        Ok(Some(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX)))
    };
    Ok(View {
        timestamps: args.timestamps,
        details: args.details,
        tail: args.tail_lines(),
        since: point(&args.since)?,
        until: point(&args.until)?,
        follow: args.follow,
    })
}

/// Whether somebody writes the log, or is about to: a restart goes from one monitor to the next.
fn lives(paths: &ContainerPaths) -> bool {
    is_restarting(paths) || Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held)
}

fn notice(notice: Notice) {
    let text = match notice {
        Notice::Rotated(bytes) => format!(
            "{bytes} bytes of older output are gone: the log is limited (run with --log-opt max-size=-1 to keep all)"
        ),
        Notice::Damaged(bytes) => format!("{bytes} bytes of output cannot be read: the log is damaged"),
        Notice::DiskFull(time, dropped) => {
            let time = jiff::Timestamp::from_nanosecond(i128::from(time)).unwrap_or_default();
            format!(
                "{} bytes ({} lines) of output were not logged: the disk was full at {time}",
                dropped.bytes, dropped.lines
            )
        }
    };
    output::complain(&format!("lrun: {text}"));
}
