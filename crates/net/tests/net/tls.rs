//! HTTP/2 over TLS (RFC 9113 §3.2), ALPN, tickets, and the end of TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Client, Note, Trickle, Worker, pattern, server_builder};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, HandshakeKind};
use socket2::SockRef;
use tidegate_http::Body;
use tidegate_net::{Security, TlsAcceptorConfig};
use tidegate_testkit::tls::Certificate;

#[test]
fn answers_requests_by_both_versions() {
    let worker = Worker::tls();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(worker.certificate.clone()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let mut client = Client::new(worker.connect_tls(&Arc::new(config)));
        assert_eq!(client.get("/hello").body, b"hello");
        let tls = worker.wait_for(|note| match note {
            Note::Opened(tls) => tls,
            _ => None,
        });
        // The server's order counts, and it prefers h2.
        assert_eq!(tls.alpn, Some("h2"));
        assert_eq!(tls.version, version.version.as_str().unwrap());
        assert!(tls.cipher.starts_with("TLS"), "{}", tls.cipher);
        assert_eq!(tls.sni.as_deref(), Some("localhost"));
        assert!(!tls.resumed);
    }
}

#[test]
fn large_bodies_come_whole_in_both_directions() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let mut client = Client::new(worker.connect_tls(&config));
    for len in [0, 1, 16_383, 16_384, 16_385, 65_535, 5_000_000] {
        let response = client.get(&format!("/big/{len}"));
        assert!(response.body == pattern(len), "{len} bytes down");
        let id = client.open("POST", "/upload", Body::Full(pattern(len)));
        let response = client.finish(id);
        assert_eq!(response.body, len.to_string().as_bytes(), "{len} bytes up");
    }
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let mut client = Client::new(worker.connect_tls(&config));
    let ids: Vec<_> = (0..8)
        .map(|_| client.open("GET", "/big/1000000", Body::Empty))
        .collect();
    client.flush();
    let mut other = Client::new(worker.connect_tls(&config));
    assert_eq!(other.get("/hello").body, b"hello");
    for id in ids {
        assert!(client.finish(id).body == pattern(1_000_000));
    }
}

/// A stream that notes the length of every TLS record read.
struct Tap {
    socket: TcpStream,
    /// The part of a record's header that was read.
    head: Vec<u8>,
    skip: usize,
    lengths: Vec<usize>,
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            // Kind, version and length (RFC 8446 §5.1).
            let taken = bytes.len().min(5 - self.head.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [_, _, _, high, low] = self.head[..] {
                self.skip = usize::from(u16::from_be_bytes([high, low]));
                self.lengths.push(self.skip);
                self.head.clear();
            }
        }
        Ok(count)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[test]
fn records_are_of_a_segment_each_first_and_full_later() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    // After a pause of a second the records are small again. If the machine itself paused, this
    // shows nothing.
    let (lengths, later) = loop {
        let tls = worker.connect_tls(&config);
        let tap = Tap {
            socket: tls.sock,
            head: Vec::new(),
            skip: 0,
            lengths: Vec::new(),
        };
        let mut client = Client::new(rustls::StreamOwned::new(tls.conn, tap));
        let began = Instant::now();
        assert_eq!(client.get("/hello").body, b"hello");
        client.driver.io.sock.lengths.clear();
        assert_eq!(client.get("/big/500000").body.len(), 500_000);
        let lengths = std::mem::take(&mut client.driver.io.sock.lengths);
        assert_eq!(client.get("/big/16000").body.len(), 16_000);
        if began.elapsed() < Duration::from_secs(1) {
            break (lengths, client.driver.io.sock.lengths);
        }
    };
    // RFC 8446 §5.2: TLS adds the content type and a tag of 16 bytes.
    let (small, full) = (1360 + 17, 16_384 + 17);
    let first_full = lengths.iter().position(|length| *length > small).unwrap();
    assert!((45..=50).contains(&first_full), "{lengths:?}");
    let all_but_the_last = &lengths[first_full..lengths.len() - 1];
    assert!(all_but_the_last.len() >= (500_000 - 65_536) / full - 1);
    assert!(
        all_but_the_last.iter().all(|length| *length == full),
        "{lengths:?}"
    );
    // Without a pause they stay full.
    assert_eq!(later.len(), 1);
}

#[test]
fn what_is_urgent_overtakes_bulk() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let mut client = Client::new(worker.connect_tls(&config));
    SockRef::from(&client.driver.io.sock)
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    crate::common::urgent_overtakes_bulk(&worker, &mut client, || {
        Client::new(worker.connect_tls(&config)).get("/hello");
    });
}

#[test]
fn records_that_come_byte_by_byte_are_put_together() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let tls = worker.connect_tls(&config);
    let io = rustls::StreamOwned::new(tls.conn, Trickle::new(tls.sock, 3));
    let mut client = Client::new(io);
    assert_eq!(client.get("/hello").body, b"hello");
}

#[test]
fn no_common_protocol_is_refused() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["spdy/3"]));
    let mut tls = worker.connect_tls(&config);
    let error = tls.read(&mut [0]).unwrap_err();
    // RFC 7301 §3.2: "In the event that the server supports no protocols that the client
    // advertises, then the server SHALL respond with a fatal "no_application_protocol" alert."
    let error = error.into_inner().unwrap();
    let error = error.downcast_ref::<rustls::Error>().unwrap();
    let alert = AlertDescription::NoApplicationProtocol;
    assert_eq!(*error, rustls::Error::AlertReceived(alert));
    drop(tls);
    let why = worker.wait_closed();
    assert!(why.starts_with("TLS failed"), "{why}");
    assert_eq!(worker.totals().handshake_failures, 1);
}

