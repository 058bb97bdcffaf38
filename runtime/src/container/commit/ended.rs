//! Commit of a container that does not run: its read-write layer is hashed where it is, and moved into the store.
//!
//! ```text
//! containers/<id>/layer/{diff/, index, owners}   packed: what the index and the digest come from
//! containers/<id>/next/diff/                     the layer that comes after, with the root's attributes
//! ```
//!
//! 1. pack: `index` and `meta.json` are written, `next/` made; all of it flushed. The files in `diff/` are on disk: the
//!    unmount that ended the container's last run waited for them
//! 2. note: the record says which layer is about to be published (it keeps that layer from being collected)
//! 3. `layer/` → `layers/<diff-id>/`, flushed; or out of the way, where the store has that layer already
//! 4. `next/` → `layer/`
//! 5. record: the stack with the layer on top, without the note; flushed with the directory, and so with the move before
//!
//! A crash before 2 leaves the container as it was; after it, [`recover`] finishes or forgets, by what is there. Whoever
//! starts a container or reads its layers has had it recovered, under its lock.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, fsync, mkdirat, openat};

use super::merge::merge;
use super::{CommitOptions, Stack, check_depth, meta_of};
use crate::container::engine::Engine;
use crate::container::lifecycle::containers;
use crate::container::owners::{OWNERS, Recorded};
use crate::container::record::{Container, PendingCommit, Record};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Durability, Staging};
use crate::idmap::helper::{self, Work};
use crate::image::changes::RootAttrs;
use crate::image::config::History;
use crate::image::pack::{Known, Packed, pack_layer};
use crate::image::store::{LayerMeta, MADE_BY, Published};
use crate::paths::Root;

/// Layers of its own that a container keeps.
const MOST_OWN: usize = 32;

pub(super) const LAYER: &str = "layer";
const NEXT: &str = "next";
const INDEX: &str = "index";

/// Commits the container whose lock the caller holds, and whose record was read under it and recovered.
pub(super) fn commit(
    engine: &Engine,
    container: &Container,
    record: &Record,
    entry: &History,
    options: &CommitOptions,
) -> Result<Stack> {
    let clock = options.clock;
    let mut entry = entry.clone();
    let mut stack = Stack { layers: record.layers.clone(), history: record.history.clone() };
    // Before its first use the read-write layer has nothing in it, not even the root's attributes.
    let packed = match record.has_layer() {
        true => Some(pack(engine, container, record, options)?).filter(|packed| !packed.empty),
        false => None,
    };
    match packed {
        Some(packed) => {
            adopt(engine, container, &packed, &entry)?;
            stack.layers.push(packed.diff_id);
        }
        // The topmost layer is what this commit would have made: its entry takes the place of the one before.
        None if !record.history.is_empty() => drop(stack.history.pop()),
        None => entry.empty_layer = true,
    }
    stack.history.push(entry);
    if stack.layers.len() - record.image_depth > MOST_OWN {
        stack = merge_own(engine, container, record.image_depth, stack, clock)?;
    }
    Ok(stack)
}

/// So many commits of one container make so many layers: they become one. The record changes at once; the layers are
/// collected when no image needs them.
fn merge_own(
    engine: &Engine,
    container: &Container,
    depth: usize,
    stack: Stack,
    clock: Option<Timestamp>,
) -> Result<Stack> {
    let merged = merge(engine, &stack, depth, clock)?;
    containers(engine).update(&container.id, Durability::Flushed, |record| {
        record.layers.clone_from(&merged.layers);
        record.history = merged.history.iter().filter(|entry| !entry.empty_layer).cloned().collect();
        Ok(())
    })?;
    Ok(merged)
}

/// Layers of the image when the container has one more: so many of its own that they are merged are one.
fn depth_with_one_more(record: &Record) -> usize {
    let layers = record.layers.len() + 1;
    if layers - record.image_depth > MOST_OWN { record.image_depth + 1 } else { layers }
}

