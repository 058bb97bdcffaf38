//! What this machine offers to containers, for `lrun info`: what was found, what is missing, and how to get it.
//!
//! Run by the CLI as the user, in the host's namespaces. Reads files; the only programs it runs are those of
//! [`HostIds::read`] and `pasta --version`. Nothing is tried out or changed.

use crate::error::Result;
use crate::idmap::detect::{HostIds, Note, decide};
use crate::idmap::userns::UsernsSettings;
use crate::idmap::{Extent, Mode};
use crate::network::{self, pasta, uplink};
use rustix::fs::Access;
use serde::Serialize;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest kernel that mounts overlayfs in a user namespace the way lrun needs it.
pub const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Everything that `lrun info` tells about the machine.
#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    /// The distribution's name, from os-release(5); empty where there is none.
    pub operating_system: String,
    /// The kernel and what it can do.
    pub kernel: KernelFacts,
    /// Which ids containers get.
    pub idmap: IdmapFacts,
    /// Kernel settings about user namespaces.
    pub user_namespaces: UsernsSettings,
    /// Control groups.
    pub cgroup: CgroupFacts,
    /// What a private network needs.
    pub network: NetworkFacts,
    /// What is missing or limited.
    pub missing: Vec<Note>,
}

/// See [`HostFacts`].
#[derive(Clone, Debug, Serialize)]
pub struct KernelFacts {
    /// As of `uname -r`.
    pub release: String,
    /// As of `uname -m`.
    pub architecture: String,
    /// Whether overlayfs can be mounted in a user namespace.
    pub overlay: bool,
    /// Whether there are seccomp filters.
    pub seccomp: bool,
}

/// See [`HostFacts`].
#[derive(Clone, Debug, Serialize)]
pub struct IdmapFacts {
    /// The mapping that is used.
    pub mode: Mode,
    /// The user's name, or number where it has none.
    pub user: String,
    /// The user's id.
    pub uid: u32,
    /// How many user ids a container has.
    pub uids: u64,
    /// How many group ids a container has.
    pub gids: u64,
}

/// Which control group hierarchies are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// None at all.
    None,
    /// Only version 1.
    V1,
    /// Version 1, and a version 2 without controllers beside it.
    Hybrid,
    /// Only version 2.
    V2,
}

/// See [`HostFacts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CgroupFacts {
    /// What is mounted.
    pub version: CgroupVersion,
    /// The directory of lrun's own version 2 group.
    pub path: Option<PathBuf>,
    /// Whether this user may make groups there.
    pub delegated: bool,
    /// Controllers that exist there.
    pub controllers: Vec<String>,
}

/// See [`HostFacts`].
#[derive(Clone, Debug, Serialize)]
pub struct NetworkFacts {
    /// Where pasta is.
    pub pasta: Option<PathBuf>,
    /// What it says about its version.
    pub pasta_version: Option<String>,
    /// Whether `/dev/net/tun` can be opened.
    pub tun: bool,
    /// The host's address on its way out, if it has one.
    pub address: Option<IpAddr>,
}

/// Collects the facts; `want` is the id mapping that was asked for. One that is impossible is among the missing.
pub fn host_facts(want: Option<Mode>) -> Result<HostFacts> {
    let mut missing = Vec::new();
    let host = HostIds::read()?;
    let kernel = kernel_facts(&mut missing);
    let idmap = idmap_facts(want, &host, &mut missing)?;
    let user_namespaces = UsernsSettings::read();
    missing.extend(user_namespaces.obstacle(host.uid == 0));
    let cgroup = cgroup_facts(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    missing.push(limits_note());
    let network = network_facts(&mut missing);
    let operating_system = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| os_name(&read(path)));
    let operating_system = operating_system.unwrap_or_default();
    Ok(HostFacts { operating_system, kernel, idmap, user_namespaces, cgroup, network, missing })
}

