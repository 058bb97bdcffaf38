//! A container's `HostConfig` in docker's shape.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::nil_if_empty;
use crate::ui::rows::info::LOGGING_DRIVER;
use crate::ui::rows::ports::Port;

/// How a container was set up on this host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The arguments of `-v`.
    pub binds: Vec<String>,
    /// `--mount`, each as docker's object of Type, Source, Target, ReadOnly.
    pub mounts: Vec<Json>,
    /// `--cidfile`.
    pub cidfile: String,
    /// Whether there is no log.
    pub no_log: bool,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--log-opt`.
    pub log_options: BTreeMap<String, String>,
    /// `bridge`, `host`, `none`, `container:ID`.
    pub network_mode: String,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--add-host`, as in `name:address`.
    pub extra_hosts: Vec<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--security-opt`.
    pub security_options: Vec<String>,
    /// `--tmpfs`: target and options.
    pub tmpfs: BTreeMap<String, String>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `/dev/shm`, in bytes.
    pub shm_size: u64,
    /// `--device`: host path, container path, permissions.
    pub devices: Vec<(String, String, String)>,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// `--init`.
    pub init: Option<bool>,
    /// Paths hidden in the container.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only in the container.
    pub readonly_paths: Vec<String>,
}

impl Host {
    /// Settings of every platform.
    pub(super) fn general(&self, ports: &[Port]) -> Json {
        let published: Vec<Port> = ports.iter().filter(|port| port.public > 0).cloned().collect();
        json!({
            "Binds": nil_if_empty(&self.binds),
            "ContainerIDFile": self.cidfile,
            "LogConfig": {"Type": if self.no_log { "none" } else { LOGGING_DRIVER }, "Config": self.log_options},
            "NetworkMode": self.network_mode,
            "PortBindings": port_map(&published),
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": self.auto_remove,
            "VolumeDriver": "",
            "VolumesFrom": null,
            "ConsoleSize": [0, 0],
            "Annotations": self.annotations,
        })
    }

    /// Settings of Linux.
    pub(super) fn linux(&self) -> Json {
        json!({
            "CapAdd": nil_if_empty(&self.cap_add),
            "CapDrop": nil_if_empty(&self.cap_drop),
            "CgroupnsMode": "private",
            "Dns": self.dns,
            "DnsOptions": self.dns_options,
            "DnsSearch": self.dns_search,
            "ExtraHosts": nil_if_empty(&self.extra_hosts),
            "GroupAdd": nil_if_empty(&self.group_add),
            "IpcMode": "private",
            "Cgroup": "",
            "Links": null,
            "OomScoreAdj": self.oom_score_adj,
            "PidMode": "",
            "Privileged": false,
            "PublishAllPorts": false,
            "ReadonlyRootfs": self.read_only,
            "SecurityOpt": nil_if_empty(&self.security_options),
            "StorageOpt": null,
            "Tmpfs": self.tmpfs,
            "UTSMode": "",
            "UsernsMode": "",
            "ShmSize": self.shm_size,
            "Sysctls": self.sysctls,
            "Runtime": "lrun",
            "Isolation": "",
        })
    }

    /// Devices and limits, of which lrun enforces none yet, and paths.
    pub(super) fn resources(&self) -> Json {
        let device = |(host, inside, permissions): &(String, String, String)| json!({"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions});
        let ulimit = |(name, soft, hard): &(String, i64, i64)| json!({"Name": name, "Hard": hard, "Soft": soft});
        json!({
            "CpuShares": 0,
            "Memory": 0,
            "NanoCpus": 0,
            "CgroupParent": "",
            "BlkioWeight": 0,
            "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": [],
            "BlkioDeviceWriteBps": [],
            "BlkioDeviceReadIOps": [],
            "BlkioDeviceWriteIOps": [],
            "CpuPeriod": 0,
            "CpuQuota": 0,
            "CpuRealtimePeriod": 0,
            "CpuRealtimeRuntime": 0,
            "CpusetCpus": "",
            "CpusetMems": "",
            "Devices": self.devices.iter().map(device).collect::<Vec<_>>(),
            "DeviceCgroupRules": null,
            "DeviceRequests": null,
            "MemoryReservation": 0,
            "MemorySwap": 0,
            "MemorySwappiness": null,
            "OomKillDisable": null,
            "PidsLimit": null,
            "Ulimits": self.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
            "CpuCount": 0,
            "CpuPercent": 0,
            "IOMaximumIOps": 0,
            "IOMaximumBandwidth": 0,
            "Mounts": self.mounts,
            "MaskedPaths": self.masked_paths,
            "ReadonlyPaths": self.readonly_paths,
            "Init": self.init,
        })
    }
}

/// Ports with their addresses on the host; `null` for those that are only exposed.
pub(super) fn port_map(ports: &[Port]) -> Json {
    let mut map: BTreeMap<String, Json> = BTreeMap::new();
    for port in ports {
        let bindings = map.entry(format!("{}/{}", port.private, port.protocol)).or_default();
        if port.public > 0 {
            let address = port.ip.map_or_else(String::new, |ip| ip.to_string());
            let binding = json!({"HostIp": address, "HostPort": port.public.to_string()});
            match bindings {
                Json::Array(bindings) => bindings.push(binding),
                none => *none = json!([binding]),
            }
        }
    }
    json!(map)
}
