//! Moves bytes between a container, its log and its clients.
//!
//! Run by the monitor, driven by its epoll loop; it never blocks and never waits for anybody. Output goes to the log
//! and to every attached client. A source is not read while a client has not taken what was read before, so a client
//! that does not read stalls the container; one that is gone shows as a hang-up and is dropped.
//!
//! Three ways out of a container's pipe, by what there is to do: no client: into the log; one client and much data: `tee`
//! to the client, then into the log; else: read, and write to each.

mod client;
mod stdin;
mod watch;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use self::client::Client;
use self::stdin::Stdin;
use self::watch::{Poller, Role, Watch};
use super::attach::{self, Hello, Report, Request};
use super::log::{LogWriter, Taken};
use super::{Stream, WindowSize};
use crate::error::Result;

/// Bytes read at once where they must pass through memory; on the stack, so that an idle monitor has no buffer.
const CHUNK: usize = 16 * 1024;
/// From this much waiting data on, `tee` is cheaper than reading and writing.
const TEE_FROM: u64 = 16 * 1024;
/// The most that one system call moves, and the size that a busy container's pipe gets.
const BURST: usize = 256 * 1024;
/// How many steps are made for one event before others get their turn.
const STEPS: usize = 16;
/// The most that is taken from a source after the container's end.
const LAST_BYTES: usize = 4 * 1024 * 1024;

/// The engine's ends of a container's standard streams.
#[derive(Debug)]
pub enum ContainerIo {
    /// The master of its terminal.
    Tty {
        /// The engine's end; blocking or not.
        master: OwnedFd,
    },
    /// Its pipes. The container's ends stay blocking.
    Pipes {
        /// Write end; `None` when its stdin is `/dev/null`.
        stdin: Option<OwnedFd>,
        /// Read end.
        stdout: OwnedFd,
        /// Read end.
        stderr: OwnedFd,
    },
}

/// What a client asks of the monitor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Send this signal to the container's process.
    Signal(i32),
}

/// How a [`Pump`] treats its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PumpOptions {
    /// Close the container's stdin when the input of the client that feeds it ends or that client goes away (docker's
    /// `StdinOnce`: `run -i`, not `run -d -i`). A terminal's input is never closed.
    pub stdin_once: bool,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    watch: Watch,
    tty: bool,
    ended: bool,
    enlarged: bool,
}

/// What one step on a source did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Moved(usize),
    Empty,
    Ended,
    /// A client has no room.
    Stalled,
}

/// The standard streams of a running container; see the module's page.
#[derive(Debug)]
pub struct Pump {
    poller: Rc<Poller>,
    /// Keeps the terminal alive while no process has it open, or its output would seem to have ended.
    slave: Option<OwnedFd>,
    sources: Vec<Source>,
    stdin: Stdin,
    log: Option<LogWriter>,
    listener: Option<Watch>,
    clients: Vec<Client>,
    next_client: u32,
    started: bool,
    exited: Option<u8>,
}

impl Pump {
    /// Begins with the container's streams; they, and everything that comes later, are watched by `epoll` under tokens
    /// for which [`Pump::owns`] is true. `log`: `None` keeps none. The streams are made non-blocking. SIGPIPE and SIGXFSZ
    /// must be ignored by this process.
    pub fn new(epoll: impl AsFd, io: ContainerIo, log: Option<LogWriter>, options: PumpOptions) -> Result<Self> {
        let poller = Rc::new(Poller::new(epoll)?);
        let (mut sources, mut slave) = (Vec::new(), None);
        let mut source = |stream, fd: OwnedFd, tty| -> Result<()> {
            rustix::io::ioctl_fionbio(&fd, true)?;
            let watch = Watch::new(&poller, fd, Poller::container(Role::of(stream)));
            sources.push(Source { stream, watch, tty, ended: false, enlarged: false });
            Ok(())
        };
        let stdin = match io {
            ContainerIo::Tty { master } => {
                use rustix::pty::OpenptFlags;
                let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
                slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok();
                let input = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
                source(Stream::Stdout, master, true)?;
                Stdin::terminal(&poller, input)
            }
            ContainerIo::Pipes { stdin, stdout, stderr } => {
                source(Stream::Stdout, stdout, false)?;
                source(Stream::Stderr, stderr, false)?;
                Stdin::pipe(&poller, stdin, options.stdin_once)?
            }
        };
        let mut pump = Self {
            poller,
            slave,
            sources,
            stdin,
            log,
            listener: None,
            clients: Vec::new(),
            next_client: 1,
            started: false,
            exited: None,
        };
        pump.watch()?;
        Ok(pump)
    }

