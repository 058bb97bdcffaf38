//! What one step of a build does: a container of the image so far runs a command, or is given files, and what has changed
//! in it becomes a layer.
//!
//! Runs in the CLI, on the host, with one thread.

use std::os::fd::BorrowedFd;

use jiff::Timestamp;

use crate::container::commit::commit_layer;
use crate::container::create::{Created, draft};
use crate::container::engine::Engine;
use crate::container::launch::{self, Host};
use crate::container::lifecycle::{self, Removal};
use crate::container::names::ContainerId;
use crate::container::options::RunOptions;
use crate::container::record::Record;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::image::config::{History, ImageConfig};
use crate::reference::Reference;
use crate::stdio::attach;
use crate::stdio::terminal::{Client, ClientOptions, Outcome, Stdio};

/// What all steps of a build have in common.
pub struct Steps<'a> {
    /// The store.
    pub engine: &'a Engine,
    /// The host's side of a start.
    pub host: &'a Host,
    /// The time that layers carry, and no file is later than; `None`: now.
    pub clock: Option<Timestamp>,
    /// Gets what the commands write.
    pub output: BorrowedFd<'a>,
}

/// What a step has made. Its container keeps the layer from being collected, until [`Steps::done`].
#[derive(Debug)]
pub struct Made {
    /// The layer; `None`: no file was changed.
    pub layer: Option<Digest>,
    container: Record,
}

/// How a command ended.
#[derive(Debug)]
pub enum Ran {
    /// Well.
    Well(Box<Made>),
    /// With this code, 128 + N for signal N. The container is kept.
    Failed(u8, ContainerId),
    /// The user interrupted the build by this signal. Nothing is kept.
    Interrupted(i32),
}

impl Steps<'_> {
    /// Runs a command in a container with these options, of which the image is the one so far; `entry`: its history entry.
    pub fn run(&self, options: &RunOptions, entry: &History) -> Result<Ran> {
        let monitor = launch::prepare_monitor(self.engine, options)?;
        let draft = draft(self.engine, options, self.host, true)?;
        let monitor = monitor.mapped()?;
        let Created { container, record, spec } = draft.write_relaxed()?;
        let (ours, monitors) = attach::pair()?;
        let stdio = Stdio { stdin: None, stdout: Some(self.output), stderr: Some(self.output) };
        let outcome = Client::greet(ours, stdio, ClientOptions { interruptible: true, ..ClientOptions::default() })
            .and_then(|client| {
                launch::start(self.engine, container, &record, &spec, (monitor, monitors), self.host)?;
                client.run()
            });
        self.ended(&record, outcome, entry)
    }

    fn ended(&self, record: &Record, outcome: Result<Outcome>, entry: &History) -> Result<Ran> {
        match outcome {
            Ok(Outcome::Exited(0)) => self.layer(record.clone(), entry).map(Box::new).map(Ran::Well),
            Ok(Outcome::Exited(code)) => {
                // The user is told of it, from here on it is kept.
                let directory = self.engine.root().container(record.id.as_str());
                rustix::fs::syncfs(file::open_dir(directory.path())?).context(|| "write the container to disk")?;
                Ok(Ran::Failed(code, record.id.clone()))
            }
            Ok(Outcome::Interrupted(signal)) => {
                self.remove(record)?;
                Ok(Ran::Interrupted(signal))
            }
            Ok(Outcome::OutputClosed) => {
                self.remove(record)?;
                Ok(Ran::Interrupted(libc::SIGPIPE))
            }
            Ok(Outcome::Failed { error, .. }) | Err(error) => {
                // It is removed anyway; the first error is the one to report.
                let _ = self.remove(record);
                Err(error)
            }
            Ok(Outcome::Detached | Outcome::Lost) => {
                let text = format!("the monitor of the step's container {} was lost", record.id.short());
                Err(Error::new(ErrorKind::Io, text))
            }
        }
    }

    /// A container of the image so far that does not run: `work` changes its files.
    pub fn change(
        &self,
        options: &RunOptions,
        entry: &History,
        work: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<Made> {
        // It is never started, but a container has a command.
        let options = RunOptions { command: vec!["true".to_owned()], ..options.clone() };
        let Created { container, record, .. } = draft(self.engine, &options, self.host, false)?.write_relaxed()?;
        drop(container);
        match work(&record) {
            Ok(()) => self.layer(record, entry),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.remove(&record);
                Err(error)
            }
        }
    }

    /// A container of another image, for `work` to look at; it goes.
    pub fn look<T>(&self, options: &RunOptions, image: &Digest, work: impl FnOnce(&Record) -> Result<T>) -> Result<T> {
        let command = vec!["true".to_owned()];
        let options = RunOptions { image: image.to_string(), command, rm: true, ..options.clone() };
        let Created { container, record, .. } = draft(self.engine, &options, self.host, false)?.write_relaxed()?;
        drop(container);
        let found = work(&record);
        let removed = self.remove(&record);
        let found = found?;
        removed.map(|()| found)
    }

    /// What has changed in the container becomes a layer.
    fn layer(&self, record: Record, entry: &History) -> Result<Made> {
        let using = self.engine.store.lock_shared()?;
        let layer = commit_layer(self.engine, &record, entry, self.clock);
        drop(using);
        match layer {
            Ok(layer) => Ok(Made { layer, container: record }),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.remove(&record);
                Err(error)
            }
        }
    }

    /// An image has the layer: the container goes.
    pub fn done(&self, made: &Made) -> Result<()> {
        self.remove(&made.container)
    }

    fn remove(&self, record: &Record) -> Result<()> {
        lifecycle::remove(self.engine, record, Removal { force: true, trash: false, relaxed: true })
    }

    /// Makes the image so far one of the store, if it is not yet.
    pub fn publish(&self, config: &ImageConfig, parent: Option<&Digest>, names: &[Reference]) -> Result<Digest> {
        let bytes = config.to_bytes()?;
        let id = Digest::of(&bytes);
        if names.is_empty() && self.engine.store.image_record(&id).is_ok() {
            return Ok(id);
        }
        let _using = self.engine.store.lock_shared()?;
        self.engine.store.publish_image(&bytes, parent, names).context(|| "publish the image")
    }
}
