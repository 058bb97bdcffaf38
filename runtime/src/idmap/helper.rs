//! The storage helper: a child in which files that belong to mapped ids are unpacked, packed, copied and deleted.
//!
//! The child is uid 0 of a user namespace with the store's mapping. It is pivoted into the one directory that it works
//! on, in its own mount namespace with no other mount, its own network namespace with nothing in it, and may not execute
//! anything: a hostile archive has nothing to reach. It may use threads. It reports progress and one result through a
//! pipe, and dies with its parent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::IdMap;
use super::enter::{Forked, fork_mapped, reopen_directory};
use super::userns::CONFINED;
use crate::error::{Context, Error, ErrorKind, ErrorParts, Result};
use crate::sys;
use crate::sys::process::{exit_now, namespace};

/// What the work inside the helper has at hand.
#[derive(Debug)]
pub struct Work {
    /// The directory that it sees as `/`.
    pub root: OwnedFd,
    report: OwnedFd,
}

impl Work {
    /// Tells the parent how far the work is, in the unit that its caller chose. Best effort.
    pub fn report(&self, done: u64) {
        let mut frame = [b'P'; 9];
        frame[1..].copy_from_slice(&done.to_le_bytes());
        let _ = rustix::io::write(&self.report, &frame);
    }

    /// Gives the parent a part of the result before the work ends; see [`Helper::answer`].
    pub fn answer<A: Serialize>(&self, answer: &A) -> Result<()> {
        let bytes = serde_json::to_vec(answer).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        let mut frame = Vec::with_capacity(bytes.len() + 9);
        frame.push(b'A');
        frame.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        frame.extend_from_slice(&bytes);
        std::fs::File::from(self.report.try_clone()?).write_all(&frame).context(|| "report to the parent")
    }

    /// Closes everything that the helper was forked with, but these; what the work captured and is not among them must
    /// not be used any more.
    pub fn keep_only(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let own = [self.root.as_raw_fd(), self.report.as_raw_fd()];
        let kept: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).chain(own).collect();
        sys::fd::close_all_but(&kept).context(|| "close descriptors")
    }
}

/// Namespaces of the helper's own, beside that for users.
pub const NAMESPACES: u64 = namespace::MOUNT | namespace::PID | namespace::NET | namespace::IPC | namespace::UTS;

/// Runs `work` in a storage helper pivoted into `dir`, and returns what it returned.
///
/// The caller has one thread. `progress` is called in this process with what the work reports. Descriptors that `work`
/// captures are usable in the child.
pub fn run<T, F>(map: &IdMap, dir: BorrowedFd<'_>, progress: &mut dyn FnMut(u64), work: F) -> Result<T>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&Work) -> Result<T>,
{
    start(|| fork_mapped(map, NAMESPACES), || confine(dir), work)?.finish(progress)
}

/// Starts `work` in a storage helper pivoted into `dir`. The caller has one thread now, and may have more before
/// [`Helper::finish`]. Of all descriptors the helper keeps those in `keep`: not what other helpers wait for the end of, not
/// connections.
pub fn start_in<T, F>(map: &IdMap, dir: BorrowedFd<'_>, keep: &[BorrowedFd<'_>], work: F) -> Result<Helper<T>>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&Work) -> Result<T>,
{
    let work = |at: &Work| at.keep_only(keep).and_then(|()| work(at));
    start(|| fork_mapped(map, NAMESPACES), || confine(dir), work)
}

/// A helper at work.
#[derive(Debug)]
pub struct Helper<T> {
    pid: rustix::process::Pid,
    results: std::fs::File,
    answer: PhantomData<fn() -> T>,
}

/// Starts a helper, so that the caller can serve it meanwhile. `fork` makes its process; in it, `enter` makes `/` what the
/// work is about; then nothing can be executed or mounted any more, and `work` runs. The caller has one thread.
pub fn start<T, F>(
    fork: impl FnOnce() -> Result<Forked>,
    enter: impl FnOnce() -> Result<()>,
    work: F,
) -> Result<Helper<T>>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&Work) -> Result<T>,
{
    let (results, report) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    match fork().context(|| "start the storage helper")? {
        Forked::Child => {
            drop(results);
            child(enter, report, work)
        }
        Forked::Parent { pid, pidfd: _pidfd } => {
            drop(report);
            Ok(Helper { pid, results: std::fs::File::from(results), answer: PhantomData })
        }
    }
}

impl<T: DeserializeOwned> Helper<T> {
    /// The next thing that the work gave by [`Work::answer`]; the work's own error when it ended instead.
    pub fn answer<A: DeserializeOwned>(&mut self) -> Result<A> {
        match receive(&mut self.results, &mut |_| {})? {
            Some(Frame::Answer(bytes)) => serde_json::from_slice(&bytes).map_err(|error| damaged(&error)),
            Some(Frame::Result(bytes)) => match decode::<T>(&bytes) {
                Ok(_) => Err(Error::new(ErrorKind::Io, "the storage helper ended early")),
                Err(error) => Err(error),
            },
            None => Err(Error::new(ErrorKind::Io, "the storage helper died")),
        }
    }

    /// Ends the helper: nobody needs what it finds.
    pub fn give_up(self) {
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
    }

