//! `rename`: another name for a container.

use lrun_runtime::container::lifecycle::{self, containers};
use lrun_runtime::container::names::ContainerName;
use lrun_runtime::error::Result;

use crate::args::{Global, RenameArgs};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: &RenameArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    containers(&engine).rename(&record.id, &ContainerName::parse(&args.new_name)?)?;
    Ok(0)
}
