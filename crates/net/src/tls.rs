//! TLS settings of servers: which certificate and which policy a client gets, ALPN and tickets.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{KeyLogFile, ServerConfig};

use crate::by_name::ByName;
use crate::certificate::Certificate;
use crate::client_certificates::ClientCertificates;
use crate::tls_settings::{EarlyData, TlsSettings};
use crate::{Protocols, TlsError};

/// The ALPN name of HTTP/2 over TLS (RFC 9113 §3.1).
pub(crate) const H2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1 (RFC 7301 §6).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";
/// The ALPN name of HTTP/1.0 (RFC 7301 §6).
pub(crate) const HTTP_1_0: &[u8] = b"http/1.0";

/// The TLS settings of listeners. All workers share them, so that one accepts another's session
/// tickets.
///
/// By default: TLS 1.3 and 1.2; ALPN `h2`, `http/1.1` and `http/1.0`, as far as the listener speaks
/// them; session tickets whose keys rotate. Secrets go to the file that the environment variable
/// SSLKEYLOGFILE names, if it is set. An owner who needs anything else makes the settings by rustls
/// and calls [`from_rustls`](Self::from_rustls).
pub struct TlsAcceptorConfig {
    current: RwLock<Arc<Current>>,
}

/// A site's part of the settings.
#[derive(Clone, Debug)]
pub struct TlsSite {
    /// The certificate that the site shows.
    pub certificate: Arc<Certificate>,
    /// The certificates that the site asks its clients for.
    pub clients: ClientCertificates,
}

impl TlsSite {
    /// Returns a site that asks its clients for no certificate.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate: Arc::new(certificate),
            clients: ClientCertificates::Off,
        }
    }
}

/// The settings for handshakes that begin now: what listeners of each kind have.
struct Current {
    both: Arc<Choice>,
    http2: Arc<Choice>,
    http1: Arc<Choice>,
}

/// The settings of rustls for a connection.
pub(crate) enum Choice {
    /// The same for all clients. The resolver of certificates chooses by name.
    One(Arc<ServerConfig>),
    /// Those of the site whose name the client asks for.
    ByName(ByName<Arc<ServerConfig>>),
}

impl Choice {
    /// Returns the settings for a client that asks for this name.
    pub(crate) fn find(&self, name: Option<&str>) -> &Arc<ServerConfig> {
        match self {
            Self::One(config) => config,
            Self::ByName(configs) => configs.find(name),
        }
    }

    /// Returns the settings for connections that speak only these protocols.
    fn speaking(&self, protocols: Protocols) -> Arc<Self> {
        let speaks = |name: &Vec<u8>| match protocols {
            Protocols::Both => true,
            Protocols::Http2 => name == H2,
            Protocols::Http1 => name != H2,
        };
        let speaking = |config: &Arc<ServerConfig>| {
            let mut config = ServerConfig::clone(config);
            config.alpn_protocols.retain(speaks);
            Arc::new(config)
        };
        Arc::new(match self {
            Self::One(config) => Self::One(speaking(config)),
            Self::ByName(configs) => Self::ByName(configs.map(speaking)),
        })
    }
}

impl Current {
    fn new(choice: Choice) -> Self {
        Self {
            http2: choice.speaking(Protocols::Http2),
            http1: choice.speaking(Protocols::Http1),
            both: Arc::new(choice),
        }
    }
}

