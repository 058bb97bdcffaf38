//! `export`.
use crate::args::{Global, ExportArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &ExportArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "export is not there yet"))
}
