//! Init: the first process of a container. It applies the plan, then becomes the entrypoint.
//!
//! Forked by the monitor as PID 1 of the inner PID namespace, with all capabilities in the container's user namespace,
//! single-threaded; uid 0 there when it is told what to do. The monitor forks it before it knows the container, so that
//! there is nothing of that in its memory, and runs from a binary that no container can change ([`super::reexec`]). What it
//! needs comes in one packet.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{RecvFlags, SendFlags};

use super::channel::{Supervised, Supervisor};
use super::plan::Plan;
use super::{device, hidden, mounts, process, reads, rootfs, terminal};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::enter::{become_root, reopen_directory};
use crate::sys::{self, packet};

/// The descriptors that init is told its container by.
#[derive(Debug)]
pub struct Instructions {
    /// The plan as JSON.
    pub plan: OwnedFd,
    /// The store's directory.
    pub store: OwnedFd,
    /// The queue of what the container reads, where somebody asks for that.
    pub reads: Option<OwnedFd>,
}

/// Tells the init at the other end what it needs, with its standard streams.
pub fn instruct(channel: &Supervisor, instructions: &Instructions, streams: &[OwnedFd; 3]) -> Result<()> {
    let Instructions { plan, store, reads } = instructions;
    let fds: Vec<_> = [plan, store].into_iter().chain(streams).chain(reads).map(AsFd::as_fd).collect();
    packet::send(channel.as_fd(), &[fds.len() as u8], &fds, SendFlags::empty()).context(|| "tell init its container")
}

/// Receives what [`instruct`] sent; the streams become the process's own. `None` when the monitor has no container.
fn receive(channel: &Supervised) -> Result<Option<Instructions>> {
    let (length, mut fds) = packet::receive(channel.as_fd(), &mut [0u8; 1], RecvFlags::empty())?;
    if length == 0 {
        return Ok(None);
    }
    let reads = (fds.len() > 5).then(|| fds.pop()).flatten();
    let [plan, store, streams @ ..] = <[OwnedFd; 5]>::try_from(fds)
        .map_err(|_| Error::new(ErrorKind::Io, "init was told an incomplete container"))?;
    for (stream, number) in streams.iter().zip(0..) {
        sys::fd::place(stream.as_fd(), number)?;
    }
    Ok(Some(Instructions { plan, store, reads }))
}

/// In the forked child, its whole life: it becomes the entrypoint, or reports why not and exits. It closes all of the
/// monitor's but the channel.
pub fn main(channel: Supervised) -> ! {
    let closed = sys::fd::close_all_but(&[0, 1, 2, channel.as_fd().as_raw_fd()]);
    let error = match closed.map_err(Error::from).and_then(|()| run(&channel)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    channel.failed(&error);
    sys::process::exit_now(process::exit_code(&error))
}

fn run(channel: &Supervised) -> Result<std::convert::Infallible> {
    let Some(Instructions { plan, store, reads: watched }) = receive(channel)? else { sys::process::exit_now(125) };
    // The monitor forked it before the ids were mapped, and told it of the container after that.
    become_root().context(|| "become root in the container's user namespace")?;
    let (plan, store) = (read_plan(plan)?, reopen_directory(store.as_fd())?);
    let own = process::own_proc()?;
    process::set_oom_score_adj(plan.process.oom_score_adj)?;
    rustix::process::umask(Mode::empty());
    if plan.cgroup_namespace {
        sys::process::unshare(sys::process::namespace::CGROUP).context(|| "make a cgroup namespace")?;
    }
    let terminal = build(&plan, store)?;
    if let Some(queue) = watched {
        reads::watch_proc(queue.as_fd());
    }
    if plan.loopback {
        sys::net::loopback_up().context(|| "bring the loopback interface up")?;
    }
    name_host(&plan)?;
    rustix::process::umask(Mode::from_raw_mode(plan.process.umask));
    let ids = process::identify(&plan.process)?;
    let prepared = process::prepare(&plan.process, &ids, terminal)?;
    if plan.readonly_root {
        rootfs::seal()?;
    }
    process::take_only_id(&plan.process, &ids, own)?;
    process::start(prepared, plan.init, channel)
}

fn read_plan(fd: OwnedFd) -> Result<Plan> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut bytes).context(|| "read the plan")?;
    serde_json::from_slice(&bytes).map_err(|e| Error::new(ErrorKind::Io, format!("the plan is damaged: {e}")))
}

/// Mounts everything and pivots into it; returns the container's terminal.
fn build(plan: &Plan, store: OwnedFd) -> Result<Option<terminal::Terminal>> {
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC,
    )
    .context(|| "cut mount propagation to the host")?;
    // The root is attached over the store, in which some of the mounts have their source. Made first, it is the first
    // line of /proc/mounts.
    let mut root = rootfs::make_root(store.as_fd(), &plan.rootfs)?;
    let made = mounts::make_all(&plan.mounts)?;
    let hidden = hidden::find(root.as_fd(), &plan.mounts, &made)?;
    if !hidden.is_empty() && hidden::fits(&plan.rootfs) {
        // One overlay at a time may use the read-write layer.
        drop(root);
        // Memory holds such a layer from Linux 6.6 on; before, the mount points show as changes of the container's.
        root = match hidden::root_with(&hidden, store.as_fd(), &plan.rootfs) {
            Ok(root) => root,
            Err(_) => rootfs::make_root(store.as_fd(), &plan.rootfs)?,
        };
    }
    let root_fd = root.as_fd();
    rootfs::attach_root(root_fd, store.as_fd())?;
    for volume in &plan.volumes {
        mounts::make_volume(root_fd, volume, plan.readonly_root)?;
    }
    mounts::attach_all(root_fd, &plan.mounts, made)?;
    if plan.own_dev {
        device::make_links(root_fd)?;
    }
    device::bind_all(root_fd, &plan.devices)?;
    set_sysctls(root_fd, &plan.sysctls)?;
    let terminal = match plan.process.terminal {
        true => Some(terminal::open(root_fd, plan.process.window)?),
        false => None,
    };
    if let Some(terminal) = terminal.as_ref().filter(|_| plan.own_dev) {
        device::bind(root_fd, terminal.slave.as_fd(), "/dev/console").context(|| "show /dev/console")?;
    }
    device::make_readonly(root_fd, &plan.readonly)?;
    device::mask_all(root_fd, &plan.masked)?;
    drop(store);
    rootfs::enter(root)?;
    Ok(terminal)
}

fn set_sysctls(root: BorrowedFd<'_>, sysctls: &[(String, String)]) -> Result<()> {
    for (name, value) in sysctls {
        let write = || -> Result<()> {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let path = format!("proc/sys/{name}");
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let fd = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
            // Something mounted over /proc must not take the write instead.
            if rustix::fs::fstatfs(&fd)?.f_type as u64 != mounts::PROC_SUPER_MAGIC {
                return Err(Error::new(ErrorKind::Unsupported, "it is not in a proc file system"));
            }
            rustix::io::write(&fd, value.as_bytes())?;
            Ok(())
        };
        write().context(|| format!("set sysctl {}", name.replace('/', ".")))?;
    }
    Ok(())
}

fn name_host(plan: &Plan) -> Result<()> {
    if let Some(hostname) = &plan.hostname {
        rustix::system::sethostname(hostname.as_bytes()).context(|| "set the host name")?;
    }
    if let Some(domainname) = &plan.domainname {
        rustix::system::setdomainname(domainname.as_bytes()).context(|| "set the domain name")?;
    }
    Ok(())
}
