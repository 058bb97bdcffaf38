//! Stages side by side: each in a process of its own, which is a copy of this one and has its own place for what it makes.
//!
//! A worker publishes what it has made before it ends, so that the stages that need it find it in the store. What it tells
//! comes over a socket, one message at a time, each answered before the worker goes on; what its commands write comes
//! through a pipe. Whatever is in the pipe when a message comes was written before it.
//!
//! Runs in the CLI, on the host. This process has one thread, and so have the workers. A worker dies with this process;
//! its step's container dies with the worker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::driver::{Build, Progress, Stop};
use super::graph::Graph;
use super::options::{Built, Event};
use super::state::State;
use super::unpublished::Unpublished;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, ErrorParts, Result};
use crate::file::{self, Durability, Staging};
use crate::stdio::terminal::Ending;
use crate::sys;
use crate::sys::process::{Fork, die_with, exit_now, fork_into};

/// Bytes of output taken at once.
const CHUNK: usize = 64 << 10;
/// Nanoseconds after which it is told that time has passed.
const TICK: i64 = 100_000_000;
/// Where a worker leaves how it ended, in its directory.
const OUTCOME: &str = "outcome";
/// An image's config is the most of an outcome.
const OUTCOME_MAX: usize = 64 << 20;
/// Bytes of the longest message: an instruction, or a warning about one.
const MESSAGE_MAX: usize = 64 << 20;

/// Signals that ask a process to end.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// An event on its way.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Step { number: usize, total: usize, text: String },
    Download { url: String, bytes: u64, total: Option<u64> },
    Cached,
    Explained { number: usize, total: usize, text: String, why: String },
    Verified { number: usize, total: usize, text: String, same: bool, verdict: String },
    Done { image: Option<Digest>, took: Duration, size: Option<u64> },
    Warning(String),
}

impl Told {
    /// `None`: it is told by this process alone.
    fn of(event: Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Step { number, total, text } => Self::Step { number, total, text: text.to_owned() },
            Event::Download { url, bytes, total } => Self::Download { url: url.to_owned(), bytes, total },
            Event::Cached => Self::Cached,
            Event::Verified { number, total, text, same, verdict } => {
                let (text, verdict) = (text.to_owned(), verdict.to_owned());
                Self::Verified { number, total, text, same, verdict }
            }
            Event::Explained { number, total, text, why } => {
                Self::Explained { number, total, text: text.to_owned(), why: why.to_owned() }
            }
            Event::Done { image, took, size } => Self::Done { image: image.cloned(), took, size },
            Event::Warning(text) => Self::Warning(text.to_owned()),
            Event::Stage(_) | Event::Output(_) | Event::Tick => return None,
        })
    }

    fn event(&self) -> Event<'_> {
        match self {
            Self::Step { number, total, text } => Event::Step { number: *number, total: *total, text },
            Self::Download { url, bytes, total } => Event::Download { url, bytes: *bytes, total: *total },
            Self::Cached => Event::Cached,
            Self::Verified { number, total, text, same, verdict } => {
                Event::Verified { number: *number, total: *total, text, same: *same, verdict }
            }
            Self::Explained { number, total, text, why } => {
                Event::Explained { number: *number, total: *total, text, why }
            }
            Self::Done { image, took, size } => Event::Done { image: image.as_ref(), took: *took, size: *size },
            Self::Warning(text) => Event::Warning(text),
        }
    }
}

/// How a worker ended.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Done(Box<State>),
    Ended(Built),
    Failed(ErrorParts),
}

/// A worker as this process has it.
struct Worker<'a> {
    stage: usize,
    name: String,
    pidfd: OwnedFd,
    events: UnixStream,
    output: Option<OwnedFd>,
    staging: Staging,
    unpublished: Unpublished<'a>,
}

/// What stages are built with.
pub(super) struct Work<'w> {
    pub graph: &'w Graph,
    /// Builds a stage.
    pub build: &'w dyn Fn(&mut Build<'_>, usize) -> Progress<State>,
    /// The number of the step before a stage's first.
    pub before: &'w BTreeMap<usize, usize>,
    /// What a stage is called.
    pub name: &'w dyn Fn(usize) -> String,
}

