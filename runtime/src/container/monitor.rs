//! The monitor: one process per container, its only supervisor.
//!
//! Forked by the CLI as uid 0 of the container's user namespace and PID 1 of an outer PID namespace, executed anew from a
//! protected clone of lrun's binary ([`crate::sandbox::reexec`]) so that it starts small, and so that init need not be.
//! The host's network namespace, and a mount namespace of its own in which the host's files are as they were. It forks
//! init, starts the network helper and the pump of the standard streams, keeps the container's lock for as long as it
//! lives, and records the exit. When it dies, however that happens, the kernel kills everything in its PID namespace: a
//! free lock means that nobody writes the read-write layer any more. One thread, but for [`Monitor::begin_write_back`];
//! signals from inside cannot reach it, and as a PID 1 it ignores all that it has no handler for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use super::alive;
use super::lifecycle::is_restarting;
use super::names::ContainerId;
use super::orders::{self, Config, Orders, PastaProgram, read_config};
use super::record::{Container, Containers, State, Status, update_record};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Durability, Lock};
use crate::idmap::enter::Unmapped;
use crate::network::pasta::{Pasta, PastaOptions};
use crate::network::received::Counters;
use crate::paths::ContainerPaths;
use crate::sandbox::channel::{self, Heard, Supervisor};
use crate::sandbox::init::{self, Instructions};
use crate::sandbox::process;
use crate::stdio::attach::{self, Hello, Report};
use crate::stdio::log::LogWriter;
use crate::stdio::pump::{ContainerIo, Event, Pump, PumpOptions};
use crate::sys;
use crate::sys::process::{Fork, exit_now, fork_into};

/// The stage's name, its `argv[0]`.
pub const STAGE: &std::ffi::CStr = c"lrun-monitor";

/// The number of the socket from which it receives its orders, above the standard streams, which are `/dev/null`.
pub const ORDERS: i32 = 3;
/// The number of the descriptor that tells when its ids are mapped: [`Unmapped`].
pub const UNMAPPED: i32 = 4;

struct Monitor {
    config: Config,
    container: OwnedFd,
    paths: ContainerPaths,
    /// Held as long as anything of the container may run, and until its end is recorded.
    lock: Option<OwnedFd>,
    /// The state from before this start, until the program runs.
    before: Option<State>,
}

/// The monitor stage's whole life.
pub fn main() -> ! {
    let _ = sys::fd::close_from(UNMAPPED + 1);
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    rustix::process::umask(Mode::from_raw_mode(0o077));
    sys::signal::reset_all();
    sys::signal::ignore(libc::SIGPIPE);
    sys::signal::ignore(libc::SIGXFSZ);
    let received = receive();
    // Whoever made this process has no container for it.
    let Ok(Some((init, Orders { config, plan, store, container, lock, client, reads }))) = received else {
        exit_now(125)
    };
    let monitor = read_config(config).map(|config| Monitor {
        paths: config.store().container(&config.id),
        config,
        container,
        lock: Some(lock),
        before: None,
    });
    let code = match monitor.and_then(|monitor| monitor.run(init, Instructions { plan, store, reads }, &client)) {
        Ok(()) => 0,
        Err(error) => {
            let code = u8::try_from(process::exit_code(&error)).unwrap_or(125);
            let _ = attach::send_report(&client, &Report::Failed { error, code });
            1
        }
    };
    exit_now(code)
}

/// The orders, and init: its namespaces are made while the ids are still being mapped, and the CLI writes the container's
/// record. `None` when there is no container for this process.
fn receive() -> Result<Option<(Result<Init>, Orders)>> {
    let (socket, unmapped) = (sys::fd::take(ORDERS)?, Unmapped::from_fd(sys::fd::take(UNMAPPED)?));
    let Some(namespaces) = orders::receive_namespaces(socket.as_fd())? else { return Ok(None) };
    let init = fork_init(namespaces);
    unmapped.wait()?;
    Ok(Orders::receive(socket.as_fd())?.map(|orders| (init, orders)))
}

