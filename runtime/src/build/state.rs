//! What a stage has come to: the config of the image so far. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dockerfile::instruction::{CommandLine, exposed};
use super::dockerfile::{Command, Instruction, Pair};
use crate::container::spec::DEFAULT_PATH;
use crate::digest::Digest;
use crate::error::Result;
use crate::image::config::{History, ImageConfig, RunConfig};
use crate::registry::platform::Platform;

/// The shell where none is set.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage, so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The config of the image that it is.
    pub config: ImageConfig,
    /// That image, which the store has; `None`: nothing yet, as `FROM scratch` is.
    pub image: Option<Digest>,
    /// Whether this stage has set a command: an entrypoint then leaves it.
    has_command: bool,
    author: String,
    /// The values of the arguments that it has declared: a stage on it has them, too.
    pub arguments: BTreeMap<String, String>,
    /// Keys of the steps that made it, in their order.
    pub trail: Vec<Digest>,
    /// How many of them are of its base.
    pub base_trail: usize,
    /// How many layers its base has.
    pub base_layers: usize,
    /// How many entries the base's history has.
    pub base_history: usize,
}

impl State {
    /// On an image.
    pub fn on(config: ImageConfig, image: Digest) -> Self {
        let author = config.author.clone();
        Self { config, image: Some(image), author, ..Self::default() }
    }

    /// On nothing, for this platform.
    pub fn scratch(platform: &Platform) -> Self {
        let Platform { os, architecture, variant } = platform.clone();
        let run = RunConfig { working_dir: "/".to_owned(), ..RunConfig::default() };
        let config = ImageConfig { architecture, variant, os, config: run, ..ImageConfig::default() };
        Self { config, ..Self::default() }
    }

    /// As the base of a stage, and the instructions that it wants to be run there.
    pub fn anew(mut self) -> (Self, Vec<String>) {
        let triggers = std::mem::take(&mut self.config.config.on_build);
        self.has_command = false;
        self.base_trail = self.trail.len();
        self.base_layers = self.config.rootfs.diff_ids.len();
        self.base_history = self.config.history.len();
        // So that `ENV PATH=/opt/bin:$PATH` adds to what a command would get.
        if self.env("PATH").is_none() {
            self.config.config.set_env("PATH", DEFAULT_PATH);
        }
        (self, triggers)
    }

    /// The run config so far.
    pub fn run(&self) -> &RunConfig {
        &self.config.config
    }

    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.run().env.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
    }

    /// The words that a command line starts.
    pub fn words(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// The shell of shell-form commands.
    pub fn shell(&self) -> Vec<String> {
        self.run().shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec())
    }

    /// A path as `WORKDIR` and destinations have it: absolute, or below the working directory.
    pub fn absolute(&self, path: &str) -> String {
        match (path.starts_with('/'), self.run().working_dir.as_str()) {
            (true, _) => path.to_owned(),
            (false, "") => format!("/{path}"),
            (false, directory) => format!("{}/{path}", directory.trim_end_matches('/')),
        }
    }

    /// The history entry of a step of this stage.
    pub fn entry(&self, created: String, created_by: String) -> History {
        History { created: Some(created), created_by, author: self.author.clone(), ..History::default() }
    }

    /// One step further.
    pub fn add(&mut self, run: RunConfig, layer: Option<Digest>, entry: History) {
        self.config = self.config.derive(run, layer, entry);
    }

    /// The run config after an instruction that only changes that; `None`: it does more, or nothing. Variables are
    /// expanded.
    pub fn changed(&mut self, instruction: &Instruction) -> Result<Option<RunConfig>> {
        let mut run = self.run().clone();
        match &instruction.command {
            Command::Env(pairs) => pairs.iter().for_each(|pair| run.set_env(&pair.name.text, &pair.value.text)),
            Command::Label(pairs) => run.labels.extend(pairs.iter().map(label)),
            Command::Cmd(line) => {
                run.cmd = Some(self.words(line));
                self.has_command = true;
            }
            Command::Entrypoint(line) => {
                run.entrypoint = Some(self.words(line));
                if !self.has_command {
                    run.cmd = None;
                }
            }
            Command::Expose(words) => {
                let ports = exposed(words.iter().map(|word| word.text.as_str()))?;
                run.exposed_ports.extend(ports.into_iter().map(|port| (port, json!({}))));
            }
            Command::Volume(words) => {
                run.volumes.extend(words.iter().map(|word| (word.text.clone(), json!({}))));
            }
            Command::User(word) => run.user.clone_from(&word.text),
            Command::StopSignal(word) => run.stop_signal.clone_from(&word.text),
            Command::Shell(words) => run.shell = Some(words.clone()),
            Command::Healthcheck(check) => run.healthcheck = Some(check.clone()),
            Command::OnBuild(word) => run.on_build.push(word.text.clone()),
            Command::Maintainer(word) => self.author.clone_from(&word.text),
            Command::Add(_) | Command::Arg(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_) => {
                return Ok(None);
            }
        }
        Ok(Some(run))
    }
}

fn label(pair: &Pair) -> (String, String) {
    (pair.name.text.clone(), pair.value.text.clone())
}
