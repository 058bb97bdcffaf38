//! Compressed archives, recognised by content: gzip, zstd, xz and bzip2, each with several members or none.
//!
//! Everything is decompressed in-process, by the thread that reads; no program of the host or of an image is run.

mod growth;

use std::io::{self, BufRead, BufReader, Read};

use crate::error::{Context, Error, ErrorKind, Result};

pub use growth::{Growth, Ratio};

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
    /// What the first bytes of a file say; [`MAGIC`] of them are enough.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // The first block's mark, or that of the end: a tar may begin with a name like BZh9.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Self::Bzip2,
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

    /// The program that uncompresses anything of the format.
    fn program(self) -> &'static str {
        match self {
            Self::None => "cat",
            Self::Gzip => "gzip -d",
            Self::Zstd => "zstd -d --long=31",
            Self::Xz => "xz -d --memlimit=max",
            Self::Bzip2 => "bzip2 -d",
        }
    }
}

/// Compressed files that are recognised only to say what they are: their first bytes, and the program that reads them.
const OTHERS: [(&[u8], &str); 6] = [
    (&[0x04, 0x22, 0x4d, 0x18], "lz4 -d"),
    (b"LZIP\x01", "lzip -d"),
    (&[0x1f, 0x9d], "uncompress"),
    (&[0x5d, 0, 0, 0x80], "xz -d --format=lzma"),
    (&[0x89, b'L', b'Z', b'O'], "lzop -d"),
    (b"PK\x03\x04", "bsdtar -cf - @-"),
];
/// Bytes that tell the formats apart.
const MAGIC: usize = 10;
/// Large enough that reads of the input are few, small enough to stay in cache.
const BUFFER: usize = 128 << 10;

/// How much of what they have read decoders may have to remember.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// MiB of zstd: what `zstd` makes by itself has 8 at most, and 128 with `--ultra -22` or `--long`.
    zstd: u32,
    /// MiB of xz: 8 at its default level, 32 with `-8`, 64 with `-9`.
    xz: u32,
    instead: Instead,
}

/// The way out for data that would need more than the limits.
#[derive(Clone, Copy, Debug)]
enum Instead {
    /// The command that takes it uncompressed from a pipe.
    Pipe(&'static str),
    /// What makes an archive of it whose layers are not compressed: docker's layout.
    Copy(&'static str),
}

impl Windows {
    /// For an archive that is one layer.
    pub const IMPORT: Self = Self { zstd: 32, xz: 64, instead: Instead::Pipe("lrun import - NAME") };
    /// For an archive of images.
    pub const OUTER: Self = Self { zstd: 32, xz: 32, instead: Instead::Pipe("lrun load") };
    /// For a layer in an archive that is not compressed itself.
    pub const LAYER: Self = Self { zstd: 32, xz: 32, instead: Instead::Copy("oci-archive:FILE") };
    /// For a layer in a compressed archive: both decoders are at work at once.
    pub const INNER: Self = Self { zstd: 8, xz: 8, instead: Instead::Copy("oci-archive:FILE") };
    /// For a layer that a registry sends.
    pub const PULLED: Self = Self { instead: Instead::Copy("docker://NAME:TAG"), ..Self::IMPORT };
}

/// [`decompress_within`] the limits of `import`.
pub fn decompress<'a>(reader: Box<dyn Read + Send + 'a>) -> Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let growth = Growth::default();
    decompress_within(Box::new(growth.source(reader)), Windows::IMPORT, &growth)
}