fn fork_init(namespaces: u64) -> Result<Init> {
    let (supervisor, supervised) = channel::pair()?;
    match fork_into(namespaces).context(|| "create the container's namespaces")? {
        Fork::Child => init::main(supervised),
        Fork::Parent { pidfd, .. } => Ok(Init { pidfd, channel: supervisor }),
    }
}

/// The container's first process as the monitor has it.
struct Init {
    pidfd: OwnedFd,
    channel: Supervisor,
}

/// The container's ends and the engine's ends of the standard streams.
struct Streams {
    container: [OwnedFd; 3],
    engine: Option<(Option<OwnedFd>, OwnedFd, OwnedFd)>,
}

impl Monitor {
    fn run(mut self, init: Result<Init>, of_init: Instructions, client: &OwnedFd) -> Result<()> {
        self.live(init, of_init, client).inspect_err(|error| self.record_failure(error))
    }

    fn live(&mut self, init: Result<Init>, of_init: Instructions, client: &OwnedFd) -> Result<()> {
        let Some(hello) = attach::receive_hello(client)? else {
            return Err(Error::new(ErrorKind::Io, "the client is gone"));
        };
        let (mut init, streams) = (init?, self.streams()?);
        let told = init::instruct(&init.channel, &of_init, &streams.container);
        drop(of_init);
        told.map_err(|error| hung_up(&init, error))?;
        self.supervise(&mut init, streams, client, hello).inspect_err(|_| {
            let _ = rustix::process::pidfd_send_signal(&init.pidfd, rustix::process::Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED);
        })
    }

