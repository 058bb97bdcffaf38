//! Gets a layer's index back: from its checksum where one byte was damaged, or from the tree, where that is as it was.
//! Runs in the storage helper.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, unlinkat};

use super::Job;
use crate::error::{Context, Result};
use crate::file::{Durability, search_byte, write_atomic_at};
use crate::image::attributes::RootAttrs;
use crate::image::owners::Owners;
use crate::image::pack::{Known, pack_layer};
use crate::image::store::{CLOCK, ON_THE_WAY, ROOT_ATTRIBUTES};

const INDEX: &str = "index";
const DRAFT: &str = "index.draft";
/// Larger ones are not searched for a damaged byte.
const SEARCHED: u64 = 64 << 10;

/// Makes the index again; whether it is what it was, on disk when this returns.
pub(super) fn restore(job: &Job<'_>) -> Result<bool> {
    Ok(repack(job)? || search(job)?)
}

/// A layer in lrun's own form gives the same archive again: its digest proves that the tree, and so the index, is right.
fn repack(job: &Job<'_>) -> Result<bool> {
    let owners = match super::open_file(job.layer, "owners") {
        // If they are damaged, the digest tells.
        Ok(file) => Owners::read(BufReader::new(file)).unwrap_or_default(),
        Err(_) => Owners::default(),
    };
    let clock = job.meta.and_then(|meta| meta.get(CLOCK));
    let implicit: Vec<Vec<u8>> = job.meta.and_then(|meta| meta.get(ON_THE_WAY)).unwrap_or_default();
    let recorded: Option<RootAttrs> = job.meta.and_then(|meta| meta.get(ROOT_ATTRIBUTES));
    let diff = openat(job.layer, c"diff", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = recorded.or_else(|| RootAttrs::read(diff.ok()?.as_fd()).ok());
    // Whether the root had an entry is in what was lost.
    for seed in [root.as_ref(), None] {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let draft =
            File::from(openat(job.layer, DRAFT, flags, Mode::from_raw_mode(0o600)).context(|| "make an index")?);
        let out = draft.try_clone()?;
        let known = Known { seed, recorded: &|path| owners.get(path), clock, in_tree: false, implicit: &implicit };
        let packed = pack_layer(job.layer, known, Some(out), &mut std::io::sink());
        if packed.is_ok_and(|packed| packed.diff_id == *job.diff_id) {
            fsync(&draft)?;
            renameat(job.layer, DRAFT, job.layer, INDEX)?;
            fsync(job.layer).context(|| "write the index to disk")?;
            return Ok(true);
        }
        unlinkat(job.layer, DRAFT, AtFlags::empty())?;
    }
    Ok(false)
}

/// One damaged byte of a small index is found by its recorded digest.
fn search(job: &Job<'_>) -> Result<bool> {
    let digests = job.meta.and_then(|meta| meta.digests());
    let Some(wanted) = digests.as_ref().and_then(|digests| digests.get(INDEX)) else { return Ok(false) };
    let Ok(file) = super::open_file(job.layer, INDEX) else { return Ok(false) };
    let mut bytes = Vec::new();
    file.take(SEARCHED + 1).read_to_end(&mut bytes)?;
    if !search_byte(&mut bytes, |bytes| blake3::hash(bytes).to_hex().as_str() == wanted) {
        return Ok(false);
    }
    write_atomic_at(job.layer, INDEX, &bytes, Durability::Flushed)?;
    Ok(true)
}
