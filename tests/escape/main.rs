//! Attacks on the host: by a hostile image, by hostile root inside a container, by names and arguments.
//!
//! Each test stands for one row of the classes of vulnerability that container tools have had, and its comment names
//! the row and the class. All go through the command line, and all end with [`host::Host::unharmed`]: a tree outside
//! the store, lrun's own binary and the host's devices are as they were, and no process and no mount is left.
//!
//! | module | rows |
//! | --- | --- |
//! | `binary` | 1: the runtime's binary |
//! | `descriptors` | 2: descriptors and working directories |
//! | `mounts` | 3, 5, 6, 42: mount points and files that are links |
//! | `devices` | 4: devices, console, standard streams |
//! | `identity` | 7, 8, 9: capabilities, users and groups |
//! | `caller` | 10 to 13: the environment, terminal, keys and sockets of the caller |
//! | `kernel` | 14, 16, 17, 18: system calls, settings and files of the kernel |
//! | `names` | 30, 48, 50, 51: names, options and texts; permissions of the store |
//! | `zeros` | 48: names with a zero byte |
//! | `processes` | 1, 18: what of the host a container sees and reaches |
//! | `unpack` | 19 to 23: archives that write outside |
//! | `archives` | 24: archives that programs read differently |
//! | `layers` | 25 to 27: whiteouts and orders to overlayfs |
//! | `bombs` | 28: archives that become large |
//! | `builds` | 2, 7: what `build` starts |
//! | `labels` | 49, 54: words of an image; privileges in files |
//! | `helpers` | 29: programs and libraries of an image that the engine would run |
//! | `copies` | 40: copies between a container and the host |
#![forbid(unsafe_code)]

mod archives;
mod binary;
mod bombs;
mod builds;
mod caller;
mod copies;
mod descriptors;
mod devices;
mod helpers;
mod host;
mod identity;
mod kernel;
mod labels;
mod layers;
mod made;
mod mounts;
mod names;
mod processes;
mod unpack;
mod zeros;
