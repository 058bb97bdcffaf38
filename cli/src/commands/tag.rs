//! `tag`: another name for an image; `untag`: one less.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::Reference;

use crate::args::{Global, TagArgs, UntagArgs};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: &TagArgs) -> Result<u8> {
    let target = new_name(&args.target)?;
    let store = context::engine(global)?.store;
    let _using = store.lock_shared()?;
    store.tag(&store.find(&args.source)?.id, &target)?;
    Ok(0)
}

/// A name that an image is to get: one that can be written down as a tag, and is never taken for a digest.
pub(super) fn new_name(text: &str) -> Result<Reference> {
    let name = Reference::parse(text)?;
    let refused = |text: &str| Err(Error::new(ErrorKind::Invalid, text));
    if name.digest().is_some() {
        return refused("refusing to create a tag with a digest reference");
    }
    if name.repository() == "library/sha256" {
        return refused("refusing to create an ambiguous tag using digest algorithm as name");
    }
    Ok(name)
}

/// Runs `untag`: the image stays, also without a name.
pub fn remove(global: &Global, args: &UntagArgs) -> Result<u8> {
    let store = context::engine(global)?.store;
    let _using = store.lock_shared()?;
    let id = store.find(&args.image)?.id;
    let of_it: Vec<Reference> =
        store.references()?.into_iter().filter(|(_, target)| target.image == id).map(|(name, _)| name).collect();
    let mut chosen = Vec::new();
    for name in &args.names {
        let wanted = Reference::parse(name)?;
        let found = of_it.iter().find(|known| known.familiar_with_tag() == wanted.familiar_with_tag());
        let unknown = || Error::new(ErrorKind::NotFound, format!("{name}: image {} has no such name", id.short()));
        chosen.push(found.ok_or_else(unknown)?);
    }
    if chosen.is_empty() {
        chosen = of_it.iter().collect();
    }
    for name in chosen {
        store.untag(name)?;
    }
    Ok(0)
}
