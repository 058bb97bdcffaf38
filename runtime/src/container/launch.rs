//! Creating and starting containers: runs in the CLI, on the host, with one thread.
//!
//! A monitor's process is made first of all, because mapping its ids takes as long as everything else together. Create
//! writes the record; start hands the monitor the container's lock, and from then on is a client of it like any other.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, FileType, Mode as FileMode, OFlags};
use rustix::io::Errno;

use super::commit;
use super::engine::Engine;
use super::monitor;
use super::options::{Network, RunOptions, SeccompChoice};
use super::orders::{self, Orders, PastaProgram};
use super::passing::Passing;
use super::record::{Container, Record};
use super::spec::{self, ImageFacts, NetworkNamespace, SpecContext, build_spec};
use super::{caller, sources};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::IdMap;
use crate::idmap::enter::{Mapped, Mapping, Unmapped, fork_mapping};
use crate::image::config::ImageConfig;
use crate::network::{self, files as net_files};
use crate::paths::ContainerPaths;
use crate::sandbox::join::memory;
use crate::sandbox::lower::{self, Lowering, lower, lower_process};
use crate::sandbox::plan::{Mount, Plan, Process, Rootfs};
use crate::sandbox::reads::Reads;
use crate::sandbox::reexec::Protected;
use crate::sandbox::seccomp::{self, Rules};
use crate::sandbox::view::{Layers, MOST_LOWERS, View};
use crate::sandbox::{caps, keyring};
use crate::stdio::log::LogOptions;
use crate::sys::mount::RDONLY;
use crate::sys::process::{exit_now, namespace};

/// What of an image a container takes.
pub fn image_facts(config: &ImageConfig) -> ImageFacts {
    let run = &config.config;
    ImageFacts {
        user: run.user.clone(),
        env: run.env.clone(),
        entrypoint: run.entrypoint.clone().unwrap_or_default(),
        cmd: run.cmd.clone().unwrap_or_default(),
        working_dir: run.working_dir.clone(),
        labels: run.labels.clone(),
        stop_signal: run.stop_signal.clone(),
    }
}

/// The host's side of a start.
#[derive(Debug)]
pub struct Host {
    /// The host's name.
    pub hostname: String,
    /// Pasta, where it is installed; else why not.
    pub pasta: Result<PathBuf>,
}

/// The network of a container after the default has been decided: pasta where there is one, else none.
pub fn effective_network(wanted: &Network, host: &Host) -> Result<Network> {
    match (wanted, &host.pasta) {
        (Network::Default, Ok(_)) => Ok(Network::Pasta),
        (Network::Default, Err(_)) => Ok(Network::None),
        (Network::Pasta, Err(error)) => Err(Error::from_parts(error.to_parts())),
        (Network::Container(_), _) => Err(Error::new(
            ErrorKind::Unsupported,
            "--network container:…: this version of lrun does not join another container's network",
        )
        .hint("--network is pasta, host or none")),
        (other, _) => Ok(other.clone()),
    }
}

/// The folder of a container's directory that holds its generated files, from its first start on.
const FILES: &str = "files";

/// The directory of a container that holds its generated files.
pub fn files_dir(container: &Path) -> PathBuf {
    container.join(FILES)
}

/// The OCI Spec of a container with this id.
pub fn container_spec(
    engine: &Engine,
    options: &RunOptions,
    image: &ImageFacts,
    id: &str,
    network: &Network,
    host: &Host,
) -> Result<Spec> {
    // Relative to the bundle, as the OCI specification has it: the store can be moved.
    let files = Path::new(FILES);
    let short: String = id.chars().take(12).collect();
    let with_host = *network == Network::Host;
    let limits = caller::limits();
    let context = SpecContext {
        hostname: if with_host { &host.hostname } else { &short },
        idmap: &engine.map,
        limits: &limits,
        oom_score_adj: caller::oom_score_adj(),
        network: network_namespace(network),
        rootfs: PathBuf::from("rootfs"),
        hosts: files.join("hosts"),
        hostname_file: files.join("hostname"),
        resolv_conf: files.join("resolv.conf"),
        thermal_throttle: &thermal_throttle(),
        cgroup: None,
    };
    build_spec(&sources::with_devices(options)?, image, &context)
}

