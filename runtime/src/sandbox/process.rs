//! The last steps of a process on its way into the entrypoint: ids, limits, capabilities, filter, exec.
//!
//! Shared by init and by processes that join a running container, so that both are confined alike. Runs inside the
//! container's root, as uid 0 of its user namespace with all capabilities, single-threaded.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::caps::CapPlan;
use super::channel::Supervised;
use super::plan::Process;
use super::seccomp::Filter;
use super::terminal::{self, Terminal};
use super::user::{self, Ids};
use super::{caps, device, reaper};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys;

/// The exit code that docker gives for this failure to start: 126 not executable, 127 not found, 125 anything else.
pub fn exit_code(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::NotExecutable => 126,
        ErrorKind::CommandNotFound => 127,
        _ => 125,
    }
}

/// The host's `/proc/self`: by it a process reaches its own files when it sees only the container's `/proc`, or what a
/// container shows in its place.
pub fn own_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self", flags, Mode::empty()).context(|| "open /proc/self")
}

/// Looks the process's user up in the container's root.
pub fn identify(process: &Process) -> Result<Ids> {
    user::resolve(&process.user, &process.groups)
}

/// With one id to give, another user than 0 needs a user namespace inside, which is made now: the process may not change
/// the container's mounts any more. `own` is from [`own_proc`] in this process, and closed before it goes on.
pub fn take_only_id(process: &Process, ids: &Ids, own: OwnedFd) -> Result<()> {
    match process.single && (ids.uid, ids.gid) != (0, 0) {
        true => nest(ids, own.as_fd()),
        false => Ok(()),
    }
}

/// A process with everything looked up and set that can be before it is confined.
#[derive(Debug)]
pub struct Prepared<'a> {
    process: &'a Process,
    ids: &'a Ids,
    args: Vec<CString>,
    environment: Vec<CString>,
    terminal: Option<Terminal>,
}

/// Starts the session, sets limits, and makes the working directory. `ids` are from [`identify`].
pub fn prepare<'a>(process: &'a Process, ids: &'a Ids, terminal: Option<Terminal>) -> Result<Prepared<'a>> {
    let environment = environment(process, ids)?;
    let args = c_strings(&process.args, "an argument")?;
    match &terminal {
        Some(terminal) => terminal::adopt(terminal)?,
        None => {
            rustix::process::setsid().context(|| "start a session")?;
            device::adopt_null().context(|| "open /dev/null")?;
        }
    }
    own_streams(process, ids, terminal.is_some());
    set_limits(process)?;
    make_cwd(process, ids)?;
    Ok(Prepared { process, ids, args, environment, terminal })
}

/// Reports ready, waits for the go, confines itself and executes. With `init`, PID 1 stays and the entrypoint is its
/// child.
pub fn start(prepared: Prepared<'_>, init: bool, channel: &Supervised) -> Result<std::convert::Infallible> {
    let Prepared { process, ids, args, environment, terminal } = prepared;
    channel.ready(terminal.as_ref().map(|t| t.master.as_fd()))?;
    drop(terminal);
    become_user(process, ids)?;
    enter_cwd(&process.cwd)?;
    sys::fd::cloexec_from(3)?;
    confine(process, ids)?;
    sys::signal::reset_all();
    if init && let Some(code) = reaper::supervise()? {
        sys::process::exit_now(code);
    }
    Err(execute(&process.args[0], &args, &environment))
}

/// `HOME` comes from the container's passwd unless the image or the user set it to something.
fn environment(process: &Process, ids: &Ids) -> Result<Vec<CString>> {
    let given: Vec<String> = process.env.iter().filter(|entry| *entry != "HOME=").cloned().collect();
    let mut environment = c_strings(&given, "an environment variable")?;
    if !given.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.extend(c_strings(&[format!("HOME={}", ids.home)], "the home directory")?);
    }
    Ok(environment)
}

fn c_strings(texts: &[String], what: &str) -> Result<Vec<CString>> {
    let nul = |_| Error::new(ErrorKind::Invalid, format!("{what} contains a NUL byte"));
    texts.iter().map(|text| CString::new(text.as_str()).map_err(nul)).collect()
}

