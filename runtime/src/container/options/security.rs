//! What a container may do: `--cap-add`, `--cap-drop`, `--security-opt`, `--device`, `--sysctl`.

use std::str::FromStr;

use oci_spec::runtime::Capability;
use serde::{Deserialize, Serialize};

use super::mounts::{check_target, clean_absolute};
use super::{invalid, unsupported};
use crate::error::Result;

/// Changes to the default capabilities. Names are `CAP_…` in capitals, or `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapabilityChanges {
    /// `--cap-add`.
    pub add: Vec<String>,
    /// `--cap-drop`.
    pub drop: Vec<String>,
}

/// Reads a name of `capabilities(7)` in any case, with or without `CAP_`, or `ALL`.
pub fn parse_capability(text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok("ALL".to_owned());
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match Capability::from_str(bare) {
        Ok(_) => Ok(format!("CAP_{bare}")),
        Err(_) => Err(invalid(format!("unknown capability: \"CAP_{bare}\""))),
    }
}

/// `--security-opt`, all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// `no-new-privileges`: set-user-ID programs and file capabilities give nothing (`prctl(2)`).
    pub no_new_privileges: bool,
    /// `seccomp=…`.
    pub seccomp: SeccompChoice,
    /// `systempaths=unconfined`: nothing of `/proc` and `/sys` is masked or made read-only.
    pub unconfined_paths: bool,
}

/// Which system call filter a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// lrun's own.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile in docker's or OCI's JSON.
    Profile(String),
}

impl Security {
    /// Applies one `--security-opt`; `read` gets the text of the file that `seccomp=FILE` names.
    pub fn set(&mut self, text: &str, read: &dyn Fn(&str) -> Result<String>) -> Result<()> {
        let bad = || invalid(format!("invalid --security-opt: \"{text}\""));
        let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((key, value)) => (key, value),
            None => (text, ""),
        };
        match (key, value) {
            ("no-new-privileges", "" | "true" | "1") => self.no_new_privileges = true,
            ("no-new-privileges", "false" | "0") => self.no_new_privileges = false,
            (_, "") => return Err(bad()),
            ("seccomp", "unconfined") => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", "builtin") => self.seccomp = SeccompChoice::Default,
            ("seccomp", file) => self.seccomp = SeccompChoice::Profile(compact(file, &read(file)?)?),
            ("systempaths", "unconfined") => self.unconfined_paths = true,
            // Neither is ever applied to a container here, so turning it off is what happens anyway.
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", _) => {
                return Err(unsupported(format!("--security-opt {text}: lrun applies no AppArmor profiles"))
                    .hint("leave it out, or give apparmor=unconfined"));
            }
            ("label", _) => {
                return Err(unsupported(format!("--security-opt {text}: lrun sets no SELinux labels"))
                    .hint("leave it out, or give label=disable"));
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// The profile without white space, once it is known to be a JSON object.
fn compact(file: &str, text: &str) -> Result<String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => Ok(value.to_string()),
        Ok(_) => Err(invalid(format!("seccomp profile ({file}) is not a JSON object"))),
        Err(error) => Err(invalid(format!("seccomp profile ({file}) is not JSON: {error}"))),
    }
}

/// A device node of the host, bound into the container.
///
/// The permissions of `--device` must allow reading and writing: without a device cgroup nothing less can be enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute, clean path in the container.
    pub target: String,
}

/// Reads `--device source[:target][:permissions]`.
pub fn parse_device(text: &str) -> Result<Device> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, second] if is_permissions(second) => (*source, *source, *second),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => return Err(invalid(format!("invalid device specification: {text}"))),
    };
    if !is_permissions(permissions) {
        return Err(invalid(format!("bad mode specified: {permissions}")));
    }
    if !(permissions.contains('r') && permissions.contains('w')) {
        return Err(unsupported(format!(
            "--device {text}: a device cannot be given for less than reading and writing"
        ))
        .hint("give rw, rwm or no permissions"));
    }
    let Some(source) = clean_absolute(source) else {
        return Err(invalid(format!("{source} is not an absolute path")));
    };
    Ok(Device { source, target: check_target(target)? })
}

/// Some of `r`, `w` and `m`, each at most once.
fn is_permissions(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm') && once(c))
}

/// Reads `--sysctl name=value`. Only those of the container's own IPC, UTS and network namespaces are let through, in the
/// dotted form, so that no name can lead to another file of `/proc/sys`.
pub fn parse_sysctl(text: &str) -> Result<(String, String)> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let (name, value) = text.split_once('=').ok_or_else(|| invalid(format!("invalid sysctl: '{text}'")))?;
    let plain = name
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
    let ours = IPC.contains(&name) || name.starts_with("fs.mqueue.") || name.starts_with("net.");
    if !plain || !ours || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(invalid(format!("sysctl '{text}' is not allowed")));
    }
    Ok((name.to_owned(), value.to_owned()))
}
