//! The `lrun` command.
mod ui;

fn main() {}