fn pack(engine: &Engine, container: &Container, record: &Record, options: &CommitOptions) -> Result<Packed> {
    let fits = || check_depth(depth_with_one_more(record), options.squash);
    let directory = file::open_dir(container.paths.path())?;
    let top = top_layer(engine, &record.layers)?;
    let recorded = Recorded::open(engine, &record.layers)?;
    helper::run(&engine.map, directory.as_fd(), &mut |_| {}, |work| {
        let layer = open(work.root.as_fd(), LAYER)?;
        // Its files are the container's until all is done: they keep their times.
        let times = Times { clock: options.clock, in_tree: false };
        let packed = pack_here(layer.as_fd(), top.as_ref(), &recorded, (times, &[]), Durability::Flushed)?;
        match (packed.empty, fits()) {
            (true, _) => remove_file(layer.as_fd(), INDEX)?,
            (false, Err(error)) => {
                // The container is as it was.
                remove_file(layer.as_fd(), INDEX)?;
                remove_file(layer.as_fd(), OWNERS)?;
                return Err(error);
            }
            (false, Ok(())) => {
                let meta = meta_of(&packed, options.clock)?;
                write_meta(layer.as_fd(), meta, record, Durability::Flushed).context(|| "write the layer's facts")?;
                fsync(&layer).context(|| "write the layer to disk")?;
                make_next(work, layer.as_fd())?;
            }
        }
        Ok(packed)
    })
}

/// The directory of the layer from which a container's root has its attributes.
pub(super) fn top_layer(engine: &Engine, stack: &[Digest]) -> Result<Option<OwnedFd>> {
    stack.last().map(|digest| file::open_dir(&engine.store.layer_path(digest))).transpose()
}

fn remove_file(directory: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// In the storage helper: writes the facts of a layer of this container beside it.
pub(super) fn write_meta(layer: BorrowedFd<'_>, meta: LayerMeta, of: &Record, durability: Durability) -> Result<()> {
    let mut meta = meta.with_digests(layer)?;
    // Should the record be damaged, it is found again by this.
    meta.set(MADE_BY, &(&of.id, of.layers.len()))?;
    // An interrupted commit may have left one.
    remove_file(layer, Root::LAYER_META)?;
    file::write_new_at(layer, Root::LAYER_META, &file::to_json(&meta)?, durability)
}

/// What becomes of the files' times; as in [`Known`].
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) clock: Option<Timestamp>,
    pub(super) in_tree: bool,
}

/// In the storage helper: hashes the layer in this wrapper directory, and writes index and owners beside it. `implicit`: see
/// [`Known`].
pub(super) fn pack_here(
    layer: BorrowedFd<'_>,
    top: Option<&OwnedFd>,
    recorded: &Recorded,
    (times, implicit): (Times, &[Vec<u8>]),
    durability: Durability,
) -> Result<Packed> {
    let seed = top.map(|top| RootAttrs::read(open(top.as_fd(), "diff")?.as_fd())).transpose()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let index = openat(layer, INDEX, flags, Mode::from_raw_mode(0o600)).context(|| "make the layer's index")?;
    let clock = times.clock.map(Timestamp::as_second);
    let find = |path: &[u8]| recorded.find(path);
    let out = File::from(index.try_clone()?);
    let known = Known { seed: seed.as_ref(), recorded: &find, clock, in_tree: times.in_tree, implicit };
    let packed = pack_layer(layer, known, Some(out), &mut std::io::sink())?;
    if !packed.empty {
        if durability == Durability::Flushed {
            fsync(&index).context(|| "write the layer's index to disk")?;
        }
        recorded.save(layer, durability)?;
    }
    Ok(packed)
}

/// In the storage helper: the read-write layer that comes after this one sees the same root.
fn make_next(work: &Work, layer: BorrowedFd<'_>) -> Result<()> {
    let root = RootAttrs::read(open(layer, "diff")?.as_fd())?;
    make_fresh(work.root.as_fd(), NEXT, &root).context(|| "make the next read-write layer")
}