fn thermal_throttle() -> Vec<String> {
    let cpus = Path::new("/sys/devices/system/cpu");
    if !cpus.join("cpu0/thermal_throttle").exists() {
        return Vec::new();
    }
    let names = file::list_dir(cpus).unwrap_or_default();
    let mut found: Vec<String> = names
        .into_iter()
        .filter(|name| name.strip_prefix("cpu").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty()))
        .map(|name| format!("/sys/devices/system/cpu/{name}/thermal_throttle"))
        .collect();
    found.sort();
    found
}

/// Writes the generated `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`; whether pasta has to forward DNS.
fn write_files(container: &Path, spec: &Spec, options: &RunOptions, network: &Network) -> Result<bool> {
    let directory = files_dir(container);
    file::ensure_dir(&directory)?;
    let hostname = spec.hostname().clone().unwrap_or_default();
    let (access, address) = match network {
        Network::Host => (net_files::Access::Host, None),
        Network::Pasta => (net_files::Access::Pasta, network::uplink::address()),
        _ => (net_files::Access::None, None),
    };
    let extra: Vec<_> = options.add_hosts.iter().map(|entry| (entry.name.clone(), entry.address)).collect();
    let own = net_files::OwnName { hostname: &hostname, domain: options.domainname.as_deref(), address };
    let hosts = match access {
        net_files::Access::Host => net_files::hosts_of_host(&host_file("/etc/hosts"), &own, &extra)?,
        _ => net_files::hosts_file(&own, &extra)?,
    };
    let wishes = net_files::DnsWishes {
        servers: &options.dns.servers,
        search: &options.dns.search,
        options: &options.dns.options,
    };
    let resolv = net_files::resolv_conf(&host_file("/etc/resolv.conf"), &wishes, access, network::uplink::is_local)?;
    let hostname = net_files::hostname_file(&hostname);
    let files = file::open_dir(&directory)?;
    for (name, text) in [("hosts", &hosts), ("hostname", &hostname), ("resolv.conf", &resolv.text)] {
        write_file(files.as_fd(), name, text).context(|| format!("write {}", directory.join(name).display()))?;
    }
    Ok(resolv.forward)
}

/// Writes a generated file in place: containers that run have it mounted. A link, FIFO or device is replaced.
fn write_file(files: BorrowedFd<'_>, name: &str, text: &str) -> Result<()> {
    let mode = FileMode::from_raw_mode(0o644);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(files, name, flags, mode) {
        Ok(file) => {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            Some(file).filter(|_| kind == FileType::RegularFile)
        }
        Err(Errno::LOOP | Errno::NXIO) => None,
        Err(error) => return Err(error.into()),
    };
    let file = match opened {
        Some(file) => file,
        None => {
            rustix::fs::unlinkat(files, name, AtFlags::empty())?;
            rustix::fs::openat(files, name, flags | OFlags::EXCL, mode)?
        }
    };
    rustix::fs::fchmod(&file, mode)?;
    rustix::fs::ftruncate(&file, 0)?;
    std::fs::File::from(file).write_all(text.as_bytes())?;
    Ok(())
}

/// The text of a small file of the host; nothing where there is none.
fn host_file(path: &str) -> String {
    let bytes = file::read_small(Path::new(path), 1 << 20).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which filter the options ask for.
fn rules(options: &RunOptions, spec: &Spec) -> Result<Rules> {
    let bounding = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref())
        .and_then(|sets| sets.bounding().as_ref().map(caps::CapSet::from_oci))
        .unwrap_or_default();
    match &options.security.seccomp {
        SeccompChoice::Default => Ok(Rules::Default(bounding)),
        SeccompChoice::Unconfined => Ok(Rules::Unconfined),
        SeccompChoice::Profile(profile) => {
            let oci = seccomp::parse_profile(profile)?.resolve(bounding, seccomp::running_kernel())?;
            seccomp::compile(&oci).map(Rules::Custom)
        }
    }
}

