//! TLS as operators configure it: what ports speak, clients' certificates, early data.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::server::{PATIENCE, Server, refused};
use crate::start::certificate_files;
use crate::upstream::Upstream;

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Writes an authority's certificate, and returns a client's that it has signed.
fn client_of(file: &Path) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["client.test".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "client");
    let signed = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (vec![signed.der().clone()], key)
}

fn config(trusted: &CertificateDer<'static>, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => config
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.enable_early_data = true;
    Arc::new(config)
}

fn connect(
    addr: Option<SocketAddr>,
    name: &str,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(addr.unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(session, socket)
}

/// Sends a request and returns the first line of the answer, or nothing.
fn ask(mut stream: impl Read + Write, request: &str) -> String {
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).is_ok() {
        let _ = stream.read_to_end(&mut answer);
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

fn get(host: &str, fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n{fields}connection: close\r\n\r\n")
}

#[test]
fn sites_ask_their_clients_for_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let both = rcgen::generate_simple_self_signed(["a.test".into(), "b.test".into()]).unwrap();
    fs::write(dir.path().join("both.pem"), both.cert.pem()).unwrap();
    fs::write(
        dir.path().join("both.key"),
        both.signing_key.serialize_pem(),
    )
    .unwrap();
    let trusted = both.cert.der().clone();
    let client = client_of(&dir.path().join("ca.pem"));
    let upstream = Upstream::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let text = format!(
        "cert = 'both.pem'\nkey = 'both.key'\n\
         [[site]]\nnames = ['a.test']\nroute = ['{route}']\nclient-certs = 'required'\n\
         client-ca = 'ca.pem'\n\
         client-cert-field = ['X-Who=subject', 'X-Alias=san', 'X-Verdict=verdict', \
         'X-Print=fingerprint', 'Client-Cert=certificate']\n\
         [[site]]\nnames = ['b.test']\nroute = ['{route}']\n",
        route = upstream.route("/"),
    );
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let with = config(&trusted, Some(&client));
    let without = config(&trusted, None);

    // What a client says of itself doesn't count, in whatever spelling.
    let forged = "x-who: CN=root\r\nX_Alias: DNS:root\r\n";
    for _ in 0..2 {
        // The second one resumes the session of the first.
        let line = ask(connect(server.tls, "a.test", &with), &get("a.test", forged));
        assert_eq!(line, "HTTP/1.1 204 No Content");
        let seen = upstream.seen().to_ascii_lowercase();
        assert!(seen.contains("\r\nx-who: cn=client\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-alias: dns:client.test\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-verdict: success\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-print: ") && seen.contains("\r\nclient-cert: :"));
        assert!(
            !seen.contains("root") && !seen.contains("x_alias"),
            "{seen}"
        );
    }
    let line = ask(connect(server.tls, "b.test", &with), &get("b.test", forged));
    assert_eq!(line, "HTTP/1.1 204 No Content");
    let seen = upstream.seen();
    assert!(
        !seen.contains("root") && !seen.contains("x-verdict"),
        "{seen}"
    );

    // Neither another site's connection nor one in cleartext goes around it.
    for (sni, host) in [("b.test", "a.test"), ("a.test", "b.test")] {
        let line = ask(connect(server.tls, sni, &with), &get(host, ""));
        assert_eq!(line, "HTTP/1.1 421 Misdirected Request", "{sni} {host}");
    }
    let plain = TcpStream::connect(server.h2c.unwrap()).unwrap();
    assert_eq!(
        ask(plain, &get("a.test", "")),
        "HTTP/1.1 421 Misdirected Request"
    );
    assert_eq!(
        ask(connect(server.tls, "a.test", &without), &get("a.test", "")),
        ""
    );
    server.wait_for("peer sent no certificates");
}

#[test]
fn early_data_is_for_safe_requests_of_routes_that_take_it() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, pem) = certificate_files(&dir, "early");
    let trusted = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let upstream = Upstream::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let text = format!(
        "cert = '{cert}'\nkey = '{key}'\n[[site]]\nearly-data = 'on'\n\
         [[site.route]]\npath = '/'\ntarget = '{target}'\n\
         [[site.route]]\npath = '/late'\ntarget = '{target}'\nearly-data = 'off'\n",
        target = format_args!("http://{}", upstream.authority()),
    );
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    for (method, path, status) in [
        ("GET", "/", "204 No Content"),
        ("HEAD", "/", "204 No Content"),
        ("POST", "/", "425 Too Early"),
        ("GET", "/late", "425 Too Early"),
    ] {
        // A session of its own, because the end of an early connection brings no ticket.
        let config = config(&trusted, None);
        let line = ask(
            connect(server.tls, "localhost", &config),
            &get("localhost", ""),
        );
        assert_eq!(line, "HTTP/1.1 204 No Content");
        assert!(!upstream.seen().contains("early-data"));
        let mut tls = connect(server.tls, "localhost", &config);
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let sent = tls.conn.early_data().unwrap().write(request.as_bytes());
        assert_eq!(sent.unwrap(), request.len());
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer);
        assert!(tls.conn.is_early_data_accepted());
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
        if status.starts_with("204") {
            assert!(upstream.seen().contains("\r\nearly-data: 1\r\n"));
        }
    }
}

