//! What a monitor is told, in packets on the socket that it was started with: the namespaces of init, then the container
//! that is its own.
//!
//! The CLI makes a monitor's process before it knows the container, since mapping the process's ids takes a while, and
//! sends the orders when everything is in place. A socket closed without any ends the process.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::paths::Root;
use crate::stdio::log::LogOptions;
use crate::sys::packet;

/// What the monitor needs to know; the plan is init's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Config {
    /// The container's id.
    pub id: String,
    /// The store's path.
    pub root: PathBuf,
    /// The build whose step it is: it ends with its first client, and nothing of it need outlive a power cut.
    pub build: Option<String>,
    /// Whether it has a terminal; else pipes.
    pub tty: bool,
    /// Whether its stdin is open.
    pub stdin: bool,
    /// Whether stdin ends with the client that feeds it.
    pub stdin_once: bool,
    /// The log's limits; `None` keeps no log.
    pub log: Option<LogOptions>,
    /// Remove the container when it has ended.
    pub auto_remove: bool,
    /// The network helper to start.
    pub pasta: Option<PastaProgram>,
}

/// The network helper.
#[derive(Debug, Serialize, Deserialize)]
pub struct PastaProgram {
    /// Its path on the host.
    pub path: PathBuf,
    /// Whether it answers DNS in the container by the host's resolver.
    pub dns_forward: bool,
}

/// The descriptors that make a process the monitor of a container.
#[derive(Debug)]
pub struct Orders {
    /// [`Config`] as JSON.
    pub config: OwnedFd,
    /// The plan, which only init reads.
    pub plan: OwnedFd,
    /// The store's directory.
    pub store: OwnedFd,
    /// The container's directory.
    pub container: OwnedFd,
    /// The container's lock, held by this open file description.
    pub lock: OwnedFd,
    /// The monitor's end of the first client's socket.
    pub client: OwnedFd,
    /// The queue of what the container reads ([`crate::sandbox::reads`]), where somebody asks for that.
    pub reads: Option<OwnedFd>,
}

/// The two ends of the socket for the orders: the CLI's, the monitor's.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    packet::pair().context(|| "make a socket pair")
}

/// Sends what [`receive_namespaces`] gets: bits of [`crate::sys::process::namespace`].
pub fn send_namespaces(socket: BorrowedFd<'_>, namespaces: u64) -> Result<()> {
    match packet::send(socket, &namespaces.to_le_bytes(), &[], SendFlags::empty()) {
        // The process is gone: why, its maps tell.
        Err(Errno::PIPE) => Ok(()),
        sent => sent.context(|| "tell the monitor"),
    }
}

/// The new namespaces that init is to have; `None` when there will be no container.
pub fn receive_namespaces(socket: BorrowedFd<'_>) -> Result<Option<u64>> {
    let mut bits = [0u8; size_of::<u64>()];
    let (length, _) = packet::receive(socket, &mut bits, RecvFlags::empty())?;
    Ok((length == bits.len()).then(|| u64::from_le_bytes(bits)))
}

impl Config {
    /// The store.
    pub fn store(&self) -> Root {
        let root = Root::new(&self.root);
        self.build.iter().fold(root, |root, build| root.of_build(build))
    }
}

impl Orders {
    /// Sends them. The monitor has them all, or is gone.
    pub fn send(&self, socket: BorrowedFd<'_>) -> Result<()> {
        let all = [&self.config, &self.plan, &self.store, &self.container, &self.lock, &self.client];
        let fds: Vec<_> = all.into_iter().chain(&self.reads).map(AsFd::as_fd).collect();
        packet::send(socket, &[fds.len() as u8], &fds, SendFlags::empty()).context(|| "tell the monitor its container")
    }

    /// Waits for them; `None` when there will be none.
    pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<Self>> {
        let (length, mut fds) = packet::receive(socket, &mut [0u8; 1], RecvFlags::empty())?;
        if length == 0 {
            return Ok(None);
        }
        let reads = (fds.len() == packet::MOST_DESCRIPTORS).then(|| fds.pop()).flatten();
        let [config, plan, store, container, lock, client] =
            <[OwnedFd; packet::MOST_DESCRIPTORS - 1]>::try_from(fds)
                .map_err(|_| Error::new(ErrorKind::Io, "the monitor was told an incomplete container"))?;
        Ok(Some(Self { config, plan, store, container, lock, client, reads }))
    }
}

/// Reads [`Orders::config`].
pub fn read_config(config: OwnedFd) -> Result<Config> {
    let mut bytes = Vec::new();
    std::fs::File::from(config).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(ErrorKind::Io, format!("the monitor's configuration is damaged: {e}")))
}
