//! `info`: what lrun found on this machine, what is missing, and how to get it.

use std::io::IsTerminal;

use lrun_runtime::container::facts::{CgroupVersion, HostFacts, IdmapFacts, NetworkFacts, host_facts};
use lrun_runtime::container::lifecycle;
use lrun_runtime::container::record::{Status, Summary};
use lrun_runtime::error::{Error, Result};
use lrun_runtime::idmap::Mode;
use lrun_runtime::idmap::detect::Note;

use crate::args::{Global, SystemArgs};
use crate::context;
use crate::ui::inspect::{Format, Object};
use crate::ui::output;
use crate::ui::rows::info::{Info, Warning};

/// Runs the command. What is known of the machine is printed also where the store cannot be opened.
pub fn run(global: &Global, args: &SystemArgs) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let facts = host_facts(context::wanted_mode(global)?)?;
    let mut info = machine(&facts);
    let failure = add_store(global, &mut info).err();
    match format {
        Format::Indented => output::text(&info.to_text()),
        format => {
            output::text(&format.render_one(&Object::whole(info.to_json()), std::io::stdout().is_terminal())?);
            return Ok(ended(failure));
        }
    }
    output::complain_lines(&info.warning_lines());
    Ok(ended(failure))
}

fn ended(failure: Option<Error>) -> u8 {
    failure.map_or(0, |error| {
        output::error(&error);
        1
    })
}

fn machine(facts: &HostFacts) -> Info {
    let system = rustix::system::sysinfo();
    let cgroup_version = match facts.cgroup.version {
        CgroupVersion::None => "",
        CgroupVersion::V1 | CgroupVersion::Hybrid => "1",
        CgroupVersion::V2 => "2",
    };
    let overlay = match facts.kernel.overlay {
        true => "kernel overlayfs, user xattrs",
        false => "none",
    };
    Info {
        version: context::version_told().to_owned(),
        overlay: overlay.to_owned(),
        idmap: facts.idmap.mode.name().to_owned(),
        idmap_detail: idmap_detail(&facts.idmap),
        network: network(&facts.network),
        cgroup_version: cgroup_version.to_owned(),
        kernel: facts.kernel.release.clone(),
        seccomp: facts.kernel.seccomp,
        operating_system: facts.operating_system.clone(),
        architecture: facts.kernel.architecture.clone(),
        hostname: context::host().hostname,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory: (system.totalram as u64).saturating_mul(u64::from(system.mem_unit)),
        rootless: facts.idmap.uid != 0,
        warnings: facts.missing.iter().map(warning).collect(),
        ..Info::default()
    }
}

fn warning(note: &Note) -> Warning {
    Warning { what: format!("{}: {}", note.what, note.why), way_out: note.how.clone() }
}

fn idmap_detail(idmap: &IdmapFacts) -> String {
    let IdmapFacts { mode, user, uids, gids, .. } = idmap;
    match mode {
        Mode::Subids => format!("root is {user}, {uids} user ids and {gids} group ids"),
        Mode::Single => format!("root is {user}, no other ids; changes of owner and user are emulated"),
        Mode::Root => format!("ids are the machine's own, {uids} user ids and {gids} group ids"),
    }
}

fn network(network: &NetworkFacts) -> String {
    match (&network.pasta, &network.pasta_version) {
        (None, _) => "none".to_owned(),
        (Some(_), None) => "pasta".to_owned(),
        (Some(_), Some(version)) => format!("pasta {version}"),
    }
}

fn add_store(global: &Global, info: &mut Info) -> Result<()> {
    let engine = context::engine(global)?;
    info.root = engine.root().path().display().to_string();
    info.filesystem = engine.store.format().features.file_system.clone();
    info.images = engine.store.image_ids()?.len();
    let containers = lifecycle::list(&engine)?.summaries;
    let count = |wanted: fn(Status) -> bool| containers.iter().filter(|c: &&Summary| wanted(c.state.status)).count();
    info.running = count(|status| status == Status::Running);
    info.paused = count(|status| status == Status::Paused);
    info.stopped = count(|status| !status.is_active());
    Ok(())
}
