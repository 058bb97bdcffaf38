//! The attach protocol between a client (the CLI) and a container's monitor.
//!
//! A `SOCK_SEQPACKET` Unix socket carries small messages, each one packet: a kind byte, then fixed fields in little
//! endian. The bytes of the streams never travel here but through pipes whose ends the client passes with its
//! [`Hello`] (`SCM_RIGHTS`); end of file on the stdin pipe means that the client's input has ended. The foreground
//! client has one end of a socket pair ([`pair`]); later ones connect to `containers/<id>/attach` ([`connect`]).
//!
//! A client that is gone shows as end of file on its socket, and nobody waits for it. The monitor sends
//! [`Report::Exited`] after everything that the container wrote is in the client's pipes.

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{Stream, WindowSize};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::packet;

/// The socket's name in the container's directory.
const SOCKET: &str = "attach";
/// The longest packet: a [`Report::Failed`] with its message.
const MAX_PACKET: usize = 16 * 1024;
/// Packets from clients are this short.
const MAX_REQUEST: usize = 64;

/// What a client says first: which streams it takes, and where.
///
/// The descriptors are open file descriptions of the client's own making, in non-blocking mode (the monitor refuses
/// others): pipes, or the user's own pipe opened anew.
#[derive(Debug, Default)]
pub struct Hello {
    /// Read end from which the monitor feeds the container's stdin.
    pub stdin: Option<OwnedFd>,
    /// Write end that gets the container's stdout (or its terminal).
    pub stdout: Option<OwnedFd>,
    /// Write end that gets the container's stderr.
    pub stderr: Option<OwnedFd>,
    /// Size of the client's terminal, for a container that has one.
    pub window: Option<WindowSize>,
    /// Whether the client stays to hear [`Report::Exited`]. One that does not is done with [`Report::Started`].
    pub wants_exit: bool,
}

/// A message from a client to the monitor.
#[derive(Debug)]
pub enum Request {
    /// The first message, and only the first.
    Hello(Hello),
    /// The client's terminal has a new size.
    Resize(WindowSize),
    /// Send this signal to the container's process.
    Signal(i32),
    /// The client leaves on purpose: the container's stdin stays open. Answered with [`Report::Detached`].
    Detach,
}

/// A message from the monitor to a client.
#[derive(Debug)]
pub enum Report {
    /// The container's process is running.
    Started,
    /// It could not be started.
    Failed {
        /// Why.
        error: Error,
        /// Exit code for the client: 125 (engine), 126 (cannot be executed), 127 (not found).
        code: u8,
    },
    /// The container's process has ended with this code, and all its output has been delivered.
    Exited(u8),
    /// Answer to [`Request::Detach`].
    Detached,
    /// Nobody reads the client's pipe for this stream any more (EPIPE); the container runs on.
    OutputClosed(Stream),
}

/// A connected pair: the client's end, the monitor's end. Both close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(packet::pair()?)
}

/// The socket's address through a directory descriptor: a Unix address holds 108 bytes, a store's path may be longer.
fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))?)
}

