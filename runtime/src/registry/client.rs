//! One repository of one registry: manifests, blobs, tags, with authorization, redirects and other tries.
//!
//! Credentials and tokens belong to the registry's origin. They are never sent with a request to another, whoever pointed
//! there: a redirect, a `Location`, the link to a next page. A challenge from another origin is not answered.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use ureq::http::Method;

use super::challenge;
use super::credentials::Credentials;
use super::http::{Answer, Body, Failed, Http};
use super::link;
use super::manifest::{ACCEPTED, Descriptor, MANIFEST_MAX};
use super::retry::{ATTEMPTS, delay, is_temporary};
use super::token::{Realm, Token};
use super::url::{Origin, Scheme, Url};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::{DEFAULT_REGISTRY, Reference};

const REDIRECTS: u32 = 5;
/// Where docker's registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";
pub(super) const PAGE_MAX: usize = 4 << 20;
const PAGES: u32 = 1000;

/// What is to be done, which is what a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
}

/// A manifest as it came, checked against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// What its server says it is.
    pub media_type: String,
    /// Of the bytes.
    pub digest: Digest,
}

/// A part of a list.
pub(super) struct Page {
    pub(super) media_type: String,
    /// Which filters the registry says that it applied.
    pub(super) filters: Vec<String>,
    pub(super) bytes: Vec<u8>,
}

/// How the registry wants to be asked.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    Basic,
    Bearer(Realm),
}

/// A client of one repository.
pub struct Client<'a> {
    http: &'a Http,
    origin: Origin,
    registry: String,
    repository: String,
    credentials: Option<Credentials>,
    known: Mutex<Known>,
    tokens: Mutex<HashMap<Vec<String>, Token>>,
    scopes: Vec<String>,
}

/// The body of a blob, from some byte on.
pub struct Stream {
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// How many of the blob's bytes are left out.
    pub from: u64,
}

impl<'a> Client<'a> {
    /// A client of `repository` at `registry`, as names of images have them. `plain`: over HTTP, because the user said so.
    pub fn new(
        http: &'a Http,
        (registry, repository): (&str, &str),
        plain: bool,
        credentials: Option<Credentials>,
        purpose: Purpose,
    ) -> Result<Self> {
        let scheme = if plain { Scheme::Http } else { Scheme::Https };
        let host = if registry == DEFAULT_REGISTRY { DOCKER_HUB } else { registry };
        let actions = if purpose == Purpose::Push { "pull,push" } else { "pull" };
        let scopes = match repository {
            "" => Vec::new(),
            repository => vec![format!("repository:{repository}:{actions}")],
        };
        Ok(Self {
            http,
            origin: Origin::new(scheme, host)?,
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            credentials,
            known: Mutex::new(Known::Nothing),
            tokens: Mutex::default(),
            scopes,
        })
    }

    /// The registry as names have it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// A token is asked for these repositories, too, for reading: layers are mounted from them.
    #[must_use]
    pub fn reading_from(mut self, repositories: &[String]) -> Self {
        self.scopes.extend(repositories.iter().map(|name| format!("repository:{name}:pull")));
        self
    }

    pub(super) fn url(&self, path: &str) -> Result<Url> {
        Url::new(&self.origin, &format!("/v2/{}/{path}", self.repository))
    }

    /// A path of the registry, not of a repository.
    pub(super) fn root(&self, path: &str) -> Result<Url> {
        Url::new(&self.origin, path)
    }

    /// Whether the registry is one and lets this user in; for `login`.
    pub fn ping(&self) -> Result<()> {
        let url = self.root("/v2/")?;
        let answer = self.send(&Method::GET, &url, &[])?;
        match answer.status {
            200 => Ok(()),
            404 => Err(Error::new(ErrorKind::Unsupported, format!("{} is no registry", self.origin))),
            401 => {
                let attempt = format!("login attempt to {} failed with status: 401 Unauthorized", self.origin);
                Err(Error::new(ErrorKind::Permission, format!("{attempt}: {}", answer.complaint())))
            }
            _ => Err(self.refusal(answer, "log in")),
        }
    }

