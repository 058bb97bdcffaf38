//! A command whose system calls are counted, and one of which is disturbed: the tracer of all processes that it starts.
//!
//! A call is known by the process that makes it and by its number among that process's calls of that kind. A process is known by its
//! place in the tree: `0` is the command, `0.1` the second process (or thread) that it starts, and so on; these are the
//! same each time, whatever runs beside. The tracer is the calling thread, and it must be root's: else programs such as
//! `newuidmap` lose what the system gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, mpsc};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

use crate::lrun::{Lrun, Output, Running};
use crate::watch::DEADLINE;

/// One system call of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The process, by its place in the tree.
    pub process: String,
    /// What that process is called at that moment.
    pub program: String,
    /// The call's name.
    pub name: &'static str,
    /// Its number among the calls of that name of its process, from 1.
    pub at: usize,
}

/// What happens at a call, before the kernel does anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The process that makes the call is killed.
    KillTheCaller,
    /// So is the command itself, which is the client; of the client's own calls, it and its container's monitor.
    KillTheClientToo,
    /// Every process of the command is killed.
    KillAll,
    /// The call does nothing and says this.
    Fail(Errno),
}

/// How a traced command ended.
pub struct Traced {
    /// What it wrote, and its exit code.
    pub output: Output,
    /// Its calls, if they were to be counted.
    pub calls: Vec<Call>,
    /// Whether the call that was to be disturbed was made.
    pub disturbed: bool,
}

/// Runs a command to the end of all of its processes, and counts their calls.
pub fn count<S: AsRef<std::ffi::OsStr>>(lrun: &Lrun, args: &[S]) -> Traced {
    trace(lrun, args, None)
}

/// Runs a command to the end of all of its processes, and disturbs one call.
pub fn disturb<S: AsRef<std::ffi::OsStr>>(lrun: &Lrun, args: &[S], call: &Call, what: Disturbance) -> Traced {
    trace(lrun, args, Some((call, what)))
}

/// The stop of a process that is traced from its beginning on.
const STOPPED_BY_TRACER: i32 = ptrace::Event::PTRACE_EVENT_STOP as i32;

/// It waits for its tracer, and becomes the command.
const STOPPED: [&str; 4] = ["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"];

fn trace<S: AsRef<std::ffi::OsStr>>(lrun: &Lrun, args: &[S], target: Option<(&Call, Disturbance)>) -> Traced {
    let running = Running::start(lrun.command_in(&STOPPED, args));
    let client = Pid::from_raw(running.child.id().try_into().expect("a process id"));
    let stopped = waitpid(client, Some(WaitPidFlag::WUNTRACED)).expect("wait for a child");
    assert_eq!(stopped, WaitStatus::Stopped(client, Signal::SIGSTOP));
    let follow = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    ptrace::seize(client, follow | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD).expect("seize");
    kill(client, Signal::SIGCONT).expect("wake a child");
    let root = Tracee { path: "0".into(), started: false, ..Tracee::default() };
    let alive = Arc::new(Mutex::new(BTreeSet::from([client])));
    let mut tracer = Tracer {
        client,
        target,
        tracees: BTreeMap::from([(client, root)]),
        early: BTreeSet::new(),
        alive: Arc::clone(&alive),
        calls: Vec::new(),
        state: State::Waiting,
        code: None,
    };
    let (done, over) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = matches!(over.recv_timeout(DEADLINE), Err(mpsc::RecvTimeoutError::Timeout));
        if late {
            for pid in alive.lock().expect("the list").iter() {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        late
    });
    tracer.follow();
    drop(done);
    let Tracer { code, calls, state, .. } = tracer;
    let output = running.streams(code.expect("the command has ended"), DEADLINE);
    assert!(!watchdog.join().expect("the watchdog"), "it did not end: {target:?}: {output:?}");
    Traced { output, calls, disturbed: state == State::Done }
}

/// A process or thread of the command.
#[derive(Default)]
struct Tracee {
    path: String,
    /// Whether it is the command already, not yet what becomes it.
    started: bool,
    children: usize,
    calls: BTreeMap<&'static str, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The call was entered and will fail.
    Failing,
    Done,
}

struct Tracer<'a> {
    client: Pid,
    target: Option<(&'a Call, Disturbance)>,
    tracees: BTreeMap<Pid, Tracee>,
    /// Those that have stopped before their parents have told of them.
    early: BTreeSet<Pid>,
    /// For the watchdog.
    alive: Arc<Mutex<BTreeSet<Pid>>>,
    calls: Vec<Call>,
    state: State,
    code: Option<i32>,
}

