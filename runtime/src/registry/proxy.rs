//! Proxies: which one a request goes through, and how, as Go's net/http has it and so docker and podman.
//!
//! TLS goes through a tunnel (CONNECT). A request in plain HTTP is the proxy's to make: it is sent to the proxy, with the
//! absolute URL in its first line. Only a proxy that is itself spoken to over TLS is asked for a tunnel for these, too.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};
use ureq::{Proxy, ProxyProtocol};

use super::url::{Origin, Scheme};
use crate::error::{Error, ErrorKind, Result};

/// Proxies, as the caller's environment names them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts, domains and networks that are spoken to directly; `*` for all.
    pub none: Vec<String>,
}

impl Proxies {
    /// The proxy for an origin. The machine itself is never reached through one.
    pub fn of(&self, origin: &Origin) -> Option<&str> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        };
        let host = origin.host.trim_start_matches('[').trim_end_matches(']');
        let own = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        proxy.filter(|proxy| {
            !proxy.is_empty() && !own && !self.none.iter().any(|entry| is_excepted(entry, host, origin.port))
        })
    }

    /// How an origin is reached.
    pub(super) fn way(&self, origin: &Origin) -> Result<Way> {
        let Some(named) = self.of(origin) else { return Ok(Way::Direct) };
        let proxy = Proxy::new(named).ok();
        match proxy.as_ref().map(Proxy::protocol) {
            Some(ProxyProtocol::Http) if origin.is_plain() => Ok(proxy.map_or(Way::Direct, Way::Forward)),
            Some(ProxyProtocol::Http | ProxyProtocol::Https) => Ok(proxy.map_or(Way::Direct, Way::Tunnel)),
            _ => {
                let message = format!("the proxy {named:?} is no URL of an http or https proxy");
                let error = Error::new(ErrorKind::Invalid, message);
                Err(error.hint("look at the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY"))
            }
        }
    }
}

/// An entry of `NO_PROXY`: `*`, a network, an address, `host` with all below it, `.domain` for what is below it alone;
/// all but the first two may have a port.
fn is_excepted(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    if entry == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse(), bits.parse())
    {
        return address.is_some_and(|address| in_network(address, network, bits));
    }
    let (name, at) = match entry.rsplit_once(':') {
        Some((name, at)) if !name.contains(':') || name.ends_with(']') => (name, Some(at)),
        _ => (entry.as_str(), None),
    };
    if at.is_some_and(|at| at != port.to_string()) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(excepted) = name.parse::<IpAddr>() {
        return address == Some(excepted);
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let domain = name.strip_prefix('.').unwrap_or(name);
    let below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && (below || host == name)
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    use IpAddr::{V4, V6};
    match (address, network) {
        (V4(a), V4(n)) if bits <= 32 => (a.to_bits() ^ n.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0,
        (V6(a), V6(n)) if bits <= 128 => (a.to_bits() ^ n.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0,
        _ => false,
    }
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Direct,
    /// The proxy opens a connection, and sees nothing of what goes through.
    Tunnel(Proxy),
    /// The proxy makes the request.
    Forward(Proxy),
}

impl Way {
    pub(super) fn tunnel(&self) -> Option<Proxy> {
        match self {
            Self::Tunnel(proxy) => Some(proxy.clone()),
            Self::Direct | Self::Forward(_) => None,
        }
    }

    fn forward(&self) -> Option<&Proxy> {
        match self {
            Self::Forward(proxy) => Some(proxy),
            Self::Direct | Self::Tunnel(_) => None,
        }
    }

    /// Says of a failure that there is a proxy on the way: its message names the server, whoever failed.
    pub(super) fn tell(&self, error: Error) -> Error {
        let (Self::Tunnel(proxy) | Self::Forward(proxy)) = self else { return error };
        let place = format!("{}:{}", proxy.host(), proxy.port());
        error.hint(format!("it is reached through the proxy {place}, of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"))
    }

    /// What a proxy that makes requests is told of the user.
    pub(super) fn authorization(&self) -> Option<String> {
        let proxy = self.forward()?;
        let (user, password) = (proxy.username(), proxy.password());
        user.or(password)?;
        let both = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
        Some(format!("Basic {}", STANDARD.encode(both)))
    }

    /// [`Absolute`] knows where a request begins by having one for each connection.
    pub(super) fn limit(&self, config: ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope> {
        if self.forward().is_some() { config.max_idle_connections(0) } else { config }
    }
}

/// Finds the address to connect to: the server's, or that of the proxy that makes the requests.
#[derive(Debug)]
pub(super) struct Resolve {
    instead: Option<Uri>,
    names: DefaultResolver,
}

impl Resolve {
    pub(super) fn new(way: &Way) -> Self {
        Self { instead: way.forward().map(|proxy| proxy.uri().clone()), names: DefaultResolver::default() }
    }
}

impl Resolver for Resolve {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        self.names.resolve(self.instead.as_ref().unwrap_or(uri), config, timeout)
    }
}

/// In the chain of connectors: has the requests of a connection to a proxy name their server.
#[derive(Debug)]
pub(super) struct AbsoluteForm(Option<String>);

impl AbsoluteForm {
    pub(super) fn new(origin: &Origin, way: &Way) -> Self {
        Self(way.forward().map(|_| origin.to_string()))
    }
}

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = Either<In, Absolute<In>>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| match &self.0 {
            Some(origin) => Either::B(Absolute { inner, origin: Some(origin.clone()) }),
            None => Either::A(inner),
        }))
    }
}

