//! The life of a container after its start: signals, stop, wait, removal, and what is left of a lost monitor.
//!
//! Runs in the CLI. A record that says "running" is true only while the container's lock is held; whoever finds it free
//! waits until the container's first process is gone, then records that its monitor was lost.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::engine::Engine;
use super::names::ContainerId;
pub use super::record::LOST;
use super::record::{Container, Containers, Listing, Record, State, Status, Summary, not_running};
use super::{alive, commit, pause, trash};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{Durability, Lock, LockState, RemoveTree};
use crate::paths::ContainerPaths;
use crate::stdio::attach;
use crate::stdio::terminal::{Client, ClientOptions, Outcome, Stdio};
use crate::sys;

/// Time between two looks at a container that another command works on.
const WORK: Duration = Duration::from_millis(2);

/// Milliseconds that a process may take to die after SIGKILL, or a monitor to finish its records.
const PATIENCE: i64 = 60_000;

/// The containers of a store.
pub fn containers(engine: &Engine) -> Containers {
    Containers::new(engine.root())
}

/// Finds a container by id, name or prefix; its record is true when this returns.
pub fn find(engine: &Engine, text: &str) -> Result<Record> {
    let id = containers(engine).find(text)?;
    settle(engine, &id)
}

/// The record of a container, mended if its monitor is gone without having recorded the end.
pub fn settle(engine: &Engine, id: &ContainerId) -> Result<Record> {
    let all = containers(engine);
    let record = all.read(id)?;
    let unsettled = record.state.status.is_active() || record.pending_commit.is_some() || record.is_leftover();
    if !unsettled || all.probe(id)? == LockState::Held {
        return Ok(record);
    }
    // Between a start's lock and its record, and between the exit's record and the unlock, others may be at it.
    let Some(container) = all.try_lock(id)? else { return all.read(id) };
    let record = commit::recover(engine, &container, all.read(id)?)?;
    await_init(&record)?;
    let over = record.is_leftover() || (record.auto_remove && record.state.status.is_active());
    if over && !is_restarting(&container.paths) {
        all.remove(container, Durability::Relaxed, &mut |path| engine.remove_tree(path))?;
        return Err(super::record::no_such_container(id.as_str()));
    }
    if !record.state.status.is_active() {
        return Ok(record);
    }
    all.set_state(id, lost(record.state), Durability::Flushed)
}

/// Whether a `restart` is under way: from the stop to the start it holds a lock of its own.
pub fn is_restarting(paths: &ContainerPaths) -> bool {
    Lock::probe(&paths.restart_lock()).is_ok_and(|state| state == LockState::Held)
}

/// The state of a container whose monitor was killed.
fn lost(state: State) -> State {
    State {
        status: Status::Exited,
        init: None,
        monitor_pid: None,
        exit_code: LOST,
        error: "monitor lost".to_owned(),
        finished: Some(jiff::Timestamp::now()),
        ..state
    }
}

/// Waits until the first process is gone: the kernel kills it with the monitor, but that takes a moment.
fn await_init(record: &Record) -> Result<()> {
    let Some(key) = &record.state.init else { return Ok(()) };
    let Some(pidfd) = alive::open(key)? else { return Ok(()) };
    match alive::wait_gone(&pidfd, PATIENCE)? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Conflict, format!("container {} does not end", record.id.short()))),
    }
}

