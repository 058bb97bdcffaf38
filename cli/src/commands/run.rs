//! `run`: create, start, and stay connected.

use lrun_runtime::container::create::{Created, draft};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::{self, Host, Waiting};
use lrun_runtime::container::lifecycle::{self, Removal};
use lrun_runtime::container::options::{Network, RunOptions};
use lrun_runtime::container::record::State;
use lrun_runtime::error::Result;
use lrun_runtime::stdio::attach;
use lrun_runtime::stdio::terminal::{Client, ClientOptions, Stdio};

use super::Early;
use super::create::{CidFile, remove_named, warn_about_platform};
use super::pull;
use super::session::{UserStreams, check_terminal, client_options, finish, serve};
use crate::args::{Global, RunArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: RunArgs, early: Option<Early>) -> Result<u8> {
    let (pulling, replace) = (args.pulling()?, args.replace()?);
    let attach = args.check_attach();
    let mut options = args.into_options(&context::env_exact, &context::cwd_or_none())?;
    if let Err(error) =
        attach.and_then(|()| check_terminal(options.tty, options.interactive && !options.detach, "leave out -t"))
    {
        // Docker counts these as failures of the command, not of its flags.
        output::error(&error);
        return Ok(1);
    }
    let client = client_options(options.tty, options.detach_keys.as_deref(), options.sig_proxy)?;
    let (engine, monitor) = match early {
        Some(Early { map, monitor }) => {
            let monitor = monitor.prepare(&options)?;
            (context::engine_with(global, map)?, monitor)
        }
        None => {
            let engine = context::engine(global)?;
            let monitor = launch::prepare_monitor(&engine, &options)?;
            (engine, monitor)
        }
    };
    options.image = pull::ensure(global, &engine, options.image, &pulling)?;
    let host = context::host();
    warn_about_network(&options, &host);
    let cidfile = CidFile::reserve(options.cidfile.as_deref())?;
    let draft = draft(&engine, &options, &host, true)?;
    warn_about_platform(&draft, &pulling)?;
    let monitor = monitor.mapped()?;
    if replace {
        remove_named(&engine, options.name.as_deref())?;
    }
    let created = draft.write()?;
    let record = created.record.clone();
    let streams = UserStreams::open()?;
    let started = cidfile
        .write(&record.id)
        .and_then(|()| start(&engine, (created, monitor), &options, (&streams, client), &host));
    let client = started.inspect_err(|_| {
        // What removes itself does not stay when it could not be started.
        if record.auto_remove {
            let _ = lifecycle::remove(&engine, &record, Removal { force: true, ..Removal::default() });
        }
    })?;
    if !options.detach {
        return serve(&engine, &record.id, Some(&State::default()), client);
    }
    let outcome = client.wait_started()?;
    output::line(record.id.as_str());
    outcome.map_or(Ok(0), |outcome| finish(&engine, &record.id, Some(&State::default()), outcome))
}

/// Gives the monitor its container, and returns its first client.
fn start<'a>(
    engine: &Engine,
    (created, monitor): (Created, Waiting),
    options: &RunOptions,
    (streams, client): (&'a UserStreams, ClientOptions),
    host: &Host,
) -> Result<Client<'a>> {
    let Created { container, record, spec } = created;
    if !options.detach && !options.attach.stdout && !options.attach.stderr {
        output::line(record.id.as_str());
    }
    let (stdio, client) = match options.detach {
        true => (Stdio::default(), ClientOptions::default()),
        false => (streams.chosen(options.attach), client),
    };
    let (ours, monitors) = attach::pair()?;
    let client = Client::greet(ours, stdio, client)?;
    launch::start(engine, container, &record, &spec, (monitor, monitors), host)?;
    Ok(client)
}

/// One line where the default network had to be none.
fn warn_about_network(options: &RunOptions, host: &Host) {
    if let (Network::Default, Err(error)) = (&options.network, &host.pasta) {
        output::complain(&format!("lrun: no network in the container: {error} (install the package passt)"));
    }
}
