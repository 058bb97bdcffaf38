//! `pause` and `unpause`: a container's processes stand still, and go on.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::record::Record;
use lrun_runtime::container::{lifecycle, pause};
use lrun_runtime::error::Result;

use super::for_each;
use crate::args::{Global, PauseArgs};
use crate::context;
use crate::ui::output;

/// Runs `pause`.
pub fn pause(global: &Global, args: &PauseArgs) -> Result<u8> {
    each(global, args, pause::pause)
}

/// Runs `unpause`.
pub fn unpause(global: &Global, args: &PauseArgs) -> Result<u8> {
    each(global, args, pause::resume)
}

fn each(global: &Global, args: &PauseArgs, act: fn(&Engine, &Record) -> Result<()>) -> Result<u8> {
    let engine = context::engine(global)?;
    for_each(&args.containers, |name| {
        act(&engine, &lifecycle::find(&engine, name)?)?;
        output::line(name);
        Ok(())
    })
}
