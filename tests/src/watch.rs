//! Waiting with a deadline: never a fixed sleep, never for ever.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails; generous, machines differ.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds; fails, saying what was awaited, after [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The child's status, or none when it still runs at `end`.
pub(crate) fn wait_until(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