/// A monitor that has not been told yet which container is its own. It ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    orders: OwnedFd,
    /// The new namespaces of its init, bits of [`namespace`].
    namespaces: u64,
}

/// A monitor whose ids are being mapped.
#[derive(Debug)]
pub struct Preparing {
    process: Mapped,
    waiting: Waiting,
}

impl Preparing {
    /// Waits until they are.
    pub fn mapped(self) -> Result<Waiting> {
        self.process.finish().context(|| "start the container's monitor")?;
        Ok(self.waiting)
    }
}

/// A monitor's process of which nothing more is known. It ends when this is dropped.
#[derive(Debug)]
pub struct Begun {
    process: Mapped,
    orders: OwnedFd,
}

impl Begun {
    /// Makes it the monitor of a container with these options: it makes the namespaces of its init at once.
    pub fn prepare(self, options: &RunOptions) -> Result<Preparing> {
        let namespaces = lower::new_namespaces(&spec::namespaces(&network_namespace(&options.network)));
        orders::send_namespaces(self.orders.as_fd(), namespaces)?;
        Ok(Preparing { process: self.process, waiting: Waiting { orders: self.orders, namespaces } })
    }
}

/// Makes a monitor's process in this mapping, while the caller holds no lock. What is forked keeps the session keyring, so the caller
/// leaves its own for that of the container; and the limits, so that a caller who may raise them needs
/// [`prepare_monitor`].
pub fn begin_monitor(map: &IdMap) -> Result<Begun> {
    keyring::leave_callers()?;
    let (ours, monitors) = orders::pair()?;
    match fork_mapping(map, namespace::PID | namespace::MOUNT).context(|| "start the container's monitor")? {
        Mapping::Child(unmapped) => {
            drop(ours);
            become_monitor(monitors.as_fd(), &unmapped)
        }
        Mapping::Parent(process) => Ok(Begun { process, orders: ours }),
    }
}

/// As [`begin_monitor`], for a container with these options.
pub fn prepare_monitor(engine: &Engine, options: &RunOptions) -> Result<Preparing> {
    if caller::may_raise()
        && let Ok(limits) = spec::rlimits(options, &caller::limits())
    {
        caller::raise_limits(&lower::rlimits(&limits));
    }
    begin_monitor(&engine.map)?.prepare(options)
}

fn network_namespace(network: &Network) -> NetworkNamespace {
    if *network == Network::Host { NetworkNamespace::Host } else { NetworkNamespace::New }
}

/// Starts a container whose lock the caller holds; the monitor keeps it. `client` is the monitor's end of the first
/// client's socket.
///
/// Returns when the monitor runs; what becomes of the container is told on the client's socket.
pub fn start(
    engine: &Engine,
    container: Container,
    record: &Record,
    spec: &Spec,
    monitor: (Waiting, OwnedFd),
    host: &Host,
) -> Result<()> {
    start_with(engine, container, record, spec, monitor, (host, &Passing::default()))
}

