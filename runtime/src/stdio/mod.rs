//! Standard streams of a container: pty and pipes, the log, and clients that attach.

pub mod attach;
pub mod log;
pub mod pump;
pub mod terminal;
