//! What a build has made and the store does not have yet: layers, images, and the containers of its steps.
//!
//! Other commands see nothing of it. A build that was killed leaves it to the next sweep: its place in `staging/` has a lock,
//! and its layers' folder goes with that.

use crate::container::engine::Engine;
use crate::container::lifecycle::containers;
use crate::container::names::ContainerId;
use crate::error::{Context, Result};
use crate::file::{self, Staging};
use crate::paths::Root;

/// Makes the place of the build with this view of the store, before something is first made in it.
pub(super) fn prepare(root: &Root) -> Result<()> {
    let (Some(blobs), Some(images), Some(layers)) = (root.build_blobs(), root.build_images(), root.build_layers())
    else {
        return Ok(());
    };
    if file::exists(&images)? {
        return Ok(());
    }
    let layers = root.layers().join(layers);
    [root.containers(), root.names(), blobs, layers, images].iter().try_for_each(|path| file::ensure_dir(path))
}

/// The place of a build.
#[derive(Debug)]
pub struct Unpublished<'a> {
    store: &'a Engine,
    engine: Engine,
}

impl<'a> Unpublished<'a> {
    /// The place of a build with this directory in `staging/`.
    pub fn new(store: &'a Engine, staging: &Staging) -> Self {
        let name = staging.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { store, engine: store.of_build(&name) }
    }

    /// The store as the build sees it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store as everybody sees it.
    pub fn store(&self) -> &'a Engine {
        self.store
    }

    /// Publishes what has been made so far. It is on disk when this returns.
    pub fn publish(&self) -> Result<()> {
        let _using = self.store.store.lock_shared()?;
        self.store.store.adopt(&self.engine.store, &self.engine.map).context(|| "publish what was built")
    }

    /// Makes a container of the build one of the store, after its image has been published.
    pub fn keep(&self, id: &ContainerId) -> Result<()> {
        let _using = self.store.store.lock_shared()?;
        let own = containers(&self.engine);
        let (record, paths) = (own.read(id)?, own.paths(id));
        rustix::fs::syncfs(file::open_dir(paths.path())?).context(|| "write the container to disk")?;
        containers(self.store).move_in(paths.path(), record).map(drop)
    }

    /// Removes what is left.
    pub fn remove(self) -> Result<()> {
        let root = self.engine.root();
        root.build_layers().iter().try_for_each(|folder| self.store.remove_tree(&root.layers().join(folder)))
    }
}
