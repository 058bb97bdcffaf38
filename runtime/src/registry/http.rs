//! One request and its answer: connections, TLS, proxies. Follows no redirect, knows no credentials, tries once.
//!
//! Synchronous, without a thread of its own. Every origin has connections of its own, with the certificates that its
//! directory of `certs.d` adds to the system's.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::AlertDescription;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::http::{HeaderMap, Method};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, TcpConnector};
use ureq::{Agent, SendBody};

use super::proxy::{AbsoluteForm, Proxies, Resolve, Way};
use super::tls::Tls;
use super::url::{Origin, Url};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;

const CONNECT: Duration = Duration::from_secs(20);
/// A server that is silent for longer is taken for gone.
const SILENCE: Duration = Duration::from_secs(60);
const BUFFER: usize = 128 << 10;
const PEM_MAX: usize = 8 << 20;
const ERROR_MAX: u64 = 64 << 10;

/// Where distributions keep the certificates that they trust, as one file.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How servers are reached and by which certificates they are known.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A file of trusted certificates instead of the system's.
    pub bundle: Option<PathBuf>,
    /// Directories with one directory for each `host[:port]`: `*.crt` are trusted for it, `*.cert` with `*.key` are shown
    /// to it.
    pub certs: Vec<PathBuf>,
    /// Proxies.
    pub proxies: Proxies,
    /// What lrun calls itself.
    pub user_agent: String,
}

/// What is sent with a request.
pub enum Body<'a> {
    /// Nothing.
    None,
    /// These bytes, with their length.
    Bytes(&'a [u8]),
    /// What comes, in chunks.
    Stream(&'a mut dyn Read),
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whom it was asked.
    pub url: Url,
    headers: HeaderMap,
    body: ureq::Body,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.status, self.url.origin)
    }
}

impl Answer {
    /// A header; `None` where it is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Every value of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The body as it comes.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        Box::new(self.body.into_reader())
    }

    /// A body of at most `max` bytes.
    pub fn bytes(mut self, max: usize) -> Result<Vec<u8>> {
        self.read(max).map_err(|failed| failed.error)
    }

    /// [`Answer::bytes`] that tells whether the line broke; to be called once.
    pub fn read(&mut self, max: usize) -> std::result::Result<Vec<u8>, Failed> {
        let origin = &self.url.origin;
        let mut bytes = Vec::new();
        if let Err(error) = self.body.as_reader().take(max as u64 + 1).read_to_end(&mut bytes) {
            let temporary = is_temporary(&error);
            return Err(Failed { error: read_error(error).context(format!("read the answer of {origin}")), temporary });
        }
        if bytes.len() > max {
            let error = Error::new(ErrorKind::Invalid, format!("the answer of {origin} is larger than {max} bytes"));
            return Err(Failed { error, temporary: false });
        }
        Ok(bytes)
    }

    /// What an error's body says, shortened: the registry's own words, if it has any.
    pub fn complaint(self) -> String {
        let status = self.status;
        let mut bytes = Vec::new();
        let _ = self.body.into_reader().take(ERROR_MAX).read_to_end(&mut bytes);
        match complaint(&bytes) {
            Some(text) => text.chars().take(300).collect(),
            None => format!("status {status}"),
        }
    }
}

