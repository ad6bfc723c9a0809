//! TLS settings of servers: the certificate and key, versions, ALPN and tickets.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, KeyLogFile, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::by_name::ByName;
use crate::{TlsError, pem};

/// The ALPN name of HTTP/2 over TLS (RFC 9113 §3.1).
pub(crate) const H2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1 (RFC 7301 §6).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";
/// The ALPN name of HTTP/1.0 (RFC 7301 §6).
pub(crate) const HTTP_1_0: &[u8] = b"http/1.0";

/// The TLS settings of listeners. All workers share them, so that one accepts another's session
/// tickets.
///
/// By [`from_pem`](Self::from_pem) and [`from_der`](Self::from_der): TLS 1.3 and 1.2; ALPN `h2`,
/// `http/1.1` and `http/1.0`; session tickets whose keys rotate. Secrets go to the file that the
/// environment variable SSLKEYLOGFILE names, if it is set. An owner who needs anything else, such
/// as clients' certificates or several names, makes the settings by rustls and calls
/// [`from_rustls`](Self::from_rustls).
pub struct TlsAcceptorConfig {
    rustls: Arc<ServerConfig>,
    validity: Option<RangeInclusive<SystemTime>>,
    names: Vec<String>,
    resolver: Arc<Resolver>,
}

impl TlsAcceptorConfig {
    /// Makes settings from a certificate chain (leaf first) and its private key, both PEM text (RFC
    /// 7468). Both may be in one file: other blocks are skipped, and so is text between blocks.
    ///
    /// # Errors
    /// Returns an error if one of them is missing or unreadable, or if they don't belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::from_der(pem::certificates(certificates)?, &pem::private_key(key)?)
    }

    /// Makes settings from a certificate chain (leaf first) and its private key in DER.
    ///
    /// # Errors
    /// Returns an error if the certificate or the key can't be used, or if they don't belong
    /// together.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let validity = validity(&certificates[0]);
        let names = names(&certificates[0]);
        let key = certified_key(certificates, key, &provider)?;
        let resolver = Resolver::new(Arc::new(SingleCertAndKey::from(key)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        // RFC 7301 §3.2: the server picks the first of its protocols that the client offers too. If
        // there is none, rustls "SHALL respond with a fatal no_application_protocol alert".
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), HTTP_1_0.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(Self {
            rustls: Arc::new(config),
            validity,
            names,
            resolver,
        })
    }

    /// Takes settings that the owner has made by rustls. All of them hold, but for early data (RFC
    /// 8446 §2.3), which stays off: it can be replayed.
    ///
    /// `alpn_protocols` should list `h2` and `http/1.1`: clients such as browsers speak HTTP/2 only
    /// if ALPN picked it. Without ALPN, the first bytes of a connection decide. A protocol of any
    /// other name is taken for HTTP/1.1.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use tidegate_net::rustls::{self, ServerConfig};
    /// use tidegate_net::{Listener, Security, TlsAcceptorConfig};
    ///
    /// # fn listen(
    /// #     clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    /// #     chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// #     key: rustls::pki_types::PrivateKeyDer<'static>,
    /// # ) -> Result<Listener, Box<dyn std::error::Error>> {
    /// let mut config = ServerConfig::builder()
    ///     .with_client_cert_verifier(clients)
    ///     .with_single_cert(chain, key)?;
    /// config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    /// let security = Security::Tls(Arc::new(TlsAcceptorConfig::from_rustls(config)));
    /// # Ok(
    /// Listener::bind("127.0.0.1:8443".parse()?, security)?
    /// # )
    /// # }
    /// ```
    pub fn from_rustls(mut config: ServerConfig) -> Self {
        let resolver = Resolver::new(Arc::clone(&config.cert_resolver));
        config.cert_resolver = Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>;
        config.max_early_data_size = 0;
        Self {
            rustls: Arc::new(config),
            validity: None,
            names: Vec::new(),
            resolver,
        }
    }

    /// Uses the certificates of `other` for all handshakes that begin from now on. Existing
    /// connections and tickets stay valid.
    pub fn replace_certificate(&self, other: &Self) {
        let certificates = other.resolver.certificates();
        let current = self.resolver.certificates.write();
        *current.unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// Uses the session tickets of `other` in place of own ones, so that sessions which began there
    /// can be resumed here. Both must ask clients for the same certificates: a resumed session
    /// isn't asked again.
    #[must_use]
    pub fn with_tickets_of(mut self, other: &Self) -> Self {
        let mut config = ServerConfig::clone(&self.rustls);
        config.ticketer = Arc::clone(&other.rustls.ticketer);
        config.session_storage = Arc::clone(&other.rustls.session_storage);
        self.rustls = Arc::new(config);
        self
    }

    /// Uses the certificates of others for clients that ask for certain names (SNI): `example.com`,
    /// or `*.example.com` for all names with one label more. An exact name comes before a wildcard.
    /// Clients that ask for other names, or none, get the certificates of `self`.
    ///
    /// Nothing else of the others counts. Like [`replace_certificate`](Self::replace_certificate),
    /// this is for handshakes that begin from now on.
    pub fn serve_by_name<'a>(&self, named: impl IntoIterator<Item = (&'a str, &'a Self)>) {
        let named = named
            .into_iter()
            .map(|(name, config)| (name, config.certificates()));
        let by_name = ByName::new(self.resolver.certificates(), named);
        let current = self.resolver.certificates.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(by_name);
    }

    /// Returns the names that the first certificate of these settings is for, in lower case: DNS
    /// names, perhaps with a wildcard, and IP addresses. Empty for settings that the owner has made
    /// by rustls.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns when the first certificate of these settings is valid, both ends included. `None` if
    /// the certificate's years are outside the range of the system's clock, and for settings that
    /// the owner has made by rustls.
    pub fn validity(&self) -> Option<&RangeInclusive<SystemTime>> {
        self.validity.as_ref()
    }

    /// Returns the certificates in use.
    pub(crate) fn certificates(&self) -> Arc<dyn ResolvesServerCert> {
        self.resolver.certificates()
    }

    /// Returns the settings for rustls.
    pub fn rustls(&self) -> &Arc<ServerConfig> {
        &self.rustls
    }
}