    /// Whether this epoll token is one of the pump's; the monitor's own must be below `1 << 40`.
    pub fn owns(token: u64) -> bool {
        Poller::owns(token)
    }

    /// Takes clients from this socket (see [`attach::listen`]) as well.
    pub fn listen(&mut self, listener: OwnedFd) -> Result<()> {
        self.listener = Some(Watch::new(&self.poller, listener, Poller::container(Role::Control)));
        self.watch()
    }

    /// Takes a client whose [`Hello`] has been received (see [`attach::receive_hello`]). A window size in it is applied.
    pub fn add_client(&mut self, socket: OwnedFd, hello: Hello) -> Result<()> {
        let mut client = Client::new(&self.poller, self.next_client, socket);
        self.next_client += 1;
        self.welcome(&mut client, hello);
        self.clients.push(client);
        self.watch()
    }

    /// The container's process runs: tells every client, also those to come.
    pub fn started(&mut self) -> Result<()> {
        self.started = true;
        for client in &mut self.clients {
            client.tell(&Report::Started);
        }
        self.watch()
    }

    /// Does what an event on this token allows. Call it for every event whose token the pump [owns](Pump::owns).
    pub fn handle(&mut self, token: u64) -> Result<Option<Event>> {
        let mut event = None;
        let (id, role) = Poller::split(token);
        match role {
            Role::Control if id == 0 => self.accept(),
            Role::Control => event = self.hear(id),
            Role::Stdin if id == 0 => self.stdin.ready(),
            Role::Stdin => self.feed(id),
            Role::Stdout | Role::Stderr if id == 0 => {
                let index = role.index();
                if self.sources.get(index).is_some_and(|source| source.tty) {
                    self.stdin.ready();
                }
                self.pump(index);
            }
            Role::Stdout | Role::Stderr => self.flush(id, role.index()),
        }
        self.watch()?;
        Ok(event)
    }

    /// Sets the size of the container's terminal, if it has one.
    pub fn resize(&mut self, size: WindowSize) {
        if let Some(source) = self.sources.first().filter(|source| source.tty) {
            // A terminal that is hung up has no size any more.
            let _ = size.apply(source.watch.fd());
        }
    }

    /// The container's process has ended (and with its PID namespace every other): takes what is left of its output. The
    /// log is complete afterwards; the clients get it as they read.
    pub fn close(&mut self) -> Result<()> {
        self.slave = None;
        self.stdin.close();
        self.listener = None;
        self.started = true;
        for index in 0..self.sources.len() {
            self.take_rest(index);
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.watch()
    }

    /// After [`Pump::close`]: tells the exit code to each client that has got everything. Drive the epoll loop on until
    /// [`Pump::drained`].
    pub fn finish(&mut self, code: u8) -> Result<()> {
        self.exited = Some(code);
        self.watch()
    }

    /// Whether the container has closed all its output, as it does when it ends.
    pub fn silent(&self) -> bool {
        self.sources.iter().all(|source| source.ended)
    }

    /// After [`Pump::finish`]: whether every client has got everything (or is gone).
    pub fn drained(&self) -> bool {
        self.exited.is_some() && self.clients.is_empty()
    }

    /// How many clients are attached.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // Failing accepts (no descriptors left) must not end the container; the client waits in the queue.
        if let Ok(Some(socket)) = attach::accept(listener.fd()) {
            self.clients.push(Client::new(&self.poller, self.next_client, socket));
            self.next_client += 1;
        }
    }

