//! Registries: the OCI distribution protocol (1.1) as its client speaks it, on bytes and streams. Knows no store.
//!
//! Nothing that a server says is trusted. What it names is a digest, and the bytes that are used are hashed; where it
//! points to is an origin, and credentials go to the origin that they are for and nowhere else ([`client`]).

pub mod challenge;
pub mod client;
pub mod credentials;
pub mod helper;
pub mod http;
pub mod link;
pub mod manifest;
pub mod platform;
pub mod proxy;
pub mod referrers;
pub(crate) mod retry;
pub mod search;
mod tls;
mod token;
pub mod upload;
pub mod url;
