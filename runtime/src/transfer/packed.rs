//! Layers as registries get them: rebuilt and compressed by a helper, hashed on the way.
//!
//! The helper is pivoted into the folder of all layers and packs those that it is told to, one after the other. The same
//! layer gives the same bytes each time: where a registry lost some that are not at hand any more, they are made again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use flate2::write::GzEncoder;
use rustix::fs::{Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::feed::{Feed, Feeder};
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::IdMap;
use crate::idmap::helper::{self, Helper, Work};
use crate::image::index::rebuild;
use crate::image::store::Store;
use crate::registry::manifest::{OCI_LAYER_GZIP, OCI_LAYER_ZSTD};

/// Level 6, which others use, is three times as slow as level 1, which makes a Debian a third larger; this is between.
const GZIP_LEVEL: u32 = 4;
/// `zstd`'s own.
const ZSTD_LEVEL: i32 = 3;
const PIPE: usize = 1 << 20;
const PIECE: usize = 64 << 10;
/// Bytes that are kept at hand: more than what is on its way when a line breaks.
const WINDOW: usize = 16 << 20;

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952, which everybody reads.
    #[default]
    Gzip,
    /// RFC 8878: smaller and faster to unpack; docker reads it from version 23 on.
    Zstd,
}

impl Format {
    /// The media type of such layers.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => OCI_LAYER_GZIP,
            Self::Zstd => OCI_LAYER_ZSTD,
        }
    }

    fn order(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// A helper that packs, and the ways to it.
pub(super) struct Packer {
    helper: Helper<()>,
    orders: File,
    feed: Feed,
    /// It ended before a layer did.
    lost: bool,
}

impl Packer {
    /// The caller has one thread.
    pub(super) fn start(store: &Store, map: &IdMap) -> Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe");
        let ((told, orders), (out, into)): ((OwnedFd, OwnedFd), (OwnedFd, OwnedFd)) = (pipe()?, pipe()?);
        // A user with many pipes gets smaller ones.
        let _ = fcntl_setpipe_size(&into, PIPE);
        let layers = file::open_dir(&store.root().layers())?;
        let helper = helper::start_in(map, layers.as_fd(), &[told.as_fd(), into.as_fd()], |work| {
            pack_all(work, File::from(told.try_clone()?), Feeder(File::from(into.try_clone()?)))
        })?;
        Ok(Self { helper, orders: File::from(orders), feed: Feed::new(File::from(out)), lost: false })
    }

    /// Ends the helper, after this outcome of its last layer. Where the layer failed because of the helper, that says why.
    pub(super) fn end(self, outcome: Result<()>) -> Result<()> {
        let Self { helper, orders, feed, lost } = self;
        drop((orders, feed));
        let ended = helper.finish(&mut |_| {});
        match outcome {
            Err(_) if lost && ended.is_err() => ended,
            Err(error) => Err(error),
            Ok(()) => ended,
        }
    }
}

/// The helper's work.
fn pack_all(work: &Work, orders: File, mut feeder: Feeder) -> Result<()> {
    let unread = || Error::new(ErrorKind::Invalid, "an order that cannot be read");
    for order in BufReader::new(orders).lines() {
        let order = order?;
        let (format, hex) = order.split_once(' ').ok_or_else(unread)?;
        let diff_id = Digest::from_hex(hex)?;
        pack(work, format, &diff_id, &mut feeder)
            .map_err(|error| error.context(format!("layer {}", diff_id.short())))?;
    }
    Ok(())
}

