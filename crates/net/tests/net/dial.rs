//! Connections that we open: cleartext and TLS, trust, failures and ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, RootCertStore, SupportedProtocolVersion};
use socket2::SockRef;
use tidegate_http::{Body, CloseReason, Config, ErrorCode, Event, RequestHead, Stream, StreamId};
use tidegate_net::{
    ConnId, Dial, DialSecurity, Direction, End, Origin, Protocol, TlsConnectorConfig, TlsError,
    Trust,
};
use tidegate_testkit::wire;

use crate::common::{
    Client, Identity, PATIENCE, Told, Watcher, Worker, accept, dial_plain, dial_tls, expect,
    limit_connections, listen, pattern, read_head, server_builder, tls_peer,
};

const BOTH: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Returns a dial in cleartext and one with TLS, for each protocol, with its worker and the
/// protocol that results.
fn each_kind() -> Vec<(Worker, Dial, Protocol)> {
    let mut kinds = Vec::new();
    for protocol in BOTH {
        let worker = Worker::plain();
        let dial = dial_plain(worker.addr, protocol);
        kinds.push((worker, dial, protocol));
        let worker = Worker::tls();
        let dial = dial_tls(worker.addr, &worker.trusted(), Some(protocol));
        kinds.push((worker, dial, protocol));
    }
    kinds
}

#[test]
fn in_cleartext_it_speaks_what_it_is_told() {
    let worker = Worker::plain();
    let dialler = Watcher::dialling();
    for protocol in BOTH {
        let (conn, spoken, info) = dialler.connect(dial_plain(worker.addr, protocol));
        assert_eq!(spoken, protocol);
        assert_eq!((info.origin, info.peer), (Origin::Dialled, worker.addr));
        assert!(info.local.ip().is_loopback() && info.local.port() != 0);
        assert!(info.tls.is_none() && info.via.is_none());
        for _ in 0..2 {
            let response = dialler.get(conn, "/hello");
            assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
        }
    }
    let totals = worker.totals();
    assert_eq!((totals.accepted, totals.http1, totals.reused), (2, 1, 2));
}

#[test]
fn by_tls_alpn_decides() {
    // RFC 9113 §3.2: "HTTP/2 over TLS uses the "h2" protocol identifier."
    let worker = Worker::tls();
    let trusted = worker.trusted();
    let dialler = Watcher::dialling();
    for (only, expected, alpn) in [
        (None, Protocol::Http2, "h2"),
        (Some(Protocol::Http2), Protocol::Http2, "h2"),
        (Some(Protocol::Http1), Protocol::Http1, "http/1.1"),
    ] {
        let (conn, spoken, info) = dialler.connect(dial_tls(worker.addr, &trusted, only));
        assert_eq!(spoken, expected);
        let tls = info.tls.expect("it is TLS");
        assert_eq!((tls.alpn, tls.version), (Some(alpn), "TLSv1_3"));
        assert!(tls.cipher.starts_with("TLS13_"), "{}", tls.cipher);
        assert_eq!(tls.sni.as_deref(), Some("localhost"));
        assert_eq!(dialler.get(conn, "/hello").body, b"hello");
    }
}

#[test]
fn a_server_that_agrees_to_http1_or_to_nothing_gets_http1() {
    let identity = Identity::self_signed(|_| {});
    let trusted = identity.trusted();
    let dialler = Watcher::dialling();
    let (listener, addr) = listen();
    for (agrees, only, is_refused) in [
        (&["http/1.1"][..], None, false),
        (&["http/1.1"], Some(Protocol::Http1), false),
        (&[], None, false),
        (&[], Some(Protocol::Http1), false),
        // RFC 9113 §3.2: without "h2" the protocol isn't HTTP/2.
        (&[], Some(Protocol::Http2), true),
    ] {
        let config = identity.server_config(&VERSIONS, agrees);
        let conn = dialler.dial(dial_tls(addr, &trusted, only));
        let mut peer = tls_peer(&config, accept(&listener));
        let handshake = peer.conn.complete_io(&mut peer.sock);
        if is_refused {
            let why = dialler.closed_one(conn);
            assert!(matches!(why, End::NotHttp2), "{why}");
            continue;
        }
        handshake.unwrap();
        let (opened, protocol, info) = dialler.opened();
        assert_eq!((opened, protocol), (conn, Protocol::Http1));
        let alpn = info.tls.expect("it is TLS").alpn;
        assert_eq!(alpn, agrees.first().copied());
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = dialler.open(conn, head, Body::Empty);
        expect(&mut peer, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        peer.write_all(answer).unwrap();
        assert_eq!(dialler.response(conn, id).body, b"hi");
    }
    // RFC 7301 §3.2: nothing in common.
    let config = identity.server_config(&VERSIONS, &["http/1.1"]);
    let conn = dialler.dial(dial_tls(addr, &trusted, Some(Protocol::Http2)));
    let mut peer = tls_peer(&config, accept(&listener));
    peer.conn.complete_io(&mut peer.sock).unwrap_err();
    drop(peer);
    let why = dialler.closed_one(conn);
    let alert = AlertDescription::NoApplicationProtocol;
    assert!(
        matches!(&why, End::TlsFailed(rustls::Error::AlertReceived(got)) if *got == alert),
        "{why}"
    );
    let totals = dialler.totals();
    assert_eq!((totals.dialled, totals.dial_failures), (6, 2));
}

/// Dials a server with this certificate. Returns whether the certificate was accepted, or why not.
fn shown(
    dialler: &Watcher,
    identity: &Identity,
    trusted: &Arc<TlsConnectorConfig>,
    version: &'static SupportedProtocolVersion,
    name: &'static str,
) -> Result<(), CertificateError> {
    let (listener, addr) = listen();
    let config = identity.server_config(&[version], &["h2"]);
    let conn = dialler.dial(Dial {
        security: DialSecurity::Tls {
            config: Arc::clone(trusted),
            name: name.try_into().unwrap(),
            only: None,
        },
        ..dial_plain(addr, Protocol::Http2)
    });
    let mut peer = tls_peer(&config, accept(&listener));
    let handshake = peer.conn.complete_io(&mut peer.sock);
    if handshake.is_ok() && version.version == TLS13.version {
        // The client's handshake ends with its last flight, so only reading shows whether it went
        // on.
        let _ = peer.read(&mut [0]);
    }
    drop(peer);
    let told = dialler.wait_for(|told| match told {
        Told::Opened(its, ..) | Told::Closed(its, ..) => *its == conn,
        _ => false,
    });
    match told {
        Told::Opened(..) => {
            assert!(handshake.is_ok(), "{handshake:?}");
            Ok(())
        }
        Told::Closed(_, End::TlsFailed(rustls::Error::InvalidCertificate(error))) => Err(error),
        told => panic!("{told:?}"),
    }
}

/// Marks a certificate as an authority's, as `openssl req -x509` does.
fn says_that_it_is_an_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn has_expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
}

