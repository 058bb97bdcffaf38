//! `run`: create, start, and stay connected.

use lrun_runtime::container::create::{Created, create};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::{self, Host};
use lrun_runtime::container::lifecycle;
use lrun_runtime::container::options::{Network, RunOptions, Streams};
use lrun_runtime::container::record::State;
use lrun_runtime::error::Result;
use lrun_runtime::stdio::attach;
use lrun_runtime::stdio::terminal::{Client, Stdio};

use super::create::CidFile;
use super::session::{UserStreams, check_terminal, client_options, finish, serve};
use crate::args::{Global, RunArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: RunArgs) -> Result<u8> {
    let options = args.into_options(&context::env_exact, &context::cwd()?)?;
    check_terminal(options.tty, options.interactive && !options.detach)?;
    let client = client_options(options.tty, options.detach_keys.as_deref(), options.sig_proxy)?;
    let engine = context::engine(global)?;
    let host = context::host();
    warn_about_network(&options, &host);
    let cidfile = CidFile::reserve(options.cidfile.as_deref())?;
    let created = create(&engine, &options, &host)?;
    let id = created.record.id.clone();
    cidfile.write(&id)?;
    if !options.detach && !options.attach.stdout && !options.attach.stderr {
        output::line(id.as_str());
    }
    let streams = UserStreams::open()?;
    let wanted = if options.detach { Streams::default() } else { options.attach };
    let stdio = streams.chosen(wanted);
    let (ours, monitors) = attach::pair()?;
    let client = Client::greet(ours, if options.detach { Stdio::default() } else { stdio }, client)?;
    start(&engine, created, monitors, &host)?;
    if !options.detach {
        return serve(&engine, &id, Some(&State::default()), client);
    }
    match client.wait_started()? {
        None => {
            output::line(id.as_str());
            Ok(0)
        }
        Some(outcome) => {
            output::line(id.as_str());
            finish(&engine, &id, Some(&State::default()), outcome)
        }
    }
}

/// Starts the monitor; a container that removes itself does not stay when that fails.
fn start(engine: &Engine, created: Created, monitors: std::os::fd::OwnedFd, host: &Host) -> Result<()> {
    let Created { container, record, spec } = created;
    let started = launch::start(engine, container, &record, &spec, monitors, host);
    started.inspect_err(|_| {
        if record.auto_remove {
            let _ = lifecycle::remove(engine, &record, true);
        }
    })
}

/// One line where the default network had to be none.
fn warn_about_network(options: &RunOptions, host: &Host) {
    if let (Network::Default, Err(error)) = (&options.network, &host.pasta) {
        output::complain(&format!("lrun: no network in the container: {error} (install the package passt)"));
    }
}