/// `{"errors": [{"code": …, "message": …}]}`, or a token server's `{"details": …}`.
fn complaint(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    if let Some(details) = value.get("details").and_then(|details| details.as_str()) {
        return Some(details.to_owned());
    }
    let first = value.get("errors")?.get(0)?;
    let text = |name: &str| first.get(name).and_then(|text| text.as_str()).filter(|text| !text.is_empty());
    let code = text("code").map(|code| code.to_ascii_lowercase().replace('_', " "));
    match (code, text("message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(code), None) => Some(code),
        (None, message) => message.map(str::to_owned),
    }
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// Whether another try may succeed.
    pub temporary: bool,
}

/// Whether the network failed in a way that it may not fail again.
pub fn is_temporary(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [Kind::ConnectionReset, Kind::ConnectionAborted, Kind::BrokenPipe, Kind::UnexpectedEof, Kind::TimedOut];
    if kinds.contains(&error.kind()) {
        return true;
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    inner.is_some_and(|inner| match inner {
        ureq::Error::Io(error) => kinds.contains(&error.kind()),
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::BodyStalled => true,
        _ => false,
    })
}

/// An error of reading a body, in plain words.
pub fn read_error(error: io::Error) -> Error {
    match error.downcast::<ureq::Error>() {
        Ok(error) => plain(error),
        Err(error) => error.into(),
    }
}

fn plain(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Io(error) => error.into(),
        ureq::Error::Timeout(_) => Error::new(ErrorKind::Io, "the server does not answer"),
        ureq::Error::HostNotFound => Error::new(ErrorKind::NotFound, "the host has no address"),
        other => Error::new(ErrorKind::Io, other.to_string()),
    }
}

/// Connections to servers.
pub struct Http {
    access: Access,
    system: OnceLock<Arc<Vec<CertificateDer<'static>>>>,
    agents: Mutex<HashMap<Origin, (Agent, Way)>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Http {
    /// No connection is made yet.
    pub fn new(access: Access) -> Self {
        Self { access, system: OnceLock::new(), agents: Mutex::default() }
    }

    /// Sends one request and waits for the answer's headers.
    pub fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        body: Body<'_>,
    ) -> std::result::Result<Answer, Failed> {
        let fatal = |error: Error| Failed { error, temporary: false };
        let (agent, way) = self.agent(&url.origin).map_err(fatal)?;
        let mut request = ureq::http::Request::builder().method(method.clone()).uri(url.to_string());
        if let Some(authorization) = way.authorization() {
            request = request.header("proxy-authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let unusable = |error: ureq::http::Error| fatal(Error::new(ErrorKind::Invalid, format!("{url}: {error}")));
        let answer = match body {
            Body::None => request.body(()).map_err(unusable).map(|request| agent.run(request))?,
            Body::Bytes(bytes) => request.body(bytes).map_err(unusable).map(|request| agent.run(request))?,
            Body::Stream(reader) => {
                request.body(SendBody::from_reader(reader)).map_err(unusable).map(|request| agent.run(request))?
            }
        };
        let answer = answer.map_err(|error| {
            let Failed { error, temporary } = failed(&url.origin, error);
            Failed { error: way.tell(error), temporary }
        })?;
        let (parts, body) = answer.into_parts();
        tracing::debug!(%method, %url, status = parts.status.as_u16(), "http");
        Ok(Answer { status: parts.status.as_u16(), url: url.clone(), headers: parts.headers, body })
    }

    fn agent(&self, origin: &Origin) -> Result<(Agent, Way)> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(origin) {
            return Ok(agent.clone());
        }
        let way = self.access.proxies.way(origin)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(way.tunnel())
            .user_agent(self.access.user_agent.as_str())
            .accept_encoding("identity")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE));
        let config = way.limit(config).build();
        // ureq's own chain, but for the TLS and the proxies of plain HTTP.
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        let connector = connector.chain(AbsoluteForm::new(origin, &way)).chain(self.tls(origin)?);
        let agent = Agent::with_parts(config, connector, Resolve::new(&way));
        agents.insert(origin.clone(), (agent.clone(), way.clone()));
        Ok((agent, way))
    }

    fn tls(&self, origin: &Origin) -> Result<Tls> {
        let mut own = OwnCertificates::default();
        if origin.is_plain() {
            return Tls::new(&[], own);
        }
        for directory in &self.access.certs {
            let found = own_certificates(&directory.join(origin.authority()))?;
            own.trusted.extend(found.trusted);
            own.client = own.client.or(found.client);
        }
        Tls::new(&self.system()?, own)
    }

    fn system(&self) -> Result<Arc<Vec<CertificateDer<'static>>>> {
        if let Some(known) = self.system.get() {
            return Ok(Arc::clone(known));
        }
        let bundle = match &self.access.bundle {
            Some(path) => Some(read_pem(path)?),
            None => BUNDLES.iter().find_map(|path| read_pem(Path::new(path)).ok()),
        };
        let certificates = bundle.map_or_else(Vec::new, |pem| certificates(&pem));
        Ok(Arc::clone(self.system.get_or_init(|| Arc::new(certificates))))
    }
}

