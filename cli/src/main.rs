//! The `lrun` command.
mod args;
mod ui;

fn main() {}
