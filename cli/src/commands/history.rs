//! `history`: how an image came to be.

use std::collections::HashMap;

use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Result};
use lrun_runtime::image::store::{Image, Store};

use super::images::check_platform;
use super::ps::view;
use crate::args::{Global, HistoryArgs};
use crate::context;
use crate::ui::output;
use crate::ui::rows::View;
use crate::ui::rows::history::{Entry, MODEL, format};

/// Runs the command.
pub fn run(global: &Global, args: &HistoryArgs) -> Result<u8> {
    let format = format(args.format.as_deref(), args.quiet, args.human)?;
    let store = context::engine(global)?.store;
    let image = store.resolve(&args.image)?;
    check_platform(&image.config, &args.image, args.platform.as_deref())?;
    let view = View { human: args.human, ..view(!args.no_trunc) };
    let entries = entries(&store, &image).map_err(|error| store.unless_removed(error, &image.id))?;
    output::text(&MODEL.render(&format, &entries, &view)?);
    Ok(0)
}

/// Newest first.
fn entries(store: &Store, image: &Image) -> Result<Vec<Entry>> {
    let ids = ids(store, image);
    let mut layers = image.config.rootfs.diff_ids.iter();
    let mut entries = Vec::new();
    for (i, step) in image.config.history.iter().enumerate() {
        let layer = if step.empty_layer { None } else { layers.next() };
        let size = match layer {
            Some(layer) => store.layer_meta(layer).context(|| format!("layer {layer}"))?.content,
            None => 0,
        };
        entries.push(Entry {
            id: ids.get(&(i + 1)).map(Digest::to_string),
            created: step.created.as_ref().and_then(|time| time.parse().ok()),
            created_by: step.created_by.clone(),
            size,
            comment: step.comment.clone(),
        });
    }
    entries.reverse();
    Ok(entries)
}

/// The images of the store that the image was made from, and itself, by the length of their histories.
fn ids(store: &Store, image: &Image) -> HashMap<usize, Digest> {
    let mut ids = HashMap::from([(image.config.history.len(), image.id.clone())]);
    let mut parent = image.record.parent.clone();
    while let Some(image) = parent.and_then(|id| store.image(&id).ok()) {
        // A parent's history is shorter: longer ones would lead round and round.
        if ids.keys().any(|length| *length <= image.config.history.len()) {
            break;
        }
        ids.insert(image.config.history.len(), image.id.clone());
        parent = image.record.parent;
    }
    ids
}
