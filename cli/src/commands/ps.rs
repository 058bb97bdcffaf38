//! `ps`: lists containers.

use std::collections::HashMap;
use std::io::IsTerminal;

use jiff::Timestamp;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::{Host, effective_network};
use lrun_runtime::container::options::{Mount as MountOption, Network};
use lrun_runtime::container::record::{Listing, State as RecordedState, Status, Summary};
use lrun_runtime::container::{lifecycle, size};
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{ErrorKind, REPAIR, Result};
use lrun_runtime::image::config::ImageConfig;

use super::preferences::Preferences;
use crate::args::{Global, PsArgs, SortBy};
use crate::context;
use crate::ui::filters::Filters;
use crate::ui::filters::containers::{NAMES, Query};
use crate::ui::rows::View;
use crate::ui::rows::ports::Port;
use crate::ui::rows::ps::{Entry, MODEL, Mount, State, format};
use crate::ui::{escape, output};

/// Runs the command. A container whose record is damaged is told of on standard error; the others are listed.
pub fn run(global: &Global, args: &PsArgs) -> Result<u8> {
    let filters = Filters::parse(&args.filter, &NAMES)?;
    let wanted = Preferences::format(global, "psFormat", args.format.as_deref(), args.quiet);
    let format = format(wanted.as_deref(), args.quiet, args.size)?;
    if args.quiet && args.format.is_some() {
        output::complain("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let engine = context::engine(global)?;
    let Listing { summaries, damaged } = lifecycle::list(&engine)?;
    let mut images = Images::new(&engine);
    let with_lineage = filters.has("ancestor");
    let host = context::host();
    let entries = summaries.into_iter().map(|summary| entry(summary, &mut images, with_lineage, &host)).collect();
    let last =
        if args.latest && args.last == -1 { Some(1) } else { usize::try_from(args.last).ok().filter(|last| *last > 0) };
    let query = Query { filters: &filters, all: args.all, last };
    let image_id = |name: &str| engine.store.find(name).ok().map(|found| found.id.to_string());
    let mut chosen = query.select(entries, image_id)?;
    if args.size || args.sort == Some(SortBy::Size) || (!args.quiet && format.asks_for("Size")) {
        add_sizes(&engine, &mut chosen)?;
    }
    if !args.quiet && format.asks_for("Platform") && !format.is_whole() {
        images.add_platforms(&mut chosen);
    }
    if let Some(by) = args.sort {
        sort(&mut chosen, by);
    }
    output::text(&MODEL.render(&format, &chosen, &view(!args.no_trunc))?);
    for (id, error) in damaged {
        let message = format!("WARNING: container {} cannot be listed: {error}", id.short());
        output::complain(&escape::line(&message));
        output::complain(&format!("  hint: {REPAIR}, else remove it with \"lrun rm -f {}\"", id.short()));
    }
    Ok(0)
}

/// What is alike stays in the order that it has.
fn sort(entries: &mut [Entry], by: SortBy) {
    let now = Timestamp::now();
    let started = |entry: &Entry| match entry.state {
        State::Running { started } | State::Paused { started } => Some(started),
        State::Created | State::Exited { .. } => None,
    };
    match by {
        SortBy::Command => entries.sort_by(|a, b| a.argv.cmp(&b.argv)),
        SortBy::Created => entries.sort_by_key(|entry| entry.created),
        SortBy::Id => entries.sort_by(|a, b| a.id.cmp(&b.id)),
        SortBy::Image => entries.sort_by(|a, b| a.image.cmp(&b.image)),
        SortBy::Names => entries.sort_by(|a, b| a.name.cmp(&b.name)),
        SortBy::Runningfor => entries.sort_by_key(started),
        SortBy::Size => entries.sort_by_key(|entry| entry.size_root),
        SortBy::Status => entries.sort_by_cached_key(|entry| entry.state.status(now)),
    }
}

/// How a listing is to be shown now.
pub(super) fn view(trunc: bool) -> View {
    View { now: Timestamp::now(), zone: context::zone, trunc, human: true, terminal: std::io::stdout().is_terminal() }
}

/// What is known about images, each looked up once.
pub(super) struct Images<'a> {
    engine: &'a Engine,
    /// The image that a name means now.
    names: HashMap<String, Option<Digest>>,
    parents: HashMap<Digest, Option<Digest>>,
}

impl<'a> Images<'a> {
    /// Nothing is known yet.
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, names: HashMap::new(), parents: HashMap::new() }
    }

    /// The name as it was typed, as long as it means this image; then the image's id.
    fn shown(&mut self, name: &str, id: &Digest) -> String {
        let store = &self.engine.store;
        let now = self.names.entry(name.to_owned()).or_insert_with(|| store.find(name).ok().map(|found| found.id));
        if now.as_ref() == Some(id) { name.to_owned() } else { id.to_string() }
    }

    /// Tells what the images of these are made for, as far as they are here.
    fn add_platforms(&self, entries: &mut [Entry]) {
        let mut known = HashMap::new();
        for entry in entries {
            let read = |id: &String| {
                let config = Digest::parse(id).and_then(|id| self.engine.store.blob(&id));
                let config = config.and_then(|bytes| ImageConfig::from_bytes(&bytes)).ok();
                config.map(|config| {
                    let parts = [config.os, config.architecture, config.variant];
                    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
                })
            };
            let platform = known.entry(entry.image_id.clone()).or_insert_with_key(read);
            entry.platform.clone_from(platform.get_or_insert_default());
        }
    }

    /// The image and those it was made from, as far as they are here.
    fn lineage(&mut self, id: &Digest) -> Vec<String> {
        let mut lineage = Vec::new();
        let mut next = Some(id.clone());
        while let Some(id) = next.filter(|id| !lineage.contains(&id.to_string())) {
            lineage.push(id.to_string());
            let store = &self.engine.store;
            let parent = || store.image_record(&id).ok().and_then(|record| record.parent);
            next = self.parents.entry(id.clone()).or_insert_with(parent).clone();
        }
        lineage
    }
}

