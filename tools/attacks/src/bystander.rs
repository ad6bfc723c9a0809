//! An honest client beside the attack: one request each 4 ms, every 25th on a new connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const GAP: Duration = Duration::from_millis(4);

/// How long one request may take until it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests on one connection.
const ON_ONE: usize = 25;

/// What the bystander saw.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    /// Requests that got no answer, or one other than 200.
    pub(crate) failed: usize,
    /// What the last of them got.
    pub(crate) failure: String,
    /// The time that 99 of 100 requests stay below.
    pub(crate) p99: Duration,
}

/// Asks for `path` until `until`, or as long as `goes_on` says, which is asked each time, whichever is later.
pub(crate) fn watch(
    server: SocketAddr,
    path: &str,
    until: Instant,
    mut goes_on: impl FnMut() -> bool,
) -> Seen {
    let mut connection = None;
    let mut times = Vec::new();
    let mut failed = 0;
    let mut failure = String::new();
    while goes_on() || Instant::now() < until {
        if times.len() % ON_ONE == 0 {
            connection = None;
        }
        let began = Instant::now();
        let is_reused = connection.is_some();
        let mut result = ask(&mut connection, server, path);
        if is_reused && result.is_err() {
            // A server may close a connection that is idle: all clients ask again then (RFC 9112 §9.3.1).
            connection = None;
            result = ask(&mut connection, server, path);
        }
        times.push(began.elapsed());
        if let Err(error) = result {
            failed += 1;
            failure = error.to_string();
            connection = None;
        }
        std::thread::sleep(GAP);
    }
    times.sort_unstable();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    Seen {
        requests: times.len(),
        failed,
        failure,
        p99: times.get(index).copied().unwrap_or_default(),
    }
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
