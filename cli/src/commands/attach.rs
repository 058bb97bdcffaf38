//! `attach`: connects to a container that runs.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::options_of;
use lrun_runtime::container::lifecycle::{self, containers, is_running};
use lrun_runtime::container::options::Streams;
use lrun_runtime::container::record::{Record, Status};
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::stdio::attach as protocol;
use lrun_runtime::stdio::terminal::Client;

use super::session::{UserStreams, check_terminal, client_options, serve};
use crate::args::{AttachArgs, Global};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: &AttachArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    attach(&engine, &record, !args.no_stdin, args.detach_keys.as_deref(), args.sig_proxy)
}

/// Attaches to a running container until it ends or the user detaches.
pub fn attach(engine: &Engine, record: &Record, stdin: bool, keys: Option<&str>, sig_proxy: bool) -> Result<u8> {
    if !is_running(record) {
        let message = "You cannot attach to a stopped container, start it first";
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    if record.state.status == Status::Paused {
        let message = "You cannot attach to a paused container, unpause it first";
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let options = options_of(record)?;
    let stdin = stdin && options.interactive;
    check_terminal(options.tty, stdin, "attach without stdin (attach --no-stdin, start without -i)")?;
    let streams = UserStreams::open()?;
    let directory = containers(engine).directory(&record.id)?;
    let stdio = streams.chosen(Streams { stdin, stdout: true, stderr: true });
    // A terminal that is closed ends the client, and not a container that was meant to go on.
    let client = client_options(options.tty, keys, sig_proxy && !options.tty)?;
    let client = Client::greet(protocol::connect(&directory)?, stdio, client)?;
    serve(engine, &record.id, None, client)
}