fn read(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn note(what: &str, why: impl Into<String>, how: impl Into<String>) -> Note {
    Note { what: what.to_owned(), why: why.into(), how: how.into() }
}

/// From os-release(5), whose values are those of a shell.
fn os_name(os_release: &str) -> Option<String> {
    let value = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let name = value("PRETTY_NAME").or_else(|| value("NAME"))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

fn kernel_facts(missing: &mut Vec<Note>) -> KernelFacts {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let recent = kernel_version(&release).is_none_or(|version| version >= OLDEST_KERNEL);
    let module = has_overlay(&read("/proc/filesystems"), &release);
    if !recent {
        let why = format!("the kernel is {release}, and overlayfs in user namespaces needs 5.14");
        missing.push(note("overlay", why, "update the kernel"));
    } else if !module {
        let how = "as root: modprobe overlay; in a virtual machine or container, choose a kernel that has it";
        missing.push(note("overlay", "the kernel has no overlayfs (CONFIG_OVERLAY_FS)", how));
    }
    let seccomp = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    if !seccomp {
        let why = "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)";
        missing.push(note("system call filters", why, "use a kernel that has them"));
    }
    let architecture = uname.machine().to_string_lossy().into_owned();
    KernelFacts { release, architecture, overlay: recent && module, seccomp }
}

/// `6.1.0-28-amd64` → (6, 1).
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A file system that is not loaded yet is when it is first mounted, if the module exists.
fn has_overlay(filesystems: &str, release: &str) -> bool {
    let module = |list: &str| read(format!("/lib/modules/{release}/{list}")).contains("/overlay.ko");
    filesystems.lines().any(|line| line.split_ascii_whitespace().next_back() == Some("overlay"))
        || module("modules.dep")
        || module("modules.builtin")
}

fn idmap_facts(want: Option<Mode>, host: &HostIds, missing: &mut Vec<Note>) -> Result<IdmapFacts> {
    let (map, notes) = match decide(want, host) {
        Ok(decided) => decided,
        Err(error) => {
            let how = error.hint_text().unwrap_or("leave --idmap (LRUN_IDMAP) away").to_owned();
            missing.push(note("the id mapping that was asked for", error.to_string(), how));
            decide(None, host)?
        }
    };
    missing.extend(notes);
    let count = |extents: &[Extent]| extents.iter().map(|extent| u64::from(extent.count)).sum();
    Ok(IdmapFacts { mode: map.mode, user: host.name(), uid: host.uid, uids: count(&map.uids), gids: count(&map.gids) })
}

/// From `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`) and `/proc/self/cgroup` (`cgroups(7)`).
fn cgroup_facts(mountinfo: &str, own: &str) -> CgroupFacts {
    let mut one = false;
    let mut two = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        match after.split(' ').next() {
            Some("cgroup") => one = true,
            Some("cgroup2") => {
                let mut fields = before.split(' ').skip(3);
                let mount = fields.next().zip(fields.next());
                two = two.or(mount.map(|(root, point)| (root.to_owned(), PathBuf::from(point))));
            }
            _ => {}
        }
    }
    let version = match (one, two.is_some()) {
        (false, false) => CgroupVersion::None,
        (true, false) => CgroupVersion::V1,
        (true, true) => CgroupVersion::Hybrid,
        (false, true) => CgroupVersion::V2,
    };
    let path = two.and_then(|(root, point)| own_group(&root, &point, own));
    let writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let delegated = path.as_ref().is_some_and(|path| writable(path) && writable(&path.join("cgroup.procs")));
    let controllers = path.as_ref().map(|path| read(path.join("cgroup.controllers"))).unwrap_or_default();
    let controllers = controllers.split_ascii_whitespace().map(str::to_owned).collect();
    CgroupFacts { version, path, delegated, controllers }
}

/// The directory of the group in the `0::` line; none if the mount does not show it.
fn own_group(root: &str, point: &Path, own: &str) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(group).strip_prefix(root).ok()?;
    // `join` of an empty path would add a slash.
    Some(if below.as_os_str().is_empty() { point.to_owned() } else { point.join(below) })
}

/// Whatever the machine could do.
fn limits_note() -> Note {
    let how = "systemd limits lrun with all that it starts: systemd-run --user --scope -p MemoryMax=1G lrun run …";
    note("resource limits (-m, --cpus, --pids-limit)", "this version of lrun sets none", how)
}