fn socket() -> Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Listens on `attach` in the container's directory, replacing one that an earlier monitor left. Non-blocking. Who may
/// connect is decided by the directory's mode (0700). The caller holds the container's lock.
pub fn listen(dir: impl AsFd) -> Result<OwnedFd> {
    let dir = dir.as_fd();
    match rustix::fs::unlinkat(dir, SOCKET, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(Error::from(errno).context("remove the old attach socket")),
    }
    let socket = socket()?;
    net::bind(&socket, &address(dir)?).context(|| "bind the attach socket")?;
    net::listen(&socket, 64).context(|| "listen on the attach socket")?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// The next waiting client of a listening socket; `None` when there is none (or it has left again).
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(client) => Ok(Some(client)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects to the monitor of the container whose directory this is. [`ErrorKind::Conflict`] when none is listening:
/// the container is not running.
pub fn connect(dir: impl AsFd) -> Result<OwnedFd> {
    use rustix::io::Errno;
    let socket = socket()?;
    match net::connect(&socket, &address(dir.as_fd())?) {
        Ok(()) => Ok(socket),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Err(Error::new(ErrorKind::Conflict, "container is not running")),
        Err(errno) => Err(Error::from(errno).context("connect to the container's monitor")),
    }
}

mod kind {
    pub const HELLO: u8 = 1;
    pub const RESIZE: u8 = 2;
    pub const SIGNAL: u8 = 3;
    pub const DETACH: u8 = 4;
    pub const STARTED: u8 = 16;
    pub const FAILED: u8 = 17;
    pub const EXITED: u8 = 18;
    pub const DETACHED: u8 = 19;
    pub const OUTPUT_CLOSED: u8 = 20;
}

const HAS_STDIN: u8 = 1;
const HAS_STDOUT: u8 = 2;
const HAS_STDERR: u8 = 4;
const HAS_WINDOW: u8 = 8;
const WANTS_EXIT: u8 = 16;

fn malformed() -> Error {
    Error::new(ErrorKind::Invalid, "malformed attach message")
}

fn size_bytes(kind: u8, flags: u8, size: WindowSize) -> [u8; 6] {
    let [r0, r1] = size.rows.to_le_bytes();
    let [c0, c1] = size.cols.to_le_bytes();
    [kind, flags, r0, r1, c0, c1]
}

/// Sends a message to the monitor. Never blocks for long: a full socket of a monitor that does not read is an error.
pub fn send_request(socket: impl AsFd, request: &Request) -> Result<()> {
    match request {
        Request::Hello(hello) => send_hello(socket.as_fd(), hello),
        Request::Resize(size) => send(socket.as_fd(), &size_bytes(kind::RESIZE, 0, *size), &[]),
        Request::Signal(signal) => {
            let [a, b, c, d] = signal.to_le_bytes();
            send(socket.as_fd(), &[kind::SIGNAL, a, b, c, d], &[])
        }
        Request::Detach => send(socket.as_fd(), &[kind::DETACH], &[]),
    }
}

fn send_hello(socket: BorrowedFd<'_>, hello: &Hello) -> Result<()> {
    let mut fds = Vec::with_capacity(3);
    let mut flags = 0;
    for (fd, flag) in [(&hello.stdin, HAS_STDIN), (&hello.stdout, HAS_STDOUT), (&hello.stderr, HAS_STDERR)] {
        if let Some(fd) = fd {
            fds.push(fd.as_fd());
            flags |= flag;
        }
    }
    if hello.window.is_some() {
        flags |= HAS_WINDOW;
    }
    if hello.wants_exit {
        flags |= WANTS_EXIT;
    }
    let size = hello.window.unwrap_or(WindowSize { rows: 0, cols: 0 });
    send(socket, &size_bytes(kind::HELLO, flags, size), &fds)
}

/// The next message from a client. `Ok(None)` when the client is gone. A malformed one is [`ErrorKind::Invalid`].
/// Does not block: [`Error::errno`] is `EAGAIN` when there is none yet.
pub fn receive_request(socket: impl AsFd) -> Result<Option<Request>> {
    let mut packet = [0; MAX_REQUEST];
    let (length, fds) = receive(socket.as_fd(), &mut packet, RecvFlags::DONTWAIT)?;
    match packet.get(..length) {
        Some([]) => Ok(None),
        Some(packet) => decode_request(packet, fds).map(Some),
        None => Err(malformed()),
    }
}

/// Waits for a client's [`Hello`]: how the monitor learns the window size before it starts the container. `Ok(None)`
/// when the client is gone.
pub fn receive_hello(socket: impl AsFd) -> Result<Option<Hello>> {
    let mut packet = [0; MAX_REQUEST];
    let (length, fds) = receive(socket.as_fd(), &mut packet, RecvFlags::empty())?;
    match packet.get(..length) {
        Some([]) => Ok(None),
        Some(packet) => match decode_request(packet, fds)? {
            Request::Hello(hello) => Ok(Some(hello)),
            _ => Err(malformed()),
        },
        None => Err(malformed()),
    }
}

fn decode_request(packet: &[u8], fds: Vec<OwnedFd>) -> Result<Request> {
    match *packet {
        [kind::HELLO, flags, r0, r1, c0, c1] => decode_hello(flags, u16s(r0, r1, c0, c1), fds),
        [kind::RESIZE, _, r0, r1, c0, c1] => Ok(Request::Resize(u16s(r0, r1, c0, c1))),
        [kind::SIGNAL, a, b, c, d] => Ok(Request::Signal(i32::from_le_bytes([a, b, c, d]))),
        [kind::DETACH] => Ok(Request::Detach),
        _ => Err(malformed()),
    }
}

fn u16s(r0: u8, r1: u8, c0: u8, c1: u8) -> WindowSize {
    WindowSize { rows: u16::from_le_bytes([r0, r1]), cols: u16::from_le_bytes([c0, c1]) }
}

fn decode_hello(flags: u8, size: WindowSize, fds: Vec<OwnedFd>) -> Result<Request> {
    let mut fds = fds.into_iter();
    let mut take = |flag| if flags & flag == 0 { Ok(None) } else { fds.next().map(Some).ok_or_else(malformed) };
    let hello = Hello {
        stdin: take(HAS_STDIN)?,
        stdout: take(HAS_STDOUT)?,
        stderr: take(HAS_STDERR)?,
        window: (flags & HAS_WINDOW != 0).then_some(size),
        wants_exit: flags & WANTS_EXIT != 0,
    };
    Ok(Request::Hello(hello))
}

/// Sends a message to a client. Does not block; a client whose socket is full or gone is an error, and is dropped.
pub fn send_report(socket: impl AsFd, report: &Report) -> Result<()> {
    let socket = socket.as_fd();
    match report {
        Report::Started => send(socket, &[kind::STARTED], &[]),
        Report::Failed { error, code } => {
            let mut packet = vec![kind::FAILED, *code];
            packet.extend(encode_error(error));
            send(socket, &packet, &[])
        }
        Report::Exited(code) => send(socket, &[kind::EXITED, *code], &[]),
        Report::Detached => send(socket, &[kind::DETACHED], &[]),
        Report::OutputClosed(stream) => send(socket, &[kind::OUTPUT_CLOSED, stream.index() as u8], &[]),
    }
}

/// JSON of [`Error::to_parts`]; a message too long for a packet is cut, not lost.
fn encode_error(error: &Error) -> Vec<u8> {
    match serde_json::to_vec(&error.to_parts()) {
        Ok(json) if json.len() + 2 <= MAX_PACKET => json,
        _ => {
            let short: String = error.to_string().chars().take(1000).collect();
            serde_json::to_vec(&Error::new(error.kind(), short).to_parts()).unwrap_or_default()
        }
    }
}

/// Waits for the next message from the monitor. `Ok(None)` when the monitor is gone.
pub fn receive_report(socket: impl AsFd) -> Result<Option<Report>> {
    use rustix::io::Errno;
    let mut packet = vec![0; MAX_PACKET];
    loop {
        return match receive(socket.as_fd(), &mut packet, RecvFlags::empty()) {
            Ok((length, _)) => match packet.get(..length) {
                Some([]) => Ok(None),
                Some(packet) => decode_report(packet).map(Some),
                None => Err(malformed()),
            },
            // The monitor closed with a message of ours unread; what it sent before comes next.
            Err(error) if error.errno() == Some(Errno::CONNRESET.raw_os_error()) => continue,
            Err(error) => Err(error),
        };
    }
}

fn decode_report(packet: &[u8]) -> Result<Report> {
    match *packet {
        [kind::STARTED] => Ok(Report::Started),
        [kind::FAILED, code, ref json @ ..] => {
            let parts = serde_json::from_slice(json).map_err(|_| malformed())?;
            Ok(Report::Failed { error: Error::from_parts(parts), code })
        }
        [kind::EXITED, code] => Ok(Report::Exited(code)),
        [kind::DETACHED] => Ok(Report::Detached),
        [kind::OUTPUT_CLOSED, 0] => Ok(Report::OutputClosed(Stream::Stdout)),
        [kind::OUTPUT_CLOSED, 1] => Ok(Report::OutputClosed(Stream::Stderr)),
        _ => Err(malformed()),
    }
}

fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    Ok(packet::send(socket, packet, fds, SendFlags::DONTWAIT)?)
}

fn receive(socket: BorrowedFd<'_>, packet: &mut [u8], flags: RecvFlags) -> Result<(usize, Vec<OwnedFd>)> {
    packet::receive(socket, packet, flags).map_err(|errno| match errno {
        rustix::io::Errno::MSGSIZE => malformed(),
        errno => errno.into(),
    })
}