/// As [`start`], with what the container has this time only.
pub fn start_with(
    engine: &Engine,
    container: Container,
    record: &Record,
    spec: &Spec,
    (waiting, client): (Waiting, OwnedFd),
    (host, passing): (&Host, &Passing),
) -> Result<()> {
    let record = &commit::recover(engine, &container, record.clone())?;
    let options = &options_of(record)?;
    if lower::new_namespaces(lower::listed(spec)) != waiting.namespaces {
        let id = record.id.short();
        return Err(Error::new(ErrorKind::Corrupt, format!("container {id}: its Spec is not of its options")).hint(
            format!("its files are untouched: lrun commit {id} IMAGE keeps them, and lrun run IMAGE has what flags it is given"),
        ));
    }
    let Container { paths, lock, .. } = container;
    let network = effective_network(&options.network, host)?;
    sources::prepare(options)?;
    let dns_forward = write_files(paths.path(), spec, options, &network)?;
    let mut plan = plan(engine, paths.path(), record, options, spec)?;
    passing.add_to(&mut plan);
    if let Some(reads) = &passing.reads {
        reads.watch_files(&files_dir(paths.path()));
    }
    let pasta = match (&network, &host.pasta) {
        (Network::Pasta, Ok(path)) => Some(PastaProgram { path: path.clone(), dns_forward }),
        _ => None,
    };
    let config = orders::Config {
        id: record.id.to_string(),
        root: engine.root().path().to_owned(),
        build: engine.root().build().map(str::to_owned),
        tty: options.tty,
        stdin: options.interactive,
        stdin_once: options.interactive && !options.detach,
        log: log_options(options),
        auto_remove: options.rm,
        pasta,
    };
    let orders = Orders {
        config: memory(&config)?,
        plan: memory(&plan)?,
        store: engine.directory()?,
        container: file::open_dir(paths.path())?,
        lock: lock.into_fd(),
        client,
        reads: passing.reads.as_ref().and_then(Reads::queue).map(|queue| queue.try_clone_to_owned()).transpose()?,
    };
    orders.send(waiting.orders.as_fd())
}

fn log_options(options: &RunOptions) -> Option<LogOptions> {
    let (max_size, max_file) = (options.log.max_size.unwrap_or(u64::MAX), options.log.max_files);
    (!options.log.none).then_some(LogOptions { max_size, max_file })
}

/// The options that a container was created with.
pub fn options_of(record: &Record) -> Result<RunOptions> {
    serde_json::from_value(record.options.clone())
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("the record of container {}: {e}", record.id.short())))
}

fn plan(engine: &Engine, container: &Path, record: &Record, options: &RunOptions, spec: &Spec) -> Result<Plan> {
    let own = engine.root().container(record.id.as_str());
    let relative = own.path().strip_prefix(engine.root().path()).unwrap_or(own.path()).display();
    // A layer that a commit left fresh has been given its attributes by the commit.
    let first = !record.has_layer();
    let lowers = engine.lowers(&record.layers)?;
    let seed = lowers.first().filter(|_| first && !record.layers.is_empty()).cloned();
    let rootfs = Rootfs::Overlay {
        lowers,
        upper: format!("{relative}/layer/diff"),
        work: format!("{relative}/work"),
        // What need not outlive a power cut does not wait for the disk.
        volatile: options.rm || engine.root().build().is_some(),
        seed,
    };
    let lowering = Lowering { volumes: &record.volumes, ..lowering(engine, container, options, spec)? };
    let mut plan = lower(spec, rootfs, &lowering)?;
    plan.process.groups.extend(options.groups.iter().map(ToString::to_string));
    Ok(plan)
}

/// What for a container's files are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// To read what the container has.
    Reading,
    /// To read what its image has, which no container adds anything to: neither mount points nor generated files.
    Image,
    /// To change them.
    Writing,
}