impl<'a> Build<'a> {
    /// Builds all stages of the graph, as many at once as is allowed, each as soon as those that it needs are there.
    pub(super) fn side_by_side(&mut self, work: &Work<'_>) -> Progress<()> {
        let signals = Ending::catch()?;
        let (mut begun, mut workers) = (BTreeSet::new(), Vec::<Worker<'a>>::new());
        let mut stop = None;
        loop {
            while stop.is_none()
                && workers.len() < self.options.jobs().max(1)
                && let Some(stage) = work.graph.ready(|stage| self.stages.contains_key(&stage), &begun)
            {
                begun.insert(stage);
                match self.start(stage, work, &signals) {
                    Ok(worker) => workers.push(worker),
                    Err(error) => stop = Some(Stop::from(error)),
                }
            }
            if workers.is_empty() {
                return stop.map_or(Ok(()), Err);
            }
            let (ended, signal) = self.wait(&mut workers, &signals)?;
            if let Some(signal) = signal {
                stop.get_or_insert(Stop::Ended(Built::Interrupted(signal)));
                workers.iter().for_each(|worker| worker.signal(signal));
            }
            for at in ended {
                match self.end(workers.remove(at)) {
                    Ok((stage, state)) => drop(self.stages.insert(stage, state)),
                    Err(first) => {
                        // The others have no use any more; what they have made so far is published.
                        if stop.is_none() {
                            workers.iter().for_each(|worker| worker.signal(libc::SIGTERM));
                        }
                        stop.get_or_insert(first);
                    }
                }
            }
        }
    }

    fn start(&mut self, stage: usize, work: &Work<'_>, signals: &Ending) -> Result<Worker<'a>> {
        let store = self.unpublished.store();
        let staging = Staging::new(store.root())?;
        let unpublished = Unpublished::new(store, &staging);
        let (events, ours) = UnixStream::pair().context(|| "make a socket pair")?;
        let (output, written) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        let parent = rustix::process::getpid();
        match fork_into(0).context(|| "start a worker for a stage")? {
            Fork::Child => {
                drop((events, output));
                let worked = signals.restore().and_then(|()| {
                    // Alone, so that a signal from the terminal comes once, from the process that has all stages.
                    rustix::process::setpgid(None, None)?;
                    die_with(parent)?;
                    let number = work.before.get(&stage).copied().unwrap_or_default();
                    let of_stage = |build: &mut Build<'_>| (work.build)(build, stage);
                    let outcome = self.in_worker(&unpublished, (ours, written), number, &of_stage);
                    let bytes = file::to_json(&outcome)?;
                    file::write_atomic(&staging.path().join(OUTCOME), &bytes, Durability::Relaxed)
                });
                exit_now(i32::from(worked.is_err()))
            }
            Fork::Parent { pidfd, .. } => {
                rustix::io::ioctl_fionbio(&output, true)?;
                let name = (work.name)(stage);
                Ok(Worker { stage, name, pidfd, events, output: Some(output), staging, unpublished })
            }
        }
    }

    /// In a worker: its whole work.
    fn in_worker(
        &mut self,
        unpublished: &Unpublished<'_>,
        (mut events, output): (UnixStream, OwnedFd),
        number: usize,
        stage: &dyn Fn(&mut Build<'_>) -> Progress<State>,
    ) -> Outcome {
        let mut tell = |event: Event<'_>| {
            // Where nobody hears it, nobody wants what is made here.
            if let Some(told) = Told::of(event)
                && send(&mut events, &told).is_err()
            {
                exit_now(1);
            }
        };
        let mut build = self.of_worker(unpublished, output.as_fd(), &mut tell);
        build.number = number;
        let built = stage(&mut build);
        match build.settle(built) {
            Ok(state) => Outcome::Done(Box::new(state)),
            Err(Stop::Ended(built)) => Outcome::Ended(built),
            Err(Stop::Failed(error)) => Outcome::Failed(error.to_parts()),
        }
    }

    /// Waits until something happens, and tells of it. The workers that have ended, the last first, and the signal that came.
    fn wait(&mut self, workers: &mut [Worker<'a>], signals: &Ending) -> Result<(Vec<usize>, Option<i32>)> {
        let mut polled = vec![PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)];
        for worker in workers.iter() {
            polled.push(PollFd::new(&worker.events, PollFlags::IN));
            let output = worker.output.as_ref().map_or(worker.events.as_fd(), AsFd::as_fd);
            polled.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK };
        match poll(&mut polled, self.options.relayed.then_some(&tick)) {
            Ok(0) => (self.tell)(Event::Tick),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::from(errno).context("wait for the stages")),
        }
        let happened: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = Vec::new();
        for (at, worker) in workers.iter_mut().enumerate() {
            let [told, written] = [1, 2].map(|which| happened.get(2 * at + which).copied().unwrap_or(false));
            if told || written {
                (self.tell)(Event::Stage(&worker.name));
                worker.drain(self.tell);
            }
            if told && !worker.hear(self.tell) {
                ended.push(at);
            }
        }
        ended.reverse();
        Ok((ended, signals.next()))
    }

    /// What came of a worker that has ended.
    fn end(&mut self, mut worker: Worker<'a>) -> Progress<(usize, State)> {
        // One that could not be understood must not wait for an answer.
        let _ = worker.events.shutdown(Shutdown::Both);
        let status = rustix::process::waitid(WaitId::PidFd(worker.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        worker.drain(self.tell);
        let outcome = file::read_json::<Outcome>(&worker.staging.path().join(OUTCOME), OUTCOME_MAX);
        let Worker { stage, name, staging, unpublished, .. } = worker;
        let engine = unpublished.store();
        // What cannot be deleted now is swept later.
        let _ = unpublished.remove();
        let _ = staging.remove(&mut |path| engine.remove_tree(path));
        match (outcome, status.and_then(|status| status.terminating_signal())) {
            (Ok(Outcome::Done(state)), _) => Ok((stage, *state)),
            (Ok(Outcome::Ended(built)), _) => Err(Stop::Ended(built)),
            (Ok(Outcome::Failed(parts)), _) => Err(Stop::Failed(Error::from_parts(parts))),
            // Those by which it is asked to end; by any other it was lost, to the lack of memory for one.
            (Err(_), Some(signal)) if ENDING.contains(&signal) => Err(Stop::Ended(Built::Interrupted(signal))),
            (Err(_), Some(signal)) => {
                let text = format!("the process that builds stage {name} was killed by signal {signal}");
                Err(Stop::Failed(Error::new(ErrorKind::Io, text)))
            }
            (Err(error), None) => Err(Stop::Failed(error.context(format!("stage {name} is lost")))),
        }
    }
}

impl Worker<'_> {
    fn signal(&self, number: i32) {
        // It may have ended.
        let _ = sys::signal::send(self.pidfd.as_fd(), number);
    }

    /// Tells what the commands have written so far.
    fn drain(&mut self, tell: &mut dyn FnMut(Event<'_>)) {
        let Some(output) = &self.output else { return };
        let mut chunk = vec![0; CHUNK];
        loop {
            match rustix::io::read(output, &mut chunk) {
                Ok(0) => {
                    self.output = None;
                    return;
                }
                Ok(length) => tell(Event::Output(chunk.get(..length).unwrap_or_default())),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Tells what the worker told; `false`: it has ended.
    fn hear(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        match receive(&mut self.events) {
            Ok(Some(told)) => {
                tell(told.event());
                self.events.write_all(&[0]).is_ok()
            }
            Ok(None) | Err(_) => false,
        }
    }
}

/// Sends a message, and waits until it has been told.
fn send(socket: &mut UnixStream, told: &Told) -> Result<()> {
    let text = serde_json::to_vec(told).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
    let length = u32::try_from(text.len()).map_err(|_| Error::new(ErrorKind::Invalid, "the message is too long"))?;
    socket.write_all(&[&length.to_le_bytes()[..], &text].concat())?;
    Ok(socket.read_exact(&mut [0])?)
}

/// The next message; `None`: the worker has ended.
fn receive(socket: &mut UnixStream) -> Result<Option<Told>> {
    let mut length = [0; 4];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(Error::new(ErrorKind::Corrupt, "a worker's message is too long"));
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
}
