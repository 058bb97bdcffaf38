//! Serving a container's standard streams from the user's terminal; what its end means for the exit code.

use std::os::fd::{AsFd, OwnedFd};

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle;
use lrun_runtime::container::names::ContainerId;
use lrun_runtime::container::options::Streams;
use lrun_runtime::container::record::State;
use lrun_runtime::error::{ErrorKind, Result};
use lrun_runtime::stdio::terminal::{Client, ClientOptions, DetachKeys, Outcome, Stdio};

use crate::ui::output;

/// The user's streams, owned for the time of a session.
pub struct UserStreams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl UserStreams {
    /// The process's own.
    pub fn open() -> Result<Self> {
        let dup = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        Ok(Self {
            stdin: dup(std::io::stdin().as_fd())?,
            stdout: dup(std::io::stdout().as_fd())?,
            stderr: dup(std::io::stderr().as_fd())?,
        })
    }

    /// Those of them that are wanted.
    pub fn chosen(&self, wanted: Streams) -> Stdio<'_> {
        Stdio {
            stdin: wanted.stdin.then(|| self.stdin.as_fd()),
            stdout: wanted.stdout.then(|| self.stdout.as_fd()),
            stderr: wanted.stderr.then(|| self.stderr.as_fd()),
        }
    }
}

/// How the client behaves, from the flags.
pub fn client_options(tty: bool, keys: Option<&str>, sig_proxy: bool) -> Result<ClientOptions> {
    let detach_keys = match keys {
        Some(text) => DetachKeys::parse(text)?,
        None => DetachKeys::default(),
    };
    Ok(ClientOptions { tty, detach_keys, sig_proxy, interruptible: false })
}

/// Refuses what docker refuses: a terminal is asked for, and stdin is none. `without`: how it is not asked for.
pub fn check_terminal(tty: bool, stdin: bool, without: &str) -> Result<()> {
    use std::io::IsTerminal;
    if tty && stdin && !std::io::stdin().is_terminal() {
        return Err(lrun_runtime::Error::new(ErrorKind::Invalid, "the input device is not a TTY")
            .hint(format!("{without}, or give lrun a terminal")));
    }
    Ok(())
}

/// Serves the client until the session ends, and says which exit code that makes.
pub fn serve(engine: &Engine, id: &ContainerId, before: Option<&State>, client: Client<'_>) -> Result<u8> {
    let outcome = client.run()?;
    finish(engine, id, before, outcome)
}

/// The exit code of a session. `before`: the container's state before it was started for this session; `None`: it was
/// running already.
pub fn finish(engine: &Engine, id: &ContainerId, before: Option<&State>, outcome: Outcome) -> Result<u8> {
    match outcome {
        Outcome::Exited(code) => Ok(code),
        Outcome::Detached => Ok(0),
        Outcome::OutputClosed => Ok(141),
        Outcome::Interrupted(signal) => {
            if lifecycle::settle(engine, id).is_ok_and(|record| lifecycle::is_running(&record)) {
                output::complain(&format!("lrun: container {} runs on", id.short()));
            }
            Ok(u8::try_from(128 + signal).unwrap_or(255))
        }
        Outcome::Failed { error, code } => {
            output::error(&error);
            Ok(code)
        }
        Outcome::Lost => lost(engine, id, before),
    }
}

/// The monitor went without a word: the record tells, once it is settled.
fn lost(engine: &Engine, id: &ContainerId, before: Option<&State>) -> Result<u8> {
    let end = lifecycle::settle(engine, id).and_then(|record| match lifecycle::is_running(&record) {
        // It dies just now, or has only left this client: what counts is the container's end.
        true => lifecycle::wait(engine, &record).and_then(|_| lifecycle::settle(engine, id)),
        false => Ok(record),
    });
    match end {
        Ok(record) if before.is_some_and(|before| before.started == record.state.started) => {
            output::complain(&format!("lrun: the monitor of container {} was lost before it started", id.short()));
            Ok(125)
        }
        Ok(record) => {
            if !record.state.error.is_empty() {
                output::complain(&format!("lrun: container {}: {}", record.id.short(), record.state.error));
            }
            Ok(u8::try_from(record.state.exit_code).unwrap_or(255))
        }
        // A container that was removed, or removes itself, left nothing to look at. One that only attached to it asks for
        // what is not there.
        Err(error) if error.kind() == ErrorKind::NotFound && before.is_some() => {
            output::complain(&format!("lrun: the monitor of container {} was lost", id.short()));
            Ok(255)
        }
        Err(error) => Err(error),
    }
}
