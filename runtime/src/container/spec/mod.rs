//! Options and image config become an OCI runtime `Spec`: pure, and the only place that knows a container's defaults.
//!
//! The defaults are as tight as the tightest of docker and podman, line by line. Image data (env, command, user, labels)
//! configures the workload only: nothing of it reaches the spec's annotations, mounts, namespaces or limits.
//!
//! Three things do not fit into a `Spec`; whoever launches takes them from [`RunOptions`]: names in `--group-add`
//! (`options.groups`), the system call filter (`options.security.seccomp`) and `--init`. A user that has to be looked up
//! inside the container is in `process.user.username`, as typed.

mod config;
mod mounts;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, Root, Spec};

use crate::container::options::{Mount, Propagation, RunOptions, Ulimit};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::{Extent, IdMap};

pub use config::{ContainerConfig, container_config};
pub use process::{DEFAULT_PATH, exec_process, rlimits};

/// What a container takes from its image's config (OCI image specification, "config").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `User`; empty: root.
    pub user: String,
    /// `Env`, as stored.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`; empty: `/`.
    pub working_dir: String,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// `StopSignal`; empty: SIGTERM.
    pub stop_signal: String,
}

/// Which network namespace a container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// A new one.
    New,
    /// The host's.
    Host,
    /// The one at this path, whose user namespace is joined first.
    Join(PathBuf),
}

/// What of the machine and of the engine a spec depends on.
#[derive(Clone, Debug)]
pub struct SpecContext<'a> {
    /// The host name unless the user gave one: the first 12 digits of the id, or the host's own with its network.
    pub hostname: &'a str,
    /// The ids that the container has.
    pub idmap: &'a IdMap,
    /// How far the caller can go with each resource; one that is left out is not limited.
    pub limits: &'a [Ulimit],
    /// The `oom_score_adj` of the caller.
    pub oom_score_adj: i32,
    /// The network namespace that `options.network` came to.
    pub network: NetworkNamespace,
    /// Where the root file system is mounted.
    pub rootfs: PathBuf,
    /// The generated files that are bound over `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
    pub hosts: PathBuf,
    /// See `hosts`.
    pub hostname_file: PathBuf,
    /// See `hosts`.
    pub resolv_conf: PathBuf,
    /// The existing `/sys/devices/system/cpu/cpu*/thermal_throttle`, to be masked.
    pub thermal_throttle: &'a [String],
    /// The container's cgroup, relative to the hierarchy's root, where there is one.
    pub cgroup: Option<PathBuf>,
}

/// What docker or podman mask: these tell about or lead to the host's hardware and kernel.
const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What docker or podman make read-only, less what is masked anyway.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The OCI `Spec` of a container (OCI runtime specification, config.md and config-linux.md).
pub fn build_spec(options: &RunOptions, image: &ImageFacts, ctx: &SpecContext<'_>) -> Result<Spec> {
    options.check()?;
    let config = container_config(options, image)?;
    let hostname = options.hostname.as_deref().unwrap_or(ctx.hostname);
    let process = process::process(options, &config, hostname, ctx)?;

    let mut root = Root::default();
    root.set_path(ctx.rootfs.clone());
    root.set_readonly(Some(options.read_only));

    let mut spec = Spec::default();
    spec.set_version(oci_spec::runtime::VERSION.to_owned());
    spec.set_root(Some(root));
    spec.set_hostname(Some(hostname.to_owned()));
    spec.set_domainname(options.domainname.clone());
    spec.set_mounts(Some(mounts::mounts(options, ctx)));
    spec.set_process(Some(process));
    spec.set_annotations(None);
    spec.set_linux(Some(linux(options, ctx)?));
    Ok(spec)
}

fn linux(options: &RunOptions, ctx: &SpecContext<'_>) -> Result<Linux> {
    let (mut masked, mut readonly) = (Vec::new(), Vec::new());
    if !options.security.unconfined_paths {
        masked.extend(MASKED_PATHS.map(str::to_owned));
        masked.extend(ctx.thermal_throttle.iter().cloned());
        // With the host's network, /sys is the host's too.
        masked.extend((ctx.network == NetworkNamespace::Host).then(|| "/sys/kernel".to_owned()));
        readonly.extend(READONLY_PATHS.map(str::to_owned));
    }
    let mut linux = Linux::default();
    linux.set_uid_mappings(Some(id_mappings(&ctx.idmap.uids)?));
    linux.set_gid_mappings(Some(id_mappings(&ctx.idmap.gids)?));
    linux.set_sysctl(Some(sysctls(options, ctx).into_iter().collect()));
    linux.set_resources(None);
    linux.set_cgroups_path(ctx.cgroup.clone());
    linux.set_namespaces(Some(namespaces(&ctx.network)));
    linux.set_devices(None);
    linux.set_seccomp(None);
    linux.set_rootfs_propagation(Some(rootfs_propagation(&options.mounts).to_owned()));
    linux.set_masked_paths(Some(masked));
    linux.set_readonly_paths(Some(readonly));
    Ok(linux)
}

fn id_mappings(extents: &[Extent]) -> Result<Vec<LinuxIdMapping>> {
    let mapping = |extent: &Extent| {
        LinuxIdMappingBuilder::default()
            .container_id(extent.inside)
            .host_id(extent.outside)
            .size(extent.count)
            .build()
            .map_err(unbuilt)
    };
    extents.iter().map(mapping).collect()
}

/// A part of the spec that its builder refuses.
fn unbuilt(error: oci_spec::OciSpecError) -> Error {
    Error::new(ErrorKind::Invalid, error.to_string()).context("the container's spec")
}

/// Private namespaces of every sort but the network's, which is the user's choice.
pub fn namespaces(network: &NetworkNamespace) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let namespace = |typ, path: Option<PathBuf>| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace.set_path(path);
        namespace
    };
    let mut all: Vec<_> = [User, Mount, Pid, Ipc, Uts, Cgroup].map(|typ| namespace(typ, None)).into();
    match network {
        NetworkNamespace::New => all.push(namespace(Network, None)),
        NetworkNamespace::Join(path) => all.push(namespace(Network, Some(path.clone()))),
        NetworkNamespace::Host => {}
    }
    all
}

/// In a network namespace of the container's own, low ports and `ping` need no capability, as with docker and podman.
/// Only group 0 can be relied on to be mapped.
fn sysctls(options: &RunOptions, ctx: &SpecContext<'_>) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    if ctx.network == NetworkNamespace::New {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 0".to_owned());
    }
    sysctls.extend(options.sysctls.clone());
    sysctls
}

/// The root must let through what any of the binds below it is to receive (`mount_namespaces(7)`).
fn rootfs_propagation(mounts: &[Mount]) -> &'static str {
    let slave = |mount: &Mount| matches!(mount, Mount::Bind { propagation, .. } if matches!(propagation, Propagation::Slave | Propagation::Rslave));
    if mounts.iter().any(slave) { "rslave" } else { "rprivate" }
}

#[cfg(test)]
mod tests;
