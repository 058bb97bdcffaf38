//! `restart`: stop and start.

use lrun_runtime::container::lifecycle::{self, containers};
use lrun_runtime::error::Result;

use super::{chosen, for_each, start, stop};
use crate::args::{Global, StopArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &StopArgs) -> Result<u8> {
    let signal = args.signal()?;
    let engine = context::engine(global)?;
    let names = chosen(&engine, &args.containers, args.all, lifecycle::is_running)?;
    for_each(&names, |name| {
        let record = lifecycle::find(&engine, name)?;
        // Whoever follows the log stays for what comes after.
        let _restarting = containers(&engine).lock_restart(&record.id)?;
        stop::stop(&engine, &record, signal, args.timeout)?;
        start::start_detached(&engine, &record)?;
        output::line(name);
        Ok(())
    })
}
