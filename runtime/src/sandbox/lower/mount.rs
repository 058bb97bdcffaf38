//! The mounts of a `Spec` as steps of the plan: options sorted by what they are, and whose each mount is.

use oci_spec::runtime as oci;

use super::{Lowering, path_text, required};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::{IdMap, Mode};
use crate::sandbox::plan::{Mount, MountSource};
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// All mounts, in their order.
pub fn lower_all(mounts: &[oci::Mount], lowering: &Lowering<'_>) -> Result<Vec<Mount>> {
    let mut lowered = mounts.iter().map(|mount| lower(mount, lowering)).collect::<Result<Vec<_>>>()?;
    let of_user: Vec<String> = lowered
        .iter()
        .filter(|mount| mount.user && mount.is_of_host())
        .map(|mount| format!("{}/", mount.target))
        .collect();
    for mount in lowered.iter_mut().filter(|mount| !mount.user) {
        mount.existing = of_user.iter().any(|directory| mount.target.starts_with(directory));
    }
    Ok(lowered)
}

/// Mount options sorted by what they are.
#[derive(Default)]
struct Options {
    attributes: u64,
    /// For the mounts below as well.
    recursive_attributes: u64,
    propagation: u64,
    recursive_propagation: bool,
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
        "atime" => (NOATIME, false),
        "strictatime" => (STRICTATIME, true),
        "nostrictatime" => (STRICTATIME, false),
        "nodiratime" => (NODIRATIME, true),
        "diratime" => (NODIRATIME, false),
        "nosymfollow" => (NOSYMFOLLOW, true),
        "symfollow" => (NOSYMFOLLOW, false),
        _ => return None,
    })
}

fn parse(options: &[String]) -> Options {
    let change = |bits: &mut u64, (bit, set): (u64, bool)| if set { *bits |= bit } else { *bits &= !bit };
    let mut parsed = Options::default();
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
            // What mounts are anyway.
            "relatime" | "norelatime" | "defaults" | "async" => {}
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            "private" | "rprivate" => parsed.propagation = libc::MS_PRIVATE,
            "slave" | "rslave" => parsed.propagation = libc::MS_SLAVE,
            "unbindable" | "runbindable" => parsed.propagation = libc::MS_UNBINDABLE,
            other => parsed.params.push(match other.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
        parsed.recursive_propagation |= matches!(option.as_str(), "rprivate" | "rslave" | "runbindable");
    }
    parsed
}

/// Mount points that every container gets from the engine.
fn is_engine_target(target: &str) -> bool {
    ["/proc", "/dev", "/sys"].iter().any(|root| target == *root || target.starts_with(&format!("{root}/")))
}

fn lower(mount: &oci::Mount, lowering: &Lowering<'_>) -> Result<Mount> {
    let target = path_text(mount.destination())?;
    let options = parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let (source, user) = if options.bind || kind == "bind" {
        let path = path_text(required(mount.source().as_deref(), "mount source")?)?;
        if let Some((unknown, _)) = options.params.first() {
            let message = format!("unknown option {unknown:?} of the mount at {target}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let relative = !path.starts_with('/');
        let path = if relative { path_text(&lowering.bundle.join(path))? } else { path };
        let engine = relative
            || (is_engine_target(&target) && (path == "/sys" || path.starts_with("/sys/") || path == "/dev/mqueue"));
        (MountSource::Host { path, recursive: options.recursive }, !engine)
    } else {
        let kind = if kind == "cgroup" { "cgroup2" } else { kind };
        // Tools look for /dev/shm by its name, `shm`.
        let name = mount.source().as_deref().filter(|name| name.as_os_str() != kind);
        let mut params = match name {
            Some(name) => vec![("source".to_owned(), Some(path_text(name)?))],
            None => Vec::new(),
        };
        for (name, value) in options.params {
            if fits(kind, &name, value.as_deref(), lowering.map).map_err(|e| e.context(format!("mount {target}")))? {
                params.push((name, value));
            }
        }
        (MountSource::Filesystem { kind: kind.to_owned(), params }, !is_engine_target(&target))
    };
    Ok(Mount {
        optional: matches!(&source, MountSource::Filesystem { kind, .. } if kind == "cgroup2" || kind == "mqueue"),
        target,
        source,
        user,
        attributes: options.attributes,
        recursive_attributes: options.recursive_attributes,
        propagation: options.propagation,
        recursive_propagation: options.recursive_propagation,
        existing: false,
        traceless: false,
    })
}

/// Whether a parameter goes to the kernel. A new devpts is always a new instance; ids that the container does not have
/// are refused by the kernel: for a terminal's group that does not matter, and with a single id all files are its.
fn fits(kind: &str, name: &str, value: Option<&str>, map: &IdMap) -> Result<bool> {
    let id = || value.and_then(|id| id.parse().ok());
    let mapped = match (kind, name) {
        ("devpts", "newinstance") => return Ok(false),
        ("devpts", "gid") => return Ok(id().is_some_and(|gid| map.has_gid(gid))),
        ("tmpfs", "uid" | "gid") if map.mode == Mode::Single => return Ok(false),
        ("tmpfs", "uid") => id().is_some_and(|uid| map.has_uid(uid)),
        ("tmpfs", "gid") => id().is_some_and(|gid| map.has_gid(gid)),
        _ => true,
    };
    if mapped {
        return Ok(true);
    }
    let id = value.unwrap_or_default();
    let message = format!("{name}={id} is not among the ids that the container has");
    Err(Error::new(ErrorKind::Unsupported, message).hint("`lrun info` shows the id mapping"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sandbox::caps::CapSet;
    use crate::sandbox::seccomp::Rules;

    fn lower_with_bundle(mount: &oci::Mount) -> Result<Mount> {
        let map = IdMap::new(Mode::Subids, Vec::new(), Vec::new());
        let lowering = Lowering {
            map: &map,
            bundle: Path::new("/bundle"),
            filter: Rules::Unconfined,
            added: CapSet::EMPTY,
            volumes: &[],
            init: false,
        };
        lower(mount, &lowering)
    }

    fn lowered(kind: &str, options: &[&str]) -> Result<Mount> {
        let mut mount = oci::Mount::default();
        mount.set_destination("/target".into());
        mount.set_source(Some("/source".into()));
        mount.set_typ(Some(kind.to_owned()));
        mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
        lower_with_bundle(&mount)
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
    fn a_relative_source_is_the_engines_and_in_the_bundle() {
        let mut mount = oci::Mount::default();
        mount.set_destination("/etc/hosts".into());
        mount.set_typ(Some("bind".to_owned()));
        for (source, path, user) in [("files/hosts", "/bundle/files/hosts", false), ("/x", "/x", true)] {
            mount.set_source(Some(source.into()));
            let lowered = lower_with_bundle(&mount).unwrap();
            assert_eq!(lowered.source, MountSource::Host { path: path.to_owned(), recursive: false });
            assert_eq!(lowered.user, user, "{source}");
        }
    }

    #[test]
    fn an_option_that_no_bind_has_is_refused() {
        let error = lowered("bind", &["bind", "readonly"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown option \"readonly\" of the mount at /target");
        let tmpfs = lowered("tmpfs", &["size=1m", "nosuid", "ro"]).unwrap();
        assert_eq!(tmpfs.attributes, NOSUID | RDONLY);
        let MountSource::Filesystem { params, .. } = tmpfs.source else { panic!("{tmpfs:?}") };
        let named =
            [("source", "/source"), ("size", "1m")].map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        assert_eq!(params, named);
    }
}
