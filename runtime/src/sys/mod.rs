//! System calls that nix and rustix do not wrap: the only `unsafe` code of lrun.

pub mod seccomp;