fn make_fresh(container: BorrowedFd<'_>, name: &str, root: &RootAttrs) -> Result<()> {
    // What an interrupted commit left holds nothing.
    for leftover in [format!("{name}/diff"), name.to_owned()] {
        match rustix::fs::unlinkat(container, leftover, rustix::fs::AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    mkdirat(container, name, Mode::from_raw_mode(0o700))?;
    let wrapper = open(container, name)?;
    mkdirat(&wrapper, "diff", Mode::from_raw_mode(0o700))?;
    let diff = open(wrapper.as_fd(), "diff")?;
    root.apply(diff.as_fd())?;
    fsync(&diff)?;
    fsync(&wrapper)?;
    Ok(())
}

pub(super) fn open(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty()).context(|| format!("open {name}"))
}

/// Steps 2 to 5.
fn adopt(engine: &Engine, container: &Container, packed: &Packed, entry: &History) -> Result<()> {
    let note = PendingCommit { layer: packed.diff_id.clone(), entry: entry.clone() };
    containers(engine).update(&container.id, Durability::Flushed, |record| {
        record.pending_commit = Some(note);
        Ok(())
    })?;
    let layer = container.paths.layer();
    let grave = match engine.store.place_layer(&layer, &packed.diff_id)? {
        Published::Moved => None,
        Published::Existing => {
            let grave = Staging::unused_path(engine.root())?;
            rustix::fs::rename(&layer, &grave).context(|| "take the read-write layer away")?;
            Some(grave)
        }
    };
    finish(engine, container, true)?;
    // It is in the store twice, or swept later.
    if let Some(grave) = grave {
        let _ = engine.remove_tree(&grave);
    }
    Ok(())
}

/// Steps 4 and 5: the noted layer goes onto the stack.
fn finish(engine: &Engine, container: &Container, has_next: bool) -> Result<Record> {
    let directory = container.paths.path();
    if has_next {
        rustix::fs::rename(directory.join(NEXT), container.paths.layer())
            .context(|| "put the next read-write layer into its place")?;
    }
    containers(engine).update(&container.id, Durability::Flushed, |record| {
        if let Some(PendingCommit { layer, entry }) = record.pending_commit.take() {
            record.layers.push(layer);
            record.history.push(entry);
        }
        Ok(())
    })
}

/// What is to be done about a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// The layer never went into the store, or went there by another way: the container still has its own.
    Forget,
    /// The layer is in the store; `make_layer`: the next read-write layer is not in its place yet.
    Finish { make_layer: bool },
    /// Neither is there.
    Lost,
}

/// The remedy by what is there: the noted layer in the store, the container's `layer/`, and the index in that, which is
/// there from the packing on until the layer is moved.
fn remedy(published: bool, layer: bool, packed: bool) -> Remedy {
    match (published, layer, packed) {
        (true, false, _) => Remedy::Finish { make_layer: true },
        (true, true, false) => Remedy::Finish { make_layer: false },
        (_, true, _) => Remedy::Forget,
        (false, false, _) => Remedy::Lost,
    }
}

/// Ends a commit that was interrupted, so that the container has all that it had. The caller holds the container's lock
/// and read the record under it; the new record.
pub fn recover(engine: &Engine, container: &Container, record: Record) -> Result<Record> {
    let Some(PendingCommit { layer: digest, .. }) = &record.pending_commit else { return Ok(record) };
    let layer = container.paths.layer();
    let published = engine.store.layer_exists(digest)?;
    match remedy(published, file::exists(&layer)?, file::exists(&layer.join(INDEX))?) {
        Remedy::Forget => containers(engine).update(&container.id, Durability::Flushed, |record| {
            record.pending_commit = None;
            Ok(())
        }),
        Remedy::Finish { make_layer } => {
            if make_layer && !file::exists(&container.paths.path().join(NEXT))? {
                make_next_from(engine, container, digest)?;
            }
            finish(engine, container, make_layer)
        }
        Remedy::Lost => {
            let text = format!("the read-write layer of container {} is gone", container.id.short());
            Err(Error::new(ErrorKind::Corrupt, text))
        }
    }
    .context(|| format!("end the interrupted commit of container {}", container.id.short()))
}

fn make_next_from(engine: &Engine, container: &Container, digest: &Digest) -> Result<()> {
    let directory = file::open_dir(container.paths.path())?;
    let published = file::open_dir(&engine.store.layer_path(digest))?;
    helper::run(&engine.map, directory.as_fd(), &mut |_| {}, |work| make_next(work, published.as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_commit_is_finished_once_the_layer_is_moved_and_forgotten_before() {
        for (published, layer, packed, expected) in [
            // Noted, not moved.
            (false, true, true, Remedy::Forget),
            // Noted; the store had the layer already, and the own one was not taken away yet.
            (true, true, true, Remedy::Forget),
            // Moved, or taken away.
            (true, false, false, Remedy::Finish { make_layer: true }),
            // The next one is in its place.
            (true, true, false, Remedy::Finish { make_layer: false }),
            (false, false, false, Remedy::Lost),
        ] {
            assert_eq!(remedy(published, layer, packed), expected, "{published} {layer} {packed}");
        }
    }
}
