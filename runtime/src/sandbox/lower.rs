//! OCI runtime `Spec` → [`Plan`]: the only reader of the Spec's many optional fields. Pure.
//!
//! Source: the OCI runtime specification 1.2, `config.md` and `config-linux.md`.

use std::path::Path;

use oci_spec::runtime::{self as oci, LinuxNamespaceType, PosixRlimitType, Spec};

use super::caps::CapSet;
use super::plan::{Device, Mount, MountSource, Plan, Process, Rootfs};
use super::seccomp::Rules;
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::{IdMap, Mode};
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};
use crate::sys::process::namespace;

const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Layers that an image can have: the kernel stacks 500, and two are the engine's.
pub const MOST_LAYERS: usize = super::rootfs::MOST_LOWERS - 2;

/// What the plan needs to know beside the Spec.
#[derive(Debug)]
pub struct Lowering<'a> {
    /// The id mapping of the container.
    pub map: &'a IdMap,
    /// The directory that holds the engine's own files (hosts, hostname, resolv.conf): binds from there are the engine's.
    pub engine_dir: &'a Path,
    /// The filter, decided from the options.
    pub filter: Rules,
    /// Capabilities that were added by name.
    pub added: CapSet,
    /// Stay as PID 1.
    pub init: bool,
}

/// The plan for this Spec.
pub fn lower(spec: &Spec, rootfs: Rootfs, lowering: &Lowering<'_>) -> Result<Plan> {
    let linux = spec.linux().clone().unwrap_or_default();
    let has = |kind| linux.namespaces().iter().flatten().any(|ns| ns.typ() == kind && ns.path().is_none());
    let mounts = spec.mounts().iter().flatten().map(|mount| lower_mount(mount, lowering)).collect::<Result<_>>()?;
    let mut devices = default_devices();
    for device in linux.devices().iter().flatten() {
        devices.push(lower_device(device)?);
    }
    let uts = has(LinuxNamespaceType::Uts);
    Ok(Plan {
        hostname: spec.hostname().clone().filter(|_| uts),
        domainname: spec.domainname().clone().filter(|_| uts),
        loopback: has(LinuxNamespaceType::Network),
        cgroup_namespace: has(LinuxNamespaceType::Cgroup),
        mounts,
        devices,
        masked: linux.masked_paths().clone().unwrap_or_default(),
        readonly: linux.readonly_paths().clone().unwrap_or_default(),
        sysctls: sysctls(&linux),
        process: lower_process(required(spec.process().as_ref(), "process")?, lowering)?,
        init: lowering.init,
        rootfs,
    })
}

/// The new namespaces of init, as bits of [`namespace`]; the user namespace is the monitor's.
pub fn namespaces(spec: &Spec) -> u64 {
    let linux = spec.linux().clone().unwrap_or_default();
    linux
        .namespaces()
        .iter()
        .flatten()
        .filter(|ns| ns.path().is_none())
        .map(|ns| match ns.typ() {
            LinuxNamespaceType::Mount => namespace::MOUNT,
            LinuxNamespaceType::Pid => namespace::PID,
            LinuxNamespaceType::Network => namespace::NET,
            LinuxNamespaceType::Ipc => namespace::IPC,
            LinuxNamespaceType::Uts => namespace::UTS,
            _ => 0,
        })
        .fold(namespace::MOUNT, |all, one| all | one)
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

/// Mount options sorted by what they are.
#[derive(Default)]
struct MountOptions {
    attributes: u64,
    /// For the mounts below as well.
    recursive_attributes: u64,
    propagation: u64,
    bind: bool,
    recursive: bool,
    params: Vec<(String, Option<String>)>,
}

/// The `MOUNT_ATTR_*` bit that a word of `mount(8)` sets, or takes back.
fn attribute(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "ro" => (RDONLY, true),
        "rw" => (RDONLY, false),
        "nosuid" => (NOSUID, true),
        "suid" => (NOSUID, false),
        "nodev" => (NODEV, true),
        "dev" => (NODEV, false),
        "noexec" => (NOEXEC, true),
        "exec" => (NOEXEC, false),
        "noatime" => (NOATIME, true),
        "strictatime" => (STRICTATIME, true),
        "nodiratime" => (NODIRATIME, true),
        "nosymfollow" => (NOSYMFOLLOW, true),
        _ => return None,
    })
}

