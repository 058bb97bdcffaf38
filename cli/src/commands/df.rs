//! `system df`: what images and containers take on disk.

use std::io::IsTerminal;

use lrun_runtime::build::usage;
use lrun_runtime::container::cache_mounts;
use lrun_runtime::container::disk_usage::{ContainerUsage, DiskUsage, ImageUsage, disk_usage};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Error, ErrorKind, Result};
use serde_json::{Value as Json, json};

use super::images::shown;
use super::ps::{Images, entry, view};
use crate::args::{DfArgs, Global};
use crate::context;
use crate::ui::inspect::{self, Object};
use crate::ui::output;
use crate::ui::rows::df::{CONTAINERS, Entry, IMAGES, MODEL, format, rest};
use crate::ui::rows::{self, build_cache, images, ps};

/// docker's word for what is known of a step.
pub const STEP: &str = "regular";

/// Runs the command.
pub fn run(global: &Global, args: &DfArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    if args.verbose {
        return verbose(&engine, args.format.as_deref());
    }
    let format = format(args.format.as_deref())?;
    let rows = summary(&disk_usage(&engine)?, &left(&engine)?);
    output::text(&MODEL.render(&format, &rows, &view(true))?);
    Ok(0)
}

/// What builds left. None of it is in use: a build that needs it takes it again.
pub fn left(engine: &Engine) -> Result<Vec<build_cache::Entry>> {
    let entry = |listed: usage::Listed| build_cache::Entry {
        id: listed.key.hex().to_owned(),
        kind: STEP,
        bytes: listed.bytes,
        created: listed.created,
        used: listed.created,
        description: listed.description,
    };
    let mount = |listed: cache_mounts::Listed| build_cache::Entry {
        id: listed.name,
        kind: "exec.cachemount",
        bytes: listed.bytes,
        created: listed.about.as_ref().and_then(|about| about.created.parse().ok()),
        used: listed.used,
        description: listed.about.map(|about| about.id).unwrap_or_default(),
    };
    let steps = usage::list(&engine.store)?.into_iter().map(entry);
    Ok(steps.chain(cache_mounts::list(engine)?.into_iter().map(mount)).collect())
}

/// What is in the trash counts as containers' bytes: that is what a prune gives back.
fn summary(usage: &DiskUsage, left: &[build_cache::Entry]) -> [Entry; 4] {
    let active = |container: &&ContainerUsage| container.summary.state.status.is_active();
    let bytes = |containers: &mut dyn Iterator<Item = &ContainerUsage>| containers.map(|c| c.bytes).sum::<u64>();
    let none = |kind| Entry { kind, total: 0, active: 0, size: 0, reclaimable: 0 };
    [
        Entry {
            kind: "Images",
            total: usage.images.len(),
            active: usage.images.iter().filter(|image| image.containers > 0).count(),
            size: usage.image_bytes,
            reclaimable: usage.image_reclaimable,
        },
        Entry {
            kind: "Containers",
            total: usage.containers.len(),
            active: usage.containers.iter().filter(active).count(),
            size: usage.trash + bytes(&mut usage.containers.iter()),
            reclaimable: usage.trash + bytes(&mut usage.containers.iter().filter(|container| !active(container))),
        },
        none("Local Volumes"),
        Entry { kind: "Build Cache", total: left.len(), active: 0, size: sum(left), reclaimable: sum(left) },
    ]
}

fn sum(left: &[build_cache::Entry]) -> u64 {
    left.iter().map(|entry| entry.bytes).sum()
}

/// With `-v` a template is run once, on an object with all rows.
fn verbose(engine: &Engine, source: Option<&str>) -> Result<u8> {
    let whole = match source {
        None | Some("" | "table") => None,
        Some(source) => Some(inspect::Format::parse(Some(source))?),
    };
    let usage = disk_usage(engine)?;
    let image_rows = images::rows(&usage.images.into_iter().map(image).collect::<Vec<_>>(), false);
    let (mut known, host) = (Images::new(engine), context::host());
    let container = |usage: ContainerUsage| {
        let size_rw = Some(usage.bytes);
        ps::Entry { size_rw, ..entry(usage.summary, &mut known, false, &host) }
    };
    let container_rows: Vec<ps::Entry> = usage.containers.into_iter().map(container).collect();
    let view = view(true);
    let left = left(engine)?;
    let Some(format) = whole else {
        let images = images::MODEL.render(&rows::Format::parse(IMAGES, "")?, &image_rows, &view)?;
        let containers = ps::MODEL.render(&rows::Format::parse(CONTAINERS, "")?, &container_rows, &view)?;
        let cache = build_cache::MODEL.render(&rows::Format::parse(build_cache::TABLE, "")?, &left, &view)?;
        let rest = rest(&cache, sum(&left));
        output::text(&format!("Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}{rest}"));
        return Ok(0);
    };
    let json_format = rows::Format::parse("json", "")?;
    let object = json!({
        "Images": objects(&images::MODEL.render(&json_format, &image_rows, &view)?)?,
        "Containers": objects(&ps::MODEL.render(&json_format, &container_rows, &view)?)?,
        "Volumes": [],
        "BuildCache": objects(&build_cache::MODEL.render(&json_format, &left, &view)?)?,
    });
    output::text(&format.render_one(&Object::whole(object), std::io::stdout().is_terminal())?);
    Ok(0)
}

fn image(usage: ImageUsage) -> images::Entry {
    let ImageUsage { image, bytes, shared, containers } = usage;
    let sharing = images::Usage { shared, unique: bytes - shared, containers };
    let entry = shown(image.record, image.references, Default::default());
    images::Entry { size: bytes, usage: Some(sharing), ..entry }
}

/// One object a line, as a list.
fn objects(lines: &str) -> Result<Vec<Json>> {
    let parsed: serde_json::Result<Vec<Json>> = lines.lines().map(serde_json::from_str).collect();
    parsed.map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))
}
