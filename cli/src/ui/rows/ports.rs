//! The PORTS column: published and exposed ports, ranges joined.

use std::net::IpAddr;

/// One port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The port inside the container.
    pub private: u16,
    /// The host's address, where the port is published.
    pub ip: Option<IpAddr>,
    /// The host's port; 0 where the port is only exposed.
    pub public: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Neighbouring ports that are shown as one range.
struct Group<'a> {
    ip: Option<IpAddr>,
    protocol: &'a str,
    first: u16,
    last: u16,
}

/// As in `0.0.0.0:80->80/tcp, 9000-9002/tcp, 127.0.0.1:8080->443/tcp`: ports that keep their number on the host and
/// ports that are only exposed first, joined to ranges, then those with another number on the host.
pub fn display(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort();
    let mut open: Vec<Group<'_>> = Vec::new();
    let mut closed = Vec::new();
    let mut renumbered = Vec::new();
    for port in sorted {
        if let Some(ip) = port.ip.filter(|_| port.public != port.private) {
            renumbered.push(format!("{}->{}/{}", address(ip, port.public), port.private, port.protocol));
            continue;
        }
        let fresh = Group { ip: port.ip, protocol: &port.protocol, first: port.private, last: port.private };
        match open.iter_mut().find(|group| group.ip == port.ip && group.protocol == port.protocol) {
            None => open.push(fresh),
            Some(group) if group.last.checked_add(1) == Some(port.private) => group.last = port.private,
            Some(group) => closed.push(std::mem::replace(group, fresh).shown()),
        }
    }
    closed.extend(open.iter().map(Group::shown));
    closed.extend(renumbered);
    closed.join(", ")
}

impl Group<'_> {
    fn shown(&self) -> String {
        let range = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match self.ip {
            Some(ip) => format!("{}->{range}/{}", address(ip, &range), self.protocol),
            None => format!("{range}/{}", self.protocol),
        }
    }
}

fn address(ip: IpAddr, port: impl std::fmt::Display) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_docker_shows_them() {
        let port = |ip: &str, public, private, protocol: &str| Port {
            private,
            ip: ip.parse().ok(),
            public,
            protocol: protocol.to_owned(),
        };
        for (ports, shown) in [
            (vec![], ""),
            (vec![port("", 0, 9988, "tcp")], "9988/tcp"),
            (vec![port("0.0.0.0", 80, 9090, "tcp")], "0.0.0.0:80->9090/tcp"),
            (vec![port("::", 80, 80, "tcp"), port("0.0.0.0", 80, 80, "tcp")], "0.0.0.0:80->80/tcp, [::]:80->80/tcp"),
            (vec![port("", 0, 9002, "tcp"), port("", 0, 9000, "tcp"), port("", 0, 9001, "tcp")], "9000-9002/tcp"),
            (vec![port("", 0, 80, "tcp"), port("", 0, 82, "tcp"), port("", 0, 82, "udp")], "80/tcp, 82/tcp, 82/udp"),
            (
                vec![port("1.2.3.4", 9998, 9998, "tcp"), port("1.2.3.4", 9999, 9999, "tcp"), port("::1", 1, 2, "udp")],
                "1.2.3.4:9998-9999->9998-9999/tcp, [::1]:1->2/udp",
            ),
        ] {
            assert_eq!(display(&ports), shown);
        }
    }
}
