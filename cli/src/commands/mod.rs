//! The commands, one file each. A command returns its exit code; its errors are printed here.

mod access;
mod attach;
mod build;
mod builder;
mod check;
mod commit;
mod cp;
mod create;
mod df;
mod diff;
mod early;
mod exec;
mod exists;
mod export;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod lists;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod pause;
mod port;
mod preferences;
mod prune;
mod ps;
mod pull;
mod push;
mod referrers;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod session;
mod start;
mod stop;
mod tag;
mod target;
mod top;
mod tree;
mod undelete;
mod version;
mod wait;

use std::process::ExitCode;

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle::containers;
use lrun_runtime::container::record::Record;
use lrun_runtime::error::Result;

pub use early::{Early, begin};

use crate::args::{Cli, Command, Global, LogLevel};
use crate::ui::{output, report};

/// Runs the command and returns the program's exit code.
pub fn run(cli: Cli, early: Option<Early>) -> ExitCode {
    trace(&cli.global);
    let family = match &cli.command {
        Command::Run(_) => report::Family::Run,
        Command::Exec(_) => report::Family::Exec,
        Command::Create(_) => report::Family::Create,
        _ => report::Family::Other,
    };
    match dispatch(&cli.global, cli.command, early) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(report::exit_code(family, error.kind()))
        }
    }
}

fn dispatch(global: &Global, command: Command, early: Option<Early>) -> Result<u8> {
    match command {
        Command::Run(args) => run::run(global, *args, early),
        Command::Create(args) => create::run(global, *args),
        Command::Start(args) => start::run(global, &args),
        Command::Stop(args) => stop::run(global, &args),
        Command::Restart(args) => restart::run(global, &args),
        Command::Kill(args) => kill::run(global, &args),
        Command::Rm(args) => rm::run(global, &args),
        Command::Undelete(args) => undelete::run(global, &args),
        Command::Wait(args) => wait::run(global, &args),
        Command::Attach(args) => attach::run(global, &args),
        Command::Exec(args) => exec::run(global, args),
        Command::Logs(args) => logs::run(global, &args),
        Command::Ps(args) => ps::run(global, &args),
        Command::Pause(args) => pause::pause(global, &args),
        Command::Unpause(args) => pause::unpause(global, &args),
        Command::Port(args) => port::run(global, &args),
        Command::Rename(args) => rename::run(global, &args),
        Command::Inspect(args) => inspect::run(global, &args),
        Command::Top(args) => top::run(global, &args),
        Command::Commit(args) => commit::run(global, &args),
        Command::Build(args) => build::run(global, &args),
        Command::Pull(args) => pull::run(global, &args),
        Command::Push(args) => push::run(global, &args),
        Command::Login(args) => login::run(global, &args),
        Command::Logout(args) => logout::run(global, &args),
        Command::Search(args) => search::run(global, &args),
        Command::Images(args) => images::run(global, &args),
        Command::History(args) => history::run(global, &args),
        Command::Tag(args) => tag::run(global, &args),
        Command::Untag(args) => tag::remove(global, &args),
        Command::Rmi(args) => rmi::run(global, &args),
        Command::Diff(args) => diff::run(global, &args),
        Command::Export(args) => export::run(global, &args),
        Command::Import(args) => import::run(global, &args),
        Command::Cp(args) => cp::run(global, &args),
        Command::Load(args) => load::run(global, &args),
        Command::Save(args) => save::run(global, &args),
        Command::Info(args) => info::run(global, &args),
        Command::Version(args) => version::run(global, &args),
        Command::Check(args) => check::run(global, &args),
        Command::Df(args) => df::run(global, &args),
        Command::BuilderCreate(args) => builder::create(&args),
        Command::BuilderDu(args) => builder::du(global, &args),
        Command::BuilderInspect(args) => builder::inspect(&args),
        Command::BuilderLs(args) => builder::ls(&args),
        Command::BuilderPrune(args) => prune::builder(global, &args),
        Command::BuilderRm(args) => builder::rm(&args),
        Command::BuilderUse(args) => builder::choose(&args),
        Command::BuildxVersion(_) => Ok(builder::version()),
        Command::ContainerExists(args) => exists::container(global, &args),
        Command::ImageExists(args) => exists::image(global, &args),
        Command::ContainerPrune(args) => prune::containers(global, &args),
        Command::ImagePrune(args) => prune::images(global, &args),
        Command::ImageTree(args) => tree::run(global, &args),
        Command::ListAnnotate(args) => lists::annotate(global, &args),
        Command::ListCreate(args) => lists::create(global, &args),
        Command::ListPush(args) => lists::push(global, &args),
        Command::ListRemove(args) => lists::remove(global, &args),
        Command::ManifestInspect(args) => manifest::run(global, &args),
        Command::Referrers(args) => referrers::run(global, &args),
        Command::SystemPrune(args) => prune::system(global, &args),
        // `args::parse` turns these into the short forms.
        Command::Builder(_) | Command::Container(_) | Command::Image(_) | Command::Manifest(_) | Command::System(_) => {
            Ok(1)
        }
    }
}

/// The containers that a command is for: those that were named, or with `--all` all that `takes` says yes to, by id.
fn chosen(engine: &Engine, names: &[String], all: bool, takes: impl Fn(&Record) -> bool) -> Result<Vec<String>> {
    if !all {
        return Ok(names.to_vec());
    }
    let all = containers(engine);
    let mut ids = Vec::new();
    for summary in all.list()?.summaries {
        // One that is gone meanwhile needs nothing.
        if all.read(&summary.id).is_ok_and(|record| takes(&record)) {
            ids.push(summary.id.to_string());
        }
    }
    Ok(ids)
}

/// Does `one` for each name; goes on after a failure, which is printed and makes the exit code 1.
fn for_each(names: &[String], mut one: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for name in names {
        if let Err(error) = one(name) {
            output::error(&error);
            code = 1;
        }
    }
    Ok(code)
}

fn trace(global: &Global) {
    let level = match (global.debug, global.log_level) {
        (true, _) | (_, Some(LogLevel::Debug)) => tracing::Level::DEBUG,
        (_, Some(LogLevel::Info)) => tracing::Level::INFO,
        (_, Some(LogLevel::Error)) => tracing::Level::ERROR,
        _ => tracing::Level::WARN,
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    subscriber.without_time().init();
}
