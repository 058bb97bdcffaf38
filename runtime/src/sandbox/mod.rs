//! The sandbox: an OCI runtime `Spec` becomes a [`plan`], and [`init`] applies it. Knows no images.
//!
//! [`lower`] decides (pure), [`init`] and [`join`] do. Everything that enters a container runs from a protected clone of
//! lrun's binary ([`reexec`]) and ends in [`process`], so that the entrypoint and what `exec` adds are confined alike.

pub mod caps;
pub mod channel;
mod device;
mod hidden;
pub mod init;
pub mod join;
pub mod keyring;
pub mod lower;
mod mounts;
pub mod plan;
pub mod process;
pub mod reads;
mod reaper;
pub mod reexec;
mod rootfs;
pub mod seccomp;
mod source;
mod terminal;
pub mod user;
pub mod view;

pub use rootfs::open_or_make_by;
