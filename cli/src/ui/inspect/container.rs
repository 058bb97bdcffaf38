//! A container in docker's shape.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::host::{Host, port_map};
use super::{Object, nil_if_empty};
use crate::ui::rows::info::DRIVER;
use crate::ui::rows::ports::Port;
use crate::ui::rows::ps::State;
use crate::ui::units;

/// Fields that docker's JSON leaves out when they are empty.
const OMIT: [&str; 22] = [
    "/State/Health",
    "/SizeRw",
    "/SizeRootFs",
    "/HostConfig/Annotations",
    "/HostConfig/StorageOpt",
    "/HostConfig/Tmpfs",
    "/HostConfig/Sysctls",
    "/HostConfig/Init",
    "/HostConfig/Mounts",
    "/Mounts/*/Name",
    "/Mounts/*/Driver",
    "/Config/ExposedPorts",
    "/Config/Healthcheck",
    "/Config/OnBuild",
    "/Config/StopSignal",
    "/Config/StopTimeout",
    // Those that docker had until its version 28, so that a template that asks finds an answer.
    "/NetworkSettings/Bridge",
    "/NetworkSettings/EndpointID",
    "/NetworkSettings/Gateway",
    "/NetworkSettings/IPAddress",
    "/NetworkSettings/IPPrefixLen",
    "/NetworkSettings/MacAddress",
];

/// What inspect tells of a container; docker's words are in [`Container::object`].
#[derive(Clone, Debug)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was created.
    pub created: Timestamp,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// The process id of its first process on the host; 0 where it does not run.
    pub pid: i32,
    /// Its last exit code.
    pub exit_code: i32,
    /// Whether the kernel killed it for its memory.
    pub oom_killed: bool,
    /// Why it could not start; empty otherwise.
    pub error: String,
    /// Its last start.
    pub started: Option<Timestamp>,
    /// Its last end.
    pub finished: Option<Timestamp>,
    /// The image's full id, `sha256:…`.
    pub image_id: String,
    /// The generated `/etc/resolv.conf` on the host; empty where there is none. So are the next three.
    pub resolv_conf: String,
    /// The generated `/etc/hostname`.
    pub hostname_file: String,
    /// The generated `/etc/hosts`.
    pub hosts_file: String,
    /// The log.
    pub log: String,
    /// Its name, without a slash.
    pub name: String,
    /// How often it was restarted by itself.
    pub restarts: u32,
    /// Directories of its file system, `LowerDir`, `UpperDir`, `WorkDir`.
    pub directories: BTreeMap<String, String>,
    /// Bytes in its read-write layer (`--size`).
    pub size_rw: Option<u64>,
    /// Bytes in all its layers (`--size`).
    pub size_root: Option<u64>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// What it runs.
    pub config: Config,
    /// How it was set up on this host.
    pub host: Host,
    /// The networks that it is on.
    pub networks: Vec<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// One mount of a container.
#[derive(Clone, Debug, Default)]
pub struct MountPoint {
    /// `bind`.
    pub kind: String,
    /// The host's path.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// The options as given with `-v`.
    pub mode: String,
    /// Whether it is writable.
    pub writable: bool,
    /// `rprivate`, `rslave`, ….
    pub propagation: String,
}

/// What a container runs: the image's configuration and the command line's, merged.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its host name.
    pub hostname: String,
    /// Its domain name.
    pub domainname: String,
    /// The user as given; empty for root.
    pub user: String,
    /// Attached streams: input, output, error.
    pub attached: [bool; 3],
    /// Exposed ports, as in `80/tcp`.
    pub exposed: Vec<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub open_stdin: bool,
    /// Input ends with the first client.
    pub stdin_once: bool,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The command.
    pub cmd: Vec<String>,
    /// The image as the user named it.
    pub image: String,
    /// Volumes that the image declares.
    pub volumes: Vec<String>,
    /// The working directory.
    pub workdir: String,
    /// The entrypoint.
    pub entrypoint: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that stops it; empty for the default.
    pub stop_signal: String,
    /// Seconds to wait for it to stop.
    pub stop_timeout: Option<i32>,
}

