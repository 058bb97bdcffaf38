//! Support code of the integration tests: the lrun binary as a user runs it, on a store of the test's own.
//!
//! `hack/test` sets the environment:
//!
//! | variable | meaning | without it |
//! | --- | --- | --- |
//! | `LRUN_BIN` | the binary | the newest of the target directory |
//! | `LRUN_TEST_IMAGES` | folder with `stage0.tar` and `busybox.tar` | the cache folder of `hack/test` |
//! | `LRUN_TEST_MODE` | the id mapping under test | what lrun would choose for this user |
//! | `LRUN_TEST_VICTIM` | as root: a user with subordinate ids for the tests that trace | those cases are skipped |
//! | `LRUN_TEST_LONG` | every case where otherwise a sample runs | a sample |
//! | `LRUN_TEST_SKIPS` | file that collects what was skipped, and why | only printed |
#![forbid(unsafe_code)]

pub mod build;
mod canary;
pub mod disturb;
mod environment;
mod lrun;
mod pty;
pub mod server;
mod tar;
mod tracer;
mod watch;

pub use canary::{Canary, Listing};
pub use environment::{Mode, binary, images, long, mode, record_skip, victim};
pub use lrun::{Lrun, Output, Running};
pub use pty::Pty;
pub use tar::{Entry, Tar};
pub use watch::{DEADLINE, eventually};

/// Ends the test as skipped, with the reason; `hack/test` counts it.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::record_skip(&format!($($reason)+));
        return;
    }};
}