fn begins_later(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3001, 1, 1);
    params.not_after = date_time_ymd(3002, 1, 1);
}

#[test]
fn what_is_listed_is_trusted_for_its_names() {
    let dialler = Watcher::dialling();
    let authority = Identity::self_signed(says_that_it_is_an_authority);
    let leaf = Identity::self_signed(|_| {});
    let own_authority = Identity::self_signed(says_that_it_is_an_authority);
    let signed = authority.sign(|_| {});
    for version in VERSIONS {
        for (shows, lists) in [
            (&signed, &authority),
            (&leaf, &leaf),
            (&own_authority, &own_authority),
            // The authority isn't listed, but the certificate is.
            (&signed, &signed),
        ] {
            let trusted = lists.trusted();
            let result = shown(&dialler, shows, &trusted, version, "localhost");
            assert_eq!(result, Ok(()));
            let result = shown(&dialler, shows, &trusted, version, "elsewhere");
            assert!(
                matches!(result, Err(CertificateError::NotValidForNameContext { .. })),
                "{result:?}"
            );
        }
    }
}

#[test]
fn what_is_not_listed_is_not_trusted() {
    let dialler = Watcher::dialling();
    let authority = Identity::self_signed(says_that_it_is_an_authority);
    let other = Identity::self_signed(says_that_it_is_an_authority);
    let leaf = Identity::self_signed(|_| {});
    for version in VERSIONS {
        for (shows, lists) in [
            (&leaf, &other),
            (&authority.sign(|_| {}), &other),
            (&authority.sign(|_| {}), &leaf),
            // The certificate is listed, but it is no authority.
            (&leaf.sign(|_| {}), &leaf),
        ] {
            let result = shown(&dialler, shows, &lists.trusted(), version, "localhost");
            let error = result.unwrap_err();
            assert!(
                matches!(
                    error,
                    CertificateError::UnknownIssuer | CertificateError::Other(_)
                ),
                "{error:?}"
            );
        }
        // A listed authority beside it doesn't make it one.
        let trust = Trust::Pem([other.pem(), leaf.pem()].concat().into_bytes());
        let trusted = Arc::new(TlsConnectorConfig::new(&trust, None).unwrap());
        let result = shown(&dialler, &leaf.sign(|_| {}), &trusted, version, "localhost");
        assert_eq!(result, Err(CertificateError::UnknownIssuer));
        // An authority that isn't listed is no server either.
        let result = shown(&dialler, &other, &authority.trusted(), version, "localhost");
        assert!(result.is_err());
    }
    assert_eq!(dialler.totals().dial_failures, 12);
}

#[test]
fn what_is_listed_is_not_trusted_beyond_its_dates() {
    let dialler = Watcher::dialling();
    let authority = Identity::self_signed(says_that_it_is_an_authority);
    let expired = [
        Identity::self_signed(has_expired),
        Identity::self_signed(|params| {
            says_that_it_is_an_authority(params);
            has_expired(params);
        }),
        authority.sign(has_expired),
    ];
    let early = [
        Identity::self_signed(begins_later),
        Identity::self_signed(|params| {
            says_that_it_is_an_authority(params);
            begins_later(params);
        }),
        authority.sign(begins_later),
    ];
    for version in VERSIONS {
        let outcome = |identity: &Identity| {
            let trusted = identity.trusted();
            shown(&dialler, identity, &trusted, version, "localhost")
        };
        for identity in &expired {
            let result = outcome(identity);
            assert!(
                matches!(result, Err(CertificateError::ExpiredContext { .. })),
                "{result:?}"
            );
        }
        for identity in &early {
            let result = outcome(identity);
            assert!(
                matches!(result, Err(CertificateError::NotValidYetContext { .. })),
                "{result:?}"
            );
        }
    }
}

