//! What `inspect` tells of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::{files_dir, image_facts, load_spec, options_of};
use lrun_runtime::container::lifecycle::{containers, is_running};
use lrun_runtime::container::options::limits::UNLIMITED;
use lrun_runtime::container::options::{Access, Mount, Propagation, RunOptions, SeccompChoice, Security};
use lrun_runtime::container::record::Record;
use lrun_runtime::container::size::{Sizes, sizes};
use lrun_runtime::container::spec::container_config;
use lrun_runtime::error::Result;
use lrun_runtime::image::config::ImageConfig;
use serde_json::{Value as Json, json};

use crate::commands::ps;
use crate::context;
use crate::ui::inspect::Object;
use crate::ui::inspect::container::{Config, Container, MountPoint};
use crate::ui::inspect::host::Host;

/// Bytes of `/dev/shm` where the user asked for none, as docker shows them.
const SHM: u64 = 64 << 20;

/// The container in docker's shape.
pub fn object(engine: &Engine, record: &Record, with_sizes: bool) -> Result<Object> {
    let options = options_of(record)?;
    let sizes = if with_sizes { sizes(engine, std::slice::from_ref(record))?.pop() } else { None };
    let network = ps::network_name(&options.network, &context::host());
    let paths = containers(engine).paths(&record.id);
    // A container whose making was interrupted has no Spec.
    let spec = load_spec(paths.path()).ok();
    let mut host = host(record, &options, &network);
    if let Some(linux) = spec.as_ref().and_then(|spec| spec.linux().as_ref()) {
        host.masked_paths = linux.masked_paths().clone().unwrap_or_default();
        host.readonly_paths = linux.readonly_paths().clone().unwrap_or_default();
    }
    let hostname = options.hostname.clone().or_else(|| spec.and_then(|spec| spec.hostname().clone()));
    // The generated files exist from the first start on.
    let files = files_dir(paths.path());
    let file = |name: &str| if record.state.started.is_some() { shown(&files.join(name)) } else { String::new() };
    let container = Container {
        id: record.id.to_string(),
        created: record.created,
        argv: record.command.clone(),
        state: ps::state(&record.state),
        pid: record.state.init.as_ref().filter(|_| is_running(record)).map_or(0, |init| init.pid),
        exit_code: record.state.exit_code,
        oom_killed: record.state.oom_killed,
        error: record.state.error.clone(),
        started: record.state.started,
        finished: record.state.finished,
        image_id: record.image.id.to_string(),
        resolv_conf: file("resolv.conf"),
        hostname_file: file("hostname"),
        hosts_file: file("hosts"),
        log: shown(&paths.log()),
        name: record.name.to_string(),
        restarts: record.restart_count,
        directories: directories(engine, record),
        size_rw: sizes.map(|Sizes { own, .. }| own),
        size_root: sizes.map(|Sizes { all, .. }| all),
        mounts: options.mounts.iter().filter_map(mount_point).collect(),
        config: Config { hostname: hostname.unwrap_or_default(), ..config(engine, record, &options)? },
        host,
        networks: vec![network],
        ports: if is_running(record) { ps::ports(&record.ports) } else { Vec::new() },
    };
    Ok(container.object())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn directories(engine: &Engine, record: &Record) -> BTreeMap<String, String> {
    let paths = containers(engine).paths(&record.id);
    let lower: Vec<String> = record.layers.iter().rev().map(|layer| shown(&engine.root().layer_diff(layer))).collect();
    BTreeMap::from([
        ("LowerDir".to_owned(), lower.join(":")),
        ("UpperDir".to_owned(), shown(&paths.layer_diff())),
        ("WorkDir".to_owned(), shown(&paths.work())),
    ])
}

/// The image's config is kept as long as a container uses it, also where the image is gone.
fn config(engine: &Engine, record: &Record, options: &RunOptions) -> Result<Config> {
    let image = ImageConfig::from_bytes(&engine.store.blob(&record.image.id)?)?;
    let merged = container_config(options, &image_facts(&image))?;
    Ok(Config {
        domainname: options.domainname.clone().unwrap_or_default(),
        user: merged.user.map_or_else(String::new, |user| user.to_string()),
        attached: [options.attach.stdin, options.attach.stdout, options.attach.stderr],
        exposed: record.ports.clone(),
        tty: options.tty,
        open_stdin: options.interactive,
        stdin_once: options.interactive && !options.detach,
        env: merged.env,
        cmd: merged.cmd,
        image: record.image.reference.clone(),
        volumes: image.config.volumes.keys().cloned().collect(),
        workdir: merged.working_dir,
        entrypoint: merged.entrypoint,
        labels: merged.labels,
        stop_signal: merged.stop_signal.map(String::from).unwrap_or_default(),
        stop_timeout: options.stop_timeout,
        ..Config::default()
    })
}

/// Each once, in docker's order.
fn sorted(names: &[String]) -> Vec<String> {
    names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

fn host(record: &Record, options: &RunOptions, network: &str) -> Host {
    let max_size = options.log.max_size.map_or_else(|| "-1".to_owned(), |size| size.to_string());
    let limit = |limit: u64| if limit == UNLIMITED { -1 } else { i64::try_from(limit).unwrap_or(i64::MAX) };
    Host {
        no_log: options.log.none,
        oom_score_adj: options.oom_score_adj.unwrap_or(0),
        binds: options.mounts.iter().filter_map(bind).collect(),
        mounts: options.mounts.iter().filter_map(other_bind).collect(),
        cidfile: options.cidfile.as_deref().map(shown).unwrap_or_default(),
        log_options: BTreeMap::from([
            ("max-file".to_owned(), options.log.max_files.to_string()),
            ("max-size".to_owned(), max_size),
        ]),
        network_mode: network.to_owned(),
        auto_remove: record.auto_remove,
        annotations: options.annotations.clone(),
        cap_add: sorted(&options.capabilities.add),
        cap_drop: sorted(&options.capabilities.drop),
        dns: options.dns.servers.iter().map(ToString::to_string).collect(),
        dns_options: options.dns.options.clone(),
        dns_search: options.dns.search.clone(),
        extra_hosts: options.add_hosts.iter().map(|host| format!("{}:{}", host.name, host.address)).collect(),
        group_add: options.groups.iter().map(ToString::to_string).collect(),
        read_only: options.read_only,
        security_options: security_options(&options.security),
        tmpfs: options.mounts.iter().filter_map(tmpfs).collect(),
        sysctls: options.sysctls.clone(),
        shm_size: options.shm_size.unwrap_or(SHM),
        devices: options.devices.iter().map(|d| (d.source.clone(), d.target.clone(), "rwm".to_owned())).collect(),
        ulimits: options.ulimits.iter().map(|u| (u.name().to_owned(), limit(u.soft), limit(u.hard))).collect(),
        init: options.init.then_some(true),
        ..Host::default()
    }
}

fn security_options(security: &Security) -> Vec<String> {
    let mut options = Vec::new();
    options.extend(security.no_new_privileges.then(|| "no-new-privileges".to_owned()));
    options.extend(match &security.seccomp {
        SeccompChoice::Default => None,
        SeccompChoice::Unconfined => Some("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(profile) => Some(format!("seccomp={profile}")),
    });
    options.extend(security.unconfined_paths.then(|| "systempaths=unconfined".to_owned()));
    options
}

/// The mode of a bind as `-v` takes it, such as `ro,rslave`; `None` for what only `--mount` can ask for.
fn mode(mount: &Mount) -> Option<String> {
    let Mount::Bind { access, recursive: true, propagation, create: true, .. } = mount else { return None };
    let access = match access {
        Access::ReadWrite => None,
        Access::ReadOnly => Some("ro"),
        Access::ReadOnlyTop => return None,
    };
    let propagation = (*propagation != Propagation::default()).then_some(propagation.as_str());
    Some(access.into_iter().chain(propagation).collect::<Vec<_>>().join(","))
}

/// What `-v` can ask for, in its words.
fn bind(mount: &Mount) -> Option<String> {
    let (Mount::Bind { source, target, .. }, mode) = (mount, mode(mount)?) else { return None };
    let colon = if mode.is_empty() { "" } else { ":" };
    Some(format!("{source}:{target}{colon}{mode}"))
}

/// What only `--mount` can ask for.
fn other_bind(mount: &Mount) -> Option<Json> {
    match mount {
        Mount::Bind { source, target, access, recursive, propagation, create } if mode(mount).is_none() => {
            Some(json!({
                "Type": "bind",
                "Source": source,
                "Target": target,
                "ReadOnly": *access != Access::ReadWrite,
                "BindOptions": {
                    "Propagation": propagation.as_str(),
                    "NonRecursive": !recursive,
                    "ReadOnlyNonRecursive": *access == Access::ReadOnlyTop,
                    "CreateMountpoint": create,
                },
            }))
        }
        _ => None,
    }
}

fn tmpfs(mount: &Mount) -> Option<(String, String)> {
    match mount {
        Mount::Tmpfs { target, options } => Some((target.clone(), options.join(","))),
        Mount::Bind { .. } => None,
    }
}

fn mount_point(mount: &Mount) -> Option<MountPoint> {
    match mount {
        Mount::Bind { source, target, access, propagation, .. } => Some(MountPoint {
            kind: "bind".to_owned(),
            source: source.clone(),
            destination: target.clone(),
            mode: mode(mount).unwrap_or_default(),
            writable: *access == Access::ReadWrite,
            propagation: propagation.as_str().to_owned(),
        }),
        Mount::Tmpfs { .. } => None,
    }
}