/// The uncompressed bytes of `reader`, whatever it is compressed with. Damaged and truncated data end in an `Invalid`
/// error (inside the `io::Error`) that names the format, and so does data that needs larger windows, or of which comes
/// more than the ratio of `growth` lets pass; `reader` is one of its sources, or inside one. Unknown content is passed on
/// as it is.
pub fn decompress_within<'a>(
    mut reader: Box<dyn Read + Send + 'a>,
    windows: Windows,
    growth: &Growth,
) -> Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let mut start = Vec::with_capacity(2 * MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut start).context(|| "read the archive")?;
    let compression = Compression::of(&start);
    if let Some((_, program)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        let error = Error::new(ErrorKind::Invalid, "the archive is compressed in a way that lrun does not read");
        return Err(windows.way_out(error, program));
    }
    let whole = io::Cursor::new(start).chain(reader);
    if compression == Compression::None {
        return Ok((Box::new(whole), compression));
    }
    let source = BufReader::with_capacity(BUFFER, Source(whole));
    let decoder: Box<dyn Read + Send + 'a> = match compression {
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source).context(|| "zstd")?;
            decoder.window_log_max(20 + windows.zstd.ilog2()).context(|| "zstd")?;
            Box::new(decoder)
        }
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, (windows.xz << 10) + 256)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Compression::Gzip | Compression::None => Box::new(gzip(source)),
    };
    Ok((Box::new(Named { decoder, compression, windows, growth: growth.clone() }), compression))
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
struct Named<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    compression: Compression,
    windows: Windows,
    growth: Growth,
}

impl Read for Named<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.decoder.read(into).map_err(|error| self.named(error))?;
        match self.growth.made(got as u64) {
            Ok(()) => Ok(got),
            Err(text) => Err(self.windows.bomb(self.compression, &text).into()),
        }
    }
}

impl Named<'_> {
    fn named(&self, error: io::Error) -> io::Error {
        let ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
        if ours || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let name = self.compression.name();
        let text = error.to_string();
        if error.kind() == io::ErrorKind::OutOfMemory || text.contains("too much memory") {
            return self.windows.too_large(self.compression).into();
        }
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("the {name} data ends early: the archive is truncated"),
            _ => format!("the {name} data is damaged ({text})"),
        };
        Error::new(ErrorKind::Invalid, message).into()
    }
}

impl Windows {
    fn too_large(self, compression: Compression) -> Error {
        let most = if compression == Compression::Xz { self.xz } else { self.zstd };
        let message = format!("the {} data needs a window of more than {most} MiB, the limit", compression.name());
        self.way_out(Error::new(ErrorKind::Invalid, message), compression.program())
    }

    fn bomb(self, compression: Compression, text: &str) -> Error {
        let message = format!("the {} data becomes {text}", compression.name());
        self.way_out(Error::new(ErrorKind::Invalid, message), compression.program())
    }

    fn way_out(self, error: Error, program: &str) -> Error {
        error.hint(match self.instead {
            Instead::Pipe(command) => format!("uncompress it on the way: {program} < FILE | {command}"),
            Instead::Copy(from) => {
                format!("make an archive of uncompressed layers: skopeo copy {from} docker-archive:NEW:NAME:TAG")
            }
        })
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

    fn crc32(bytes: &[u8]) -> [u8; 4] {
        let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        let sum = bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
        (!sum).to_le_bytes()
    }

    #[test]
    fn large_windows_are_refused_by_name() {
        let zstd = |log| {
            let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            out.window_log(log).unwrap();
            out.write_all(&content()).unwrap();
            out.finish().unwrap()
        };
        assert!(expand(zstd(25)).unwrap().0 == content());
        let error = expand(zstd(26)).unwrap_err();
        assert_eq!(error.to_string(), "the zstd data needs a window of more than 32 MiB, the limit");
        assert!(error.hint_text().unwrap().contains("zstd -d --long=31 < FILE | lrun import -"));
        // The size of a dictionary in an xz block's header: 28 is 64 MiB, 29 is 96 MiB.
        let xz = |size: u8| {
            let mut whole = compress(Compression::Xz, &content());
            let header = &mut whole[12..24];
            assert_eq!(header[..4], [2, 0, 0x21, 1], "one filter, LZMA2");
            header[4] = size;
            let sum = crc32(&header[..8]);
            header[8..].copy_from_slice(&sum);
            whole
        };
        assert!(expand(xz(28)).unwrap().0 == content());
        let error = expand(xz(29)).unwrap_err();
        assert_eq!(error.to_string(), "the xz data needs a window of more than 64 MiB, the limit");
    }

    #[test]
    fn other_compressions_are_told_from_no_archive() {
        for (magic, program) in OTHERS {
            let error = expand([magic, &[1; 100]].concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint_text().unwrap().contains(program), "{error}");
        }
    }

    #[test]
    fn a_tar_may_begin_with_any_name() {
        for name in ["BZh9", "BZh91AY", "LZIP", "]", "(\u{b5}/", "\u{1f}x"] {
            let tar = crate::image::tar::archive::Archive::default().file(name, "1").end();
            assert_eq!(expand(tar.clone()).unwrap(), (tar, Compression::None), "{name}");
        }
    }

    #[test]
    fn what_follows_compressed_data_is_named() {
        for kind in COMPRESSED {
            let error = expand([compress(kind, b"data"), b"garbage".to_vec()].concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", kind.name());
            assert!(error.to_string().contains(kind.name()), "{error}");
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
        struct Failing(io::Cursor<[u8; 10]>);
        impl Read for Failing {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.read(into)? {
                    0 => Err(io::Error::from_raw_os_error(libc::EIO)),
                    got => Ok(got),
                }
            }
        }
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let (mut reader, _) = decompress(Box::new(Failing(io::Cursor::new(header)))).unwrap();
        let error = Error::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Io, Some(libc::EIO)));
    }