fn anybody() -> Arc<TlsConnectorConfig> {
    Arc::new(TlsConnectorConfig::new(&Trust::Anybody, None).unwrap())
}

#[test]
fn anybody_is_anybody() {
    let dialler = Watcher::dialling();
    for version in VERSIONS {
        for identity in [
            Identity::self_signed(|_| {}),
            Identity::self_signed(says_that_it_is_an_authority),
            Identity::self_signed(has_expired),
        ] {
            let result = shown(&dialler, &identity, &anybody(), version, "elsewhere");
            assert_eq!(result, Ok(()));
        }
    }
}

/// A signer that shows a certificate and signs with another key.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn who_shows_a_certificate_must_have_its_key() {
    // RFC 8446 §4.4.3: "This message is used to provide explicit proof that an endpoint possesses
    // the private key corresponding to its certificate."
    let dialler = Watcher::dialling();
    let victim = Identity::self_signed(says_that_it_is_an_authority);
    let key = Identity::self_signed(|_| {}).key_der();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let stolen = CertifiedKey::new(vec![victim.certificate.clone()], key);
    let thief = Arc::new(Thief(Arc::new(stolen)));
    for version in VERSIONS {
        for trusted in [victim.trusted(), anybody()] {
            let builder = server_builder(&[version]).with_no_client_auth();
            let config = builder.with_cert_resolver(Arc::clone(&thief) as _);
            let (listener, addr) = listen();
            dialler.dial(dial_tls(addr, &trusted, None));
            let mut peer = tls_peer(&Arc::new(config), accept(&listener));
            let handshake = peer.conn.complete_io(&mut peer.sock);
            handshake.unwrap_err();
            drop(peer);
            let (_, why) = dialler.closed();
            let bad = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
            assert!(
                matches!(&why, End::TlsFailed(error) if *error == bad),
                "{why}"
            );
        }
    }
}

#[test]
fn a_server_that_wants_to_know_who_we_are_is_told() {
    let dialler = Watcher::dialling();
    let server = Identity::self_signed(|_| {});
    let client = Identity::self_signed(|_| {});
    // The server trusts just this client.
    let mut roots = RootCertStore::empty();
    roots.add(client.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().unwrap();
    let trust = Trust::Pem(server.pem().into_bytes());
    let (certificate, key) = (client.pem(), client.key_pem());
    let identity = Some((certificate.as_bytes(), key.as_bytes()));
    for version in VERSIONS {
        for identity in [identity, None] {
            let builder = server_builder(&[version]);
            let builder = builder.with_client_cert_verifier(Arc::clone(&verifier));
            let chain = vec![server.certificate.clone()];
            let mut config = builder.with_single_cert(chain, server.key_der()).unwrap();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let trusted = Arc::new(TlsConnectorConfig::new(&trust, identity).unwrap());
            let (listener, addr) = listen();
            let conn = dialler.dial(dial_tls(addr, &trusted, None));
            let mut peer = tls_peer(&Arc::new(config), accept(&listener));
            let handshake = peer.conn.complete_io(&mut peer.sock);
            if identity.is_some() {
                handshake.unwrap();
                let shown = peer.conn.peer_certificates().unwrap();
                assert_eq!(shown, std::slice::from_ref(&client.certificate));
                expect(&mut peer, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
                dialler.wait_for(|told| matches!(told, Told::Opened(its, ..) if *its == conn));
                drop(peer);
                dialler.closed();
            } else {
                handshake.unwrap_err();
                drop(peer);
                let (closed, why) = dialler.closed();
                assert_eq!(closed, conn);
                assert!(
                    matches!(why, End::TlsFailed(rustls::Error::AlertReceived(_))),
                    "{why}"
                );
            }
        }
    }
}

#[test]
fn settings_that_are_wrong_are_told() {
    let pem = |text: &str| Trust::Pem(text.as_bytes().to_vec());
    let new = |trust, identity| TlsConnectorConfig::new(&trust, identity).map(|_| ());
    let one = Identity::self_signed(|_| {});
    let other = Identity::self_signed(|_| {});
    let (certificate, key) = (one.pem(), one.key_pem());
    let broken = format!("{}!?{}", &certificate[..200], &certificate[200..]);
    assert!(matches!(new(pem(""), None), Err(TlsError::NoCertificate)));
    assert!(matches!(new(pem(&key), None), Err(TlsError::NoCertificate)));
    assert!(matches!(
        new(pem(&broken), None),
        Err(TlsError::CertificateUnreadable(_))
    ));
    // A block whose content is no certificate.
    let nothing = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        new(pem(nothing), None),
        Err(TlsError::CertificateUnusable(_))
    ));
    let with = |certificate: &str, key: &str| {
        let identity = Some((certificate.as_bytes(), key.as_bytes()));
        TlsConnectorConfig::new(&Trust::Anybody, identity).map(|_| ())
    };
    assert!(with(&certificate, &key).is_ok());
    assert!(matches!(with(&key, &key), Err(TlsError::NoCertificate)));
    assert!(matches!(
        with(&broken, &key),
        Err(TlsError::CertificateUnreadable(_))
    ));
    assert!(matches!(
        with(&certificate, &certificate),
        Err(TlsError::NoKey)
    ));
    assert!(matches!(
        with(&certificate, &key[..key.len() / 2]),
        Err(TlsError::KeyUnreadable(_))
    ));
    assert!(matches!(
        with(&certificate, &other.key_pem()),
        Err(TlsError::KeyMismatch)
    ));
}

