//! Images between registries and the store: `pull` and `push`.
//!
//! Runs in the CLI. The protocol is [`crate::registry`]'s, the layers are the store's; here the two meet. Layers are
//! unpacked and rebuilt in storage helpers, which are started before the first thread is: the threads only move bytes
//! between connections and the helpers' pipes, and hash them on the way.

mod crew;
mod feed;
mod forms;
mod layers;
mod packed;
mod parts;
pub mod pull;
pub mod push;

pub use packed::Format;
pub use parts::Parts;
pub use pull::{PullOptions, Pulled, pull};
pub use push::{Pushed, push, push_unnamed};

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// `latest: Pulling from library/x`: what was asked for, and where.
    Pulling {
        /// A tag or a digest.
        wanted: &'a str,
        /// The repository.
        repository: &'a str,
    },
    /// A layer, by the short form of a digest, and what became of it.
    Layer(&'a str, Layer<'a>),
    /// What the user should know.
    Warning(&'a str),
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer<'a> {
    /// Its turn comes.
    Waiting,
    /// Bytes that came, of how many.
    Downloading(u64, u64),
    /// Bytes that went; how many there will be is not known.
    Pushing(u64),
    /// It is in the store now.
    Pulled,
    /// The store had it.
    Here,
    /// The registry has it now.
    Pushed,
    /// The registry had it.
    There,
    /// The registry took it from this repository.
    Mounted(&'a str),
}

/// Told of events, from several threads.
pub type Events<'a> = dyn Fn(Event<'_>) + Sync + 'a;
