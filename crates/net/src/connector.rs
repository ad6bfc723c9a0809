//! TLS settings of connections that we open: whom to trust, and who we are.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, KeyLogFile, RootCertStore,
    SignatureScheme,
};
use x509_parser::parse_x509_certificate;

use crate::tls::certified_key;
use crate::{TlsError, pem};

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in this PEM text, and the servers' own certificates that are in it.
    Pem(Vec<u8>),
    /// Anybody's: whoever is on the way can read and change everything. For tests.
    Anybody,
}

/// What connections over TLS need to know that we open. Shared by all workers, so that a session of one is resumed by the
/// others.
///
/// TLS 1.3 and 1.2; the server's name is sent (SNI) and its certificate is checked for it; secrets go to the file that the
/// environment variable SSLKEYLOGFILE names, if it does.
#[derive(Debug)]
pub struct TlsConnectorConfig {
    rustls: Arc<ClientConfig>,
}

impl TlsConnectorConfig {
    /// Trusts these. `identity` is a certificate chain (leaf first) and its private key, both PEM text, for servers that ask for
    /// one.
    ///
    /// # Errors
    /// When a certificate or key is missing, unreadable or unusable, or the system has no authorities that it trusts.
    pub fn new(trust: &Trust, identity: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::System => webpki(system_roots()?, &provider)?,
            Trust::Pem(text) => {
                let mut roots = RootCertStore::empty();
                let mut authorities = RootCertStore::empty();
                let mut listed = Vec::new();
                for certificate in pem::certificates(text)? {
                    let added = roots.add(certificate.clone());
                    added.map_err(TlsError::CertificateUnusable)?;
                    if is_authority(&certificate) {
                        let added = authorities.add(certificate.clone());
                        added.map_err(TlsError::CertificateUnusable)?;
                    }
                    listed.push(certificate);
                }
                let authorities = match authorities.is_empty() {
                    true => None,
                    false => Some(webpki(authorities, &provider)?),
                };
                Arc::new(Listed {
                    listed,
                    themselves: webpki(roots, &provider)?,
                    authorities,
                })
            }
            Trust::Anybody => Arc::new(Anybody(Arc::clone(&provider))),
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => {
                let (chain, key) = (pem::certificates(certificates)?, pem::private_key(key)?);
                let identity = certified_key(chain, &key, &provider)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(Self {
            rustls: Arc::new(config),
        })
    }

    /// The settings as rustls has them. ALPN is up to each connection.
    pub fn rustls(&self) -> &Arc<ClientConfig> {
        &self.rustls
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates are of kinds that nobody uses for TLS.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err(TlsError::NoAuthorities),
        false => Ok(roots),
    }
}

fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let provider = Arc::clone(provider);
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| TlsError::Setup(Error::General(error.to_string())))
}

/// Whether a certificate says of itself that it is an authority's, which webpki doesn't ask of those that it is told to trust.
/// RFC 5280 §4.2.1.9: "If the basic constraints extension is not present in a version 3 public key certificate, or the extension is
/// present but the cA boolean is not asserted, then the certified public key MUST NOT be used to verify certificate signatures."
fn is_authority(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return false;
    };
    let constraints = certificate.basic_constraints();
    constraints.is_ok_and(|found| found.is_some_and(|constraints| constraints.value.ca))
}

/// Trusts authorities, and servers' own certificates that are listed. What `openssl req -x509` makes says of itself that it is an
/// authority, and such a one is refused as a server's (RFC 5280 §4.2.1.9); another one may have an issuer that isn't listed; but
/// who lists it means just that.
#[derive(Debug)]
struct Listed {
    listed: Vec<CertificateDer<'static>>,
    /// For those that are listed.
    themselves: Arc<WebPkiServerVerifier>,
    /// For the others, if authorities are listed.
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_listed = self.listed.iter().any(|listed| listed == end_entity);
        let verifier = match (is_listed, &self.authorities) {
            (true, _) => &self.themselves,
            (false, Some(authorities)) => authorities,
            (false, None) => return Err(CertificateError::UnknownIssuer.into()),
        };
        let result =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match result {
            // Its dates were looked at before its kind and its issuer were. Its name was not.
            Err(Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if is_listed => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.themselves.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.themselves.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.themselves.supported_verify_schemes()
    }
}

/// Trusts whoever has the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