/// The streams belong to the container's user, so that `/dev/stdout` can be opened under another user, too.
fn own_streams(process: &Process, ids: &Ids, terminal: bool) {
    if process.single || ids.uid == 0 {
        return;
    }
    let (stdin, stdout, stderr) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    for fd in [stdin, stdout, stderr] {
        // Best effort: a stream may be a file of the host's that the container must not own.
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind == rustix::fs::FileType::Fifo || (terminal && kind == rustix::fs::FileType::CharacterDevice) {
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(ids.uid)), None);
        }
    }
}

fn set_limits(process: &Process) -> Result<()> {
    for (number, soft, hard) in &process.rlimits {
        let limit = |value: u64| (value != u64::MAX).then_some(value);
        let wanted = Rlimit { current: limit(*soft), maximum: limit(*hard) };
        let resource = resource(*number)?;
        match rustix::process::setrlimit(resource, wanted) {
            // The container was created from a session with higher limits than this one's, which bind whatever it starts.
            Err(rustix::io::Errno::PERM) => {
                let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
                let wanted = Rlimit { current: limit((*soft).min(most)), maximum: limit(most) };
                rustix::process::setrlimit(resource, wanted)
            }
            other => other,
        }
        .context(|| format!("set limit {resource:?}"))?;
    }
    Ok(())
}

/// Sets it, unless it has been inherited; `proc_pid_oom_score_adj(5)`. The caller is dumpable, and sees the host's `/proc`.
pub fn set_oom_score_adj(wanted: Option<i32>) -> Result<()> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let Some(wanted) = wanted.map(|wanted| wanted.to_string()) else { return Ok(()) };
    if std::fs::read_to_string(PATH).is_ok_and(|now| now.trim_end() == wanted) {
        return Ok(());
    }
    std::fs::write(PATH, wanted).context(|| "set oom_score_adj")
}

/// The resource of `getrlimit(2)` with this number.
pub fn resource(number: u32) -> Result<Resource> {
    const ALL: [(libc::__rlimit_resource_t, Resource); 16] = [
        (libc::RLIMIT_CPU, Resource::Cpu),
        (libc::RLIMIT_FSIZE, Resource::Fsize),
        (libc::RLIMIT_DATA, Resource::Data),
        (libc::RLIMIT_STACK, Resource::Stack),
        (libc::RLIMIT_CORE, Resource::Core),
        (libc::RLIMIT_RSS, Resource::Rss),
        (libc::RLIMIT_NPROC, Resource::Nproc),
        (libc::RLIMIT_NOFILE, Resource::Nofile),
        (libc::RLIMIT_MEMLOCK, Resource::Memlock),
        (libc::RLIMIT_AS, Resource::As),
        (libc::RLIMIT_LOCKS, Resource::Locks),
        (libc::RLIMIT_SIGPENDING, Resource::Sigpending),
        (libc::RLIMIT_MSGQUEUE, Resource::Msgqueue),
        (libc::RLIMIT_NICE, Resource::Nice),
        (libc::RLIMIT_RTPRIO, Resource::Rtprio),
        (libc::RLIMIT_RTTIME, Resource::Rttime),
    ];
    let found = ALL.into_iter().find(|(n, _)| *n == number);
    found.map(|(_, r)| r).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("unknown resource limit {number}")))
}

fn make_cwd(process: &Process, ids: &Ids) -> Result<()> {
    if !process.create_cwd || rustix::fs::access(&process.cwd, rustix::fs::Access::EXISTS).is_ok() {
        return Ok(());
    }
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let made = super::rootfs::open_or_make(root.as_fd(), &process.cwd, true, true)
        .context(|| format!("make the working directory {}", process.cwd))?;
    let owner = (!process.single && ids.uid != 0).then_some(());
    if owner.is_some() && super::rootfs::is_directory(made.as_fd())? {
        rustix::fs::chown(&process.cwd, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)))
            .context(|| format!("own the working directory {}", process.cwd))?;
    }
    Ok(())
}

/// Takes the user's ids. Permitted capabilities survive it, for the filter that is loaded next.
fn become_user(process: &Process, ids: &Ids) -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    caps::apply::before_setid(&sets(process, ids))?;
    if process.single {
        return Ok(());
    }
    let groups: Vec<nix::unistd::Gid> = ids.groups.iter().map(|gid| nix::unistd::Gid::from_raw(*gid)).collect();
    let outside = |what: &str, id: u32| {
        format!("take {what} {id}: it may be outside the ids that this user can map; see `lrun info`")
    };
    nix::unistd::setgroups(&groups).context(|| "set supplementary groups")?;
    let gid = nix::unistd::Gid::from_raw(ids.gid);
    nix::unistd::setresgid(gid, gid, gid).context(|| outside("group id", ids.gid))?;
    let uid = nix::unistd::Uid::from_raw(ids.uid);
    nix::unistd::setresuid(uid, uid, uid).context(|| outside("user id", ids.uid))?;
    Ok(())
}