/// The records of all containers, newest first, each true, and those that cannot be read; `--rm` leftovers are removed
/// on the way.
///
/// Costs one read for each container, and a probe of the lock for each that is recorded as running.
pub fn list(engine: &Engine) -> Result<Listing> {
    let all = containers(engine);
    let listing = all.list()?;
    let mut summaries = Vec::with_capacity(listing.summaries.len());
    for mut summary in listing.summaries {
        let leftover = summary.is_leftover();
        match true_state(engine, &all, &summary.id, std::mem::take(&mut summary.state), leftover) {
            Ok(state) => summaries.push(Summary { state, ..summary }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Listing { summaries, damaged: listing.damaged })
}

/// Finds a container for somebody who only looks at it: its state is true also where it cannot be recorded, on a full
/// disk or a read-only store.
pub fn look(engine: &Engine, text: &str) -> Result<Record> {
    let all = containers(engine);
    let mut record = all.read(&all.find(text)?)?;
    let leftover = record.is_leftover();
    record.state = true_state(engine, &all, &record.id, record.state, leftover)?;
    Ok(record)
}

/// The state of a container that was recorded as this a moment ago.
fn true_state(engine: &Engine, all: &Containers, id: &ContainerId, recorded: State, leftover: bool) -> Result<State> {
    if !(recorded.status.is_active() || leftover) || all.probe(id)? == LockState::Held {
        return Ok(recorded);
    }
    match settle(engine, id) {
        Ok(record) => Ok(record.state),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        // Its first process does not end: it still runs.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(recorded),
        Err(_) if recorded.status.is_active() => Ok(lost(recorded)),
        Err(_) => Ok(recorded),
    }
}

/// Whether a settled record says that processes of the container exist.
pub fn is_running(record: &Record) -> bool {
    record.state.status.is_active()
}

/// A pidfd of the container's first process; an error in docker's words when it is not running.
pub fn init_of(record: &Record) -> Result<OwnedFd> {
    let gone = || not_running(&record.id);
    let key = record.state.init.as_ref().filter(|_| is_running(record)).ok_or_else(gone)?;
    alive::open(key)?.ok_or_else(gone)
}

/// Sends a signal to the container's first process. A paused container goes on, so that the signal arrives. After SIGKILL
/// the container's end is recorded when this returns: what scripts do next is `rm`, or a `run` with the same name.
pub fn kill(engine: &Engine, record: &Record, signal: i32) -> Result<()> {
    let init = init_of(record)?;
    send(engine, record, &init, signal)?;
    if signal == libc::SIGKILL { await_killed(engine, record, &init) } else { Ok(()) }
}

fn send(engine: &Engine, record: &Record, init: &OwnedFd, signal: i32) -> Result<()> {
    match sys::signal::send(init.as_fd(), signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(Error::from(errno).context(format!("signal container {}", record.id.short()))),
    }
    if record.state.status != Status::Paused || signal == libc::SIGKILL {
        return Ok(());
    }
    match pause::resume(engine, record) {
        // It has ended, or goes on already.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
        other => other,
    }
}

/// Waits until a container that was sent SIGKILL is gone, and its end recorded.
fn await_killed(engine: &Engine, record: &Record, init: &OwnedFd) -> Result<()> {
    match alive::wait_gone(init, PATIENCE)? {
        true => await_end(engine, record).map(drop),
        false => Err(Error::new(ErrorKind::Conflict, format!("container {} does not end", record.id.short()))),
    }
}

/// A container that has been asked to stop.
#[derive(Debug)]
pub struct Stopping {
    record: Record,
    /// Its first process, if that was there to be asked.
    init: Option<OwnedFd>,
    /// When it is killed; `None`: never.
    deadline: Option<Instant>,
}

/// Asks a running container to stop: with `signal`. It has `timeout` seconds (negative: for ever) for that, counted from
/// now, so that of several that are asked none waits for another's. One that is not running stays as it is.
pub fn begin_stop(engine: &Engine, record: &Record, signal: i32, timeout: i64) -> Result<Stopping> {
    let init = init_of(record).ok();
    if let Some(init) = &init {
        send(engine, record, init, signal).context(|| format!("stop container {}", record.id.short()))?;
    }
    let length = u64::try_from(timeout).ok().map(Duration::from_secs);
    let deadline = length.and_then(|length| Instant::now().checked_add(length));
    Ok(Stopping { record: record.clone(), init, deadline })
}

impl Stopping {
    /// Waits for the container's end, and kills it when its time is over. Its exit is recorded when this returns.
    pub fn finish(&self, engine: &Engine) -> Result<()> {
        let record = &self.record;
        if !is_running(record) {
            return Ok(());
        }
        let Some(init) = &self.init else { return await_end(engine, record).map(drop) };
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_millis());
        let patience = left.map_or(-1, |left| i64::try_from(left).unwrap_or(i64::MAX));
        if alive::wait_gone(init, patience)? {
            return await_end(engine, record).map(drop);
        }
        send(engine, record, init, libc::SIGKILL).context(|| format!("stop container {}", record.id.short()))?;
        await_killed(engine, record, init)
    }
}

/// Stops a running container: `signal`, and SIGKILL after `timeout` seconds (negative: never). Its exit is recorded when
/// this returns. One that is not running stays as it is.
pub fn stop(engine: &Engine, record: &Record, signal: i32, timeout: i64) -> Result<()> {
    begin_stop(engine, record, signal, timeout)?.finish(engine)
}

/// Waits until the end of the run that this record tells of is recorded; its record then, `None` if that removed the
/// container.
pub fn await_end(engine: &Engine, record: &Record) -> Result<Option<Record>> {
    loop {
        match settle(engine, &record.id) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(now) if !is_running(&now) || now.state.started != record.state.started => return Ok(Some(now)),
            other => drop(other?),
        }
        std::thread::sleep(WORK);
    }
}

