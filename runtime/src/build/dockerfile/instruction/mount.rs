//! `RUN --mount=`: a line of comma-separated keys with values.

use crate::build::dockerfile::expand::Expander;
use crate::build::dockerfile::source::{Fault, Parsed, Word};
use crate::build::dockerfile::suggestion::did_you_mean;
use crate::container::options::limits::parse_size;
use crate::container::options::mounts::split_record;

/// A mount for the time of one RUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// The stage, image or context that the files are from; has no variables.
    pub from: Option<Word>,
    /// The path in it; the root without one. Of a secret, its name.
    pub source: Option<String>,
    /// Where in the container; relative to the working directory.
    pub target: Option<String>,
    /// Not writable: as given, else so for all but caches and tmpfs.
    pub read_only: bool,
    /// The size limit of a tmpfs, in bytes; 0 is none.
    pub size: u64,
    /// The name of the cache, secret or agent.
    pub id: Option<String>,
    /// How a cache is shared among steps that run at the same time.
    pub sharing: Option<Sharing>,
    /// The build fails if the secret or agent is not there.
    pub required: bool,
    /// The environment variable that gets the secret; empty: the secret's name.
    pub env: Option<String>,
    /// The mode of the file or the new cache.
    pub mode: Option<u32>,
    /// The owner of it.
    pub uid: Option<u32>,
    /// The group of it.
    pub gid: Option<u32>,
}

/// The agent that a mount without a name shows.
const DEFAULT_AGENT: &str = "default";

impl Mount {
    /// The name of a secret: as given, else the last one of its path.
    pub fn secret_id(&self) -> String {
        let given = self.source.as_ref().or(self.id.as_ref());
        given.cloned().unwrap_or_else(|| last_name(self.target.as_deref().unwrap_or_default()).to_owned())
    }

    /// The name of an agent.
    pub fn agent_id(&self) -> &str {
        self.id.as_deref().unwrap_or(DEFAULT_AGENT)
    }
}

/// The last name in a path.
pub(in crate::build) fn last_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that stays from build to build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file, or a variable, that is in no layer.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

/// How steps at the same time use a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountKind {
    /// As in `type=`.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// What can be known of a mount before the values of variables are: all if it names none, else where it is from.
pub(super) fn preview(flag: &Word, escape: char) -> Parsed<Mount> {
    let fields = fields(&flag.text).map_err(|message| Fault::new(flag.at, message))?;
    let from = fields.iter().filter_map(|field| field.split_once('=')).rev();
    let from = from.clone().find(|(key, _)| key.eq_ignore_ascii_case("from")).map(|(_, value)| value);
    if from.and_then(|value| value.find('$').map(|n| n + 1 < value.len())).unwrap_or(false) {
        let message = "'from' doesn't support variable expansion, define alias stage instead";
        return Err(Fault::new(flag.at, message));
    }
    if flag.text.contains('$') {
        let from = from.filter(|from| !from.is_empty()).map(|from| Word::new(from, flag.at));
        return Ok(Mount { from, ..Mount::default() });
    }
    parse(flag, &mut Expander::new(escape, &|_| None))
}

/// The mount, with the values of variables.
pub(super) fn parse(flag: &Word, expander: &mut Expander<'_>) -> Parsed<Mount> {
    let parsed = fields(&flag.text).and_then(|fields| {
        let mut mount = Mount::default();
        let mut read_only = None;
        for field in fields {
            match field.split_once('=') {
                Some((key, value)) => {
                    let value = expander.text(value)?;
                    set(&mut mount, &mut read_only, &key.to_ascii_lowercase(), value, &field, flag)?;
                }
                None => set_switch(&mut mount, &mut read_only, &field)?,
            }
        }
        let writable = matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
        mount.read_only = read_only.unwrap_or(!writable);
        consistent(&mount)?;
        Ok(mount)
    });
    parsed.map_err(|message| Fault::new(flag.at, format!("--mount: {message}")))
}

fn fields(text: &str) -> Result<Vec<String>, String> {
    split_record(text).map_err(|error| error.to_string())
}

