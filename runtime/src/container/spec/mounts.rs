//! The mounts of a `Spec`: the engine's own, then the user's and the generated files, outer targets first.

use std::path::PathBuf;

use oci_spec::runtime::Mount as SpecMount;

use super::{NetworkNamespace, SpecContext};
use crate::container::options::{Access, Mount, RunOptions};

/// docker's and podman's size of `/dev/shm`, in bytes.
const DEFAULT_SHM: u64 = 64 << 20;

/// The group `tty` of every distribution, owner of terminals.
const TTY_GROUP: u32 = 5;

/// All mounts in the order in which they are made.
pub(super) fn mounts(options: &RunOptions, ctx: &SpecContext<'_>) -> Vec<SpecMount> {
    let mut users: Vec<SpecMount> = options.mounts.iter().map(user_mount).collect();
    for device in &options.devices {
        // A read-only mount protects the host's node; the device behind it can be written all the same.
        users.push(mount(&device.target, "bind", &device.source, &["bind", "rprivate", "nosuid", "noexec", "ro"]));
    }
    let taken = |target: &str| users.iter().any(|mount| mount.destination().as_os_str() == target);
    let dev_of_host =
        options.mounts.iter().any(|mount| mount.target() == "/dev" && matches!(mount, Mount::Bind { .. }));
    let mut all = engine_mounts(options, ctx);
    all.extend(generated_files(options, ctx));
    // A mount of the user's replaces the engine's at the same place. The host's /dev brings its own queues and memory;
    // terminals stay the container's.
    all.retain(|mount| {
        let target = mount.destination().to_string_lossy();
        let replaced = dev_of_host && matches!(&*target, "/dev/mqueue" | "/dev/shm");
        !replaced && !taken(&target)
    });
    all.extend(users);
    all.sort_by_key(|mount| mount.destination().components().count());
    all
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> SpecMount {
    build(target, kind, PathBuf::from(source), options.iter().map(|option| (*option).to_owned()).collect())
}

fn build(target: &str, kind: &str, source: PathBuf, options: Vec<String>) -> SpecMount {
    let mut mount = SpecMount::default();
    mount.set_destination(PathBuf::from(target));
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source));
    mount.set_options(Some(options));
    mount
}

/// The file systems that every container has.
fn engine_mounts(options: &RunOptions, ctx: &SpecContext<'_>) -> Vec<SpecMount> {
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // The kernel refuses a group that the user namespace does not have.
    if ctx.idmap.has_gid(TTY_GROUP) {
        pts.push("gid=5");
    }
    let shm_size = format!("size={}", options.shm_size.unwrap_or(DEFAULT_SHM));
    // sysfs shows the network namespace it is mounted in, which must belong to the container (EPERM otherwise).
    let sys = match ctx.network {
        NetworkNamespace::Host => {
            mount("/sys", "bind", "/sys", &["rbind", "rprivate", "rnosuid", "rnoexec", "rnodev", "rro"])
        }
        _ => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size]),
    ]
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`: writable, unless the whole root is not.
fn generated_files(options: &RunOptions, ctx: &SpecContext<'_>) -> Vec<SpecMount> {
    let files =
        [("/etc/hosts", &ctx.hosts), ("/etc/hostname", &ctx.hostname_file), ("/etc/resolv.conf", &ctx.resolv_conf)];
    let mut flags = vec!["bind".to_owned(), "rprivate".to_owned()];
    flags.extend(options.read_only.then(|| "ro".to_owned()));
    files.into_iter().map(|(target, source)| build(target, "bind", source.clone(), flags.clone())).collect()
}

/// A mount of the user's in OCI's words: `rro` is read-only with all that is mounted below.
fn user_mount(asked: &Mount) -> SpecMount {
    match asked {
        Mount::Bind { source, target, access, recursive, propagation, .. } => {
            let mut flags = vec![if *recursive { "rbind" } else { "bind" }, propagation.as_str()];
            flags.extend(match access {
                Access::ReadWrite => None,
                Access::ReadOnly => Some("rro"),
                Access::ReadOnlyTop => Some("ro"),
            });
            mount(target, "bind", source, &flags)
        }
        Mount::Tmpfs { target, options } => {
            let mut flags = options.clone();
            flags.push("rprivate".to_owned());
            build(target, "tmpfs", PathBuf::from("tmpfs"), flags)
        }
    }
}
