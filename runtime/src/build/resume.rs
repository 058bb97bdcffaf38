//! `--resume`: a build goes on from the container of the command that failed, which the build before kept.
//!
//! What the failed attempt left, and what was done in its container since, becomes layers below the step, which runs again
//! on them; the history says so. The Dockerfile alone does not make such an image, so the step is not in the cache.
//! `cache/failed-<key>.json` has the container of the step with this key, from its failure until it ends well; without it
//! the step runs on the image before it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::driver::{Build, Progress, Stage};
use super::options::Event;
use crate::container::commit::commit_layers;
use crate::container::lifecycle::containers;
use crate::container::names::ContainerId;
use crate::digest::Digest;
use crate::error::Context;
use crate::file::{self, Durability};
use crate::image::config::History;
use crate::paths::Root;

/// An entry is far smaller.
const MOST: usize = 4 << 10;

/// A step that failed.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    container: ContainerId,
}

/// Remembers where the step with this key failed. Without that, it cannot be gone on from.
pub(super) fn remember(root: &Root, key: &Digest, container: &ContainerId) {
    let bytes = file::ensure_dir(&root.cache()).and_then(|()| file::to_json(&Failed { container: container.clone() }));
    let _ = bytes.and_then(|bytes| file::write_atomic(&root.cache_failed(key), &bytes, Durability::Relaxed));
}

/// The container that such a file names; none, if it is damaged.
pub(super) fn container(path: &Path) -> Option<ContainerId> {
    file::read_json(path, MOST).ok().map(|Failed { container }| container)
}

/// The step with this key has ended well.
pub(super) fn forget(root: &Root, key: &Digest) {
    let _ = std::fs::remove_file(root.cache_failed(key));
}

impl Build<'_> {
    /// Puts below the step with this key what its failed attempt left, if there was one and `--resume` asks for it; whether
    /// it did.
    pub(super) fn resume(&mut self, stage: &mut Stage<'_>, key: &Digest, created_by: &str) -> Progress<bool> {
        let store = self.unpublished.store();
        if !self.options.resume {
            return Ok(false);
        }
        let first = !std::mem::replace(&mut stage.place.resumed, true);
        let Some(container) = container(&store.root().cache_failed(key)) else {
            if first {
                let text = "--resume: no container of a failed attempt at this step is kept: it begins anew";
                (self.tell)(Event::Warning(text));
            }
            return Ok(false);
        };
        let short = container.short();
        if containers(store).is_gone(&container) {
            (self.tell)(Event::Warning(&format!(
                "container {short}, in which this step failed, is gone: it begins anew"
            )));
            return Ok(false);
        }
        let under = stage.state.config.rootfs.diff_ids.len();
        let record = containers(store).read(&container)?;
        let layers =
            commit_layers(store, &record, self.options.clock).context(|| format!("go on from container {short}"))?;
        if !layers.starts_with(&stage.state.config.rootfs.diff_ids) {
            (self.tell)(Event::Warning(&format!("container {short} stands on other layers now: the step begins anew")));
            return Ok(false);
        }
        (self.tell)(Event::Warning(&format!("going on from container {short}: the step will not be in the cache")));
        for layer in layers.into_iter().skip(under) {
            let comment = "what an attempt that failed has left".to_owned();
            let entry = History { comment, ..stage.state.entry(self.now(), created_by.to_owned()) };
            stage.state.add(stage.state.run().clone(), Some(layer), entry);
            stage.state.image = Some(self.steps.publish(&stage.state.config, stage.state.image.as_ref())?);
        }
        Ok(true)
    }
}