/// A connection to a proxy, for one request.
pub(super) struct Absolute<T> {
    inner: T,
    /// Until the first line was sent.
    origin: Option<String>,
}

impl<T> fmt::Debug for Absolute<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Absolute").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl<T: Transport> Transport for Absolute<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        let Some(origin) = self.origin.take() else { return self.inner.transmit_output(amount, timeout) };
        let head = absolute(&self.inner.buffers().output()[..amount], &origin);
        let room = self.inner.buffers().output().len();
        for piece in head.chunks(room) {
            self.inner.buffers().output()[..piece.len()].copy_from_slice(piece);
            self.inner.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// `GET /path HTTP/1.1…` → `GET http://host/path HTTP/1.1…`
fn absolute(head: &[u8], origin: &str) -> Vec<u8> {
    let target = head.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    [&head[..target], origin.as_bytes(), &head[target..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::url::Url;
    use super::*;

    fn except(entries: &[&str]) -> Proxies {
        Proxies {
            http: Some("http://plain:1".to_owned()),
            https: Some("http://secure:2".to_owned()),
            none: entries.iter().map(|entry| (*entry).to_owned()).collect(),
        }
    }

    #[test]
    fn proxies_are_chosen_as_everywhere() {
        let proxies = except(&[
            "Corp.example",
            ".dot.example",
            "*.star.example",
            "only:8443",
            "10.0.0.0/8",
            "fd00::/8",
            "192.0.2.7:5000",
            "[2001:db8::1]:5000",
            "2001:db8::2",
        ]);
        for (url, proxy) in [
            ("https://reg.io/", Some("http://secure:2")),
            ("http://reg.io/", Some("http://plain:1")),
            ("https://corp.example/", None),
            ("https://a.corp.example/", None),
            ("https://notcorp.example/", Some("http://secure:2")),
            ("https://a.dot.example/", None),
            ("https://dot.example/", Some("http://secure:2")),
            ("https://a.star.example/", None),
            ("https://star.example/", Some("http://secure:2")),
            ("https://only:8443/", None),
            ("https://only/", Some("http://secure:2")),
            ("https://10.1.2.3/", None),
            ("https://11.1.2.3/", Some("http://secure:2")),
            ("http://192.0.2.7:5000/", None),
            ("http://192.0.2.7/", Some("http://plain:1")),
            ("https://[fd00::1]/", None),
            ("https://[fe80::1]/", Some("http://secure:2")),
            ("http://[2001:db8::1]:5000/", None),
            ("http://[2001:db8::1]/", Some("http://plain:1")),
            ("http://[2001:db8:0::2]/", None),
            ("http://localhost:5000/", None),
            ("http://127.0.0.1:5000/", None),
            ("http://127.9.9.9/", None),
            ("http://[::1]:5000/", None),
        ] {
            assert_eq!(proxies.of(&Url::parse(url).unwrap().origin), proxy, "{url}");
        }
        assert_eq!(except(&["*"]).of(&Url::parse("https://reg.io/").unwrap().origin), None);
    }

    #[test]
    fn plain_requests_are_the_proxys_to_make_and_others_go_through_a_tunnel() {
        let way = |proxy: &str, url: &str| {
            let proxies = Proxies { http: Some(proxy.into()), https: Some(proxy.into()), none: Vec::new() };
            proxies.way(&Url::parse(url).unwrap().origin)
        };
        assert!(matches!(way("http://p:1", "http://r.io/"), Ok(Way::Forward(_))));
        assert!(matches!(way("p:1", "http://r.io/"), Ok(Way::Forward(_))));
        assert!(matches!(way("http://p:1", "https://r.io/"), Ok(Way::Tunnel(_))));
        assert!(matches!(way("https://p:1", "http://r.io/"), Ok(Way::Tunnel(_))));
        assert!(matches!(way("http://p:1", "http://localhost/"), Ok(Way::Direct)));
        assert!(way("socks5://p:1", "http://r.io/").is_err());
        let authorization = way("http://ada:secret@p:1", "http://r.io/").unwrap().authorization();
        assert_eq!(authorization.as_deref(), Some("Basic YWRhOnNlY3JldA=="));
        assert_eq!(way("http://ada:secret@p:1", "https://r.io/").unwrap().authorization(), None);
    }

    #[test]
    fn the_first_line_names_the_server() {
        let head = absolute(b"GET /v2/?n=1 HTTP/1.1\r\nhost: r.io:5000\r\n\r\n", "http://r.io:5000");
        assert_eq!(head, b"GET http://r.io:5000/v2/?n=1 HTTP/1.1\r\nhost: r.io:5000\r\n\r\n");
    }
}
