//! `exec`: one more process in a running container, confined like its entrypoint. Runs in the CLI.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use super::caller;
use super::engine::Engine;
use super::launch::{load_spec, options_of, process_plan};
use super::lifecycle::{self, init_of};
use super::options::ExecOptions;
use super::record::{Record, Status, not_running};
use super::spec::exec_process;
use crate::error::{Error, ErrorKind, Result};
use crate::sandbox::channel::Heard;
use crate::sandbox::join::{Joining, join};
use crate::sandbox::lower::joined_namespaces;
use crate::stdio::pty;
use crate::stdio::terminal::{ClientOptions, LocalIo, Outcome, Stdio, run_local, window};
use crate::sys;

/// Runs a command in a running container and serves it until it ends; with `detach` until it has started.
pub fn exec(
    engine: &Engine,
    record: &Record,
    options: &ExecOptions,
    stdio: Stdio<'_>,
    client: &ClientOptions,
) -> Result<Outcome> {
    let init = init_of(record)?;
    if record.state.status == Status::Paused {
        let message = format!("container {} is paused, unpause the container before exec", record.id);
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let monitor = monitor_of(record)?;
    let all = lifecycle::containers(engine);
    let directory = all.paths(&record.id);
    let spec = load_spec(directory.path()).map_err(|error| all.unless_removed(error, &record.id))?;
    let run = options_of(record)?;
    let process = spec.process().as_ref().ok_or_else(|| Error::new(ErrorKind::Corrupt, "spec.json has no process"))?;
    let mut plan = process_plan(engine, directory.path(), &run, &spec, &exec_process(process, options))?;
    plan.create_cwd = false;
    caller::raise_limits(&plan.rlimits);
    plan.window = window(&stdio).filter(|_| options.tty).map(|size| (size.rows, size.cols));
    let streams = Streams::new(options, stdio)?;
    let joining = join(plan, joined_namespaces(&spec), monitor.as_fd(), init.as_fd(), streams.inside())?;
    let terminal = match joining.channel.hear()? {
        Heard::Ready(terminal) => terminal,
        Heard::Failed(error) if error.kind() == ErrorKind::Conflict => return Err(not_running(&record.id)),
        Heard::Failed(error) => return Ok(failed(error)),
        Heard::Closed => return Err(ended()),
    };
    joining.channel.go().map_err(|error| match error.errno() {
        Some(libc::EPIPE | libc::ECONNRESET) => ended(),
        _ => error,
    })?;
    let left = terminal.as_ref().map(|master| rustix::io::fcntl_dupfd_cloexec(master, 3)).transpose()?;
    let io = streams.outside(terminal);
    let outcome = match options.detach {
        true => match joining.channel.hear()? {
            Heard::Failed(error) => failed(error),
            _ => Outcome::Detached,
        },
        false => serve(joining, io, stdio, client)?,
    };
    if let (Outcome::Detached, Some(master)) = (&outcome, left) {
        pty::keep(master)?;
    }
    Ok(outcome)
}

fn ended() -> Error {
    Error::new(ErrorKind::Conflict, "the container ended")
}

/// docker's codes of a command that could not be started: 127 where it or its working directory is not there, 126 for any
/// other reason.
fn failed(error: Error) -> Outcome {
    let is_missing = error.kind() == ErrorKind::CommandNotFound || error.errno() == Some(libc::ENOENT);
    let code = if is_missing { 127 } else { 126 };
    Outcome::Failed { error, code }
}

/// The monitor's process, whose user namespace is the container's.
pub(super) fn monitor_of(record: &Record) -> Result<OwnedFd> {
    let gone = || not_running(&record.id);
    let pid = record.state.monitor_pid.and_then(rustix::process::Pid::from_raw).ok_or_else(gone)?;
    // The number cannot be another process's: init, held by a pidfd that was checked, dies with its monitor.
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).map_err(|_| gone())
}

/// The ends of the command's streams.
struct Streams {
    inside: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    /// Pipes for what is connected, `/dev/null` for the rest; all `/dev/null` where a terminal takes their place.
    fn new(options: &ExecOptions, stdio: Stdio<'_>) -> Result<Self> {
        let null = |flags: OFlags| rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty());
        let wanted = |stream: Option<BorrowedFd<'_>>| stream.is_some() && !options.tty && !options.detach;
        let output = |wanted: bool| -> Result<(OwnedFd, Option<OwnedFd>)> {
            if !wanted {
                return Ok((null(OFlags::WRONLY)?, None));
            }
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            Ok((write, Some(read)))
        };
        let (stdin, feed) = match wanted(stdio.stdin) {
            true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (read, Some(write)))?,
            false => (null(OFlags::RDONLY)?, None),
        };
        let (out, stdout) = output(wanted(stdio.stdout))?;
        let (err, stderr) = output(wanted(stdio.stderr))?;
        Ok(Self { inside: [stdin, out, err], stdin: feed, stdout, stderr })
    }

    fn inside(&self) -> [BorrowedFd<'_>; 3] {
        [self.inside[0].as_fd(), self.inside[1].as_fd(), self.inside[2].as_fd()]
    }

    /// What stays here; the command's ends are closed, or its output would never end.
    fn outside(self, terminal: Option<OwnedFd>) -> LocalIo {
        match terminal {
            Some(master) => LocalIo::Tty { master },
            None => LocalIo::Pipes { stdin: self.stdin, stdout: self.stdout, stderr: self.stderr },
        }
    }
}

fn serve(joining: Joining, io: LocalIo, stdio: Stdio<'_>, client: &ClientOptions) -> Result<Outcome> {
    let Joining { channel, pidfd } = joining;
    let mut reap = || -> Result<u8> {
        let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let status = status.ok_or_else(|| Error::new(ErrorKind::Io, "the command's exit status is lost"))?;
        Ok(status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
    };
    let mut signal = |number: i32| {
        // It may have ended just now.
        let _ = sys::signal::send(pidfd.as_fd(), number);
    };
    let outcome = run_local(io, stdio, client, pidfd.as_fd(), &mut reap, &mut signal)?;
    // A command that could not be executed ends before it says anything else.
    match (&outcome, channel.hear()) {
        (Outcome::Exited(125..=127), Ok(Heard::Failed(error))) => Ok(failed(error)),
        _ => Ok(outcome),
    }
}
