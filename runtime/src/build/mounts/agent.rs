//! The user's SSH agent in a step: a socket of the build's own, behind which a process asks the agent.
//!
//! A process, because the socket belongs to the step's user, whom an agent need not trust, and because a step gets no more
//! than it needs: it may ask for the public keys and have something signed, and neither add, remove nor lock keys. The
//! protocol: draft-miller-ssh-agent.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::error::{Context, Result};
use crate::file;
use crate::sys;
use crate::sys::process::{Fork, exit_now, fork_into};

/// The socket's name in its directory.
pub const SOCKET: &str = "agent";

/// `SSH_AGENTC_REQUEST_IDENTITIES`, `SSH_AGENTC_SIGN_REQUEST`.
const ALLOWED: [u8; 2] = [11, 13];
/// `SSH_AGENT_FAILURE`.
const FAILURE: &[u8] = &[5];
/// The longest message that OpenSSH's agent takes.
const LONGEST: usize = 256 << 10;
/// Connections at once.
const MOST: usize = 64;

/// A process that serves a socket. It ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    pid: Pid,
    end: Option<OwnedFd>,
}

impl Relay {
    /// Serves [`SOCKET`] in a directory, for the agent that listens at a path of the host. The caller has one thread.
    pub fn start(agent: &Path, directory: &Path) -> Result<Self> {
        let directory = file::open_dir(directory)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // A socket's address is short, a path need not be.
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))?;
        rustix::net::bind(&socket, &address).context(|| "make a socket for the SSH agent")?;
        rustix::net::listen(&socket, 16)?;
        let (waiting, end) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        match fork_into(0).context(|| "start the SSH agent's relay")? {
            Fork::Parent { pid, .. } => Ok(Self { pid, end: Some(end) }),
            Fork::Child => {
                drop(end);
                serve(socket.into(), &waiting, agent)
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end = None;
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// The child's whole life.
fn serve(listener: UnixListener, end: &OwnedFd, agent: &Path) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // Ctrl-C at the terminal is for the CLI.
    let _ = rustix::process::setsid();
    let _ = sys::fd::close_all_but(&[listener.as_raw_fd(), end.as_raw_fd()]);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut waited = [PollFd::new(&listener, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut waited, None));
        if polled.is_err() || !waited[1].revents().is_empty() {
            exit_now(0);
        }
        let Ok((client, _)) = listener.accept() else { continue };
        if open.fetch_add(1, Ordering::Relaxed) >= MOST {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (agent, counted) = (agent.to_owned(), Arc::clone(&open));
        let spawned = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            // A connection that breaks is the client's to make again.
            let _ = UnixStream::connect(agent).and_then(|agent| relay(client, agent));
            counted.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Passes on what is allowed, until one side ends.
fn relay(mut client: impl Read + Write, mut agent: impl Read + Write) -> std::io::Result<()> {
    while let Some(request) = receive(&mut client)? {
        if request.first().is_some_and(|kind| ALLOWED.contains(kind)) {
            send(&mut agent, &request)?;
            let Some(answer) = receive(&mut agent)? else { return Ok(()) };
            send(&mut client, &answer)?;
        } else {
            send(&mut client, FAILURE)?;
        }
    }
    Ok(())
}

/// A message without its length; `None` at the end.
fn receive(from: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(to: &mut impl Write, message: &[u8]) -> std::io::Result<()> {
    let mut frame = (message.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    to.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(requests: &[&[u8]], mut answers: impl FnMut(&[u8]) -> Vec<u8> + Send) -> Vec<Vec<u8>> {
        let (mut user, client) = UnixStream::pair().expect("sockets");
        let (agent, mut other) = UnixStream::pair().expect("sockets");
        std::thread::scope(|scope| {
            scope.spawn(move || relay(client, agent));
            scope.spawn(move || {
                while let Ok(Some(request)) = receive(&mut other) {
                    send(&mut other, &answers(&request)).expect("it is sent");
                }
            });
            let answers = requests.iter().map(|request| {
                send(&mut user, request).expect("it is sent");
                receive(&mut user).expect("it is read").expect("there is one")
            });
            let answers = answers.collect();
            drop(user);
            answers
        })
    }

    #[test]
    fn only_asking_and_signing_reach_the_agent() {
        let mut reached = Vec::new();
        let requests: [&[u8]; 6] = [&[11], &[13, 1, 2], &[17, 9], &[19], &[22, 0], &[]];
        let answers = asked(&requests, |request| {
            reached.push(request.to_vec());
            vec![12, request[0]]
        });
        assert_eq!(answers, [vec![12, 11], vec![12, 13], vec![5], vec![5], vec![5], vec![5]]);
        assert_eq!(reached, [vec![11], vec![13, 1, 2]]);
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_end_in_an_answer_or_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut left = bytes.as_slice();
            while let Ok(Some(message)) = receive(&mut left) {
                assert!(message.len() <= LONGEST);
            }
        }
    }
}
