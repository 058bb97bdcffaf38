//! What a build has made and the store does not have yet: layers, images, and the containers of its steps.
//!
//! Other commands see nothing of it. A build that was killed leaves it to the next sweep: its place in `staging/` has a lock,
//! and its layers' folder goes with that.

use crate::container::engine::Engine;
use crate::container::lifecycle::containers;
use crate::container::names::ContainerId;
use crate::error::{Context, Result};
use crate::file::{self, Staging};

/// The place of a build.
#[derive(Debug)]
pub struct Unpublished<'a> {
    store: &'a Engine,
    engine: Engine,
}

impl<'a> Unpublished<'a> {
    /// Makes the place of a build with this directory in `staging/`.
    pub fn new(store: &'a Engine, staging: &Staging) -> Result<Self> {
        let name = staging.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let engine = store.of_build(&name);
        let root = engine.root();
        for path in [Some(root.containers()), Some(root.names()), root.build_blobs(), root.build_images()] {
            path.iter().try_for_each(|path| file::make_dir(path))?;
        }
        root.build_layers().iter().try_for_each(|folder| file::make_dir(&root.layers().join(folder)))?;
        Ok(Self { store, engine })
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
