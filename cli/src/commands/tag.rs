//! `tag`: another name for an image.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::Reference;

use crate::args::{Global, TagArgs};
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
