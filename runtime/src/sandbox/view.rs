//! A container's files without one of its own processes: for copying in and out.
//!
//! Runs in a child of the CLI ([`crate::idmap::helper::start`]), with the host in view until it enters. Afterwards its `/`
//! is the container's, and nothing of the host can be named any more: whatever a hostile container does to its links
//! while they are followed, they lead to its own files.
//!
//! Of a stopped container the layers are mounted anew ([`assemble`]; the caller holds its lock). A running one is joined
//! ([`join`]), its PID namespace as well: with the container ends what was added to it, so that nobody has its read-write
//! layer mounted when its lock is free.
//!
//! ```text
//! CLI ──fork──> waiting process, on the host ──fork──> joining process ──fork──> the helper
//!                    └── its parent ──────────────────────────────────────────────┘
//! ```

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::Mode;
use rustix::mount::MountPropagationFlags;
use rustix::process::{DumpableBehavior, Signal};

use super::join::{enter, no_fork, wait_for};
use super::plan::{Mount, Rootfs};
use super::{mounts, rootfs};
use crate::error::{Context, Result};
use crate::idmap::enter::{Forked, reopen_directory};
use crate::sys::process::{Fork, SIBLING, exit_now, fork_into, namespace};

pub use rootfs::MOST_LOWERS;

/// The layers of a stopped container.
#[derive(Debug)]
pub enum Layers {
    /// With the read-write layer on top, which is written.
    Writable(Rootfs),
    /// All of them read-only, topmost first; paths relative to the store.
    ReadOnly(Vec<String>),
}

/// How a stopped container's files are seen.
#[derive(Debug)]
pub struct View {
    /// What is below everything.
    pub layers: Layers,
    /// The image's volumes, in layers that are written: made where they are missing, and written in any case.
    pub volumes: Vec<String>,
    /// The working directory, if a start has yet to make it.
    pub cwd: Option<String>,
    /// What is mounted in it, in order.
    pub mounts: Vec<Mount>,
    /// Whether the root cannot be written, though its mounts may be.
    pub readonly_root: bool,
}

/// In a child with namespaces of its own: mounts the view and enters it.
pub fn assemble(store: BorrowedFd<'_>, view: &View) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context(|| "tie to the parent")?;
    // What is made on the way has the mode that it is made with.
    rustix::process::umask(Mode::empty());
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context(|| "cut mount propagation to the host")?;
    let store = reopen_directory(store)?;
    let root = match &view.layers {
        Layers::Writable(layers) => rootfs::make_root(store.as_fd(), layers)?,
        Layers::ReadOnly(lowers) => rootfs::make_readonly_root(store.as_fd(), lowers)?,
    };
    let made = mounts::make_all(&view.mounts)?;
    rootfs::attach_root(root.as_fd(), store.as_fd())?;
    for volume in &view.volumes {
        mounts::make_volume(root.as_fd(), volume, view.readonly_root)?;
    }
    if let Some(cwd) = &view.cwd {
        rootfs::open_or_make(root.as_fd(), cwd, true, true).context(|| format!("make the working directory {cwd}"))?;
    }
    mounts::attach_all(root.as_fd(), &view.mounts, made)?;
    drop(store);
    rootfs::enter(root)?;
    if view.readonly_root { rootfs::seal() } else { Ok(()) }
}

/// Makes the process that is to [`join`]. It is the child of one that waits on the host and reaps it whatever becomes of
/// the CLI, without which the container could not end.
pub fn fork_joining() -> Result<Forked> {
    match fork_into(0).context(|| "fork")? {
        Fork::Parent { pid, pidfd } => Ok(Forked::Parent { pid, pidfd }),
        Fork::Child => {
            // Ctrl-C and Ctrl-Z at the terminal are for the CLI. Nothing in the container may look into a copy of it.
            let ready = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
            match ready.and_then(|()| rustix::process::setsid()).and_then(|_| fork_into(0)) {
                Ok(Fork::Child) => Ok(Forked::Child),
                Ok(Fork::Parent { pid, .. }) => wait_for(pid),
                Err(_) => exit_now(125),
            }
        }
    }
}

/// In the joining process: becomes one of the running container whose monitor and first process these pidfds refer to.
pub fn join(monitor: BorrowedFd<'_>, init: BorrowedFd<'_>) -> Result<()> {
    enter(monitor, init, namespace::MOUNT | namespace::PID)?;
    match fork_into(SIBLING) {
        Ok(Fork::Child) => Ok(()),
        Ok(Fork::Parent { .. }) => exit_now(0),
        Err(errno) => Err(no_fork(errno, init)),
    }
}
