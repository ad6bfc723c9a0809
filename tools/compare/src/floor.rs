//! The floor: a server that makes the system calls of one, and has TLS, but looks at nothing in a
//! request and answers with bytes made at the start. No server can cost less, and none can do with
//! less and be a server.
//!
//! One HEADERS frame is one request, as the clients here send them. Flow control is left to the
//! client's windows, which are as large as they can be.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tidegate_testkit::wire::{PREFACE, flag, kind};

use crate::frames::{self, Head};
use crate::process::Result;

/// Bytes that one read takes at most, and about what one write has at most.
const CHUNK: usize = 64 << 10;

/// The canned response heads without their frame headers: status 200 from the static table (RFC
/// 7541 Appendix A), a type and a date. A connection's first one brings both into the table.
const FIRST: &[u8] = b"\x88\x5f\x0atext/plain\x61\x1dSun, 22 Nov 2026 12:00:00 GMT";
const NEXT: &[u8] = b"\x88\xbf\xbe";

/// Bytes that rustls reads at once after a handshake.
const TLS_READ: usize = 4_096;

/// The address and the answers.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// The address.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Bytes of each response's body.
    #[arg(long)]
    size: usize,
    /// The certificate, for TLS.
    #[arg(long, requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
}

impl Flags {
    /// Returns the settings of TLS, if there is a certificate.
    fn tls(&self) -> Result<Option<Arc<ServerConfig>>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let chain = CertificateDer::pem_slice_iter(&fs::read(cert)?)
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

/// Serves until the process is ended.
pub(crate) fn serve(flags: &Flags) -> Result {
    let tls = flags.tls()?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(flags.listen)?;
    let listening = Token(usize::MAX);
    poll.registry()
        .register(&mut listener, listening, Interest::READABLE)?;
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; CHUNK];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == listening {
                while let Ok((mut socket, _)) = listener.accept() {
                    let slot = free.pop().unwrap_or(conns.len());
                    socket.set_nodelay(true)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(slot), both)?;
                    let session = tls.clone().map(ServerConnection::new).transpose()?;
                    let conn = Conn::new(socket, session, flags.size);
                    if slot == conns.len() {
                        conns.push(None);
                    }
                    conns[slot] = Some(conn);
                }
                continue;
            }
            let slot = event.token().0;
            if let Some(conn) = &mut conns[slot]
                && !conn.turn(&mut buffer)
            {
                conns[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// A response's end that is still to be sent.
struct Body {
    stream: u32,
    left: usize,
}

struct Conn {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Input that has no end of a frame yet.
    input: Vec<u8>,
    /// Bytes of the next input that belong to a frame of no interest.
    skip: usize,
    output: Vec<u8>,
    sent: usize,
    bodies: VecDeque<Body>,
    size: usize,
    /// The head of the next response.
    answer: &'static [u8],
    /// Whether the last read found less than it had room for.
    is_drained: bool,
}

impl Conn {
    fn new(socket: TcpStream, tls: Option<ServerConnection>, size: usize) -> Self {
        let mut output = frames::header(kind::SETTINGS, 0, 0, 18).to_vec();
        for (name, value) in [(3u16, 1_000u32), (4, 0x7fff_ffff), (5, 16_384)] {
            output.extend(name.to_be_bytes());
            output.extend(value.to_be_bytes());
        }
        output.extend(frames::window_update(0, 0x7fff_0000));
        Self {
            socket,
            tls: tls.map(Box::new),
            input: Vec::new(),
            skip: PREFACE.len(),
            output,
            sent: 0,
            bodies: VecDeque::new(),
            size,
            answer: FIRST,
            is_drained: false,
        }
    }

    /// Reads what there is, answers it, and writes. Returns whether the connection goes on.
    fn turn(&mut self, buffer: &mut [u8]) -> bool {
        self.is_drained = false;
        loop {
            let read = match self.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            };
            self.take(&buffer[..read]);
        }
        loop {
            match self.write() {
                Ok(()) if self.bodies.is_empty() => return true,
                Ok(()) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            if self.is_drained {
                return Err(ErrorKind::WouldBlock.into());
            }
            let read = self.socket.read(buffer)?;
            self.is_drained = read < buffer.len();
            return Ok(read);
        };
        if !tls.is_handshaking()
            && let Ok(read @ 1..) = tls.reader().read(buffer)
        {
            return Ok(read);
        }
        loop {
            if self.is_drained {
                return Err(ErrorKind::WouldBlock.into());
            }
            let read = tls.read_tls(&mut self.socket)?;
            if read == 0 {
                return Ok(0);
            }
            self.is_drained = read < TLS_READ;
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Answers the requests in this input.
    fn take(&mut self, input: &[u8]) {
        let joined;
        let skipped = self.skip.min(input.len());
        self.skip -= skipped;
        let mut bytes = &input[skipped..];
        let kept = std::mem::take(&mut self.input);
        if !kept.is_empty() {
            joined = [&kept, bytes].concat();
            bytes = &joined;
        }
        while let Some((head, rest)) = Head::parse(bytes) {
            // A body is let go as it comes, other frames are waited for.
            let length = head.length.min(rest.len());
            match head.kind {
                kind::HEADERS if head.has(flag::END_STREAM) => self.answer(head.stream),
                kind::DATA => {
                    if head.length > 0 {
                        let update = frames::window_update(0, head.length as u32);
                        self.output.extend(update);
                        let update = frames::window_update(head.stream, head.length as u32);
                        self.output.extend(update);
                    }
                    if head.has(flag::END_STREAM) {
                        self.answer(head.stream);
                    }
                }
                kind::SETTINGS if !head.has(flag::ACK) => {
                    self.output
                        .extend(frames::header(kind::SETTINGS, flag::ACK, 0, 0));
                }
                _ => {}
            }
            self.skip = head.length - length;
            bytes = &rest[length..];
        }
        self.input.extend_from_slice(bytes);
    }

    fn answer(&mut self, stream: u32) {
        let end = if self.size == 0 { flag::END_STREAM } else { 0 };
        let flags = flag::END_HEADERS | end;
        let answer = std::mem::replace(&mut self.answer, NEXT);
        self.output
            .extend(frames::header(kind::HEADERS, flags, stream, answer.len()));
        self.output.extend_from_slice(answer);
        if self.size > 0 {
            let mut body = Body {
                stream,
                left: self.size,
            };
            if self.size > 16_384 || !body.send(&mut self.output) {
                self.bodies.push_back(body);
            }
        }
    }

    /// Writes once, after more of the bodies if there is room.
    fn write(&mut self) -> io::Result<()> {
        while self.output.len() - self.sent < CHUNK
            && let Some(mut body) = self.bodies.pop_front()
        {
            if !body.send(&mut self.output) {
                self.bodies.push_back(body);
            }
        }
        match &mut self.tls {
            None => {
                while self.sent < self.output.len() {
                    self.sent += self.socket.write(&self.output[self.sent..])?;
                }
            }
            Some(tls) => {
                while self.sent < self.output.len() || tls.wants_write() {
                    self.sent += tls.writer().write(&self.output[self.sent..])?;
                    tls.write_tls(&mut self.socket)?;
                }
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}

impl Body {
    /// Sends one frame. Returns whether it was the last one.
    fn send(&mut self, output: &mut Vec<u8>) -> bool {
        static TEXT: [u8; 16_384] = [b'x'; 16_384];
        let length = self.left.min(TEXT.len());
        self.left -= length;
        let end = if self.left == 0 { flag::END_STREAM } else { 0 };
        output.extend(frames::header(kind::DATA, end, self.stream, length));
        output.extend_from_slice(&TEXT[..length]);
        self.left == 0
    }
}
