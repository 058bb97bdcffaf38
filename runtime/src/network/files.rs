//! The text of `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` of a container: pure functions.

use super::pasta::DNS_FORWARD;
use crate::error::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr};

/// How a container's network reaches the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is the host's own network namespace.
    Host,
    /// Through pasta.
    Pasta,
    /// Not at all.
    None,
}

/// What `--dns`, `--dns-search` and `--dns-option` ask for; an empty list leaves the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct DnsWishes<'a> {
    /// Name servers.
    pub servers: &'a [IpAddr],
    /// Search domains; a single `.` means none.
    pub search: &'a [String],
    /// Words of the `options` line.
    pub options: &'a [String],
}

/// A container's resolver configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text; `resolv.conf(5)`.
    pub text: String,
    /// Whether it names [`DNS_FORWARD`], so that pasta has to forward it to the host's resolver.
    pub forward: bool,
}

/// One word of a line, so that no value can add a line of its own.
fn word<'a>(what: &str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#') {
        return Err(Error::new(ErrorKind::Invalid, format!("{what} {value:?} is not one word")));
    }
    Ok(value)
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// The container's own name.
#[derive(Clone, Copy, Debug)]
pub struct OwnName<'a> {
    /// Its host name, with or without a domain.
    pub hostname: &'a str,
    /// `--domainname`.
    pub domain: Option<&'a str>,
    /// Its address, where it has one that is known; else the name stands for the loopback device, as Debian does.
    pub address: Option<IpAddr>,
}

impl OwnName<'_> {
    /// Address, full name, short name.
    fn line(&self) -> Result<String> {
        let address = self.address.unwrap_or(Ipv4Addr::new(127, 0, 1, 1).into());
        let hostname = word("host name", self.hostname)?;
        Ok(match (self.domain, hostname.split_once('.')) {
            (Some(domain), _) => format!("{address}\t{hostname}.{} {hostname}\n", word("domain name", domain)?),
            (None, Some((short, _))) if !short.is_empty() => format!("{address}\t{hostname} {short}\n"),
            (None, _) => format!("{address}\t{hostname}\n"),
        })
    }
}

/// `/etc/hosts`: docker's layout and order; nothing of the host's file.
pub fn hosts_file(own: &OwnName<'_>, extra: &[(String, IpAddr)]) -> Result<String> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    text += &extra_lines(extra)?;
    text += &own.line()?;
    Ok(text)
}

/// `/etc/hosts` with the host's network: what the host calls by a name there, the container does too.
pub fn hosts_of_host(host_text: &str, own: &OwnName<'_>, extra: &[(String, IpAddr)]) -> Result<String> {
    let mut text = host_text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &extra_lines(extra)?;
    let names = |line: &str| {
        line.split('#').next().unwrap_or_default().split_ascii_whitespace().skip(1).any(|n| n == own.hostname)
    };
    if !host_text.lines().any(names) {
        text += &own.line()?;
    }
    Ok(text)
}

fn extra_lines(extra: &[(String, IpAddr)]) -> Result<String> {
    extra.iter().map(|(name, address)| Ok(format!("{address}\t{}\n", word("host name", name)?))).collect()
}

/// What of the host's `resolv.conf` a container's is made of.
#[derive(Debug, Default, PartialEq, Eq)]
struct HostResolver<'a> {
    servers: Vec<IpAddr>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

/// `resolv.conf(5)`: the last `search` (or `domain`) line counts, `options` add up; anything else is skipped. A server
/// with a zone (`fe80::1%eth0`) means an interface that the container does not have.
fn parse(text: &str) -> HostResolver<'_> {
    let mut host = HostResolver::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(|server| server.parse().ok());
                host.servers.extend(server.filter(|server| !host.servers.contains(server)));
            }
            Some("search" | "domain") => host.search = words.collect(),
            Some("options") => host.options.extend(words),
            _ => {}
        }
    }
    host
}

/// `/etc/resolv.conf`. With the host's network it is the host's file as it is, unless something is asked for. Through
/// pasta, servers that only the host can reach (`is_local`, see [`super::uplink::is_local`]) are left out; where no
/// other is left, pasta's own address stands for them. The host's file is read as text, and what it should not contain
/// is dropped.
pub fn resolv_conf(
    host_text: &str,
    wishes: &DnsWishes<'_>,
    access: Access,
    is_local: impl Fn(IpAddr) -> bool,
) -> Result<ResolvConf> {
    let asked = !(wishes.servers.is_empty() && wishes.search.is_empty() && wishes.options.is_empty());
    if access == Access::Host && !asked {
        return Ok(ResolvConf { text: host_text.to_owned(), forward: false });
    }
    let host = parse(host_text);
    let mut servers = if wishes.servers.is_empty() { host.servers } else { wishes.servers.to_vec() };
    let mut forward = false;
    if access != Access::Host && wishes.servers.is_empty() {
        servers.retain(|server| !is_local(*server));
        if servers.is_empty() && access == Access::Pasta {
            servers.push(DNS_FORWARD.into());
            forward = true;
        }
    }
    let text = render(&servers, &chosen(wishes.search, host.search), &chosen(wishes.options, host.options))?;
    Ok(ResolvConf { text, forward })
}

fn chosen<'a>(asked: &'a [String], of_host: Vec<&'a str>) -> Vec<&'a str> {
    if asked.is_empty() { of_host } else { asked.iter().map(String::as_str).collect() }
}

fn render(servers: &[IpAddr], search: &[&str], options: &[&str]) -> Result<String> {
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if search != ["."] {
        text += &line("search", "search domain", search)?;
    }
    text += &line("options", "resolver option", options)?;
    Ok(text)
}