impl TlsAcceptorConfig {
    /// Makes the default settings with a certificate chain (leaf first) and its private key, as
    /// [`Certificate::from_pem`] does.
    ///
    /// # Errors
    /// Returns an error if the certificate or the key can't be used.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificate = Certificate::from_pem(certificates, key)?;
        Self::new(&TlsSettings::new()?, TlsSite::new(certificate), [])
    }

    /// Makes the default settings with a certificate chain (leaf first) and its private key in DER.
    ///
    /// # Errors
    /// Returns an error if the certificate or the key can't be used.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let certificate = Certificate::from_der(certificates, key)?;
        Self::new(&TlsSettings::new()?, TlsSite::new(certificate), [])
    }

    /// Makes settings for several sites. A client that asks for a name (SNI) gets the site of that
    /// name: `example.com`, or `*.example.com` for all names with one label more. An exact name
    /// comes before a wildcard. Clients that ask for other names, or none, get `default`.
    ///
    /// # Errors
    /// Returns an error if no cipher suite fits the versions.
    pub fn new(
        settings: &TlsSettings,
        default: TlsSite,
        named: impl IntoIterator<Item = (String, TlsSite)>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(settings.provider());
        let sites = ByName::new(default, named);
        let resolver = sites.map(|site| Arc::clone(&site.certificate));
        let resolver: Arc<dyn ResolvesServerCert> =
            Arc::new(Noting(Arc::new(Certificates(resolver))));
        // One of rustls's settings for each policy: what it keeps of sessions is for these alone.
        let mut made: Vec<(ClientCertificates, Arc<ServerConfig>)> = Vec::new();
        let configs = sites.try_map(|site| {
            if let Some((_, known)) = made.iter().find(|(clients, _)| *clients == site.clients) {
                return Ok(Arc::clone(known));
            }
            let config = Arc::new(config(settings, &provider, &resolver, &site.clients)?);
            made.push((site.clients.clone(), Arc::clone(&config)));
            Ok::<_, TlsError>(config)
        })?;
        let choice = match &made[..] {
            [(_, config)] => Choice::One(Arc::clone(config)),
            _ => Choice::ByName(configs),
        };
        Ok(Self::of(choice))
    }

    fn of(choice: Choice) -> Self {
        Self {
            current: RwLock::new(Arc::new(Current::new(choice))),
        }
    }

    /// Takes settings that the owner has made by rustls. All of them hold, but for early data (RFC
    /// 8446 §2.3), which stays off: it can be replayed. A listener for some protocols offers no
    /// others of `alpn_protocols`.
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
        let resolver = Noting(Arc::clone(&config.cert_resolver));
        config.cert_resolver = Arc::new(resolver);
        config.max_early_data_size = 0;
        Self::of(Choice::One(Arc::new(config)))
    }

    /// Uses the settings of `other` for all handshakes that begin from now on. Existing connections
    /// go on.
    pub fn replace(&self, other: Self) {
        let other = other.current.into_inner();
        let current = self.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) =
            other.unwrap_or_else(PoisonError::into_inner);
    }

    /// Returns the settings for rustls, of clients that ask for no name.
    pub fn rustls(&self) -> Arc<ServerConfig> {
        let choice = self.choice(Protocols::Both);
        Arc::clone(choice.find(None))
    }

    /// Returns the settings for a client of a listener that speaks these protocols.
    pub(crate) fn choice(&self, protocols: Protocols) -> Arc<Choice> {
        let current = self.current.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(match protocols {
            Protocols::Both => &current.both,
            Protocols::Http2 => &current.http2,
            Protocols::Http1 => &current.http1,
        })
    }
}

/// Makes the settings of rustls for sites that ask their clients for these certificates.
fn config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    resolver: &Arc<dyn ResolvesServerCert>,
    clients: &ClientCertificates,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&settings.versions()?)
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(clients.verifier())
        .with_cert_resolver(Arc::clone(resolver));
    // RFC 7301 §3.2: the server picks the first of its protocols that the client offers too. If
    // there is none, rustls "SHALL respond with a fatal no_application_protocol alert".
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), HTTP_1_0.to_vec()];
    config.key_log = Arc::new(KeyLogFile::new());
    match &settings.early_data {
        // A request that somebody may have copied has no business with a client's certificate.
        EarlyData::On(sessions) if *clients == ClientCertificates::Off => {
            // RFC 8446 §8.1: "each ticket can be used at most once". Only a store can see to that,
            // so the ticket is the session's place in it.
            config.session_storage = Arc::clone(sessions);
            config.max_early_data_size = EarlyData::MOST;
            config.send_half_rtt_data = true;
        }
        EarlyData::On(_) | EarlyData::Off => {
            config.ticketer = settings.tickets.bound_to(clients.digest());
        }
    }
    Ok(config)
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

/// A resolver that notes the names that clients ask for.
#[derive(Debug)]
struct Noting(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER_NAME.set(hello.server_name().map(str::to_owned));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// The certificates of all sites.
#[derive(Debug)]
struct Certificates(ByName<Arc<Certificate>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name()).choose(&hello)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::tls::Certificate as Made;

    use super::*;

    #[test]
    fn offers_what_the_crate_says() {
        let made = Made::localhost();
        let config = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
        let rustls = config.rustls();
        assert_eq!(rustls.alpn_protocols, [H2, HTTP_1_1, HTTP_1_0]);
        assert!(rustls.ticketer.enabled());
        assert_eq!(rustls.max_early_data_size, 0);
        for (protocols, offered) in [
            (Protocols::Http2, &[H2][..]),
            (Protocols::Http1, &[HTTP_1_1, HTTP_1_0]),
        ] {
            let choice = config.choice(protocols);
            assert_eq!(choice.find(None).alpn_protocols, offered);
        }
    }
}
