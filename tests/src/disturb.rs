//! Commands that are killed, or whose calls fail, at one system call after the other.
//!
//! A first traced run counts the calls of each kind; then, for each call, the command is run again on a store in the
//! same state with strace(1) killing whoever makes it, or letting it fail. A sample of fixed seed by default, every call
//! with `LRUN_TEST_LONG`. strace must be root's, for it follows `newuidmap`: without root these tests are skipped.

use std::collections::BTreeMap;

use crate::environment::{Mode, long, mode, record_skip, victim};
use crate::lrun::{Lrun, Output};
use crate::watch::eventually;

/// Calls that change something, start something, or tell somebody.
pub const CALLS: [&str; 29] = [
    "clone3",
    "execve",
    "exit_group",
    "fchmodat",
    "fchownat",
    "fsconfig",
    "fsmount",
    "fsync",
    "linkat",
    "mkdirat",
    "mknodat",
    "move_mount",
    "openat",
    "pivot_root",
    "rename",
    "renameat",
    "renameat2",
    "sendmsg",
    "setns",
    "setxattr",
    "symlink",
    "symlinkat",
    "syncfs",
    "umount2",
    "unlink",
    "unlinkat",
    "utimensat",
    "waitid",
    "write",
];

/// How many calls of each command are tried in the short form.
const SAMPLE: usize = 14;

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

/// The calls made by the command: for each name the most that one process makes.
fn count(scenario: &Scenario, user: &str, calls: &[&'static str]) -> BTreeMap<&'static str, usize> {
    let lrun = Lrun::as_user(user);
    (scenario.prepare)(&lrun);
    let log = lrun.folder().join("calls");
    let filter = format!("trace={}", calls.join(","));
    let log_path = log.to_str().expect("UTF-8");
    let wrapper = ["strace", "-u", user, "-f", "-qq", "-e", &filter, "-o", log_path];
    let output = lrun.run_in(&wrapper, &scenario.args);
    assert_eq!(output.code, 0, "{}: {}", scenario.name, output.stderr);
    (scenario.check)(&lrun, &output);
    let mut each: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).expect("the trace").lines() {
        let mut fields = line.splitn(2, ' ');
        let (Some(pid), Some(rest)) = (fields.next(), fields.next()) else { continue };
        if let Some(call) = calls.iter().find(|call| rest.trim_start().starts_with(&format!("{call}("))) {
            *each.entry((pid.to_owned(), call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), n) in each {
        let slot: &mut usize = most.entry(call).or_default();
        *slot = n.max(*slot);
    }
    assert!(most.len() > 1, "{}: {most:?}", scenario.name);
    most
}

/// The cases to try: all, or a sample that takes every kind of call alike, by a fixed sequence of numbers that looks
/// random (a linear congruential generator).
fn cases(counted: BTreeMap<&'static str, usize>) -> Vec<(&'static str, usize)> {
    let all: usize = counted.values().sum();
    if long() || all <= SAMPLE {
        return counted.into_iter().flat_map(|(call, n)| (1..=n).map(move |at| (call, at))).collect();
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let counted: Vec<_> = counted.into_iter().collect();
    let mut chosen = Vec::new();
    while chosen.len() < SAMPLE {
        let (call, n) = counted[next(counted.len())];
        let one = (call, 1 + next(n));
        if !chosen.contains(&one) {
            chosen.push(one);
        }
    }
    chosen
}

/// Kills whoever makes the call, at each of these calls.
pub fn kill_at_every_call(scenario: &Scenario, calls: &[&'static str]) {
    at_every_call(scenario, calls, |_| "signal=KILL");
}

/// Lets calls that change files fail, as on a full, overdrawn or broken disk.
pub fn fail_every_call(scenario: &Scenario, calls: &[&'static str]) {
    at_every_call(scenario, calls, |number| ["error=ENOSPC", "error=EIO", "error=EDQUOT"][number % 3]);
}

/// What strace is told to do at the numbered case.
type Disturbance = fn(usize) -> &'static str;

fn at_every_call(scenario: &Scenario, calls: &[&'static str], disturbance: Disturbance) {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else {
        record_skip("strace has to be run by root");
        return;
    };
    for (number, (call, at)) in cases(count(scenario, &user, calls)).into_iter().enumerate() {
        let lrun = Lrun::as_user(&user);
        (scenario.prepare)(&lrun);
        let what = disturbance(number);
        let inject = format!("inject={call}:{what}:when={at}");
        let trace = format!("trace={call}");
        let wrapper = ["strace", "-u", &user, "-f", "-qq", "-e", &trace, "-e", &inject, "-o", "/dev/null"];
        let output = lrun.run_in(&wrapper, &scenario.args);
        println!("{}: {call} {at} {what}: code {}", scenario.name, output.code);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        (scenario.check)(&lrun, &output);
        nothing_is_left(&lrun);
    }
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
