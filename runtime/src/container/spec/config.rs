//! The image's config with the user's options on top: what `inspect` shows as `Config` and what a commit starts from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ImageFacts;
use crate::container::options::{EnvVar, RunOptions, StopSignal, UserSpec, env, user};
use crate::error::{Context, Result};

/// The merged config of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Who the command runs as; absent: root.
    pub user: Option<UserSpec>,
    /// `NAME=value`: the image's, then the user's, each name once. Without what the engine sets (`HOSTNAME`, `TERM`).
    pub env: Vec<String>,
    /// What is run.
    pub entrypoint: Vec<String>,
    /// Its arguments, or what is run where there is no entrypoint.
    pub cmd: Vec<String>,
    /// Where it runs; empty: `/`.
    pub working_dir: String,
    /// The image's labels and the user's.
    pub labels: BTreeMap<String, String>,
    /// What `stop` sends first; absent: SIGTERM.
    pub stop_signal: Option<StopSignal>,
}

/// Merges as docker does: an entrypoint of the user's own drops the image's command.
pub fn container_config(options: &RunOptions, image: &ImageFacts) -> Result<ContainerConfig> {
    let user = match &options.user {
        Some(user) => Some(user.clone()),
        None if image.user.is_empty() => None,
        None => Some(user::parse_user(&image.user).context(|| "the image's config")?),
    };
    let stop_signal = match &options.stop_signal {
        Some(signal) => Some(signal.clone()),
        None if image.stop_signal.is_empty() => None,
        None => Some(StopSignal::parse(&image.stop_signal).context(|| "the image's config")?),
    };
    let cmd = match options.entrypoint {
        None if options.command.is_empty() => &image.cmd,
        _ => &options.command,
    };
    let mut labels = image.labels.clone();
    labels.extend(options.labels.clone());
    Ok(ContainerConfig {
        user,
        env: merge_env(image_env(image), &options.env),
        entrypoint: options.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone()),
        cmd: cmd.clone(),
        working_dir: options.workdir.clone().unwrap_or_else(|| image.working_dir.clone()),
        labels,
        stop_signal,
    })
}

/// The image's variables. An entry without a name or a value is dropped: it must never come to mean "take the host's".
fn image_env(image: &ImageFacts) -> Vec<EnvVar> {
    let mut vars = Vec::new();
    for entry in image.env.iter().filter(|entry| !entry.contains('\0')) {
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
            env::set_env(&mut vars, EnvVar { name: name.to_owned(), value: Some(value.to_owned()) });
        }
    }
    vars
}

/// `base` with `changes` applied in order, as `NAME=value`.
pub(super) fn merge_env(base: Vec<EnvVar>, changes: &[EnvVar]) -> Vec<String> {
    let mut vars = base;
    for change in changes {
        env::set_env(&mut vars, change.clone());
    }
    vars.iter().filter_map(EnvVar::assignment).collect()
}

/// `NAME=value` entries as variables.
pub(super) fn split_env(entries: &[String]) -> Vec<EnvVar> {
    let split = |entry: &String| {
        let (name, value) = entry.split_once('=')?;
        Some(EnvVar { name: name.to_owned(), value: Some(value.to_owned()) })
    };
    entries.iter().filter_map(split).collect()
}
