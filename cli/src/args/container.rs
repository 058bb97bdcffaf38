//! The flags that `run` and `create` share, and how they become [`RunOptions`].

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use lrun_runtime::container::names::ContainerName;
use lrun_runtime::container::options::{
    self, CapabilityChanges, Dns, EnvVar, LogOptions, RunOptions, Security, Streams,
};
use lrun_runtime::container::options::{StopSignal, env, limits, mounts, network, security, user};
use lrun_runtime::error::Context;
use lrun_runtime::image::config::exposed_ports;
use lrun_runtime::image::import::architecture;
use lrun_runtime::registry::platform::Platform;
use lrun_runtime::stdio::terminal::DetachKeys;
use lrun_runtime::{Error, ErrorKind, Result};

use super::registry::{Pulling, parse_when};

/// Bytes of a file that a flag names.
const FILE_MAX: u64 = 64 << 20;

/// Flags of `run` and `create`.
#[derive(Clone, Debug, Args)]
pub struct ContainerFlags {
    /// The image, then the command and its arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE")]
    words: Vec<String>,
    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten, next_help_heading = "Environment")]
    env: EnvFlags,
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkFlags,
    #[command(flatten, next_help_heading = "Files and devices")]
    files: FileFlags,
    #[command(flatten, next_help_heading = "Limits and log")]
    limits: LimitFlags,
    #[command(flatten, next_help_heading = "Security")]
    security: SecurityFlags,
}

/// Names and the process.
#[derive(Clone, Debug, Args)]
struct ProcessFlags {
    /// Keep a note that inspect shows
    #[arg(long, value_name = "NAME[=VALUE]")]
    annotation: Vec<String>,
    /// Attach only these: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    /// Write the container's id to this file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Run this instead of the image's entrypoint: a program, or a JSON list of it and its arguments; empty: none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Add a group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Run an init process that reaps orphans and forwards signals
    #[arg(long)]
    init: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Set a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Set the labels that a file lists
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    /// What the image must be made for (default: this machine)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Pull the image first: missing (the default), always, never, or newer (where the registry has another)
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    /// Say nothing of pulling
    #[arg(short, long)]
    quiet: bool,
    /// Remove a container that has the name already, as rm --force does
    #[arg(long)]
    replace: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Signal that stop sends first
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds that stop waits; -1: for ever
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<i32>,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory to run in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
}

/// `-e` and `--env-file`, which `exec` has too.
#[derive(Clone, Debug, Args)]
pub(super) struct EnvFlags {
    /// Set a variable; a name alone takes over the caller's value
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables that a file lists
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
}

/// Network and names.
#[derive(Clone, Debug, Args)]
struct NetworkFlags {
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Use this DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Search names in this domain; . for none
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Say that the command listens on this port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// pasta, host or none
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
}

/// Files and devices.
#[derive(Clone, Debug, Args)]
struct FileFlags {
    /// Give a device of the host
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    device: Vec<String>,
    /// Mount a file or directory of the host, or a tmpfs: type=bind,source=…,target=…
    #[arg(long, value_name = "SPEC")]
    mount: Vec<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Size of /dev/shm (default 64m)
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Mount a tmpfs
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount a file or directory of the host
    #[arg(short, long, value_name = "HOST:CONTAINER[:OPTIONS]")]
    volume: Vec<String>,
}

/// Limits and logs.
#[derive(Clone, Debug, Args)]
struct LimitFlags {
    /// Processors; only 0 (no limit) is served
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// Memory; only 0 (no limit) is served
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Processes; only -1 (no limit) is served
    #[arg(long, value_name = "N")]
    pids_limit: Option<String>,
    /// Set a limit of getrlimit(2), such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// How much likelier the command is killed where memory runs out, to 1000
    #[arg(long, value_name = "N")]
    oom_score_adj: Option<String>,
    /// none: keep no log; local: the usual one
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Bound the log: max-size=10m (-1: unbounded), max-file=3
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
}

/// What the container may do.
#[derive(Clone, Debug, Args)]
struct SecurityFlags {
    /// Give a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE|unconfined, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
}

/// Names flag and value in the error of a value that is wrong; what is not served says so itself.
pub(super) fn flag<T>(name: &str, value: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    parse(value).map_err(|error| match error.kind() {
        ErrorKind::Invalid => error.context(format!("invalid argument \"{value}\" for \"{name}\" flag")),
        _ => error,
    })
}

/// The same for each value of a repeated flag.
pub(super) fn flags<T>(name: &str, values: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    values.iter().map(|value| flag(name, value, &parse)).collect()
}

/// The same for a flag that may be absent; docker takes an empty value as absent too.
pub(super) fn given<T>(name: &str, value: Option<&String>, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    value.filter(|value| !value.is_empty()).map(|value| flag(name, value, parse)).transpose()
}

