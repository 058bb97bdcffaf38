//! Collection: layers and blobs that no image and no container needs.

use std::collections::HashSet;
use std::path::PathBuf;

use super::ContainerUses;
use crate::digest::Digest;
use crate::error::{Context as _, ErrorKind, Result};
use crate::file::{self, Lock, RemoveTree, Staging};
use crate::image::store::Store;

/// What a collection took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers.
    pub layers: Vec<Digest>,
    /// Blobs.
    pub blobs: Vec<Digest>,
}

/// Deletes what nothing needs. `None`: somebody is publishing, and nothing was done.
///
/// Only the move into `staging/` happens under the exclusive lock. An image record that cannot be read ends the
/// collection: its layers are not known.
pub fn collect(store: &Store, uses: &ContainerUses<'_>, remove: &mut RemoveTree<'_>) -> Result<Option<Collected>> {
    let Some(lock) = Lock::try_exclusive(&store.root().lock())? else {
        return Ok(None);
    };
    // `tag` and `rmi` need no store lock; they wait meanwhile.
    let refs_lock = Lock::exclusive(&store.root().refs_lock())?;
    let (layers_kept, blobs_kept) = roots(store, uses)?;
    let collected = Collected {
        layers: unneeded(file::list_dir(&store.root().layers())?, &layers_kept),
        blobs: unneeded(file::list_dir(&store.root().blobs())?, &blobs_kept),
    };
    if !collected.layers.is_empty() || !collected.blobs.is_empty() {
        // The records' absence first: no record may come back after a power cut and miss its layers.
        file::fsync_dir(&store.root().images())?;
        file::fsync_dir(&store.root().containers())?;
    }
    remove_temporary(store)?;
    for blob in &collected.blobs {
        rustix::fs::unlink(store.root().blob(blob)).context(|| format!("delete blob {blob}"))?;
    }
    if collected.layers.is_empty() {
        return Ok(Some(collected));
    }
    let staging = make_staging(store)?;
    let victims = move_out(store, staging.as_ref(), &collected.layers)?;
    drop((refs_lock, lock));
    match staging {
        Some(staging) => staging.remove(remove)?,
        None => victims.iter().try_for_each(|victim| remove(victim))?,
    }
    Ok(Some(collected))
}

fn roots(store: &Store, uses: &ContainerUses<'_>) -> Result<(HashSet<Digest>, HashSet<Digest>)> {
    let (mut layers, mut blobs) = (HashSet::new(), HashSet::new());
    for id in store.image_ids()? {
        let record = store.image_record(&id)?;
        layers.extend(record.layers);
        blobs.extend(record.manifests);
        blobs.insert(id);
    }
    for container in uses()? {
        layers.extend(container.layers);
        // A commit of the container builds on its image's config, also after `rmi -f`.
        blobs.insert(container.image);
    }
    Ok((layers, blobs))
}

/// Those of these names that are digests and not kept; other names are not ours to judge.
fn unneeded(names: Vec<String>, kept: &HashSet<Digest>) -> Vec<Digest> {
    let mut digests: Vec<Digest> = names.iter().filter_map(|name| Digest::from_hex(name).ok()).collect();
    digests.retain(|digest| !kept.contains(digest));
    digests.sort();
    digests
}

/// Nobody is writing: temporary files were left by processes that ended.
fn remove_temporary(store: &Store) -> Result<()> {
    for dir in [store.root().blobs(), store.root().images()] {
        for name in file::list_dir(&dir)?.iter().filter(|name| file::is_temporary(name.as_bytes())) {
            rustix::fs::unlink(dir.join(name)).context(|| format!("delete {name}"))?;
        }
    }
    Ok(())
}

/// `None` on a full disk, where no directory can be made: victims then go into `staging/` itself.
fn make_staging(store: &Store) -> Result<Option<Staging>> {
    match Staging::new(store.root()) {
        Ok(staging) => Ok(Some(staging)),
        Err(error) if error.kind() == ErrorKind::Exhausted => Ok(None),
        Err(error) => Err(error),
    }
}

fn move_out(store: &Store, staging: Option<&Staging>, layers: &[Digest]) -> Result<Vec<PathBuf>> {
    let mut moved = Vec::with_capacity(layers.len());
    for layer in layers {
        let target = match staging {
            Some(staging) => staging.path().join(layer.hex()),
            None => Staging::unused_path(store.root())?,
        };
        rustix::fs::rename(store.layer_path(layer), &target).context(|| format!("take out layer {layer}"))?;
        moved.push(target);
    }
    Ok(moved)
}
