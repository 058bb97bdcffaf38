//! `tag`: another name for an image; `untag`: one less.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::Reference;

use crate::args::{Global, TagArgs, UntagArgs};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: &TagArgs) -> Result<u8> {
    let target = Reference::parse(&args.target)?;
    if target.digest().is_some() {
        return Err(Error::new(ErrorKind::Invalid, "refusing to create a tag with a digest reference"));
    }
    if target.repository() == "library/sha256" {
        let text = "refusing to create an ambiguous tag using digest algorithm as name";
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let store = context::engine(global)?.store;
    let _using = store.lock_shared()?;
    store.tag(&store.find(&args.source)?.id, &target)?;
    Ok(0)
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
