//! `RUN --mount`: what each mount shows, what of it the cache's key has, and what a step's container is given.
//!
//! | module | owns |
//! | --- | --- |
//! | `sources` | the trees that mounts show: copies of the context's files, layers, what is thrown away |
//! | `declare` | from what an instruction says to what is mounted, and the key |
//! | [`agent`] | the SSH agent's socket |
//!
//! Nothing of it is in a container's record, and mount points that were not there before are in no layer
//! ([`crate::container::passing`]). Contents of caches, secrets and agents are in no key.

mod agent;
mod declare;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::{Context, Selection};
use super::driver::Build;
use crate::container::cache_mounts::{self, Held, New, Sharing};
use crate::container::engine::Engine;
use crate::container::passing::{Passing, Variable};
use crate::digest::Digest;
use crate::error::{Context as _, Result};
use crate::sandbox::plan::{Content, Mount, MountSource, Own, Tree};
use crate::sandbox::reads::Reads;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

pub(super) use sources::Sources;

/// A mount of a step.
pub(super) struct Wanted {
    target: String,
    read_only: bool,
    shows: Shows,
}

/// What a mount shows.
enum Shows {
    /// Files of a context that has a name, or of the build's.
    Files(Digest, Option<Arc<Context>>, Box<Selection>),
    /// A path in these layers of an image, bottom first.
    Layers(Vec<Digest>, String),
    /// A directory that stays.
    Cache(Box<Cache>),
    /// Memory, of at most so many bytes; 0: as the kernel has it.
    Memory(u64),
    /// A file in memory; whether it may be executed.
    File(Content, Own, bool),
    /// An SSH agent: its socket on the host.
    Agent(PathBuf, Own),
}

/// A directory that stays.
struct Cache {
    key: Digest,
    id: String,
    sharing: Sharing,
    /// The path in it; empty for all.
    path: String,
    /// What a new one has.
    base: Option<Base>,
    /// Mode and owner of what the path means, where that is made.
    own: Option<Own>,
}

/// What is in a new directory that stays.
enum Base {
    /// What is in a directory of an image.
    Image(Digest, String),
    /// Files of a context, see [`Shows::Files`], and their path in it.
    Files(Option<Arc<Context>>, Box<Selection>, String),
}

/// All that a step is given.
#[derive(Default)]
pub(super) struct Declared {
    mounts: Vec<Wanted>,
    env: Vec<Variable>,
}

/// What a step's container is given. The files are there, and nobody else has what is the step's alone, until
/// [`Given::end`].
pub(super) struct Given {
    /// For the start.
    pub passing: Passing,
    caches: BTreeMap<Digest, Held>,
    agents: Vec<agent::Relay>,
    scratch: Vec<PathBuf>,
}

impl Given {
    /// The step has ended: what it wrote to its binds goes.
    pub fn end(self, engine: &Engine) {
        drop((self.caches, self.agents));
        for path in self.scratch {
            // It is in the build's staging directory, which goes as well.
            let _ = engine.remove_tree(&path);
        }
    }
}

impl Declared {
    /// Adds a file in memory that is executed, where docker has it; its path.
    pub fn script(&mut self, name: &str, content: String) -> String {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let target = format!("/dev/pipes/{}", if plain { name } else { "script" });
        let own = Own { mode: 0o755, owner: None };
        let shows = Shows::File(Content(content.into_bytes()), own, true);
        self.mounts.push(Wanted { target: target.clone(), read_only: true, shows });
        target
    }

