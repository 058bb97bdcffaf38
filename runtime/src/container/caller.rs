//! What the session of the caller allows a container: resource limits and the score for running out of memory.
//!
//! Runs in the CLI, on the host: inside the container's user namespace nothing can be raised any more.

use rustix::process::{Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use super::options::Ulimit;
use super::options::limits::{RESOURCES, UNLIMITED};
use crate::sandbox::{lower, process};

/// How far the caller can go with each resource: to its own hard limit, or to the kernel's with the privilege to raise
/// it.
pub fn limits() -> Vec<Ulimit> {
    let privileged = may_raise();
    RESOURCES
        .iter()
        .filter_map(|(_, resource)| {
            let number = lower::rlimit(*resource);
            let now = getrlimit(process::resource(number).ok()?);
            let hard = match (privileged, number == libc::RLIMIT_NOFILE) {
                (false, _) => now.maximum.unwrap_or(UNLIMITED),
                (true, true) => most_files().unwrap_or(UNLIMITED),
                (true, false) => UNLIMITED,
            };
            Some(Ulimit { resource: *resource, soft: now.current.unwrap_or(UNLIMITED).min(hard), hard })
        })
        .collect()
}

/// Raises this process's hard limits, which what it starts inherits, to these (as in a plan), where it may. Init says so
/// where that was not enough.
pub fn raise_limits(limits: &[(u32, u64, u64)]) {
    for (number, _, hard) in limits {
        let Ok(resource) = process::resource(*number) else { continue };
        let now = getrlimit(resource);
        if now.maximum.is_some_and(|maximum| maximum < *hard) {
            let raised = Rlimit { current: now.current, maximum: (*hard != UNLIMITED).then_some(*hard) };
            let _ = setrlimit(resource, raised);
        }
    }
}

/// Whether this process may raise hard limits: `CAP_SYS_RESOURCE` counts in the initial user namespace only;
/// `setrlimit(2)`.
pub fn may_raise() -> bool {
    let held =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE));
    let map = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    held && map().split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn most_files() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

/// The caller's `oom_score_adj`; `proc_pid_oom_score_adj(5)`.
pub fn oom_score_adj() -> i32 {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
