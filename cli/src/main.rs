//! The `lrun` command.
#![forbid(unsafe_code)]

fn main() {}