impl ContainerFlags {
    /// Whether `-a` was given.
    pub(super) fn has_attach(&self) -> bool {
        !self.process.attach.is_empty()
    }

    /// Whether the name is taken from the container that has it.
    pub(super) fn replace(&self) -> Result<bool> {
        let process = &self.process;
        if process.replace && process.name.is_none() {
            return Err(Error::new(ErrorKind::Invalid, "cannot replace container without --name being set"));
        }
        Ok(process.replace)
    }

    /// When and how the image is pulled.
    pub(super) fn pulling(&self) -> Result<Pulling> {
        self.process.pulling()
    }

    /// The flags, parsed and checked together.
    pub(super) fn into_options(self, lookup: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<RunOptions> {
        let mut words = self.words.into_iter();
        let mut options =
            RunOptions { image: words.next().unwrap_or_default(), command: words.collect(), ..RunOptions::default() };
        self.process.apply(&mut options, cwd)?;
        for var in self.env.parse(lookup, cwd)? {
            env::set_env(&mut options.env, var);
        }
        self.network.apply(&mut options)?;
        self.files.apply(&mut options, cwd)?;
        self.limits.apply(&mut options)?;
        self.security.apply(&mut options, cwd)?;
        options.check()?;
        Ok(options)
    }
}

impl ProcessFlags {
    fn pulling(&self) -> Result<Pulling> {
        Ok(Pulling {
            when: given("--pull", self.pull.as_ref(), parse_when)?.unwrap_or_default(),
            platform: self.platform.clone().filter(|platform| !platform.is_empty()),
            quiet: self.quiet,
        })
    }

    fn apply(self, options: &mut RunOptions, cwd: &Path) -> Result<()> {
        given("--platform", self.platform.as_ref(), check_platform)?;
        self.pulling()?;
        options.name = given("--name", self.name.as_ref(), parse_name)?;
        options.entrypoint = self.entrypoint.map(entrypoint);
        options.user = given("-u, --user", self.user.as_ref(), user::parse_user)?;
        options.groups = flags("--group-add", &self.group_add, user::parse_group)?;
        options.workdir = given("-w, --workdir", self.workdir.as_ref(), options::parse_workdir)?;
        options.stop_signal = given("--stop-signal", self.stop_signal.as_ref(), StopSignal::parse)?;
        options.stop_timeout = self.stop_timeout;
        for path in &self.label_file {
            options.labels.extend(env::parse_label_file(path, &read("label", path, cwd)?)?);
        }
        options.labels.extend(flags("-l, --label", &self.label, env::parse_label)?);
        options.annotations.extend(flags("--annotation", &self.annotation, env::parse_label)?);
        let mut attach = Streams::default();
        for stream in &self.attach {
            flag("-a, --attach", stream, |stream| attach.add(stream))?;
        }
        if attach.is_empty() {
            attach = Streams { stdin: false, stdout: true, stderr: true };
        }
        attach.stdin |= self.interactive;
        options.attach = attach;
        options.tty = self.tty;
        options.interactive = self.interactive;
        options.rm = self.rm;
        options.init = self.init;
        options.cidfile = self.cidfile;
        Ok(())
    }
}

impl EnvFlags {
    /// The variables of the files, then of the flags.
    pub(super) fn parse(&self, lookup: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<Vec<EnvVar>> {
        let mut vars = Vec::new();
        for path in &self.env_file {
            vars.extend(env::parse_env_file(path, &read("env", path, cwd)?, lookup)?);
        }
        vars.extend(flags("-e, --env", &self.env, |text| env::parse_env(text, lookup))?);
        Ok(vars)
    }
}

impl NetworkFlags {
    fn apply(self, options: &mut RunOptions) -> Result<()> {
        options.hostname = given("-h, --hostname", self.hostname.as_ref(), network::parse_hostname)?;
        options.domainname = given("--domainname", self.domainname.as_ref(), network::parse_hostname)?;
        options.network = given("--network", one_network(&self.network)?, network::parse_network)?.unwrap_or_default();
        options.expose = flags("--expose", &self.expose, |word| {
            exposed_ports(word).context(|| "invalid range format for --expose")
        })?
        .concat();
        options.add_hosts = flags("--add-host", &self.add_host, network::parse_add_host)?;
        options.dns = Dns {
            servers: flags("--dns", &self.dns, network::parse_dns_server)?,
            search: flags("--dns-search", &self.dns_search, network::parse_dns_search)?,
            options: flags("--dns-option", &self.dns_option, network::parse_dns_option)?,
        };
        Ok(())
    }
}

/// A container has one network: which of several was meant, nobody knows.
fn one_network(all: &[String]) -> Result<Option<&String>> {
    let Some((first, more)) = all.split_first() else { return Ok(None) };
    let text = match more.iter().find(|other| *other != first) {
        Some(other) => format!("--network {first:?} and {other:?}: a container has one network"),
        None if more.is_empty() => return Ok(Some(first)),
        None => format!("network {first:?} is specified multiple times"),
    };
    Err(Error::new(ErrorKind::Invalid, text))
}

impl FileFlags {
    fn apply(self, options: &mut RunOptions, cwd: &Path) -> Result<()> {
        // The same twice is once, as in docker; scripts put their command lines together from several places.
        let mut volumes = self.volume;
        let mut seen = HashSet::new();
        volumes.retain(|volume| seen.insert(volume.clone()));
        options.mounts = flags("-v, --volume", &volumes, |text| mounts::parse_volume(text, cwd))?;
        options.mounts.extend(flags("--mount", &self.mount, |text| mounts::parse_mount(text, cwd))?);
        let mut tmpfs = Vec::new();
        for mount in flags("--tmpfs", &self.tmpfs, mounts::parse_tmpfs)? {
            mounts::set_tmpfs(&mut tmpfs, mount);
        }
        options.mounts.extend(tmpfs);
        options.devices = flags("--device", &self.device, security::parse_device)?;
        options.shm_size = given("--shm-size", self.shm_size.as_ref(), limits::parse_shm_size)?.flatten();
        options.read_only = self.read_only;
        Ok(())
    }
}

impl LimitFlags {
    fn apply(self, options: &mut RunOptions) -> Result<()> {
        given("--cpus", self.cpus.as_ref(), limits::parse_cpus)?;
        given("-m, --memory", self.memory.as_ref(), limits::parse_memory)?;
        given("--pids-limit", self.pids_limit.as_ref(), limits::parse_pids_limit)?;
        for limit in flags("--ulimit", &self.ulimit, limits::parse_ulimit)? {
            limits::set_ulimit(&mut options.ulimits, limit);
        }
        options.oom_score_adj = given("--oom-score-adj", self.oom_score_adj.as_ref(), limits::parse_oom_score_adj)?;
        let mut log = LogOptions::default();
        given("--log-driver", self.log_driver.as_ref(), |name| log.set_driver(name))?;
        if log.none && !self.log_opt.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "invalid logging opts for driver none"));
        }
        for option in &self.log_opt {
            flag("--log-opt", option, |option| log.set(option))?;
        }
        options.log = log;
        Ok(())
    }
}

