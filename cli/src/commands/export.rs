//! `export`: a container's root file system as a tar.

use std::io::IsTerminal;

use lrun_runtime::container::export::export;
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::target::{READER_GONE, Target};
use crate::args::{ExportArgs, Global};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &ExportArgs) -> Result<u8> {
    let stdout = std::io::stdout();
    if args.output.is_none() && stdout.is_terminal() {
        let message = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    let target = match &args.output {
        Some(path) => Target::open(path)?,
        None => Target::stdout()?,
    };
    let exported = target.write(false, |out| export(&engine, &record.id, out))?;
    let Some(exported) = exported else { return Ok(READER_GONE) };
    if exported.torn > 0 {
        output::complain(&format!(
            "WARNING: {} files became shorter while they were read; zeros stand for what was lost",
            exported.torn
        ));
    }
    if exported.marks > 0 {
        output::complain(&format!(
            "WARNING: {} names begin with .wh.: an import takes them for deletions, and they are lost",
            exported.marks
        ));
    }
    Ok(0)
}
