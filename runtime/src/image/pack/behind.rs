//! What happens to a tar's bytes behind the thread that reads the files, each in a thread of its own: SHA-256 of the whole
//! tar, and the layer's index with BLAKE3 of each file's content.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::image::index;

const CHUNK: usize = 256 << 10;
/// Chunks that wait for a thread.
const QUEUE: usize = 3;

/// A piece of the tar.
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// How many of them count.
    pub(super) filled: usize,
    /// What they are, in order; filled in only where an index is written.
    pub(super) parts: Vec<Part>,
}

/// So many bytes, or what has just ended.
pub(super) enum Part {
    Head(usize),
    /// An entry's header blocks; whether content follows.
    Entry(bool),
    Content(usize),
    ContentEnd,
    Raw(usize),
    /// A directory that has no entry.
    Implicit(Vec<u8>),
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; CHUNK], filled: 0, parts: Vec::new() }
    }

    /// Stands in the place of one that is passed on; it has no room.
    pub(super) fn empty() -> Self {
        Self { bytes: Vec::new(), filled: 0, parts: Vec::new() }
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// What is free, at most `most` bytes of it.
    pub(super) fn room(&mut self, most: u64) -> &mut [u8] {
        let free = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(free.len());
        free.get_mut(..most).unwrap_or_default()
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.parts.clear();
    }
}

/// The way of the chunks to the threads, and back when both are done with them.
pub(super) struct Behind {
    hashing: SyncSender<Arc<Chunk>>,
    indexing: Option<SyncSender<Arc<Chunk>>>,
    free: Receiver<Chunk>,
}

/// The threads' results, once [`Behind`] is dropped.
pub(super) struct Results<'scope> {
    hashing: ScopedJoinHandle<'scope, Digest>,
    indexing: Option<ScopedJoinHandle<'scope, Result<()>>>,
}

impl Behind {
    /// Starts the threads; `index` gets the index.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        index: Option<File>,
    ) -> Result<(Self, Results<'scope>)> {
        let (done, free) = channel();
        let index = index.map(index::Writer::new).transpose()?;
        let (indexing, index_thread) = index
            .map(|index| {
                let (indexing, chunks) = sync_channel(QUEUE);
                let done = done.clone();
                (indexing, scope.spawn(move || write_index(index, &chunks, &done)))
            })
            .unzip();
        let (hashing, chunks) = sync_channel(QUEUE);
        let hash_thread = scope.spawn(move || hash(&chunks, &done));
        let results = Results { hashing: hash_thread, indexing: index_thread };
        Ok((Self { hashing, indexing, free }, results))
    }

    /// Whether the chunks' parts are asked for.
    pub(super) fn indexes(&self) -> bool {
        self.indexing.is_some()
    }

    /// Passes a chunk on, and returns an empty one.
    pub(super) fn pass(&self, chunk: Chunk) -> Result<Chunk> {
        let chunk = Arc::new(chunk);
        // One that has ended has failed; its result says why.
        let ended = || Error::new(ErrorKind::Io, "the thread behind the tar has ended");
        if let Some(indexing) = &self.indexing {
            indexing.send(Arc::clone(&chunk)).map_err(|_| ended())?;
        }
        self.hashing.send(chunk).map_err(|_| ended())?;
        Ok(self.free.try_recv().unwrap_or_else(|_| Chunk::new()))
    }
}

impl Results<'_> {
    /// The tar's digest; the index is complete.
    pub(super) fn join(self) -> Result<Digest> {
        let failed = |_| Error::new(ErrorKind::Io, "the thread behind the tar failed");
        let digest = self.hashing.join().map_err(failed)?;
        self.indexing.map(|thread| thread.join().map_err(failed)).transpose()?.transpose()?;
        Ok(digest)
    }
}

fn hash(chunks: &Receiver<Arc<Chunk>>, done: &Sender<Chunk>) -> Digest {
    let mut hasher = Hasher::new();
    while let Ok(chunk) = chunks.recv() {
        hasher.update(chunk.filled());
        give_back(chunk, done);
    }
    hasher.finish()
}

fn write_index(mut index: index::Writer<File>, chunks: &Receiver<Arc<Chunk>>, done: &Sender<Chunk>) -> Result<()> {
    while let Ok(chunk) = chunks.recv() {
        let mut rest = chunk.filled();
        let mut take = |count: usize| {
            let (now, later) = rest.split_at_checked(count).unwrap_or_default();
            rest = later;
            now
        };
        for part in &chunk.parts {
            match *part {
                Part::Implicit(ref path) => index.implicit(path)?,
                Part::Head(count) => index.head(take(count))?,
                Part::Entry(content) => index.entry(content, None)?,
                Part::Content(count) => index.content(take(count)),
                Part::ContentEnd => index.content_end()?,
                Part::Raw(count) => index.raw(take(count))?,
            }
        }
        give_back(chunk, done);
    }
    index.finish().map(drop)
}

/// The last thread that had the chunk gives it back.
fn give_back(chunk: Arc<Chunk>, done: &Sender<Chunk>) {
    if let Some(mut chunk) = Arc::into_inner(chunk) {
        chunk.clear();
        // The other side may have ended.
        let _ = done.send(chunk);
    }
}