impl SecurityFlags {
    fn apply(self, options: &mut RunOptions, cwd: &Path) -> Result<()> {
        options.capabilities = CapabilityChanges {
            add: flags("--cap-add", &self.cap_add, |name| capability("CapAdd", name))?,
            drop: flags("--cap-drop", &self.cap_drop, |name| capability("CapDrop", name))?,
        };
        options.security = security_options(&self.security_opt, cwd)?;
        options.sysctls = flags("--sysctl", &self.sysctl, security::parse_sysctl)?.into_iter().collect();
        Ok(())
    }
}

/// The values of `--security-opt`; profiles are read.
pub(super) fn security_options(values: &[String], cwd: &Path) -> Result<Security> {
    let read_profile = |path: &str| {
        let text = content(&cwd.join(path))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::Invalid, "not UTF-8")));
        text.context(|| format!("open seccomp profile ({path})"))
    };
    let mut security = Security::default();
    for option in values {
        flag("--security-opt", option, |option| security.set(option, &read_profile))?;
    }
    Ok(security)
}

/// A capability, with docker's name of the list that it is for.
fn capability(list: &str, name: &str) -> Result<String> {
    security::parse_capability(name).context(|| format!("invalid {list}"))
}

/// The program of `--entrypoint` and, as podman has it, its arguments.
fn entrypoint(text: String) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(&text) {
        Ok(words) => words,
        Err(_) if text.is_empty() => Vec::new(),
        Err(_) => vec![text],
    }
}

/// Another system's images cannot be used. Another machine's run where an emulator is registered, and their files are to
/// be had anywhere.
fn check_platform(platform: &str) -> Result<()> {
    let own = Platform::new("linux", architecture()?, "");
    if Platform::parse(platform, &own)?.os == own.os {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, format!("--platform {platform}: this machine runs {} alone", own.os)))
}

/// The name without the slash that `inspect` shows.
fn parse_name(text: &str) -> Result<String> {
    ContainerName::parse(text).map(|name| name.as_str().to_owned())
}

/// Checks `--detach-keys`; the text is kept, to be shown and stored as typed.
pub(super) fn detach_keys(keys: Option<String>) -> Result<Option<String>> {
    if let Some(keys) = &keys {
        flag("--detach-keys", keys, DetachKeys::parse)?;
    }
    Ok(keys)
}

/// The content of a file that a flag names: a pipe, too, but nothing without end.
fn read(kind: &str, path: &str, cwd: &Path) -> Result<Vec<u8>> {
    content(&cwd.join(path)).context(|| format!("read {kind} file {path}"))
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_MAX {
        true => Err(Error::new(ErrorKind::Invalid, "larger than 64 MiB")),
        false => Ok(bytes),
    }
}
