//! Image archives: what `load` reads and `save` writes.
//!
//! | file | owns |
//! | --- | --- |
//! | [`documents`] | manifests, indexes, docker's `manifest.json`: their bytes, checked |
//! | `resolve` | from documents to images: names, config, which file is which layer; pure |
//! | `scan` | one pass over an archive that may be a pipe; runs in the storage helper |
//! | `directory` | the same of a layout that lies in a directory |
//! | `pick` | which image of a layout is meant, by tag or digest; pure |
//! | [`load`] | verifies what came in against the documents, and publishes it |
//! | `parts` | layers of a layout, one by one |
//! | [`save`] | what goes out, and in which layout |
//! | `sink` | writes it: as a tar or as files; runs in the storage helper |
//!
//! ```text
//! manifest.json              docker: which config and layers are which image, and its names
//! <id>/layer.tar  <hex>.tar  docker before 25, podman: layers, some of them symbolic links to others
//! oci-layout  index.json     OCI image layout; docker from 25 on writes both
//! blobs/sha256/<hex>         manifests, configs, layers
//! lrun-since.json            which layers `save --since` left out
//! ```
//!
//! From a pipe the documents may come last. So every entry that is a layer by its content is unpacked as it passes, and
//! what it was is asked afterwards; nothing of it is used that the documents and digests do not confirm.

mod directory;
pub mod documents;
pub mod load;
mod parts;
mod pick;
mod resolve;
pub mod save;
mod scan;
mod sink;

pub use documents::Platform;
pub use load::{LoadOptions, Loaded, LoadedImage, Source, load};
pub use parts::Parts;
pub use pick::Pick;
pub use save::{Format, SaveOptions, Selected, save, select};

/// docker's document.
const MANIFEST: &str = "manifest.json";
/// docker's document before 1.10, and beside [`MANIFEST`] before 25.
const REPOSITORIES: &str = "repositories";
/// OCI's document.
const INDEX: &str = "index.json";
/// What makes a directory an OCI layout.
const LAYOUT: &str = "oci-layout";
/// The note of `save --since`.
const SINCE: &str = "lrun-since.json";

/// The path of a blob in an archive.
fn blob_path(digest: &crate::digest::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
