//! `stop`: the stop signal, and SIGKILL when that has not helped in time.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::options_of;
use lrun_runtime::container::lifecycle::{self, Stopping};
use lrun_runtime::container::options::Signal;
use lrun_runtime::container::record::Record;
use lrun_runtime::error::Result;

use super::{chosen, for_each};
use crate::args::{Global, StopArgs};
use crate::context;
use crate::ui::output;

/// Seconds between the stop signal and SIGKILL, unless something else was said.
const TIMEOUT: i32 = 10;

/// Containers that are stopped at once; each keeps a descriptor.
const SIDE_BY_SIDE: usize = 50;

/// Runs the command.
pub fn run(global: &Global, args: &StopArgs) -> Result<u8> {
    let signal = args.signal()?;
    let engine = context::engine(global)?;
    let names = chosen(&engine, &args.containers, args.all, lifecycle::is_running)?;
    let ask = |name: &String| begin(&engine, &lifecycle::find(&engine, name)?, signal, args.timeout);
    let mut code = 0;
    for some in names.chunks(SIDE_BY_SIDE) {
        // All are asked before one is waited for: their times to end run side by side.
        let mut asked = some.iter().map(ask).collect::<Vec<_>>().into_iter();
        code |= for_each(some, |name| {
            asked.next().transpose()?.map_or(Ok(()), |stopping| stopping.finish(&engine))?;
            output::line(name);
            Ok(())
        })?;
    }
    Ok(code)
}

/// Stops a container by the command's wishes, else the container's, else docker's defaults.
pub fn stop(engine: &Engine, record: &Record, signal: Option<Signal>, timeout: Option<i32>) -> Result<()> {
    begin(engine, record, signal, timeout)?.finish(engine)
}

fn begin(engine: &Engine, record: &Record, signal: Option<Signal>, timeout: Option<i32>) -> Result<Stopping> {
    let options = options_of(record)?;
    let image = || {
        let image = engine.store.image(&record.image.id).ok()?;
        Signal::parse(&image.config.config.stop_signal).ok()
    };
    let signal = signal
        .or_else(|| options.stop_signal.map(|chosen| chosen.signal()))
        .or_else(image)
        .map_or(libc_sigterm(), Signal::number);
    let timeout = timeout.or(options.stop_timeout).unwrap_or(TIMEOUT);
    lifecycle::begin_stop(engine, record, signal, i64::from(timeout))
}

fn libc_sigterm() -> i32 {
    rustix::process::Signal::TERM.as_raw()
}
