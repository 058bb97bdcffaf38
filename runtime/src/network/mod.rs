//! Networks of a container: the files under `/etc` that tell it about its network, pasta, which connects it, and
//! whether anything came in.

pub mod files;
pub mod pasta;
pub mod received;
pub mod uplink;

use crate::error::{Error, ErrorKind, Result};
use crate::idmap::detect::find_tool;
use std::path::PathBuf;

/// The path of pasta, from the directories that lrun trusts ([`crate::idmap::detect::TOOL_DIRS`]).
pub fn available() -> Result<PathBuf> {
    find_tool("pasta")?.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "pasta is not installed, so containers have no network of their own")
            .hint("install the package passt, or use --network host or --network none")
    })
}
