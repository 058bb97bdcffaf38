//! OCI runtime `Spec` → [`Plan`]: the only reader of the Spec's many optional fields. Pure.
//!
//! Source: the OCI runtime specification 1.2, `config.md` and `config-linux.md`.

mod mount;

use std::path::Path;

use oci_spec::runtime::{self as oci, LinuxNamespaceType, PosixRlimitType, Spec};

use super::caps::CapSet;
use super::plan::{Device, Plan, Process, Rootfs};
use super::seccomp::Rules;
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::{IdMap, Mode};
use crate::sys::process::namespace;

/// Layers that an image can have: the kernel stacks 500, and two are the engine's.
pub const MOST_LAYERS: usize = super::rootfs::MOST_LOWERS - 2;

/// What the plan needs to know beside the Spec.
#[derive(Debug)]
pub struct Lowering<'a> {
    /// The id mapping of the container.
    pub map: &'a IdMap,
    /// The directory to which the sources of the engine's own binds (hosts, hostname, resolv.conf) are relative.
    pub bundle: &'a Path,
    /// The filter, decided from the options.
    pub filter: Rules,
    /// Capabilities that were added by name.
    pub added: CapSet,
    /// Directories of the container that its image names as volumes, absolute and clean.
    pub volumes: &'a [String],
    /// Stay as PID 1.
    pub init: bool,
}

/// The plan for this Spec.
pub fn lower(spec: &Spec, rootfs: Rootfs, lowering: &Lowering<'_>) -> Result<Plan> {
    let linux = spec.linux().clone().unwrap_or_default();
    let has = |kind| linux.namespaces().iter().flatten().any(|ns| ns.typ() == kind && ns.path().is_none());
    let mounts = mount::lower_all(spec.mounts().as_deref().unwrap_or_default(), lowering)?;
    let own_dev = !mounts.iter().any(|mount| mount.target == "/dev" && mount.user && mount.is_of_host());
    let mut devices = if own_dev { default_devices() } else { Vec::new() };
    for device in linux.devices().iter().flatten() {
        devices.push(lower_device(device)?);
    }
    let uts = has(LinuxNamespaceType::Uts);
    Ok(Plan {
        hostname: spec.hostname().clone().filter(|_| uts),
        domainname: spec.domainname().clone().filter(|_| uts),
        loopback: has(LinuxNamespaceType::Network),
        cgroup_namespace: has(LinuxNamespaceType::Cgroup),
        volumes: lowering.volumes.to_vec(),
        mounts,
        devices,
        own_dev,
        masked: linux.masked_paths().clone().unwrap_or_default(),
        readonly: linux.readonly_paths().clone().unwrap_or_default(),
        sysctls: sysctls(&linux),
        process: lower_process(required(spec.process().as_ref(), "process")?, lowering)?,
        init: lowering.init,
        readonly_root: spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)),
        rootfs,
    })
}

/// The new namespaces of init among those listed, as bits of [`namespace`]; the user namespace is the monitor's, and init
/// makes that for cgroups itself.
pub fn new_namespaces(listed: &[oci::LinuxNamespace]) -> u64 {
    bits(listed.iter().filter(|ns| ns.path().is_none())) & !namespace::CGROUP | namespace::MOUNT
}

/// The namespaces that a process joins which is added to the running container; those of the host it has already.
pub fn joined_namespaces(spec: &Spec) -> u64 {
    bits(listed(spec).iter()) | namespace::MOUNT
}

/// The namespaces that the Spec lists.
pub fn listed(spec: &Spec) -> &[oci::LinuxNamespace] {
    spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default()
}

fn bits<'a>(namespaces: impl Iterator<Item = &'a oci::LinuxNamespace>) -> u64 {
    let bits = namespaces.map(|ns| match ns.typ() {
        LinuxNamespaceType::Mount => namespace::MOUNT,
        LinuxNamespaceType::Cgroup => namespace::CGROUP,
        LinuxNamespaceType::Uts => namespace::UTS,
        LinuxNamespaceType::Ipc => namespace::IPC,
        LinuxNamespaceType::Pid => namespace::PID,
        LinuxNamespaceType::Network => namespace::NET,
        LinuxNamespaceType::User | LinuxNamespaceType::Time => 0,
    });
    bits.fold(0, |all, one| all | one)
}

fn required<T>(value: Option<T>, what: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("the container's specification has no {what}")))
}

fn sysctls(linux: &oci::Linux) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        linux.sysctl().iter().flatten().map(|(name, value)| (name.replace('.', "/"), value.clone())).collect();
    all.sort();
    all
}

fn default_devices() -> Vec<Device> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| Device {
            host: format!("/dev/{name}"),
            target: format!("/dev/{name}"),
            number: Some((major, minor)),
            optional: true,
        })
        .collect()
}

/// A device node cannot be made in a user namespace: the host's node of that path is shown.
fn lower_device(device: &oci::LinuxDevice) -> Result<Device> {
    let path = path_text(device.path())?;
    Ok(Device { host: path.clone(), target: path, number: None, optional: false })
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{} is not UTF-8", path.display())))
}

/// A process as init and `exec` start it.
pub fn lower_process(process: &oci::Process, lowering: &Lowering<'_>) -> Result<Process> {
    let user = process.user();
    let as_typed = user.username().clone();
    let groups = user.additional_gids().iter().flatten().map(u32::to_string).collect();
    Ok(Process {
        args: process
            .args()
            .clone()
            .filter(|args| !args.is_empty())
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "no command specified"))?,
        env: process.env().clone().unwrap_or_default(),
        cwd: path_text(process.cwd())?,
        create_cwd: true,
        user: as_typed.unwrap_or_else(|| format!("{}:{}", user.uid(), user.gid())),
        groups,
        capabilities: bounding(process.capabilities().as_ref()),
        added: lowering.added,
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default()),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        terminal: process.terminal().unwrap_or(false),
        window: None,
        umask: user.umask().unwrap_or(0o022),
        filter: lowering.filter.clone(),
        single: lowering.map.mode == Mode::Single,
    })
}

fn bounding(sets: Option<&oci::LinuxCapabilities>) -> CapSet {
    sets.and_then(|sets| sets.bounding().as_ref()).map(CapSet::from_oci).unwrap_or_default()
}

/// Resource limits as the plan has them: the resource's number, the soft and the hard limit.
pub fn rlimits(limits: &[oci::PosixRlimit]) -> Vec<(u32, u64, u64)> {
    limits.iter().map(|limit| (rlimit(limit.typ()), limit.soft(), limit.hard())).collect()
}

/// `getrlimit(2)`'s number of a resource.
pub fn rlimit(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}
