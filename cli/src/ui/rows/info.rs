//! The text and the JSON of `info`: docker's names where docker has the fact, lrun's own facts beside them.

use serde_json::{Value as Json, json};

use crate::ui::{escape, units};

/// What lrun found on this machine and in its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// lrun's version.
    pub version: String,
    /// Containers that run.
    pub running: usize,
    /// Containers that are paused.
    pub paused: usize,
    /// Containers that neither run nor are paused.
    pub stopped: usize,
    /// Images of the store.
    pub images: usize,
    /// The store's directory.
    pub root: String,
    /// The file system under the store, as in `extfs`.
    pub filesystem: String,
    /// How overlayfs is mounted, as in `kernel overlayfs, user xattrs`; why it cannot be, otherwise.
    pub overlay: String,
    /// `subids`, `single` or `root`.
    pub idmap: String,
    /// Why that id mapping, and what it maps.
    pub idmap_detail: String,
    /// The default network, as in `pasta 0.0~git20250503`.
    pub network: String,
    /// `2`, `1`, or empty where there is no cgroup file system.
    pub cgroup_version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Whether the kernel filters system calls.
    pub seccomp: bool,
    /// The distribution's name.
    pub operating_system: String,
    /// The machine's architecture, as in `x86_64`.
    pub architecture: String,
    /// The host's name.
    pub hostname: String,
    /// Processors.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Whether the user is not root.
    pub rootless: bool,
    /// What is missing or limits lrun here.
    pub warnings: Vec<Warning>,
}

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What, and how that shows.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

impl Info {
    /// The text for people, in docker's two parts. Warnings are no part of it: they go to standard error, see
    /// [`Info::warning_lines`].
    pub fn to_text(&self) -> String {
        let client = format!("Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n", self.version);
        let lines = [self.counts(), self.engine(), self.security(), self.machine()].concat();
        let line = |(depth, text): &(usize, String)| format!("{}{}\n", " ".repeat(*depth), escape::line(text));
        format!("{client}\nServer:\n{}", lines.iter().map(line).collect::<String>())
    }

    fn counts(&self) -> Vec<Line> {
        known([
            (1, "Containers", (self.running + self.paused + self.stopped).to_string()),
            (2, "Running", self.running.to_string()),
            (2, "Paused", self.paused.to_string()),
            (2, "Stopped", self.stopped.to_string()),
            (1, "Images", self.images.to_string()),
        ])
    }

    fn engine(&self) -> Vec<Line> {
        known([
            (1, "Server Version", self.version.clone()),
            (1, "Storage Driver", DRIVER.to_owned()),
            (2, "Backing Filesystem", self.filesystem.clone()),
            (2, "Overlay", self.overlay.clone()),
            (1, "Logging Driver", LOGGING_DRIVER.to_owned()),
            (1, "Cgroup Driver", CGROUP_DRIVER.to_owned()),
            (1, "Cgroup Version", self.cgroup_version.clone()),
            (1, "Id Mapping", self.idmap.clone()),
            (2, "Detail", self.idmap_detail.clone()),
            (1, "Network", self.network.clone()),
            (1, "Runtimes", RUNTIME.to_owned()),
            (1, "Default Runtime", RUNTIME.to_owned()),
        ])
    }

    fn security(&self) -> Vec<Line> {
        let mut lines = vec![(1, "Security Options:".to_owned())];
        for option in self.security_options() {
            lines.push((2, option.to_owned()));
            if option == "seccomp" {
                lines.push((3, "Profile: builtin".to_owned()));
            }
        }
        lines
    }

    fn machine(&self) -> Vec<Line> {
        known([
            (1, "Kernel Version", self.kernel.clone()),
            (1, "Operating System", self.operating_system.clone()),
            (1, "OSType", "linux".to_owned()),
            (1, "Architecture", self.architecture.clone()),
            (1, "CPUs", self.cpus.to_string()),
            (1, "Total Memory", units::binary_size(self.memory)),
            (1, "Name", self.hostname.clone()),
            (1, "Docker Root Dir", self.root.clone()),
            (1, "Rootless", self.rootless.to_string()),
        ])
    }

    /// For each thing that is missing a line as docker prints its own, and one with what to do about it.
    pub fn warning_lines(&self) -> String {
        let lines = |Warning { what, way_out }: &Warning| {
            format!("WARNING: {}\n  hint: {}\n", escape::line(what), escape::line(way_out))
        };
        self.warnings.iter().map(lines).collect()
    }

    /// The object for `--format`.
    pub fn to_json(&self) -> Json {
        let mut json = self.facts();
        if let (Json::Object(fields), Json::Object(constant)) = (&mut json, constant()) {
            fields.extend(constant);
        }
        json
    }

