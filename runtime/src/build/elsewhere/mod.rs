//! Caches elsewhere: what builds on other machines have made, from `--cache-from`.
//!
//! | file | owns |
//! | --- | --- |
//! | [`format`] | entries as a field of an image's config, whose layers are the steps' |
//! | [`place`] | `--cache-from`, `--cache-to`; pure |
//!
//! An entry is looked for by its key alone, the digest of the step's input. Its layer is brought when a step needs it, and is
//! one of the store's only if it is what its digest says.

pub mod format;
pub mod place;

use std::collections::BTreeMap;

use super::cache::Entry;
use crate::digest::Digest;
use crate::error::Result;
use crate::image::store::Store;

/// Brings a layer into the store.
pub type Bring<'a> = dyn Fn(&Digest) -> Result<()> + 'a;

/// One such cache.
pub struct Source<'a> {
    /// What the user calls it.
    pub name: String,
    /// What it has.
    pub entries: BTreeMap<Digest, Entry>,
    /// Where their layers come from.
    pub bring: Box<Bring<'a>>,
}

/// All that were named, in their order.
#[derive(Default)]
pub struct Elsewhere<'a>(pub Vec<Source<'a>>);

impl Elsewhere<'_> {
    /// What the step with this key made there; its layer is in the store. Where a layer cannot be brought, `warn` is told why,
    /// and the step is to run.
    pub fn find(&self, store: &Store, key: &Digest, warn: &mut dyn FnMut(&str)) -> Option<Entry> {
        for source in &self.0 {
            let Some(entry) = source.entries.get(key) else { continue };
            let there = |layer: &Digest| store.layer_exists(layer).is_ok_and(|there| there);
            match &entry.layer {
                Some(layer) if !there(layer) => match (source.bring)(layer) {
                    Ok(()) if there(layer) => return Some(entry.clone()),
                    Ok(()) => {}
                    Err(error) => warn(&format!("cache {}: {error}", source.name)),
                },
                _ => return Some(entry.clone()),
            }
        }
        None
    }
}
