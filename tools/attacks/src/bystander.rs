//! An honest client beside the attack: one request each 4 ms, every 25th on a new connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::processor::Threads;

const GAP: Duration = Duration::from_millis(4);

/// How long one request may take until it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests on one connection.
const ON_ONE: usize = 25;

/// One of the requests that the bystander makes again and again, in turns.
pub(crate) struct Question {
    pub(crate) path: &'static str,
    /// The bystander, and those that answer.
    pub(crate) threads: Threads,
}

/// What the bystander saw.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    /// Requests that got no answer, or one other than 200.
    pub(crate) failed: usize,
    /// What the last of them got.
    pub(crate) failure: String,
    /// The time that 99 of 100 requests stay below, of the question for which it is longest.
    pub(crate) p99: Duration,
    /// The same of what is left of each request's time without the waits for a processor.
    pub(crate) p99_without_waits: Duration,
}

/// How long the requests of one question took.
#[derive(Default)]
struct Times {
    all: Vec<Duration>,
    /// Without the waits for a processor.
    without_waits: Vec<Duration>,
}

/// Asks until `until`, or as long as `goes_on` says, which is asked each time, whichever is later.
pub(crate) fn watch(
    server: SocketAddr,
    questions: &[Question],
    until: Instant,
    mut goes_on: impl FnMut() -> bool,
) -> Seen {
    let mut connection = None;
    let mut times: Vec<_> = questions.iter().map(|_| Times::default()).collect();
    let mut requests = 0;
    let mut failed = 0;
    let mut failure = String::new();
    while goes_on() || Instant::now() < until {
        if requests % ON_ONE == 0 {
            connection = None;
        }
        let index = requests % questions.len();
        let Question { path, threads } = &questions[index];
        requests += 1;
        let waited = threads.waited();
        let began = Instant::now();
        let is_reused = connection.is_some();
        let mut result = ask(&mut connection, server, path);
        if is_reused && result.is_err() {
            // A server may close a connection that is idle: all clients ask again then (RFC 9112 §9.3.1).
            connection = None;
            result = ask(&mut connection, server, path);
        }
        let time = began.elapsed();
        let times = &mut times[index];
        times.all.push(time);
        times
            .without_waits
            .push(time.saturating_sub(threads.waited() - waited));
        if let Err(error) = result {
            failed += 1;
            failure = error.to_string();
            connection = None;
        }
        std::thread::sleep(GAP);
    }
    let all = times.iter_mut().map(|times| p99(&mut times.all));
    let p99_of_all = all.max().unwrap_or_default();
    let without_waits = times.iter_mut().map(|times| p99(&mut times.without_waits));
    Seen {
        requests,
        failed,
        failure,
        p99: p99_of_all,
        p99_without_waits: without_waits.max().unwrap_or_default(),
    }
}

fn p99(times: &mut [Duration]) -> Duration {
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
