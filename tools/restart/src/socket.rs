//! A WebSocket whose messages come back all the time, and the upstream that echoes them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use crate::Result;

/// The path of WebSockets.
pub(crate) const PATH: &str = "/socket";

/// A masked text message (RFC 6455 §5.2) of six bytes. The upstream sends back whatever comes, so
/// what it means matters to nobody.
const MESSAGE: &[u8] = &[0x81, 0x86, 1, 2, 3, 4, b'h', b'e', b'l', b'l', b'o', b'!'];

/// Starts an upstream that grants each WebSocket, and sends all bytes back.
pub(crate) fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for socket in listener.incoming().map_while(io::Result::ok) {
            thread::spawn(move || echo(socket));
        }
    });
    Ok(addr)
}

fn echo(socket: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    let head = head(&mut reader)?;
    let mut fields = head.iter().filter_map(|line| line.split_once(": "));
    let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = key.ok_or(io::ErrorKind::InvalidData)?;
    // RFC 6455 §4.2.2.
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let proof = BASE64_STANDARD.encode(digest);
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {proof}\r\n\r\n"
    )?;
    let mut bytes = [0; 4096];
    loop {
        let count = reader.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        socket.write_all(&bytes[..count])?;
    }
}

/// Reads a head. Returns its lines.
fn head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// A WebSocket that is open.
pub(crate) struct WebSocket(BufReader<TcpStream>);

impl WebSocket {
    /// Opens a WebSocket.
    pub(crate) fn open(mut socket: TcpStream) -> Result<Self> {
        write!(
            socket,
            "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut reader = BufReader::new(socket);
        let lines = head(&mut reader)?;
        match lines.first() {
            Some(line) if line.starts_with("HTTP/1.1 101") => Ok(Self(reader)),
            line => Err(format!("no WebSocket: {line:?}").into()),
        }
    }

    /// Sends a message and waits until it is back.
    pub(crate) fn talk(&mut self) -> Result {
        self.0.get_mut().write_all(MESSAGE)?;
        let mut back = [0; MESSAGE.len()];
        self.0.read_exact(&mut back)?;
        if back != MESSAGE {
            return Err("another message came back".into());
        }
        Ok(())
    }
}
