//! The attach protocol.
