//! An honest client beside the attack: one request every 4 ms, every 25th on a new connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::processor::Threads;
use crate::server::Server;

const GAP: Duration = Duration::from_millis(4);

/// How long one request may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests use one connection.
const ON_ONE: usize = 25;

/// How many requests for a file there are for each proxied request.
const FILES_EACH: usize = 5;

/// A small file of the server's own.
const FILE: &str = "/small";

/// The bystander's measurements.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    /// How many requests got no answer, or one other than 200.
    pub(crate) failed: usize,
    /// The outcome of the last of these.
    pub(crate) failure: String,
    /// The 99th percentile of the times: of the proxied requests, if there are any.
    pub(crate) p99: Duration,
    /// The 99th percentile of the server's part in requests for the file.
    pub(crate) of_server: Duration,
}

/// Requests a file, and now and then `proxied`, until `until` has passed and `goes_on`, which is
/// called each time, returns `false`.
///
/// # Errors
/// Returns an error if the system doesn't report what the server's worker does.
pub(crate) fn watch(
    server: &Server,
    proxied: Option<&str>,
    until: Instant,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Seen> {
    let threads = Threads::of(server.id())?;
    let mut connection = None;
    let mut times = Vec::new();
    let mut of_server = Vec::new();
    let mut seen = Seen {
        requests: 0,
        failed: 0,
        failure: String::new(),
        p99: Duration::ZERO,
        of_server: Duration::ZERO,
    };
    while goes_on() || Instant::now() < until {
        if seen.requests.is_multiple_of(ON_ONE) {
            connection = None;
        }
        let proxied = proxied.filter(|_| seen.requests.is_multiple_of(FILES_EACH + 1));
        let path = proxied.unwrap_or(FILE);
        seen.requests += 1;
        let before = threads.count()?;
        let began = Instant::now();
        let is_reused = connection.is_some();
        let mut result = ask(&mut connection, server.plain, path);
        if is_reused && result.is_err() {
            // A server may close an idle connection. Clients repeat the request then (RFC 9112
            // §9.3.1).
            connection = None;
            result = ask(&mut connection, server.plain, path);
        }
        let time = began.elapsed();
        if proxied.is_none() {
            of_server.push(threads.count()?.of_server(&before, time));
        }
        times.push((proxied.is_some(), time));
        if let Err(error) = result {
            seen.failed += 1;
            seen.failure = error.to_string();
            connection = None;
        }
        std::thread::sleep(GAP);
    }
    let shown = times
        .iter()
        .filter(|(is_proxied, _)| *is_proxied == proxied.is_some());
    seen.p99 = p99(shown.map(|(_, time)| *time).collect());
    seen.of_server = p99(of_server);
    Ok(seen)
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(index).copied().unwrap_or_default()
}

fn ask(connection: &mut Option<TcpStream>, server: SocketAddr, path: &str) -> io::Result<()> {
    let mut socket = match connection.take() {
        Some(socket) => socket,
        None => connect(server)?,
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    // The body is one line.
    while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
        match socket.read(&mut room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&room[..count]),
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default());
        return Err(io::Error::other(format!("status {status}")));
    }
    *connection = Some(socket);
    Ok(())
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into())?;
    socket.connect_timeout(&server.into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}
