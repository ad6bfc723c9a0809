//! The TLS of sites and listeners: protocols, certificates, clients' certificates, tickets, early
//! data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, StreamOwned};
use tidegate_http::Body;
use tidegate_net::{
    Certificate, ClientCertificates, Demand, EarlyData, Listener, Protocols, Security, TicketKey,
    Tickets, TlsAcceptorConfig, TlsGroup, TlsSettings, TlsSite, TlsSuite, TlsVersion,
};
use tidegate_testkit::tls::{Certificate as Made, client_config};

use crate::common::{Client, Note, Worker};

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn worker(security: Security, protocols: Protocols) -> Worker {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
    Worker::on(Made::localhost(), listener.speaking(protocols), |_| {})
}

fn serve(config: TlsAcceptorConfig) -> Worker {
    worker(Security::Tls(Arc::new(config)), Protocols::Both)
}

/// Returns the server's side for a certificate.
fn site(made: &Made) -> TlsSite {
    let certificate = Certificate::from_pem(made.pem.as_bytes(), made.key.as_bytes());
    TlsSite::new(certificate.unwrap())
}

fn made(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Made {
        pem: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn connect(worker: &Worker, config: &Arc<ClientConfig>, name: &str) -> Tls {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(session, worker.connect())
}

/// Shakes hands. Returns the error of the client, such as the server's alert.
fn shake(tls: &mut Tls) -> Result<(), Error> {
    let unwrap = |error: std::io::Error| {
        let error = error.downcast::<Error>();
        error.unwrap_or_else(|error| Error::General(error.to_string()))
    };
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).map_err(unwrap)?;
    }
    Ok(())
}

const HTTP_1: &[u8] = b"GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn exchange(mut stream: impl Read + Write, sent: &[u8]) -> String {
    stream.write_all(sent).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_listener_in_cleartext_speaks_what_it_is_for() {
    let both = worker(Security::Plain, Protocols::Both);
    assert!(exchange(both.connect(), HTTP_1).starts_with("HTTP/1.1 200 "));
    assert_eq!(Client::new(both.connect()).get("/hello").body, b"hello");

    let http2 = worker(Security::Plain, Protocols::Http2);
    assert_eq!(Client::new(http2.connect()).get("/hello").body, b"hello");
    // RFC 9110 §15.6.6: the representation describes "why that version is not supported and what
    // other protocols are supported by that server".
    let refused = exchange(http2.connect(), HTTP_1);
    assert!(refused.starts_with("HTTP/1.1 505 "), "{refused}");
    assert!(refused.contains("HTTP/2 alone"), "{refused}");

    let http1 = worker(Security::Plain, Protocols::Http1);
    assert!(exchange(http1.connect(), HTTP_1).starts_with("HTTP/1.1 200 "));
    let refused = exchange(http1.connect(), PREFACE);
    assert!(refused.starts_with("HTTP/1.1 505 "), "{refused}");
}

