//! Compressed archives, recognised by content: gzip, zstd, xz and bzip2, each with several members or none.
//!
//! Everything is decompressed in-process, by the thread that reads; no program of the host or of an image is run.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Context, Error, ErrorKind, Result};

/// How an archive was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz file format.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// What the first bytes of a file say.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }

    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// Counts the bytes that pass; for progress over compressed input.
pub struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Counted<R> {
    /// The reader, and the counter to look at from elsewhere.
    pub fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Self { inner, count: Arc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(into)?;
        self.count.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// Large enough that reads of the input are few, small enough to stay in cache.
const BUFFER: usize = 128 << 10;
/// xz -9 needs 64 MiB; more would be an attack on memory.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// The uncompressed bytes of `reader`, whatever it is compressed with. Damaged and truncated data end in an `Invalid`
/// error (inside the `io::Error`) that names the format. Unknown content is passed on as it is.
pub fn decompress(mut reader: Box<dyn Read + Send>) -> Result<(Box<dyn Read + Send>, Compression)> {
    let mut start = Vec::with_capacity(8);
    reader.by_ref().take(6).read_to_end(&mut start).context(|| "read the archive")?;
    let compression = Compression::of(&start);
    let whole = io::Cursor::new(start).chain(reader);
    if compression == Compression::None {
        return Ok((Box::new(whole), compression));
    }
    let source = BufReader::with_capacity(BUFFER, Source(whole));
    let decoder: Box<dyn Read + Send> = match compression {
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source).context(|| "zstd")?),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Compression::Gzip | Compression::None => Box::new(gzip(source)),
    };
    Ok((Box::new(Named { decoder, compression }), compression))
}

fn gzip(source: impl BufRead) -> impl Read {
    flate2::bufread::MultiGzDecoder::new(source)
}

/// Marks the input's own errors, so that they are not taken for damaged data.
struct Source<R>(R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted && error.raw_os_error().is_none() => {
                Err(Error::from(error).into())
            }
            other => other,
        }
    }
}

/// A decoder whose complaints name the format.
struct Named {
    decoder: Box<dyn Read + Send>,
    compression: Compression,
}

impl Read for Named {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(into).map_err(|error| self.named(error))
    }
}

impl Named {
    fn named(&self, error: io::Error) -> io::Error {
        let ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
        if ours || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let name = self.compression.name();
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("the {name} data ends early: the archive is truncated"),
            _ => format!("the {name} data is damaged ({error})"),
        };
        Error::new(ErrorKind::Invalid, message).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content() -> Vec<u8> {
        (0..200_000u32).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes()).collect()
    }

    fn compress(kind: Compression, data: &[u8]) -> Vec<u8> {
        match kind {
            Compression::None => data.to_vec(),
            Compression::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
            Compression::Zstd => {
                let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                out.include_checksum(true).unwrap();
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
            Compression::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut out = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
        }
    }

    fn expand(data: Vec<u8>) -> Result<(Vec<u8>, Compression)> {
        let (mut reader, compression) = decompress(Box::new(io::Cursor::new(data)))?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok((out, compression))
    }

    const COMPRESSED: [Compression; 4] = [Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2];

    #[test]
    fn every_format_is_recognised_also_with_several_members() {
        let data = content();
        let (first, second) = data.split_at(data.len() / 3);
        for kind in COMPRESSED.into_iter().chain([Compression::None]) {
            let packed = [compress(kind, first), compress(kind, second)].concat();
            let (out, found) = expand(packed).unwrap();
            assert_eq!(found, kind);
            assert!(out == data, "{}", kind.name());
        }
    }

    #[test]
    fn truncated_and_damaged_data_is_invalid_and_named() {
        let data = content();
        for kind in COMPRESSED {
            let whole = compress(kind, &data);
            for cut in [whole.len() / 2, whole.len() - 1, whole.len() - 5] {
                let error = expand(whole[..cut].to_vec()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{} cut at {cut}: {error}", kind.name());
                assert!(error.to_string().contains(kind.name()), "{error}");
            }
            let mut flipped = whole.clone();
            let middle = whole.len() / 2;
            flipped[middle] ^= 0x10;
            let error = expand(flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", kind.name());
        }
    }

    #[test]
    fn empty_and_unknown_input_passes_through() {
        for data in [b"".to_vec(), b"x".to_vec(), b"hello, world".to_vec()] {
            assert_eq!(expand(data.clone()).unwrap(), (data, Compression::None));
        }
    }

    #[test]
    fn errors_of_the_input_stay_what_they_are() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match into.len() {
                    6 => {
                        into.copy_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0]);
                        Ok(6)
                    }
                    _ => Err(io::Error::from_raw_os_error(libc::EIO)),
                }
            }
        }
        let (mut reader, _) = decompress(Box::new(Failing)).unwrap();
        let error = Error::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Io, Some(libc::EIO)));
    }

    #[test]
    fn bytes_are_counted() {
        let (mut reader, count) = Counted::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 5);
    }
}
