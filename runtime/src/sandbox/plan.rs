//! The plan: what init does, step by step, as plain data. Every decision has been taken when a plan exists.
//!
//! Made by [`super::lower`] on the host, sent to init through a descriptor, applied by [`super::init`] in order.

use std::path::Path;

use super::caps::CapSet;
use super::seccomp::Rules;
use serde::{Deserialize, Serialize};

/// Everything that init applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The root file system.
    pub rootfs: Rootfs,
    /// Whether it is read-only once everything is in its place.
    pub readonly_root: bool,
    /// Set in the new UTS namespace; `None` leaves the host's.
    pub hostname: Option<String>,
    /// NIS domain name, likewise.
    pub domainname: Option<String>,
    /// Whether the network namespace is new and needs its loopback interface up.
    pub loopback: bool,
    /// Whether init gives itself a new cgroup namespace.
    pub cgroup_namespace: bool,
    /// Directories that the image names as volumes: made where they are missing, and written also where the root is
    /// read-only. What stands there belongs to the read-write layer.
    pub volumes: Vec<String>,
    /// Mounts, in the order in which they are attached.
    pub mounts: Vec<Mount>,
    /// Device nodes below `/dev`, bound from the host's, and the usual links there; not where `/dev` is the host's.
    pub devices: Vec<Device>,
    /// Whether `/dev` is the container's own.
    pub own_dev: bool,
    /// Paths that are hidden: an empty read-only directory or `/dev/null` on top. A trailing `*` component part is a
    /// pattern within its directory.
    pub masked: Vec<String>,
    /// Paths that become read-only.
    pub readonly: Vec<String>,
    /// Names below `/proc/sys` (with slashes) and values.
    pub sysctls: Vec<(String, String)>,
    /// The entrypoint.
    pub process: Process,
    /// Stay as PID 1 with the entrypoint as a child: reap orphans, pass signals on.
    pub init: bool,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay mount. Paths are relative to the store, whose directory init gets as a descriptor.
    Overlay {
        /// Read-only layers, topmost first.
        lowers: Vec<String>,
        /// The read-write layer.
        upper: String,
        /// Overlay's work directory, on the same file system.
        work: String,
        /// Skip writing back at unmount: for what nobody keeps.
        volatile: bool,
        /// Before the first mount: copy mode, owner, times and xattrs of this directory to `upper`, which is what the
        /// container sees as `/`.
        seed: Option<String>,
    },
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, in the container.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` bits to set.
    pub attributes: u64,
    /// The same for this mount and those below it.
    pub recursive_attributes: u64,
    /// `MS_PRIVATE`, `MS_SLAVE` or 0.
    pub propagation: u64,
    /// Whether the mounts below get it as well.
    pub recursive_propagation: bool,
    /// The user's own: the target is followed inside the root and made where it is missing. Otherwise it is the
    /// engine's: a symbolic link at its place is mounted over.
    pub user: bool,
    /// A failure for lack of kernel support or permission is skipped.
    pub optional: bool,
    /// The target is in a directory of the host: it is not made there, and the mount is left out where it is missing.
    pub existing: bool,
    /// A missing target is not made in the read-write layer: it is there as long as the mount.
    pub traceless: bool,
}

impl Mount {
    /// Whether what is mounted is a path of the host.
    pub fn is_of_host(&self) -> bool {
        matches!(self.source, MountSource::Host { .. })
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new file system instance.
    Filesystem {
        /// Its type, `tmpfs`.
        kind: String,
        /// Its parameters.
        params: Vec<(String, Option<String>)>,
    },
    /// A path of the host.
    Host {
        /// Absolute path.
        path: String,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A file in memory.
    File {
        /// What is in it.
        content: Content,
        /// Whose it is.
        own: Own,
    },
    /// What is at a path of the store's.
    Tree(Tree),
}

/// A path in one or several directories of the store, of which a container may have made everything that is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The directories, relative to the store; of several the topmost first, as an overlay.
    pub lowers: Vec<String>,
    /// Where what is written goes, and a work directory: relative to the store, and to be thrown away.
    pub scratch: Option<(String, String)>,
    /// The path in them, links followed; empty for all.
    pub path: String,
    /// Changed to this, if given.
    pub own: Option<Own>,
}

/// Permission bits and, where they can be set, owner and group inside the id mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
}

/// Bytes that may be a secret: they are in no message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl MountSource {
    /// Whether this is a path of the host in this directory.
    pub fn lies_in(&self, directory: &Path) -> bool {
        matches!(self, Self::Host { path, .. } if Path::new(path).parent() == Some(directory))
    }
}

/// A device node of the host, shown in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path on the host.
    pub host: String,
    /// Its path in the container.
    pub target: String,
    /// Major and minor number that the node must have, where they are fixed; block devices are allowed only without.
    pub number: Option<(u32, u32)>,
    /// Not the user's: skipped where the host lacks it.
    pub optional: bool,
}

/// A process in the container: the entrypoint, or one that `exec` adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; not empty.
    pub args: Vec<String>,
    /// `KEY=value`, complete but for `HOME`, which comes from the container's passwd where it is not given.
    pub env: Vec<String>,
    /// Working directory; absolute.
    pub cwd: String,
    /// Make the working directory if it is missing.
    pub create_cwd: bool,
    /// `user[:group]`, names or numbers, resolved in the container's passwd and group.
    pub user: String,
    /// More groups, names or numbers.
    pub groups: Vec<String>,
    /// Capabilities of uid 0, and the bounding set of everybody.
    pub capabilities: CapSet,
    /// What was asked for by name: a user other than 0 keeps that alone.
    pub added: CapSet,
    /// `(RLIMIT_* number, soft, hard)`.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Own terminal instead of pipes.
    pub terminal: bool,
    /// Window size of the terminal (rows, columns).
    pub window: Option<(u16, u16)>,
    /// File mode creation mask.
    pub umask: u32,
    /// The system call filter.
    pub filter: Rules,
    /// One id only: ids are emulated, and another user than 0 gets a user namespace of its own.
    pub single: bool,
}
