//! A WebSocket over HTTP/1.1 whose every byte is checked: the opening handshake (RFC 6455 §4), a
//! message there and back, and the closing handshake.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::exchange::connect;

/// The key and the proof of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const MESSAGE: &[u8] = b"there and back";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The course of a WebSocket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// The status line. Nothing else is set unless it is that of an upgrade.
    pub(crate) line: String,
    pub(crate) upgrade: String,
    pub(crate) connection: String,
    pub(crate) proof_is_right: bool,
    pub(crate) protocol: String,
    /// Whether the message came back.
    pub(crate) is_echoed: bool,
    /// Whether the Close was answered with the same status.
    pub(crate) is_closed: bool,
    /// Whether the connection ended after that.
    pub(crate) has_ended: bool,
}

impl Course {
    /// Returns the course in which nothing is wrong.
    pub(crate) fn perfect(protocol: &str) -> Self {
        Self {
            line: "HTTP/1.1 101 Switching Protocols".to_owned(),
            upgrade: "websocket".to_owned(),
            connection: "upgrade".to_owned(),
            proof_is_right: true,
            protocol: protocol.to_owned(),
            is_echoed: true,
            is_closed: true,
            has_ended: true,
        }
    }

    /// Returns the course of a request that is answered without an upgrade.
    pub(crate) fn answered(line: &str) -> Self {
        Self {
            line: line.to_owned(),
            ..Self::default()
        }
    }
}

/// Opens a WebSocket, and has a message echoed.
pub(crate) fn talk(address: &str, path: &str, protocol: Option<&str>) -> io::Result<Course> {
    let mut peer = connect(address)?;
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    if let Some(protocol) = protocol {
        head += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    head += "\r\n";
    peer.write_all(head.as_bytes())?;
    let mut input = BufReader::new(peer.try_clone()?);
    let line = read_line(&mut input)?;
    let mut course = Course::answered(&line);
    let is_upgrade = line.starts_with("HTTP/1.1 101");
    loop {
        let line = read_line(&mut input)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            _ if !is_upgrade => {}
            "upgrade" => course.upgrade = value.to_ascii_lowercase(),
            "connection" => course.connection = value.to_ascii_lowercase(),
            "sec-websocket-accept" => course.proof_is_right = value == PROOF,
            "sec-websocket-protocol" => course.protocol = value.to_owned(),
            _ => {}
        }
    }
    if !is_upgrade {
        return Ok(course);
    }
    let masked = MESSAGE.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b);
    let length = MESSAGE.len() as u8;
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend(MASK);
    frame.extend(masked);
    peer.write_all(&frame)?;
    let echo = read(&mut input, 2 + MESSAGE.len())?;
    course.is_echoed = echo == [&[0x81, length], MESSAGE].concat();
    // A Close with status 1000. The other side's Close must be followed by the end of the
    // connection.
    peer.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])?;
    course.is_closed = read(&mut input, 4)? == [0x88, 2, 0x03, 0xe8];
    course.has_ended = input.read(&mut [0])? == 0;
    Ok(course)
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Reads this many bytes, or up to the end.
fn read(input: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
