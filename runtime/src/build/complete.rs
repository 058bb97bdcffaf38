//! The last touch on the target: its own layers become one, its config carries the cache, and it gets its names.

use super::cache::{self, Entry};
use super::elsewhere::format;
use super::options::{Finished, Options};
use super::state::State;
use crate::container::commit::merge_layers;
use crate::container::engine::Engine;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::store::Store;

/// The entries of the steps with these keys, as far as the cache has them.
pub fn entries(store: &Store, keys: &[Digest]) -> Vec<(Digest, Entry)> {
    keys.iter().filter_map(|key| Some((key.clone(), cache::find(store, key)?))).collect()
}

/// Does what the options ask for, and gives the image its names. All layers are in the store.
pub(super) fn finish<'s>(
    engine: &Engine,
    mut state: State,
    others: impl Iterator<Item = &'s State>,
    options: &Options,
) -> Result<Finished> {
    let own = std::mem::take(&mut state.trail);
    let mut all = own.clone();
    for key in others.flat_map(|stage| &stage.trail) {
        if !all.contains(key) {
            all.push(key.clone());
        }
    }
    complete(engine, &mut state, &own, options)?;
    let bytes = state.config.to_bytes()?;
    let id = Digest::of(&bytes);
    let store = &engine.store;
    let has_name = |name| store.ref_target(name).is_ok_and(|target| target.is_some_and(|target| target.image == id));
    // What is there, and is called so, is on disk.
    if store.image_record(&id).is_err() || !options.names.iter().all(has_name) {
        store.publish_image(&bytes, state.image.as_ref(), &options.names)?;
    }
    Ok(Finished { id, own, all })
}

fn complete(engine: &Engine, state: &mut State, own: &[Digest], options: &Options) -> Result<()> {
    if options.squash {
        squash(engine, state, options)?;
    }
    if options.inline_cache {
        let entries = entries(&engine.store, own);
        let has = |layer: &Digest| state.config.rootfs.diff_ids.contains(layer);
        // Those of layers that were merged would lead nowhere.
        let entries: Vec<_> = entries.into_iter().filter(|(_, entry)| entry.layer.as_ref().is_none_or(has)).collect();
        format::add(&mut state.config, &entries)?;
    }
    Ok(())
}

/// The layers above the base become one, with the history of them all.
fn squash(engine: &Engine, state: &mut State, options: &Options) -> Result<()> {
    let (layers, depth) = (&state.config.rootfs.diff_ids, state.base_layers);
    if layers.len() <= depth + 1 {
        return Ok(());
    }
    let merged =
        merge_layers(engine, layers, depth, options.clock).context(|| "merge the layers of the build into one")?;
    let config = &mut state.config;
    config.rootfs.diff_ids.truncate(depth);
    config.rootfs.diff_ids.push(merged);
    let own = config.history.get_mut(state.base_history..).unwrap_or_default();
    let last = own.iter().rposition(|entry| !entry.empty_layer);
    for (at, entry) in own.iter_mut().enumerate() {
        entry.empty_layer = Some(at) != last;
    }
    Ok(())
}