fn network_facts(missing: &mut Vec<Note>) -> NetworkFacts {
    let pasta = match network::available() {
        Ok(path) => Some(path),
        Err(error) => {
            missing.push(note("private networks", error.to_string(), error.hint_text().unwrap_or_default()));
            None
        }
    };
    let tun = pasta::tun_obstacle();
    let facts = NetworkFacts {
        pasta_version: pasta.as_deref().and_then(version_of),
        pasta,
        tun: tun.is_none(),
        address: uplink::address(),
    };
    missing.extend(tun);
    if facts.address.is_none() {
        let why = "the host has no route to the outside";
        missing.push(note("connections to the outside", why, "connect the host to a network"));
    }
    facts
}

/// What pasta says about its version; `None` where it is not installed.
pub fn pasta_version() -> Option<String> {
    version_of(&network::available().ok()?)
}

/// The first line of `--version`, without the program's name.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    Some(line.strip_prefix("pasta ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        for (release, expected) in [
            ("6.1.0-28-amd64", Some((6, 1))),
            ("5.14", Some((5, 14))),
            ("6.18.44-fc-v445", Some((6, 18))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(kernel_version(release), expected, "{release}");
        }
    }

    #[test]
    fn names_of_distributions() {
        for (text, name) in [
            ("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", Some("Debian GNU/Linux 13 (trixie)")),
            ("NAME='Void'\nID=void\n", Some("Void")),
            ("NAMES=x\n", None),
            ("", None),
        ] {
            assert_eq!(os_name(text).as_deref(), name);
        }
    }

    #[test]
    fn control_group_hierarchies() {
        let v2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let v1 = "36 35 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        let unified = "37 35 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let inner = "38 35 0:32 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let cases = [
            ("", "", CgroupVersion::None, None),
            (v1, "1:cpu:/x", CgroupVersion::V1, None),
            (&format!("{v1}\n{unified}"), "1:cpu:/x\n0::/", CgroupVersion::Hybrid, Some("/sys/fs/cgroup/unified")),
            (v2, "0::/user.slice/a b", CgroupVersion::V2, Some("/sys/fs/cgroup/user.slice/a b")),
            (inner, "0::/a/b/c", CgroupVersion::V2, Some("/sys/fs/cgroup/c")),
            (inner, "0::/elsewhere", CgroupVersion::V2, None),
            ("nonsense\n1 - \n - cgroup2\n", "0::/", CgroupVersion::None, None),
        ];
        for (mountinfo, own, version, path) in cases {
            let facts = cgroup_facts(mountinfo, own);
            assert_eq!((facts.version, facts.path), (version, path.map(PathBuf::from)), "{mountinfo:?}");
        }
    }

    #[test]
    fn a_delegated_group_is_one_that_the_user_may_write() {
        let temp = tempfile::tempdir().unwrap();
        let mountinfo = format!("35 24 0:30 / {} rw - cgroup2 cgroup2 rw", temp.path().display());
        assert!(!cgroup_facts(&mountinfo, "0::/").delegated);
        fs::write(temp.path().join("cgroup.procs"), "").unwrap();
        fs::write(temp.path().join("cgroup.controllers"), "memory pids\n").unwrap();
        let facts = cgroup_facts(&mountinfo, "0::/");
        assert_eq!((facts.delegated, facts.controllers), (true, vec!["memory".to_owned(), "pids".to_owned()]));
    }

    #[test]
    fn this_machine_has_facts_and_an_impossible_wish_is_among_the_missing() {
        let facts = host_facts(Some(Mode::Single)).unwrap();
        assert_eq!((facts.idmap.mode, facts.idmap.uids, facts.idmap.gids), (Mode::Single, 1, 1));
        assert!(kernel_version(&facts.kernel.release).is_some(), "{facts:?}");
        if facts.idmap.uid != 0 {
            let facts = host_facts(Some(Mode::Root)).unwrap();
            assert!(facts.missing.iter().any(|note| note.why.contains("needs root")), "{facts:?}");
        }
    }
}
