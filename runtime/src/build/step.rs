//! What one step of a build does: a container of the image so far runs a command, or is given files, and what has changed
//! in it becomes a layer.
//!
//! Runs in the CLI, on the host, with one thread.

use std::os::fd::BorrowedFd;

use jiff::Timestamp;

use super::remote::Remote;
use super::unpublished::prepare;
use crate::container::commit::{Taken, take_layer};
use crate::container::create::{Created, draft};
use crate::container::engine::Engine;
use crate::container::launch::{self, Host};
use crate::container::lifecycle::{self, Removal};
use crate::container::names::ContainerId;
use crate::container::options::RunOptions;
use crate::container::passing::Passing;
use crate::container::record::Record;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::config::ImageConfig;
use crate::stdio::attach;
use crate::stdio::terminal::{Client, ClientOptions, Outcome, Stdio};

/// Stands for a network among what a step read.
const NETWORK: &str = "the network";

/// What all steps of a build have in common.
pub struct Steps<'a> {
    /// The store, as the build sees it.
    pub engine: &'a Engine,
    /// The host's side of a start.
    pub host: &'a Host,
    /// The time that layers carry, and no file is later than; `None`: now.
    pub clock: Option<Timestamp>,
    /// The way to what is elsewhere.
    pub remote: &'a Remote,
    /// Gets what the commands write.
    pub output: BorrowedFd<'a>,
}

/// What a step has made: a layer of the build; `None`: it changed no file.
#[derive(Debug)]
pub struct Made {
    /// Its layer.
    pub layer: Option<Digest>,
    /// What it read that is not the same each time: paths, see [`crate::sandbox::reads`], and [`NETWORK`].
    pub reads: Vec<String>,
}

/// What files are copied onto.
#[derive(Clone, Copy, Debug)]
pub enum Onto<'a> {
    /// The image so far.
    Image,
    /// Nothing: the layer is the same on any image. These directories are only on the way to the files.
    Nothing {
        /// Relative paths; the root is the empty one.
        implicit: &'a [Vec<u8>],
    },
}

/// How a command ended.
#[derive(Debug)]
pub enum Ran {
    /// Well.
    Well(Made),
    /// With this code, 128 + N for signal N. The container is left to the caller.
    Failed(u8, ContainerId),
    /// The user interrupted the build by this signal. Nothing is kept.
    Interrupted(i32),
}

impl Steps<'_> {
    /// Runs a command in a container with these options, of which the image is the one so far; `passing`: what no layer and
    /// no record has.
    pub fn run(&self, options: &RunOptions, passing: &Passing) -> Result<Ran> {
        prepare(self.engine.root())?;
        let monitor = launch::prepare_monitor(self.engine, options)?;
        let draft = draft(self.engine, options, self.host, true)?;
        let monitor = monitor.mapped()?;
        let Created { container, record, spec } = draft.write_relaxed()?;
        let (ours, monitors) = attach::pair()?;
        let stdio = Stdio { stdin: None, stdout: Some(self.output), stderr: Some(self.output) };
        let outcome = Client::greet(ours, stdio, ClientOptions { interruptible: true, ..ClientOptions::default() })
            .and_then(|client| {
                let with = (self.host, passing);
                launch::start_with(self.engine, container, &record, &spec, (monitor, monitors), with)?;
                client.run()
            });
        let mut ran = self.ended(&record, outcome)?;
        if let (Ran::Well(made), Some(reads)) = (&mut ran, &passing.reads) {
            made.reads.extend(reads.take());
        }
        Ok(ran)
    }

    fn ended(&self, record: &Record, outcome: Result<Outcome>) -> Result<Ran> {
        match outcome {
            Ok(Outcome::Exited(0)) => self.layer(record, &[]).map(Ran::Well),
            Ok(Outcome::Exited(code)) => Ok(Ran::Failed(code, record.id.clone())),
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
    pub fn change(&self, options: &RunOptions, work: impl FnOnce(&Record) -> Result<()>) -> Result<Made> {
        self.change_on(Onto::Image, options, work)
    }

    /// The same of a container of that image, or of one of no layers.
    pub fn change_on(
        &self,
        onto: Onto<'_>,
        options: &RunOptions,
        work: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<Made> {
        prepare(self.engine.root())?;
        // It is never started, but a container has a command.
        let options = RunOptions { command: vec!["true".to_owned()], ..options.clone() };
        let draft = draft(self.engine, &options, self.host, false)?;
        let (draft, implicit) = match onto {
            Onto::Image => (draft, &[][..]),
            Onto::Nothing { implicit } => (draft.without_layers(), implicit),
        };
        let Created { container, record, .. } = draft.write_relaxed()?;
        drop(container);
        match work(&record) {
            Ok(()) => self.layer(&record, implicit),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.remove(&record);
                Err(error)
            }
        }
    }

    /// A container of another image, for `work` to look at; it goes.
    pub fn look<T>(&self, options: &RunOptions, image: &Digest, work: impl FnOnce(&Record) -> Result<T>) -> Result<T> {
        prepare(self.engine.root())?;
        let command = vec!["true".to_owned()];
        let options = RunOptions { image: image.to_string(), command, rm: true, ..options.clone() };
        let Created { container, record, .. } = draft(self.engine, &options, self.host, false)?.write_relaxed()?;
        drop(container);
        let found = work(&record);
        let removed = self.remove(&record);
        let found = found?;
        removed.map(|()| found)
    }

    /// What has changed in the container becomes a layer; the container goes.
    fn layer(&self, record: &Record, implicit: &[Vec<u8>]) -> Result<Made> {
        let taken = take_layer(self.engine, record, self.clock, implicit);
        let removed = self.remove(record);
        let Taken { layer, received } = taken?;
        let reads = received.then(|| NETWORK.to_owned()).into_iter().collect();
        removed.map(|()| Made { layer, reads })
    }

    fn remove(&self, record: &Record) -> Result<()> {
        lifecycle::remove(self.engine, record, Removal { force: true, trash: false, relaxed: true })
    }

    /// Makes the image so far one of the build's, unless the store has it.
    pub fn publish(&self, config: &ImageConfig, parent: Option<&Digest>) -> Result<Digest> {
        let bytes = config.to_bytes()?;
        let id = Digest::of(&bytes);
        if self.engine.store.image_record(&id).is_ok() {
            return Ok(id);
        }
        prepare(self.engine.root())?;
        self.engine.store.publish_image(&bytes, parent, &[]).context(|| "publish the image")
    }
}
