//! A container that stands still: every process of its PID namespace is stopped.
//!
//! [`pause`] and [`resume`] are for the user, who says when it goes on; the record tells of it from before the first
//! process is stopped, so that `unpause` mends what a killed `pause` leaves. During a commit a guardian does it: a process
//! forked by the CLI, in the host's namespaces, as the user. It stops all processes, tells the CLI, and waits until the CLI
//! closes its pipe or is gone, however that happens; then it lets them go on. If the guardian is killed, the CLI does it; if
//! both are, the next command, which finds a mark in the directory in `staging/` that they left. So a container never stays
//! stopped because a command was killed. One command at a time does any of this (`pause.lock`): a guardian would let go on
//! what another one stopped. Not transparent to the container: parents can see that their children were stopped; a freezer
//! cgroup would be, where there is one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal};

use super::alive;
use super::engine::Engine;
use super::lifecycle::{containers, init_of};
use super::names::ContainerId;
use super::processes::{self, namespace_of, state_of};
use super::record::{Record, Status, not_running};
use crate::error::{Context, Error, ErrorKind, ErrorParts, Result};
use crate::file::{self, Durability, Lock, Staging};
use crate::sys::process::{Fork, exit_now, fork_into};

/// How long processes may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// A process that waits in the kernel (for a child after vfork(2), for a disk) is taken as stopped after this time: the
/// signal waits for it.
const WAITING: Duration = Duration::from_millis(500);
/// The file in a directory in `staging/` that has the id of the container that its owner makes stand still.
const MARK: &str = "pauses";
const MARK_MAX: usize = 64;

/// The container stands still until this is dropped.
#[derive(Debug)]
pub struct Pause {
    /// Its end tells the guardian; an `Option` so that it is closed before the guardian is waited for.
    hold: Option<OwnedFd>,
    guardian: Pid,
    namespace: Vec<u8>,
    mark: PathBuf,
    /// The guardian has it, too: nobody else stops what it is about to let go on, or lets go on what it stopped.
    _alone: Lock,
}

impl Pause {
    /// Stops the processes of a running container whose first process `init` refers to, for the owner of `staging`. The
    /// caller has one thread.
    pub fn begin(engine: &Engine, record: &Record, init: &OwnedFd, staging: &Staging) -> Result<Self> {
        let alone = containers(engine).lock_pause(&record.id)?;
        let namespace = namespace_held(record, init)?;
        let mark = staging.path().join(MARK);
        std::fs::write(&mark, record.id.as_str()).context(|| format!("write {}", mark.display()))?;
        let (held, hold) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        let (answer, report) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        match fork_into(0).context(|| "fork")? {
            Fork::Child => {
                drop((hold, answer));
                guard(&namespace, &mark, held, report)
            }
            Fork::Parent { pid, .. } => {
                drop((held, report));
                let pause = Self { hold: Some(hold), guardian: pid, namespace, mark, _alone: alone };
                let mut text = Vec::new();
                File::from(answer).read_to_end(&mut text).context(|| "wait for the container to stand still")?;
                match serde_json::from_slice::<Option<ErrorParts>>(&text) {
                    Ok(None) => Ok(pause),
                    Ok(Some(parts)) => Err(Error::from_parts(parts)),
                    Err(_) => Err(Error::new(ErrorKind::Io, "the process that stops the container died")),
                }
            }
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        drop(self.hold.take());
        let ended = rustix::process::waitpid(Some(self.guardian), WaitOptions::empty());
        let status = ended.ok().flatten().and_then(|(_, status)| status.exit_status());
        if status != Some(0) {
            // It was killed. What cannot be done now is the next command's to do.
            let _ = members(&self.namespace).map(|stopped| let_go(&stopped, &self.mark));
        }
    }
}

/// Lets the container go on of which a directory in `staging/` tells that its owner and the guardian were killed while it
/// stood still. An error keeps the directory for the next command.
pub fn mend(engine: &Engine, left: &Path) -> Result<()> {
    let all = containers(engine);
    let mark = file::read_small(&left.join(MARK), MARK_MAX).unwrap_or_default();
    let Ok(id) = ContainerId::parse(&String::from_utf8_lossy(&mark)) else { return Ok(()) };
    // One that is gone or has ended needs nothing.
    let Ok(record) = all.read(&id) else { return Ok(()) };
    let Ok(init) = init_of(&record) else { return Ok(()) };
    let Some(_alone) = all.try_lock_pause(&id)? else {
        return Err(Error::new(ErrorKind::Conflict, format!("container {id} is being paused")));
    };
    // What the user paused stays so.
    if all.read(&id)?.state.status != Status::Paused {
        go_on(&members(&namespace_held(&record, &init)?)?);
    }
    Ok(())
}

/// Stops all processes of a running container, until [`resume`].
pub fn pause(engine: &Engine, record: &Record) -> Result<()> {
    let _alone = containers(engine).lock_pause(&record.id)?;
    let namespace = namespace_held(record, &init_of(record)?)?;
    set_status(engine, record, Status::Running, Status::Paused, "already paused")?;
    let mut stopped = BTreeMap::new();
    stop_all(&namespace, &mut stopped).or_else(|error| {
        go_on(&stopped);
        set_status(engine, record, Status::Paused, Status::Running, "not paused").and(Err(error))
    })
}

/// Lets the processes of a paused container go on.
pub fn resume(engine: &Engine, record: &Record) -> Result<()> {
    let all = containers(engine);
    let _alone = all.lock_pause(&record.id)?;
    // Another one may have been pausing it just now.
    let record = &all.read(&record.id)?;
    let namespace = namespace_held(record, &init_of(record)?)?;
    if record.state.status == Status::Paused {
        go_on(&members(&namespace)?);
    }
    set_status(engine, record, Status::Paused, Status::Running, "not paused")
}

/// Records the new status if the old one is as expected; docker's words, if it is not.
fn set_status(engine: &Engine, record: &Record, from: Status, to: Status, otherwise: &str) -> Result<()> {
    let change = |now: &mut Record| match now.state.status {
        status if !status.is_active() => Err(not_running(&now.id)),
        status if status == from => {
            now.state.status = to;
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::Conflict, format!("container {} is {otherwise}", now.id))),
    };
    // After a power cut nothing of it would be true.
    containers(engine).update(&record.id, Durability::Relaxed, change).map(drop)
}

