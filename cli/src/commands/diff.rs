//! `diff`: what a container changed in its image.

use std::io::IsTerminal;

use lrun_runtime::container::changes::changes;
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::Result;
use lrun_runtime::image::changes::{Change, ChangeKind};

use crate::args::{DiffArgs, Global};
use crate::context;
use crate::ui::output;
use crate::ui::rows::View;
use crate::ui::rows::diff::{Entry, MODEL, format};

/// Runs the command.
pub fn run(global: &Global, args: &DiffArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    let entries: Vec<Entry> = changes(&engine, &record.id)?.into_iter().map(entry).collect();
    let terminal = std::io::stdout().is_terminal();
    let view = View { now: jiff::Timestamp::now(), zone: context::zone, trunc: false, human: false, terminal };
    output::text(&MODEL.render(&format(args.format.as_deref())?, &entries, &view)?);
    Ok(0)
}

fn entry(change: Change) -> Entry {
    let kind = match change.kind {
        ChangeKind::Added => 'A',
        ChangeKind::Changed => 'C',
        ChangeKind::Deleted => 'D',
    };
    Entry { kind, path: String::from_utf8_lossy(&change.path).into_owned() }
}
