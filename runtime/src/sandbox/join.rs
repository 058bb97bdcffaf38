//! Joining a running container: the process that `lrun exec` adds.
//!
//! ```text
//! CLI ──fork, exec──> waiting process, on the host ──fork──> joining process ──fork──> the program
//!                        └── its parent ──────────────────────────────────────────────────┘
//! ```
//!
//! The CLI forks a child on the host, which executes lrun's binary from a protected clone. A child of that moves into the
//! container's namespaces by two pidfds (the monitor's for the user namespace, since a nested one of the entrypoint's does
//! not own the others; init's for the rest), and forks once more so as to be in the PID namespace. That process ends like
//! init does, in [`super::process`]. The container's root, which may be allowed to trace, sees it from the fork on: it was
//! executed outside, so that its memory belongs to the host's user namespace, and is not dumpable from before it joins
//! until its own program is executed. Nothing inside can trace it or open its descriptors.
//!
//! The waiting process stays outside: in the container's mount namespace it would keep the root mounted when the container
//! has ended. It has a session of its own, since the container cannot end before what was added to it is reaped: a client
//! that is stopped by Ctrl-Z must not be the one to do it.

use std::convert::Infallible;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, WaitOptions};
use serde::{Deserialize, Serialize};

use super::channel::{self, Supervised, Supervisor};
use super::plan::Process;
use super::reexec::Protected;
use super::user::Ids;
use super::{keyring, process, terminal};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys;
use crate::sys::process::{Fork, SIBLING, exit_now, fork_into, namespace};

/// The stage's name, its `argv[0]`.
pub const STAGE: &std::ffi::CStr = c"lrun-exec";

/// How long a container that takes no more processes is waited for to have ended.
const LAST_MOMENTS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The numbers of the descriptors that the stage is passed, above the standard streams.
mod fds {
    pub const PLAN: i32 = 3;
    pub const CHANNEL: i32 = 4;
    pub const MONITOR: i32 = 5;
    pub const INIT: i32 = 6;
}

/// A process on its way into the container.
#[derive(Debug)]
pub struct Joining {
    /// It reports here; see [`channel`].
    pub channel: Supervisor,
    /// The process on the host that waits for it and exits with its code.
    pub pidfd: OwnedFd,
}

/// What the stage needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    process: Process,
    /// Namespaces to join, bits of [`namespace`].
    namespaces: u64,
}

/// Starts `process` in the container whose monitor and first process these pidfds refer to, in these of their namespaces
/// (bits of [`namespace`]). `streams` become its 0, 1, 2.
///
/// The caller has one thread.
pub fn join(
    process: Process,
    namespaces: u64,
    monitor: BorrowedFd<'_>,
    init: BorrowedFd<'_>,
    streams: [BorrowedFd<'_>; 3],
) -> Result<Joining> {
    let oom_score_adj = process.oom_score_adj;
    let plan = memory(&Plan { process, namespaces })?;
    let protected = Protected::by_child()?;
    let (supervisor, supervised) = channel::pair()?;
    match fork_into(0).context(|| "fork")? {
        Fork::Child => {
            let passed = [plan.as_fd(), supervised.as_fd(), monitor, init];
            // Its file cannot be written any more once the process is not dumpable; it lasts over exec and fork.
            let ready = process::set_oom_score_adj(oom_score_adj).and_then(|()| keyring::leave_callers());
            let error = match ready.and_then(|()| protected.execute(STAGE, streams, &passed)) {
                Ok(never) => match never {},
                Err(error) => error.context("start the process"),
            };
            supervised.failed(&error);
            exit_now(125)
        }
        Fork::Parent { pidfd, .. } => Ok(Joining { channel: supervisor, pidfd }),
    }
}

/// A value as JSON in an anonymous file, at its start.
pub fn memory<T: serde::Serialize>(value: &T) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("lrun-plan", MemfdFlags::CLOEXEC).context(|| "make an anonymous file")?;
    let bytes = serde_json::to_vec(value).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// The exec stage's whole life: it waits on the host for its child, which becomes the program or reports why not.
pub fn main() -> ! {
    let Ok(channel) = sys::fd::take(fds::CHANNEL) else { exit_now(125) };
    let channel = Supervised::from_fd(channel);
    let error = match run(&channel) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    channel.failed(&error);
    exit_now(process::exit_code(&error))
}

fn run(channel: &Supervised) -> Result<Infallible> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut bytes = Vec::new();
    std::fs::File::from(sys::fd::take(fds::PLAN)?).read_to_end(&mut bytes)?;
    let Plan { process: plan, namespaces } =
        serde_json::from_slice(&bytes).map_err(|e| Error::new(ErrorKind::Io, format!("the plan is damaged: {e}")))?;
    let (monitor, init) = (sys::fd::take(fds::MONITOR)?, sys::fd::take(fds::INIT)?);
    rustix::process::setsid().context(|| "start a session")?;
    match fork_into(0).context(|| "fork")? {
        Fork::Child => join_and_fork(&plan, namespaces, monitor, init, channel),
        Fork::Parent { pid, .. } => wait_for(pid),
    }
}

