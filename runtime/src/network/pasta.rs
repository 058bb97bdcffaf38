//! pasta connects a container's network namespace with the host's network; `pasta(1)`.
//!
//! Run by the container's monitor, as uid 0 of the container's user namespace, in the host's mount and network
//! namespaces. The network namespace has to belong to that user namespace. pasta stays a child of the monitor, so it
//! dies with the monitor's PID namespace.
//!
//! How it is started was tried with pasta of 2023-03 and 2025-05, in all three id mappings:
//! - The namespace is its standard input, as `/proc/self/fd/0`. By process id or path it cannot open it: it gives up
//!   `CAP_SYS_PTRACE` first, and the kernel then refuses `/proc/<pid>/ns` of a process with more capabilities. Newer
//!   ones close every inherited descriptor above 2.
//! - `--runas 0`: under an identity mapping it would take itself for the host's root, become `nobody`, and fail.
//! - `-f` with the process id file on standard output: a line there means that the interface is up, end of file that
//!   pasta is gone, and the process id is the one that was started.
//! - `--no-netns-quit`: its watch on the namespace's path would be one on a descriptor directory.

use super::uplink;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::detect::{Note, TOOL_ENV};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, OFlags, access, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The address in a container that pasta forwards to the host's resolver, where that is one only the host can reach.
pub const DNS_FORWARD: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// pasta takes 15 to 30 ms; a machine under heavy load may need long.
const READY_SECONDS: i64 = 60;

const TUN: &str = "/dev/net/tun";
const WITHOUT: &str = "--network host and --network none do without pasta";

/// What differs between containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastaOptions {
    /// Forward [`DNS_FORWARD`], port 53, to the host's first resolver.
    pub dns_forward: bool,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The namespace has its interface, addresses and routes.
    Up,
    /// The host has no default route, and this (older) pasta does nothing then: the namespace has its loopback only.
    Offline,
}

/// A running pasta. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Pasta {
    child: Child,
    report: OwnedFd,
    messages: OwnedFd,
}

fn arguments(options: PastaOptions) -> Vec<String> {
    // Nothing of the host's loopback from inside (-T -U, --no-map-gw), no ports of the container outside (-t -u). The
    // addresses are set up by --config-net, so no service that hands them out.
    let fixed = "-f -q --config-net --no-map-gw -t none -u none -T none -U none --no-dhcp --no-dhcpv6 --no-ra \
                 --runas 0 --no-netns-quit --netns /proc/self/fd/0 -P /proc/self/fd/1";
    let mut arguments: Vec<String> = fixed.split_ascii_whitespace().map(str::to_owned).collect();
    if options.dns_forward {
        arguments.extend(["--dns-forward".to_owned(), DNS_FORWARD.to_string()]);
    }
    arguments
}