    fn streams(&self) -> Result<Streams> {
        // Its own streams are a `/dev/null` that no container can change; see `sandbox::reexec`.
        let null = |flags: OFlags| rustix::fs::open("/proc/self/fd/0", flags | OFlags::CLOEXEC, Mode::empty());
        if self.config.tty {
            let container = [null(OFlags::RDONLY)?, null(OFlags::WRONLY)?, null(OFlags::WRONLY)?];
            return Ok(Streams { container, engine: None });
        }
        let (stdin, feed) = match self.config.stdin {
            true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (read, Some(write)))?,
            false => (null(OFlags::RDONLY)?, None),
        };
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Streams { container: [stdin, stdout, stderr], engine: Some((feed, out, err)) })
    }

    /// From the started init to the end of the last client.
    fn supervise(&mut self, init: &mut Init, streams: Streams, client: &OwnedFd, hello: Hello) -> Result<()> {
        let host_pid = host_pid(&init.pidfd)?;
        let mut pasta = self.config.pasta.as_ref().map(|program| start_pasta(program, host_pid)).transpose()?;
        let counted = pasta.is_some() && self.config.build.is_some();
        let counters = counted.then(|| Counters::of(host_pid)).flatten();
        // Made while init works.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let log = self.config.log.map(|options| LogWriter::open(&self.container, options)).transpose()?;
        let listener = attach::listen(&self.container)?;
        // Only a layer that outlives the container must not seem to have been used before it is complete.
        if self.config.auto_remove {
            self.record_start(host_pid)?;
        }
        let mut pump = Pump::new(&epoll, self.connect(init, streams)?, log, self.pump_options())?;
        pump.listen(listener)?;
        pump.add_client(rustix::io::fcntl_dupfd_cloexec(client, 3)?, hello)?;
        if let Some(pasta) = &mut pasta {
            pasta.ready()?;
        }
        if !self.config.auto_remove {
            self.record_start(host_pid)?;
        }
        init.channel.go().map_err(|error| hung_up(init, error))?;
        match init.channel.hear()? {
            Heard::Closed => {}
            Heard::Failed(error) => return Err(error),
            Heard::Ready(_) => return Err(Error::new(ErrorKind::Io, "init reported twice")),
        }
        self.before = None;
        pump.started()?;
        let code = self.serve(init, &epoll, &mut pump)?;
        // The interface goes with pasta.
        let received = counters.is_some_and(|counters| counters.received());
        if let Some(pasta) = pasta {
            pasta.stop();
        }
        // Who sees the exit, finds the whole log; who is told of it, finds it recorded and the container free.
        pump.close()?;
        let grave = self.record_exit(code, received);
        if grave.is_none() {
            self.lock = None;
        }
        pump.finish(code)?;
        while !pump.drained() {
            turn(&epoll, &mut pump, init)?;
        }
        // Nobody need wait for this. What is left of it is swept by the next command.
        if let Some(grave) = grave {
            let _ = file::remove_tree(&grave);
        }
        Ok(())
    }

    /// Waits until init has prepared everything; the engine's ends of its streams.
    fn connect(&self, init: &Init, streams: Streams) -> Result<ContainerIo> {
        let terminal = match init.channel.hear()? {
            Heard::Ready(terminal) => terminal,
            Heard::Failed(error) => return Err(error),
            Heard::Closed => return Err(died(init)),
        };
        match (terminal, streams.engine) {
            (Some(master), _) => Ok(ContainerIo::Tty { master }),
            (None, Some((stdin, stdout, stderr))) => Ok(ContainerIo::Pipes { stdin, stdout, stderr }),
            (None, None) => Err(Error::new(ErrorKind::Io, "init made no terminal")),
        }
    }

    fn pump_options(&self) -> PumpOptions {
        PumpOptions { stdin_once: self.config.stdin_once }
    }

    /// Serves streams and clients until init has ended; its exit code, 128 + N for signal N.
    fn serve(&self, init: &Init, epoll: &OwnedFd, pump: &mut Pump) -> Result<u8> {
        epoll::add(epoll, &init.pidfd, epoll::EventData::new_u64(ENDED), epoll::EventFlags::IN)?;
        let mut written_back = self.config.auto_remove || self.config.build.is_some();
        loop {
            // What the build was killed for is not done.
            if self.config.build.is_some() && pump.clients() == 0 {
                signal(init, libc::SIGKILL);
            }
            if turn(epoll, pump, init)? {
                break;
            }
            if !written_back && pump.silent() {
                written_back = true;
                self.begin_write_back();
            }
        }
        epoll::delete(epoll, &init.pidfd)?;
        let status = rustix::process::waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let status = status.ok_or_else(|| Error::new(ErrorKind::Io, "the container's exit status is lost"))?;
        let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
    }

    /// Has the read-write layer's file system write back what the container changed, beside everything else. The streams
    /// have ended, and mostly the program with them: its unmount, which waits for the same, begins by forgetting what it
    /// has cached, and takes that long to come to it. Best effort.
    fn begin_write_back(&self) {
        let Ok(directory) = self.container.try_clone() else { return };
        let thread = std::thread::Builder::new().stack_size(WRITE_BACK_STACK);
        let _ = thread.spawn(move || {
            let _ = rustix::fs::syncfs(directory);
        });
    }

    /// What others find the container by. Not flushed: after a power cut nothing of it would be true.
    fn record_start(&mut self, host_pid: i32) -> Result<()> {
        let own = rustix::fs::readlink("/proc/self", Vec::new()).context(|| "find the monitor's process id")?;
        let init = alive::key(host_pid)?;
        let before = &mut self.before;
        update_record(&self.paths, Durability::Relaxed, |record| {
            let state = State {
                status: Status::Running,
                init: Some(init),
                monitor_pid: own.to_str().ok().and_then(|text| text.parse().ok()),
                started: Some(jiff::Timestamp::now()),
                ..State::default()
            };
            *before = Some(std::mem::replace(&mut record.state, state));
            Ok(())
        })
        .map(drop)
    }

    /// A container that could not be started is as it was, with the reason.
    fn record_failure(&mut self, error: &Error) {
        if self.config.auto_remove {
            if let Some(grave) = self.bury() {
                let _ = file::remove_tree(&grave);
            }
            return;
        }
        let (code, text) = (process::exit_code(error), error.to_string());
        let before = self.before.take();
        let _ = update_record(&self.paths, Durability::Flushed, |record| {
            let state = before.unwrap_or_else(|| std::mem::take(&mut record.state));
            let status = if state.started.is_some() { Status::Exited } else { Status::Created };
            record.state = State { status, init: None, monitor_pid: None, exit_code: code, error: text, ..state };
            Ok(())
        });
    }

    /// The read-write layer is on disk: its unmount wrote it back before the exit was seen. Best effort from here on, for
    /// the program has ended and whoever waits must hear of it; an exit that could not be recorded reads as "monitor
    /// lost". With `--rm`, where the container is that nobody sees any more.
    fn record_exit(&self, code: u8, received: bool) -> Option<PathBuf> {
        if self.config.auto_remove && !is_restarting(&self.paths) {
            return self.bury();
        }
        let durability = if self.config.build.is_some() { Durability::Relaxed } else { Durability::Flushed };
        let _ = update_record(&self.paths, durability, |record| {
            let before = std::mem::take(&mut record.state);
            record.state = State {
                status: Status::Exited,
                init: None,
                monitor_pid: None,
                exit_code: i32::from(code),
                received,
                finished: Some(jiff::Timestamp::now()),
                ..before
            };
            Ok(())
        });
        None
    }

    /// `--rm`: out of sight. The monitor may delete what belongs to the container's ids, being in their namespace.
    fn bury(&self) -> Option<PathBuf> {
        let lock = rustix::io::fcntl_dupfd_cloexec(self.lock.as_ref()?, 3).ok()?;
        let id = ContainerId::parse(&self.config.id).ok()?;
        let container = Container { id, paths: self.paths.clone(), lock: Lock::from_fd(lock) };
        Containers::new(&self.config.store()).bury(&container).ok()
    }
}

