//! Attacks on the host: by a hostile image, by hostile root inside a container, by names and arguments.
//!
//! Each test stands for one row of the classes of vulnerability that container tools have had, and its comment names
//! the row and the class. All go through the command line, and all end with [`host::Host::unharmed`]: a tree outside
//! the store, lrun's own binary and the host's devices are as they were, and no process and no mount is left.
//!
//! | module | rows |
//! | --- | --- |
//! | `binary` | 1: the runtime's binary |
#![forbid(unsafe_code)]

mod binary;
mod host;
