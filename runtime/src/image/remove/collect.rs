//! Collection: layers and blobs that no image and no container needs.

use std::collections::HashSet;
use std::path::PathBuf;

use super::ContainerUses;
use crate::digest::Digest;
use crate::error::{Context as _, ErrorKind, Result};
use crate::file::{self, Lock, RemoveTree, Staging};
use crate::image::config::chain_ids;
use crate::image::store::Store;
use crate::paths::Root;

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
    let kept = roots(store, uses)?;
    let folders = file::list_dir(&store.root().layers())?;
    let is_left = |name: &&String| {
        Root::completed_chain(name).is_some_and(|chain| !kept.chains.contains(&chain))
            || Root::replaced_layer(name).is_some_and(|layer| !kept.in_use.contains(&layer))
    };
    let mut victims: Vec<String> = folders.iter().filter(is_left).cloned().collect();
    let collected = Collected {
        layers: unneeded(folders, &kept.layers),
        blobs: unneeded(file::list_dir(&store.root().blobs())?, &kept.blobs),
    };
    victims.extend(collected.layers.iter().map(|layer| layer.hex().to_owned()));
    if !victims.is_empty() || !collected.blobs.is_empty() {
        // The records' absence first: no record may come back after a power cut and miss its layers.
        file::fsync_dir(&store.root().images())?;
        file::fsync_dir(&store.root().containers())?;
    }
    remove_temporary(store)?;
    for blob in &collected.blobs {
        rustix::fs::unlink(store.root().blob(blob)).context(|| format!("delete blob {blob}"))?;
    }
    if victims.is_empty() {
        return Ok(Some(collected));
    }
    let staging = make_staging(store)?;
    let victims = move_out(store, staging.as_ref(), &victims)?;
    drop((refs_lock, lock));
    match staging {
        Some(staging) => staging.remove(remove)?,
        None => victims.iter().try_for_each(|victim| remove(victim))?,
    }
    Ok(Some(collected))
}

/// What is needed.
#[derive(Default)]
struct Kept {
    layers: HashSet<Digest>,
    blobs: HashSet<Digest>,
    /// Layers that containers which run stand on.
    in_use: HashSet<Digest>,
    /// Chain ids of stacks of layers.
    chains: HashSet<Digest>,
}

impl Kept {
    fn stack(&mut self, layers: Vec<Digest>) {
        self.chains.extend(chain_ids(&layers));
        self.layers.extend(layers);
    }
}

fn roots(store: &Store, uses: &ContainerUses<'_>) -> Result<Kept> {
    let mut kept = Kept::default();
    let ids: HashSet<Digest> = store.image_ids()?.into_iter().collect();
    // A removal takes the names first: what a name points to has lost its record, which can be made again.
    let named = store.reference_files()?.into_iter().filter_map(|(_, path)| Some(store.ref_file(&path).ok()?.image));
    for id in named.filter(|id| !ids.contains(id)) {
        if let Ok(record) = store.record_of_config(&id) {
            kept.stack(record.layers);
        }
        kept.blobs.insert(id);
    }
    for id in ids {
        let record = store.image_record(&id)?;
        kept.stack(record.layers);
        kept.blobs.extend(record.manifests);
        kept.blobs.insert(id);
    }
    for container in uses()? {
        if container.running {
            kept.in_use.extend(container.layers.iter().cloned());
        }
        kept.stack(container.layers);
        // A commit of the container builds on its image's config, also after `rmi -f`.
        kept.blobs.insert(container.image);
    }
    Ok(kept)
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
    for dir in [store.root().blobs(), store.root().images(), store.root().lists(), store.root().cache()] {
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

fn move_out(store: &Store, staging: Option<&Staging>, folders: &[String]) -> Result<Vec<PathBuf>> {
    let mut moved = Vec::with_capacity(folders.len());
    for folder in folders {
        let target = match staging {
            Some(staging) => staging.path().join(folder),
            None => Staging::unused_path(store.root())?,
        };
        rustix::fs::rename(store.root().layers().join(folder), &target)
            .context(|| format!("take out layer {folder}"))?;
        moved.push(target);
    }
    Ok(moved)
}
