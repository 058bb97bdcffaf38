//! Images: layers, their archives and indexes, configs, and the store that holds them.

pub mod archive;
pub(crate) mod attributes;
pub mod changes;
pub mod check;
pub mod compress;
pub mod config;
pub mod copy;
pub mod files;
pub mod import;
pub mod index;
mod merged;
pub mod owners;
pub mod pack;
pub mod remove;
pub mod stack;
pub mod store;
pub mod tar;
pub(crate) mod tree;
pub mod unpack;
pub mod usage;