impl Container {
    /// The object that inspect prints.
    pub fn object(&self) -> Object {
        let (path, args) = self.argv.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
        let full = json!({
            "Id": self.id,
            "Created": units::rfc3339(Some(self.created)),
            "Path": path,
            "Args": args,
            "State": self.state(),
            "Image": self.image_id,
            "ResolvConfPath": self.resolv_conf,
            "HostnamePath": self.hostname_file,
            "HostsPath": self.hosts_file,
            "LogPath": self.log,
            "Name": format!("/{}", self.name),
            "RestartCount": self.restarts,
            "Driver": DRIVER,
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": self.host_config(),
            "GraphDriver": {"Data": self.directories, "Name": DRIVER},
            "SizeRw": self.size_rw,
            "SizeRootFs": self.size_root,
            "Mounts": self.mounts.iter().map(MountPoint::json).collect::<Vec<_>>(),
            "Config": self.config.json(),
            "NetworkSettings": {
                "SandboxID": "",
                "SandboxKey": "",
                "Bridge": "",
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": "",
                "IPPrefixLen": 0,
                "MacAddress": "",
                "Ports": port_map(&self.ports),
                "Networks": self.networks.iter().map(|name| (name.clone(), endpoint())).collect::<Map<_, _>>(),
            },
        });
        // A size that was asked for is shown even if it is 0: docker's field is a pointer.
        let counted = |path: &&str| match *path {
            "/SizeRw" => self.size_rw.is_none(),
            "/SizeRootFs" => self.size_root.is_none(),
            "/HostConfig/Init" => self.host.init.is_none(),
            "/Config/StopTimeout" => self.config.stop_timeout.is_none(),
            _ => true,
        };
        Object::new(full, &OMIT.into_iter().filter(counted).collect::<Vec<_>>())
    }

    fn state(&self) -> Json {
        json!({
            "Status": self.state.name(),
            "Running": self.state.is_running(),
            "Paused": matches!(self.state, State::Paused { .. }),
            "Restarting": false,
            "OOMKilled": self.oom_killed,
            "Dead": false,
            "Pid": self.pid,
            "ExitCode": self.exit_code,
            "Error": self.error,
            "StartedAt": units::rfc3339(self.started),
            "FinishedAt": units::rfc3339(self.finished),
            "Health": null,
        })
    }

    /// General settings, then what belongs to Linux, then limits, in docker's order.
    fn host_config(&self) -> Json {
        let mut fields = Map::new();
        for part in [self.host.general(&self.ports), self.host.linux(), self.host.resources()] {
            if let Json::Object(part) = part {
                fields.extend(part);
            }
        }
        Json::Object(fields)
    }
}

impl Config {
    fn json(&self) -> Json {
        let [stdin, stdout, stderr] = self.attached;
        json!({
            "Hostname": self.hostname,
            "Domainname": self.domainname,
            "User": self.user,
            "AttachStdin": stdin,
            "AttachStdout": stdout,
            "AttachStderr": stderr,
            "ExposedPorts": set(&self.exposed),
            "Tty": self.tty,
            "OpenStdin": self.open_stdin,
            "StdinOnce": self.stdin_once,
            "Env": nil_if_empty(&self.env),
            "Cmd": nil_if_empty(&self.cmd),
            "Healthcheck": null,
            "Image": self.image,
            "Volumes": if self.volumes.is_empty() { Json::Null } else { set(&self.volumes) },
            "WorkingDir": self.workdir,
            "Entrypoint": nil_if_empty(&self.entrypoint),
            "OnBuild": null,
            "Labels": self.labels,
            "StopSignal": self.stop_signal,
            "StopTimeout": self.stop_timeout,
        })
    }
}

impl MountPoint {
    fn json(&self) -> Json {
        json!({
            "Type": self.kind,
            "Name": "",
            "Source": self.source,
            "Destination": self.destination,
            "Driver": "",
            "Mode": self.mode,
            "RW": self.writable,
            "Propagation": self.propagation,
        })
    }
}

/// A set in Go's form: keys with empty objects, sorted.
fn set(keys: &[String]) -> Json {
    let keys: BTreeMap<&str, Json> = keys.iter().map(|key| (key.as_str(), json!({}))).collect();
    json!(keys)
}

