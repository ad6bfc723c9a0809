//! An upstream that does what ordinary software doesn't: by the path of a request, it breaks off,
//! falls silent or lies. And addresses that accept no connections.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, SockRef, Socket, Type};

use crate::process::Result;

sockopt_impl!(
    /// The kernel's state of a TCP connection (tcp(7)).
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

/// An event that clients can't see.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// A request came, with this first line.
    Reached(String),
    /// The connection ended while this request's body was unread.
    Left(String),
}

type Events = Arc<Mutex<Vec<Seen>>>;

/// The upstream, with a thread for each connection. The threads end with their connections.
pub(crate) struct BadUpstream {
    pub(crate) address: String,
    events: Events,
}

impl BadUpstream {
    pub(crate) fn start(header: Header) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let events = Events::default();
        let shared = Arc::clone(&events);
        thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let events = Arc::clone(&shared);
                // A connection may end in any way.
                thread::spawn(move || drop(serve(peer, header, &events)));
            }
        });
        Ok(Self { address, events })
    }

    /// Returns how many requests have come whose first line is one of those.
    pub(crate) fn reached(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        let events = lock(&self.events);
        let meant = events
            .iter()
            .filter(|seen| matches!(seen, Seen::Reached(line) if is_meant(line)));
        meant.count()
    }

    /// Whether a client left during a request whose first line begins so.
    pub(crate) fn saw_leave(&self, begins: &str) -> bool {
        let events = lock(&self.events);
        let is_meant = |seen: &Seen| matches!(seen, Seen::Left(line) if line.starts_with(begins));
        events.iter().any(is_meant)
    }

    /// Forgets all events.
    pub(crate) fn forget(&self) {
        lock(&self.events).clear();
    }
}

fn lock(events: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    None,
    Required,
}

/// After how many bytes a body breaks off.
const HALF: usize = 500;

/// Returns what the upstream sends before it closes the connection, or `None` for a path at which
/// it is ordinary.
fn last_words(path: &str) -> Option<String> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let half = "x".repeat(HALF);
    Some(match path {
        "/closes" | "/silent" => String::new(),
        "/short" | "/reset" => format!("{ok}content-length: 1000\r\n\r\n{half}"),
        "/chunked" => format!("{ok}transfer-encoding: chunked\r\n\r\n{HALF:x}\r\n{half}\r\n"),
        "/mid-chunk" => format!("{ok}transfer-encoding: chunked\r\n\r\n3e8\r\n{half}"),
        "/half-a-head" => format!("{ok}content-le"),
        "/garbage" => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        "/two-lengths" => format!("{ok}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        "/both-framings" => {
            format!("{ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        }
        "/until-closed" => format!("{ok}\r\nall there is\n"),
        "/hop-by-hop" => format!(
            "{ok}connection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: keep-alive\r\nx-kept: yes\r\ncontent-length: 3\r\n\r\nok\n"
        ),
        _ => return None,
    })
}

/// Reads lines up to an empty one, or to the end. Returns the first.
fn read_head(input: &mut impl BufRead) -> io::Result<String> {
    let (mut first, mut line) = (None, Vec::new());
    loop {
        line.clear();
        input.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Ok(first.unwrap_or_default());
        }
        first.get_or_insert_with(|| text.to_owned());
    }
}

/// Answers the requests of one connection.
fn serve(mut peer: TcpStream, header: Header, events: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let mut input = BufReader::new(peer.try_clone()?);
    let answer = match header {
        Header::Required => proxy_header(&mut input)?,
        Header::None => "ok".to_owned(),
    };
    loop {
        let line = read_head(&mut input)?;
        if line.is_empty() {
            return Ok(());
        }
        lock(events).push(Seen::Reached(line.clone()));
        let target = line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        if path == "/unread" {
            // The body stays unread. Poll for the end of the connection.
            let mut polled = [PollFd::new(
                peer.as_fd(),
                PollFlags::from_bits_retain(libc::POLLRDHUP),
            )];
            poll(&mut polled, PollTimeout::NONE)?;
            lock(events).push(Seen::Left(line));
            return Ok(());
        }
        let Some(words) = last_words(path) else {
            let length = answer.len() + 1;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            peer.write_all(format!("{head}{answer}\n").as_bytes())?;
            continue;
        };
        peer.write_all(words.as_bytes())?;
        if path == "/silent" {
            io::copy(&mut input, &mut io::sink())?;
        }
        if path == "/reset" {
            // All data must arrive before the RST discards it: wait until no byte is
            // unacknowledged.
            while getsockopt(&peer, TcpInfo)?.tcpi_unacked > 0 {
                thread::sleep(Duration::from_millis(1));
            }
            SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
        }
        return Ok(());
    }
}