/// Returns a chain with its key, after checking that they belong together.
pub(crate) fn certified_key(
    certificates: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(TlsError::KeyUnusable)?;
    let certified = CertifiedKey::new(certificates, key);
    let error = match certified.keys_match() {
        // Some keys can't tell their public half, so they can't be checked.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => return Ok(certified),
        Err(error) => error,
    };
    match place_of_key(&certified) {
        // webpki reads only what it would trust. Clients may trust more: RFC 5280 §4.1.2.1 has
        // version 1 too.
        Some(0) => Ok(certified),
        Some(place) => Err(TlsError::LeafNotFirst(place + 1)),
        None if is_certificate(&certified) => Err(TlsError::KeyMismatch),
        None => Err(TlsError::CertificateUnusable(error)),
    }
}

/// Returns when a certificate is valid.
fn validity(certificate: &[u8]) -> Option<RangeInclusive<SystemTime>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let time = |time: ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    let validity = certificate.validity();
    Some(time(validity.not_before)?..=time(validity.not_after)?)
}

/// Returns the names of a certificate (RFC 5280 §4.2.1.6).
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            Some(v4.or_else(|_| v6()).ok()?.to_string())
        }
        _ => None,
    };
    names.filter_map(name).collect()
}

/// Returns the index of the certificate in the chain that the key was made for.
fn place_of_key(certified: &CertifiedKey) -> Option<usize> {
    let key = certified.key.public_key()?;
    certified.cert.iter().position(|certificate| {
        let parsed = parse_x509_certificate(certificate);
        parsed.is_ok_and(|(rest, parsed)| rest.is_empty() && parsed.public_key().raw == &*key)
    })
}

/// Whether the first of the chain is a certificate of any version.
fn is_certificate(certified: &CertifiedKey) -> bool {
    let first = certified.cert.first();
    first.is_some_and(|first| parse_x509_certificate(first).is_ok())
}

