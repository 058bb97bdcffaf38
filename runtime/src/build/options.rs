//! What a build is asked for, and what it tells meanwhile.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::given::{Agents, Secrets};
use super::origin::Contexts;
use crate::container::names::ContainerId;
use crate::container::options::RunOptions;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::registry::platform::Platform;

/// What a build is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The stage to build, by name or number; absent: the last.
    pub target: Option<String>,
    /// `--build-arg`. Those without a value that the environment lacks are not among them.
    pub arguments: BTreeMap<String, String>,
    /// Run every step again.
    pub no_cache: bool,
    /// The same for the steps of these stages, by name, in upper or lower case, or by number.
    pub no_cache_stages: Vec<String>,
    /// Tell of each step that is not in the cache why.
    pub explain: bool,
    /// Whether a step that failed goes on from its container.
    pub resume: bool,
    /// Run the commands again that are in the cache, and tell whether they come to the same.
    pub verify: bool,
    /// Labels that the image gets at last.
    pub labels: BTreeMap<String, String>,
    /// `--build-context`.
    pub contexts: Contexts,
    /// The image's names.
    pub names: Vec<Reference>,
    /// Network, hosts, limits of the containers that RUN makes.
    pub run: RunOptions,
    /// The time that the image carries, and no file is later than; `None`: now.
    pub clock: Option<Timestamp>,
    /// What the image is for.
    pub platform: Platform,
    /// What this machine is.
    pub machine: Platform,
    /// Make one layer of those of the target's own steps.
    pub squash: bool,
    /// Have the image carry the cache of its steps.
    pub inline_cache: bool,
    /// Tell what commands write, and that time passes, instead of leaving them the output.
    pub relayed: bool,
    /// How many stages are built at once; `None`: as many as there are processors, and two at least.
    pub jobs: Option<NonZeroUsize>,
    /// `--secret`
    pub secrets: Secrets,
    /// `--ssh`
    pub agents: Agents,
}

impl Options {
    /// How many stages are built at once.
    pub fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(2, |number| usize::from(number).max(2));
        self.jobs.map_or_else(all, usize::from)
    }
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// A step begins.
    Step {
        /// From 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction.
        text: &'e str,
    },
    /// Something is being downloaded.
    Download {
        /// From where.
        url: &'e str,
        /// What has come.
        bytes: u64,
        /// How much will come, where that is known.
        total: Option<u64>,
    },
    /// It was made before.
    Cached,
    /// It is not in the cache, or read something when it was made, and `--explain` asks.
    Explained {
        /// From 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction.
        text: &'e str,
        /// What changed, or what it read.
        why: &'e str,
    },
    /// It was made before, and has been made again for `--verify`.
    Verified {
        /// From 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction.
        text: &'e str,
        /// Whether it came to the same.
        same: bool,
        /// In words.
        verdict: &'e str,
    },
    /// It is done.
    Done {
        /// The image that the stage now is; `None`: nothing, as `FROM scratch` is.
        image: Option<&'e Digest>,
        /// How long it took.
        took: Duration,
        /// Bytes of the files in the layer that it made.
        size: Option<u64>,
    },
    /// The user should know.
    Warning(&'e str),
    /// What comes next is about this stage, by its name; told where stages are built side by side, or all is relayed.
    Stage(&'e str),
    /// What a command of that stage has written.
    Output(&'e [u8]),
    /// Some time has passed; told where all is relayed.
    Tick,
}

/// What was built.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// The image.
    pub id: Digest,
    /// Keys of the steps that it is made of, in their order; see [`super::cache`].
    pub own: Vec<Digest>,
    /// Keys of the steps of all stages that it needed, those first.
    pub all: Vec<Digest>,
}

/// How a build ended.
#[derive(Debug, Serialize, Deserialize)]
pub enum Built {
    /// With an image.
    Image(Finished),
    /// A command failed.
    Failed {
        /// The instruction.
        text: String,
        /// Its exit code.
        code: u8,
        /// Its container, which is kept.
        container: ContainerId,
        /// The image that it ran on.
        image: Digest,
    },
    /// By this signal.
    Interrupted(i32),
}
