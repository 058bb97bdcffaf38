//! What a user asks of a container: the flags of `run` and `create`, parsed once into strict types.
//!
//! The command line turns each flag into a value here with the pure parsers of this folder, which read docker's grammar
//! and word their errors as docker does. [`RunOptions`] is stored in the container's record and shown by `inspect`;
//! [`crate::container::spec`] turns it, with the image's config, into an OCI `Spec`.

pub mod env;
pub mod exec;
pub mod limits;
pub mod mounts;
pub mod network;
pub mod security;
pub mod signal;
pub mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

pub use env::EnvVar;
pub use exec::ExecOptions;
pub use limits::{LogOptions, Ulimit};
pub use mounts::{Access, Mount, Propagation};
pub use network::{Dns, HostEntry, Network};
pub use security::{CapabilityChanges, Device, SeccompChoice, Security};
pub use signal::{Signal, StopSignal};
pub use user::{IdOrName, UserSpec};

/// Everything that `run` and `create` were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// `--name`, without a leading slash; absent: the engine makes one up.
    pub name: Option<String>,
    /// The image as typed.
    pub image: String,
    /// The command and its arguments; empty: the image's own.
    pub command: Vec<String>,
    /// `--entrypoint`; `Some` of nothing clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `--env-file` then `-e`, in the order given; each name once.
    pub env: Vec<EnvVar>,
    /// `--user`; absent: the image's.
    pub user: Option<UserSpec>,
    /// `--group-add`. Names are looked up in the container's `/etc/group`.
    pub groups: Vec<IdOrName>,
    /// `--workdir`, absolute and clean; absent: the image's, else `/`.
    pub workdir: Option<String>,
    /// `--hostname`; absent: the first 12 digits of the id.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `-t`: the container gets a terminal.
    pub tty: bool,
    /// `-i`: standard input stays open.
    pub interactive: bool,
    /// `-d`: the client leaves once the container runs.
    pub detach: bool,
    /// `--rm`: the container is removed when it ends.
    pub rm: bool,
    /// `--init`: an init process reaps orphans and forwards signals.
    pub init: bool,
    /// `--read-only`: the root file system is mounted read-only.
    pub read_only: bool,
    /// `--label-file` then `-l`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`: shown by `inspect`.
    pub annotations: BTreeMap<String, String>,
    /// `-v`, `--mount` and `--tmpfs`, in the order given; every target once.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Network,
    /// `--expose`: ports with their protocol, as in `80/tcp`, besides the image's.
    pub expose: Vec<String>,
    /// `--add-host`.
    pub add_hosts: Vec<HostEntry>,
    /// `--dns`, `--dns-search`, `--dns-option`.
    pub dns: Dns,
    /// `--ulimit`; each resource once.
    pub ulimits: Vec<Ulimit>,
    /// `--oom-score-adj`, -1000 to 1000; absent: the caller's.
    pub oom_score_adj: Option<i32>,
    /// `--shm-size` in bytes; absent: 64 MiB.
    pub shm_size: Option<u64>,
    /// `--cap-add` and `--cap-drop`.
    pub capabilities: CapabilityChanges,
    /// `--security-opt`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--sysctl`: namespaced ones only.
    pub sysctls: BTreeMap<String, String>,
    /// `--stop-signal`; absent: the image's, else SIGTERM.
    pub stop_signal: Option<StopSignal>,
    /// `--stop-timeout` in seconds; negative: `stop` waits for ever; absent: 10.
    pub stop_timeout: Option<i32>,
    /// Which streams the foreground client is attached to.
    pub attach: Streams,
    /// `--sig-proxy`: the client forwards the signals that it gets.
    pub sig_proxy: bool,
    /// `--detach-keys` as typed; `Some("")` disables detaching.
    pub detach_keys: Option<String>,
    /// `--cidfile`: where the client writes the new id; relative to the client's directory.
    pub cidfile: Option<PathBuf>,
    /// `--log-opt`.
    pub log: LogOptions,
}

/// A set of standard streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    /// Adds the stream that `-a` names, in any case.
    pub fn add(&mut self, name: &str) -> Result<()> {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => self.stdin = true,
            "stdout" => self.stdout = true,
            "stderr" => self.stderr = true,
            _ => return Err(invalid("valid streams are STDIN, STDOUT and STDERR")),
        }
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        !(self.stdin || self.stdout || self.stderr)
    }
}

impl RunOptions {
    /// Refuses what contradicts itself: targets mounted twice, options that need a namespace of the container's own.
    pub fn check(&self) -> Result<()> {
        self.check_targets()?;
        if let Network::Container(_) = self.network {
            let conflict = if self.hostname.is_some() {
                Some("hostname")
            } else if !self.dns.is_empty() {
                Some("dns")
            } else if !self.add_hosts.is_empty() {
                Some("custom host-to-IP mapping")
            } else {
                None
            };
            if let Some(what) = conflict {
                return Err(invalid(format!("conflicting options: {what} and the network mode")));
            }
        }
        let own_network = matches!(self.network, Network::Default | Network::Pasta | Network::None);
        if !own_network && let Some(name) = self.sysctls.keys().find(|name| name.starts_with("net.")) {
            return Err(invalid(format!(
                "sysctl '{name}' not allowed: the container has no network namespace of its own"
            )));
        }
        Ok(())
    }

    /// The options as a record keeps them: without those that are as [`RunOptions::default`] has them, which are most, and
    /// which every `ps` would read.
    pub fn to_record(&self) -> Result<serde_json::Value> {
        let value = |options: &Self| serde_json::to_value(options).map_err(|error| invalid(error.to_string()));
        let (mut given, default) = (value(self)?, value(&Self::default())?);
        if let serde_json::Value::Object(fields) = &mut given {
            fields.retain(|name, value| default.get(name) != Some(value));
        }
        Ok(given)
    }

    fn check_targets(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        let devices = self.devices.iter().map(|device| device.target.as_str());
        for target in self.mounts.iter().map(Mount::target).chain(devices) {
            if !seen.insert(target) {
                return Err(invalid(format!("Duplicate mount point: {target}")));
            }
        }
        Ok(())
    }
}

/// Checks `--workdir`: absolute in the container; returned clean.
pub fn parse_workdir(path: &str) -> Result<String> {
    mounts::clean_absolute(path)
        .ok_or_else(|| invalid(format!("the working directory '{path}' is invalid, it needs to be an absolute path")))
}

/// A refusal of what was typed.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// A refusal of what is well-formed but not served.
fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests;