fn pack(work: &Work, format: &str, diff_id: &Digest, feeder: &mut Feeder) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let layer = openat(&work.root, diff_id.hex(), flags | OFlags::DIRECTORY, Mode::empty());
    let layer = layer.context(|| "open the layer's directory")?;
    let index = openat(&layer, "index", flags, Mode::empty()).context(|| "open the layer's index")?;
    let index = File::from(index);
    feeder.begin(0)?;
    let mut pieces = BufWriter::with_capacity(PIECE, Pieces(feeder));
    let compressed = || "compress the layer";
    let rebuilt = if format == Format::Zstd.order() {
        let mut packed = zstd::stream::write::Encoder::new(&mut pieces, ZSTD_LEVEL).context(compressed)?;
        let rebuilt = rebuild(&index, layer.as_fd(), &mut packed)?;
        packed.finish().context(compressed)?;
        rebuilt
    } else {
        let mut packed = GzEncoder::new(&mut pieces, flate2::Compression::new(GZIP_LEVEL));
        let rebuilt = rebuild(&index, layer.as_fd(), &mut packed)?;
        packed.finish().context(compressed)?;
        rebuilt
    };
    pieces.flush().context(compressed)?;
    drop(pieces);
    if rebuilt.diff_id != *diff_id {
        return Err(Error::new(ErrorKind::Corrupt, "the store's copy is damaged"));
    }
    Ok(feeder.end()?)
}

/// Puts what is written into the pipe.
struct Pieces<'a>(&'a mut Feeder);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.data(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer's compressed bytes.
pub(super) struct Packed<'a> {
    packer: &'a mut Packer,
    order: String,
    /// Told where the reader is; gives `false` to end it.
    progress: &'a dyn Fn(u64) -> bool,
    /// The last bytes of those that were made.
    window: VecDeque<u8>,
    hasher: Hasher,
    made: u64,
    /// Where the reader is.
    at: u64,
}

impl<'a> Packed<'a> {
    /// Has the packer begin with a layer.
    pub(super) fn new(
        packer: &'a mut Packer,
        (diff_id, format): (&Digest, Format),
        progress: &'a dyn Fn(u64) -> bool,
    ) -> Result<Self> {
        let order = format!("{} {}\n", format.order(), diff_id.hex());
        let mut packed =
            Self { packer, order, progress, window: VecDeque::new(), hasher: Hasher::new(), made: 0, at: 0 };
        packed.begin()?;
        Ok(packed)
    }

    /// Digest and number of the bytes, once all were read.
    pub(super) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.made)
    }

    fn begin(&mut self) -> io::Result<()> {
        let begun = self.packer.orders.write_all(self.order.as_bytes()).and_then(|()| {
            let begun = self.packer.feed.next().map_err(io::Error::other)?;
            begun.ok_or_else(|| io::Error::other("the storage helper ended"))
        });
        self.packer.lost |= begun.is_err();
        (self.made, self.at) = (0, 0);
        self.window.clear();
        self.hasher = Hasher::new();
        // Kinds of errors are the line's; this is none of them.
        begun.map(|_| ()).map_err(io::Error::other)
    }

    /// More bytes from the helper. 0: it is the end.
    fn make(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.packer.feed.read(into).map_err(|error| {
            self.packer.lost = true;
            io::Error::other(error)
        })?;
        self.hasher.update(&into[..got]);
        self.window.extend(&into[..got]);
        let spare = self.window.len().saturating_sub(WINDOW);
        self.window.drain(..spare);
        self.made += got as u64;
        Ok(got)
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !(self.progress)(self.at) {
            return Err(super::crew::given_up().into());
        }
        let behind = (self.made - self.at) as usize;
        let got = match behind {
            0 => self.make(into)?,
            _ => {
                let kept = self.window.range(self.window.len() - behind..);
                into.iter_mut().zip(kept).map(|(to, from)| *to = *from).count()
            }
        };
        self.at += got as u64;
        Ok(got)
    }
}

/// Only from the start, and not beyond what was read before.
impl Seek for Packed<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) if to <= self.made => to,
            SeekFrom::Current(0) => return Ok(self.at),
            _ => return Err(io::Error::other("a place that was not reached yet")),
        };
        if self.made - to > self.window.len() as u64 {
            tracing::debug!(order = self.order.trim_end(), "packing again");
            io::copy(&mut self.packer.feed, &mut io::sink()).inspect_err(|_| self.packer.lost = true)?;
            self.begin()?;
            let skipped = io::copy(&mut self.by_ref().take(to), &mut io::sink())?;
            if skipped < to {
                return Err(io::Error::other("the layer became shorter"));
            }
        }
        self.at = to;
        Ok(to)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.at)
    }
}
