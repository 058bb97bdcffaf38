//! `logs`.
use crate::args::{Global, LogsArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &LogsArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "logs is not there yet"))
}
