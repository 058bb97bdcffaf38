//! What a tree takes on disk.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, fstat, statat};

use super::tree::{Step, Walk};
use crate::error::{Error, Result};

/// What st_blocks counts in; `stat(2)`.
const BLOCK: u64 = 512;

/// Bytes that a tree takes on disk, directories included; a file with several names counts once. What goes away
/// meanwhile counts for nothing.
pub fn disk_usage(tree: BorrowedFd<'_>) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut blocks = 0u64;
    let mut walk = Walk::new(tree)?;
    loop {
        let stat = match walk.next() {
            Ok(None) => return Ok(blocks.saturating_mul(BLOCK)),
            Ok(Some(Step::Enter { directory, .. })) => fstat(directory),
            Ok(Some(Step::Item { directory, name, .. })) => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW),
            Ok(Some(Step::Leave { .. })) => continue,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        let Ok(stat) = stat else { continue };
        let once = FileType::from_raw_mode(stat.st_mode) == FileType::Directory || stat.st_nlink == 1;
        if once || seen.insert((stat.st_dev, stat.st_ino)) {
            blocks = blocks.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0));
        }
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn names_of_one_file_count_once_and_holes_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(dir.path().join("file"), dir.path().join("sub/again")).unwrap();
        std::fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let blocks = |name: &str| std::fs::symlink_metadata(dir.path().join(name)).unwrap().blocks();
        let wanted = [".", "sub", "file", "sparse", "link"].map(blocks).iter().sum::<u64>() * BLOCK;
        let opened = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(disk_usage(opened.as_fd()).unwrap(), wanted);
        assert!(wanted < 1 << 20, "{wanted}");
    }
}
