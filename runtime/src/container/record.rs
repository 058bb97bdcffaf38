//! The record of a container: `containers/<id>/record.json`.
//!
//! It is replaced as a whole. Whoever replaces it holds the container's `record.lock` meanwhile; its monitor holds the
//! container's `lock` as long as anything of the container may run, so that a free `lock` means that nobody writes the
//! read-write layer.

mod containers;
mod salvage;
mod summary;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use containers::{Container, Containers, NameChoice, no_such_container, not_running, update_record};
pub use salvage::{Evidence, salvage};
pub use summary::{Listing, ShownOptions, Summary};

use super::names::{ContainerId, ContainerName};
use crate::digest::Digest;
use crate::image::config::History;

/// The record's layout that this version writes.
pub const RECORD_VERSION: u32 = 1;

/// Annotation of the spec of a container that is kept: the image's id.
pub const IMAGE: &str = "lrun.image";
/// The same: the image's name as the user typed it.
pub const REFERENCE: &str = "lrun.reference";

/// The exit code of a container whose end nobody saw.
pub const LOST: i32 = 255;

/// Everything that is kept about a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Layout of the record.
    pub version: u32,
    /// The id.
    pub id: ContainerId,
    /// The name.
    pub name: ContainerName,
    /// When it was created.
    pub created: Timestamp,
    /// What it was made from.
    pub image: ImageUse,
    /// Entrypoint and arguments, as `ps` shows them.
    pub command: Vec<String>,
    /// Its state.
    pub state: State,
    /// Labels, the image's included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Removed when it exits (`--rm`).
    #[serde(default)]
    pub auto_remove: bool,
    /// Made by `run`, which starts it at once.
    #[serde(default)]
    pub by_run: bool,
    /// Ports that it exposes, as in `80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Directories that its image names as volumes, absolute and clean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The stack below the read-write layer, bottom first: the image's layers, then those that commits made.
    pub layers: Vec<Digest>,
    /// How many of [`Record::layers`] are the image's.
    pub image_depth: usize,
    /// How each layer above the image's came to be, bottom first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The read-write layer has been used before the first start: something was copied into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prepared: bool,
    /// A commit is moving the read-write layer into the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_commit: Option<PendingCommit>,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// The options that it was created with, in the form of [`crate::container::options`].
    #[serde(default)]
    pub options: Value,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The note of a commit in progress: see [`crate::container::commit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingCommit {
    /// The layer that the read-write layer becomes.
    pub layer: Digest,
    /// How it came to be.
    pub entry: History,
}

impl Record {
    /// Whether the root of the read-write layer has attributes of its own: before that, there is nothing in it.
    pub fn has_layer(&self) -> bool {
        self.prepared || self.state.started.is_some()
    }

    /// Whether this container would not be there any more, had the command or the monitor that saw its end not been
    /// killed. Only while nobody holds its lock.
    pub fn is_leftover(&self) -> bool {
        is_leftover(self.auto_remove, self.by_run, self.state.status)
    }
}

fn is_leftover(auto_remove: bool, by_run: bool, status: Status) -> bool {
    auto_remove && (status == Status::Exited || (by_run && status == Status::Created))
}

/// The image of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// Its id.
    pub id: Digest,
    /// The name as the user typed it.
    pub reference: String,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Started; true only while its `lock` is held.
    Running,
    /// Running, but frozen.
    Paused,
    /// Ended, or could not be started.
    Exited,
}

impl Status {
    /// Whether processes of the container exist, if its `lock` is held.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// The init process, while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<ProcessKey>,
    /// The monitor's process id on the host, while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_pid: Option<i32>,
    /// Exit code of the last run.
    #[serde(default)]
    pub exit_code: i32,
    /// Why it could not be started, or what went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The kernel ended it for its use of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// A step of a build received something over a network of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub received: bool,
    /// Last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Last end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// A process, told from later ones with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id on the host.
    pub pid: i32,
    /// Start time in clock ticks after boot; field 22 of proc_pid_stat(5).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

#[cfg(test)]
mod tests;