    /// Waits for the helper's end, and returns what its work returned.
    pub fn finish(mut self, progress: &mut dyn FnMut(u64)) -> Result<T> {
        let outcome = loop {
            match receive(&mut self.results, progress) {
                Ok(Some(Frame::Answer(_))) => {}
                Ok(Some(Frame::Result(bytes))) => break Ok(Some(bytes)),
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        let status = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        outcome.and_then(|bytes| match bytes {
            Some(bytes) => decode(&bytes),
            None => Err(Error::new(ErrorKind::Io, format!("the storage helper died ({})", how(status)))),
        })
    }
}

fn how(status: rustix::io::Result<Option<(rustix::process::Pid, rustix::process::WaitStatus)>>) -> String {
    match status {
        Ok(Some((_, status))) => match status.terminating_signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("code {}", status.exit_status().unwrap_or(-1)),
        },
        _ => "status unknown".to_owned(),
    }
}

/// The child's whole life; never returns into the code of the parent that it is a copy of.
fn child<T: Serialize>(
    enter: impl FnOnce() -> Result<()>,
    report: OwnedFd,
    work: impl FnOnce(&Work) -> Result<T>,
) -> ! {
    let outcome = enter().and_then(|()| ready());
    let (outcome, report) = match outcome {
        Ok(root) => {
            let at = Work { root, report };
            (work(&at), at.report)
        }
        Err(error) => (Err(error), report),
    };
    let outcome = outcome.map_err(|error| error.to_parts());
    let mut frame = vec![b'R'];
    let encoded = match &outcome {
        Ok(value) => serde_json::to_writer(&mut frame, &Ok::<_, ErrorParts>(value)),
        Err(parts) => serde_json::to_writer(&mut frame, &Err::<T, _>(parts)),
    };
    let sent = encoded.is_ok() && std::fs::File::from(report).write_all(&frame).is_ok();
    exit_now(if sent && outcome.is_ok() { 0 } else { 1 })
}

/// Takes from the child what its work never needs; its root.
fn ready() -> Result<OwnedFd> {
    rustix::process::umask(rustix::fs::Mode::empty());
    raise_descriptor_limit();
    seccompiler::apply_filter(&no_exec_filter()?)
        .map_err(|error| Error::new(ErrorKind::Unsupported, format!("load the helper's filter: {error}")))?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, rustix::fs::Mode::empty())?)
}

/// Leaves everything but `dir`: afterwards `/` is that directory and no other mount exists. A directory that was removed
/// is an error of that kind, also when it was meanwhile.
fn confine(dir: BorrowedFd<'_>) -> Result<()> {
    confine_to(dir).map_err(|error| match rustix::fs::fstat(dir) {
        // The mount goes with the directory that it is on, and all that follows fails in some way.
        Ok(found) if found.st_nlink == 0 => Error::from(Errno::NOENT).context("enter the work directory"),
        _ => error,
    })
}

fn confine_to(dir: BorrowedFd<'_>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context(|| "tie to the parent")?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .context(|| "make mounts private")?;
    let dir = reopen_directory(dir)?;
    let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(&dir, "", tree).context(|| "clone the work directory's mount")?;
    let over = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount.as_fd(), "", &dir, "", over).context(|| "mount the work directory")?;
    rustix::process::fchdir(&mount).context(|| "enter the work directory")?;
    rustix::process::pivot_root(".", ".").context(|| "pivot into the work directory").hint(|| CONFINED)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context(|| "leave the host's mounts")?;
    rustix::process::chdir("/").context(|| "enter the work directory")
}

/// A stack of hundreds of layers is looked at side by side, with a descriptor each.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    // With the lower limit only deep stacks fail, and say so.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

/// Refuses (EPERM) what storage work never needs: executing, sockets, namespaces, tracing, keys.
fn no_exec_filter() -> Result<BpfProgram> {
    let refused = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_socket,
        libc::SYS_ptrace,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
    ];
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = refused.iter().map(|nr| (*nr, Vec::new())).collect();
    let internal = |error: seccompiler::BackendError| Error::new(ErrorKind::Unsupported, error.to_string());
    let arch = std::env::consts::ARCH.try_into().map_err(internal)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch)
        .and_then(BpfProgram::try_from)
        .map_err(internal)
}

/// What a child says.
enum Frame {
    /// A part of the result.
    Answer(Vec<u8>),
    /// All of it.
    Result(Vec<u8>),
}

/// Reads the child's next frame, passing on its progress; `None` when the child died without a result.
fn receive(results: &mut std::fs::File, progress: &mut dyn FnMut(u64)) -> Result<Option<Frame>> {
    let mut kind = [0u8; 1];
    loop {
        if results.read(&mut kind)? == 0 {
            return Ok(None);
        }
        if kind[0] == b'R' {
            let mut bytes = Vec::new();
            results.read_to_end(&mut bytes)?;
            return Ok(Some(Frame::Result(bytes)));
        }
        let mut number = [0u8; 8];
        results.read_exact(&mut number)?;
        let number = u64::from_le_bytes(number);
        if kind[0] == b'A' {
            let mut bytes = Vec::new();
            results.take(number).read_to_end(&mut bytes)?;
            return Ok(Some(Frame::Answer(bytes)));
        }
        progress(number);
    }
}

fn damaged(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the storage helper's answer is damaged: {error}"))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let outcome: std::result::Result<T, ErrorParts> = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    outcome.map_err(Error::from_parts)
}
