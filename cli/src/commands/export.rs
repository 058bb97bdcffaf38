//! `export`.
use crate::args::{ExportArgs, Global};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &ExportArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "export is not there yet"))
}