/// How a container's files are seen while it is stopped; its lock is held as long as they are.
pub(super) fn view(engine: &Engine, container: &Path, record: &Record, seen: Seen) -> Result<View> {
    let options = options_of(record)?;
    let plan = plan(engine, container, record, &options, &load_spec(container)?)?;
    if seen == Seen::Image {
        return Ok(image_view(plan.rootfs));
    }
    let files = files_dir(container);
    let mut mounts: Vec<Mount> =
        plan.mounts.into_iter().filter(|mount| mount.user || mount.source.lies_in(&files)).collect();
    // Before the first start nothing has made the places of the user's mounts, nor a working directory of the user's own;
    // the image's is there nearly always, and a look at the container writes nothing for it.
    let unmade = mounts.iter().any(|mount| mount.user && mount.is_of_host()) || options.workdir.is_some();
    let incomplete = !record.has_layer() && unmade;
    let Rootfs::Overlay { mut lowers, upper, work, volatile, seed } = plan.rootfs;
    let writable = seen == Seen::Writing || incomplete;
    let layers = match writable {
        // What is copied in is on disk when its mount is gone.
        true => {
            let volatile = volatile && engine.root().build().is_some();
            Layers::Writable(Rootfs::Overlay { lowers, upper, work, volatile, seed })
        }
        false => {
            // Two layers at least make an overlay.
            if record.has_layer() || lowers.len() < 2 {
                lowers.insert(0, upper);
            }
            // The last one has nothing but mount points.
            lowers.truncate(MOST_LOWERS);
            Layers::ReadOnly(lowers)
        }
    };
    for mount in &mut mounts {
        mount.existing = !writable;
        if !mount.user {
            // There is none before the first start; the image may have done without the file.
            (mount.optional, mount.existing) = (true, true);
        }
        // What is in memory is there while the container runs: nothing that is written now would be.
        if !mount.is_of_host() {
            (mount.attributes, mount.existing) = (mount.attributes | RDONLY, true);
        }
    }
    let volumes = if writable { plan.volumes } else { Vec::new() };
    let cwd = Some(plan.process.cwd).filter(|cwd| writable && !record.has_layer() && cwd != "/");
    Ok(View { layers, volumes, cwd, mounts, readonly_root: plan.readonly_root })
}

/// The image's layers, without that of the engine, which is the lowest.
fn image_view(rootfs: Rootfs) -> View {
    let Rootfs::Overlay { mut lowers, upper, work, .. } = rootfs;
    lowers.pop();
    // Two layers at least make an overlay; these are empty.
    lowers.extend([upper, work].into_iter().take(2usize.saturating_sub(lowers.len())));
    let (volumes, cwd, mounts) = (Vec::new(), None, Vec::new());
    View { layers: Layers::ReadOnly(lowers), volumes, cwd, mounts, readonly_root: true }
}

/// Refuses what could not be started: a filter that does not compile, mounts that the id mapping cannot have.
pub fn verify(engine: &Engine, container: &Path, options: &RunOptions, spec: &Spec) -> Result<()> {
    let rootfs =
        Rootfs::Overlay { lowers: Vec::new(), upper: String::new(), work: String::new(), volatile: false, seed: None };
    lower(spec, rootfs, &lowering(engine, container, options, spec)?).map(drop)
}

fn lowering<'a>(engine: &'a Engine, bundle: &'a Path, options: &RunOptions, spec: &Spec) -> Result<Lowering<'a>> {
    let filter = rules(options, spec)?;
    let added = caps::with_changes(&options.capabilities.add, &["ALL".to_owned()])?;
    Ok(Lowering { map: &engine.map, bundle, filter, added, volumes: &[], init: options.init })
}

/// The plan of a process that joins a running container.
pub fn process_plan(
    engine: &Engine,
    container: &Path,
    options: &RunOptions,
    spec: &Spec,
    process: &oci_spec::runtime::Process,
) -> Result<Process> {
    let mut plan = lower_process(process, &lowering(engine, container, options, spec)?)?;
    plan.groups.extend(options.groups.iter().map(ToString::to_string));
    Ok(plan)
}

/// In the forked child: executes the monitor's stage, while its ids are being mapped. It closes all but its own, so that
/// no descriptor of the user's stays open in it.
fn become_monitor(orders: BorrowedFd<'_>, unmapped: &Unmapped) -> ! {
    let attempt = || -> Result<std::convert::Infallible> {
        unmapped.keep_capabilities()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, FileMode::empty())?;
        Protected::here()?.execute(monitor::STAGE, [null.as_fd(); 3], &[orders, unmapped.as_fd()])
    };
    match attempt() {
        Ok(never) => match never {},
        // Its socket closes, which the parent reports.
        Err(_) => exit_now(125),
    }
}

/// Reads the OCI Spec of a container.
pub fn load_spec(container: &Path) -> Result<Spec> {
    file::read_json(&ContainerPaths::at(container).spec(), 4 << 20)
}
