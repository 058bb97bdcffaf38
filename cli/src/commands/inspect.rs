//! `inspect`.
use crate::args::{Global, InspectArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &InspectArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "inspect is not there yet"))
}