/// The PID namespace of the container whose first process `init` refers to.
fn namespace_held(record: &Record, init: &OwnedFd) -> Result<Vec<u8>> {
    let pid = record.state.init.as_ref().map(|key| key.pid).unwrap_or_default();
    let namespace = namespace_of(pid);
    // The number was init's while its namespace was looked up, if init is there still.
    match (namespace, alive::wait_gone(init, 0)?) {
        (Some(namespace), false) => Ok(namespace),
        _ => Err(not_running(&record.id)),
    }
}

/// All processes of a namespace.
fn members(namespace: &[u8]) -> Result<BTreeMap<i32, OwnedFd>> {
    let mut members = BTreeMap::new();
    for pid in processes::all()? {
        if namespace_of(pid).as_deref() == Some(namespace)
            && let Some(pidfd) = open_member(pid, namespace)?
        {
            members.insert(pid, pidfd);
        }
    }
    Ok(members)
}

/// Has processes go on, and what told of them go.
fn let_go(stopped: &BTreeMap<i32, OwnedFd>, mark: &Path) {
    go_on(stopped);
    let _ = std::fs::remove_file(mark);
}

/// Parents after their children, as far as numbers tell: so a shell does not find that its command was stopped.
fn go_on(stopped: &BTreeMap<i32, OwnedFd>) {
    for pidfd in stopped.values().rev() {
        let _ = pidfd_send_signal(pidfd, Signal::CONT);
    }
}

/// The guardian's whole life.
fn guard(namespace: &[u8], mark: &Path, held: OwnedFd, report: OwnedFd) -> ! {
    // Ctrl-C at the terminal is for the client.
    let _ = rustix::process::setsid();
    let mut stopped = BTreeMap::new();
    let outcome = stop_all(namespace, &mut stopped).map_err(|error| error.to_parts()).err();
    let told = serde_json::to_vec(&outcome).is_ok_and(|text| File::from(report).write_all(&text).is_ok());
    if told && outcome.is_none() {
        let _ = File::from(held).read(&mut [0]);
    }
    let_go(&stopped, mark);
    exit_now(0)
}

/// Stops all processes of the namespace, and those that they make meanwhile, until none is left that runs.
fn stop_all(namespace: &[u8], stopped: &mut BTreeMap<i32, OwnedFd>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let mut running = false;
        for pid in processes::all()? {
            if namespace_of(pid).as_deref() != Some(namespace) {
                continue;
            }
            let state = state_of(pid);
            // Once more, if somebody let it go on.
            if !matches!(state, None | Some(b'T' | b'Z' | b'X')) {
                running |= stop(pid, namespace, stopped)?;
            }
            let stands = match state {
                None | Some(b'T' | b't' | b'Z' | b'X') => true,
                Some(b'D') => begin.elapsed() > WAITING,
                _ => false,
            };
            running |= !stands;
        }
        if !running {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(Error::new(ErrorKind::Conflict, "its processes do not stand still")
                .hint("stop the container first, or use --no-pause"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process, if it is in this namespace: its number may have become another's before it was opened.
fn open_member(pid: i32, namespace: &[u8]) -> Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    Ok(alive::pidfd_of(number)?.filter(|_| namespace_of(pid).as_deref() == Some(namespace)))
}

/// Tells a process to stop; whether it is the first time.
fn stop(pid: i32, namespace: &[u8], stopped: &mut BTreeMap<i32, OwnedFd>) -> Result<bool> {
    let Some(pidfd) = open_member(pid, namespace)? else { return Ok(false) };
    match pidfd_send_signal(&pidfd, Signal::STOP) {
        Ok(()) => {
            let before = stopped.insert(pid, pidfd);
            Ok(before.is_none())
        }
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