fn parse_options(options: &[String]) -> MountOptions {
    let change = |bits: &mut u64, (bit, set): (u64, bool)| if set { *bits |= bit } else { *bits &= !bit };
    let mut parsed = MountOptions::default();
    for option in options {
        if let Some(found) = attribute(option) {
            change(&mut parsed.attributes, found);
            continue;
        }
        // `rro` is `ro` for the whole tree, and so on.
        if let Some(found) = option.strip_prefix('r').and_then(attribute) {
            change(&mut parsed.recursive_attributes, found);
            continue;
        }
        match option.as_str() {
            "relatime" | "defaults" | "async" | "tmpcopyup" => {}
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            "private" | "rprivate" => parsed.propagation = libc::MS_PRIVATE,
            "slave" | "rslave" => parsed.propagation = libc::MS_SLAVE,
            "shared" | "rshared" => parsed.propagation = libc::MS_SHARED,
            "unbindable" | "runbindable" => parsed.propagation = libc::MS_UNBINDABLE,
            "z" | "Z" => {}
            other => parsed.params.push(match other.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }
    parsed
}

/// Mount points that every container gets from the engine.
fn is_engine_target(target: &str) -> bool {
    ["/proc", "/dev", "/sys"].iter().any(|root| target == *root || target.starts_with(&format!("{root}/")))
}

fn lower_mount(mount: &oci::Mount, lowering: &Lowering<'_>) -> Result<Mount> {
    let target = path_text(mount.destination())?;
    let options = parse_options(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let source = mount.source().as_deref();
    if options.bind || kind == "bind" {
        if let Some((unknown, _)) = options.params.first() {
            let message = format!("unknown option {unknown:?} of the mount at {target}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let path = path_text(required(source, "mount source")?)?;
        let engine = Path::new(&path).starts_with(lowering.engine_dir)
            || (is_engine_target(&target) && (path == "/sys" || path.starts_with("/sys/") || path == "/dev/mqueue"));
        return Ok(Mount {
            target,
            source: MountSource::Host { path, recursive: options.recursive },
            attributes: options.attributes,
            recursive_attributes: options.recursive_attributes,
            propagation: options.propagation,
            user: !engine,
            optional: false,
        });
    }
    let kind = if kind == "cgroup" { "cgroup2" } else { kind };
    let mut params = options.params;
    params.retain(|(name, value)| fits(kind, name, value.as_deref(), lowering.map));
    Ok(Mount {
        user: !is_engine_target(&target),
        target,
        optional: matches!(kind, "cgroup2" | "mqueue"),
        source: MountSource::Filesystem { kind: kind.to_owned(), params },
        attributes: options.attributes | options.recursive_attributes,
        recursive_attributes: 0,
        propagation: options.propagation,
    })
}

/// Parameters that this kernel interface or this id mapping cannot take: a new devpts is always a new instance, and an
/// unmapped `gid=` is refused.
fn fits(kind: &str, name: &str, value: Option<&str>, map: &IdMap) -> bool {
    match (kind, name) {
        ("devpts", "newinstance") => false,
        ("devpts", "gid") => value.and_then(|gid| gid.parse().ok()).is_some_and(|gid| map.has_gid(gid)),
        _ => true,
    }
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
        rlimits: process.rlimits().iter().flatten().map(|l| (rlimit(l.typ()), l.soft(), l.hard())).collect(),
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

fn rlimit(kind: PosixRlimitType) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(kind: &str, options: &[&str]) -> Result<Mount> {
        let map = IdMap { mode: Mode::Subids, uids: Vec::new(), gids: Vec::new() };
        let lowering = Lowering {
            map: &map,
            engine_dir: Path::new("/store/files"),
            filter: Rules::Unconfined,
            added: CapSet::EMPTY,
            init: false,
        };
        let mut mount = oci::Mount::default();
        mount.set_destination("/target".into());
        mount.set_source(Some("/source".into()));
        mount.set_typ(Some(kind.to_owned()));
        mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
        lower_mount(&mount, &lowering)
    }

    #[test]
    fn read_only_binds_are_read_only_with_all_that_is_below() {
        for (options, top, below) in [
            (&["rbind", "rprivate"][..], 0, 0),
            (&["rbind", "ro"], RDONLY, 0),
            (&["rbind", "rro"], 0, RDONLY),
            (&["rbind", "rnosuid", "rnoexec", "rnodev", "rro"], 0, NOSUID | NOEXEC | NODEV | RDONLY),
            (&["bind", "nosuid", "noexec", "ro"], NOSUID | NOEXEC | RDONLY, 0),
            (&["bind", "ro", "rw"], 0, 0),
        ] {
            let mount = lowered("bind", options).unwrap();
            assert_eq!((mount.attributes, mount.recursive_attributes), (top, below), "{options:?}");
        }
    }

    #[test]
    fn an_option_that_no_bind_has_is_refused() {
        let error = lowered("bind", &["bind", "readonly"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown option \"readonly\" of the mount at /target");
        let tmpfs = lowered("tmpfs", &["size=1m", "nosuid", "ro"]).unwrap();
        assert_eq!(tmpfs.attributes, NOSUID | RDONLY);
        let MountSource::Filesystem { params, .. } = tmpfs.source else { panic!("{tmpfs:?}") };
        assert_eq!(params, [("size".to_owned(), Some("1m".to_owned()))]);
    }
}