thread_local! {
    /// The name in the last ClientHello that this thread processed.
    static SERVER_NAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the name (SNI) in the last ClientHello that this thread processed. rustls's unbuffered
/// connections don't report it, but they ask for the certificate by that name in the call that
/// processes the ClientHello.
pub(crate) fn take_server_name() -> Option<String> {
    SERVER_NAME.take()
}

/// A resolver that can be replaced, and that notes the names that clients ask for.
#[derive(Debug)]
struct Resolver {
    certificates: RwLock<Arc<dyn ResolvesServerCert>>,
}

impl Resolver {
    fn new(certificates: Arc<dyn ResolvesServerCert>) -> Arc<Self> {
        Arc::new(Self {
            certificates: RwLock::new(certificates),
        })
    }

    fn certificates(&self) -> Arc<dyn ResolvesServerCert> {
        let current = self.certificates.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER_NAME.set(hello.server_name().map(str::to_owned));
        self.certificates().resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.certificates().only_raw_public_keys()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::tls::Certificate;

    use super::*;

    fn pair() -> (String, String) {
        let made = Certificate::localhost();
        (made.pem, made.key)
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

    /// Returns the tag of one element of DER, its content, and the bytes after it.
    fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (header, length) = match der[1] {
            length @ 0..0x80 => (2, usize::from(length)),
            digits => {
                let digits = usize::from(digits & 0x7f);
                let length = der[2..2 + digits].iter();
                let length = length.fold(0, |length, &byte| length << 8 | usize::from(byte));
                (2 + digits, length)
            }
        };
        (
            der[0],
            &der[header..header + length],
            &der[header + length..],
        )
    }

    fn sequence(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], &length[..], content].concat()
    }

    /// Returns the certificate without its version and its extensions. Apart from its signature, it
    /// is a version 1 certificate.
    fn version_1(der: &[u8]) -> Vec<u8> {
        let (_, certificate, _) = element(der);
        let (_, mut fields, signature) = element(certificate);
        let mut kept = Vec::new();
        while !fields.is_empty() {
            let (tag, _, rest) = element(fields);
            if !matches!(tag, 0xa0 | 0xa3) {
                kept.extend_from_slice(&fields[..fields.len() - rest.len()]);
            }
            fields = rest;
        }
        sequence(&[&sequence(&kept), signature].concat())
    }

    #[test]
    fn a_certificate_of_version_1_is_served() {
        let load = |certificate: &str, key: &str| {
            let certificate = pem::certificates(certificate.as_bytes()).unwrap();
            let der = CertificateDer::from(version_1(&certificate[0]));
            let parsed = parse_x509_certificate(&der).unwrap().1;
            assert_eq!(parsed.version().0, 0);
            let key = pem::private_key(key.as_bytes()).unwrap();
            TlsAcceptorConfig::from_der(vec![der.clone()], &key)
        };
        let (certificate, key) = pair();
        assert!(load(&certificate, &key).is_ok());
        let error = load(&certificate, &pair().1).err();
        assert!(matches!(error, Some(TlsError::KeyMismatch)), "{error:?}");
        let broken = vec![CertificateDer::from(vec![0x30, 3, 2, 1, 1])];
        let key = pem::private_key(key.as_bytes()).unwrap();
        let error = TlsAcceptorConfig::from_der(broken, &key).err();
        assert!(
            matches!(error, Some(TlsError::CertificateUnusable(_))),
            "{error:?}"
        );
    }

    #[test]
    fn knows_how_long_the_certificate_is_valid() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let [from, until] = [1000, 2000].map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let config =
            TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes());
        assert_eq!(config.unwrap().validity(), Some(&(from..=until)));
    }

    #[test]
    fn knows_the_names_of_the_certificate() {
        let names = ["Example.com", "*.example.org", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let config = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let names = ["example.com", "*.example.org", "127.0.0.1", "::1"];
        assert_eq!(config.names(), names);
    }

    #[test]
    fn tells_a_chain_in_the_wrong_order() {
        let (leaf, key) = pair();
        let chain = format!("{}{leaf}", pair().0);
        let error = error(&chain, &key);
        assert!(matches!(error, TlsError::LeafNotFirst(2)), "{error}");
    }

    #[test]
    fn offers_what_the_crate_says() {
        let (certificate, key) = pair();
        let config = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let config = config.rustls();
        assert_eq!(config.alpn_protocols, [H2, HTTP_1_1, HTTP_1_0]);
        assert!(config.ticketer.enabled());
        assert_eq!(config.max_early_data_size, 0);
    }
}
