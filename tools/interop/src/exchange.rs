//! Bytes sent to a server by a plain socket, and all that comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long an answer may take.
const BOUND: Duration = Duration::from_secs(10);

/// Returns the port of an address or URL.
pub(crate) fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// Connects, with a bound for each read.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    Ok(stream)
}

/// Sends `request`, and returns all that comes until the server closes the connection, without
/// carriage returns. What has come counts, however the connection ends.
pub(crate) fn raw(address: &str, request: &[u8]) -> io::Result<String> {
    let mut stream = connect(address)?;
    // The server may refuse the request and close the connection before it is all sent.
    let _ = stream.write_all(request);
    let deadline = Instant::now() + BOUND;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while Instant::now() < deadline
        && let Ok(len @ 1..) = stream.read(&mut buffer)
    {
        answer.extend_from_slice(&buffer[..len]);
    }
    Ok(String::from_utf8_lossy(&answer).replace('\r', ""))
}

/// Returns the body of an answer to GET over HTTP/1.1.
pub(crate) fn get(address: &str, target: &str) -> io::Result<String> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = raw(address, head.as_bytes())?;
    let body = answer.split_once("\n\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other(format!("no answer from {address}")))
}
