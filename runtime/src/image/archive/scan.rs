//! One pass over an archive that may be a pipe: layers are unpacked as they pass, documents are put aside.
//!
//! Runs in the storage helper, pivoted into the directory in which it makes `documents/<n>` and `<n>/`, a directory for
//! each layer. Memory does not grow with the archive: an entry is a layer, a document, or not looked at.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use serde::{Deserialize, Serialize};

use super::documents::{self, DOCUMENT_MAX};
use super::{INDEX, LAYOUT, MANIFEST, REPOSITORIES, SINCE};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::IdMap;
use crate::idmap::helper::Work;
use crate::image::compress::{Compression, Growth, Windows, decompress_within};
use crate::image::tar::gather::{Gathered, Source, gather};
use crate::image::tar::parse::parse;
use crate::image::tar::{BLOCK, Head, Kind, Limits, invalid, is_header, join, normalise, padding, shown, split};
use crate::image::unpack::{Flusher, Passed, Unpacked, unpack};

/// Entries of an archive of images; layers among them; bytes of its documents.
const MOST_ENTRIES: usize = 200_000;
const MOST_LAYERS: usize = 5_000;
const MOST_DOCUMENT_BYTES: usize = 64 << 20;
/// Bytes between two reports.
const REPORT: u64 = 1 << 20;

/// What an archive has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Documents by their path; each is in `documents/` under this number.
    pub(super) documents: BTreeMap<String, usize>,
    /// Layers by their path.
    pub(super) layers: BTreeMap<String, Layer>,
    /// Symbolic and hard links, with where they lead inside the archive.
    pub(super) links: BTreeMap<String, String>,
}

/// A layer that an archive has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Layer {
    /// It is in the directory of this number.
    Unpacked { number: usize, blob: Digest, size: u64, compression: Compression, unpacked: Unpacked },
    /// The store has it, so it was not unpacked.
    Held { diff_id: Digest, size: u64 },
}

/// The layers of the store, by diff ID and by the digests of their known compressed forms.
pub(super) type Held = HashMap<Digest, Digest>;

/// Reads the whole archive, and flushes what was made of it.
pub(super) fn scan(work: &Work, archive: File, held: &Held, map: &IdMap) -> Result<Contents> {
    let growth = Growth::default();
    let source = growth.source(archive);
    let (mut stream, compression) = decompress_within(Box::new(source), Windows::OUTER, &growth)?;
    let windows = if compression == Compression::None { Windows::LAYER } else { Windows::INNER };
    mkdirat(&work.root, "documents", Mode::from_raw_mode(0o700)).context(|| "make a directory")?;
    let mut told = 0;
    let mut flusher = Flusher::new(work.root.as_fd())?;
    let mut report = |passed| {
        flusher.passed(passed);
        let now = growth.read();
        if now - told >= REPORT {
            told = now;
            work.report(now);
        }
    };
    let place = Place { work, map, windows, growth: &growth };
    let mut scan = Scan { place, held, found: Contents::default(), document_bytes: 0, seen: 0 };
    scan.run(&mut *stream, &mut report)?;
    // What follows is padding, and a compressed file's end is checked.
    let left = io::copy(&mut stream.by_ref().take(Limits::default().trailer + 1), &mut io::sink())?;
    if left > Limits::default().trailer {
        return Err(invalid(format!(
            "more than {} bytes follow the archive's end, the limit",
            Limits::default().trailer
        )));
    }
    flush_all(flusher, scan.found.layers.values())?;
    Ok(scan.found)
}

/// Makes durable what was unpacked.
fn flush_all<'a>(flusher: Flusher, layers: impl Iterator<Item = &'a Layer>) -> Result<()> {
    let entries = layers.map(|layer| match layer {
        Layer::Unpacked { unpacked, .. } => unpacked.entries + 4,
        Layer::Held { .. } => 0,
    });
    flusher.finish(entries.sum())
}

/// Unpacks layers that lie in files, and flushes them; the first one's directory has the number `first`.
pub(super) fn unpack_files(
    work: &Work,
    first: usize,
    files: &[(&str, OwnedFd)],
    map: &IdMap,
) -> Result<BTreeMap<String, Layer>> {
    let growth = Growth::default();
    let place = Place { work, map, windows: Windows::LAYER, growth: &growth };
    let mut layers = BTreeMap::new();
    let mut told = 0;
    let mut flusher = Flusher::new(work.root.as_fd())?;
    for (number, (path, file)) in (first..).zip(files) {
        let mut file = growth.source(File::from(file.try_clone()?));
        let mut report = |passed| {
            flusher.passed(passed);
            let now = growth.read();
            if now - told >= REPORT {
                told = now;
                work.report(now);
            }
        };
        let start = head_of(&mut file)?;
        if nature(&start) != Nature::Layer {
            return Err(no_layer().context(format!("layer {}", shown(path.as_bytes()))));
        }
        let layer = place.unpack(number, start, &mut file, &mut report);
        layers.insert((*path).to_owned(), layer.context(|| format!("layer {}", shown(path.as_bytes())))?);
    }
    flush_all(flusher, layers.values())?;
    Ok(layers)
}