    fn facts(&self) -> Json {
        json!({
            "Containers": self.running + self.paused + self.stopped,
            "ContainersRunning": self.running,
            "ContainersPaused": self.paused,
            "ContainersStopped": self.stopped,
            "Images": self.images,
            "Driver": DRIVER,
            "DriverStatus": [["Backing Filesystem", self.filesystem], ["Overlay", self.overlay]],
            "IdMapping": self.idmap,
            "IdMappingDetail": self.idmap_detail,
            "Network": self.network,
            "CgroupDriver": CGROUP_DRIVER,
            "CgroupVersion": self.cgroup_version,
            "MemoryLimit": false,
            "SwapLimit": false,
            "CpuCfsPeriod": false,
            "CpuCfsQuota": false,
            "CPUShares": false,
            "CPUSet": false,
            "PidsLimit": false,
            "LoggingDriver": LOGGING_DRIVER,
            "KernelVersion": self.kernel,
            "OperatingSystem": self.operating_system,
            "OSType": "linux",
            "Architecture": self.architecture,
            "NCPU": self.cpus,
            "MemTotal": self.memory,
            "DockerRootDir": self.root,
            "Name": self.hostname,
            "ServerVersion": self.version,
            "DefaultRuntime": RUNTIME,
            "Runtimes": {RUNTIME: {"path": "lrun"}},
            "SecurityOptions": self.security_options().iter().map(|option| format!("name={option}")).collect::<Vec<_>>(),
            "Rootless": self.rootless,
            "Warnings": self.warnings.iter().map(|w| format!("WARNING: {}; {}", w.what, w.way_out)).collect::<Vec<_>>(),
        })
    }

    fn security_options(&self) -> Vec<&'static str> {
        let options = [("seccomp", self.seccomp), ("userns", true), ("cgroupns", true), ("rootless", self.rootless)];
        options.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
    }
}

/// What docker tells of its daemon and its swarm, and lrun has none of, so that a template that asks finds an answer.
fn constant() -> Json {
    json!({
        "ID": "",
        "Plugins": {
            "Volume": [],
            "Network": ["bridge", "host", "none"],
            "Authorization": null,
            "Log": [LOGGING_DRIVER, "none"],
        },
        "Debug": false,
        "OomKillDisable": false,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": null,
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": false,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null},
        "LiveRestoreEnabled": false,
        "Isolation": "",
        "InitBinary": "",
        "ClientInfo": {"Debug": false, "Context": "default", "Plugins": [], "Warnings": null},
    })
}

/// How far a line is indented, and its text.
type Line = (usize, String);

/// The lines of what is known.
fn known<const N: usize>(facts: [(usize, &str, String); N]) -> Vec<Line> {
    let known = facts.into_iter().filter(|(_, _, value)| !value.is_empty());
    known.map(|(depth, label, value)| (depth, format!("{label}: {value}"))).collect()
}

/// Who runs containers: lrun itself.
const RUNTIME: &str = "lrun";
/// The storage driver's name, as inspect and info print it.
pub const DRIVER: &str = "overlay";
/// The log's format: lrun's own, by docker's name for such.
pub const LOGGING_DRIVER: &str = "local";
/// Who makes control groups for limits: nobody, since lrun sets no limits yet.
const CGROUP_DRIVER: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        Info {
            version: "0.1.0".to_owned(),
            running: 1,
            stopped: 2,
            images: 3,
            root: "/home/u/.local/share/lrun".to_owned(),
            idmap: "subids".to_owned(),
            cgroup_version: "2".to_owned(),
            memory: 16_650_000_000,
            seccomp: true,
            cpus: 8,
            rootless: true,
            hostname: "x\u{1b}c".to_owned(),
            warnings: vec![Warning { what: "no pasta\u{1b}".to_owned(), way_out: "install passt".to_owned() }],
            ..Info::default()
        }
    }

    #[test]
    fn text_leaves_out_what_is_unknown() {
        insta::assert_snapshot!(info().to_text(), @r"
        Client:
         Version:    0.1.0
         Context:    default
         Debug Mode: false

        Server:
         Containers: 3
          Running: 1
          Paused: 0
          Stopped: 2
         Images: 3
         Server Version: 0.1.0
         Storage Driver: overlay
         Logging Driver: local
         Cgroup Driver: none
         Cgroup Version: 2
         Id Mapping: subids
         Runtimes: lrun
         Default Runtime: lrun
         Security Options:
          seccomp
           Profile: builtin
          userns
          cgroupns
          rootless
         OSType: linux
         CPUs: 8
         Total Memory: 15.51GiB
         Name: x\x1bc
         Docker Root Dir: /home/u/.local/share/lrun
         Rootless: true
        ");
        assert_eq!(info().warning_lines(), "WARNING: no pasta\\x1b\n  hint: install passt\n");
    }

    #[test]
    fn json_has_dockers_names() {
        let json = info().to_json();
        for name in [
            "Containers",
            "ServerVersion",
            "CgroupDriver",
            "CgroupVersion",
            "NCPU",
            "MemTotal",
            "Runtimes",
            "ID",
            "Swarm",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert_eq!(json["SecurityOptions"][3], "name=rootless");
    }
}