/// Waits for the end of a container and returns its exit code.
pub fn wait(engine: &Engine, record: &Record) -> Result<i32> {
    if !is_running(record) {
        return Ok(record.state.exit_code);
    }
    let directory = containers(engine).directory(&record.id);
    if let Ok(directory) = directory
        && let Ok(socket) = attach::connect(&directory)
        && let Ok(client) = Client::greet(socket, Stdio::default(), ClientOptions::default())
        && let Outcome::Exited(code) = client.run()?
    {
        return Ok(i32::from(code));
    }
    // The monitor was lost, or the container ended just now.
    Ok(await_end(engine, record)?.map_or(LOST, |now| now.state.exit_code))
}

/// Removes a container whose record is damaged, or whose lock is lost; with `trash`, into the trash, where a repair finds
/// it. Where the record tells of a process, that is ended first. One that something of holds the lock of cannot be ended
/// without a record, since nobody knows its processes.
pub fn remove_damaged(engine: &Engine, text: &str, trash: bool) -> Result<()> {
    let all = containers(engine);
    let id = all.find(text)?;
    let in_use = || {
        let message = format!("cannot remove container {}: its record is damaged, and it is in use", id.short());
        Error::new(ErrorKind::Conflict, message)
    };
    if let Ok(record) = all.read(&id) {
        end_without_lock(&record)?;
    }
    let container = all.try_lock(&id)?.ok_or_else(in_use)?;
    if trash && trash::discard(engine, &container)? {
        return Ok(());
    }
    all.remove(container, Durability::Flushed, &mut |path| engine.remove_tree(path))
        .context(|| format!("remove container {}", id.short()))
}

/// Ends the processes of a container whose lock says nothing of them.
fn end_without_lock(record: &Record) -> Result<()> {
    let Some(init) = record.state.init.as_ref().map(alive::open).transpose()?.flatten() else { return Ok(()) };
    // While init is there, its monitor has this number.
    let monitor = record.state.monitor_pid.and_then(Pid::from_raw).map(alive::pidfd_of).transpose()?.flatten();
    match rustix::process::pidfd_send_signal(&init, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(Error::from(errno).context(format!("kill container {}", record.id.short()))),
    }
    for process in monitor.iter().chain([&init]) {
        if !alive::wait_gone(process, PATIENCE)? {
            return Err(Error::new(ErrorKind::Conflict, format!("container {} does not end", record.id.short())));
        }
    }
    Ok(())
}

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// A running one, too: it is killed.
    pub force: bool,
    /// It goes into the trash, from where it can be brought back until that is trimmed.
    pub trash: bool,
    /// After a power cut it may be there again.
    pub relaxed: bool,
}

