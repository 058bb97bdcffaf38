//! `container exists`, `image exists`: podman's questions that are answered by the exit code alone.

use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{ErrorKind, Result};

use crate::args::{ExistsArgs, Global};
use crate::context;

/// `container exists`: 0 or 1.
pub fn container(global: &Global, args: &ExistsArgs) -> Result<u8> {
    answer(lifecycle::find(&context::engine(global)?, &args.name))
}

/// `image exists`: 0 or 1.
pub fn image(global: &Global, args: &ExistsArgs) -> Result<u8> {
    answer(context::engine(global)?.store.find(&args.name))
}

fn answer<T>(found: Result<T>) -> Result<u8> {
    match found {
        Ok(_) => Ok(0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(1),
        Err(error) => Err(error),
    }
}
