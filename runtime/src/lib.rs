//! The library behind `lrun`: layers, sandboxes and containers without root and without a daemon.
//!
//! # Floors
//!
//! A module imports only from lower floors or from its own folder; siblings on one floor do not import each other.
//! `tests/architecture.rs` checks it.
//!
//! | floor | module | owns |
//! | --- | --- | --- |
//! | 6 | [`build`] | building images from a Dockerfile |
//! | 5 | [`container`], [`transfer`] | records, lifecycle, monitor, exec, commit; pull and push |
//! | 4 | [`sandbox`] | OCI `Spec` → plan → init; knows no images |
//! | 3 | [`image`], [`network`], [`registry`], [`stdio`] | siblings |
//! | 2 | [`idmap`] | id mappings, entering namespaces, the storage helper |
//! | 1 | [`error`], [`digest`], [`reference`], [`paths`], [`file`], [`settings`] | vocabulary |
//! | 0 | [`sys`] | the only `unsafe`: what nix and rustix do not wrap |
//!
//! The library never prints, exits or reads the environment; the `cli` crate does.

pub mod build;
pub mod container;
pub mod digest;
pub mod error;
pub mod file;
pub mod idmap;
pub mod image;
pub mod network;
pub mod paths;
pub mod reference;
pub mod registry;
pub mod sandbox;
pub mod settings;
pub mod stdio;
pub mod sys;
pub mod transfer;

pub use error::{Error, ErrorKind, Result};