#[test]
fn a_session_is_resumed_by_whichever_worker() {
    let identity = Identity::self_signed(|_| {});
    for version in VERSIONS {
        let trusted = identity.trusted();
        let config = identity.server_config(&[version], &["http/1.1"]);
        let (listener, addr) = listen();
        for expected in [false, true] {
            // The settings are shared.
            let dialler = Watcher::dialling();
            let conn = dialler.dial(dial_tls(addr, &trusted, None));
            let mut peer = tls_peer(&config, accept(&listener));
            peer.conn.complete_io(&mut peer.sock).unwrap();
            let (_, _, info) = dialler.opened();
            assert_eq!(info.tls.expect("it is TLS").resumed, expected);
            let head = RequestHead::new("GET", "https", "localhost", "/");
            let id = dialler.open(conn, head, Body::Empty);
            read_head(&mut peer);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            peer.write_all(answer).unwrap();
            // The tickets came before this.
            assert_eq!(dialler.response(conn, id).status, 200);
        }
    }
}

#[test]
fn where_nobody_listens_it_fails() {
    let (listener, addr) = listen();
    drop(listener);
    let dialler = Watcher::dialling();
    for (count, dial) in [
        dial_plain(addr, Protocol::Http2),
        dial_tls(addr, &anybody(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let why = dialler.fail_to_connect(dial);
        assert!(
            matches!(&why, End::ConnectFailed(error) if error.kind() == ErrorKind::ConnectionRefused),
            "{why}"
        );
        let totals = dialler.totals();
        let failed = count as u64 + 1;
        assert_eq!((totals.dialled, totals.dial_failures), (failed, failed));
        assert_eq!((totals.dialled_open, totals.closed), (0, failed));
        assert_eq!((totals.accepted, totals.handshake_failures), (0, 0));
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    let (_listener, addr) = listen();
    let dialler = Watcher::dialling();
    let timeout = Duration::from_millis(100);
    let began = Instant::now();
    // TCP is established, because the kernel accepts the connection. TLS isn't.
    let why = dialler.fail_to_connect(Dial {
        timeout,
        ..dial_tls(addr, &anybody(), None)
    });
    assert!(matches!(why, End::ConnectTimedOut), "{why}");
    assert!(began.elapsed() >= timeout);
    let totals = dialler.totals();
    assert_eq!((totals.dial_failures, totals.dialled_open), (1, 0));
    // In cleartext no answer is needed.
    dialler.connect(dial_plain(addr, Protocol::Http2));
}

#[test]
fn a_server_that_leaves_in_the_handshake_is_noted() {
    let (listener, addr) = listen();
    let dialler = Watcher::dialling();
    dialler.dial(dial_tls(addr, &anybody(), None));
    let mut socket = accept(&listener);
    // A handshake record (RFC 8446 §5.1).
    expect(&mut socket, [22]);
    socket.shutdown(Shutdown::Write).unwrap();
    let (_, why) = dialler.closed();
    assert!(matches!(why, End::HandshakeEof), "{why}");
    assert_eq!(dialler.totals().dial_failures, 1);
}

#[test]
fn a_preamble_goes_in_front_of_everything_in_clear() {
    let dialler = Watcher::dialling();
    let preamble = pattern(200).to_vec();
    let (listener, addr) = listen();
    for protocol in BOTH {
        let before = dialler.totals().bytes_sent;
        let (conn, ..) = dialler.connect(Dial {
            preamble: preamble.clone(),
            ..dial_plain(addr, protocol)
        });
        let mut socket = accept(&listener);
        expect(&mut socket, &preamble);
        if protocol == Protocol::Http1 {
            // Nothing else went out.
            assert_eq!(dialler.totals().bytes_sent - before, 200);
        }
        let head = RequestHead::new("GET", "http", "localhost", "/");
        dialler.open(conn, head, Body::Empty);
        match protocol {
            Protocol::Http2 => expect(&mut socket, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Protocol::Http1 => expect(&mut socket, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        }
    }
    let identity = Identity::self_signed(|_| {});
    dialler.dial(Dial {
        preamble: preamble.clone(),
        ..dial_tls(addr, &identity.trusted(), None)
    });
    let mut socket = accept(&listener);
    expect(&mut socket, &preamble);
    let mut peer = tls_peer(&identity.server_config(&VERSIONS, &["h2"]), socket);
    expect(&mut peer, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn what_was_dialled_is_counted_apart() {
    let upstream = Worker::plain();
    let worker = Watcher::plain(|options| limit_connections(options, 1));
    for protocol in BOTH {
        let (conn, ..) = worker.connect(dial_plain(upstream.addr, protocol));
        assert_eq!(worker.get(conn, "/hello").body, b"hello");
    }
    let totals = worker.totals();
    assert_eq!((totals.dialled, totals.dialled_open), (2, 2));
    assert_eq!((totals.accepted, totals.open, totals.http1), (0, 0, 0));
    assert_eq!(totals.dialled_engines.requests, 2);
    assert_eq!((totals.engines.requests, totals.active_streams), (0, 0));
    // Two dialled connections leave room for one accepted connection, and no more.
    let mut client = Client::new(TcpStream::connect(worker.addr).unwrap());
    let asked = client.open("GET", "/", Body::Empty);
    client.flush();
    let (accepted, ..) = worker.opened_by(Origin::Accepted);
    let (id, _) = worker.request(accepted);
    let mut refused = TcpStream::connect(worker.addr).unwrap();
    let _ = refused.read_to_end(&mut Vec::new());
    let totals = worker.totals();
    assert_eq!((totals.accepted, totals.open, totals.refused), (1, 1, 1));
    assert_eq!((totals.active_streams, totals.engines.requests), (1, 1));
    worker.respond(accepted, id, 200, Body::Empty);
    assert_eq!(client.finish(asked).status, 200);
    drop(client);
    worker.wait_for(|told| matches!(told, Told::Closed(conn, ..) if *conn == accepted));
    let totals = worker.totals();
    assert_eq!((totals.open, totals.dialled_open, totals.closed), (0, 2, 1));
    // Connections that have ended still count.
    drop(upstream);
    worker.closed();
    worker.closed();
    let totals = worker.totals();
    assert_eq!((totals.dialled_open, totals.closed), (0, 3));
    assert_eq!(totals.dialled_engines.requests, 2);
    assert_eq!((totals.dial_failures, totals.handshake_failures), (0, 0));
}

#[test]
fn a_graceful_end_keeps_them_until_nobody_needs_them() {
    let upstreams = each_kind();
    let mut worker = Watcher::plain(|_| {});
    let mut conns = Vec::new();
    for (_, dial, _) in &upstreams {
        conns.push(worker.connect(dial.clone()).0);
    }
    let mut client = Client::new(TcpStream::connect(worker.addr).unwrap());
    let asked = client.open("GET", "/", Body::Empty);
    client.flush();
    let (accepted, ..) = worker.opened_by(Origin::Accepted);
    let (id, _) = worker.request(accepted);
    worker.mailbox.shut_down();
    // Accepted connections may still need dialled ones, and more of them.
    for conn in &conns {
        assert_eq!(worker.get(*conn, "/hello").body, b"hello");
    }
    let (late, ..) = worker.connect(upstreams[0].1.clone());
    assert_eq!(worker.get(late, "/hello").body, b"hello");
    assert_eq!(worker.totals().dialled_open, 5);
    worker.respond(accepted, id, 200, Body::Empty);
    assert_eq!(client.finish(asked).status, 200);
    while !client.closed {
        client.flush();
        client.read_once();
    }
    drop(client);
    worker.join();
    for (upstream, _, protocol) in &upstreams {
        // RFC 9113 §6.8: "Endpoints SHOULD always send a GOAWAY frame before closing a connection".
        let expected = match protocol {
            Protocol::Http2 => "graceful end",
            Protocol::Http1 => "closed by the peer",
        };
        assert_eq!(upstream.wait_closed(), expected);
        // RFC 8446 §6.1: each party MUST send close_notify before it closes its side.
        assert_eq!(upstream.totals().truncated, 0, "{protocol:?}");
    }
}

#[test]
fn large_bodies_go_both_ways() {
    let dialler = Watcher::dialling();
    for (worker, dial, protocol) in each_kind() {
        let (conn, ..) = dialler.connect(dial);
        for len in [0, 1, 16_384, 65_536, 3_000_000] {
            let response = dialler.get(conn, &format!("/big/{len}"));
            assert!(response.body == pattern(len), "{len} bytes down");
            let body = Body::Full(pattern(len));
            let response = dialler.ask(conn, "POST", "/upload", body);
            assert_eq!(response.body, len.to_string().as_bytes(), "{len} bytes up");
            // The same, piece by piece.
            let response = dialler.with(move |watched, conns| {
                let head = RequestHead::new("POST", "http", "localhost", "/upload");
                let engine = conns.engine(conn).unwrap();
                let id = engine.open(&head, Body::Stream).unwrap();
                watched.give(conns, conn, id, pattern(len));
                id
            });
            let response = dialler.response(conn, response);
            assert_eq!(response.body, len.to_string().as_bytes(), "{len} bytes up");
        }
        let requests = worker.totals().engines.requests;
        assert_eq!(requests, 15, "{protocol:?}");
    }
}

#[test]
fn a_response_that_is_not_consumed_holds_the_server_up() {
    const WINDOW: usize = 65_535;
    const LEN: usize = 3_000_000;
    let dialler = Watcher::dialling();
    let mut config = Config::client();
    config.max_stream_window_size = WINDOW as u32;
    let config = config.build().unwrap();
    for (_worker, dial, protocol) in each_kind() {
        let (conn, ..) = dialler.connect(Dial {
            engine: Arc::clone(&config),
            ..dial
        });
        dialler.with(|watched, _| watched.consumes = false);
        let head = RequestHead::new("GET", "http", "localhost", &format!("/big/{LEN}"));
        let request = dialler.open(conn, head, Body::Empty);
        let mut got = Vec::new();
        while got.len() < WINDOW {
            let event = dialler.event(conn, |event| matches!(event, Event::Data { .. }));
            let Event::Data { data, .. } = event else {
                unreachable!()
            };
            got.extend_from_slice(&data);
        }
        // No more than there is credit for, however long it lasts.
        assert_eq!(got.len(), WINDOW);
        if protocol == Protocol::Http2 {
            assert_eq!(dialler.get(conn, "/hello").body, b"hello");
        }
        let more = |told: &Told| matches!(told, Told::Event(its, Event::Data { id, .. }) if (*its, *id) == (conn, request));
        assert_eq!(dialler.told(more), 0);
        dialler.with(move |watched, conns| {
            watched.consumes = true;
            conns.stream(conn, request).unwrap().consume(WINDOW);
        });
        got.extend(dialler.response_body(conn, request));
        assert!(got == pattern(LEN), "{} bytes", got.len());
    }
}

const UPLOAD: usize = 20_000_000;

/// Returns an upload to a server that doesn't read, when nothing moves any longer.
fn held_up() -> (Watcher, ConnId, StreamId, TcpStream) {
    let elsewhere = Worker::plain();
    let dialler = Watcher::dialling();
    let (other, ..) = dialler.connect(dial_plain(elsewhere.addr, Protocol::Http1));
    let (listener, addr) = listen();
    // Accepted sockets inherit this.
    SockRef::from(&listener)
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    let (conn, ..) = dialler.connect(dial_plain(addr, Protocol::Http1));
    let socket = accept(&listener);
    let request = dialler.with(move |watched, conns| {
        let head = RequestHead::new("POST", "http", "localhost", "/");
        let head = head.field("content-length", UPLOAD.to_string());
        let engine = conns.engine(conn).unwrap();
        let id = engine.open(&head, Body::Stream).unwrap();
        watched.give(conns, conn, id, pattern(UPLOAD));
        id
    });
    // A turn writes up to 256 KiB, and each of these requests takes more than one.
    let mut written = 0;
    loop {
        for _ in 0..10 {
            assert_eq!(dialler.get(other, "/hello").body, b"hello");
        }
        let total = dialler.totals().bytes_sent;
        if total < written + 50_000 {
            break;
        }
        written = total;
    }
    // The kernels take this at once: `Options::notsent_lowat` keeps ours from taking megabytes.
    assert!(written < 700_000, "{written} bytes");
    (dialler, conn, request, socket)
}

#[test]
fn a_server_that_does_not_read_holds_the_upload_up() {
    let (dialler, conn, request, mut socket) = held_up();
    let head = read_head(&mut socket);
    assert!(head.ends_with("content-length: 20000000\r\n\r\n"), "{head}");
    expect(&mut socket, pattern(UPLOAD));
    socket
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(dialler.response(conn, request).status, 200);
}

#[test]
fn a_server_that_does_not_read_sees_at_once_that_the_client_gave_up() {
    let (dialler, conn, request, socket) = held_up();
    dialler.with(move |_, conns| {
        let mut stream = conns.stream(conn, request).unwrap();
        stream.reset(ErrorCode::CANCEL);
    });
    // A clean end would come after everything that the peer hasn't read.
    let deadline = Instant::now() + PATIENCE;
    while socket.take_error().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it sees nothing");
        std::thread::yield_now();
    }
}

/// Begins an upload to a server, and continues it just when the server has sent `answer` and
/// closed. The first bytes make its socket send a reset, and the next can't be written. Returns the
/// dialler, for which the event of the connection's end is still to come.
fn answered_and_gone(
    protocol: Protocol,
    greeting: &[u8],
    answer: Vec<u8>,
) -> (Watcher, ConnId, StreamId) {
    let dialler = Watcher::dialling();
    let (listener, addr) = listen();
    let conn = dialler.dial(dial_plain(addr, protocol));
    let mut server = accept(&listener);
    dialler.opened();
    server.write_all(greeting).unwrap();
    if protocol == Protocol::Http2 {
        dialler.event(conn, |event| matches!(event, Event::PeerSettings));
    }
    let head = RequestHead::new("POST", "http", "localhost", "/");
    let head = head.field("content-length", UPLOAD.to_string());
    let id = dialler.open(conn, head, Body::Stream);
    // Read everything in flight, or closing would take the answer away: with unread bytes it is a
    // reset at once.
    let mut written = 0;
    while written < dialler.totals().bytes_sent {
        written += server.read(&mut [0; 4096]).unwrap() as u64;
    }
    dialler.with(move |watched, conns| {
        server.write_all(&answer).unwrap();
        drop(server);
        watched.give(conns, conn, id, pattern(UPLOAD));
    });
    (dialler, conn, id)
}

#[test]
fn what_a_server_said_before_it_closed_counts_though_it_takes_nothing_more() {
    // RFC 9112 §9.5: "A client sending a message body SHOULD monitor the open connection for an
    // error response while it is transmitting the request." Send no more than a socket takes that
    // nobody reads, because the reset takes the rest away at the server's end.
    let body = pattern(40_000);
    let head = format!("HTTP/1.1 413 No\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), &body].concat();
    let (dialler, conn, id) = answered_and_gone(Protocol::Http1, b"", answer);
    let response = dialler.response(conn, id);
    assert_eq!((response.status, response.end), (413, true));
    assert!(response.body == body);
    dialler.closed_one(conn);

    let greeting = [
        wire::settings(&[(4, 1 << 30)]).to_bytes(),
        wire::window_update(0, 1 << 30).to_bytes(),
    ];
    let frames = body.chunks(15_000);
    let frames: Vec<u8> = frames
        .flat_map(|piece| wire::data(1, piece).to_bytes())
        .collect();
    let answer = [
        wire::headers(1, &[(":status", "413")]).to_bytes(),
        frames,
        wire::data(1, "").end().to_bytes(),
        wire::goaway(1, ErrorCode::NO_ERROR).to_bytes(),
    ];
    let (dialler, conn, id) =
        answered_and_gone(Protocol::Http2, &greeting.concat(), answer.concat());
    let response = dialler.response(conn, id);
    assert_eq!((response.status, response.end), (413, true));
    assert!(response.body == body);
    dialler.closed_one(conn);
}

#[test]
fn a_response_up_to_the_end_is_not_whole_behind_a_write_that_failed() {
    // The server may have ended the connection, or its system.
    loop {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec();
        let (dialler, conn, id) = answered_and_gone(Protocol::Http1, b"", answer);
        let response = dialler.response(conn, id);
        assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
        // The end may come before the reset does.
        if matches!(dialler.closed_one(conn), End::Io(_)) {
            assert!(!response.end);
            break;
        }
    }
}

#[test]
fn what_comes_late_through_a_tunnel_is_read_though_our_end_cannot_be_written() {
    // A WebSocket's server answers a close with a close, and closes. Meanwhile the client ends TLS
    // too.
    let identity = Identity::self_signed(|_| {});
    let config = identity.server_config(&VERSIONS, &["http/1.1"]);
    let dialler = Watcher::dialling();
    let (listener, addr) = listen();
    let conn = dialler.dial(dial_tls(addr, &identity.trusted(), Some(Protocol::Http1)));
    let mut server = tls_peer(&config, accept(&listener));
    server.conn.complete_io(&mut server.sock).unwrap();
    let head = RequestHead::extended_connect("websocket", "https", "localhost", "/chat");
    let head = head.field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    dialler.opened();
    let id = dialler.open(conn, head, Body::Stream);
    read_head(&mut server);
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .unwrap();
    dialler.event(conn, |event| matches!(event, Event::Response { .. }));
    dialler.with(move |_, conns| {
        server.write_all(b"last words").unwrap();
        server.conn.send_close_notify();
        server.flush().unwrap();
        drop(server);
        let mut stream = conns.stream(conn, id).unwrap();
        stream.write(&mut "bye".into(), true);
    });
    assert_eq!(dialler.response_body(conn, id), b"last words");
    let event = dialler.event(conn, |event| matches!(event, Event::Closed(_)));
    assert!(matches!(event, Event::Closed(CloseReason::Graceful)));
    dialler.closed_one(conn);
    assert_eq!(dialler.totals().truncated, 0);
}

/// The end of an HTTP/1.1 response that lasts until the transport ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// close_notify, if there is TLS, and FIN.
    InOrder,
    /// FIN alone.
    Fin,
    /// RST.
    Reset,
}

/// Returns the bytes of a response whose transport ends like this after its first bytes, and
/// whether it was whole. Otherwise returns why the engine ended.
fn until_the_end(by_tls: bool, head: &str, ending: Ending) -> Result<Vec<u8>, CloseReason> {
    let dialler = Watcher::dialling();
    let identity = Identity::self_signed(|_| {});
    let (listener, addr) = listen();
    let conn = dialler.dial(if by_tls {
        dial_tls(addr, &identity.trusted(), Some(Protocol::Http1))
    } else {
        dial_plain(addr, Protocol::Http1)
    });
    let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nhello");
    let open = || {
        let (opened, ..) = dialler.opened();
        assert_eq!(opened, conn);
        let head = RequestHead::new("GET", "https", "localhost", "/");
        dialler.open(conn, head, Body::Empty)
    };
    let read = |event: &Event| matches!(event, Event::Data { end: false, .. });
    let socket = accept(&listener);
    let request = if by_tls {
        let config = identity.server_config(&VERSIONS, &["http/1.1"]);
        let mut peer = tls_peer(&config, socket);
        peer.conn.complete_io(&mut peer.sock).unwrap();
        let request = open();
        read_head(&mut peer);
        peer.write_all(answer.as_bytes()).unwrap();
        dialler.event(conn, read);
        if matches!(ending, Ending::InOrder) {
            peer.conn.send_close_notify();
            peer.flush().unwrap();
        }
        end(peer.sock, ending);
        request
    } else {
        let mut socket = socket;
        let request = open();
        read_head(&mut socket);
        socket.write_all(answer.as_bytes()).unwrap();
        dialler.event(conn, read);
        end(socket, ending);
        request
    };
    let last = dialler.event(conn, |event| {
        matches!(event, Event::Data { end: true, .. } | Event::Closed(_))
    });
    dialler.closed();
    match last {
        Event::Data { id, data, .. } => {
            assert_eq!(id, request);
            Ok([b"hello", &data[..]].concat())
        }
        Event::Closed(reason) => {
            let whole = |told: &Told| matches!(told, Told::Event(_, Event::Data { end: true, .. }));
            assert_eq!(dialler.told(whole), 0);
            Err(reason)
        }
        event => panic!("{event:?}"),
    }
}

fn end(socket: TcpStream, ending: Ending) {
    match ending {
        Ending::InOrder | Ending::Fin => socket.shutdown(Shutdown::Write).unwrap(),
        Ending::Reset => {
            let linger = Some(Duration::ZERO);
            SockRef::from(&socket).set_linger(linger).unwrap();
        }
    }
    drop(socket);
}

#[test]
fn a_response_until_the_end_is_whole_only_if_that_came_in_order() {
    // RFC 9112 §8: "A response that has neither chunked transfer coding nor Content-Length is
    // terminated by closure of the connection and, if the header section was received intact, is
    // considered complete unless an error was indicated by the underlying connection (e.g., an
    // "incomplete close" in TLS would leave the response incomplete".
    let endless = "connection: close\r\n";
    for (by_tls, ending) in [
        (true, Ending::InOrder),
        (false, Ending::InOrder),
        (false, Ending::Fin),
    ] {
        let got = until_the_end(by_tls, endless, ending);
        assert_eq!(got, Ok(b"hello".to_vec()), "{by_tls} {ending:?}");
    }
    for (by_tls, ending) in [
        (true, Ending::Fin),
        (true, Ending::Reset),
        (false, Ending::Reset),
    ] {
        let got = until_the_end(by_tls, endless, ending);
        assert_eq!(got, Err(CloseReason::EofInTheMiddle), "{by_tls} {ending:?}");
    }
    // With a length, any end is too early.
    for (by_tls, ending) in [
        (true, Ending::InOrder),
        (true, Ending::Fin),
        (false, Ending::Fin),
        (false, Ending::Reset),
    ] {
        let got = until_the_end(by_tls, "content-length: 6\r\n", ending);
        assert_eq!(got, Err(CloseReason::EofInTheMiddle), "{by_tls} {ending:?}");
    }
}

#[test]
fn what_nobody_asked_for_is_not_the_answer_to_the_next_request() {
    // RFC 9112 §9.2: "If a client receives data on a connection that does not have outstanding
    // requests, the client MUST NOT consider that data to be a valid response".
    let dialler = Watcher::dialling();
    let (listener, addr) = listen();
    let (conn, ..) = dialler.connect(dial_plain(addr, Protocol::Http1));
    let mut socket = accept(&listener);
    // As soon as the response arrives, the connection must not take another request.
    dialler.with(|watched, _| {
        watched.on_response = Some(Box::new(|conns, conn| {
            let engine = conns.engine(conn).expect("it is there");
            assert!(!engine.can_open());
        }));
    });
    let head = RequestHead::new("GET", "http", "localhost", "/");
    dialler.open(conn, head, Body::Empty);
    read_head(&mut socket);
    let one = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    socket.write_all([one, one].concat().as_bytes()).unwrap();
    dialler.event(conn, |event| matches!(event, Event::Response { .. }));
    let closed = dialler.event(conn, |event| matches!(event, Event::Closed(_)));
    let reason = format!("{closed:?}");
    assert!(reason.contains("ResponseUnasked"), "{reason}");
}

#[test]
fn both_ends_trace_the_same_bytes() {
    let identity = Identity::self_signed(|_| {});
    for by_tls in [false, true] {
        let server = if by_tls {
            Watcher::tls(&identity, |options| options.trace = true)
        } else {
            Watcher::plain(|options| options.trace = true)
        };
        let dialler = Watcher::start(None, |options| options.trace = true);
        for protocol in BOTH {
            let dial = if by_tls {
                dial_tls(server.addr, &identity.trusted(), Some(protocol))
            } else {
                dial_plain(server.addr, protocol)
            };
            let (ours, ..) = dialler.connect(dial);
            let head = RequestHead::new("POST", "http", "localhost", "/");
            let request = dialler.open(ours, head, Body::Full(pattern(300_000)));
            let (theirs, ..) = server.opened();
            let (id, _) = server.request(theirs);
            server.event(theirs, |event| {
                matches!(event, Event::Data { end: true, .. })
            });
            server.respond(theirs, id, 200, Body::Full(pattern(400_000)));
            assert_eq!(dialler.response(ours, request).body, pattern(400_000));
            dialler.with(move |_, conns| {
                let now = conns.now();
                conns.engine(ours).unwrap().shut_down(now);
            });
            dialler.closed();
            server.closed();
            let traced = |watcher: &Watcher, conn| {
                watcher.with(move |watched, _| {
                    assert!(watched.traced.iter().all(|(.., bytes)| !bytes.is_empty()));
                    [Direction::In, Direction::Out].map(|way| watched.traced(conn, way))
                })
            };
            let [came, went] = traced(&dialler, ours);
            let [came_there, went_there] = traced(&server, theirs);
            // The server may send its last bytes to a client that has ended.
            assert!(
                went == came_there && went_there.starts_with(&came),
                "{protocol:?}"
            );
            let first = match protocol {
                Protocol::Http2 => &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
                Protocol::Http1 => b"POST / HTTP/1.1\r\nhost: localhost\r\n",
            };
            assert!(went.starts_with(first) && came.len() > 400_000);
        }
        let totals = dialler.totals();
        if !by_tls {
            assert_eq!(totals.bytes_sent, totals.dialled_engines.bytes_out);
        }
    }
}

#[test]
fn ipv6_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // This machine has no IPv6.
        return;
    };
    let dialler = Watcher::dialling();
    let addr = listener.local_addr().unwrap();
    let (_, _, info) = dialler.connect(dial_plain(addr, Protocol::Http2));
    assert_eq!(info.peer, addr);
    assert_eq!(accept(&listener).peer_addr().unwrap(), info.local);
}
