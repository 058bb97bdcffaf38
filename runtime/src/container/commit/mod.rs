//! `commit`: a container's changes become an image.
//!
//! Runs in the CLI. An ended container's read-write layer becomes a layer of the store by being moved there
//! ([`ended`]); of a running one a copy is taken while it stands still ([`running`]). What the new image's config says
//! is decided in [`config`].

mod config;
mod ended;
mod merge;
mod running;
mod step;

use jiff::Timestamp;

use super::engine::Engine;
use super::launch::options_of;
use super::lifecycle;
use super::record::Record;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::image::config::{History, ImageConfig, apply_changes};
use crate::image::pack::Packed;
use crate::image::store::{CLOCK, LayerMeta, ROOT_ATTRIBUTES};
use crate::reference::Reference;

pub use ended::recover;
pub use merge::merge_layers;
pub use step::{Taken, take_layer};

/// What `commit` was asked for.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The new image's name.
    pub reference: Option<Reference>,
    /// Its author.
    pub author: String,
    /// Comment of its history entry.
    pub message: String,
    /// Dockerfile instructions that are applied to its config.
    pub changes: Vec<String>,
    /// Make one layer of the image's and the container's.
    pub squash: bool,
    /// Whether a running container stands still while it is copied.
    pub pause: bool,
    /// The time that the image carries, and no file is later than; `None`: now.
    pub clock: Option<Timestamp>,
}

/// A container's own layers: the stack that the image gets, and how each layer above the old image's came to be.
struct Stack {
    layers: Vec<Digest>,
    history: Vec<History>,
}

/// Commits a container. The image is on disk when this returns; its id.
///
/// Before that nothing that the user can see has changed: a failure, or a crash at any point, leaves the container with
/// the files that it had.
pub fn commit(engine: &Engine, record: &Record, options: &CommitOptions) -> Result<Digest> {
    attempt(engine, record, options)
        .map_err(|error| lifecycle::containers(engine).unless_removed(error, &record.id))
        .map_err(file::with_way_out)
}

/// The layers of a container that has ended, bottom first, with what it changed as the last; no image. They are on disk when
/// this returns, and the container has them below an empty read-write layer. The caller holds the store's lock shared.
pub fn commit_layers(engine: &Engine, record: &Record, clock: Option<Timestamp>) -> Result<Vec<Digest>> {
    let attempt = || format!("commit container {}", record.id.short());
    let options = CommitOptions { clock, ..CommitOptions::default() };
    let Some((container, record)) = lifecycle::hold_stopped(engine, &record.id)? else {
        return Err(Error::new(ErrorKind::Conflict, "it runs").context(attempt()));
    };
    let entry = config::entry(&record, &options);
    let stack = ended::commit(engine, &container, &record, &entry, &options).context(attempt)?;
    Ok(stack.layers)
}

fn attempt(engine: &Engine, record: &Record, options: &CommitOptions) -> Result<Digest> {
    let attempt = || format!("commit container {}", record.id.short());
    // Before anything is done: an instruction that cannot be read stops the command.
    let (base, run) = config::run_config(engine, record)?;
    let mut run = run;
    apply_changes(&mut run, &options.changes)?;
    let _using = engine.store.lock_shared()?;
    let entry = config::entry(record, options);
    let stack = loop {
        if let Some((container, record)) = lifecycle::hold_stopped(engine, &record.id)? {
            break ended::commit(engine, &container, &record, &entry, options).context(attempt)?;
        }
        if let Some(stack) = running::commit(engine, &record.id, &entry, options).context(attempt)? {
            break stack;
        }
    };
    let (stack, base) = match options.squash {
        true => {
            let history = [base.history.clone(), stack.history].concat();
            let whole = Stack { layers: stack.layers, history };
            (merge::merge(engine, &whole, 0, options.clock)?, config::without_layers(base))
        }
        false => (stack, base),
    };
    let config = config::derive(&base, run, stack, options)?;
    publish(engine, record, &config, options).context(attempt)
}

/// Refuses an image that the kernel could not stack. Asked before anything of the container has moved.
fn check_depth(layers: usize, squash: bool) -> Result<()> {
    let most = crate::sandbox::lower::MOST_LAYERS;
    if squash || layers <= most {
        return Ok(());
    }
    let text = format!("the image would have {layers} layers; the kernel stacks at most {most}");
    Err(Error::new(ErrorKind::Unsupported, text).hint("merge them: lrun commit --squash"))
}

fn publish(engine: &Engine, record: &Record, config: &ImageConfig, options: &CommitOptions) -> Result<Digest> {
    let parent = engine.store.image_record(&record.image.id).is_ok().then_some(&record.image.id);
    engine.store.publish_image(&config.to_bytes()?, parent, options.reference.as_slice())
}

/// The record of a layer that was packed.
fn meta_of(packed: &Packed, clock: Option<Timestamp>) -> Result<LayerMeta> {
    let mut meta = LayerMeta {
        diff_id: packed.diff_id.clone(),
        size: packed.size,
        content: packed.content,
        entries: packed.entries,
        created: Timestamp::now(),
        source: "commit".to_owned(),
        compressed: Vec::new(),
        squashed: false,
        implicit: packed.implicit > 0,
        implicit_root: false,
        opaque_root: false,
        extra: Default::default(),
    };
    meta.set(ROOT_ATTRIBUTES, &packed.root)?;
    if let Some(clock) = clock {
        meta.set(CLOCK, &clock.as_second())?;
    }
    Ok(meta)
}