/// What a listing shows of a container.
pub(super) fn entry(summary: Summary, images: &mut Images<'_>, with_lineage: bool, host: &Host) -> Entry {
    let state = state(&summary.state);
    let options = summary.options;
    Entry {
        image: images.shown(&summary.image.reference, &summary.image.id),
        lineage: if with_lineage { images.lineage(&summary.image.id) } else { Vec::new() },
        image_id: summary.image.id.to_string(),
        id: summary.id.to_string(),
        platform: String::new(),
        argv: summary.command,
        created: summary.created,
        name: summary.name.to_string(),
        labels: summary.labels,
        // What is exposed can be reached only while somebody listens.
        ports: if state.is_running() { ports(&summary.ports) } else { Vec::new() },
        mounts: options.iter().flat_map(|options| &options.mounts).filter_map(mount).collect(),
        networks: options.map(|options| network_name(&options.network, host)).into_iter().collect(),
        state,
        size_rw: None,
        size_root: None,
    }
}

/// A settled state, as it is shown.
pub(super) fn state(state: &RecordedState) -> State {
    let started = state.started.unwrap_or_default();
    match state.status {
        Status::Created => State::Created,
        Status::Running => State::Running { started },
        Status::Paused => State::Paused { started },
        Status::Exited => State::Exited { code: state.exit_code, finished: state.finished.unwrap_or(started) },
    }
}

/// Exposed ports from their names in the image, such as `80/tcp`; what is none is left out.
pub(super) fn ports(names: &[String]) -> Vec<Port> {
    let port = |name: &String| {
        let (number, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
        Some(Port { private: number.parse().ok()?, ip: None, public: 0, protocol: protocol.to_owned() })
    };
    names.iter().filter_map(port).collect()
}

/// Binds; docker lists a `--tmpfs` nowhere among the mounts.
fn mount(option: &MountOption) -> Option<Mount> {
    match option {
        MountOption::Bind { source, target, .. } => {
            Some(Mount { source: source.clone(), destination: target.clone(), ..Mount::default() })
        }
        MountOption::Tmpfs { .. } => None,
    }
}

/// The network's name, docker's for the private one; one that was not chosen is what this machine has.
pub(super) fn network_name(network: &Network, host: &Host) -> String {
    match effective_network(network, host).as_ref().unwrap_or(network) {
        Network::Default | Network::Pasta => "bridge".to_owned(),
        Network::Host => "host".to_owned(),
        Network::None => "none".to_owned(),
        Network::Container(name) => format!("container:{name}"),
    }
}

/// Containers that go meanwhile have no size.
fn add_sizes(engine: &Engine, entries: &mut [Entry]) -> Result<()> {
    let containers = lifecycle::containers(engine);
    let mut records = Vec::new();
    for entry in entries.iter() {
        match containers.find(&entry.id).and_then(|id| containers.read(&id)) {
            Ok(record) => records.push(record),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let sizes = size::sizes(engine, &records)?;
    for (record, sizes) in records.iter().zip(sizes) {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.id == record.id.as_str()) {
            (entry.size_rw, entry.size_root) = (Some(sizes.own), Some(sizes.all));
        }
    }
    Ok(())
}
