//! TLS settings of servers: certificate and key, versions, ALPN, tickets.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, KeyLogFile, ServerConfig};

/// ALPN's name of HTTP/2 over TLS (RFC 9113 §3.1).
pub(crate) const H2: &[u8] = b"h2";
/// ALPN's name of HTTP/1.1 (RFC 7301 §6).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// What TLS listeners need to know. Shared by all workers, so that a session ticket of one is good at the others.
///
/// TLS 1.3 and 1.2; ALPN `h2` and `http/1.1`; session tickets whose keys rotate; secrets go to the file that the
/// environment variable SSLKEYLOGFILE names, if it does.
pub struct TlsAcceptorConfig {
    rustls: Arc<ServerConfig>,
}

/// Why a certificate or key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The text has no certificate in it.
    NoCertificate,
    /// The text has no private key in it.
    NoKey,
    /// The certificate's text is broken.
    CertificateUnreadable(pem::Error),
    /// The key's text is broken.
    KeyUnreadable(pem::Error),
    /// The certificate isn't one that TLS can use.
    CertificateUnusable(Error),
    /// The private key isn't one that TLS can use.
    KeyUnusable(Error),
    /// The private key isn't the one that the certificate was made for.
    KeyMismatch,
    /// The system has no authorities that it trusts.
    NoAuthorities,
    /// TLS can't be set up at all, for example because the system gives no random numbers.
    Setup(Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCertificate => f.write_str(
                "there is no certificate in it: a PEM block that begins with BEGIN CERTIFICATE is needed",
            ),
            Self::NoKey => f.write_str(
                "there is no private key in it: an unencrypted PEM block that begins with BEGIN PRIVATE KEY is needed",
            ),
            Self::CertificateUnreadable(error) => {
                write!(f, "the certificate isn't readable as PEM: {error}")
            }
            Self::KeyUnreadable(error) => {
                write!(f, "the private key isn't readable as PEM: {error}")
            }
            Self::CertificateUnusable(error) => {
                write!(f, "the certificate can't be used: {error}")
            }
            Self::KeyUnusable(error) => write!(f, "the private key can't be used: {error}"),
            Self::KeyMismatch => f.write_str(
                "the private key doesn't belong to the certificate: give the key that the certificate was made for",
            ),
            Self::NoAuthorities => f.write_str(
                "this system trusts no certificate authority: install its ca-certificates, or name a file of your own",
            ),
            Self::Setup(error) => write!(f, "TLS can't be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsAcceptorConfig {
    /// From a certificate chain (leaf first) and its private key, both PEM text (RFC 7468). They may be in one file:
    /// what isn't looked for is skipped.
    ///
    /// # Errors
    /// When one of them is missing or unreadable, or they don't belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::CertificateUnreadable)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey,
            error => TlsError::KeyUnreadable(error),
        })?;
        Self::from_der(certificates, &key)
    }

    /// From a certificate chain (leaf first) and its private key in DER.
    ///
    /// # Errors
    /// When the certificate or the key can't be used, or they don't belong together.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = certified_key(certificates, key, &provider)?;
        let resolver = Resolver { key: Arc::new(key) };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        // RFC 7301 §3.2: the server picks the first of its own that the client offered too; when there is none, rustls
        // "SHALL respond with a fatal no_application_protocol alert".
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(Self {
            rustls: Arc::new(config),
        })
    }

    /// The settings as rustls has them.
    pub fn rustls(&self) -> &Arc<ServerConfig> {
        &self.rustls
    }
}

fn certified_key(
    certificates: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(TlsError::KeyUnusable)?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        // A key that can't tell its public half can't be checked.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
        Err(error) => Err(TlsError::CertificateUnusable(error)),
    }
}

thread_local! {
    /// The name in the ClientHello that was processed last on this thread.
    static SERVER_NAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The name (SNI) in the ClientHello that this thread processed last, which is taken. rustls's unbuffered connections
/// don't tell it, but they ask for the certificate, by that name, in the call that processes the ClientHello.
pub(crate) fn take_server_name() -> Option<String> {
    SERVER_NAME.take()
}

/// Always the same certificate.
#[derive(Debug)]
struct Resolver {
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER_NAME.set(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn error(certificate: &str, key: &str) -> TlsError {
        let result = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes());
        result.err().expect("this pair can't be used")
    }

    #[test]
    fn takes_a_pair_also_from_one_file() {
        let (certificate, key) = pair();
        assert!(TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
        let both = format!("{certificate}{key}");
        assert!(TlsAcceptorConfig::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }

    #[test]
    fn tells_a_key_of_another_certificate() {
        let (certificate, _) = pair();
        let (_, key) = pair();
        let error = error(&certificate, &key);
        assert!(matches!(error, TlsError::KeyMismatch), "{error}");
    }

    #[test]
    fn tells_what_is_missing_or_broken() {
        let (certificate, key) = pair();
        let no_certificate = error(&key, &key);
        assert!(matches!(no_certificate, TlsError::NoCertificate));
        let no_key = error(&certificate, &certificate);
        assert!(matches!(no_key, TlsError::NoKey));
        let middle = certificate.len() / 2;
        let broken = error(
            &format!("{}!?{}", &certificate[..middle], &certificate[middle..]),
            &key,
        );
        assert!(
            matches!(broken, TlsError::CertificateUnreadable(_)),
            "{broken}"
        );
        let broken = error(&certificate, &key[..key.len() / 2]);
        assert!(matches!(broken, TlsError::KeyUnreadable(_)), "{broken}");
    }

    #[test]
    fn offers_what_the_crate_says() {
        let (certificate, key) = pair();
        let config = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let config = config.rustls();
        assert_eq!(config.alpn_protocols, [H2, HTTP_1_1]);
        assert!(config.ticketer.enabled());
        assert_eq!(config.max_early_data_size, 0);
    }
}