/// Returns the content of a PROXY protocol header, or its fault.
fn proxy_header(input: &mut impl BufRead) -> io::Result<String> {
    let mut first = [0];
    input.read_exact(&mut first)?;
    if first == *b"P" {
        let mut line = first.to_vec();
        input.take(107).read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        return Ok(match words[..] {
            ["PROXY", "TCP4", ref rest @ ..] if line.ends_with("\r\n") && rest.len() == 4 => {
                format!("v1 {}", rest.join(" "))
            }
            _ => format!("no header of version 1: {line:?}"),
        });
    }
    let mut rest = [0; 15];
    input.read_exact(&mut rest)?;
    let (magic, length) = rest.split_at(13);
    if first != *b"\r" || magic != b"\n\r\n\0\r\nQUIT\n\x21\x11" {
        return Ok(format!("no header of version 2: {first:?} {rest:?}"));
    }
    let mut block = vec![0; usize::from(length[0]) << 8 | usize::from(length[1])];
    input.read_exact(&mut block)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = block[..] else {
        return Ok(format!("no addresses in version 2: {block:?}"));
    };
    let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    let (from, to) = (u16::from_be_bytes([i, j]), u16::from_be_bytes([k, l]));
    Ok(format!("v2 {source} {destination} {from} {to}"))
}

/// Two addresses that accept no connections.
pub(crate) struct Unwilling {
    /// An address at which nobody listens.
    pub(crate) nobody: String,
    /// The address of a listener whose queue is full, so that the kernel drops each SYN.
    pub(crate) full: String,
    _sockets: [Socket; 2],
    _waiting: Vec<TcpStream>,
}

impl Unwilling {
    pub(crate) fn start() -> Result<Self> {
        let bound = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
            let address = socket.local_addr()?.as_socket();
            let address = address.ok_or_else(|| io::Error::other("no address"))?;
            io::Result::Ok((socket, address))
        };
        let (nobody, nobody_at) = bound()?;
        let (full, full_at) = bound()?;
        full.listen(0)?;
        // Nothing is ever accepted, so a queue that has been full stays full.
        let (mut waiting, mut refused) = (Vec::new(), 0);
        while refused < 2 {
            match TcpStream::connect_timeout(&full_at, Duration::from_millis(200)) {
                Ok(stream) if waiting.len() < 100 => waiting.push(stream),
                Ok(_) => return Err("a listener's queue doesn't become full".into()),
                Err(_) => refused += 1,
            }
        }
        Ok(Self {
            nobody: nobody_at.to_string(),
            full: full_at.to_string(),
            _sockets: [nobody, full],
            _waiting: waiting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_versions_are_read() -> io::Result<()> {
        let read = |mut bytes: &[u8]| proxy_header(&mut bytes);
        let wanted = "127.0.0.5 127.0.0.1 258 80";
        let first = read(b"PROXY TCP4 127.0.0.5 127.0.0.1 258 80\r\nGET /")?;
        assert_eq!(first, format!("v1 {wanted}"));
        let second =
            read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x05\x7f\0\0\x01\x01\x02\0\x50GET /")?;
        assert_eq!(second, format!("v2 {wanted}"));
        assert!(read(b"PROXY TCP4 127.0.0.5\r\n")?.starts_with("no header"));
        Ok(())
    }
}
