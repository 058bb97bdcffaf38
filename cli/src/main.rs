//! The `lrun` command.
mod args;

fn main() {}