    /// The digest of what a tag points to, where the registry tells it without sending it.
    pub fn manifest_digest(&self, tag: &str) -> Result<Option<Digest>> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let answer = self.send(&Method::HEAD, &url, &[("accept", ACCEPTED.join(", "))])?;
        let digest = answer.header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
        Ok(digest.filter(|_| answer.status == 200))
    }

    /// An image here as people write it.
    fn name_of(&self, reference: &str) -> String {
        let mark = if Digest::parse(reference).is_ok() { '@' } else { ':' };
        let name = format!("{}/{}{mark}{reference}", self.registry, self.repository);
        Reference::parse(&name).map_or(name, |known| known.familiar_with_tag())
    }

    /// A manifest or index by tag or digest.
    pub fn manifest(&self, reference: &str) -> Result<Fetched> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let (answer, bytes) = self.whole(&url, &[("accept", ACCEPTED.join(", "))], MANIFEST_MAX)?;
        match answer.status {
            200 => {}
            404 => return Err(self.refusal(answer, &format!("manifest for {} not found", self.name_of(reference)))),
            _ => return Err(self.refusal(answer, "get the manifest")),
        }
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        let promised = answer.header("docker-content-digest").map(str::to_owned);
        let digest = Digest::of(&bytes);
        let wanted = Digest::parse(reference).ok();
        let promised = promised.map(|text| Digest::parse(&text)).transpose()?;
        if wanted.as_ref().or(promised.as_ref()).is_some_and(|wanted| *wanted != digest)
            || promised.as_ref().is_some_and(|promised| *promised != digest)
        {
            let message = format!("the manifest that {} sent is not what its digest says", self.registry);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(Fetched { bytes, media_type, digest })
    }

    /// A small blob, checked.
    pub fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let most = usize::try_from(descriptor.size).unwrap_or(usize::MAX - 1);
        let (answer, bytes) = self.whole(&self.url(&format!("blobs/{}", descriptor.digest))?, &[], most)?;
        if answer.status != 200 {
            return Err(self.refusal(answer, "get the config"));
        }
        if bytes.len() as u64 != descriptor.size || Digest::of(&bytes) != descriptor.digest {
            let message = format!("blob {} that {} sent is not what its digest says", descriptor.digest, self.registry);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(bytes)
    }

    /// A blob from byte `from` on, as far as the registry can; unchecked.
    pub fn blob(&self, digest: &Digest, from: u64) -> Result<Stream> {
        let range: Vec<_> = (from > 0).then(|| ("range", format!("bytes={from}-"))).into_iter().collect();
        let answer = self.follow(&Method::GET, &self.url(&format!("blobs/{digest}"))?, &range)?;
        let from = match answer.status {
            200 => 0,
            206 if answer.header("content-range").is_some_and(|range| range.starts_with(&format!("bytes {from}-"))) => {
                from
            }
            206 => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("{} sent another part than asked for", self.registry),
                ));
            }
            _ => return Err(self.refusal(answer, "get a layer")),
        };
        Ok(Stream { reader: answer.into_reader(), from })
    }

    /// Every tag of the repository, in the registry's order.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let unread = |_| Error::new(ErrorKind::Invalid, "list the tags: the answer cannot be read");
        self.pages(&self.url("tags/list")?, "list the tags", usize::MAX, |page| {
            serde_json::from_slice(&page.bytes).map(|page: Page| page.tags.unwrap_or_default()).map_err(unread)
        })
    }

    /// Every repository of the registry, where it tells.
    pub(super) fn catalog(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let unread = |_| Error::new(ErrorKind::Invalid, "list the repositories: the answer cannot be read");
        let first = self.root("/v2/_catalog?n=1000")?;
        self.pages(&first, "list the repositories", usize::MAX, |page| {
            serde_json::from_slice(&page.bytes).map(|page: Page| page.repositories.unwrap_or_default()).map_err(unread)
        })
    }

    /// A list of at most `most` entries, page after page.
    pub(super) fn pages<T>(
        &self,
        first: &Url,
        what: &str,
        most: usize,
        read: impl Fn(Page) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let (mut url, mut all) = (first.clone(), Vec::new());
        let wrong = |why: &str| Error::new(ErrorKind::Invalid, format!("{what}: {why}"));
        for _ in 0..PAGES {
            let answer = self.send(&Method::GET, &url, &[])?;
            if answer.status != 200 {
                return Err(self.refusal(answer, what));
            }
            let next = answer.header("link").and_then(link::next).map(|next| url.join(next)).transpose()?;
            let media_type = answer.header("content-type").unwrap_or_default().to_owned();
            let filters = answer.headers("oci-filters-applied").into_iter().map(str::to_owned).collect();
            all.extend(read(Page { media_type, filters, bytes: answer.bytes(PAGE_MAX)? })?);
            if all.len() > most {
                return Err(wrong(&format!("the list has more than {most} entries")));
            }
            match next {
                Some(next) if next == url => return Err(wrong("the list does not end")),
                Some(next) if next.origin == self.origin => url = next,
                Some(_) => return Err(wrong("the list goes on at another server")),
                None => return Ok(all),
            }
        }
        Err(wrong("the list does not end"))
    }

    /// GET along redirects, with a body of at most `max` bytes where the status is 200; asked for again where that was cut off.
    fn whole(&self, url: &Url, headers: &[(&str, String)], max: usize) -> Result<(Answer, Vec<u8>)> {
        let mut attempt = 1;
        loop {
            let mut answer = self.follow(&Method::GET, url, headers)?;
            if answer.status != 200 {
                return Ok((answer, Vec::new()));
            }
            match answer.read(max) {
                Ok(bytes) => return Ok((answer, bytes)),
                Err(Failed { temporary: true, .. }) if attempt < ATTEMPTS => {}
                Err(Failed { error, .. }) => return Err(error),
            }
            tracing::debug!(%url, attempt, "cut off, trying again");
            std::thread::sleep(delay(attempt, None));
            attempt += 1;
        }
    }

    /// GET or HEAD, along redirects. Another origin is asked without credentials, and never in plain text where the registry
    /// itself is spoken to over TLS.
    pub(super) fn follow(&self, method: &Method, url: &Url, headers: &[(&str, String)]) -> Result<Answer> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.send(method, &url, headers)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            url = self.checked(url.join(location)?)?;
        }
        Err(Error::new(ErrorKind::Invalid, format!("{} redirects without end", self.registry)))
    }

    /// A URL that an answer names.
    pub(super) fn checked(&self, url: Url) -> Result<Url> {
        if url.origin.is_plain() && !self.origin.is_plain() {
            let message = format!("{} points to {}, which is not reached over TLS", self.origin, url.origin);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(url)
    }

    /// One request without a body, tried again where that may help.
    pub(super) fn send(&self, method: &Method, url: &Url, headers: &[(&str, String)]) -> Result<Answer> {
        self.send_bytes(method, url, headers, None)
    }

    /// The same with these bytes as its body.
    pub(super) fn send_bytes(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let mut attempt = 1;
        let mut answered = false;
        loop {
            let body = body.map_or(Body::None, Body::Bytes);
            let before = self.known();
            let outcome = self.attempt(method, url, headers, body);
            let pause = match outcome {
                Ok(answer) if answer.status == 401 && url.origin == self.origin && !answered => {
                    answered = true;
                    if self.answer(&answer, &before)? {
                        continue;
                    }
                    return Ok(answer);
                }
                Ok(answer) if is_temporary(answer.status) && attempt < ATTEMPTS => {
                    delay(attempt, answer.header("retry-after"))
                }
                Ok(answer) => return Ok(answer),
                Err(Failed { temporary: true, .. }) if attempt < ATTEMPTS => delay(attempt, None),
                Err(Failed { error, .. }) => return Err(error),
            };
            tracing::debug!(%url, attempt, "trying again");
            std::thread::sleep(pause);
            attempt += 1;
        }
    }

    /// One request, tried once: with a body that cannot be sent twice, or must not. An error that says so is worth another
    /// try; a token that ended is one.
    pub(super) fn send_once(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        body: Body<'_>,
    ) -> std::result::Result<Answer, Failed> {
        let before = self.known();
        let answer = self.attempt(method, url, headers, body)?;
        let is_challenge = answer.status == 401 && url.origin == self.origin;
        let fatal = |error| Failed { error, temporary: false };
        if is_challenge && self.answer(&answer, &before).map_err(fatal)? {
            return Err(Failed { error: self.refusal(answer, "log in"), temporary: true });
        }
        Ok(answer)
    }

    fn attempt(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        body: Body<'_>,
    ) -> std::result::Result<Answer, Failed> {
        let headers = self.authorized(url, headers)?;
        self.http.send(method, url, &headers, body)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The headers of a request: with authorization where it goes to the registry itself, nowhere else.
    fn authorized<'h>(
        &self,
        url: &Url,
        headers: &[(&'h str, String)],
    ) -> std::result::Result<Vec<(&'h str, String)>, Failed> {
        let mut headers = headers.to_vec();
        if url.origin != self.origin {
            return Ok(headers);
        }
        let value = match self.known() {
            Known::Nothing => None,
            Known::Basic => self.credentials.as_ref().map(Credentials::basic),
            Known::Bearer(realm) => Some(format!("Bearer {}", self.token(&realm)?)),
        };
        headers.extend(value.map(|value| ("authorization", value)));
        Ok(headers)
    }

    fn token(&self, realm: &Realm) -> std::result::Result<String, Failed> {
        // Held meanwhile: the threads of one pull need one token.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(&self.scopes).filter(|token| token.is_good()) {
            return Ok(token.text.clone());
        }
        let token = realm.ask(self.http, self.credentials.as_ref(), &self.scopes)?;
        let text = token.text.clone();
        tokens.insert(self.scopes.clone(), token);
        Ok(text)
    }

    /// Takes up a challenge of the registry's, to a request that was sent with what was known `before`. `false`: there is
    /// nothing new to try.
    fn answer(&self, answer: &Answer, before: &Known) -> Result<bool> {
        let mut challenges = Vec::new();
        for header in answer.headers("www-authenticate") {
            challenges.extend(challenge::parse(header)?);
        }
        let bearer =
            challenges.iter().find(|challenge| challenge.scheme == "bearer" && challenge.get("realm").is_some());
        let found = match (bearer, challenges.iter().any(|challenge| challenge.scheme == "basic")) {
            (Some(bearer), _) => {
                let realm = bearer.get("realm").unwrap_or_default();
                Known::Bearer(Realm::new(realm, bearer.get("service"), &self.origin)?)
            }
            (None, true) if self.credentials.as_ref().is_some_and(|c| c.identity_token().is_none()) => Known::Basic,
            (None, _) => return Ok(false),
        };
        // A token that was good a moment ago may have been taken back; one that another thread got meanwhile is new.
        if matches!(before, Known::Bearer(_)) {
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let is_new = !matches!((before, &found), (Known::Basic, Known::Basic));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(is_new)
    }

    /// The error for an answer that is none.
    pub(super) fn refusal(&self, answer: Answer, what: &str) -> Error {
        let status = answer.status;
        let elsewhere = answer.url.origin != self.origin;
        let from = answer.url.origin.to_string();
        let scheme = answer.header("www-authenticate").and_then(|header| header.split(' ').next());
        let asks_password = status == 401 && scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
        let words = match asks_password && self.credentials.is_none() {
            true => "no basic auth credentials".to_owned(),
            false => answer.complaint(),
        };
        let error = |kind, message: String| Error::new(kind, message);
        match status {
            401 | 403 if elsewhere => error(ErrorKind::Permission, format!("{what}: {from}: {words}")),
            401 | 403 if self.repository.is_empty() => error(ErrorKind::Permission, format!("{from}: {words}")),
            401 | 403 => {
                let name = format!("{}/{}", self.registry, self.repository);
                let name = Reference::parse(&name).map_or(name, |known| known.familiar());
                let wanted = if self.scopes.iter().any(|scope| scope.ends_with(",push")) { "push" } else { "pull" };
                let reasons = format!("repository does not exist or may require 'lrun login {}'", self.registry);
                error(ErrorKind::Permission, format!("{wanted} access denied for {name}, {reasons}: {words}"))
                    .hint("it may be open to another user only")
            }
            404 => error(ErrorKind::NotFound, format!("{what}: {words}")),
            429 => error(ErrorKind::Io, format!("{what}: {}: too many requests: {words}", self.registry))
                .hint(format!("later, or after `lrun login {}`", self.registry)),
            _ => error(ErrorKind::Io, format!("{what}: {from} answered {status}: {words}")),
        }
    }
}
