//! Docker's seccomp profiles: JSON with parts that depend on capabilities, architecture and kernel. Podman's files have
//! the same form.
//!
//! Stricter than docker about what it does not know: a misspelt key would silently leave out a restriction.

use super::builtin::NATIVE_ARCH;
use crate::error::{Error, ErrorKind, Result};
use crate::sandbox::caps::{self, CapSet};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use serde::Deserialize;
use std::str::FromStr;

/// A profile as its file has it; [`Profile::resolve`] makes it definite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Syscall>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Syscall {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Conditions {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The architecture as docker's profiles name it.
const DOCKER_ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Reads a profile.
///
/// # Errors
/// [`ErrorKind::Invalid`] with line and column where the text is not such a profile.
pub fn parse_profile(json: &str) -> Result<Profile> {
    serde_json::from_str(json).map_err(|error| invalid(format!("not a seccomp profile: {error}")))
}

/// The running kernel's version, for [`Profile::resolve`].
pub fn running_kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    parse_version(&name.release().to_string_lossy()).unwrap_or((0, 0))
}

impl Profile {
    /// The profile for a process with this bounding set on this kernel (major, minor).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming an action, comparison, architecture, flag or version that does not exist.
    pub fn resolve(&self, bounding: CapSet, kernel: (u32, u32)) -> Result<LinuxSeccomp> {
        if self.architectures.as_ref().is_some_and(|list| !list.is_empty())
            && self.arch_map.as_ref().is_some_and(|map| !map.is_empty())
        {
            return Err(invalid("a seccomp profile has either architectures or archMap, not both"));
        }
        errno_has_number("defaultErrno", self.default_errno.as_ref(), self.default_errno_ret)?;
        let mut syscalls = Vec::new();
        for syscall in self.syscalls.iter().flatten() {
            if syscall.applies(bounding, kernel)? {
                syscalls.push(syscall.to_oci()?);
            }
        }
        let mut seccomp = LinuxSeccomp::default();
        seccomp
            .set_default_action(known("action", &self.default_action)?)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(Some(self.architectures()?))
            .set_syscalls(Some(syscalls))
            .set_listener_metadata(self.listener_metadata.clone())
            .set_listener_path(self.listener_path.as_ref().filter(|path| !path.is_empty()).map(Into::into));
        if let Some(flags) = &self.flags {
            seccomp.set_flags(Some(flags.iter().map(|flag| known("flag", flag)).collect::<Result<_>>()?));
        }
        Ok(seccomp)
    }

    /// The list, or the native architecture's entry of the map.
    fn architectures(&self) -> Result<Vec<Arch>> {
        let mut all = Vec::new();
        for name in self.architectures.iter().flatten() {
            all.push(known("architecture", name)?);
        }
        for entry in self.arch_map.iter().flatten() {
            let architecture = known("architecture", &entry.architecture)?;
            let subs = entry.sub_architectures.iter().flatten().map(|name| known("architecture", name));
            let subs = subs.collect::<Result<Vec<Arch>>>()?;
            if architecture == NATIVE_ARCH {
                all.push(architecture);
                all.extend(subs);
            }
        }
        Ok(all)
    }
}

impl Syscall {
    /// Whether the entry is for such a process: all included capabilities, no excluded one.
    fn applies(&self, bounding: CapSet, kernel: (u32, u32)) -> Result<bool> {
        let (none, empty) = (Conditions::default(), Vec::new());
        let (includes, excludes) = (self.includes.as_ref().unwrap_or(&none), self.excludes.as_ref().unwrap_or(&none));
        // A capability that lrun does not know is not held.
        let held = |name: &String| caps::parse(name).is_ok_and(|capability| bounding.contains(capability));
        let native = |name: &String| name == DOCKER_ARCH;
        let arches = includes.arches.as_ref().unwrap_or(&empty);
        let included = includes.caps.iter().flatten().all(held)
            && (arches.is_empty() || arches.iter().any(native))
            && at_least(includes.min_kernel.as_deref(), kernel)?.unwrap_or(true);
        let excluded = excludes.caps.iter().flatten().any(held)
            || excludes.arches.iter().flatten().any(native)
            || at_least(excludes.min_kernel.as_deref(), kernel)?.unwrap_or(false);
        Ok(included && !excluded)
    }

    fn to_oci(&self) -> Result<LinuxSyscall> {
        let names = match (&self.name, &self.names) {
            (Some(name), None) => vec![name.clone()],
            (None, Some(names)) => names.clone(),
            _ => return Err(invalid("an entry of a seccomp profile needs either names or name")),
        };
        errno_has_number("errno", self.errno.as_ref(), self.errno_ret)?;
        let mut syscall = LinuxSyscall::default();
        syscall.set_names(names).set_action(known("action", &self.action)?).set_errno_ret(self.errno_ret);
        if let Some(arguments) = self.args.as_ref().filter(|arguments| !arguments.is_empty()) {
            syscall.set_args(Some(arguments.iter().map(Argument::to_oci).collect::<Result<_>>()?));
        }
        Ok(syscall)
    }
}

impl Argument {
    fn to_oci(&self) -> Result<LinuxSeccompArg> {
        Ok(super::oci_argument(self.index, known("comparison", &self.op)?, self.value, self.value_two))
    }
}

/// Podman's files repeat each error number as a name, which alone would not do.
fn errno_has_number(key: &str, name: Option<&String>, number: Option<u32>) -> Result<()> {
    match (name, number) {
        (Some(name), None) if !name.is_empty() => {
            Err(invalid(format!("{key} {name:?} in a seccomp profile needs its number in {key}Ret")))
        }
        _ => Ok(()),
    }
}

/// Whether the kernel is at least of this version; none if there is none.
fn at_least(version: Option<&str>, kernel: (u32, u32)) -> Result<Option<bool>> {
    match version {
        None | Some("") => Ok(None),
        Some(version) => match parse_version(version) {
            Some(wanted) => Ok(Some(kernel >= wanted)),
            None => Err(invalid(format!("{version:?} in a seccomp profile is not a kernel version"))),
        },
    }
}

/// Major and minor number of a release name such as `6.18.2-amd64`.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn known<T: FromStr>(what: &str, name: &str) -> Result<T> {
    name.parse().map_err(|_| invalid(format!("unknown {what} {name:?} in a seccomp profile")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