    fn welcome(&self, client: &mut Client, hello: Hello) {
        if let Some(size) = hello.window
            && let Some(source) = self.sources.first().filter(|source| source.tty)
        {
            let _ = size.apply(source.watch.fd());
        }
        client.greet(&self.poller, hello);
        if !self.stdin.is_open() {
            client.stdin = None;
        }
        if self.started {
            client.tell(&Report::Started);
        }
    }

    /// A message from a client, or its end.
    fn hear(&mut self, id: u32) -> Option<Event> {
        let index = self.clients.iter().position(|client| client.id == id)?;
        let mut client = self.clients.swap_remove(index);
        let mut event = None;
        match attach::receive_request(client.control.fd()) {
            Ok(Some(Request::Hello(hello))) if !client.greeted => self.welcome(&mut client, hello),
            Ok(Some(Request::Resize(size))) => self.resize(size),
            Ok(Some(Request::Signal(signal))) => event = Some(Event::Signal(signal)),
            Ok(Some(Request::Detach)) => {
                client.tell(&Report::Detached);
                client.stdin = None;
                client.gone = true;
            }
            Err(error) if error.errno() == Some(Errno::AGAIN.raw_os_error()) => {}
            Ok(None | Some(Request::Hello(_))) | Err(_) => client.gone = true,
        }
        self.clients.push(client);
        event
    }