/// With one id to give: a user namespace inside, in which that id has the number asked for.
fn nest(ids: &Ids, own: BorrowedFd<'_>) -> Result<()> {
    // Else the files of /proc/self would belong to nobody that this process can be. The container's processes, which may
    // trace whatever is in such a namespace, do not see this one yet, or are not there yet.
    let before = rustix::process::dumpable_behavior()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    sys::process::unshare(sys::process::namespace::USER).context(|| "make a user namespace for the user")?;
    let write = |file: &str, text: String| -> Result<()> {
        let fd = rustix::fs::openat(own, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let written = fd.and_then(|fd| rustix::io::write(&fd, text.as_bytes()));
        written.context(|| format!("write {file}")).map(drop)
    };
    write("uid_map", format!("{} 0 1", ids.uid))?;
    write("setgroups", "deny".into())?;
    write("gid_map", format!("{} 0 1", ids.gid))?;
    Ok(rustix::process::set_dumpable_behavior(before)?)
}

fn enter_cwd(cwd: &str) -> Result<()> {
    rustix::process::chdir(cwd).context(|| format!("chdir to the working directory {cwd}"))?;
    let now = rustix::process::getcwd(Vec::new()).context(|| format!("verify the working directory {cwd}"))?;
    // The kernel says "(unreachable)" of a directory outside the root.
    if !now.as_bytes().starts_with(b"/") {
        return Err(Error::new(ErrorKind::Permission, format!("the working directory {cwd} is outside the container")));
    }
    Ok(())
}

fn confine(process: &Process, ids: &Ids) -> Result<()> {
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    }
    caps::apply::regain()?;
    // Another user than root gets the kernel's own answers: it could not do what root may.
    let filter = Filter { rules: process.filter.clone(), emulate_root: process.single && ids.uid == 0 };
    filter.load().context(|| "load the system call filter")?;
    caps::apply::after_setid(&sets(process, ids)).context(|| "set capabilities")
}

/// Root has all that the container has; another user only what was added by name, ambient, so that it lasts.
fn sets(process: &Process, ids: &Ids) -> CapPlan {
    let (all, added) = (process.capabilities, process.added & process.capabilities);
    match ids.uid {
        0 => CapPlan { bounding: all, permitted: all, effective: all, ..CapPlan::default() },
        _ => CapPlan { bounding: all, permitted: added, effective: added, inheritable: added, ambient: added },
    }
}

/// Looks the program up in the container's `PATH` as the shell does, and executes it. Returns why that failed.
fn execute(program: &str, args: &[CString], environment: &[CString]) -> Error {
    let failure = |errno: nix::errno::Errno| {
        if errno == nix::errno::Errno::EACCES && std::fs::metadata(program).is_ok_and(|found| found.is_dir()) {
            return Error::new(ErrorKind::NotExecutable, format!("exec: \"{program}\": is a directory"));
        }
        let kind = match errno {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => ErrorKind::CommandNotFound,
            _ => ErrorKind::NotExecutable,
        };
        Error::from(errno).with_kind(kind).context(format!("exec: \"{program}\""))
    };
    if program.is_empty() || program.contains('/') {
        let Err(errno) = try_exec(program, args, environment);
        return failure(errno);
    }
    let path = environment.iter().find_map(|entry| entry.to_str().ok()?.strip_prefix("PATH=")).unwrap_or("");
    let mut denied = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let Err(errno) = try_exec(&format!("{directory}/{program}"), args, environment);
        match errno {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {}
            nix::errno::Errno::EACCES => denied = Some(errno),
            _ => return failure(errno),
        }
    }
    match denied {
        Some(errno) => failure(errno),
        None => {
            Error::new(ErrorKind::CommandNotFound, format!("exec: \"{program}\": executable file not found in $PATH"))
        }
    }
}

fn try_exec(
    path: &str,
    args: &[CString],
    environment: &[CString],
) -> std::result::Result<std::convert::Infallible, nix::errno::Errno> {
    let path = CString::new(path).map_err(|_| nix::errno::Errno::EINVAL)?;
    let path: &CStr = &path;
    nix::unistd::execve(path, args, environment)
}
