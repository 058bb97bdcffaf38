//! Writes an archive of images: as a tar, or as files below a directory.
//!
//! Runs in the storage helper, which was given the descriptor of the output and is pivoted into the folder of all layers.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::helper::Work;
use crate::image::index::rebuild;
use crate::image::tar::{BLOCK, Head, Kind, header, padding};

/// Bytes between two reports.
const REPORT: u64 = 1 << 20;
/// tar programs pad to records of this size.
const RECORD: u64 = 20 * BLOCK as u64;

/// Where an archive goes.
pub(super) enum Output {
    /// Into one stream.
    Tar(File),
    /// Below an empty directory.
    Directory(OwnedFd),
}

/// An archive that is being written.
pub(super) struct Sink<'a> {
    work: &'a Work,
    output: Output,
    /// Bytes of the tar.
    written: u64,
    /// Bytes of layers, and how many of them were reported.
    done: u64,
    told: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(work: &'a Work, output: Output) -> Self {
        Self { work, output, written: 0, done: 0, told: 0 }
    }

    /// Makes a directory; its parent comes first.
    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        match &self.output {
            Output::Tar(_) => self.header(path, Kind::Directory, 0o755, 0),
            Output::Directory(root) => {
                mkdirat(root, path, Mode::from_raw_mode(0o755)).context(|| format!("make {path}"))
            }
        }
    }

    /// Writes a document.
    pub(super) fn document(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.file(path, bytes.len() as u64, |_, out| out.write_all(bytes).context(|| format!("write {path}")))
    }

    /// Writes a layer's tar, which is as large as its record says.
    pub(super) fn layer(&mut self, path: &str, diff_id: &Digest, size: u64) -> Result<()> {
        let directory = {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&self.work.root, diff_id.hex(), flags, Mode::empty())?
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let index = File::from(openat(&directory, "index", flags, Mode::empty()).context(|| "open the layer index")?);
        self.file(path, size, |progress, out| {
            let mut exact = Exact { out, left: size, progress };
            let rebuilt = rebuild(&index, directory.as_fd(), &mut exact)?;
            match rebuilt.diff_id == *diff_id && rebuilt.size == size {
                true => Ok(()),
                false => Err(Error::new(ErrorKind::Corrupt, format!("it has the digest {}", rebuilt.diff_id))),
            }
        })
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<()> {
        self.work.report(self.done);
        match self.output {
            Output::Directory(_) => Ok(()),
            Output::Tar(mut out) => {
                let end = (self.written + 2 * BLOCK as u64).next_multiple_of(RECORD) - self.written;
                out.write_all(&vec![0; end as usize]).context(|| "write the archive")
            }
        }
    }

    fn file(
        &mut self,
        path: &str,
        size: u64,
        write: impl FnOnce(&mut Progress<'_>, &mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        if matches!(self.output, Output::Tar(_)) {
            self.header(path, Kind::File, 0o644, size)?;
        }
        let mut progress = Progress { work: self.work, done: self.done, told: self.told };
        match &mut self.output {
            Output::Tar(out) => {
                write(&mut progress, out)?;
                out.write_all(&[0; BLOCK][..padding(size)]).context(|| "write the archive")?;
                self.written += size + padding(size) as u64;
            }
            Output::Directory(root) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    openat(&*root, path, flags, Mode::from_raw_mode(0o644)).context(|| format!("make {path}"))?;
                let mut file = File::from(file);
                write(&mut progress, &mut file)?;
                file.sync_data().context(|| format!("write {path}"))?;
            }
        }
        (self.done, self.told) = (progress.done, progress.told);
        Ok(())
    }

    fn header(&mut self, path: &str, kind: Kind, mode: u32, size: u64) -> Result<()> {
        let Output::Tar(out) = &mut self.output else { return Ok(()) };
        // Without a time: the same images give the same bytes.
        let head = Head { size, stored: size, ..Head::new(path.as_bytes().to_vec(), kind, mode) };
        let mut blocks = Vec::new();
        header::write(&head, &mut blocks);
        out.write_all(&blocks).context(|| "write the archive")?;
        self.written += blocks.len() as u64;
        Ok(())
    }
}

/// How many bytes of layers are written.
struct Progress<'a> {
    work: &'a Work,
    done: u64,
    told: u64,
}

/// A layer's tar may not be larger than its header in the archive says.
struct Exact<'a, 'p> {
    out: &'a mut dyn Write,
    left: u64,
    progress: &'a mut Progress<'p>,
}

impl Write for Exact<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(Error::new(ErrorKind::Corrupt, "it is larger than recorded").into());
        }
        let count = self.out.write(bytes)?;
        self.left -= count as u64;
        self.progress.done += count as u64;
        if self.progress.done - self.progress.told >= REPORT {
            self.progress.told = self.progress.done;
            self.progress.work.report(self.progress.done);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
