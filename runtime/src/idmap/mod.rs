//! Id mappings: which ids a container has, and how they are mapped.

pub mod detect;
pub mod enter;
pub mod helper;
pub mod newidmap;
pub mod ranges;
pub mod userns;

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

/// How ids are mapped; recorded in the store's `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// 0 is the user, 1 and up are the user's subordinate ids, mapped by `newuidmap` and `newgidmap`.
    Subids,
    /// 0 is the user and there is nothing else; a seccomp filter emulates root's changes of ids.
    Single,
    /// Run by root: every id of the surrounding namespace as it is.
    Root,
}

impl Mode {
    /// The word for it on the command line and in `format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subids => "subids",
            Self::Single => "single",
            Self::Root => "root",
        }
    }
}

/// `count` ids from `inside` (in the namespace) are `count` ids from `outside` (in its parent); `user_namespaces(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id in the parent namespace.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The id mapping of a store and its containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// How the mapping came to be.
    pub mode: Mode,
    /// User ids, ascending by `inside`.
    pub uids: Vec<Extent>,
    /// Group ids, ascending by `inside`.
    pub gids: Vec<Extent>,
    /// A namespace with this mapping, for whoever makes many processes in it.
    #[serde(skip)]
    kept: Kept,
}

/// A user namespace that is used again: writing the maps of a new one takes longer than all else. It is that of the first
/// process that is made in the mapping.
#[derive(Clone, Debug, Default)]
struct Kept(Option<Arc<OnceLock<OwnedFd>>>);

/// It does not change what the mapping is.
impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

fn covers(extents: &[Extent], id: u32) -> bool {
    extents.iter().any(|e| id >= e.inside && u64::from(id) < u64::from(e.inside) + u64::from(e.count))
}

impl IdMap {
    /// A mapping.
    pub fn new(mode: Mode, uids: Vec<Extent>, gids: Vec<Extent>) -> Self {
        Self { mode, uids, gids, kept: Kept::default() }
    }

    /// The same mapping, of which all processes get one user namespace: those that trust each other, as a build's steps do.
    pub fn shared(&self) -> Self {
        Self { kept: Kept(Some(Arc::default())), ..self.clone() }
    }

    /// Whether the namespace has this user id.
    pub fn has_uid(&self, uid: u32) -> bool {
        covers(&self.uids, uid)
    }

    /// Whether the namespace has this group id.
    pub fn has_gid(&self, gid: u32) -> bool {
        covers(&self.gids, gid)
    }
}
