//! Generated names.
