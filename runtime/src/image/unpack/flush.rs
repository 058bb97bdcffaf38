//! Makes a layer durable.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::{FileType, OFlags, fsync, syncfs};

use super::Passed;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::tree::{Step, Walk, open};

/// Up to here each file and directory is flushed alone; beyond, the whole file system is cheaper, although it also
/// waits for other programs' data.
const MOST: u64 = 300;
/// Bytes of an archive from one early flush to the next.
const EVERY: u64 = 32 << 20;

/// Flushes everything below `layer`, its wrapper directory, and the directory itself. `entries` is about how many files
/// and directories there are.
pub fn flush(layer: BorrowedFd<'_>, entries: u64) -> Result<()> {
    if entries > MOST {
        return sync(layer);
    }
    let mut walk = Walk::new(layer)?;
    while let Some(step) = walk.next()? {
        match step {
            Step::Enter { .. } => {}
            Step::Item { directory, name, kind: FileType::RegularFile, .. } => {
                let file = open(directory, name, OFlags::empty()).context(|| "flush the layer to disk")?;
                fsync(file).context(|| "flush the layer to disk")?;
            }
            Step::Item { .. } => {}
            Step::Leave { directory } => fsync(directory.as_fd()).context(|| "flush the layer to disk")?,
        }
    }
    Ok(())
}

fn sync(layer: impl AsFd) -> Result<()> {
    syncfs(layer).context(|| "flush the layer to disk")
}

/// The thread that flushes early, and the way to ask it to.
type Early = (SyncSender<()>, JoinHandle<Result<()>>);

/// Has the disk at work while layers are still being unpacked, so that little is left for [`Flusher::finish`]. Where
/// that would not flush the whole file system, nothing happens before it.
pub struct Flusher {
    directory: OwnedFd,
    /// Bytes of the archive at the last early flush.
    last: u64,
    early: Option<Early>,
}

impl Flusher {
    /// For layers that are unpacked below this directory.
    pub fn new(directory: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self { directory: directory.try_clone_to_owned()?, last: 0, early: None })
    }

    /// Told how far unpacking is, archive by archive; waits for nothing. What cannot be begun is left for the end.
    pub fn passed(&mut self, now: Passed) {
        if now.bytes < self.last {
            self.last = 0;
        }
        if now.entries <= MOST || now.bytes - self.last < EVERY {
            return;
        }
        self.last = now.bytes;
        self.early = self.early.take().or_else(|| self.start());
        if let Some((asked, _)) = &self.early {
            // One that is asked for already will do; what failed is said at the end.
            let _ = asked.try_send(());
        }
    }

    fn start(&self) -> Option<Early> {
        let directory = self.directory.try_clone().ok()?;
        let (asked, asked_out) = sync_channel(1);
        let flush = move || asked_out.iter().try_for_each(|()| sync(&directory));
        Some((asked, std::thread::Builder::new().spawn(flush).ok()?))
    }

    /// Flushes everything, as [`flush`] does. The kernel tells of data that it could not write only once, so that an early
    /// flush that failed is a failure.
    pub fn finish(self, entries: u64) -> Result<()> {
        if let Some((asked, thread)) = self.early {
            drop(asked);
            thread.join().map_err(|_| Error::new(ErrorKind::Io, "the flushing thread failed"))??;
        }
        flush(self.directory.as_fd(), entries)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, openat};

    use super::*;

    fn flusher(flags: OFlags) -> Flusher {
        let directory = openat(CWD, std::env::temp_dir(), flags | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Flusher { directory, last: 0, early: None }
    }

    #[test]
    fn only_what_is_flushed_as_a_whole_is_flushed_early() {
        let mut flusher = flusher(OFlags::RDONLY);
        for (bytes, entries) in [(EVERY - 1, MOST + 1), (EVERY, MOST), (100 * EVERY, 1), (0, 0)] {
            flusher.passed(Passed { bytes, entries });
            assert!(flusher.early.is_none(), "{bytes} bytes, {entries} entries");
        }
        flusher.passed(Passed { bytes: EVERY, entries: MOST + 1 });
        assert!(flusher.early.is_some());
        // The next archive begins from the start.
        flusher.passed(Passed { bytes: 1, entries: MOST + 1 });
        assert_eq!(flusher.last, 0);
        flusher.finish(MOST + 1).unwrap();
    }

    #[test]
    fn an_early_flush_that_failed_is_told_at_the_end() {
        let mut flusher = flusher(OFlags::PATH);
        flusher.passed(Passed { bytes: EVERY, entries: MOST + 1 });
        let (asked, early) = flusher.early.take().unwrap();
        while !early.is_finished() {
            std::thread::yield_now();
        }
        flusher.directory = openat(CWD, tempfile::tempdir().unwrap().path(), OFlags::RDONLY, Mode::empty()).unwrap();
        flusher.early = Some((asked, early));
        let error = flusher.finish(0).unwrap_err();
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (Some(libc::EBADF), "flush the layer to disk: bad file descriptor")
        );
    }
}
