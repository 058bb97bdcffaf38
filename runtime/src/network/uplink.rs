//! What the host's own network is like, asked without sending a packet. Run by the CLI in the host's network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether `address` is one of the host itself. A container cannot reach it as such: pasta gives the container the
/// host's address, and its loopback device is its own.
pub fn is_local(address: IpAddr) -> bool {
    // Only an address of the machine can be bound.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// The host's address on its way out, which pasta also gives to the container; `None` without a default route.
pub fn address() -> Option<IpAddr> {
    // From the ranges for documentation (RFC 5737, RFC 3849): connecting a datagram socket only chooses a route.
    let towards: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(198, 51, 100, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    towards.into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_own_addresses_are_local() {
        for local in ["127.0.0.53", "::1", "0.0.0.0"] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        assert!(!is_local("198.51.100.7".parse().unwrap()));
        if let Some(own) = address() {
            assert!(is_local(own), "{own}");
        }
    }
}