    /// 16 MiB of one byte: gzip makes 16 KB of them or more, the others much less.
    #[test]
    fn what_becomes_too_large_is_refused_but_for_gzip() {
        let data = vec![b'a'; 16 << 20];
        let expand = |kind, ratio: Ratio| {
            let (packed, growth) = (compress(kind, &data), Growth::within(ratio));
            let source = growth.source(io::Cursor::new(&packed));
            let (mut reader, _) = decompress_within(Box::new(source), Windows::IMPORT, &growth).unwrap();
            let copied = io::copy(&mut reader, &mut io::sink()).map_err(Error::from);
            drop(reader);
            assert!(growth.read() <= packed.len() as u64);
            copied
        };
        for kind in COMPRESSED {
            assert_eq!(expand(kind, Ratio { free: 16 << 20, most: 1 }).unwrap(), 16 << 20, "{}", kind.name());
            assert_eq!(expand(kind, Ratio::default()).unwrap(), 16 << 20, "{}", kind.name());
        }
        let strict = Ratio { free: 1 << 20, ..Ratio::default() };
        assert_eq!(expand(Compression::Gzip, strict).unwrap(), 16 << 20);
        for kind in [Compression::Zstd, Compression::Xz, Compression::Bzip2] {
            let error = expand(kind, strict).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().starts_with(&format!("the {} data becomes ", kind.name())), "{error}");
            assert!(error.to_string().ends_with(", more than 2048 times as many, the limit beyond 1048576"), "{error}");
            assert!(error.hint_text().unwrap().contains(&format!("{} < FILE | lrun import", kind.program())));
        }
    }

    /// A bomb in a bomb is small twice: what counts is the outermost file.
    #[test]
    fn decoders_in_one_another_count_together() {
        let inner = compress(Compression::Gzip, &vec![0; 64 << 20]);
        let packed = compress(Compression::Gzip, &inner);
        let growth = Growth::within(Ratio { free: 1 << 20, ..Ratio::default() });
        let source = growth.source(io::Cursor::new(packed));
        let (outer, _) = decompress_within(Box::new(source), Windows::OUTER, &growth).unwrap();
        let (mut reader, _) = decompress_within(outer, Windows::INNER, &growth).unwrap();
        let error = Error::from(io::copy(&mut reader, &mut io::sink()).unwrap_err());
        assert!(error.to_string().contains("more than 2048 times as many"), "{error}");
        assert!(error.hint_text().unwrap().contains("skopeo copy oci-archive:FILE docker-archive:"), "{error}");
    }
}