fn line(keyword: &str, what: &str, words: &[&str]) -> Result<String> {
    if words.is_empty() {
        return Ok(String::new());
    }
    let words = words.iter().map(|value| word(what, value)).collect::<Result<Vec<_>>>()?;
    Ok(format!("{keyword} {}\n", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts() {
        let extra = [("db".to_owned(), ip("10.0.0.7")), ("six".to_owned(), ip("fd00::7"))];
        let own = OwnName { hostname: "4c1c0ee8492b", domain: None, address: Some(ip("192.0.2.2")) };
        insta::assert_snapshot!(hosts_file(&own, &extra).unwrap(), @r"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        10.0.0.7	db
        fd00::7	six
        192.0.2.2	4c1c0ee8492b
        ");
        let name = |hostname, domain| OwnName { hostname, domain, address: None };
        let last = |own: OwnName<'_>| hosts_file(&own, &[]).unwrap().lines().last().unwrap().to_owned();
        assert_eq!(last(name("web.example.org", None)), "127.0.1.1\tweb.example.org web");
        assert_eq!(last(name("web", Some("example.org"))), "127.0.1.1\tweb.example.org web");
        for bad in ["", "a b", "a\nb", "a#b", "a\u{2028}b"] {
            assert!(hosts_file(&name(bad, None), &[]).is_err(), "{bad:?}");
            assert!(hosts_file(&name("c", Some(bad)), &[]).is_err(), "{bad:?}");
            assert!(hosts_file(&name("c", None), &[(bad.to_owned(), ip("::1"))]).is_err(), "{bad:?}");
        }
        assert_eq!(hostname_file("c"), "c\n");
    }

    #[test]
    fn the_hosts_names_come_with_its_network() {
        let own = OwnName { hostname: "node1", domain: None, address: None };
        let extra = [("db".to_owned(), ip("10.0.0.7"))];
        let host = "127.0.0.1 localhost\n10.1.1.1 node1.cluster node1 # this one\n10.1.1.2 node2";
        assert_eq!(hosts_of_host(host, &own, &extra).unwrap(), format!("{host}\n10.0.0.7\tdb\n"));
        let own = OwnName { hostname: "box", ..own };
        assert_eq!(hosts_of_host("# box\n", &own, &[]).unwrap(), "# box\n127.0.1.1\tbox\n");
    }

    const HOST: &str = "# made by hand\ndomain old.example\nnameserver 127.0.0.53 # stub\nnameserver 192.0.2.53\n\
        nameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver broken\nsearch a.example b.example ; two\n\
        options edns0\noptions trust-ad\nsortlist 1.2.3.4\n";

    #[test]
    fn resolver_configurations() {
        let none = DnsWishes::default();
        let servers = [ip("192.0.2.99")];
        let dot = [".".to_owned()];
        let own = ["c.example".to_owned()];
        let ndots = ["ndots:2".to_owned()];
        let stub = "nameserver 127.0.0.53\nsearch a.example\n";
        let cases: [(&str, &str, DnsWishes<'_>, Access, &str, bool); 9] = [
            ("host", HOST, none, Access::Host, HOST, false),
            (
                "pasta",
                HOST,
                none,
                Access::Pasta,
                "nameserver 192.0.2.53\nsearch a.example b.example\noptions edns0 trust-ad\n",
                false,
            ),
            ("stub only", stub, none, Access::Pasta, "nameserver 169.254.1.1\nsearch a.example\n", true),
            ("none", stub, none, Access::None, "search a.example\n", false),
            ("empty", "", none, Access::Pasta, "nameserver 169.254.1.1\n", true),
            (
                "--dns",
                stub,
                DnsWishes { servers: &servers, ..none },
                Access::Pasta,
                "nameserver 192.0.2.99\nsearch a.example\n",
                false,
            ),
            (
                "--dns-search .",
                stub,
                DnsWishes { search: &dot, ..none },
                Access::Pasta,
                "nameserver 169.254.1.1\n",
                true,
            ),
            (
                "--dns-search",
                HOST,
                DnsWishes { search: &own, options: &ndots, ..none },
                Access::Pasta,
                "nameserver 192.0.2.53\nsearch c.example\noptions ndots:2\n",
                false,
            ),
            (
                "host and wishes",
                stub,
                DnsWishes { options: &ndots, ..none },
                Access::Host,
                "nameserver 127.0.0.53\nsearch a.example\noptions ndots:2\n",
                false,
            ),
        ];
        for (name, host, wishes, access, text, forward) in cases {
            let made = resolv_conf(host, &wishes, access, |server| server.is_loopback()).unwrap();
            assert_eq!(made, ResolvConf { text: text.to_owned(), forward }, "{name}");
        }
    }

    #[test]
    fn a_wish_cannot_add_a_line() {
        let bad = ["x\nnameserver 6.6.6.6".to_owned()];
        for wishes in
            [DnsWishes { search: &bad, ..Default::default() }, DnsWishes { options: &bad, ..Default::default() }]
        {
            assert!(resolv_conf("", &wishes, Access::Pasta, |_| false).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_host_file_gives_well_formed_lines(text in "(nameserver|search|options|domain|#|[0-9.:a-f ]|\\PC|\t|\n){0,60}") {
            if let Ok(made) = resolv_conf(&text, &DnsWishes::default(), Access::Pasta, |server| server.is_loopback()) {
                for line in made.text.lines() {
                    prop_assert!(["nameserver ", "search ", "options "].iter().any(|word| line.starts_with(word)), "{line:?}");
                }
                prop_assert!(made.text.contains("nameserver "));
            }
        }
    }
}