impl Tracer<'_> {
    fn follow(&mut self) {
        while !self.tracees.is_empty() {
            // The children of other threads are other tests'.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.ended(pid, 128 + signal as i32),
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.call(pid);
                    self.resume(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => self.event(pid, event),
                Ok(WaitStatus::Stopped(pid, signal)) => self.resume(pid, Some(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                // The last was told of by its parent after its end.
                Err(Errno::ECHILD) => return,
                Err(errno) => panic!("waiting for {} processes: {errno}", self.tracees.len()),
            }
        }
    }

    fn ended(&mut self, pid: Pid, code: i32) {
        self.tracees.remove(&pid);
        self.early.remove(&pid);
        self.alive.lock().expect("the list").remove(&pid);
        if pid == self.client {
            self.code = Some(code);
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                // A parent that was killed meanwhile no longer says whom it made.
                if let (Ok(child), Some(parent)) = (ptrace::getevent(pid), self.tracees.get_mut(&pid)) {
                    let child = Pid::from_raw(child.try_into().expect("a process id"));
                    let path = format!("{}.{}", parent.path, parent.children);
                    parent.children += 1;
                    self.add(child, path);
                    if self.early.remove(&child) {
                        self.resume(child, None);
                    }
                }
            }
            STOPPED_BY_TRACER if !self.tracees.contains_key(&pid) => {
                self.early.insert(pid);
                self.adopt_orphans();
                return;
            }
            libc::PTRACE_EVENT_EXEC => self.tracees.entry(pid).or_default().started = true,
            _ => {}
        }
        self.resume(pid, None);
    }

    fn add(&mut self, pid: Pid, path: String) {
        self.tracees.insert(pid, Tracee { path, started: true, ..Tracee::default() });
        self.alive.lock().expect("the list").insert(pid);
        self.adopt_orphans();
    }

    /// Nobody tells any more of those whose parents were killed while they were made.
    fn adopt_orphans(&mut self) {
        if self.state != State::Done {
            return;
        }
        for pid in std::mem::take(&mut self.early) {
            self.tracees.insert(pid, Tracee { path: "?".into(), started: true, ..Tracee::default() });
            self.alive.lock().expect("the list").insert(pid);
            self.resume(pid, None);
        }
    }

    /// A call begins or ends.
    fn call(&mut self, pid: Pid) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        // Who was killed meanwhile has no registers any more.
        let (Ok(info), Ok(registers)) = (ptrace::syscall_info(pid), ptrace::getregs(pid)) else { return };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if let (State::Failing, Some((_, Disturbance::Fail(errno)))) = (self.state, self.target) {
                let _ = ptrace::setregs(pid, failed(registers, errno));
                self.state = State::Done;
            }
            return;
        }
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY || !tracee.started {
            return;
        }
        let name = Sysno::new(number(&registers)).map_or("unknown", |call| call.name());
        let at = tracee.calls.entry(name).and_modify(|n| *n += 1).or_insert(1);
        match self.target {
            None => {
                let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let (process, program) = (tracee.path.clone(), program.trim_end().to_owned());
                self.calls.push(Call { process, program, name, at: *at });
            }
            Some((call, what)) if (&call.process, call.name, call.at) == (&tracee.path, name, *at) => {
                self.disturb(pid, what, registers);
            }
            Some(_) => {}
        }
    }

    fn disturb(&mut self, pid: Pid, what: Disturbance, registers: libc::user_regs_struct) {
        let victims: Vec<Pid> = match what {
            Disturbance::Fail(_) => {
                let _ = ptrace::setregs(pid, skipped(registers));
                self.state = State::Failing;
                return;
            }
            Disturbance::KillTheCaller => vec![pid],
            Disturbance::KillTheClientToo if pid == self.client => self.monitor().into_iter().chain([pid]).collect(),
            Disturbance::KillTheClientToo => vec![self.client, pid],
            Disturbance::KillAll => self.tracees.keys().chain(&self.early).copied().collect(),
        };
        for victim in victims {
            let _ = kill(victim, Signal::SIGKILL);
        }
        self.state = State::Done;
        self.adopt_orphans();
    }

    /// The client's child that is the first process of a namespace of its own: of a command that starts a container, its
    /// monitor.
    fn monitor(&self) -> Option<Pid> {
        let is_first = |pid: &Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            ids.len() > 1 && ids[1..] == ["1"]
        };
        let children = self.tracees.iter().filter(|(_, tracee)| tracee.path.matches('.').count() == 1);
        children.map(|(pid, _)| *pid).find(is_first)
    }

    /// Lets a stopped process go on, to its next call if that is of interest.
    fn resume(&mut self, pid: Pid, signal: Option<Signal>) {
        if self.state == State::Done && matches!(self.target, Some((_, Disturbance::KillAll))) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let path = self.tracees.get(&pid).map(|tracee| &tracee.path);
        let watched = match self.target {
            None => true,
            Some((target, _)) => self.state != State::Done && path == Some(&target.process),
        };
        // It may have been killed meanwhile; then its end is what comes next.
        let _ = if watched { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
    }
}

/// Whether calls can be made to fail here: elsewhere the number of a call is in no register that a tracer can change.
pub const CAN_FAIL: bool = cfg!(target_arch = "x86_64");

#[cfg(target_arch = "x86_64")]
fn number(registers: &libc::user_regs_struct) -> usize {
    registers.orig_rax as usize
}

#[cfg(target_arch = "aarch64")]
fn number(registers: &libc::user_regs_struct) -> usize {
    registers.regs[8] as usize
}

/// Registers of a call that the kernel is to do nothing about.
#[cfg(target_arch = "x86_64")]
fn skipped(registers: libc::user_regs_struct) -> libc::user_regs_struct {
    libc::user_regs_struct { orig_rax: u64::MAX, ..registers }
}

/// Registers of a call that has failed.
#[cfg(target_arch = "x86_64")]
fn failed(registers: libc::user_regs_struct, errno: Errno) -> libc::user_regs_struct {
    libc::user_regs_struct { rax: -i64::from(errno as i32) as u64, ..registers }
}

#[cfg(not(target_arch = "x86_64"))]
fn skipped(registers: libc::user_regs_struct) -> libc::user_regs_struct {
    registers
}

#[cfg(not(target_arch = "x86_64"))]
fn failed(registers: libc::user_regs_struct, _errno: Errno) -> libc::user_regs_struct {
    registers
}
