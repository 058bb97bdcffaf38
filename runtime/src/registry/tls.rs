//! TLS as registries are spoken to: the system's certificates, and for one host those of its directory in `certs.d`.
//!
//! A server that shows the very certificate that the user put there is who it says, also where that is an authority's own
//! (what `openssl req -x509` makes, and docker's guide tells people to use): its dates and name are checked, and that the
//! server has the key.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::http::OwnCertificates;
use crate::error::{Error, ErrorKind, Result};

/// Makes connections over TLS, in the chain of a client's connectors.
pub(super) struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusting these certificates, and `own` for this one host.
    pub(super) fn new(system: &[CertificateDer<'static>], own: OwnCertificates) -> Result<Self> {
        let wrong = |error: rustls::Error| Error::new(ErrorKind::Invalid, format!("the certificates: {error}"));
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.iter().chain(&own.trusted).cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(wrong)?;
        let config = match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() {
            Ok(usual) => {
                let verifier = Verifier { usual, own: own.trusted };
                config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            // No certificate at all: no server is known.
            Err(_) => config.with_root_certificates(RootCertStore::empty()),
        };
        let config = match own.client {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(wrong)?,
            None => config.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

/// The usual verification, and the exception of the module's page.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match self.usual.verify_server_cert(shown, between, name, ocsp, now) {
            // An authority's own: its dates were looked at, its name was not.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) => {
                if !self.own.iter().any(|own| own == shown) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Secured>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ureq::Error::Tls("the host's name is no name"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Secured { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// A connection over TLS.
pub(super) struct Secured {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let got = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(got);
        Ok(got > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
