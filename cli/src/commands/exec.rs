//! `exec`: one more process in a running container.

use lrun_runtime::container::exec::exec;
use lrun_runtime::container::lifecycle;
use lrun_runtime::container::options::Streams;
use lrun_runtime::error::Result;

use super::session::{UserStreams, check_terminal, client_options, finish};
use crate::args::{ExecArgs, Global};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: ExecArgs) -> Result<u8> {
    let name = args.container().to_owned();
    let options = args.into_options(&context::env_exact, &context::cwd_or_none())?;
    check_terminal(options.tty, options.interactive && !options.detach, "leave out -t")?;
    let client = client_options(options.tty, options.detach_keys.as_deref(), false)?;
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &name)?;
    let streams = UserStreams::open()?;
    let stdio = streams.chosen(Streams { stdin: options.interactive, stdout: true, stderr: true });
    let outcome = exec(&engine, &record, &options, stdio, &client)?;
    finish(&engine, &record.id, None, outcome)
}
