//! Image configs: the JSON whose digest is the image's id.
//!
//! OCI image specification, "Image Configuration", with docker's additional fields. Fields that lrun does not know
//! are kept, so that an image derived from another loses nothing.

mod change;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use change::{apply_changes, exposed_ports, exposed_range, is_signal};
pub use words::duration;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// Fields that lrun does not interpret.
pub type Extra = BTreeMap<String, Value>;

/// A set as Go's JSON writes it: `{"80/tcp": {}}`.
pub type Set = BTreeMap<String, Value>;

/// Go writes empty lists and maps as `null`.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture in Go's words (`amd64`).
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture (`v8`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Operating system in Go's words (`linux`).
    #[serde(default)]
    pub os: String,
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    /// What its author says about it; docker's field.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub comment: String,
    /// How to run it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// Its layers.
    pub rootfs: RootFs,
    /// How each layer came to be, bottom first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer archives, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new(), extra: Extra::new() }
    }
}

/// One entry of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What they say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How to run a container from an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    /// `port/protocol`.
    #[serde(default, skip_serializing_if = "Set::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: Set,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// What is run; [`RunConfig::cmd`] is appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the command where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths of volumes.
    #[serde(default, skip_serializing_if = "Set::is_empty", deserialize_with = "null_is_default")]
    pub volumes: Set,
    /// Where the command runs.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// What `stop` sends first.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Seconds that `stop` waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How to tell whether the service works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on top of this image.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// The shell of shell-form commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Extra,
}

/// docker's health check; durations in nanoseconds, absent or 0 is inherited or the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", args…]` or `["CMD-SHELL", command]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check counts as failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time after the start in which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks in that period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Extra,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl ImageConfig {
    /// Reads a config.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("invalid image config: {error}")))?;
        if config.rootfs.kind != "layers" {
            let message = format!("image config has rootfs type {:?}, not \"layers\"", config.rootfs.kind);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(config)
    }

    /// The canonical bytes: equal configs give equal bytes, hence equal ids.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(ErrorKind::Invalid, format!("encode image config: {e}")))
    }

    /// The digests that identify each stack of layers, bottom first; OCI image specification, "Layer ChainID".
    pub fn chain_ids(&self) -> Vec<Digest> {
        chain_ids(&self.rootfs.diff_ids)
    }

    /// [`ImageConfig::created`] as a time; `None` if absent or not RFC 3339.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.as_deref()?.parse().ok()
    }

    /// The config of an image made from this one: another run config, one more history entry, and the layer that the
    /// entry made, if any. The author is the entry's.
    #[must_use]
    pub fn derive(&self, config: RunConfig, layer: Option<Digest>, mut entry: History) -> Self {
        let mut derived = self.clone();
        // Facts about how the parent was made.
        for field in [
            "container",
            "container_config",
            "parent",
            "id",
            "docker_version",
            "moby.buildkit.buildinfo.v1",
            "dev.lrun.cache.v1",
        ] {
            derived.extra.remove(field);
        }
        entry.empty_layer = layer.is_none();
        derived.config = config;
        derived.created.clone_from(&entry.created);
        derived.author.clone_from(&entry.author);
        derived.comment.clone_from(&entry.comment);
        derived.rootfs.diff_ids.extend(layer);
        derived.history.push(entry);
        derived
    }
}

/// [`ImageConfig::chain_ids`] of a stack of layers.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(id);
    }
    chain
}

/// The name part of `NAME=value`.
fn env_name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

