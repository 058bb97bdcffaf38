//! Durable files and locks.
