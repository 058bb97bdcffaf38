//! `port`: where the ports of a container are reached on the host, which none is.

use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::config::exposed_ports;

use crate::args::{Global, PortArgs};
use crate::context;

/// Runs the command.
pub fn run(global: &Global, args: &PortArgs) -> Result<u8> {
    let record = lifecycle::look(&context::engine(global)?, &args.container)?;
    let Some(wanted) = &args.port else { return Ok(0) };
    let port = exposed_ports(wanted)?.join(", ");
    Err(Error::new(ErrorKind::NotFound, format!("no public port '{port}' published for {}", record.name))
        .hint("this version of lrun does not publish ports; with --network host the command listens on the host's own addresses"))
}
