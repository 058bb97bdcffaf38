//! EXPOSE's ports: `[[address:]host:]port[-last][/protocol]`; what stands before the port means nothing, as in docker.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::error::{Error, ErrorKind, Result};
use crate::image::config::exposed_range;

/// The most ports that one EXPOSE can name: all, for each protocol.
const PORTS_MAX: usize = 3 * (1 << 16);

/// The expanded words of an EXPOSE as single ports with their protocol, as in `80/tcp`.
pub fn exposed<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Vec<String>> {
    let mut exposed = Vec::new();
    for word in words {
        let (ports, protocol) = range(word)?;
        affordable(exposed.len() + ports.len())?;
        exposed.extend(ports.map(|port| format!("{port}/{protocol}")));
    }
    Ok(exposed)
}

/// How many ports a word names, if it is a right one.
pub(super) fn count(word: &str) -> Result<usize> {
    Ok(range(word)?.0.len())
}

pub(super) fn affordable(count: usize) -> Result<()> {
    match count > PORTS_MAX {
        true => Err(invalid(format!("EXPOSE names more than {PORTS_MAX} ports"))),
        false => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

fn range(word: &str) -> Result<(RangeInclusive<u16>, String)> {
    // A protocol may be left out after its slash.
    let word = word.strip_suffix('/').unwrap_or(word);
    let Some((before, port)) = word.rsplit_once(':') else { return exposed_range(word) };
    let (address, host) = before.rsplit_once(':').unwrap_or(("", before));
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(invalid(format!("invalid IP address: {address}")));
    }
    let (ports, protocol) = exposed_range(port)?;
    if !host.is_empty() {
        let hosts = exposed_range(host).ok().filter(|_| !host.contains('/'));
        let Some((hosts, _)) = hosts else { return Err(invalid(format!("invalid hostPort: {host}"))) };
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(invalid(format!("invalid ranges specified for container and host Ports: {port} and {host}")));
        }
    }
    Ok((ports, protocol))
}