fn failed(origin: &Origin, error: ureq::Error) -> Failed {
    let error = error.into_io();
    let temporary = is_temporary(&error);
    let hint = hint(origin, &error);
    let error = if is_no_tls(&error) {
        Error::new(ErrorKind::Io, "the server does not speak TLS: it answers as one for plain HTTP does")
    } else {
        read_error(error)
    };
    let error = error.context(origin.to_string());
    Failed { error: if let Some(hint) = hint { error.hint(hint) } else { error }, temporary }
}

/// What TLS has to complain of.
fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Rustls(error)) => Some(error),
        _ => error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
    }
}

fn is_no_tls(error: &io::Error) -> bool {
    matches!(of_tls(error), Some(rustls::Error::InvalidMessage(_)))
}

/// What the user can do about a server that cannot be spoken to.
fn hint(origin: &Origin, error: &io::Error) -> Option<String> {
    let name = origin.authority();
    match of_tls(error)? {
        rustls::Error::InvalidCertificate(_) => Some(format!(
            "put the certificate of the authority that signed the server's into ~/.config/lrun/certs.d/{name}/ca.crt"
        )),
        rustls::Error::AlertReceived(AlertDescription::BadCertificate | AlertDescription::CertificateRequired) => {
            Some(format!(
                "the registry asks for a certificate of yours: put it and its key into ~/.config/lrun/certs.d/{name}/client.cert and client.key"
            ))
        }
        rustls::Error::InvalidMessage(_) => Some(format!(
            "a registry without TLS is spoken to only where config.toml says so: [registries] insecure = [\"{name}\"]"
        )),
        _ => None,
    }
}

/// What a directory of `certs.d` holds.
#[derive(Default)]
pub(super) struct OwnCertificates {
    /// Trusted for the host.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    /// Shown to it.
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

fn own_certificates(directory: &Path) -> Result<OwnCertificates> {
    let mut own = OwnCertificates::default();
    let mut names = match file::list_dir(directory) {
        // A directory of root's that is nobody else's to read is for root's registries.
        Err(error) if error.kind() == ErrorKind::Permission => return Ok(own),
        other => other?,
    };
    names.sort();
    for name in &names {
        let path = directory.join(name);
        if name.ends_with(".crt") {
            let found = certificates(&read_pem(&path)?);
            if found.is_empty() {
                return Err(Error::new(ErrorKind::Invalid, format!("{} has no certificate", path.display())));
            }
            own.trusted.extend(found);
        } else if let (Some(stem), None) = (name.strip_suffix(".cert"), &own.client) {
            let key_path = directory.join(format!("{stem}.key"));
            let without = || Error::new(ErrorKind::Invalid, format!("{} has no private key", key_path.display()));
            let key = PrivateKeyDer::from_pem_slice(&read_pem(&key_path)?).map_err(|_| without())?;
            own.client = Some((certificates(&read_pem(&path)?), key));
        }
    }
    Ok(own)
}

/// Certificates are often links into another directory, so links are followed here.
fn read_pem(path: &Path) -> Result<Vec<u8>> {
    let attempt = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).context(attempt)?.take(PEM_MAX as u64).read_to_end(&mut bytes).context(attempt)?;
    Ok(bytes)
}

/// What is no certificate in a file of several is passed over.
fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(|found| found.ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_the_registrys_words() {
        for (body, text) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Some("manifest unknown: manifest unknown"),
            ),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, Some("denied")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            ("<html>", None),
            ("{}", None),
        ] {
            assert_eq!(complaint(body.as_bytes()).as_deref(), text, "{body}");
        }
    }

    #[test]
    fn certificates_of_one_host_are_read_from_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(own_certificates(&dir.path().join("none")).unwrap().trusted.is_empty());
        std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
        assert!(own_certificates(dir.path()).is_err());
    }
}
