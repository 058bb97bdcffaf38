//! A tar becomes a layer: extracted, hashed and indexed in one streamed pass with bounded memory.
//!
//! Runs in the storage helper: a single-purpose process in a user namespace with the store's id mapping, pivoted into
//! the layer's wrapper directory, in which it makes `diff/`, `index` and, where needed, `owners` and `kept/`:
//!
//! ```text
//! diff/      the tree; whiteouts are overlayfs's (character device 0:0, user.overlay.opaque)
//! index      the tar without its contents: crate::image::index
//! owners     true owners of what the mapping cannot express: crate::image::owners
//! kept/<n>   files and trees that a later entry of the same archive replaced
//! ```
//!
//! What the archive says is never trusted: every path is resolved below the root's descriptor, links are not followed
//! out of it, and what tar programs read differently is refused.

mod entry;
mod flush;
mod input;
mod pending;
mod tree;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{channel, sync_channel};

use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

pub use super::tar::Limits;
pub(crate) use entry::{HOLE, SparseWriter, write_all};
pub use flush::{Flusher, flush};
pub(crate) use input::is_zero;

use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::IdMap;
use entry::Unpacker;
use input::{Input, QUEUE};

/// What came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Digest of the uncompressed stream, to its last byte.
    pub diff_id: Digest,
    /// Bytes of the uncompressed stream.
    pub size: u64,
    /// Bytes of all regular files of the archive, holes counted.
    pub content: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Entries whose owner the id mapping lacks: they belong to 0, their true owner is in `owners`.
    pub squashed: u64,
    /// Extended attributes that the file system refused; they are in the index.
    pub skipped_xattrs: u64,
    /// Device nodes outside `/dev`: in the index, not on disk.
    pub devices: u64,
    /// Directories without an entry of their own, below the root.
    pub implicit: u64,
    /// Whether the archive has an entry for the root directory.
    pub root_entry: bool,
    /// Whether the archive hides everything of lower layers (an opaque root, which overlayfs does not know): layers
    /// below must be left out of the stack.
    pub opaque_root: bool,
    /// What the user should know, one line each.
    pub warnings: Vec<String>,
}

/// How far unpacking is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Bytes of the uncompressed stream.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
}

/// Unpacks the uncompressed tar `input` into `layer`, an empty directory (see the module's page for what it gets).
/// `ids` is the mapping of the namespace this runs in; `progress` is told how far it is.
///
/// Nothing is flushed: see [`Flusher`]. After an error `layer` is rubbish. Errors: `Invalid` for what the archive says
/// (with the entry's name), `Unsupported` for entry types that layers do not have, else the system's.
pub fn unpack(
    input: &mut (dyn Read + Send),
    layer: BorrowedFd<'_>,
    ids: &IdMap,
    limits: &Limits,
    progress: &mut dyn FnMut(Passed),
) -> Result<Unpacked> {
    let index = create(layer, c"index")?;
    std::thread::scope(|scope| {
        let (chunks_in, chunks) = sync_channel(QUEUE);
        let (batches, batches_out) = sync_channel(QUEUE);
        let (free, free_out) = channel();
        scope.spawn(move || input::read(input, &chunks_in, &free_out));
        let recorder = scope.spawn(move || input::record(&batches_out, &free, index));
        let unpacker = Unpacker::new(Input::new(chunks, batches, limits, progress), layer, ids, limits);
        // Dropping the unpacker with its channels ends both threads.
        let unpacked = unpacker.and_then(Unpacker::run);
        let recorded = recorder.join().map_err(|_| Error::new(ErrorKind::Io, "the hashing thread failed"))?;
        match (unpacked, recorded) {
            (_, Err(error)) | (Err(error), _) => Err(error),
            (Ok(mut unpacked), Ok(Some((diff_id, size)))) => {
                (unpacked.diff_id, unpacked.size) = (diff_id, size);
                Ok(unpacked)
            }
            (Ok(_), Ok(None)) => Err(Error::new(ErrorKind::Io, "the layer index was not finished")),
        }
    })
}

/// Makes a file of the wrapper directory.
fn create(layer: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(layer, name, flags, Mode::from_raw_mode(0o600));
    Ok(File::from(file.context(|| format!("make the layer's {}", name.to_string_lossy()))?))
}
