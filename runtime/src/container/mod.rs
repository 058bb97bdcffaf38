//! Containers: what is asked for, what is recorded, and their life.

pub mod facts;
pub mod names;
pub mod options;
pub mod record;
pub mod spec;