fn join_and_fork(
    plan: &Process,
    namespaces: u64,
    monitor: OwnedFd,
    init: OwnedFd,
    channel: &Supervised,
) -> Result<Infallible> {
    let own = process::own_proc()?;
    enter(monitor.as_fd(), init.as_fd(), namespaces)?;
    drop(monitor);
    let ids = process::identify(plan)?;
    process::take_only_id(plan, &ids, own)?;
    match fork_into(SIBLING) {
        Ok(Fork::Child) => {
            drop(init);
            become_program(plan, &ids, channel)
        }
        Ok(Fork::Parent { .. }) => exit_now(0),
        Err(errno) => Err(no_fork(errno, init.as_fd())),
    }
}

/// Why the kernel made no process in the container. ENOMEM is what it says of a PID namespace whose first process is
/// gone, or still ends: it takes no new ones from before it kills the last one, which can take a moment.
pub(super) fn no_fork(errno: rustix::io::Errno, init: BorrowedFd<'_>) -> Error {
    match errno {
        rustix::io::Errno::NOMEM if ends_within(init, LAST_MOMENTS) => not_running(),
        other => Error::from(other).context("fork into the container"),
    }
}

/// What [`is_not_running`] knows, also of another process's error.
const NOT_RUNNING: &str = "the container is not running";

fn not_running() -> Error {
    Error::new(ErrorKind::Conflict, NOT_RUNNING)
}

/// Whether nobody could join a container because it has ended, or just ends.
pub fn is_not_running(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.to_string().ends_with(NOT_RUNNING)
}

fn ends_within(init: BorrowedFd<'_>, limit: Timespec) -> bool {
    poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&limit)) == Ok(1)
}

/// Moves into the namespaces, as uid 0 of the container's.
pub(super) fn enter(monitor: BorrowedFd<'_>, init: BorrowedFd<'_>, namespaces: u64) -> Result<()> {
    let gone = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::SRCH => not_running(),
        other => Error::from(other).context("join the container's namespaces"),
    };
    sys::process::join_namespaces(monitor, namespace::USER).map_err(gone)?;
    sys::process::join_namespaces(init, namespaces).map_err(gone)?;
    // setgroups is denied where only one id is mapped; the user's groups stay there.
    let _ = nix::unistd::setgroups(&[]);
    let zero = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
    nix::unistd::setresgid(zero.1, zero.1, zero.1)?;
    Ok(nix::unistd::setresuid(zero.0, zero.0, zero.0)?)
}

/// Holds nothing open, and ends as the program does; as the joining process, where that has not made one.
pub(super) fn wait_for(joining: Pid) -> ! {
    let _ = sys::fd::close_from(0);
    let code = match ended(Some(joining)) {
        0 => ended(None),
        code => code,
    };
    exit_now(code)
}

/// The exit code of this child, or of any; 128 + N for signal N.
fn ended(child: Option<Pid>) -> i32 {
    let ended = match child {
        Some(child) => rustix::process::waitpid(Some(child), WaitOptions::empty()),
        None => rustix::process::wait(WaitOptions::empty()),
    };
    match ended {
        Ok(Some((_, status))) => {
            status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s)).unwrap_or(255)
        }
        _ => 255,
    }
}

fn become_program(plan: &Process, ids: &Ids, channel: &Supervised) -> Result<Infallible> {
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    let terminal = match plan.terminal {
        true => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open("/", flags, Mode::empty())?;
            Some(terminal::open(root.as_fd(), plan.window)?)
        }
        false => None,
    };
    process::start(process::prepare(plan, ids, terminal)?, false, channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_takes_no_more_processes_is_one_that_ends() {
        let mut ending = std::process::Command::new("sleep").arg("0.2").spawn().unwrap();
        let pid = Pid::from_child(&ending);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(no_fork(rustix::io::Errno::NOMEM, pidfd.as_fd()).to_string(), not_running().to_string());
        ending.wait().unwrap();
        let other = no_fork(rustix::io::Errno::AGAIN, pidfd.as_fd()).to_string();
        assert!(other.starts_with("fork into the container: "), "{other}");
    }
}
