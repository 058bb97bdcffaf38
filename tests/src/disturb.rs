//! Commands that are killed, or whose calls fail, at one system call after the other.
//!
//! A first traced run counts the calls of every process of the command; then, for each case, the command is run again on a
//! store in the same state, and [`crate::tracer`] disturbs that one call. A sample of fixed seed by default, every case with
//! `LRUN_TEST_LONG`. The tracer must be root's, for it follows `newuidmap`: without root these tests are skipped.
//!
//! Killed are whoever makes the call, that process and the client together (or client and monitor), and all at once; in the
//! long form each of the three at each call. Calls that only look, one after the other in one process, are one case there:
//! between them nothing is changed, so that a kill at the second finds what a kill at the first does.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use nix::errno::Errno;

use crate::environment::{Mode, long, mode, record_skip, victim};
use crate::lrun::{Lrun, Output};
use crate::tracer::{CAN_FAIL, Call, Disturbance, count, disturb};
use crate::watch::eventually;

/// Calls that change nothing that another process could see, nor wait for one.
const LOOKS: [&str; 62] = [
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "clock_getres",
    "clock_gettime",
    "faccessat",
    "faccessat2",
    "fgetxattr",
    "flistxattr",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpeername",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getsid",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
    "lseek",
    "lstat",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "stat",
    "statfs",
    "statx",
    "uname",
];

/// How many calls of each command are disturbed in the short form.
const SAMPLE: usize = 9;

/// How many are tried for that: what runs side by side makes other calls from run to run.
const TRIED: usize = 3 * SAMPLE;

/// How often a case is tried until the call is made: where two processes wait for each other, one makes a call more or less
/// from run to run, and what begins at once begins in one order or the other.
const ATTEMPTS: usize = 3;

/// One command under test.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its words.
    pub args: Vec<String>,
    /// Brings a new store into the state that the command begins with.
    pub prepare: fn(&Lrun),
    /// What must hold afterwards; the output is the killed command's.
    pub check: fn(&Lrun, &Output),
}

/// The words of a command.
pub fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|word| (*word).to_owned()).collect()
}

/// A call, and what happens at it.
type Case = (Call, Disturbance);

const KILLS: [Disturbance; 3] = [Disturbance::KillTheCaller, Disturbance::KillTheClientToo, Disturbance::KillAll];

const ERRORS: [Disturbance; 3] =
    [Disturbance::Fail(Errno::ENOSPC), Disturbance::Fail(Errno::EIO), Disturbance::Fail(Errno::EDQUOT)];

/// Kills processes of the command at each of its calls.
pub fn kill_at_every_call(scenario: &Scenario) {
    at_every_call(scenario, |call, before| before.is_none_or(|before| !looks(before)) || !looks(call), KILLS);
}