#[test]
fn a_listener_with_tls_offers_what_it_is_for() {
    let made = Made::localhost();
    let config = TlsAcceptorConfig::new(&TlsSettings::new().unwrap(), site(&made), []).unwrap();
    let security = Security::Tls(Arc::new(config));
    for (protocols, offered, agreed) in [
        (Protocols::Both, &["h2", "http/1.1"][..], Some("h2")),
        (Protocols::Http2, &["http/1.1", "h2"], Some("h2")),
        (Protocols::Http1, &["h2", "http/1.1"], Some("http/1.1")),
        (Protocols::Http1, &["http/1.0"], Some("http/1.0")),
        (Protocols::Http2, &["http/1.1"], None),
        (Protocols::Http1, &["h2"], None),
    ] {
        let worker = worker(security.clone(), protocols);
        let config = Arc::new(client_config(Some(&made.certificate()), offered));
        let mut tls = connect(&worker, &config, "localhost");
        let result = shake(&mut tls);
        // RFC 7301 §3.2: "the server SHALL respond with a fatal "no_application_protocol" alert".
        let none = Err(Error::AlertReceived(
            AlertDescription::NoApplicationProtocol,
        ));
        let expected = if agreed.is_some() { Ok(()) } else { none };
        assert_eq!(result, expected, "{protocols:?} {offered:?}");
        let alpn = tls.conn.alpn_protocol().map(String::from_utf8_lossy);
        assert_eq!(alpn.as_deref(), agreed, "{protocols:?} {offered:?}");
    }
    // Without ALPN the first bytes decide.
    let config = Arc::new(client_config(Some(&made.certificate()), &[]));
    for (protocols, sent, status) in [
        (Protocols::Http2, HTTP_1, "505"),
        (Protocols::Http1, HTTP_1, "200"),
        (Protocols::Http1, PREFACE, "505"),
    ] {
        let worker = worker(security.clone(), protocols);
        let answer = exchange(connect(&worker, &config, "localhost"), sent);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

/// Returns a client that takes signatures by these suites alone, with TLS 1.2 where they are for
/// that.
fn client_of(suites: &[&str], roots: &[CertificateDer<'static>]) -> ClientConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        let name = suite.suite().as_str().unwrap();
        suites.contains(&name)
    });
    let mut trusted = rustls::RootCertStore::empty();
    for root in roots {
        trusted.add(root.clone()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth()
}

#[test]
fn a_client_gets_the_certificate_that_it_can_check() {
    let ecdsa = made(&["localhost"]);
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let rsa = Made {
        pem: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    };
    let one =
        |made: &Made| Certificate::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
    let site = TlsSite::new(one(&ecdsa).beside(one(&rsa)));
    let config = TlsAcceptorConfig::new(&TlsSettings::new().unwrap(), site, []).unwrap();
    let worker = serve(config);
    let roots = [ecdsa.certificate(), rsa.certificate()];
    for (suite, shown) in [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", &roots[0]),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &roots[1]),
    ] {
        let config = Arc::new(client_of(&[suite], &roots));
        let mut tls = connect(&worker, &config, "localhost");
        shake(&mut tls).unwrap();
        assert_eq!(tls.conn.peer_certificates().unwrap()[0], *shown, "{suite}");
    }
}

#[test]
fn versions_suites_and_groups_are_those_of_the_settings() {
    let made = Made::localhost();
    let mut settings = TlsSettings::new().unwrap();
    settings.min_version = TlsVersion::V1_3;
    settings.suites = vec![TlsSuite::named("TLS_CHACHA20_POLY1305_SHA256").unwrap()];
    settings.groups = vec![TlsGroup::named("X25519MLKEM768").unwrap()];
    let worker = serve(TlsAcceptorConfig::new(&settings, site(&made), []).unwrap());
    let config = Arc::new(client_config(Some(&made.certificate()), &["h2"]));
    let mut tls = connect(&worker, &config, "localhost");
    shake(&mut tls).unwrap();
    let suite = tls.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let group = tls.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let old = client_of(
        &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        &[made.certificate()],
    );
    let mut tls = connect(&worker, &Arc::new(old), "localhost");
    let alert = Error::AlertReceived(AlertDescription::ProtocolVersion);
    assert_eq!(shake(&mut tls), Err(alert));
}

/// An authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Signs a client's certificate, which is valid until then.
    fn sign(
        &self,
        serial: u8,
        not_after: SystemTime,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client.test".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.not_after = not_after.into();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![signed.der().clone()], key)
    }

    /// Returns the list of revoked certificates as PEM.
    fn revoked(&self, serial: u8) -> String {
        let now = SystemTime::now();
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + HOUR).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(vec![serial]),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

fn showing(
    trusted: &Made,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn a_site_asks_its_clients_for_certificates_and_says_what_is_wrong_with_them() {
    let made = made(&["open.test", "optional.test", "required.test"]);
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let later = SystemTime::now() + HOUR;
    let revoked = authority.revoked(66);
    let policy = |demand| {
        let lists = Some(revoked.as_bytes());
        ClientCertificates::from_pem(demand, authority.pem.as_bytes(), lists).unwrap()
    };
    let open = site(&made);
    let with = |demand| TlsSite {
        clients: policy(demand),
        ..open.clone()
    };
    let named = [
        ("optional.test".to_owned(), with(Demand::Optional)),
        ("required.test".to_owned(), with(Demand::Required)),
    ];
    let settings = TlsSettings::new().unwrap();
    let worker = serve(TlsAcceptorConfig::new(&settings, open.clone(), named).unwrap());
    use AlertDescription::{
        CertificateExpired, CertificateRequired, CertificateRevoked, UnknownCA,
    };
    let shown = |name: &str| match name {
        "none" => None,
        "good" => Some(authority.sign(1, later)),
        "revoked" => Some(authority.sign(66, later)),
        "expired" => Some(authority.sign(2, SystemTime::now() - HOUR)),
        _ => Some(other.sign(1, later)),
    };
    for version in VERSIONS {
        for (name, shows, alert) in [
            ("open.test", "none", None),
            ("open.test", "stranger", None),
            ("optional.test", "none", None),
            ("optional.test", "good", None),
            ("optional.test", "stranger", Some(UnknownCA)),
            ("required.test", "good", None),
            ("required.test", "none", Some(CertificateRequired)),
            ("required.test", "revoked", Some(CertificateRevoked)),
            ("required.test", "expired", Some(CertificateExpired)),
            ("required.test", "stranger", Some(UnknownCA)),
        ] {
            let config = showing(&made, shown(shows), version);
            let mut client = connect(&worker, &config, name);
            let what = format!("{:?} {name} {shows}", version.version);
            let Some(alert) = alert else {
                let mut client = Client::new(client);
                assert_eq!(client.get("/hello").body, b"hello", "{what}");
                let tls = worker.wait_for(|note| match note {
                    Note::Opened(tls) => tls,
                    _ => None,
                });
                let has_shown = !tls.client_certificates.is_empty();
                assert_eq!(has_shown, shows == "good", "{what}");
                assert_eq!(tls.sni.as_deref(), Some(name));
                continue;
            };
            // In TLS 1.3 the client's handshake is done before the server has looked.
            let result: Result<(), _> = shake(&mut client).and_then(|()| {
                let read = client.read(&mut [0; 1]);
                Err(read.unwrap_err().downcast::<Error>().unwrap())
            });
            assert_eq!(result, Err(Error::AlertReceived(alert)), "{what}");
            worker.wait_for(|note| match note {
                Note::Closed(why) => why.starts_with("TLS failed: ").then_some(()),
                _ => None,
            });
        }
    }
}

#[test]
fn a_client_hello_that_comes_byte_by_byte_finds_its_site() {
    let made = made(&["a.test", "b.test"]);
    let authority = Authority::new("ours");
    let clients =
        ClientCertificates::from_pem(Demand::Optional, authority.pem.as_bytes(), None).unwrap();
    let b = TlsSite {
        clients,
        ..site(&made)
    };
    let settings = TlsSettings::new().unwrap();
    let config = TlsAcceptorConfig::new(&settings, site(&made), [("b.test".to_owned(), b)]);
    let worker = serve(config.unwrap());
    let later = SystemTime::now() + HOUR;
    let config = showing(&made, Some(authority.sign(1, later)), VERSIONS[0]);
    for (name, asked) in [("a.test", false), ("b.test", true)] {
        let name = ServerName::try_from(name).unwrap();
        let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let socket = crate::common::Trickle::new(worker.connect(), 1);
        let mut client = Client::new(StreamOwned::new(session, socket));
        assert_eq!(client.get("/hello").body, b"hello");
        let tls = worker.wait_for(|note| match note {
            Note::Opened(tls) => tls,
            _ => None,
        });
        assert_eq!(!tls.client_certificates.is_empty(), asked);
    }
    // What isn't TLS gets the same answer as elsewhere.
    let answer = exchange(worker.connect(), HTTP_1);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = exchange(worker.connect(), b"\x17\x03\x03\0\x01a");
    assert!(answer.as_bytes().starts_with(&[21]), "{answer:?}");
}

/// Returns how a client's handshake was.
fn kind(worker: &Worker, config: &Arc<ClientConfig>, name: &str) -> HandshakeKind {
    let mut client = Client::new(connect(worker, config, name));
    assert_eq!(client.get("/hello").body, b"hello");
    client.driver.io.conn.handshake_kind().unwrap()
}

#[test]
fn servers_that_share_ticket_keys_resume_each_others_sessions() {
    let made = Made::localhost();
    let key = |seed: u8| TicketKey::from_bytes(&[seed; 80]).unwrap();
    let start = |keys: Vec<TicketKey>| {
        let settings = TlsSettings::with_tickets(Tickets::from_keys(keys).unwrap());
        serve(TlsAcceptorConfig::new(&settings, site(&made), []).unwrap())
    };
    // The third has the key that the others have only for decryption.
    let (one, two, third) = (
        start(vec![key(1)]),
        start(vec![key(2), key(1)]),
        start(vec![key(3)]),
    );
    for version in VERSIONS {
        let config = showing(&made, None, version);
        assert_eq!(kind(&one, &config, "localhost"), HandshakeKind::Full);
        assert_eq!(kind(&one, &config, "localhost"), HandshakeKind::Resumed);
        assert_eq!(kind(&two, &config, "localhost"), HandshakeKind::Resumed);
        assert_eq!(kind(&third, &config, "localhost"), HandshakeKind::Full);
    }
}

#[test]
fn a_session_is_for_the_policy_that_it_was_established_under() {
    let made = made(&["a.test"]);
    let authority = Authority::new("ours");
    let later = SystemTime::now() + HOUR;
    let tickets = Tickets::from_keys(vec![TicketKey::from_bytes(&[7; 48]).unwrap()]).unwrap();
    let start = |clients| {
        let settings = TlsSettings::with_tickets(tickets.clone());
        let site = TlsSite {
            clients,
            ..site(&made)
        };
        serve(TlsAcceptorConfig::new(&settings, site, []).unwrap())
    };
    let policy = |demand, lists: Option<&str>| {
        let lists = lists.map(str::as_bytes);
        ClientCertificates::from_pem(demand, authority.pem.as_bytes(), lists).unwrap()
    };
    let revoked = authority.revoked(66);
    let off = start(ClientCertificates::Off);
    let optional = start(policy(Demand::Optional, None));
    let required = start(policy(Demand::Required, None));
    let listed = start(policy(Demand::Required, Some(&revoked)));
    for version in VERSIONS {
        let config = showing(&made, Some(authority.sign(1, later)), version);
        for worker in [&off, &optional, &required, &listed] {
            assert_eq!(kind(worker, &config, "a.test"), HandshakeKind::Full);
            assert_eq!(kind(worker, &config, "a.test"), HandshakeKind::Resumed);
        }
        let tls = required.wait_for(|note| match note {
            Note::Opened(Some(tls)) if tls.resumed => Some(tls),
            _ => None,
        });
        assert_eq!(tls.client_certificates.len(), 1);
        // A client without a certificate, with a session of a site that wants none.
        let config = showing(&made, None, version);
        assert_eq!(kind(&off, &config, "a.test"), HandshakeKind::Full);
        let mut client = connect(&required, &config, "a.test");
        let result: Result<(), _> = shake(&mut client).and_then(|()| {
            let read = client.read(&mut [0; 1]);
            Err(read.unwrap_err().downcast::<Error>().unwrap())
        });
        assert!(matches!(result, Err(Error::AlertReceived(_))), "{result:?}");
    }
    let good = policy(Demand::Required, Some(&revoked));
    assert!(good.check(&authority.sign(1, later).0).is_ok());
    assert!(good.check(&authority.sign(66, later).0).is_err());
    assert!(good.check(&[]).is_err());
    assert_ne!(good, policy(Demand::Required, None));
}

#[test]
fn settings_are_replaced_for_later_handshakes() {
    let (before, after) = (made(&["a.test"]), made(&["a.test"]));
    let settings = TlsSettings::new().unwrap();
    let config = |made: &Made| TlsAcceptorConfig::new(&settings, site(made), []).unwrap();
    let shared = Arc::new(config(&before));
    let worker = worker(Security::Tls(Arc::clone(&shared)), Protocols::Both);
    let client = |made: &Made| Arc::new(client_config(Some(&made.certificate()), &["h2"]));
    let mut open = Client::new(connect(&worker, &client(&before), "a.test"));
    assert_eq!(open.get("/hello").body, b"hello");
    shared.replace(config(&after));
    assert_eq!(
        kind(&worker, &client(&after), "a.test"),
        HandshakeKind::Full
    );
    assert_eq!(open.get("/hello").body, b"hello");
}

/// Sends a request in early data and shakes hands. Returns whether the server took the early data,
/// and the answer.
fn early(worker: &Worker, config: &Arc<ClientConfig>) -> (bool, String) {
    let mut tls = connect(worker, config, "localhost");
    let request = b"GET /early HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let sent = match tls.conn.early_data() {
        Some(mut early) => early.write(request).unwrap(),
        None => 0,
    };
    shake(&mut tls).unwrap();
    let is_taken = sent > 0 && tls.conn.is_early_data_accepted();
    if !is_taken {
        tls.write_all(request).unwrap();
    }
    let mut answer = Vec::new();
    // It ends with close_notify, even before the handshake does.
    tls.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (is_taken, answer.rsplit('\n').next().unwrap().to_owned())
}

#[test]
fn early_data_is_answered_before_the_handshake_ends_if_it_is_allowed() {
    let made = Made::localhost();
    for is_allowed in [false, true] {
        let mut settings = TlsSettings::new().unwrap();
        if is_allowed {
            settings.early_data = EarlyData::on(100);
        }
        let worker = serve(TlsAcceptorConfig::new(&settings, site(&made), []).unwrap());
        let mut config = client_config(Some(&made.certificate()), &["http/1.1"]);
        config.enable_early_data = true;
        let config = Arc::new(config);
        assert_eq!(early(&worker, &config), (false, "false".into()));
        let expected = (is_allowed, is_allowed.to_string());
        // A handshake brings two tickets, and the end of a connection that is early none.
        for _ in 0..2 {
            assert_eq!(early(&worker, &config), expected);
        }
    }
}

#[test]
fn early_data_without_the_rest_of_the_handshake_is_let_go() {
    let made = Made::localhost();
    let mut settings = TlsSettings::new().unwrap();
    settings.early_data = EarlyData::on(100);
    let server = || TlsAcceptorConfig::new(&settings, site(&made), []).unwrap();
    let patient = serve(server());
    let security = Security::Tls(Arc::new(server()));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
    let worker = Worker::on(Made::localhost(), listener, |options| {
        // Long enough for a busy machine to bring the first flight.
        options.handshake_timeout = Duration::from_secs(5);
    });
    let mut config = client_config(Some(&made.certificate()), &["http/1.1"]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert!(!early(&patient, &config).0);
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    let request = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";
    session.early_data().unwrap().write_all(request).unwrap();
    let mut socket = worker.connect();
    while session.wants_write() {
        session.write_tls(&mut socket).unwrap();
    }
    worker.wait_for(|note| match note {
        Note::Closed(why) => (why == "handshake timed out").then_some(()),
        _ => None,
    });
    assert_eq!(worker.totals().engines.requests, 1);
    drop(socket);
}

#[test]
fn a_copy_of_early_data_is_ignored() {
    let made = Made::localhost();
    let mut settings = TlsSettings::new().unwrap();
    settings.early_data = EarlyData::on(100);
    let worker = serve(TlsAcceptorConfig::new(&settings, site(&made), []).unwrap());
    let mut config = client_config(Some(&made.certificate()), &["http/1.1"]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert!(!early(&worker, &config).0);
    // The first flight, as an attacker on the path sees it.
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
    let request = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";
    session.early_data().unwrap().write_all(request).unwrap();
    let mut flight = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut flight).unwrap();
    }
    let opened = |note| match note {
        Note::Opened(tls) => tls.filter(|tls| tls.resumed),
        Note::Closed(_) | Note::Held => None,
    };
    let mut first = worker.connect();
    first.write_all(&flight).unwrap();
    let tls = worker.wait_for(opened);
    assert_eq!(tls.alpn, Some("http/1.1"));
    // The copy gets a full handshake, and nothing of it is read.
    let mut copy = worker.connect();
    copy.write_all(&flight).unwrap();
    copy.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = copy.read_to_end(&mut answer);
    assert!(!answer.is_empty());
    // The one that brought the ticket, and the first flight.
    assert_eq!(worker.totals().engines.requests, 2);
    drop(first);
}

#[test]
fn many_requests_of_http2_come_early() {
    let made = Made::localhost();
    let mut settings = TlsSettings::new().unwrap();
    settings.early_data = EarlyData::on(100);
    let worker = serve(TlsAcceptorConfig::new(&settings, site(&made), []).unwrap());
    let config = Arc::new(client_config(Some(&made.certificate()), &["h2"]));
    // A client that sends nothing early is served as before.
    for kind_of in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = Client::new(connect(&worker, &config, "localhost"));
        let ids: Vec<_> = (0..10)
            .map(|_| client.open("GET", "/early", Body::Empty))
            .collect();
        for id in ids {
            assert_eq!(client.finish(id).body, b"false");
        }
        assert_eq!(client.driver.io.conn.handshake_kind(), Some(kind_of));
    }
}
