//! Compressed archives, recognised by content.
