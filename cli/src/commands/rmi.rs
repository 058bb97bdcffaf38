//! `rmi`.
use crate::args::{Global, RmiArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &RmiArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "rmi is not there yet"))
}
