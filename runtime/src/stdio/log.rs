//! The container's log.
