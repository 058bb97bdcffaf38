//! The `lrun` command.
#![forbid(unsafe_code)]
mod args;
mod ui;

fn main() {}
