//! Bearer tokens: asked of the server that the registry names, the realm.
//!
//! The realm gets the user's password, so it is believed only so far: what a registry over TLS names must be reached over
//! TLS; a registry in plain text names itself, or a realm over TLS.

use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Method;

use super::credentials::Credentials;
use super::http::{Body, Failed, Http};
use super::url::{Origin, Url, encode};
use crate::error::{Error, ErrorKind, Result};

const ANSWER_MAX: usize = 1 << 20;
/// How long a token without a word about that is good for.
const SECONDS: u64 = 60;
/// It is taken for old this much earlier.
const MARGIN: Duration = Duration::from_secs(5);
/// What lrun calls itself to token servers.
const CLIENT: &str = "lrun";

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    url: Url,
    service: Option<String>,
}

/// A token and its end.
#[derive(Clone)]
pub struct Token {
    /// What goes behind `Bearer`.
    pub text: String,
    good_until: Instant,
}

impl Token {
    /// Whether it still can be used.
    pub fn is_good(&self) -> bool {
        Instant::now() < self.good_until
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Realm {
    /// The realm that the registry at `registry` names.
    pub fn new(realm: &str, service: Option<&str>, registry: &Origin) -> Result<Self> {
        let url = Url::parse(realm).map_err(|error| error.context(format!("{registry} names its token server")))?;
        let own_plain = registry.is_plain() && url.origin.host == registry.host;
        if url.origin.is_plain() && !own_plain {
            let message =
                format!("{registry} sends users to {}, where a password could be read on the way", url.origin);
            return Err(Error::new(ErrorKind::Unsupported, message)
                .hint("the registry's token server must be reached over https: ask whoever runs it"));
        }
        Ok(Self { url, service: service.map(str::to_owned) })
    }

    /// Asks for a token with these scopes.
    pub fn ask(
        &self,
        http: &Http,
        credentials: Option<&Credentials>,
        scopes: &[String],
    ) -> std::result::Result<Token, Failed> {
        let identity = credentials.and_then(Credentials::identity_token);
        let answer = match identity {
            Some(token) => self.refresh(http, token, scopes)?,
            None => {
                let mut url = self.url.clone();
                for (name, value) in
                    self.service.iter().map(|s| ("service", s)).chain(scopes.iter().map(|s| ("scope", s)))
                {
                    url = url.with(name, value);
                }
                let mut headers = Vec::new();
                if let Some(credentials) = credentials {
                    url = url.with("account", &credentials.username);
                    headers.push(("authorization", credentials.basic()));
                }
                http.send(&Method::GET, &url, &headers, Body::None)?
            }
        };
        let temporary = super::retry::is_temporary(answer.status);
        if answer.status != 200 {
            let kind = if matches!(answer.status, 401 | 403) { ErrorKind::Permission } else { ErrorKind::Io };
            let message = format!("{}: no token: {}", self.url.origin, answer.complaint());
            return Err(Failed { error: Error::new(kind, message), temporary });
        }
        self.read(answer).map_err(|error| Failed { error, temporary: false })
    }

    fn read(&self, answer: super::http::Answer) -> Result<Token> {
        let wrong = || Error::new(ErrorKind::Invalid, format!("{} gave no token", self.url.origin));
        let answer: Answer = serde_json::from_slice(&answer.bytes(ANSWER_MAX)?).map_err(|_| wrong())?;
        let text = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).ok_or_else(wrong)?;
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        let seconds = answer.expires_in.unwrap_or(SECONDS).clamp(SECONDS, 24 * 3600);
        Ok(Token { text, good_until: Instant::now() + Duration::from_secs(seconds) - MARGIN })
    }

    /// OAuth 2, RFC 6749, section 6.
    fn refresh(&self, http: &Http, token: &str, scopes: &[String]) -> std::result::Result<super::http::Answer, Failed> {
        let mut form = format!("grant_type=refresh_token&client_id={CLIENT}&refresh_token={}", encode(token));
        if let Some(service) = &self.service {
            form.push_str(&format!("&service={}", encode(service)));
        }
        if !scopes.is_empty() {
            form.push_str(&format!("&scope={}", encode(&scopes.join(" "))));
        }
        let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
        http.send(&Method::POST, &self.url, &headers, Body::Bytes(form.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_reached_over_tls_or_is_the_plain_registry_itself() {
        let origin = |text: &str| Url::parse(text).unwrap().origin;
        for (registry, realm, fine) in [
            ("https://reg.io/", "https://reg.io/token", true),
            ("https://reg.io/", "https://auth.other.io/token", true),
            ("https://reg.io/", "http://reg.io/token", false),
            ("https://reg.io/", "http://127.0.0.1/token", false),
            ("http://reg.io:5000/", "http://reg.io:5001/token", true),
            ("http://reg.io:5000/", "https://auth.io/token", true),
            ("http://reg.io:5000/", "http://evil.io/token", false),
            ("https://reg.io/", "/token", false),
            ("https://reg.io/", "ftp://reg.io/token", false),
            ("https://reg.io/", "https://user:pw@reg.io/token", false),
        ] {
            assert_eq!(Realm::new(realm, None, &origin(registry)).is_ok(), fine, "{registry} {realm}");
        }
    }
}
