//! `diff`.
use crate::args::{DiffArgs, Global};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &DiffArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "diff is not there yet"))
}
