//! Registries: `pull`, `push`, `login`, `logout`, against Debian's docker-registry with TLS and a password, and against
//! servers that lie.

#[macro_use]
mod docker;

mod builds;
mod crash;
mod distribution;
mod fake;
mod hostile;
mod lines;
mod lists;
mod manifests;
mod mirrors;
mod repair;
mod round_trip;
mod search;
mod tls;
mod trust;
mod uploads;

use lrun_tests::server;