fn no_layer() -> Error {
    invalid("it is no tar archive")
}

/// The first block, or what there is of it.
fn head_of(input: &mut dyn Read) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(BLOCK);
    input.take(BLOCK as u64).read_to_end(&mut start).context(|| "read the archive")?;
    Ok(start)
}

/// What an entry is by its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Layer,
    Document,
    Other,
}

fn nature(start: &[u8]) -> Nature {
    let is_tar = start.first_chunk::<BLOCK>().is_some_and(|block| {
        // A layer without entries begins with its end.
        block.iter().all(|byte| *byte == 0) || is_header(block)
    });
    match start.trim_ascii_start().first() {
        _ if is_tar || Compression::of(start) != Compression::None => Nature::Layer,
        Some(b'{' | b'[') => Nature::Document,
        _ => Nature::Other,
    }
}

/// Where layers are made, and how.
struct Place<'a> {
    work: &'a Work,
    map: &'a IdMap,
    windows: Windows,
    growth: &'a Growth,
}

impl Place<'_> {
    /// Unpacks what begins with `start` and goes on with `rest`, to its end.
    fn unpack(
        &self,
        number: usize,
        start: Vec<u8>,
        rest: &mut (dyn Read + Send),
        report: &mut dyn FnMut(Passed),
    ) -> Result<Layer> {
        let name = number.to_string();
        mkdirat(&self.work.root, &name, Mode::from_raw_mode(0o700)).context(|| "make the layer's directory")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.work.root, &name, flags, Mode::empty())?;
        let compressed = Compression::of(&start) != Compression::None;
        let mut input =
            Hashed { inner: io::Cursor::new(start).chain(rest), hasher: compressed.then(Hasher::new), size: 0 };
        let (mut tar, compression) = decompress_within(Box::new(&mut input), self.windows, self.growth)?;
        let unpacked = unpack(&mut *tar, directory.as_fd(), self.map, &Limits::of_known(), report)?;
        drop(tar);
        io::copy(&mut input, &mut io::sink())?;
        let blob = input.hasher.map_or_else(|| unpacked.diff_id.clone(), Hasher::finish);
        Ok(Layer::Unpacked { number, blob, size: input.size, compression, unpacked })
    }
}

/// Hashes what passes, where that is not done elsewhere.
struct Hashed<R> {
    inner: R,
    hasher: Option<Hasher>,
    size: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(into)?;
        self.size += got as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(into.get(..got).unwrap_or_default());
        }
        Ok(got)
    }
}

/// The content of an entry.
struct Body<'a> {
    stream: &'a mut (dyn Read + Send),
    left: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let got = self.stream.read(into.get_mut(..most).unwrap_or_default())?;
        if got == 0 {
            return Err(invalid("the archive ends inside the content").into());
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// The blocks of the archive's own headers.
struct Blocks<'a>(&'a mut (dyn Read + Send));

impl Source for Blocks<'_> {
    fn take(&mut self, into: &mut Vec<u8>, count: usize) -> Result<usize> {
        Ok((&mut *self.0).take(count as u64).read_to_end(into)?)
    }
}

struct Scan<'a> {
    place: Place<'a>,
    held: &'a Held,
    found: Contents,
    document_bytes: usize,
    seen: usize,
}

