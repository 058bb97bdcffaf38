//! What a user asks of `exec`.

use serde::{Deserialize, Serialize};

use super::{EnvVar, UserSpec};

/// The flags of `exec`, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecOptions {
    /// The command and its arguments; never empty.
    pub argv: Vec<String>,
    /// `--env-file` then `-e`, on top of the container's own environment.
    pub env: Vec<EnvVar>,
    /// `--user`; absent: the container's.
    pub user: Option<UserSpec>,
    /// `--workdir`, absolute and clean; absent: the container's.
    pub workdir: Option<String>,
    /// `-t`: the command gets a terminal.
    pub tty: bool,
    /// `-i`: standard input is passed on.
    pub interactive: bool,
    /// `-d`: the client leaves once the command runs.
    pub detach: bool,
    /// `--detach-keys` as typed; `Some("")` disables detaching.
    pub detach_keys: Option<String>,
}
