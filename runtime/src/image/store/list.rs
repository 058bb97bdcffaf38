//! All images with their names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{ImageRecord, RefTarget, Store};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, REPAIR, Result};
use crate::file;
use crate::reference::Reference;

const REF_MAX: usize = 64 << 10;
/// Deeper than any name of 255 characters.
const DEPTH_MAX: usize = 130;

/// An image and the names that point to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What the store knows about it.
    pub record: ImageRecord,
    /// Its names, sorted.
    pub references: Vec<Reference>,
}

/// All images.
#[derive(Debug, Default)]
pub struct Images {
    /// Those whose record could be read, newest first.
    pub listed: Vec<Listed>,
    /// The others, and why.
    pub damaged: Vec<Damaged>,
}

/// An image whose record cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// Its id.
    pub id: Digest,
    /// Its names, sorted.
    pub references: Vec<Reference>,
    /// Why.
    pub error: Error,
}

impl Images {
    /// The images, for whoever must know of all of them.
    pub fn whole(self) -> Result<Vec<Listed>> {
        match self.damaged.into_iter().next() {
            None => Ok(self.listed),
            Some(Damaged { id, error, .. }) => {
                let way_out = format!("{REPAIR}, else remove the image with \"lrun rmi -f {}\"", id.short());
                Err(Error::new(error.kind(), error.to_string()).hint(way_out))
            }
        }
    }
}

impl Store {
    /// All images. Names that point nowhere are left out.
    pub fn images(&self) -> Result<Images> {
        let (images, consistent) = self.list_once()?;
        // Something was removed or published between two reads: the second look is another moment's truth.
        if consistent { Ok(images) } else { Ok(self.list_once()?.0) }
    }

    /// Every name and what it points to, sorted.
    pub fn references(&self) -> Result<Vec<(Reference, RefTarget)>> {
        Ok(self.references_once()?.0)
    }

    /// The files of all references: `registry/repository:tag` and path.
    pub fn reference_files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        walk(&self.root.refs(), "", 0, &mut |name, path| {
            found.push((name.to_owned(), path.to_owned()));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// The content of one of these files.
    pub fn ref_file(&self, path: &Path) -> Result<RefTarget> {
        file::read_json(path, REF_MAX)
    }

    fn list_once(&self) -> Result<(Images, bool)> {
        let (references, mut consistent) = self.references_once()?;
        let mut named: HashMap<Digest, Vec<Reference>> = HashMap::new();
        for (reference, target) in references {
            named.entry(target.image).or_default().push(reference);
        }
        let mut images = Images::default();
        for id in self.image_ids()? {
            let references = named.remove(&id).unwrap_or_default();
            match self.image_record(&id) {
                Ok(record) => images.listed.push(Listed { record, references }),
                Err(error) if error.kind() == ErrorKind::NotFound => consistent = false,
                Err(error) => images.damaged.push(Damaged { id, references, error }),
            }
        }
        images
            .listed
            .sort_by(|a, b| b.record.created.cmp(&a.record.created).then_with(|| a.record.id.cmp(&b.record.id)));
        Ok((images, consistent && named.is_empty()))
    }

    fn references_once(&self) -> Result<(Vec<(Reference, RefTarget)>, bool)> {
        let mut found = Vec::new();
        let mut consistent = true;
        walk(&self.root.refs(), "", 0, &mut |name, path| {
            let Ok(reference) = Reference::parse(name) else {
                return Ok(());
            };
            match self.ref_file(path) {
                Ok(target) => found.push((reference, target)),
                Err(error) if error.kind() == ErrorKind::NotFound => consistent = false,
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((found, consistent))
    }
}

/// Calls `each` with every `registry/repository:tag` below a directory and the file's path.
fn walk(dir: &Path, prefix: &str, depth: usize, each: &mut dyn FnMut(&str, &Path) -> Result<()>) -> Result<()> {
    for name in file::list_dir(dir)? {
        let path = dir.join(&name);
        if name.starts_with(':') {
            each(&format!("{prefix}{name}"), &path)?;
        } else if depth < DEPTH_MAX && !file::is_temporary(name.as_bytes()) {
            let slash = if prefix.is_empty() { "" } else { "/" };
            walk(&path, &format!("{prefix}{slash}{name}"), depth + 1, each)?;
        }
    }
    Ok(())
}
