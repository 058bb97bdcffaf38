//! Building images from Dockerfiles.
//!
//! | module | owns |
//! | --- | --- |
//! | [`dockerfile`] | the language: from bytes to checked instructions; pure |
//! | [`context`] | the directory that files are copied from: what is ignored, selected, hashed and sent |
//! | `arguments`, `state` | the values of ARG, and what a stage has come to; pure |
//! | [`checks`] | what is accepted in a Dockerfile and should not be written; pure |
//! | [`outline`] | what can be asked of a Dockerfile besides an image; pure |
//! | [`cache`] | what a step with a certain input has made before |
//! | [`elsewhere`] | caches of other machines |
//! | `explain` | why a step is not in the cache |
//! | `step` | one step: a container runs or is given files, and becomes a layer |
//! | `origin` | where the files are that an instruction names |
//! | [`remote`] | downloads and git repositories |
//! | [`hide`] | texts with URLs as they are shown, without passwords; pure |
//! | `foreign` | whether this machine runs programs of another |
//! | `files` | COPY and ADD |
//! | `addresses` | ADD of them |
//! | `mounts`, [`given`], [`keys`] | RUN --mount; secrets and agents |
//! | [`output`] | what becomes of the image |
//! | [`usage`], [`prune`] | what the cache has, for people; what goes of it |
//! | `unpublished` | what a build has made that the store does not have yet |
//! | `complete` | the last touch on the target |
//! | `graph`, `workers` | which stages need which; stages side by side |
//! | `forward` | a step, from the cache or made |
//! | `resume` | going on from the container of a command that failed |
//! | `verify` | whether a cached RUN would make the same again |
//! | `driver` | the stages that the target needs, step by step |

mod addresses;
mod arguments;
pub mod cache;
pub mod checks;
mod complete;
pub mod context;
pub mod dockerfile;
mod driver;
pub mod elsewhere;
mod explain;
mod files;
mod foreign;
mod forward;
mod frontend;
pub mod given;
mod graph;
pub mod hide;
pub mod keys;
mod mounts;
pub mod options;
mod origin;
pub mod outline;
pub mod output;
pub mod prune;
pub mod remote;
mod resume;
mod state;
mod step;
mod unpublished;
pub mod usage;
mod verify;
mod workers;

pub use addresses::Telling;
pub use arguments::global as global_arguments;
pub use complete::entries;
pub use driver::{Build, Resolve};
pub use options::{Built, Event, Finished, Options};
pub use origin::{Contexts, Later, Named, name as context_name};
pub use step::Steps;
pub use unpublished::Unpublished;
