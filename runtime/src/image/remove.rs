//! Untagging and deletion.