fn start_pasta(program: &PastaProgram, host_pid: i32) -> Result<Pasta> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let netns = rustix::fs::open(format!("/proc/{host_pid}/ns/net"), flags, Mode::empty())
        .context(|| "open the container's network namespace")?;
    Pasta::start(&program.path, netns.as_fd(), PastaOptions { dns_forward: program.dns_forward })
}

/// Bytes of stack for a thread that makes one system call.
const WRITE_BACK_STACK: usize = 32 << 10;

/// Token of the pidfd; below all of the pump's.
const ENDED: u64 = 1;

/// Handles one batch of events; whether init has ended.
fn turn(epoll: &OwnedFd, pump: &mut Pump, init: &Init) -> Result<bool> {
    let mut events: [std::mem::MaybeUninit<epoll::Event>; 16] = [const { std::mem::MaybeUninit::uninit() }; 16];
    let ready = match epoll::wait(epoll, &mut events, None) {
        Ok((ready, _)) => ready,
        Err(rustix::io::Errno::INTR) => return Ok(false),
        Err(errno) => return Err(Error::from(errno).context("wait for the container")),
    };
    let mut ended = false;
    for event in ready.iter() {
        let token = event.data.u64();
        if token == ENDED {
            ended = true;
        } else if Pump::owns(token)
            && let Some(Event::Signal(number)) = pump.handle(token)?
        {
            signal(init, number);
        }
    }
    Ok(ended)
}

fn signal(init: &Init, number: i32) {
    // It may have ended just now.
    let _ = sys::signal::send(init.pidfd.as_fd(), number);
}

/// The process id that the host's procfs shows; the monitor itself is in another PID namespace.
fn host_pid(pidfd: &OwnedFd) -> Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .context(|| "find the container's process id")?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the host's /proc does not show the container's process id"))
}

/// Why something could not be sent to init.
fn hung_up(init: &Init, error: Error) -> Error {
    match error.errno() {
        Some(libc::EPIPE | libc::ECONNRESET) => died(init),
        _ => error,
    }
}

/// Init ended without a word.
fn died(init: &Init) -> Error {
    let status = rustix::process::waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
    let how = match status.as_ref().map(|status| (status.terminating_signal(), status.exit_status())) {
        Some((Some(signal), _)) => format!("signal {signal}"),
        Some((None, Some(code))) => format!("exit code {code}, without a report"),
        _ => "nobody knows how".to_owned(),
    };
    Error::new(ErrorKind::Io, format!("the container's init died before the entrypoint was started: {how}"))
}