/// Lets these calls of lrun's processes fail, as on a full, overdrawn or broken disk.
pub fn fail_every_call(scenario: &Scenario, calls: &[&'static str]) {
    if !CAN_FAIL {
        record_skip("system calls are made to fail on x86-64 alone");
        return;
    }
    at_every_call(scenario, |call, _| calls.contains(&call.name) && call.program.starts_with("lrun"), ERRORS);
}

fn looks(call: &Call) -> bool {
    LOOKS.contains(&call.name)
}

fn at_every_call(scenario: &Scenario, chosen: impl Fn(&Call, Option<&Call>) -> bool, what: [Disturbance; 3]) {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else {
        record_skip("the tracer has to be root");
        return;
    };
    let cases = cases(counted(scenario, &user), chosen, what);
    let wanted = if long() { cases.len() } else { SAMPLE.min(cases.len()) };
    println!("{}: {wanted} of {} cases", scenario.name, cases.len());
    let (mut made, mut missed, mut lost) = (0, 0, Vec::new());
    for (call, what) in cases {
        // All are tried, so that what is found is the whole of it.
        let attempt = || (0..ATTEMPTS).any(|_| at_this_call(scenario, &user, &call, what));
        match catch_unwind(attempt) {
            Ok(true) => made += 1,
            Ok(false) => missed += 1,
            Err(_) => lost.push(format!("{what:?} at {call:?}")),
        }
        if made + lost.len() == wanted {
            break;
        }
    }
    println!("{}: {made} cases, {} lost, {missed} not made again", scenario.name, lost.len());
    assert!(lost.is_empty(), "{}: {} lost of {wanted}: {lost:#?}", scenario.name, lost.len());
    // In the long form no other call takes the place of one that is not made again.
    let least = if long() { wanted - wanted / 5 } else { wanted };
    assert!(made >= least, "{}: {missed} calls were not made again, {made} were", scenario.name);
}

/// One case; whether the call was made.
fn at_this_call(scenario: &Scenario, user: &str, call: &Call, what: Disturbance) -> bool {
    let lrun = Lrun::as_user(user);
    (scenario.prepare)(&lrun);
    let traced = disturb(&lrun, &scenario.args, call, what);
    println!("{}: {what:?} at {call:?}: {}, code {}", scenario.name, traced.disturbed, traced.output.code);
    assert!(!traced.output.stderr.contains("panicked"), "{}", traced.output.stderr);
    (scenario.check)(&lrun, &traced.output);
    nothing_is_left(&lrun);
    traced.disturbed
}

/// The calls of the command when nothing disturbs it.
fn counted(scenario: &Scenario, user: &str) -> Vec<Call> {
    let lrun = Lrun::as_user(user);
    (scenario.prepare)(&lrun);
    let traced = count(&lrun, &scenario.args);
    assert_eq!(traced.output.code, 0, "{}: {}", scenario.name, traced.output.stderr);
    (scenario.check)(&lrun, &traced.output);
    assert!(traced.calls.len() > 100, "{}: {} calls", scenario.name, traced.calls.len());
    traced.calls
}

/// The cases to try, in this order: all, or a sample that takes every process, and of a process every kind of call, alike.
fn cases(mut calls: Vec<Call>, chosen: impl Fn(&Call, Option<&Call>) -> bool, what: [Disturbance; 3]) -> Vec<Case> {
    // Stable: each process's calls stay in their order.
    calls.sort_by(|a, b| a.process.cmp(&b.process));
    let before = |n: usize| calls[..n].last().filter(|before| before.process == calls[n].process);
    let calls: Vec<&Call> = (0..calls.len()).filter(|n| chosen(&calls[*n], before(*n))).map(|n| &calls[n]).collect();
    if long() {
        return calls.into_iter().flat_map(|call| what.map(|what| (call.clone(), what))).collect();
    }
    sample(&calls).into_iter().enumerate().map(|(n, call)| (call.clone(), what[n % what.len()])).collect()
}

/// By a fixed sequence of numbers that looks random (a linear congruential generator).
fn sample(calls: &[&Call]) -> Vec<Call> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut kinds: BTreeMap<&str, BTreeMap<&str, Vec<&Call>>> = BTreeMap::new();
    for call in calls {
        kinds.entry(&call.process).or_default().entry(call.name).or_default().push(call);
    }
    let kinds: Vec<Vec<Vec<&Call>>> = kinds.into_values().map(|kinds| kinds.into_values().collect()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < TRIED.min(calls.len()) {
        let process = &kinds[next(kinds.len())];
        let kind = &process[next(process.len())];
        let call = kind[next(kind.len())];
        if !chosen.contains(call) {
            chosen.push(call.clone());
        }
    }
    chosen
}

/// The next command sweeps what was in progress; no process is left.
fn nothing_is_left(lrun: &Lrun) {
    for id in lrun.ok(&["ps", "-aq"]).lines() {
        lrun.ok(&["rm", "-f", id]);
    }
    eventually("no process is left", || lrun.processes().is_empty());
    lrun.ok(&["ps", "-a"]);
    let staging = std::fs::read_dir(lrun.store().join("staging")).expect("staging");
    let left: Vec<_> = staging.filter_map(|entry| Some(entry.ok()?.path())).collect();
    assert!(left.is_empty(), "left in staging: {left:?}");
}
