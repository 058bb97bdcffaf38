//! Commit of a running container: a copy of its read-write layer becomes the layer; the container keeps its own.

use std::os::fd::AsFd;

use super::ended::{Times, pack_here, top_layer};
use super::{CommitOptions, Stack, check_depth, meta_of};
use crate::container::alive;
use crate::container::engine::Engine;
use crate::container::lifecycle::{self, init_of, is_running};
use crate::container::names::ContainerId;
use crate::container::owners::Recorded;
use crate::container::pause::Pause;
use crate::container::record::Record;
use crate::container::stack::Stack as OwnLayers;
use crate::error::{Context, ErrorKind, Result};
use crate::file::{self, Durability, Staging};
use crate::idmap::helper;
use crate::image::config::History;
use crate::image::copy::copy_tree;
use crate::image::pack::Packed;
use crate::image::unpack::flush;

/// How often a copy is begun again because a container that is not paused removed files meanwhile.
const ATTEMPTS: u32 = 5;

/// Commits; `None`: the container ended before it was copied.
pub(super) fn commit(
    engine: &Engine,
    id: &ContainerId,
    entry: &History,
    options: &CommitOptions,
) -> Result<Option<Stack>> {
    let own = OwnLayers::open(engine, id)?;
    let record = &own.record;
    if !is_running(record) {
        return Ok(None);
    }
    let staging = Staging::new(engine.root())?;
    let outcome = copy_and_pack(engine, &own, options, &staging).and_then(|packed| {
        let Some(packed) = packed else { return Ok(None) };
        let mut entry = entry.clone();
        let mut stack = Stack { layers: record.layers.clone(), history: record.history.clone() };
        entry.empty_layer = packed.empty;
        if !packed.empty {
            check_depth(record.layers.len() + 1, options.squash)?;
            engine.store.publish_layer(&staging.path().join("layer"), &meta_of(&packed, options.clock)?)?;
            stack.layers.push(packed.diff_id);
        }
        stack.history.push(entry);
        Ok(Some(stack))
    });
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    outcome
}

fn copy_and_pack(
    engine: &Engine,
    own: &OwnLayers,
    options: &CommitOptions,
    staging: &Staging,
) -> Result<Option<Packed>> {
    let record = &own.record;
    let wrapper = staging.path().join("layer");
    file::make_dir(&wrapper)?;
    let to = file::open_dir(&wrapper)?;
    let pause = match options.pause {
        true => match init_of(record).and_then(|init| Pause::begin(engine, record, &init, staging)) {
            Ok(pause) => Some(pause),
            // What its end leaves is committed once that is recorded.
            Err(_) if has_ended(record)? => return lifecycle::await_end(engine, record).map(|_| None),
            Err(error) => return Err(error.context("pause the container")),
        },
        false => None,
    };
    let attempts = if pause.is_some() { 1 } else { ATTEMPTS };
    let from = own.layer.as_fd();
    let copied = helper::run(&engine.map, to.as_fd(), &mut |_| {}, |work| {
        let mut attempt = 1;
        loop {
            match copy_tree(from, work.root.as_fd(), c"diff") {
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < attempts => attempt += 1,
                other => return other,
            }
            file::remove_tree(std::path::Path::new("/diff")).context(|| "begin the copy again")?;
        }
    });
    // A removal deletes what was being copied.
    own.made(engine, copied.context(|| "copy the read-write layer"))?;
    drop(pause);
    let top = top_layer(engine, &record.layers)?;
    let recorded = Recorded::open(engine, &record.layers)?;
    helper::run(&engine.map, to.as_fd(), &mut |_| {}, |work| {
        let times = Times { clock: options.clock, in_tree: true };
        let packed = pack_here(work.root.as_fd(), top.as_ref(), &recorded, (times, &[]), Durability::Flushed)?;
        if !packed.empty {
            flush(work.root.as_fd(), packed.entries).context(|| "write the layer to disk")?;
        }
        Ok(packed)
    })
    .map(Some)
}

/// Whether the run that this record tells of is over, though it may not be recorded yet.
fn has_ended(record: &Record) -> Result<bool> {
    init_of(record).map_or(Ok(true), |init| alive::wait_gone(&init, 0))
}
