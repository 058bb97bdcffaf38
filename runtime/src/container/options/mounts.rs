//! What is mounted into a container: `-v`, `--mount` and `--tmpfs`.

mod csv;
mod tmpfs;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{invalid, unsupported};
use crate::error::{Error, Result};

pub use csv::{parse_mount, split_record};
pub use tmpfs::{parse_tmpfs, tmpfs_options};

/// One mount of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Absolute, clean path in the container.
        target: String,
        /// What may be written.
        access: Access,
        /// Whether what is mounted below the source comes along.
        recursive: bool,
        /// Whether the host's later mounts show in the container.
        propagation: Propagation,
        /// Whether a missing source is made, as a directory.
        #[serde(default)]
        create: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Absolute, clean path in the container.
        target: String,
        /// Mount options in the form of `mount(8)`, each once: `noexec`, `size=64m`, `mode=1777`.
        options: Vec<String>,
    },
}

/// Adds a `--tmpfs`, or puts it in the place of the one with its target: the last one given wins, as in docker.
pub fn set_tmpfs(mounts: &mut Vec<Mount>, tmpfs: Mount) {
    match mounts.iter_mut().find(|mount| mount.target() == tmpfs.target()) {
        Some(other) => *other = tmpfs,
        None => mounts.push(tmpfs),
    }
}

impl Mount {
    /// Where it shows in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// What of a bind mount may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing, in none of the mounts below either.
    ReadOnly,
    /// Nothing on the mount itself; mounts below it keep what they have (`bind-recursive=writable`).
    ReadOnlyTop,
}

/// `mount_namespaces(7)`; the recursive forms apply to mounts below as well. The shared forms do not exist: what is
/// mounted in a user namespace never shows outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Recursively private, the default.
    #[default]
    Rprivate,
    /// Private.
    Private,
    /// Recursively slave.
    Rslave,
    /// Slave.
    Slave,
}

impl Propagation {
    /// Reads the word of `mount(8)` and of OCI.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "rprivate" => Self::Rprivate,
            "private" => Self::Private,
            "rslave" => Self::Rslave,
            "slave" => Self::Slave,
            _ => return None,
        })
    }

    /// The word of `mount(8)` and of OCI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rprivate => "rprivate",
            Self::Private => "private",
            Self::Rslave => "rslave",
            Self::Slave => "slave",
        }
    }
}

/// Reads `-v source:target[:options]`. A source that starts with `.` is relative to `cwd`, which must be absolute.
///
/// Options: `ro` or `rw`; a propagation; `z` or `Z` and `cached`, `delegated`, `consistent`, which have no effect here.
/// A source that does not exist is made when the container is.
pub fn parse_volume(text: &str, cwd: &Path) -> Result<Mount> {
    let bad = || invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    if text.is_empty() {
        return Err(invalid("invalid empty volume spec"));
    }
    if parts.contains(&"") {
        return Err(invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    let (source, target, mode) = match parts.as_slice() {
        [target] => {
            check_target(target)?;
            return Err(no_volumes(format!("anonymous volume at {target}")));
        }
        [source, target] if Mode::parse(target).is_none() => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        [_, _] => return Err(bad()),
        _ => return Err(invalid(format!("invalid spec: {text}: too many colons"))),
    };
    mode.split(',').try_for_each(refuse_shared)?;
    let Some(mode) = Mode::parse(mode) else {
        return Err(invalid(format!("invalid mode: {mode}")));
    };
    let target = check_target(target)?;
    let Some(source) = host_path(source, cwd) else {
        return Err(named_volume(source));
    };
    if mode.nocopy {
        return Err(bad().hint("nocopy is an option of named volumes"));
    }
    let Mode { access, propagation, .. } = mode;
    Ok(Mount::Bind { source, target, access, recursive: true, propagation, create: true })
}

/// Refuses the propagations that cannot work.
fn refuse_shared(propagation: &str) -> Result<()> {
    if !matches!(propagation, "shared" | "rshared") {
        return Ok(());
    }
    Err(unsupported(format!("bind propagation {propagation}: mounts of a container cannot show on the host"))
        .hint("slave and rslave let the host's later mounts show in the container"))
}

/// The options of `-v`.
#[derive(Default)]
struct Mode {
    access: Access,
    propagation: Propagation,
    nocopy: bool,
}

impl Mode {
    /// Reads comma-separated options, at most one of each sort; nothing at all is fine too.
    fn parse(text: &str) -> Option<Self> {
        let mut mode = Self::default();
        let mut seen = [false; 5];
        for option in text.split(',').filter(|_| !text.is_empty()) {
            let sort = match option {
                "rw" => 0,
                "ro" => {
                    mode.access = Access::ReadOnly;
                    0
                }
                "z" | "Z" => 1,
                "nocopy" => {
                    mode.nocopy = true;
                    2
                }
                "consistent" | "cached" | "delegated" => 3,
                _ => {
                    mode.propagation = Propagation::parse(option)?;
                    4
                }
            };
            if std::mem::replace(&mut seen[sort], true) {
                return None;
            }
        }
        Some(mode)
    }
}

/// The absolute host path that a source means, unless it is the name of a volume.
fn host_path(source: &str, cwd: &Path) -> Option<String> {
    if source.starts_with('/') {
        return clean_absolute(source);
    }
    if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") {
        return clean_absolute(cwd.join(source).to_str()?);
    }
    None
}

/// Why a source that is not a path is refused.
fn named_volume(source: &str) -> Error {
    let mut bytes = source.bytes();
    let name = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if name {
        return no_volumes(format!("named volume \"{source}\""));
    }
    invalid(format!(
        "\"{source}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    ))
}

/// Why volumes are refused.
fn no_volumes(what: String) -> Error {
    unsupported(format!("{what}: this version of lrun has no volumes"))
        .hint("give a directory of the host: -v /absolute/path:/target or -v ./relative:/target")
}

/// Checks where something is to be mounted, and returns it clean. `/` is refused, and so is `/proc` with all but the
/// files that describe the machine: whatever covers it could redirect what init writes there.
pub fn check_target(target: &str) -> Result<String> {
    const PROC_FILES: [&str; 8] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
    ];
    if target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let Some(clean) = clean_absolute(target) else {
        return Err(invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    };
    if clean == "/" {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    let in_proc = clean == "/proc" || clean.starts_with("/proc/");
    if in_proc && !PROC_FILES.contains(&clean.as_str()) {
        return Err(invalid(format!("invalid mount path: '{clean}' cannot be mounted because it is inside /proc")));
    }
    Ok(clean)
}

/// An absolute path without `.`, `..`, empty components and zero bytes, resolved by its letters alone; `None` for a
/// path that is not absolute or too long for the kernel (`PATH_MAX`).
pub fn clean_absolute(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') || path.len() >= 4096 {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
