//! What a person or a script sees: tables, templates, JSON, units, progress and errors, in docker's forms.
//!
//! Everything here turns plain data into text and touches neither the store nor a container; only [`progress`]
//! and [`transfer`] write by themselves, to a writer that they are given.

pub mod escape;
pub mod filters;
pub mod inspect;
pub mod output;
pub mod progress;
pub mod report;
pub mod rows;
pub mod table;
pub mod template;
pub mod transfer;
pub mod tree;
pub mod units;
pub mod width;
