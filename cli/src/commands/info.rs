//! `info`.
use crate::args::{Global, SystemArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &SystemArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "info is not there yet"))
}
