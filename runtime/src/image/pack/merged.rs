//! A whole root file system becomes a tar: a stack of layers merged as overlayfs does it, without a mount. So it may be
//! packed while a container runs on it.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::{Clock, Packer, Rules, stream};
use crate::error::{Context, Result};
use crate::image::merged::{self, Found};
use crate::image::owners::Owner;
use crate::image::tar::{OPAQUE, WHITEOUT, join, shown};

/// What becomes of that which the layers delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// It is left out: the tar stands for itself.
    None,
    /// It becomes whiteouts: the tar is a layer above others.
    Whiteouts,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Bytes of the tar.
    pub size: u64,
    /// Its entries.
    pub entries: u64,
    /// How many files became shorter while they were read; their rest is zeros.
    pub torn: u64,
    /// How many names begin with `.wh.`: whoever imports the tar takes them for deletions.
    pub marks: u64,
}

/// Packs what the layers `roots` (their `diff/` directories, topmost first) give together. The layers may be in use: what
/// goes away meanwhile is left out. `recorded` and `clock`: see [`super::pack_layer`]. Sockets are left out.
pub fn pack_merged(
    roots: &[BorrowedFd<'_>],
    marks: Marks,
    recorded: &dyn Fn(&[u8]) -> Option<Owner>,
    clock: Option<Clock>,
    out: &mut dyn Write,
) -> Result<Merged> {
    let root = merged::Merged::new(roots)?;
    let (mut entries, mut torn, mut names) = (0, 0, 0);
    let size = stream::without_digest(out, |stream| {
        let mut packer = Packer::new(
            stream,
            Rules { layer: marks == Marks::Whiteouts, in_tree: false, seed: None, recorded, clock, implicit: &[] },
        );
        packer.merged(b"", &root)?;
        (entries, torn, names) = (packer.entries, packer.stream.torn, packer.marks);
        Ok(())
    })?;
    Ok(Merged { size, entries, torn, marks: names })
}

impl Packer<'_, '_> {
    fn merged(&mut self, path: &[u8], directory: &merged::Merged) -> Result<()> {
        self.check_length(path)?;
        if let Some(top) = directory.top() {
            let marked = self.directory(top, path, false).context(|| format!("pack {}", shown(path)))?;
            // The mark of a directory that a lower one of these layers hides.
            if self.rules.layer && directory.opaque && !marked {
                self.mark(join(path, OPAQUE))?;
            }
        }
        let mut names = directory.names()?;
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = join(path, name.to_bytes());
            match directory.find(&name).context(|| format!("look at {}", shown(&path)))? {
                Found::Nothing => {}
                Found::Deleted if self.rules.layer => {
                    let parent = path.strip_suffix(name.to_bytes()).unwrap_or_default();
                    self.mark([parent, WHITEOUT, name.to_bytes()].concat())?;
                }
                Found::Deleted => {}
                Found::Directory(inner) => self.merged(&path, &inner)?,
                Found::Other { layer, stat } => {
                    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
                    self.present(directory.layer(layer)?, &name, kind, &path)?;
                }
            }
        }
        Ok(())
    }

    /// Packs what is no directory, if it still is there and is what it was.
    fn present(&mut self, at: BorrowedFd<'_>, name: &CStr, kind: rustix::fs::FileType, path: &[u8]) -> Result<()> {
        match self.item(at, name, kind, path) {
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL | libc::ELOOP | libc::ENXIO)) => {
                Ok(())
            }
            done => done.context(|| format!("pack {}", shown(path))),
        }
    }
}
