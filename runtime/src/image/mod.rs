//! Images: layers, their archives and indexes, configs, and the store that holds them.

pub mod changes;
pub mod compress;
pub mod config;
pub mod index;
pub mod pack;
pub mod remove;
pub mod store;
pub mod unpack;
