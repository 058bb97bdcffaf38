//! What a read-write layer changed.
