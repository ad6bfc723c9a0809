//! One connection of an attacker, and how it ends.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tidegate_frame::ErrorCode;
use tidegate_testkit::wire;

/// The highest rate of one attacker, in bytes per second: the cost of little traffic is what
/// matters.
const RATE: u64 = 4 << 20;

/// The pause between two polls of waiting connections.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// An attacker: its address, and the counts of its bytes and of its connections' ends.
pub(crate) struct Attacker {
    /// The server's address for HTTP in cleartext.
    pub(crate) server: SocketAddr,
    /// The server's address for TLS.
    pub(crate) tls: SocketAddr,
    from: Ipv4Addr,
    began: Instant,
    until: Instant,
    /// How many bytes the server's system has accepted.
    pub(crate) sent: u64,
    /// How connections ended, and how often.
    pub(crate) ends: BTreeMap<String, u64>,
}

impl Attacker {
    pub(crate) fn new(
        server: SocketAddr,
        tls: SocketAddr,
        from: Ipv4Addr,
        lasts: Duration,
    ) -> Self {
        let began = Instant::now();
        Self {
            server,
            tls,
            from,
            began,
            until: began + lasts,
            sent: 0,
            ends: BTreeMap::new(),
        }
    }

    /// Returns whether the attack's time is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits as long as the attacker is ahead of its rate, and a little in any case.
    pub(crate) fn pace(&self) {
        let due = Duration::from_micros(self.sent * 1_000_000 / RATE);
        let ahead = due.saturating_sub(self.began.elapsed());
        std::thread::sleep(ahead.max(PAUSE).min(Duration::from_millis(100)));
    }

    /// Opens a connection, if the server's system accepts it. A refusal counts as an end.
    pub(crate) fn connect(&mut self, to: SocketAddr) -> Option<Peer> {
        match self.try_connect(to) {
            Ok(peer) => Some(peer),
            Err(error) => {
                self.note(&format!("not accepted ({:?})", error.kind()));
                std::thread::sleep(PAUSE);
                None
            }
        }
    }

    fn try_connect(&self, to: SocketAddr) -> io::Result<Peer> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_recv_buffer_size(8 << 10)?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(1))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Peer {
            socket: socket.into(),
            unsent: Vec::new(),
            inbox: Vec::new(),
            end: None,
            speaks_http2: false,
        })
    }

    /// Opens an HTTP/2 connection with these SETTINGS.
    pub(crate) fn connect_http2(&mut self, settings: &[(u16, u32)]) -> Option<Peer> {
        let mut peer = self.connect(self.server)?;
        peer.speaks_http2 = true;
        let hello = [wire::PREFACE, &wire::settings(settings).to_bytes()].concat();
        self.send(&mut peer, &hello);
        Some(peer)
    }

    /// Sends the waiting bytes, or `bytes` if none wait, as far as the socket takes them; the rest
    /// waits. Returns whether all are sent.
    pub(crate) fn send(&mut self, peer: &mut Peer, bytes: &[u8]) -> bool {
        if peer.end.is_some() {
            return false;
        }
        if peer.unsent.is_empty() {
            peer.unsent.extend_from_slice(bytes);
        }
        while !peer.unsent.is_empty() {
            match peer.socket.write(&peer.unsent) {
                Ok(count) => {
                    self.sent += count as u64;
                    peer.unsent.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    // The server's last bytes may still be readable.
                    peer.read();
                    peer.end.get_or_insert_with(|| "closed".to_owned());
                    return false;
                }
            }
        }
        true
    }

    /// Closes a connection and counts how it ended.
    pub(crate) fn close(&mut self, mut peer: Peer) {
        peer.is_open();
        let end = peer.end.take();
        self.note(end.as_deref().unwrap_or("stays open"));
    }

    /// Counts one end of a connection.
    pub(crate) fn note(&mut self, end: &str) {
        *self.ends.entry(end.to_owned()).or_default() += 1;
    }

    /// Holds connections for the rest of the time, and closes those that the server ends.
    pub(crate) fn hold(&mut self, mut peers: Vec<Peer>, reads: Reads) {
        while !self.is_over() && !peers.is_empty() {
            if let Reads::All = reads {
                self.close_ended(&mut peers);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.close_all(peers);
    }

    /// Closes the connections that the server has ended.
    pub(crate) fn close_ended(&mut self, peers: &mut Vec<Peer>) {
        for peer in peers.extract_if(.., |peer| !peer.is_open()) {
            self.close(peer);
        }
    }

    /// Closes all of these connections.
    pub(crate) fn close_all(&mut self, peers: impl IntoIterator<Item = Peer>) {
        for peer in peers {
            self.close(peer);
        }
    }
}

/// Whether an attacker reads the server's output.
#[derive(Clone, Copy)]
pub(crate) enum Reads {
    All,
    Nothing,
}

/// One connection.
pub(crate) struct Peer {
    socket: TcpStream,
    unsent: Vec<u8>,
    inbox: Vec<u8>,
    /// How the connection ended, if it has.
    end: Option<String>,
    speaks_http2: bool,
}

impl Peer {
    /// Reads what has arrived. Returns whether the connection is still open.
    pub(crate) fn is_open(&mut self) -> bool {
        if self.end.is_none() {
            self.read();
        }
        self.end.is_none()
    }

    /// Reads all that has arrived, and looks for an end of the connection.
    fn read(&mut self) {
        let mut room = [0; 64 << 10];
        loop {
            match self.socket.read(&mut room) {
                Ok(0) => {
                    self.look();
                    self.end.get_or_insert_with(|| "closed".to_owned());
                    return;
                }
                Ok(count) => self.inbox.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.look();
                    self.end.get_or_insert_with(|| "reset".to_owned());
                    return;
                }
            }
            self.look();
        }
    }

    /// Reads at most `count` bytes.
    pub(crate) fn sip(&mut self, count: usize) {
        let mut room = [0; 64];
        let room = &mut room[..count.min(64)];
        if let Ok(0) = self.socket.read(room) {
            self.end.get_or_insert_with(|| "closed".to_owned());
        }
    }

    fn look(&mut self) {
        if !self.speaks_http2 {
            if let Some(status) = self.inbox.get(9..12)
                && self.inbox.starts_with(b"HTTP/1.1 ")
                && status[0] >= b'4'
            {
                let status = String::from_utf8_lossy(status).into_owned();
                self.end.get_or_insert(status);
            }
            self.inbox.truncate(12);
            return;
        }
        let mut rest = &self.inbox[..];
        while let [a, b, c, kind, _flags, _, _, _, _, after @ ..] = rest {
            let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let Some(payload) = after.get(..len) else {
                break;
            };
            // RFC 9113 §6.8: the last stream, the error code, debug data.
            if *kind == 7
                && let [_, _, _, _, a, b, c, d, debug @ ..] = payload
            {
                let code = ErrorCode(u32::from_be_bytes([*a, *b, *c, *d]));
                if code != ErrorCode::NO_ERROR {
                    let debug = String::from_utf8_lossy(debug);
                    let text = format!("GOAWAY {code} {debug}");
                    self.end.get_or_insert(text.trim().to_owned());
                }
            }
            rest = &after[len..];
        }
        let taken = self.inbox.len() - rest.len();
        self.inbox.drain(..taken);
    }
}