#[test]
fn without_alpn_the_preface_tells() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&[]));
    let mut client = Client::new(worker.connect_tls(&config));
    assert_eq!(client.get("/hello").body, b"hello");
}

/// Starts a worker with settings of rustls's own: clients may show a certificate that they signed
/// themselves, which is `client`'s, and ALPN has these protocols.
fn with_rustls(client: &Certificate, alpn: &[&str]) -> Worker {
    let made = Certificate::localhost();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client.certificate()).unwrap();
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let clients = builder.allow_unauthenticated().build().unwrap();
    let mut config = server_builder(rustls::ALL_VERSIONS)
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![made.certificate()], made.private_key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.max_early_data_size = 1000;
    let config = TlsAcceptorConfig::from_rustls(config);
    assert_eq!(config.rustls().max_early_data_size, 0);
    Worker::with(made, Security::Tls(Arc::new(config)), |_| {})
}

#[test]
fn the_owners_own_settings_of_rustls_hold() {
    let identity = Certificate::localhost();
    // Without ALPN, the first bytes decide.
    for alpn in [&["h2"][..], &[]] {
        let worker = with_rustls(&identity, alpn);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(worker.certificate.clone()).unwrap();
        for shows in [true, false] {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone());
            let mut config = if shows {
                let chain = vec![identity.certificate()];
                let config = builder.with_client_auth_cert(chain, identity.private_key());
                config.unwrap()
            } else {
                builder.with_no_client_auth()
            };
            config.alpn_protocols = vec![b"h2".to_vec()];
            let mut client = Client::new(worker.connect_tls(&Arc::new(config)));
            assert_eq!(client.get("/hello").body, b"hello");
            let tls = worker.wait_for(|note| match note {
                Note::Opened(tls) => tls,
                _ => None,
            });
            assert_eq!(tls.alpn, alpn.first().copied());
            assert_eq!(tls.sni.as_deref(), Some("localhost"));
            let shown = shows.then(|| identity.certificate());
            assert_eq!(tls.client_certificates, Vec::from_iter(shown));
        }
    }
}

#[test]
fn a_session_is_resumed_by_its_ticket() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = Client::new(worker.connect_tls(&config));
        assert_eq!(client.get("/hello").body, b"hello");
        assert_eq!(client.driver.io.conn.handshake_kind(), Some(expected));
        let resumed = worker.wait_for(|note| match note {
            Note::Opened(tls) => Some(tls.unwrap().resumed),
            _ => None,
        });
        assert_eq!(resumed, expected == HandshakeKind::Resumed);
    }
}

#[test]
fn an_end_without_close_notify_is_noted() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    for truncated in [0, 1] {
        let mut client = Client::new(worker.connect_tls(&config));
        assert_eq!(client.get("/hello").body, b"hello");
        if truncated == 0 {
            client.driver.io.conn.send_close_notify();
            client.driver.io.flush().unwrap();
        }
        drop(client);
        worker.wait_closed();
        assert_eq!(worker.totals().truncated, truncated);
    }
}

#[test]
fn a_broken_record_is_answered_by_an_alert() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let mut client = Client::new(worker.connect_tls(&config));
    assert_eq!(client.get("/hello").body, b"hello");
    // Application data in cleartext.
    let mut record = vec![23, 3, 3, 0, 32];
    record.extend([0; 32]);
    client.driver.io.sock.write_all(&record).unwrap();
    let error = loop {
        match client.driver.io.read(&mut [0; 1024]) {
            Ok(0) => panic!("the server ended without an alert"),
            Ok(_) => {}
            Err(error) => break error.into_inner().unwrap(),
        }
    };
    let error = error.downcast_ref::<rustls::Error>().unwrap();
    let alert = AlertDescription::BadRecordMac;
    assert_eq!(*error, rustls::Error::AlertReceived(alert));
    drop(client);
    assert!(worker.wait_closed().starts_with("TLS failed"));
}

#[test]
fn the_servers_end_comes_with_close_notify() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["h2"]));
    let mut client = Client::new(worker.connect_tls(&config));
    assert_eq!(client.get("/hello").body, b"hello");
    worker.mailbox.shut_down();
    // A read fails unless the TCP end comes after close_notify (RFC 8446 §6.1).
    while !client.closed {
        client.flush();
        client.read_once();
    }
    drop(client);
    worker.join();
}

#[test]
fn http_in_cleartext_is_told_that_this_port_is_for_tls() {
    let worker = Worker::tls();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = worker.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(body.contains("HTTPS"), "{body}");
        drop(stream);
        assert!(worker.wait_closed().contains("cleartext"));
    }
    // Bytes that are neither get a TLS alert.
    let mut stream = worker.connect();
    stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    // An alert record (RFC 8446 §5.1).
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    drop(stream);
    assert!(worker.wait_closed().starts_with("TLS failed"));
}

#[test]
fn a_client_that_offers_http10_alone_is_served() {
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["http/1.0"]));
    let mut stream = worker.connect_tls(&config);
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let tls = worker.wait_for(|note| match note {
        Note::Opened(tls) => tls,
        _ => None,
    });
    assert_eq!(tls.alpn, Some("http/1.0"));
}
