//! What a selection was, file by file, for people: what is not as it was can be named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::{Placed, known};
use super::hashes::Hashes;
use super::select::{Kind, Selection};
use crate::image::tar::shown;

/// Of more files nothing is kept.
const MOST: usize = 50_000;

/// One file as it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fact {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    /// Half of the hash of content and attributes, or where a link leads.
    content: String,
}

/// Files by their paths in the context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    files: BTreeMap<String, Fact>,
}

impl Manifest {
    /// Of a selection whose digest was taken. `None`: of too many files.
    pub fn of(selection: &Selection, placed: &Placed, hashes: &mut Hashes) -> Option<Self> {
        if selection.entries.len() > MOST {
            return None;
        }
        let mut files = BTreeMap::new();
        for entry in &selection.entries {
            let (uid, gid, mode) = placed.of(entry);
            let (kind, content) = match &entry.kind {
                Kind::Directory => ('d', String::new()),
                Kind::File => ('f', String::new()),
                Kind::Symlink(target) => ('l', shown(target)),
                Kind::Fifo => ('p', String::new()),
            };
            let hash = known(entry, hashes).or(entry.unsettled);
            let hash = hash.iter().flat_map(|hash| hash.iter().take(16)).map(|byte| format!("{byte:02x}"));
            let content = content + &hash.collect::<String>();
            files.insert(shown(&entry.path), Fact { kind, mode, owner: (uid, gid), content });
        }
        Some(Self { files })
    }

    /// What is not as it was, one sentence for each.
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (path, now) in &self.files {
            let Some(before) = before.files.get(path) else {
                changes.push(format!("{path} is new"));
                continue;
            };
            if before.kind != now.kind {
                changes.push(format!("{path} is of another kind"));
                continue;
            }
            if before.content != now.content {
                let what = if now.kind == 'd' { "the attributes of " } else { "" };
                changes.push(format!("{what}{path} changed"));
            }
            if before.mode != now.mode {
                changes.push(format!("the mode of {path} changed from {:o} to {:o}", before.mode, now.mode));
            }
            if before.owner != now.owner {
                let ((a, b), (c, d)) = (before.owner, now.owner);
                changes.push(format!("the owner of {path} changed from {a}:{b} to {c}:{d}"));
            }
        }
        let gone = before.files.keys().filter(|path| !self.files.contains_key(*path));
        changes.extend(gone.map(|path| format!("{path} was removed")));
        changes
    }
}
