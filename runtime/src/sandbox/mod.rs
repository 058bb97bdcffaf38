//! The sandbox: an OCI runtime `Spec` becomes a plan, and init applies it. Knows no images.

pub mod caps;
pub mod seccomp;
