//! `images`.
use crate::args::{Global, ImagesArgs};
use lrun_runtime::error::{Error, ErrorKind, Result};

/// Runs the command.
pub fn run(_global: &Global, _args: &ImagesArgs) -> Result<u8> {
    Err(Error::new(ErrorKind::Unsupported, "images is not there yet"))
}
