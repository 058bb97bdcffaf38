//! `tag`.
use crate::args::{Global, TagArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &TagArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "tag is not there yet"))
}