impl Pasta {
    /// Starts `program` (from [`super::available`]) for this network namespace, without waiting.
    pub fn start(program: &Path, netns: BorrowedFd<'_>, options: PastaOptions) -> Result<Self> {
        // Nobody reads the messages of a running pasta: they must neither block nor kill it, so the pipe stays open
        // and takes what fits.
        let pipe = || -> Result<_> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            fcntl_setfl(&read, OFlags::NONBLOCK)?;
            Ok((read, write))
        };
        let (report, report_end) = pipe().context(|| "make a pipe for pasta")?;
        let (messages, messages_end) = pipe().context(|| "make a pipe for pasta")?;
        fcntl_setfl(&messages_end, OFlags::NONBLOCK).context(|| "make a pipe for pasta")?;
        let netns = netns.try_clone_to_owned().context(|| "duplicate a network namespace's descriptor")?;
        let child = Command::new(program)
            .args(arguments(options))
            .env_clear()
            .envs(TOOL_ENV)
            .stdin(Stdio::from(netns))
            .stdout(Stdio::from(report_end))
            .stderr(Stdio::from(messages_end))
            .spawn()
            .context(|| format!("run {}", program.display()))?;
        Ok(Self { child, report, messages })
    }

    /// The process id, in the caller's PID namespace.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(-1)
    }

    /// Waits until the namespace is connected: at once if [`Pasta::as_fd`] polls readable. To be called once. On failure
    /// pasta has ended or is killed, and is reaped here; a caller that reaps every child does that afterwards only.
    pub fn ready(&mut self) -> Result<Readiness> {
        let failure = match self.wait_for_report() {
            Ok(true) => return Ok(Readiness::Up),
            Ok(false) => explain(&self.messages(), tun_obstacle()),
            Err(error) => Some(error),
        };
        // The caller may have reaped it already, as PID 1 does: nothing to be done about errors here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        match failure {
            None => Ok(Readiness::Offline),
            Some(error) => Err(error.context("connect the container's network")),
        }
    }

    /// True: up. False: pasta has closed its end, so it is gone.
    fn wait_for_report(&self) -> Result<bool> {
        let mut buffer = [0u8; 256];
        loop {
            match rustix::io::read(&self.report, &mut buffer) {
                Ok(0) => return Ok(false),
                // The one thing that goes there is the process id, and a short write to a pipe is whole.
                Ok(count) if buffer.iter().take(count).any(u8::is_ascii_digit) => return Ok(true),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(Error::from(error).context("read from pasta")),
            }
            let mut fds = [PollFd::new(&self.report, PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec { tv_sec: READY_SECONDS, tv_nsec: 0 })) {
                Ok(0) => {
                    let message = format!("pasta was not ready after {READY_SECONDS} seconds");
                    return Err(Error::new(ErrorKind::Io, message).hint(WITHOUT));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::from(error).context("wait for pasta")),
            }
        }
    }

    /// What pasta has said on standard error and nobody has read yet.
    pub fn messages(&self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = rustix::io::read(&self.messages, &mut buffer) {
            text.extend(buffer.iter().take(count));
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends pasta: the namespace loses its connections and its interface.
    pub fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For `poll` and `epoll`: readable means that [`Pasta::ready`] does not block; after that, a hang-up means that pasta
/// has ended.
impl AsFd for Pasta {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// What stands in the way of the tap device that pasta needs, if anything does.
pub fn tun_obstacle() -> Option<Note> {
    let (why, how) = match access(TUN, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => return None,
        Err(Errno::NOENT) => (
            format!("{TUN} does not exist"),
            "as root: modprobe tun (and tun in a file of /etc/modules-load.d); in a container: give it the device",
        ),
        Err(Errno::ACCESS | Errno::PERM) => (
            format!("{TUN} may not be opened by this user"),
            "as root: chmod 0666 /dev/net/tun, and a udev rule to keep it (KERNEL==\"tun\", MODE=\"0666\")",
        ),
        Err(error) => (format!("{TUN}: {}", Error::from(error)), "see lrun info"),
    };
    Some(Note::new("private networks", why, how))
}

/// Why pasta ended; nothing where it only found the host without a route to anywhere.
fn explain(messages: &str, tun: Option<Note>) -> Option<Error> {
    let said: Vec<&str> = messages
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains("bytes to syslog") && !line.contains("AVX2"))
        .collect();
    let about = |words: &[&str]| said.iter().any(|line| words.iter().any(|word| line.contains(word)));
    if about(&["External interface not usable", "No external routable interface"])
        && !about(&["ailed", "ouldn't"])
        && uplink::address().is_none()
    {
        return None;
    }
    let said_text = if said.is_empty() { "it said nothing".to_owned() } else { said.join("; ") };
    if about(&["tun", "tap device"])
        && let Some(note) = tun
    {
        let message = format!("pasta failed: {} ({said_text})", note.why);
        return Some(Error::new(ErrorKind::Unsupported, message).hint(format!("{}; {WITHOUT}", note.how)));
    }
    let hint = if about(&["namespace", "ermission denied", "not permitted"]) || said.is_empty() {
        format!(
            "a security module (AppArmor, SELinux) may confine pasta: its log is in dmesg or journalctl -k; {WITHOUT}"
        )
    } else {
        WITHOUT.to_owned()
    };
    Some(Error::new(ErrorKind::Unsupported, format!("pasta failed: {said_text}")).hint(hint))
}

#[cfg(test)]
mod tests;
