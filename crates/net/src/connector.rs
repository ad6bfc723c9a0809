//! TLS settings of connections that we open: the servers that are trusted, and our own certificate.

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

use crate::certificate::certified_key;
use crate::{TlsError, pem};

/// The certificates that are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Certificates from the authorities that the system trusts.
    System,
    /// Certificates from the authorities in this PEM text, and the servers' own certificates in it.
    Pem(Vec<u8>),
    /// All certificates: anybody on the path can read and change everything. For tests.
    Anybody,
}

/// The TLS settings of connections that we open. All workers share them, so that one can resume a
/// session of another.
///
/// TLS 1.3 and 1.2. The server's name is sent (SNI), and its certificate is checked for that name.
/// Secrets go to the file that the environment variable SSLKEYLOGFILE names, if it is set.
#[derive(Debug)]
pub struct TlsConnectorConfig {
    rustls: Arc<ClientConfig>,
}

impl TlsConnectorConfig {
    /// Makes settings that trust these certificates. `identity` is a certificate chain (leaf first)
    /// and its private key, both PEM text, for servers that request one.
    ///
    /// # Errors
    /// Returns an error if a certificate or key is missing, unreadable or unusable, or if the
    /// system trusts no authorities.
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
                let authorities = if authorities.is_empty() {
                    None
                } else {
                    Some(webpki(authorities, &provider)?)
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

    /// Returns the settings for rustls. Each connection sets ALPN for itself.
    pub fn rustls(&self) -> &Arc<ClientConfig> {
        &self.rustls
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may have certificates of kinds that TLS doesn't use.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        Err(TlsError::NoAuthorities)
    } else {
        Ok(roots)
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

/// Whether a certificate says that it is an authority's. webpki doesn't check that of certificates
/// that it is told to trust. RFC 5280 §4.2.1.9: "If the basic constraints extension is not present
/// in a version 3 public key certificate, or the extension is present but the cA boolean is not
/// asserted, then the certified public key MUST NOT be used to verify certificate signatures."
fn is_authority(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return false;
    };
    let constraints = certificate.basic_constraints();
    constraints.is_ok_and(|found| found.is_some_and(|constraints| constraints.value.ca))
}

/// A verifier that trusts authorities and listed certificates of servers. `openssl req -x509` makes
/// certificates that say they are an authority's, and webpki refuses those as a server's (RFC 5280
/// §4.2.1.9); other certificates may have an issuer that isn't listed. An owner that lists one
/// trusts it all the same.
#[derive(Debug)]
struct Listed {
    listed: Vec<CertificateDer<'static>>,
    /// The verifier for certificates that are listed.
    themselves: Arc<WebPkiServerVerifier>,
    /// The verifier for all others, if authorities are listed.
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
            // The dates were checked before the kind and the issuer. The name wasn't.
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

/// A verifier that trusts whoever has the key of the certificate.
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
