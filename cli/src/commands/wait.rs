//! `wait`: blocks until containers end, and prints their exit codes.

use lrun_runtime::container::lifecycle;
use lrun_runtime::error::Result;

use super::for_each;
use crate::args::{Global, WaitArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &WaitArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    for_each(&args.containers, |name| {
        let record = lifecycle::find(&engine, name)?;
        output::line(&lifecycle::wait(&engine, &record)?.to_string());
        Ok(())
    })
}
