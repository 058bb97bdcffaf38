//! `rm`: removes containers; for a while they can be brought back. There are no anonymous volumes yet that `-v` would find.

use lrun_runtime::container::lifecycle::{self, Removal};
use lrun_runtime::error::{ErrorKind, Result};

use super::{chosen, for_each, stop};
use crate::args::{Global, RmArgs};
use crate::context;
use crate::ui::output;

/// Runs the command. With `--force` a container that does not exist is no failure, as in docker.
pub fn run(global: &Global, args: &RmArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    let missing_is_fine = args.force || args.ignore || args.all;
    let names = chosen(&engine, &args.containers, args.all, |_| true)?;
    let code = for_each(&names, |name| {
        let found = lifecycle::find(&engine, name);
        if let (Ok(record), Some(seconds)) = (&found, args.time) {
            stop::stop(&engine, record, None, Some(seconds))?;
        }
        match found {
            Err(error) if missing_is_fine && error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if args.force && error.kind() == ErrorKind::Corrupt => {
                lifecycle::remove_damaged(&engine, name, !args.no_trash)?
            }
            other => lifecycle::remove(
                &engine,
                &other?,
                Removal { force: args.force, trash: !args.no_trash, ..Removal::default() },
            )?,
        }
        output::line(name);
        Ok(())
    });
    context::trim_trash(&engine);
    code
}
