//! `commit`: a container's changes become an image.

use lrun_runtime::container::commit::{CommitOptions, commit};
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::Result;

use super::tag::new_name;
use crate::args::{CommitArgs, Global};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &CommitArgs) -> Result<u8> {
    let options = CommitOptions {
        reference: args.repository.as_deref().map(new_name).transpose()?,
        author: args.author.clone().unwrap_or_default(),
        message: args.message.clone().unwrap_or_default(),
        changes: args.change.clone(),
        squash: args.squash,
        pause: args.pauses(),
        clock: context::source_date_epoch()?,
    };
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    let id = commit(&engine, &record, &options)?;
    output::line(&id.to_string());
    Ok(0)
}