    /// Moves a client's input to the container.
    fn feed(&mut self, id: u32) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            self.stdin.feed(client);
        }
    }

    /// A client's pipe has room again (or nobody reads it).
    fn flush(&mut self, id: u32, index: usize) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.flush(index);
        }
        if !self.stalled(index) {
            self.pump(index);
        }
    }

    fn stalled(&self, index: usize) -> bool {
        self.clients.iter().any(|client| client.stalls(index))
    }

    /// Moves output of one source for a while.
    fn pump(&mut self, index: usize) {
        for _ in 0..STEPS {
            match self.step(index) {
                Step::Moved(_) => {}
                Step::Empty | Step::Stalled => return,
                Step::Ended => {
                    if let Some(source) = self.sources.get_mut(index) {
                        source.ended = true;
                    }
                    return;
                }
            }
        }
    }

    fn step(&mut self, index: usize) -> Step {
        if self.stalled(index) {
            return Step::Stalled;
        }
        let takers = self.clients.iter().filter(|client| client.takes(index)).count();
        let Some(source) = self.sources.get_mut(index).filter(|source| !source.ended) else { return Step::Ended };
        if source.tty || takers > 1 {
            return self.copy(index);
        }
        let waiting = rustix::io::ioctl_fionread(source.watch.fd()).unwrap_or(0);
        source.enlarge(waiting);
        match (takers, &mut self.log) {
            (0, Some(log)) => taken(log.take(source.stream, source.watch.fd(), BURST)),
            (1, _) if waiting >= TEE_FROM => self.tee(index),
            _ => self.copy(index),
        }
    }

    /// Hands pages to the only client, and the same ones to the log.
    fn tee(&mut self, index: usize) -> Step {
        let Some(source) = self.sources.get(index) else { return Step::Ended };
        let Some(client) = self.clients.iter_mut().find(|client| client.takes(index)) else { return Step::Empty };
        let Some(out) = client.out(index) else { return Step::Empty };
        let (pipe, flags) = (source.watch.fd(), SpliceFlags::NONBLOCK);
        let moved = match &self.log {
            Some(_) => rustix::pipe::tee(pipe, out, BURST, flags),
            None => rustix::pipe::splice(pipe, None, out, None, BURST, flags),
        };
        let moved = match moved {
            Ok(0) => return Step::Ended,
            Ok(moved) => moved,
            // The source is not empty (its caller looked), so the client's pipe is full.
            Err(Errno::AGAIN) => {
                client.stall(index);
                return Step::Stalled;
            }
            Err(Errno::INTR) => return Step::Moved(0),
            Err(Errno::PIPE) => {
                client.close_output(index);
                return Step::Moved(0);
            }
            Err(_) => return self.copy(index),
        };
        let mut left = moved;
        while let Some(log) = self.log.as_mut().filter(|_| left > 0) {
            match log.take(source.stream, source.watch.fd(), left) {
                Ok(Taken::Bytes(taken)) => left -= taken.min(left),
                Ok(Taken::Empty | Taken::Ended) | Err(_) => break,
            }
        }
        Step::Moved(moved)
    }

    /// Reads, logs, and writes to every client; what one does not take at once is kept for it.
    fn copy(&mut self, index: usize) -> Step {
        let Some(source) = self.sources.get_mut(index) else { return Step::Ended };
        let mut buffer = [0; CHUNK];
        let data = match rustix::io::read(source.watch.fd(), &mut buffer) {
            Ok(0) => return Step::Ended,
            Ok(read) => &buffer[..read],
            Err(Errno::AGAIN) => return Step::Empty,
            Err(Errno::INTR) => return Step::Moved(0),
            // A terminal whose other side nobody has open.
            Err(_) => return Step::Ended,
        };
        if let Some(log) = &mut self.log {
            log.write(source.stream, data);
        }
        for client in &mut self.clients {
            client.give(index, data);
        }
        Step::Moved(data.len())
    }

    /// Takes everything that a source still holds, whether the clients have room or not.
    fn take_rest(&mut self, index: usize) {
        let mut taken = 0;
        while let Some(source) = self.sources.get(index).filter(|source| !source.ended)
            && taken < LAST_BYTES
        {
            // What a process outside (that was sent the descriptor) still writes is not waited for.
            let waiting = rustix::io::ioctl_fionread(source.watch.fd()).unwrap_or(0);
            if !source.tty && waiting == 0 {
                break;
            }
            match self.copy(index) {
                Step::Moved(moved) => taken += moved,
                Step::Empty | Step::Ended | Step::Stalled => break,
            }
        }
        if let Some(source) = self.sources.get_mut(index) {
            source.ended = true;
        }
    }

    /// Lets clients go that are done or gone, and watches each descriptor for exactly what can be done about it.
    fn watch(&mut self) -> Result<()> {
        if let Some(code) = self.exited {
            for client in &mut self.clients {
                client.end(code);
            }
        }
        let stdin = &mut self.stdin;
        self.clients.retain_mut(|client| {
            if client.gone {
                stdin.lost(client);
            }
            !client.gone
        });
        for index in 0..self.sources.len() {
            let stalled = self.clients.iter().any(|client| client.stalls(index));
            let source = &mut self.sources[index];
            let mut want = EventFlags::empty();
            want.set(EventFlags::IN, !source.ended && !stalled);
            want.set(EventFlags::OUT, source.tty && !source.ended && self.stdin.is_full());
            source.watch.set(want)?;
        }
        self.stdin.watch()?;
        if let Some(listener) = &mut self.listener {
            listener.set(EventFlags::IN)?;
        }
        for client in &mut self.clients {
            client.watch(self.stdin.accepts())?;
        }
        Ok(())
    }
}

impl Source {
    /// Gives a busy container a longer pipe. Only then: the sizes of all pipes of a user are limited together.
    fn enlarge(&mut self, waiting: u64) {
        if !self.enlarged && waiting >= 32 * 1024 {
            self.enlarged = true;
            let _ = rustix::pipe::fcntl_setpipe_size(self.watch.fd(), BURST);
        }
    }
}

fn taken(result: Result<Taken>) -> Step {
    match result {
        Ok(Taken::Bytes(taken)) => Step::Moved(taken),
        Ok(Taken::Empty) => Step::Empty,
        Ok(Taken::Ended) | Err(_) => Step::Ended,
    }
}
