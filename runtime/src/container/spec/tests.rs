//! Whole specs, as one line for each value; variants as the lines that differ from the plain one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::container::options::{ExecOptions, RunOptions};
use crate::container::options::{env, limits, mounts, network, security, user};
use crate::error::ErrorKind;
use crate::idmap::Mode;

fn idmap(mode: Mode) -> IdMap {
    let (first, rest) =
        (Extent { inside: 0, outside: 1000, count: 1 }, Extent { inside: 1, outside: 100_000, count: 65_535 });
    let extents = if mode == Mode::Single { vec![first] } else { vec![first, rest] };
    IdMap::new(mode, extents.clone(), extents)
}

fn limits() -> Vec<Ulimit> {
    vec![limits::parse_ulimit("nofile=1024:20000").unwrap(), limits::parse_ulimit("memlock=8388608").unwrap()]
}

fn context<'a>(idmap: &'a IdMap, limits: &'a [Ulimit]) -> SpecContext<'a> {
    SpecContext {
        hostname: "4c1c0ee8492b",
        idmap,
        limits,
        oom_score_adj: 0,
        network: NetworkNamespace::New,
        rootfs: "/rootfs".into(),
        hosts: "/run/c/hosts".into(),
        hostname_file: "/run/c/hostname".into(),
        resolv_conf: "/run/c/resolv.conf".into(),
        thermal_throttle: &[],
        cgroup: None,
    }
}

fn plain() -> RunOptions {
    RunOptions { image: "stage0".to_owned(), command: vec!["bash".to_owned()], ..RunOptions::default() }
}

/// One line for each scalar, list of scalars or element of a list; sets and maps sorted.
fn lines(spec: &Spec) -> Vec<String> {
    fn walk(path: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.iter().collect();
                for (key, value) in sorted {
                    walk(&format!("{path}.{key}"), value, out);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                out.extend(items.iter().map(|item| format!("{path} + {item}")));
            }
            Value::Array(items) if path.contains(".capabilities.") => {
                let mut names: Vec<_> = items.iter().filter_map(Value::as_str).collect();
                names.sort_unstable();
                out.push(format!("{path} ({})", names.join(" ")));
            }
            other => out.push(format!("{path} = {other}")),
        }
    }
    let mut out = Vec::new();
    walk("", &serde_json::to_value(spec).unwrap(), &mut out);
    out
}

fn build(options: &RunOptions, mode: Mode) -> Result<Spec> {
    build_spec(options, &ImageFacts::default(), &context(&idmap(mode), &limits()))
}

