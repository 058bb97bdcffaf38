//! A tree becomes a tar.