    /// Makes what is to be mounted. Waits for caches that another build has.
    pub fn give(self, build: &mut Build<'_>) -> Result<Given> {
        let mut given = Given {
            passing: Passing { mounts: Vec::new(), env: self.env, reads: Reads::begin() },
            caches: BTreeMap::new(),
            agents: Vec::new(),
            scratch: Vec::new(),
        };
        // In one order everywhere, so that no two builds wait for each other.
        let mut caches: Vec<&Cache> = self.mounts.iter().filter_map(Wanted::cache).collect();
        caches.sort_by(|one, other| one.key.cmp(&other.key));
        for cache in &caches {
            if !given.caches.contains_key(&cache.key) {
                let held = cache.hold(build).context(|| format!("cache mount {}", cache.id))?;
                given.caches.insert(cache.key.clone(), held);
            }
        }
        for cache in caches.iter().filter(|cache| !cache.path.is_empty()) {
            if let Some(held) = given.caches.get(&cache.key) {
                let made = held.ensure(build.steps.engine, &cache.path, cache.own);
                made.context(|| format!("cache mount {}", cache.id))?;
            }
        }
        for wanted in self.mounts {
            let mount = wanted.mount(build, &mut given)?;
            given.passing.mounts.push(mount);
        }
        Ok(given)
    }
}

impl Wanted {
    fn cache(&self) -> Option<&Cache> {
        match &self.shows {
            Shows::Cache(cache) => Some(cache),
            _ => None,
        }
    }

    fn mount(self, build: &mut Build<'_>, given: &mut Given) -> Result<Mount> {
        let engine = build.steps.engine;
        let mut attributes = NOSUID | NODEV | if self.read_only { RDONLY } else { 0 };
        let source = match self.shows {
            Shows::Files(digest, named, selection) => {
                let (context, sources) = (named.as_deref().unwrap_or(build.context), &mut build.mounted);
                let (copy, path) = sources.copy(engine, context, (&digest, *selection))?;
                let mut tree = Tree { lowers: vec![copy], path, ..Tree::default() };
                if !self.read_only {
                    tree.lowers.push(sources.empty(engine)?);
                    tree.scratch = Some(sources.scratch(engine, &mut given.scratch)?);
                }
                MountSource::Tree(tree)
            }
            Shows::Layers(layers, path) => {
                let mut tree = Tree { lowers: engine.image_lowers(&layers)?, path, ..Tree::default() };
                // An overlay has two at least.
                while tree.lowers.len() < 2 {
                    tree.lowers.push(build.mounted.empty(engine)?);
                }
                if !self.read_only {
                    tree.scratch = Some(build.mounted.scratch(engine, &mut given.scratch)?);
                }
                MountSource::Tree(tree)
            }
            Shows::Cache(cache) => {
                let data = given.caches.get(&cache.key).map(|held| held.data.clone()).unwrap_or_default();
                MountSource::Tree(Tree { lowers: vec![data], path: cache.path, ..Tree::default() })
            }
            Shows::Memory(size) => {
                let size = (size > 0).then(|| ("size".to_owned(), Some(size.to_string())));
                MountSource::Filesystem { kind: "tmpfs".to_owned(), params: size.into_iter().collect() }
            }
            Shows::File(content, own, executable) => {
                attributes |= if executable { 0 } else { NOEXEC };
                MountSource::File { content, own }
            }
            Shows::Agent(agent, own) => {
                let (path, lowers) = build.mounted.directory(engine)?;
                given.agents.push(agent::Relay::start(&agent, &path)?);
                let path = agent::SOCKET.to_owned();
                // The socket is no file that is written to.
                attributes &= !RDONLY;
                MountSource::Tree(Tree { lowers: vec![lowers], path, own: Some(own), ..Tree::default() })
            }
        };
        Ok(Mount {
            target: self.target,
            source,
            attributes,
            recursive_attributes: 0,
            propagation: libc::MS_PRIVATE,
            recursive_propagation: false,
            user: true,
            optional: false,
            existing: false,
            traceless: true,
        })
    }
}

impl Cache {
    fn hold(&self, build: &Build<'_>) -> Result<Held> {
        let mut fill = |data: &Path| match &self.base {
            Some(Base::Image(image, path)) => sources::fill(build, (image, path), data).map(Some),
            Some(Base::Files(named, selection, path)) => {
                sources::fill_from_context(named.as_deref().unwrap_or(build.context), (selection, path), data)
            }
            None => Ok(None),
        };
        let new = New { own: self.own.filter(|_| self.path.is_empty()), fill: &mut fill };
        cache_mounts::hold(build.steps.engine, (&self.key, &self.id), self.sharing, new)
    }
}