#[test]
fn early_data_that_is_turned_off_meanwhile_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, pem) = certificate_files(&dir, "early");
    let trusted = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let file = dir.path().join("tidegate.toml");
    let write = |early: &str| {
        let text = format!(
            "cert = '{cert}'\nkey = '{key}'\n[[site]]\nearly-data = '{early}'\nroute = ['/=echo']\n"
        );
        fs::write(&file, text).unwrap();
    };
    write("on");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let config = config(&trusted, None);
    let first = connect(server.tls, "localhost", &config);
    let line = ask(first, &get("localhost", ""));
    assert!(line.starts_with("HTTP/1.1 "), "{line}");
    let mut tls = connect(server.tls, "localhost", &config);
    let send = |tls: &mut StreamOwned<ClientConnection, TcpStream>, part: &str| {
        let sent = tls.conn.early_data().unwrap().write(part.as_bytes());
        assert_eq!(sent.unwrap(), part.len());
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut tls.sock).unwrap();
        }
    };
    send(&mut tls, "POST / HTTP/1.1\r\nhost: localhost\r\n");
    // The server has read it: its part of the handshake is here.
    assert_eq!(tls.sock.peek(&mut [0]).unwrap(), 1);
    write("off");
    server.signal("HUP");
    server.wait_for("SIGHUP: reloaded ");
    send(&mut tls, "connection: close\r\ncontent-length: 0\r\n\r\n");
    // The client's part of the handshake isn't sent.
    let mut answer = Vec::new();
    while answer.is_empty() {
        assert_ne!(tls.conn.read_tls(&mut tls.sock).unwrap(), 0);
        tls.conn.process_new_packets().unwrap();
        let _ = tls.conn.reader().read_to_end(&mut answer);
    }
    assert!(tls.conn.is_early_data_accepted());
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 425 "), "{answer}");
}

#[test]
fn a_port_is_for_one_protocol_alone() {
    let server = Server::start_as_configured(&[
        "--listen",
        "127.0.0.1:0,h2",
        "--listen-h2c",
        "127.0.0.1:0,http/1.1",
        "--route",
        "/=status",
    ]);
    assert!(
        server.banner.contains("HTTP/2 over TLS"),
        "{}",
        server.banner
    );
    assert!(
        server.banner.contains("HTTP/1.1 in cleartext"),
        "{}",
        server.banner
    );
    let plain = || TcpStream::connect(server.h2c.unwrap()).unwrap();
    assert_eq!(ask(plain(), &get("localhost", "")), "HTTP/1.1 200 OK");
    let line = ask(plain(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(line.starts_with("HTTP/1.1 505 "), "{line}");
}

#[test]
fn mistakes_of_tls_are_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "one");
    let glued = dir.path().join("glued.pem");
    let text = fs::read_to_string(&cert).unwrap();
    fs::write(&glued, format!("{}{text}", text.trim_end())).unwrap();
    let short = dir.path().join("short.key");
    fs::write(&short, [1; 32]).unwrap();
    let (glued, short) = (glued.to_str().unwrap(), short.to_str().unwrap());
    for (flags, says) in [
        (
            &["--cert", glued, "--key", &key][..],
            "put a line break between the blocks",
        ),
        (
            &["--cert", &cert, "--cert", &cert, "--key", &key],
            "each --cert needs a --key",
        ),
        (&["--ticket-key", short], "48 or 80 bytes"),
        (
            &["--client-certs", "required"],
            "--client-certs needs --client-ca",
        ),
        (
            &["--client-certs", "optional", "--client-ca", &key],
            "no certificate in it",
        ),
        (
            &["--tls-suites", "RC4-SHA"],
            "there are TLS_AES_256_GCM_SHA384",
        ),
        (&["--tls-groups", "secp521r1"], "X25519MLKEM768"),
        (
            &[
                "--tls-min-version",
                "1.3",
                "--tls-suites",
                "ECDHE-RSA-AES256-GCM-SHA384",
            ],
            "none of the cipher suites is for a version",
        ),
        (
            &["--cert", &cert, "--key", &key, "--ocsp", &cert],
            "isn't an OCSP response",
        ),
    ] {
        let flags = [
            &["--listen", "127.0.0.1:0", "--listen-h2c", "none"][..],
            flags,
        ]
        .concat();
        let (_, text) = refused(&flags);
        assert!(text.contains(says), "{flags:?}: {text}");
    }
}

