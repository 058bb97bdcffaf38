//! `commit`.
use crate::args::{CommitArgs, Global};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &CommitArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "commit is not there yet"))
}
