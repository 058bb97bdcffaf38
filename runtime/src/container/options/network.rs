//! Networks and names: `--network`, `--add-host`, `--dns…`, `--hostname`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{invalid, unsupported};
use crate::error::Result;

/// `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing was asked for: `pasta` where it is installed, else `none`.
    #[default]
    Default,
    /// A network namespace of its own, connected by pasta.
    Pasta,
    /// The host's network namespace.
    Host,
    /// A network namespace of its own with nothing but a loopback device.
    None,
    /// The network namespace of that container (name or id as typed).
    Container(String),
}

/// Reads `--network`. docker's `bridge` means the usual private network, which here is pasta's.
pub fn parse_network(text: &str) -> Result<Network> {
    match text {
        "default" => Ok(Network::Default),
        "pasta" | "bridge" => Ok(Network::Pasta),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        _ => match text.strip_prefix("container:") {
            Some("") => Err(invalid("invalid container format container:<name|id>")),
            Some(id) => Ok(Network::Container(id.to_owned())),
            None => Err(unsupported(format!(
                "network {text} not found: this version of lrun has no networks of the user's"
            ))
            .hint("--network is pasta, host or none")),
        },
    }
}

/// One line of `/etc/hosts` that `--add-host` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// Reads `--add-host name:address` or `name=address`; an address may be in square brackets.
pub fn parse_add_host(text: &str) -> Result<HostEntry> {
    let bad = || invalid(format!("bad format for add-host: \"{text}\""));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty()
        || name.len() > 253
        || name.chars().any(|c| matches!(c, ':' | '#') || c.is_whitespace() || c.is_control())
    {
        return Err(bad());
    }
    if address == "host-gateway" {
        return Err(unsupported("host-gateway: a container cannot reach its host through the private network")
            .hint("give an address, or use --network host"));
    }
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| invalid(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok(HostEntry { name: name.to_owned(), address })
}

/// What goes into `/etc/resolv.conf` in place of the host's own; `resolv.conf(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none at all.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.search.is_empty() && self.options.is_empty()
    }
}

/// Reads `--dns`.
pub fn parse_dns_server(text: &str) -> Result<IpAddr> {
    text.trim().parse().map_err(|_| invalid(format!("IP address is not correctly formatted: {text}")))
}

/// Reads `--dns-search`: a domain, or `.`.
pub fn parse_dns_search(text: &str) -> Result<String> {
    let domain = text.trim();
    let label = |label: &str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.bytes().all(word) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = domain.bytes().any(|b| b.is_ascii_alphabetic());
    let fits = is_name && domain.len() <= 255 && domain.strip_suffix('.').unwrap_or(domain).split('.').all(label);
    if domain == "." || fits {
        return Ok(domain.to_owned());
    }
    Err(invalid(format!("{text} is not a valid domain")))
}

/// Reads `--dns-option`: one word.
pub fn parse_dns_option(text: &str) -> Result<String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(invalid(format!("'{text}' is not an option of resolv.conf")));
    }
    Ok(text.to_owned())
}

/// Reads `--hostname` or `--domainname`: 64 bytes at most (`sethostname(2)`), letters, digits, dots, hyphens and
/// underscores.
pub fn parse_hostname(text: &str) -> Result<String> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(invalid(format!("invalid hostname format: {text}")))
}