/// lrun's networks assign no addresses of their own, so an endpoint is docker's with nothing filled in.
fn endpoint() -> Json {
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "MacAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::inspect::Format;

    fn container() -> Container {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        Container {
            id: "c2c5bcdbd95e".repeat(6)[..64].to_owned(),
            created: at("2026-01-02T15:00:00.123456789Z"),
            argv: ["bash", "-c", "exit 3"].map(str::to_owned).to_vec(),
            state: State::Exited { code: 3, finished: at("2026-01-02T15:00:05.5Z") },
            pid: 0,
            exit_code: 3,
            oom_killed: false,
            error: String::new(),
            started: Some(at("2026-01-02T15:00:01Z")),
            finished: Some(at("2026-01-02T15:00:05.5Z")),
            image_id: "sha256:ab".to_owned(),
            resolv_conf: String::new(),
            hostname_file: String::new(),
            hosts_file: String::new(),
            log: "/r/log".to_owned(),
            name: "deleting_files".to_owned(),
            restarts: 0,
            directories: BTreeMap::from([("UpperDir".to_owned(), "/r/diff".to_owned())]),
            size_rw: None,
            size_root: None,
            mounts: vec![MountPoint {
                kind: "bind".to_owned(),
                source: "/srv".to_owned(),
                destination: "/data".to_owned(),
                writable: true,
                propagation: "rprivate".to_owned(),
                ..MountPoint::default()
            }],
            config: Config {
                hostname: "c2c5bcdbd95e".to_owned(),
                env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()],
                cmd: vec!["bash".to_owned()],
                image: "stage0".to_owned(),
                labels: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
                ..Config::default()
            },
            host: Host { network_mode: "bridge".to_owned(), shm_size: 64 << 20, ..Host::default() },
            networks: vec!["bridge".to_owned()],
            ports: vec![
                Port { private: 80, ip: "0.0.0.0".parse().ok(), public: 8080, protocol: "tcp".to_owned() },
                Port { private: 53, ip: None, public: 0, protocol: "udp".to_owned() },
            ],
        }
    }

    fn ask(container: &Container, format: &str) -> String {
        let format = Format::parse(Some(format)).unwrap();
        format.render(&[container.object()], false).unwrap().0.trim_end().to_owned()
    }

    #[test]
    fn the_shape_that_tools_read() {
        let object = container().object();
        let keys: Vec<&str> = object.json().as_object().unwrap().keys().map(String::as_str).collect();
        insta::assert_snapshot!(keys.join(" "), @"Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings");
        let container = container();
        for (format, output) in [
            ("{{.State.Running}} {{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}", "false exited 3 0"),
            ("{{.Created}} {{.State.FinishedAt}}", "2026-01-02T15:00:00.123456789Z 2026-01-02T15:00:05.5Z"),
            ("{{.Path}} {{json .Args}} {{.Name}}", r#"bash ["-c","exit 3"] /deleting_files"#),
            ("{{range .Config.Env}}{{println .}}{{end}}", "PATH=/bin\nA=1"),
            (r#"{{index .Config.Labels "a"}}"#, "1"),
            (
                "{{json .Mounts}}",
                r#"[{"Type":"bind","Source":"/srv","Destination":"/data","Mode":"","RW":true,"Propagation":"rprivate"}]"#,
            ),
            ("{{range .Mounts}}<{{.Name}}>{{end}}", "<>"),
            (
                "{{json .Config}}",
                r#"{"Hostname":"c2c5bcdbd95e","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["PATH=/bin","A=1"],"Cmd":["bash"],"Image":"stage0","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":{"a":"1"}}"#,
            ),
            ("{{json .NetworkSettings.Ports}}", r#"{"53/udp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}"#),
            ("{{json .HostConfig.PortBindings}}", r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}"#),
            ("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{$v.IPAddress}}{{end}}", "bridge"),
            ("{{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}", ""),
            ("{{.HostConfig.NetworkMode}} {{.HostConfig.ShmSize}} {{json .HostConfig.Binds}}", "bridge 67108864 null"),
            ("{{.GraphDriver.Name}} {{.GraphDriver.Data.UpperDir}}", "overlay /r/diff"),
            ("<{{.NetworkSettings.IPAddress}}>", "<>"),
            ("{{json .SizeRw}}", "null"),
        ] {
            assert_eq!(ask(&container, format), output, "{format}");
        }
    }

    #[test]
    fn what_was_asked_for_is_shown_even_if_zero() {
        let mut container = container();
        container.size_rw = Some(0);
        container.host.init = Some(false);
        container.config.stop_timeout = Some(0);
        let object = container.object();
        assert_eq!(object.json()["SizeRw"], 0);
        assert_eq!(object.json()["HostConfig"]["Init"], false);
        assert_eq!(object.json()["Config"]["StopTimeout"], 0);
        assert!(object.json().get("SizeRootFs").is_none());
    }

    #[test]
    fn never_started_is_gos_zero_time() {
        let mut container = container();
        container.state = State::Created;
        (container.started, container.finished) = (None, None);
        assert_eq!(ask(&container, "{{.State.Status}} {{.State.StartedAt}}"), "created 0001-01-01T00:00:00Z");
    }
}
