//! Memory that a worker needs for each idle connection: `cargo bench -p tidegate-net --bench idle`.
//!
//! A child process serves; this one opens connections, has a request answered on each and leaves
//! them open. The growth of the child's resident memory, divided by their number, is the result.
//! TLS's part is mostly rustls's session.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tidegate_http::{Body, Config, Event, Flow, Outbox, RequestHead, ResponseHead, Stream};
use tidegate_http2::Connection;
use tidegate_net::{
    ConnId, Conns, EventLoop, Listener, Options, Security, Service, TlsAcceptorConfig,
};
use tidegate_testkit::tls::Certificate;

const CONNECTIONS: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some("serve") {
        return serve(&arguments[2]);
    }
    println!("memory of a worker for each of {CONNECTIONS} idle connections");
    for kind in ["plain", "tls"] {
        let bytes = measure(kind)?;
        println!("{kind:>8}: {:.1} KiB", bytes / 1024.0);
    }
    Ok(())
}

struct Hello;

impl Service for Hello {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        if let Event::Request { id, .. } = event
            && let Some(mut stream) = conns.stream(conn, id)
        {
            let body = Body::Full(Bytes::from_static(b"hello"));
            let _ = stream.respond(&ResponseHead::new(200), body);
        }
    }
}

/// Runs the child: prints its address and certificate, then serves until it is killed.
fn serve(kind: &str) -> Result<(), Box<dyn std::error::Error>> {
    let Certificate {
        pem: certificate,
        key,
    } = Certificate::localhost();
    let security = match kind {
        "tls" => {
            let config = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes())?;
            Security::Tls(Arc::new(config))
        }
        _ => Security::Plain,
    };
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security)?;
    println!("{}", listener.local_addr());
    println!("{}", certificate.replace('\n', ";"));
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Hello)?.run()?;
    Ok(())
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns bytes per connection.
fn measure(kind: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let child = Command::new(std::env::current_exe()?)
        .args(["serve", kind])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Served(child?);
    let mut lines = BufReader::new(child.0.stdout.take().ok_or("no stdout")?).lines();
    let addr: SocketAddr = lines.next().ok_or("no address")??.parse()?;
    let certificate = lines.next().ok_or("no certificate")??.replace(';', "\n");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);

    let mut open: Vec<Box<dyn ReadWrite>> = Vec::new();
    let mut before = 0;
    // The first connections pay for what the worker itself needs.
    for index in 0..CONNECTIONS + 20 {
        if index == 20 {
            before = resident(child.0.id())?;
        }
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut io: Box<dyn ReadWrite> = if kind == "tls" {
            let name = ServerName::try_from("localhost")?;
            let session = ClientConnection::new(Arc::clone(&config), name)?;
            Box::new(StreamOwned::new(session, stream))
        } else {
            Box::new(stream)
        };
        request(&mut io)?;
        open.push(io);
    }
    let after = resident(child.0.id())?;
    Ok((after - before) as f64 / CONNECTIONS as f64)
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Makes one request and reads its response.
fn request(io: &mut Box<dyn ReadWrite>) -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Connection::client(Config::client().build()?, Instant::now());
    let head = RequestHead::new("GET", "http", "localhost", "/");
    engine.open(&head, Body::Empty)?;
    let (mut input, mut outbox) = (BytesMut::new(), Outbox::new());
    loop {
        while let Flow::Full | Flow::Event(_) =
            engine.transmit(&mut outbox, 64 << 10, Instant::now())
        {}
        while outbox.has_remaining() {
            let count = io.write(outbox.chunk())?;
            outbox.advance(count);
        }
        io.flush()?;
        let mut buffer = [0; 4096];
        let count = io.read(&mut buffer)?;
        input.extend_from_slice(&buffer[..count]);
        while let Some(event) = engine.receive(&mut input, Instant::now()) {
            if matches!(event, Event::Data { end: true, .. }) {
                return Ok(());
            }
        }
        if count == 0 {
            return Err("the server ended the connection".into());
        }
    }
}

/// Returns a process's resident memory in bytes.
fn resident(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}
