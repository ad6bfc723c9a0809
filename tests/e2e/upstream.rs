//! Upstreams for the proxy's tests: scripted sockets that speak HTTP/1.1, however badly, or HTTP/2
//! through our own engine.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{Body, Config, Event, Fields, Flow, Outbox, ResponseHead, Stream};
use tidegate_http2::Connection;

use crate::server::PATIENCE;

/// An upstream on a port that the kernel picks. A script handles each of its connections, on a
/// thread of its own.
pub(crate) struct Upstream {
    addr: SocketAddr,
    seen: Receiver<String>,
}

/// A connection from the proxy.
pub(crate) struct Conn {
    socket: BufReader<TcpStream>,
    seen: Sender<String>,
}

impl Upstream {
    /// Runs `script` for each connection. The connection closes when the script returns.
    pub(crate) fn new(script: impl Fn(&mut Conn) + Send + Sync + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, seen) = channel();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut conn = Conn {
                    socket: BufReader::new(socket),
                    seen: sender.clone(),
                };
                let script = script.clone();
                thread::spawn(move || script(&mut conn));
            }
        });
        Self { addr, seen }
    }

    /// Answers every request with `response`, and keeps the connection open.
    pub(crate) fn answering(response: &'static str) -> Self {
        Self::new(move |conn| {
            while conn.request().is_some() {
                conn.send(response);
            }
        })
    }

    /// Answers every HTTP/2 request alike, and notes its head in the form of HTTP/1.1.
    pub(crate) fn http2(
        head: ResponseHead,
        body: &'static str,
        trailers: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::new(move |conn| conn.answer_http2(&head, body, &trailers.iter().copied().collect()))
    }

    /// Returns a value of `--route` that leads here over HTTP/2.
    pub(crate) fn h2c_route(&self, path: &str) -> String {
        format!("{path}=h2c://{}", self.addr)
    }

    /// Returns a value of `--route` that leads here.
    pub(crate) fn route(&self, path: &str) -> String {
        format!("{path}=http://{}", self.addr)
    }

    /// Returns the Host that the proxy sends with `--upstream-host rewrite`.
    pub(crate) fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// Returns the next note of a script, waiting for it if necessary.
    pub(crate) fn seen(&self) -> String {
        self.seen.recv_timeout(PATIENCE).expect("nothing was noted")
    }

    /// Returns the notes that weren't returned yet.
    pub(crate) fn noted(&self) -> Vec<String> {
        self.seen.try_iter().collect()
    }
}

impl Conn {
    /// Reads a head and notes it. Returns `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.socket.read_line(&mut head) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the upstream can't read: {error}"),
            }
        }
        self.note(&head);
        Some(head)
    }

    /// Reads exactly `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads a chunked body, and the trailers after it.
    pub(crate) fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk's size");
            if size == 0 {
                break;
            }
            body.extend(self.bytes(size));
            assert_eq!(self.bytes(2), b"\r\n");
        }
        let mut trailers = String::new();
        while trailers != "\r\n" && !trailers.ends_with("\r\n\r\n") {
            self.socket.read_line(&mut trailers).unwrap();
        }
        (body, trailers)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The proxy may have closed the connection.
        let _ = self.socket.get_mut().write_all(bytes.as_ref());
    }

    /// Sends a note to the test.
    pub(crate) fn note(&self, what: impl Into<String>) {
        // A test that has finished no longer listens.
        let _ = self.seen.send(what.into());
    }

    fn answer_http2(&mut self, head: &ResponseHead, body: &'static str, trailers: &Fields) {
        let mut config = Config::server();
        config.enable_connect_protocol = true;
        let mut engine = Connection::server(config.build().unwrap(), Instant::now());
        let mut input = BytesMut::new();
        loop {
            let mut outbox = Outbox::new();
            while let Flow::Full | Flow::Event(_) =
                engine.transmit(&mut outbox, 64 << 10, Instant::now())
            {}
            let waiting = outbox.remaining();
            self.send(outbox.copy_to_bytes(waiting));
            let mut room = [0; 16 << 10];
            match self.socket.read(&mut room) {
                Ok(0) | Err(_) => return,
                Ok(read) => input.extend_from_slice(&room[..read]),
            }
            while let Some(event) = engine.receive(&mut input, Instant::now()) {
                let Event::Request {
                    id, head: asked, ..
                } = event
                else {
                    continue;
                };
                let mut text = format!("{} {} HTTP/2\r\n", asked.method(), asked.path());
                for field in asked.headers() {
                    let line = [field.name, b": ", field.value, b"\r\n"].concat();
                    text.push_str(std::str::from_utf8(&line).unwrap());
                }
                self.note(text);
                let mut stream = engine.stream(id).unwrap();
                if body.is_empty() && trailers.is_empty() {
                    stream.respond(head, Body::Empty).unwrap();
                } else {
                    stream.respond(head, Body::Stream).unwrap();
                    stream.write(
                        &mut Bytes::from_static(body.as_bytes()),
                        trailers.is_empty(),
                    );
                    if !trailers.is_empty() {
                        stream.trailers(trailers).unwrap();
                    }
                }
            }
        }
    }

    /// Waits for bytes that nobody will read, so that closing the connection resets it.
    pub(crate) fn leave_unread(&self) {
        let peeked = self.socket.get_ref().peek(&mut [0]).unwrap();
        assert_eq!(peeked, 1);
    }

    /// Reads until the proxy ends the connection, and notes how: `end` or `reset`.
    pub(crate) fn wait_for_end(&mut self) {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => self.note("end"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.note("reset"),
            Err(error) => panic!("the upstream can't read: {error}"),
        }
    }
}

impl Read for Conn {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.socket.read(room)
    }
}

/// Returns the value of a field in a head as text.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").skip(1);
    lines.find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}