impl RunConfig {
    /// Fills what is not set here from `base`, as docker does for `create` (over the image's config) and `commit`
    /// (over the container's).
    ///
    /// Lists of ports, volumes, labels and variables are united, ours winning. An entrypoint of our own drops the
    /// base's command.
    pub fn merge_over(&mut self, base: &Self) {
        let unset = |ours: &mut String, theirs: &String| {
            if ours.is_empty() {
                ours.clone_from(theirs);
            }
        };
        unset(&mut self.user, &base.user);
        unset(&mut self.working_dir, &base.working_dir);
        unset(&mut self.stop_signal, &base.stop_signal);
        for (ours, theirs) in [(&mut self.exposed_ports, &base.exposed_ports), (&mut self.volumes, &base.volumes)] {
            for (key, value) in theirs {
                ours.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        for (key, value) in &base.labels {
            self.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for variable in &base.env {
            if !self.env.iter().any(|ours| env_name(ours) == env_name(variable)) {
                self.env.push(variable.clone());
            }
        }
        self.merge_command(base);
        self.stop_timeout = self.stop_timeout.or(base.stop_timeout);
        self.shell = self.shell.take().or_else(|| base.shell.clone());
        self.merge_healthcheck(base);
        if self.on_build.is_empty() {
            self.on_build.clone_from(&base.on_build);
        }
        for (key, value) in &base.extra {
            self.extra.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    fn merge_command(&mut self, base: &Self) {
        if self.entrypoint.as_ref().is_none_or(Vec::is_empty) {
            if self.cmd.as_ref().is_none_or(Vec::is_empty) {
                self.cmd.clone_from(&base.cmd);
            }
            // Some([]) is `--entrypoint ""`: none, not even the base's.
            if self.entrypoint.is_none() {
                self.entrypoint.clone_from(&base.entrypoint);
            }
        }
    }

    fn merge_healthcheck(&mut self, base: &Self) {
        let Some(theirs) = &base.healthcheck else { return };
        let ours = self.healthcheck.get_or_insert_with(Healthcheck::default);
        if ours.test.is_empty() {
            ours.test.clone_from(&theirs.test);
        }
        for (mine, other) in [
            (&mut ours.interval, theirs.interval),
            (&mut ours.timeout, theirs.timeout),
            (&mut ours.start_period, theirs.start_period),
            (&mut ours.start_interval, theirs.start_interval),
            (&mut ours.retries, theirs.retries),
        ] {
            if *mine == 0 {
                *mine = other;
            }
        }
    }

    /// Sets `NAME=value`, replacing an earlier value in its place.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let variable = format!("{name}={value}");
        match self.env.iter_mut().find(|v| env_name(v) == name) {
            Some(slot) => *slot = variable,
            None => self.env.push(variable),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: &Value) -> ImageConfig {
        ImageConfig::from_bytes(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn unknown_fields_survive_and_bytes_are_canonical() {
        let value = json!({
            "zeta": 1, "architecture": "amd64", "os": "linux", "os.version": "x", "created": "2024-01-02T03:04:05Z",
            "config": {"ArgsEscaped": true, "Cmd": ["a"], "Volumes": null, "Env": null, "Labels": {"b": "2", "a": "1"},
                       "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "New": {}}, "OnBuild": ["RUN y"],
                       "Shell": ["/bin/bash", "-c"], "Hostname": "h"},
            "rootfs": {"type": "layers", "diff_ids": [], "new": [1]},
            "history": [{"created_by": "x", "new": 2}],
        });
        let first = config(&value);
        let bytes = first.to_bytes().unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap(), @r#"{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05Z","config":{"Cmd":["a"],"Labels":{"a":"1","b":"2"},"Healthcheck":{"Test":["CMD","x"],"Interval":5,"New":{}},"OnBuild":["RUN y"],"Shell":["/bin/bash","-c"],"ArgsEscaped":true,"Hostname":"h"},"rootfs":{"type":"layers","diff_ids":[],"new":[1]},"history":[{"created_by":"x","new":2}],"os.version":"x","zeta":1}"#);
        assert_eq!(ImageConfig::from_bytes(&bytes).unwrap(), first);
        assert_eq!(first.created_at().unwrap().to_string(), "2024-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_not_a_config_is_refused() {
        for bytes in [&b""[..], b"[]", b"{}", b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:..\"]}}"] {
            assert_eq!(ImageConfig::from_bytes(bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let other = ImageConfig::from_bytes(b"{\"rootfs\":{\"type\":\"blocks\"}}").unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let layers = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        let chain = chain_ids(&layers);
        assert_eq!(chain[0], layers[0]);
        assert_eq!(chain[1], Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes()));
        assert_eq!(chain[2], Digest::of(format!("{} {}", chain[1], layers[2]).as_bytes()));
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn merging_follows_docker() {
        let base: RunConfig = serde_json::from_value(json!({
            "User": "u", "Env": ["A=1", "B=2"], "Entrypoint": ["e"], "Cmd": ["c"], "Labels": {"x": "1", "y": "1"},
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "WorkingDir": "/w",
            "Healthcheck": {"Test": ["CMD", "t"], "Retries": 2}, "ArgsEscaped": true,
        }))
        .unwrap();
        let cases = [
            (json!({}), json!(["e"]), json!(["c"])),
            (json!({"Cmd": ["d"]}), json!(["e"]), json!(["d"])),
            (json!({"Entrypoint": ["f"]}), json!(["f"]), Value::Null),
            (json!({"Entrypoint": []}), json!([]), json!(["c"])),
        ];
        for (ours, entrypoint, cmd) in cases {
            let mut merged: RunConfig = serde_json::from_value(ours.clone()).unwrap();
            merged.merge_over(&base);
            assert_eq!(json!(merged.entrypoint), entrypoint, "{ours}");
            assert_eq!(json!(merged.cmd), cmd, "{ours}");
        }
        let mut merged: RunConfig = serde_json::from_value(json!({
            "User": "v", "Env": ["B=3", "C=4"], "Labels": {"x": "2"}, "ExposedPorts": {"90/udp": {}},
            "Healthcheck": {"Interval": 7},
        }))
        .unwrap();
        merged.merge_over(&base);
        insta::assert_snapshot!(serde_json::to_string(&merged).unwrap(), @r#"{"User":"v","ExposedPorts":{"80/tcp":{},"90/udp":{}},"Env":["B=3","C=4","A=1"],"Entrypoint":["e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"x":"2","y":"1"},"Healthcheck":{"Test":["CMD","t"],"Interval":7,"Retries":2},"ArgsEscaped":true}"#);
    }

    #[test]
    fn a_derived_image_has_one_more_entry_and_the_parents_fields() {
        let parent = config(&json!({
            "architecture": "amd64", "os": "linux", "container": "abc", "kept": 1,
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"1")]}, "history": [{"created_by": "x"}],
        }));
        let entry = History { created_by: "bash".to_owned(), author: "me".to_owned(), ..History::default() };
        let child = parent.derive(RunConfig::default(), Some(Digest::of(b"2")), entry.clone());
        assert_eq!(child.rootfs.diff_ids, [Digest::of(b"1"), Digest::of(b"2")]);
        assert_eq!((child.author.as_str(), child.history.len(), child.history[1].empty_layer), ("me", 2, false));
        assert_eq!(child.extra.keys().collect::<Vec<_>>(), ["kept"]);
        let same = parent.derive(RunConfig::default(), None, entry);
        assert_eq!((same.rootfs.diff_ids.len(), same.history[1].empty_layer), (1, true));
    }
}
