//! `start`: runs containers again that were created or have ended.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::{self, load_spec, options_of};
use lrun_runtime::container::lifecycle::{self, is_running};
use lrun_runtime::container::options::Streams;
use lrun_runtime::container::record::{Record, Status};
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::stdio::attach;
use lrun_runtime::stdio::terminal::{Client, ClientOptions, Outcome, Stdio};

use super::for_each;
use super::session::{UserStreams, check_terminal, client_options, finish};
use crate::args::{Global, StartArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &StartArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    if !args.attach && !args.interactive {
        return for_each(&args.containers, |name| {
            let record = lifecycle::find(&engine, name)?;
            if record.state.status == Status::Paused {
                let message = "cannot start a paused container, try unpause instead";
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            start_detached(&engine, &record)?;
            output::line(name);
            Ok(())
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(Error::new(ErrorKind::Invalid, "you cannot start and attach multiple containers at once"));
    };
    let record = lifecycle::find(&engine, name)?;
    if is_running(&record) {
        return super::attach::attach(&engine, &record, args.interactive, args.detach_keys.as_deref(), true);
    }
    let options = options_of(&record)?;
    let stdin = args.interactive && options.interactive;
    check_terminal(options.tty, stdin, "leave out -i")?;
    let client = client_options(options.tty, args.detach_keys.as_deref(), !options.tty)?;
    let streams = UserStreams::open()?;
    let stdio = streams.chosen(Streams { stdin, stdout: true, stderr: true });
    match start(&engine, &record, stdio, client)? {
        Some(client) => match client.run()? {
            // No command ran whose code this could be.
            Outcome::Failed { error, .. } => Err(error),
            outcome => finish(&engine, &record.id, Some(&record.state), outcome),
        },
        None => super::attach::attach(
            &engine,
            &lifecycle::settle(&engine, &record.id)?,
            args.interactive,
            args.detach_keys.as_deref(),
            true,
        ),
    }
}

/// Starts a container without staying connected; one that runs already is left alone.
pub fn start_detached(engine: &Engine, record: &Record) -> Result<()> {
    let Some(client) = start(engine, record, Stdio::default(), ClientOptions::default())? else { return Ok(()) };
    match client.wait_started()? {
        Some(Outcome::Failed { error, .. }) => Err(error),
        Some(Outcome::Lost) => Err(Error::new(ErrorKind::Io, "the container's monitor was lost before it started")),
        _ => Ok(()),
    }
}

/// Starts a container; `None` when it runs already, or another command was faster.
fn start<'a>(engine: &Engine, record: &Record, stdio: Stdio<'a>, client: ClientOptions) -> Result<Option<Client<'a>>> {
    let monitor = launch::prepare_monitor(engine, &options_of(record)?)?;
    let Some((container, record)) = lifecycle::hold_stopped(engine, &record.id)? else { return Ok(None) };
    let spec = load_spec(container.paths.path())?;
    let (ours, monitors) = attach::pair()?;
    let client = Client::greet(ours, stdio, client)?;
    launch::start(engine, container, &record, &spec, (monitor.mapped()?, monitors), &context::host())?;
    Ok(Some(client))
}
