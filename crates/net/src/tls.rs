//! TLS settings.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What TLS listeners need to know: certificate, key, versions, ALPN, tickets. Shared by all workers, so that a ticket of
/// one is good at the others.
pub struct TlsAcceptorConfig {
    pub(crate) rustls: Arc<rustls::ServerConfig>,
}

/// Why a certificate or key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The text has no certificate in it.
    NoCertificate,
    /// The text has no private key in it.
    NoKey,
    /// The text isn't PEM.
    NotPem(String),
    /// The private key isn't the one that the certificate was made for.
    KeyMismatch,
    /// Anything else that rustls says.
    Rustls(rustls::Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for TlsError {}

impl TlsAcceptorConfig {
    /// From a certificate chain (leaf first) and its private key, both PEM text (RFC 7468). They may be in one file: what
    /// isn't looked for is skipped.
    ///
    /// # Errors
    /// When one of them is missing or unreadable, or they don't belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let _ = (certificates, key);
        Err(TlsError::NoKey)
    }

    /// From a certificate chain (leaf first) and its private key in DER.
    ///
    /// # Errors
    /// When the certificate or the key can't be used, or they don't belong together.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let _ = (certificates, key);
        Err(TlsError::NoKey)
    }

    /// The settings as rustls has them.
    pub fn rustls(&self) -> &Arc<rustls::ServerConfig> {
        &self.rustls
    }
}
