//! Networks of a container.
