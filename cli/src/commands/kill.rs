//! `kill`: a signal to a container's first process.

use lrun_runtime::container::lifecycle;
use lrun_runtime::error::Result;

use super::{chosen, for_each};
use crate::args::{Global, KillArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &KillArgs) -> Result<u8> {
    let signal = args.signal()?;
    let engine = context::engine(global)?;
    let names = chosen(&engine, &args.containers, args.all, lifecycle::is_running)?;
    for_each(&names, |name| {
        let record = lifecycle::find(&engine, name)?;
        lifecycle::kill(&engine, &record, signal.number())
            .map_err(|error| error.context(format!("cannot kill container: {name}")))?;
        output::line(name);
        Ok(())
    })
}
