//! The config of a committed image: pure, but for reading the config of the image below.

use jiff::Timestamp;
use serde_json::json;

use super::{CommitOptions, Stack, options_of};
use crate::container::engine::Engine;
use crate::container::launch::image_facts;
use crate::container::options::RunOptions;
use crate::container::record::Record;
use crate::container::spec::container_config;
use crate::error::{Context, Result};
use crate::image::config::{History, ImageConfig, RunConfig};

/// The config of the container's image, and the run config that the container came to have, which is what docker commits.
///
/// The image itself may have been removed by force: its config stays as long as a container needs it.
pub(super) fn run_config(engine: &Engine, record: &Record) -> Result<(ImageConfig, RunConfig)> {
    let bytes = engine.store.blob(&record.image.id).context(|| "read the container's image")?;
    let base = ImageConfig::from_bytes(&bytes).context(|| "read the container's image")?;
    let run = merged(&base, &options_of(record)?)?;
    Ok((base, run))
}

/// The image's run config with what the container was created with. Fields that lrun does not know stay.
fn merged(base: &ImageConfig, options: &RunOptions) -> Result<RunConfig> {
    let container = container_config(options, &image_facts(base))?;
    let mut run = base.config.clone();
    run.user = container.user.map(|user| user.to_string()).unwrap_or_default();
    run.exposed_ports.extend(options.expose.iter().map(|port| (port.clone(), json!({}))));
    run.env = container.env;
    run.entrypoint = Some(container.entrypoint).filter(|words| !words.is_empty());
    run.cmd = Some(container.cmd).filter(|words| !words.is_empty());
    run.working_dir = container.working_dir;
    run.labels = container.labels;
    run.stop_signal = container.stop_signal.map(String::from).unwrap_or_default();
    run.stop_timeout = options.stop_timeout.map(i64::from).or(run.stop_timeout);
    Ok(run)
}

/// The new image's history entry: the command that made the changes.
pub(super) fn entry(record: &Record, options: &CommitOptions) -> History {
    History {
        created: Some(options.clock.unwrap_or_else(Timestamp::now).to_string()),
        created_by: record.command.join(" "),
        author: options.author.clone(),
        comment: options.message.clone(),
        ..History::default()
    }
}

/// The config of an image whose layers and history are made anew.
pub(super) fn without_layers(mut base: ImageConfig) -> ImageConfig {
    base.rootfs.diff_ids.clear();
    base.history.clear();
    base
}

/// The new image's config: the old one's with the container's layers and their history on top.
///
/// The last history entry is this commit's; if it made no layer, it says so.
pub(super) fn derive(base: &ImageConfig, run: RunConfig, stack: Stack, options: &CommitOptions) -> Result<ImageConfig> {
    let mut config = base.clone();
    let mut own = stack.layers.iter().skip(base.rootfs.diff_ids.len()).cloned();
    for entry in stack.history {
        let layer = if entry.empty_layer { None } else { own.next() };
        config = config.derive(run.clone(), layer, entry);
    }
    if config.created.is_none() {
        config.created = options.clock.map(|clock| clock.to_string());
    }
    Ok(config)
}