/// The lines of `spec` that the plain spec does not have, and the other way round.
fn difference(spec: &Spec) -> String {
    let (old, new) = (lines(&build(&plain(), Mode::Subids).unwrap()), lines(spec));
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

fn changed(change: impl FnOnce(&mut RunOptions)) -> String {
    let mut options = plain();
    change(&mut options);
    difference(&build(&options, Mode::Subids).unwrap())
}

#[test]
fn the_plain_spec() {
    insta::assert_snapshot!(lines(&build(&plain(), Mode::Subids).unwrap()).join("\n"), @r#"
    .hostname = "4c1c0ee8492b"
    .linux.gidMappings + {"hostID":1000,"containerID":0,"size":1}
    .linux.gidMappings + {"hostID":100000,"containerID":1,"size":65535}
    .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux"]
    .linux.namespaces + {"type":"user"}
    .linux.namespaces + {"type":"mount"}
    .linux.namespaces + {"type":"pid"}
    .linux.namespaces + {"type":"ipc"}
    .linux.namespaces + {"type":"uts"}
    .linux.namespaces + {"type":"cgroup"}
    .linux.namespaces + {"type":"network"}
    .linux.readonlyPaths = ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
    .linux.rootfsPropagation = "rprivate"
    .linux.sysctl.net.ipv4.ip_unprivileged_port_start = "0"
    .linux.sysctl.net.ipv4.ping_group_range = "0 0"
    .linux.uidMappings + {"hostID":1000,"containerID":0,"size":1}
    .linux.uidMappings + {"hostID":100000,"containerID":1,"size":65535}
    .mounts + {"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]}
    .mounts + {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]}
    .mounts + {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}
    .mounts + {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]}
    .mounts + {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]}
    .mounts + {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"]}
    .mounts + {"destination":"/etc/hosts","type":"bind","source":"/run/c/hosts","options":["bind","rprivate"]}
    .mounts + {"destination":"/etc/hostname","type":"bind","source":"/run/c/hostname","options":["bind","rprivate"]}
    .mounts + {"destination":"/etc/resolv.conf","type":"bind","source":"/run/c/resolv.conf","options":["bind","rprivate"]}
    .mounts + {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["rprivate","nosuid","noexec","nodev","relatime","ro"]}
    .ociVersion = "1.1.0"
    .process.args = ["bash"]
    .process.capabilities.ambient ()
    .process.capabilities.bounding (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    .process.capabilities.effective (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    .process.capabilities.inheritable ()
    .process.capabilities.permitted (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    .process.cwd = "/"
    .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=4c1c0ee8492b","container=lrun"]
    .process.noNewPrivileges = false
    .process.rlimits + {"type":"RLIMIT_NOFILE","hard":20000,"soft":20000}
    .process.rlimits + {"type":"RLIMIT_NPROC","hard":1048576,"soft":1048576}
    .process.terminal = false
    .process.user.gid = 0
    .process.user.uid = 0
    .process.user.umask = 18
    .process.user.username = "0"
    .root.path = "/rootfs"
    .root.readonly = false
    "#);
}

#[test]
fn a_terminal() {
    insta::assert_snapshot!(changed(|o| o.tty = true), @r#"
    - .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=4c1c0ee8492b","container=lrun"]
    - .process.terminal = false
    + .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=4c1c0ee8492b","container=lrun","TERM=xterm"]
    + .process.terminal = true
    "#);
}

#[test]
fn single_id_map() {
    insta::assert_snapshot!(difference(&build(&plain(), Mode::Single).unwrap()), @r#"
    - .linux.gidMappings + {"hostID":100000,"containerID":1,"size":65535}
    - .linux.uidMappings + {"hostID":100000,"containerID":1,"size":65535}
    - .mounts + {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]}
    + .mounts + {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620"]}
    "#);
}

#[test]
fn host_network() {
    let (map, limits) = (idmap(Mode::Subids), limits());
    let throttle = ["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()];
    let mut ctx = context(&map, &limits);
    ctx.network = NetworkNamespace::Host;
    ctx.thermal_throttle = &throttle;
    insta::assert_snapshot!(difference(&build_spec(&plain(), &ImageFacts::default(), &ctx).unwrap()), @r#"
    - .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux"]
    - .linux.namespaces + {"type":"network"}
    - .linux.sysctl.net.ipv4.ip_unprivileged_port_start = "0"
    - .linux.sysctl.net.ipv4.ping_group_range = "0 0"
    - .mounts + {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}
    + .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux","/sys/devices/system/cpu/cpu0/thermal_throttle","/sys/kernel"]
    + .mounts + {"destination":"/sys","type":"bind","source":"/sys","options":["rbind","rprivate","rnosuid","rnoexec","rnodev","rro"]}
    "#);
    ctx.network = NetworkNamespace::Join("/proc/7/ns/net".into());
    insta::assert_snapshot!(difference(&build_spec(&plain(), &ImageFacts::default(), &ctx).unwrap()), @r#"
    - .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux"]
    - .linux.namespaces + {"type":"network"}
    - .linux.sysctl.net.ipv4.ip_unprivileged_port_start = "0"
    - .linux.sysctl.net.ipv4.ping_group_range = "0 0"
    + .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux","/sys/devices/system/cpu/cpu0/thermal_throttle"]
    + .linux.namespaces + {"type":"network","path":"/proc/7/ns/net"}
    "#);
}

#[test]
fn everything_that_a_user_may_ask() {
    let cwd = std::path::Path::new("/home/u");
    let mut options = plain();
    options.user = Some(user::parse_user("33:staff").unwrap());
    options.groups = vec![user::parse_group("7").unwrap(), user::parse_group("audio").unwrap()];
    options.env = vec![env::parse_env("A=1", &|_| None).unwrap(), env::parse_env("container", &|_| None).unwrap()];
    options.workdir = Some("/srv".to_owned());
    options.hostname = Some("box".to_owned());
    options.domainname = Some("example.org".to_owned());
    options.read_only = true;
    options.mounts = vec![
        mounts::parse_volume("/data/x:/mnt/deep/x:ro,rslave", cwd).unwrap(),
        mounts::parse_volume("./src:/mnt", cwd).unwrap(),
        mounts::parse_tmpfs("/dev/shm:size=1g,exec").unwrap(),
        mounts::parse_mount("type=bind,src=/h,dst=/etc/hosts,ro,bind-recursive=disabled", cwd).unwrap(),
    ];
    options.devices = vec![security::parse_device("/dev/fuse").unwrap()];
    options.ulimits = vec![limits::parse_ulimit("core=0").unwrap(), limits::parse_ulimit("nofile=64").unwrap()];
    options.capabilities.add = vec!["CAP_NET_RAW".to_owned()];
    options.capabilities.drop = vec!["CAP_KILL".to_owned(), "CAP_CHOWN".to_owned()];
    options.security.no_new_privileges = true;
    options.sysctls = [security::parse_sysctl("net.core.somaxconn=1024").unwrap()].into();
    options.network = network::parse_network("none").unwrap();
    insta::assert_snapshot!(difference(&build(&options, Mode::Subids).unwrap()), @r#"
    - .hostname = "4c1c0ee8492b"
    - .linux.rootfsPropagation = "rprivate"
    - .mounts + {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"]}
    - .mounts + {"destination":"/etc/hosts","type":"bind","source":"/run/c/hosts","options":["bind","rprivate"]}
    - .mounts + {"destination":"/etc/hostname","type":"bind","source":"/run/c/hostname","options":["bind","rprivate"]}
    - .mounts + {"destination":"/etc/resolv.conf","type":"bind","source":"/run/c/resolv.conf","options":["bind","rprivate"]}
    - .process.capabilities.bounding (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    - .process.capabilities.effective (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    - .process.capabilities.permitted (CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    - .process.cwd = "/"
    - .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=4c1c0ee8492b","container=lrun"]
    - .process.noNewPrivileges = false
    - .process.rlimits + {"type":"RLIMIT_NOFILE","hard":20000,"soft":20000}
    - .process.user.uid = 0
    - .process.user.username = "0"
    - .root.readonly = false
    + .domainname = "example.org"
    + .hostname = "box"
    + .linux.rootfsPropagation = "rslave"
    + .linux.sysctl.net.core.somaxconn = "1024"
    + .mounts + {"destination":"/mnt","type":"bind","source":"/home/u/src","options":["rbind","rprivate"]}
    + .mounts + {"destination":"/etc/hostname","type":"bind","source":"/run/c/hostname","options":["bind","rprivate","ro"]}
    + .mounts + {"destination":"/etc/resolv.conf","type":"bind","source":"/run/c/resolv.conf","options":["bind","rprivate","ro"]}
    + .mounts + {"destination":"/dev/shm","type":"tmpfs","source":"tmpfs","options":["nosuid","nodev","size=1g","exec","rprivate"]}
    + .mounts + {"destination":"/etc/hosts","type":"bind","source":"/h","options":["bind","rprivate","ro"]}
    + .mounts + {"destination":"/dev/fuse","type":"bind","source":"/dev/fuse","options":["bind","rprivate","nosuid","noexec","ro"]}
    + .mounts + {"destination":"/mnt/deep/x","type":"bind","source":"/data/x","options":["rbind","rslave","rro"]}
    + .process.capabilities.bounding (CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    + .process.capabilities.effective (CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    + .process.capabilities.permitted (CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT)
    + .process.cwd = "/srv"
    + .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=box","A=1"]
    + .process.noNewPrivileges = true
    + .process.rlimits + {"type":"RLIMIT_CORE","hard":0,"soft":0}
    + .process.rlimits + {"type":"RLIMIT_NOFILE","hard":64,"soft":64}
    + .process.user.additionalGids = [7]
    + .process.user.uid = 33
    + .process.user.username = "33:staff"
    + .root.readonly = true
    "#);
}

#[test]
fn unconfined_system_paths() {
    insta::assert_snapshot!(changed(|o| o.security.unconfined_paths = true), @r#"
    - .linux.maskedPaths = ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux"]
    - .linux.readonlyPaths = ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
    + .linux.maskedPaths = []
    + .linux.readonlyPaths = []
    "#);
}

#[test]
fn a_mount_of_the_hosts_dev_replaces_all_below_it_but_terminals() {
    let spec = changed(|o| o.mounts = vec![mounts::parse_volume("/dev:/dev", "/".as_ref()).unwrap()]);
    insta::assert_snapshot!(spec, @r#"
    - .mounts + {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]}
    - .mounts + {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]}
    - .mounts + {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"]}
    + .mounts + {"destination":"/dev","type":"bind","source":"/dev","options":["rbind","rprivate"]}
    "#);
}

#[test]
fn capability_changes() {
    let count = |add: &[&str], drop: &[&str]| {
        let mut options = plain();
        options.capabilities.add = add.iter().map(|name| security::parse_capability(name).unwrap()).collect();
        options.capabilities.drop = drop.iter().map(|name| security::parse_capability(name).unwrap()).collect();
        let spec = build(&options, Mode::Subids).unwrap();
        let sets = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding(), sets.effective());
        assert_eq!(sets.bounding(), sets.permitted());
        assert!(sets.inheritable().as_ref().unwrap().is_empty() && sets.ambient().as_ref().unwrap().is_empty());
        sets.bounding().as_ref().unwrap().len()
    };
    assert_eq!(count(&[], &[]), 11);
    assert_eq!(count(&["ALL"], &[]), 41);
    assert_eq!(count(&["all"], &["net_raw"]), 40);
    assert_eq!(count(&[], &["ALL"]), 0);
    assert_eq!(count(&["SYS_ADMIN", "KILL"], &["ALL"]), 2);
    assert_eq!(count(&["KILL"], &["KILL"]), 11);
}

#[test]
fn entrypoint_and_command_merge_as_docker_does() {
    let image = ImageFacts { entrypoint: vec!["e".into()], cmd: vec!["c".into()], ..ImageFacts::default() };
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let args = |entrypoint: Option<&[&str]>, command: &[&str]| {
        let options = RunOptions { entrypoint: entrypoint.map(words), command: words(command), ..plain() };
        let (map, limits) = (idmap(Mode::Subids), limits());
        build_spec(&options, &image, &context(&map, &limits)).map(|spec| spec.process().clone().unwrap().args().clone())
    };
    assert_eq!(args(None, &[]).unwrap(), Some(words(&["e", "c"])));
    assert_eq!(args(None, &["x"]).unwrap(), Some(words(&["e", "x"])));
    assert_eq!(args(Some(&["n"]), &[]).unwrap(), Some(words(&["n"])));
    assert_eq!(args(Some(&["n"]), &["x"]).unwrap(), Some(words(&["n", "x"])));
    assert_eq!(args(Some(&[]), &["x"]).unwrap(), Some(words(&["x"])));
    let error = args(Some(&[]), &[]).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, "no command specified"));
}

#[test]
fn image_data_only_configures_the_workload() {
    let hostile = ImageFacts {
        user: "www-data".into(),
        env: ["*", "AWS_*", "HOME", "=x", "A=1\0B=2", "LD_PRELOAD=/x", "PATH=/bin", "LD_PRELOAD=/y"]
            .map(str::to_owned)
            .into(),
        working_dir: "srv/../../etc".into(),
        labels: [("io.lrun.mount".to_owned(), "/:/host".to_owned())].into(),
        stop_signal: "SIGQUIT".into(),
        ..ImageFacts::default()
    };
    let (map, limits) = (idmap(Mode::Subids), limits());
    insta::assert_snapshot!(difference(&build_spec(&plain(), &hostile, &context(&map, &limits)).unwrap()), @r#"
    - .process.cwd = "/"
    - .process.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=4c1c0ee8492b","container=lrun"]
    - .process.user.username = "0"
    + .process.cwd = "/etc"
    + .process.env = ["PATH=/bin","HOSTNAME=4c1c0ee8492b","container=lrun","LD_PRELOAD=/y"]
    + .process.user.username = "www-data"
    "#);
    let config = container_config(&plain(), &hostile).unwrap();
    assert_eq!(config.env, ["LD_PRELOAD=/y", "PATH=/bin"]);
    assert_eq!(config.stop_signal.unwrap().signal().number(), 3);
    for bad in ["4294967296", "4294967295", "a b", "-1", ":", "x\ny"] {
        let image = ImageFacts { user: bad.to_owned(), ..ImageFacts::default() };
        let error = build_spec(&plain(), &image, &context(&map, &limits)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        assert!(error.to_string().starts_with("the image's config: "), "{error}");
    }
}

#[test]
fn the_users_environment_wins() {
    let image = ImageFacts { env: vec!["A=image".into(), "B=image".into(), "PATH=/i".into()], ..ImageFacts::default() };
    let mut options = RunOptions { tty: true, ..plain() };
    for text in ["B=user", "C=1", "A", "TERM=vt100", "HOSTNAME", "C=2"] {
        env::set_env(&mut options.env, env::parse_env(text, &|_| None).unwrap());
    }
    let (map, limits) = (idmap(Mode::Subids), limits());
    let spec = build_spec(&options, &image, &context(&map, &limits)).unwrap();
    let vars = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(vars, ["PATH=/i", "container=lrun", "TERM=vt100", "B=user", "C=2"]);
}

#[test]
fn ids_outside_the_map_are_refused_except_where_they_are_emulated() {
    for (text, fits) in [("0", true), ("65535", true), ("65536", false), ("0:65536", false), ("name:name", true)] {
        let options = RunOptions { user: Some(user::parse_user(text).unwrap()), ..plain() };
        let refused = |mode| build(&options, mode).err().map(|error| error.kind());
        assert_eq!(refused(Mode::Subids), (!fits).then_some(ErrorKind::Unsupported), "{text}");
        assert_eq!(refused(Mode::Single), None, "{text}");
    }
    let options = RunOptions { groups: vec![user::parse_group("70000").unwrap()], ..plain() };
    assert_eq!(build(&options, Mode::Root).unwrap_err().kind(), ErrorKind::Unsupported);
    let options = RunOptions { groups: vec![user::parse_group("audio").unwrap()], ..plain() };
    assert_eq!(build(&options, Mode::Single).unwrap_err().kind(), ErrorKind::Unsupported, "no id is left for it");
    build(&options, Mode::Subids).unwrap();
}

#[test]
fn limits_stay_below_the_callers() {
    let (map, limits) = (idmap(Mode::Subids), limits());
    let ctx = context(&map, &limits);
    for (text, fits) in [("nofile=20000", true), ("nofile=1:20001", false), ("memlock=-1", false), ("stack=-1", true)] {
        let options = RunOptions { ulimits: vec![limits::parse_ulimit(text).unwrap()], ..plain() };
        let built = build_spec(&options, &ImageFacts::default(), &ctx);
        assert_eq!(built.err().map(|e| e.kind()), (!fits).then_some(ErrorKind::Permission), "{text}");
    }
    for (score, fits) in [(None, true), (Some(-1), false), (Some(0), true), (Some(1000), true)] {
        let options = RunOptions { oom_score_adj: score, ..plain() };
        let built = build_spec(&options, &ImageFacts::default(), &ctx);
        assert_eq!(built.err().map(|e| e.kind()), (!fits).then_some(ErrorKind::Permission), "{score:?}");
    }
}

#[test]
fn exec_starts_from_the_containers_process() {
    let mut options = plain();
    options.user = Some(user::parse_user("33").unwrap());
    options.groups = vec![user::parse_group("7").unwrap()];
    options.env = vec![env::parse_env("A=run", &|_| None).unwrap()];
    let spec = build(&options, Mode::Subids).unwrap();
    let container = spec.process().clone().unwrap();

    let argv = vec!["id".to_owned()];
    let same = exec_process(&container, &ExecOptions { argv: argv.clone(), ..ExecOptions::default() });
    assert_eq!(same.args(), &Some(argv.clone()));
    assert_eq!((same.user(), same.env(), same.cwd()), (container.user(), container.env(), container.cwd()));
    assert_eq!(same.capabilities(), container.capabilities());

    let asked = ExecOptions {
        argv,
        env: vec![env::parse_env("A=exec", &|_| None).unwrap(), env::parse_env("container", &|_| None).unwrap()],
        user: Some(user::parse_user("nobody:100").unwrap()),
        workdir: Some("/tmp".to_owned()),
        tty: true,
        ..ExecOptions::default()
    };
    let process = exec_process(&container, &asked);
    assert_eq!(process.terminal(), Some(true));
    assert_eq!(process.cwd().to_str(), Some("/tmp"));
    let user = process.user();
    assert_eq!((user.uid(), user.gid(), user.username().as_deref()), (0, 100, Some("nobody:100")));
    assert_eq!(user.additional_gids(), &Some(vec![7]));
    let vars = process.env().clone().unwrap();
    assert_eq!(&vars[1..], ["HOSTNAME=4c1c0ee8492b", "A=exec", "TERM=xterm"]);
}

#[test]
fn specs_survive_json() {
    let spec = build(&plain(), Mode::Subids).unwrap();
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
}
