//! `history`.
use crate::args::{Global, HistoryArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &HistoryArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "history is not there yet"))
}
