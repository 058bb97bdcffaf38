//! Containers: what is asked for, what is recorded, and their life.

pub mod alive;
mod caller;
pub mod changes;
pub mod commit;
pub mod cp;
pub mod create;
pub mod engine;
pub mod exec;
pub mod export;
pub mod facts;
pub mod launch;
pub mod lifecycle;
pub mod monitor;
pub mod names;
pub mod options;
mod orders;
mod owners;
pub mod pause;
pub mod probe;
pub mod processes;
pub mod record;
pub mod size;
mod sources;
pub mod spec;
mod stack;
