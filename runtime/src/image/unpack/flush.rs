//! Makes a layer durable.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, OFlags, fsync, syncfs};

use crate::error::{Context, Result};
use crate::image::tree::{Step, Walk, open};

/// Up to here each file and directory is flushed alone; beyond, the whole file system is cheaper, although it also
/// waits for other programs' data.
const MOST: u64 = 300;

/// Flushes everything below `layer`, its wrapper directory, and the directory itself. `entries` is about how many files
/// and directories there are.
pub fn flush(layer: BorrowedFd<'_>, entries: u64) -> Result<()> {
    if entries > MOST {
        return syncfs(layer).context(|| "flush the layer to disk");
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
