//! The client's terminal.
