//! `top`.
use crate::args::{Global, TopArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &TopArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "top is not there yet"))
}
