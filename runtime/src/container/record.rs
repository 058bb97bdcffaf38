//! The record of a container.
