//! EXPOSE's ports: `[[address:]host:]port[-last][/protocol]`; what stands before the port means nothing, as in docker.

use std::net::IpAddr;

use crate::error::{Error, ErrorKind, Result};
use crate::image::config::exposed_ports;

/// The most ports that one EXPOSE can name: all, for each protocol.
const PORTS_MAX: usize = 3 * (1 << 16);

/// The expanded words of an EXPOSE as single ports with their protocol, as in `80/tcp`.
pub fn exposed<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for word in words {
        ports.extend(one(word)?);
        if ports.len() > PORTS_MAX {
            return Err(invalid(format!("EXPOSE names more than {PORTS_MAX} ports")));
        }
    }
    Ok(ports)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

fn one(word: &str) -> Result<Vec<String>> {
    // A protocol may be left out after its slash.
    let word = word.strip_suffix('/').unwrap_or(word);
    let Some((before, port)) = word.rsplit_once(':') else { return exposed_ports(word) };
    let (address, host) = match before.rsplit_once(':') {
        Some((address, host)) => (address, host),
        None => ("", before),
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(invalid(format!("invalid IP address: {address}")));
    }
    let ports = exposed_ports(port)?;
    if !host.is_empty() {
        let hosts = match host.contains('/') {
            true => None,
            false => exposed_ports(host).ok(),
        };
        let Some(hosts) = hosts else { return Err(invalid(format!("invalid hostPort: {host}"))) };
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(invalid(format!("invalid ranges specified for container and host Ports: {port} and {host}")));
        }
    }
    Ok(ports)
}
