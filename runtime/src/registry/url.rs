//! URLs of registries and of what they point to, parsed strictly: scheme, host and port are what credentials are bound
//! to, so two programs must never read them differently.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

const URL_MAX: usize = 16 << 10;

/// `http` or `https`; nothing else is ever connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What credentials belong to: scheme, host and port; RFC 6454.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Name or address in lower case, an IPv6 address in brackets.
    pub host: String,
    /// The port, also where the URL leaves it out.
    pub port: u16,
}

impl Origin {
    /// The origin of `host[:port]`.
    pub fn new(scheme: Scheme, authority: &str) -> Result<Self> {
        let (host, port) = split_port(authority);
        let port = match port {
            None => scheme.port(),
            Some(digits) if !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| invalid(authority, "the port is out of range"))?
            }
            Some(_) => return Err(invalid(authority, "the port is no number")),
        };
        if !is_host(host) {
            return Err(invalid(authority, "the host is not a name or an address"));
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// `host[:port]`, the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_plain(&self) -> bool {
        self.scheme == Scheme::Http
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// An absolute URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whom it is sent to.
    pub origin: Origin,
    /// Path and query; begins with `/`.
    rest: String,
}

fn invalid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(200).collect();
    Error::new(ErrorKind::Invalid, format!("invalid URL {shown:?}: {why}"))
}

/// `[::1]:80` and `host:80`; brackets stay with the host.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after..].split_once(':') {
        Some((rest, port)) => (&authority[..after + rest.len()], Some(port)),
        None => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(address)) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some(None) => false,
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    }
}

/// Printable ASCII without what a path or a query never has: backslashes are slashes to some readers.
fn is_rest(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|'))
}

impl Url {
    /// The URL of a path, which begins with `/`, at an origin.
    pub fn new(origin: &Origin, path: &str) -> Result<Self> {
        if !path.starts_with('/') || !is_rest(path) || path.len() > URL_MAX {
            return Err(invalid(path, "not a path"));
        }
        Ok(Self { origin: origin.clone(), rest: path.to_owned() })
    }

    /// Parses an absolute URL.
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            _ => return Err(invalid(text, "only http and https are spoken")),
        };
        Self::after_scheme(scheme, rest).map_err(|_| invalid(text, "not a plain http or https URL"))
    }

    fn after_scheme(scheme: Scheme, rest: &str) -> Result<Self> {
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Self::new(&Origin::new(scheme, authority)?, &rest)
    }

    /// What a `Location` or `Link` of this URL's answer points to; RFC 3986, section 5.
    pub fn join(&self, location: &str) -> Result<Self> {
        let location = location.trim();
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::after_scheme(self.origin.scheme, rest);
        }
        let location = location.split_once('#').map_or(location, |(before, _)| before);
        let path = self.rest.split_once('?').map_or(self.rest.as_str(), |(path, _)| path);
        let rest = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)]),
            None => return Err(invalid(location, "empty")),
        };
        Self::new(&self.origin, &rest)
    }

    /// The same with one more parameter in the query.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let separator = if self.rest.contains('?') { '&' } else { '?' };
        let rest = format!("{}{separator}{name}={}", self.rest, encode(value));
        Self { origin: self.origin.clone(), rest }
    }

    /// Path and query.
    pub fn rest(&self) -> &str {
        &self.rest
    }
}

/// Percent-encodes what has a meaning in a query or a form.
pub fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_read_as_written() {
        for (text, origin, rest) in [
            ("https://reg.io/v2/", "https://reg.io", "/v2/"),
            ("HTTPS://Reg.IO:443/v2/", "https://reg.io", "/v2/"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", "/"),
            ("https://[::1]:5000/a?b=c#d", "https://[::1]:5000", "/a?b=c"),
            ("https://h?x=1", "https://h", "/?x=1"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.origin.to_string().as_str(), url.rest()), (origin, rest), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for text in [
            "",
            "ftp://h/",
            "file:///etc/passwd",
            "https://",
            "https://user@h/",
            "https://user:pw@h/",
            "https://h\\@evil/",
            "https://h:port/",
            "https://h:99999/",
            "https://h:/",
            "https://[::g]/",
            "https://[::1/",
            "https://h /",
            "https://h/a b",
            "https://h/\r\nX: y",
            "https://h/\u{e9}",
            "https://\u{e9}/",
            "//h/",
            "h/v2/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://reg.io:8443/v2/x/blobs/uploads/?a=b").unwrap();
        for (location, whole) in [
            ("/v2/y", "https://reg.io:8443/v2/y"),
            ("//other/z", "https://other/z"),
            ("http://other/z?u=https://q/", "http://other/z?u=https://q/"),
            ("id?_state=1", "https://reg.io:8443/v2/x/blobs/uploads/id?_state=1"),
            ("?n=2", "https://reg.io:8443/v2/x/blobs/uploads/?n=2"),
            ("/v2/y?back=https://q/", "https://reg.io:8443/v2/y?back=https://q/"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), whole, "{location}");
        }
        assert!(base.join("").is_err() && base.join("https://a@b/").is_err());
    }

    #[test]
    fn parameters_are_encoded() {
        let url = Url::parse("https://h/t").unwrap().with("service", "a b&c").with("scope", "repository:x:pull,push");
        assert_eq!(url.to_string(), "https://h/t?service=a%20b%26c&scope=repository:x:pull%2Cpush");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_is_a_fixed_point(text in "(https?://)?[a-z0-9.:@/?#\\[\\]%\\\\-]{0,40}|\\PC{0,30}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(&Url::parse(&url.to_string()).unwrap(), &url);
                if let Ok(joined) = url.join(&text) {
                    prop_assert_eq!(&Url::parse(&joined.to_string()).unwrap(), &joined);
                }
            }
        }
    }
}
