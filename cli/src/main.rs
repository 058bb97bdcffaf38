//! The `lrun` command.
fn main() {}