/// RFC 6066 §3: a client doesn't say in TLS which address it asks for.
#[test]
fn a_site_of_an_address_asks_for_no_certificates_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, ..) = certificate_files(&dir, "one");
    let file = dir.path().join("tidegate.toml");
    let asks = format!("client-certs = 'required'\nclient-ca = '{cert}'\n");
    let start = |first: &str, second: &str| {
        let text = format!(
            "listen = ['127.0.0.1:0']\nlisten-h2c = ['none']\n\
             [[site]]\nnames = ['a.test', '[::1]']\nroute = ['/=status']\n{first}\
             [[site]]\nroute = ['/=status']\n{second}",
        );
        fs::write(&file, text).unwrap();
        ["--config", file.to_str().unwrap()].map(str::to_owned)
    };
    for (first, second) in [(&*asks, ""), ("", &*asks)] {
        let flags = start(first, second);
        let (_, text) = refused(&flags.each_ref().map(|flag| &**flag));
        let says = "no client names an address such as [::1] in TLS";
        assert!(text.contains(says), "{text}");
        if !first.is_empty() {
            assert!(text.contains("tidegate.toml, line 6: "), "{text}");
        }
    }
    let flags = start(&asks, &asks);
    drop(Server::start_as_configured(
        &flags.each_ref().map(|flag| &**flag),
    ));
}

/// Returns an OCSP response (RFC 6960 §4.2.1) that says `good` of the certificate with this serial
/// number.
fn ocsp_response(serial: &[u8]) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let length = match u8::try_from(content.len()).unwrap() {
            length @ 0..0x80 => vec![length],
            length => vec![0x81, length],
        };
        [&[tag], &length[..], content].concat()
    };
    let sequence = |parts: &[Vec<u8>]| element(0x30, &parts.concat());
    let time = |time: &[u8]| element(0x18, time);
    let algorithm = sequence(&[element(6, &[0x2b, 14, 3, 2, 26])]);
    let hash = element(4, &[7; 20]);
    let parts = [
        algorithm.clone(),
        hash.clone(),
        hash.clone(),
        element(2, serial),
    ];
    let single = sequence(&[
        sequence(&parts),
        vec![0x80, 0],
        time(b"20250101000000Z"),
        element(0xa0, &time(b"20990101000000Z")),
    ]);
    let responder = element(0xa2, &hash);
    let all = sequence(&[single]);
    let data = sequence(&[responder, time(b"20250101000000Z"), all]);
    let basic = sequence(&[data, algorithm, element(3, &[0, 1, 2])]);
    let kind = element(6, &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1]);
    let bytes = sequence(&[kind, element(4, &basic)]);
    sequence(&[element(10, &[0]), element(0xa0, &bytes)])
}

#[test]
fn an_ocsp_response_about_the_former_certificate_keeps_the_new_one_from_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, pem) = certificate_files(&dir, "new");
    let trusted = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let file = dir.path().join("old.der");
    fs::write(&file, ocsp_response(&[1, 2, 3])).unwrap();
    let ocsp = file.to_str().unwrap();
    let server = Server::start(&["--cert", &cert, "--key", &key, "--ocsp", ocsp]);
    server.wait_for("the OCSP response is about another certificate");
    let tls = connect(server.tls, "localhost", &config(&trusted, None));
    let line = ask(tls, &get("localhost", ""));
    assert!(line.starts_with("HTTP/1.1 "), "{line}");
}
