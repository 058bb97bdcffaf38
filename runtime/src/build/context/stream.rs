//! A selection on its way into a container, as a tar.
//!
//! What is sent is what was selected, and hashed if it was: a file that is another one now, or was written to meanwhile, ends
//! the stream with an error, and without the mark of the archive's end. Whoever reads it makes nothing of it then.

use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::fstat;

use super::Context;
use super::digest::{Links, Placed};
use super::select::{Entry, Kind, Seen, Selection, changed};
use crate::error::{Context as _, Result};
use crate::image::attributes::{Reader, Xattrs};
use crate::image::pack::stream::{Stream, without_digest};
use crate::image::tar::{self, Head, header, shown};

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes of the tar.
    pub bytes: u64,
    /// Bytes of its regular files, holes counted.
    pub content: u64,
}

struct Sender<'a, 's> {
    context: &'a Context,
    placed: &'a Placed,
    stream: &'a mut Stream<'s>,
    attributes: Reader,
    blocks: Vec<u8>,
    content: u64,
}

impl Context {
    /// Sends a selection as it is to arrive. Names are those below the destination; an entry whose name is empty becomes
    /// the destination itself. Hard links are kept within a source, holes are left out.
    ///
    /// `Conflict`: a file is not what was selected.
    pub fn stream(&self, selection: &Selection, placed: &Placed, out: &mut dyn Write) -> Result<Streamed> {
        let mut content = 0;
        let bytes = without_digest(out, |stream| {
            let (attributes, blocks) = (Reader::new(), Vec::new());
            let mut sender = Sender { context: self, placed, stream, attributes, blocks, content: 0 };
            for source in &selection.sources {
                let mut links = Links::default();
                for entry in selection.entries.get(source.entries.clone()).unwrap_or_default() {
                    let first = links.first(entry);
                    sender.entry(entry, first).context(|| format!("send {}", shown(&entry.path)))?;
                }
            }
            content = sender.content;
            Ok(())
        })?;
        Ok(Streamed { bytes, content })
    }
}

impl Sender<'_, '_> {
    fn entry(&mut self, entry: &Entry, first: Option<&[u8]>) -> Result<()> {
        let mut head = self.head(entry);
        match (&entry.kind, first) {
            (_, Some(first)) => {
                head.kind = tar::Kind::Hardlink;
                head.link = first.to_vec();
            }
            (Kind::Directory, _) => {
                let directory = self.context.open_entry(entry)?;
                head.xattrs = self.xattrs(&directory)?;
            }
            (Kind::File, _) => return self.file(entry, head),
            (Kind::Symlink(target), _) => head.link.clone_from(target),
            (Kind::Fifo, _) => {}
        }
        self.blocks.clear();
        header::write(&head, &mut self.blocks);
        self.stream.entry(&self.blocks, false)
    }

    fn file(&mut self, entry: &Entry, mut head: Head) -> Result<()> {
        let file = self.context.open_entry(entry)?;
        let stat = fstat(&file)?;
        if Seen::from(&stat) != entry.seen {
            return Err(changed(&entry.path));
        }
        head.xattrs = self.xattrs(&file)?;
        let torn = self.stream.torn;
        self.stream.file(&mut head, file.as_fd(), &stat, true)?;
        self.content = self.content.saturating_add(entry.seen.size);
        let same = Seen::from(&fstat(&file)?) == entry.seen && self.stream.torn == torn;
        // Its times alone may not show it.
        if same && self.context.is_still(&file, entry, &mut self.attributes)? {
            Ok(())
        } else {
            Err(changed(&entry.path))
        }
    }

    fn xattrs(&mut self, file: impl AsFd) -> Result<Xattrs> {
        Ok(self.attributes.read(file.as_fd())?.xattrs)
    }

    fn head(&self, entry: &Entry) -> Head {
        let (uid, gid, mode) = self.placed.of(entry);
        let kind = match entry.kind {
            Kind::Directory => tar::Kind::Directory,
            Kind::File => tar::Kind::File,
            Kind::Symlink(_) => tar::Kind::Symlink,
            Kind::Fifo => tar::Kind::Fifo,
        };
        let mtime = self.placed.mtime.unwrap_or(entry.seen.mtime);
        Head { uid, gid, mtime, ..Head::new(entry.name.clone(), kind, mode) }
    }
}

#[cfg(test)]
mod tests;