/// Removes a container. With `force` it is killed as often as somebody starts it again meanwhile.
pub fn remove(engine: &Engine, record: &Record, removal: Removal) -> Result<()> {
    let mut record = record.clone();
    loop {
        let removed = remove_once(engine, &record, removal);
        match removed.and_then(|removed| if removed { Ok(None) } else { settle(engine, &record.id).map(Some) }) {
            Ok(None) => return Ok(()),
            Ok(Some(now)) => record = now,
            // Its own `--rm`, or another command, was faster.
            Err(error) if error.kind() == ErrorKind::NotFound && containers(engine).is_gone(&record.id) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether it was removed; `false`: it was started meanwhile.
fn remove_once(engine: &Engine, record: &Record, Removal { force, trash, relaxed }: Removal) -> Result<bool> {
    if is_running(record) {
        if !force {
            let why = match record.state.status {
                Status::Paused => "container is paused and must be unpaused first",
                _ => "container is running: stop the container before removing or force remove",
            };
            let message = format!("cannot remove container \"/{}\": {why}", record.name);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        stop(engine, record, libc::SIGKILL, -1)?;
    }
    let id = &record.id;
    let Some(container) = lock_stopped(engine, id)? else { return Ok(false) };
    if trash && discard(engine, &container)? {
        return Ok(true);
    }
    let durability = if relaxed { Durability::Relaxed } else { Durability::Flushed };
    containers(engine)
        .remove(container, durability, &mut |path| engine.remove_tree(path))
        .context(|| format!("remove container {}", id.short()))?;
    Ok(true)
}

/// Moves a container to the trash, if it can be brought back from there as it is.
fn discard(engine: &Engine, container: &Container) -> Result<bool> {
    let record = containers(engine).read(&container.id);
    match record.and_then(|record| commit::recover(engine, container, record)) {
        Ok(record) if !record.auto_remove => {
            trash::discard(engine, container).context(|| format!("remove container {}", container.id.short()))
        }
        // With an interrupted commit that cannot be ended, or a damaged record, it would not come back whole.
        _ => Ok(false),
    }
}

/// Removes a container that nobody runs, starts, restarts or works on; whether it was removed.
pub fn remove_idle(engine: &Engine, id: &ContainerId, remove: &mut RemoveTree<'_>) -> Result<bool> {
    let all = containers(engine);
    let removed = all.try_lock(id).and_then(|container| match container {
        Some(container) if !is_restarting(&container.paths) && !is_running(&all.read(id)?) => {
            all.remove(container, Durability::Flushed, remove).map(|()| true)
        }
        _ => Ok(false),
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        other => other.context(|| format!("remove container {}", id.short())),
    }
}

/// Takes the lock of a container that does not run; `None`: it runs. Waits for whoever works on it, a start among them,
/// but never for the container's end.
fn lock_stopped(engine: &Engine, id: &ContainerId) -> Result<Option<Container>> {
    let all = containers(engine);
    loop {
        if let Some(container) = all.try_lock(id)? {
            // If its monitor was killed, its processes may not be gone yet.
            if all.read(id).is_ok_and(|record| is_running(&record)) {
                drop(container);
                settle(engine, id)?;
                continue;
            }
            return Ok(Some(container));
        }
        // A damaged record may be anybody's who holds the lock.
        if settle(engine, id).is_ok_and(|record| is_running(&record)) {
            return Ok(None);
        }
        std::thread::sleep(WORK);
    }
}

/// As for a removal, with the record as it is under the lock; a commit that was interrupted is ended.
pub fn hold_stopped(engine: &Engine, id: &ContainerId) -> Result<Option<(Container, Record)>> {
    let Some(container) = lock_stopped(engine, id)? else { return Ok(None) };
    let record = commit::recover(engine, &container, containers(engine).read(id)?)?;
    Ok(Some((container, record)))
}
