//! What a person or a script sees: tables, templates, JSON, units, progress and errors, in docker's forms.
//!
//! Everything here turns plain data into text and touches neither the store nor a container; only [`progress`] writes
//! by itself, to a writer that it is given.

pub mod escape;
pub mod filters;
pub mod inspect;
pub mod progress;
pub mod report;
pub mod rows;
pub mod table;
pub mod template;
pub mod units;
pub mod width;
