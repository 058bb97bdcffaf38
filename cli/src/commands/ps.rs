//! `ps`.
use crate::args::{Global, PsArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &PsArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "ps is not there yet"))
}