impl Scan<'_> {
    fn run(&mut self, stream: &mut (dyn Read + Send), report: &mut dyn FnMut(Passed)) -> Result<()> {
        let limits = Limits::default();
        let mut blocks = Vec::with_capacity(4 * BLOCK);
        loop {
            let gathered = gather(&mut Blocks(stream), &mut blocks, &limits).map_err(|error| self.named(error))?;
            report(Passed::default());
            match gathered {
                Gathered::Entry => {}
                Gathered::Global => continue,
                Gathered::End if self.seen == 0 => return Err(invalid("not a tar archive (it is empty)")),
                Gathered::Zeros | Gathered::End => return Ok(()),
            }
            self.seen += 1;
            if self.seen > MOST_ENTRIES {
                return Err(invalid(format!("the archive has more than {MOST_ENTRIES} entries, the limit")));
            }
            let head = parse(&mut blocks, &limits)?;
            let mut body = Body { stream: &mut *stream, left: head.stored };
            self.entry(&head, &mut body, report)
                .map_err(|error| error.context(format!("entry {}", shown(&head.path))))?;
            let mut rest = Body { left: body.left + padding(head.stored) as u64, stream: &mut *stream };
            io::copy(&mut rest, &mut io::sink()).context(|| format!("entry {}", shown(&head.path)))?;
        }
    }

    fn named(&self, error: Error) -> Error {
        match self.seen {
            0 if error.kind() == ErrorKind::Invalid && error.hint_text().is_none() => invalid("not a tar archive"),
            _ => error,
        }
    }

    fn entry(&mut self, head: &Head, body: &mut Body<'_>, report: &mut dyn FnMut(Passed)) -> Result<()> {
        // No document can name what is not UTF-8.
        let Ok(path) = String::from_utf8(head.path.clone()) else { return Ok(()) };
        let target = match head.kind {
            Kind::File => return self.file(path, head, body, report),
            Kind::Symlink => link_target(&head.path, &head.link)?,
            Kind::Hardlink => head.link.clone(),
            _ => return Ok(()),
        };
        self.once(&path)?;
        if let Ok(target) = String::from_utf8(target) {
            self.found.links.insert(path, target);
        }
        Ok(())
    }

    fn file(&mut self, path: String, head: &Head, body: &mut Body<'_>, report: &mut dyn FnMut(Passed)) -> Result<()> {
        self.once(&path)?;
        if head.segments.is_some() {
            return Ok(());
        }
        if let Some(diff_id) = held(&path, self.held) {
            self.found.layers.insert(path, Layer::Held { diff_id, size: head.stored });
            return Ok(());
        }
        let start = head_of(body)?;
        match nature(&start) {
            Nature::Layer => {
                let number = self.found.layers.len();
                if number >= MOST_LAYERS {
                    return Err(invalid(format!("the archive has more than {MOST_LAYERS} layers, the limit")));
                }
                let layer = self.place.unpack(number, start, body, report)?;
                self.found.layers.insert(path, layer);
                Ok(())
            }
            Nature::Document => self.document(path, start, body),
            Nature::Other => Ok(()),
        }
    }

    fn document(&mut self, path: String, start: Vec<u8>, body: &mut Body<'_>) -> Result<()> {
        let named = matches!(path.as_str(), MANIFEST | INDEX | SINCE | LAYOUT | REPOSITORIES);
        let size = start.len() as u64 + body.left;
        if size > DOCUMENT_MAX as u64 {
            return match named {
                true => Err(invalid(format!("a document of more than {DOCUMENT_MAX} bytes, the limit"))),
                false => Ok(()),
            };
        }
        let mut bytes = start;
        body.read_to_end(&mut bytes)?;
        if !named && !documents::is_of_use(&bytes) {
            return Ok(());
        }
        self.document_bytes += bytes.len();
        if self.document_bytes > MOST_DOCUMENT_BYTES {
            return Err(invalid(format!("documents of more than {MOST_DOCUMENT_BYTES} bytes in all, the limit")));
        }
        let number = self.found.documents.len();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.place.work.root, format!("documents/{number}"), flags, Mode::from_raw_mode(0o600));
        File::from(file.context(|| "keep a document")?).write_all(&bytes).context(|| "keep a document")?;
        self.found.documents.insert(path, number);
        Ok(())
    }

    /// Readers differ in which of two entries counts.
    fn once(&self, path: &str) -> Result<()> {
        let Contents { documents, layers, links } = &self.found;
        match documents.contains_key(path) || layers.contains_key(path) || links.contains_key(path) {
            true => Err(invalid("it is in the archive twice")),
            false => Ok(()),
        }
    }
}

/// The diff ID of the layer of the store that a file is by its name: that of a digest.
pub(super) fn held(path: &str, held: &Held) -> Option<Digest> {
    let name = path.rsplit('/').next()?;
    held.get(&Digest::from_hex(name.strip_suffix(".tar").unwrap_or(name)).ok()?).cloned()
}

/// Where a symbolic link leads, which must be inside the archive.
fn link_target(path: &[u8], link: &[u8]) -> Result<Vec<u8>> {
    if link.starts_with(b"/") {
        return Err(invalid(format!("a link out of the archive, to {}", shown(link))));
    }
    let (directory, _) = split(path).unwrap_or_default();
    normalise(&join(directory, link), &Limits::default())
}