fn set_switch(mount: &mut Mount, read_only: &mut Option<bool>, field: &str) -> Result<(), String> {
    match field.to_ascii_lowercase().as_str() {
        "readonly" | "ro" => *read_only = Some(true),
        "readwrite" | "rw" => *read_only = Some(false),
        "required" => mount.required = only_for(mount, "required", true)?,
        _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
    }
    Ok(())
}

/// The value if this kind of mount has the key; the type has to stand before it.
fn only_for<T>(mount: &Mount, key: &str, value: T) -> Result<T, String> {
    let has = match key {
        "size" => mount.kind == MountKind::Tmpfs,
        _ => matches!(mount.kind, MountKind::Secret | MountKind::Ssh),
    };
    if has { Ok(value) } else { Err(format!("unexpected key '{key}' for mount type '{}'", mount.kind.name())) }
}

fn set(
    mount: &mut Mount,
    read_only: &mut Option<bool>,
    key: &str,
    value: String,
    field: &str,
    flag: &Word,
) -> Result<(), String> {
    let invalid = |value: &str| format!("invalid value for {key}: {value}");
    let some = |value: String| Some(value).filter(|value| !value.is_empty());
    let number = |value: &str, radix| match value.starts_with('+') {
        true => Err(invalid(value)),
        false => u32::from_str_radix(value, radix).map(Some).map_err(|_| invalid(value)),
    };
    match key {
        "type" => mount.kind = choice("mount type", &KINDS, &value)?,
        "from" => mount.from = some(value).map(|value| Word::new(value, flag.at)),
        "source" | "src" => mount.source = some(value),
        "target" | "dst" | "destination" => mount.target = some(value),
        "readonly" | "ro" => *read_only = Some(boolean(&value).ok_or_else(|| invalid(&value))?),
        "readwrite" | "rw" => *read_only = Some(!boolean(&value).ok_or_else(|| invalid(&value))?),
        "required" => mount.required = only_for(mount, key, boolean(&value).ok_or_else(|| invalid(&value))?)?,
        "size" => mount.size = only_for(mount, key, parse_size(&value).map_err(|_| invalid(&value))?)?,
        "id" => mount.id = some(value),
        "sharing" => mount.sharing = Some(choice("sharing value", &SHARINGS, &value)?),
        "mode" => mount.mode = number(&value, 8)?,
        "uid" => mount.uid = number(&value, 10)?,
        "gid" => mount.gid = number(&value, 10)?,
        "env" => mount.env = Some(value),
        _ => return Err(format!("unexpected key '{key}' in '{field}'{}", did_you_mean(key, KEYS, false))),
    }
    Ok(())
}

fn choice<T: std::marker::Copy>(what: &str, choices: &[(&'static str, T)], value: &str) -> Result<T, String> {
    let lower = value.to_ascii_lowercase();
    let found = choices.iter().find(|(name, _)| *name == lower).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let suggestion = did_you_mean(value, choices.iter().map(|(name, _)| *name), false);
        format!("unsupported {what} {value:?}{suggestion}")
    })
}

/// As Go reads one.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What only shows when all keys are there.
fn consistent(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.name();
    if matches!(mount.kind, MountKind::Bind | MountKind::Tmpfs) {
        for (key, given) in [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)] {
            if given.is_some() {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
    }
    if mount.kind == MountKind::Secret {
        let wrong = match mount {
            Mount { from: Some(_), .. } => "secret mount should not have a from",
            Mount { sharing: Some(_), .. } => "secret mount should not define sharing",
            Mount { source: None, target: None, id: None, .. } => {
                "invalid secret mount. one of source, target required"
            }
            Mount { source: Some(_), id: Some(_), .. } => "both source and id can't be set",
            _ => return Ok(()),
        };
        return Err(wrong.to_owned());
    }
    if mount.sharing.is_some() && mount.kind != MountKind::Cache {
        return Err(format!("invalid cache sharing set for {kind} mount"));
    }
    Ok(())
}
