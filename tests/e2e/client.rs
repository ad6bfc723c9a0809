//! A small HTTP/2 client for tests: the engine in its client role over a blocking socket.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};
use tidegate_http::{
    Body, Config, ErrorCode, Event, Fields, RequestHead, ResponseHead, Stats, Stream, StreamId,
};
use tidegate_http2::Connection;
use tidegate_testkit::driver::Driver;
use tidegate_testkit::tls::client_config;

use crate::server::PATIENCE;

/// How many bytes of a response body the client takes at once, so that large bodies don't wait for
/// many round trips.
const WINDOW: u32 = 1 << 20;

trait Transport: Read + Write + Send {}

impl<T: Read + Write + Send> Transport for T {}

/// A connection to the server.
pub(crate) struct Client {
    driver: Driver<Box<dyn Transport>>,
    scheme: &'static str,
    responses: HashMap<StreamId, Response>,
    /// The streams whose responses are complete, in the order of their completion.
    pub(crate) finished: Vec<StreamId>,
    /// The server's promises: path and stream, in order.
    pub(crate) promised: Vec<(String, StreamId)>,
    /// Whether GOAWAY has come.
    pub(crate) going_away: bool,
    closed: bool,
}

/// A response, as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct Response {
    head: Option<ResponseHead>,
    /// Statuses of the interim responses.
    pub(crate) informational: Vec<u16>,
    /// Values of their `link` fields.
    pub(crate) hinted: Vec<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// The fields after the body.
    pub(crate) trailers: Vec<(String, String)>,
    /// The code of RST_STREAM, if the stream was reset.
    pub(crate) reset: Option<ErrorCode>,
    /// Whether the response is complete, or was reset.
    pub(crate) end: bool,
}

impl Response {
    /// Returns the status of the final response.
    pub(crate) fn status(&self) -> u16 {
        self.head.as_ref().expect("no response").status()
    }

    /// Returns a field's value, or an empty string.
    pub(crate) fn field(&self, name: &str) -> &str {
        let value = self
            .head
            .as_ref()
            .expect("no response")
            .get(name)
            .unwrap_or_default();
        std::str::from_utf8(value).unwrap()
    }

    /// Returns the values of all fields with this name.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        values(self.head.as_ref().expect("no response"), name)
    }

    /// Returns the names and values of all fields, in order.
    pub(crate) fn all_fields(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let head = self.head.as_ref().expect("no response");
        head.headers()
            .map(|field| (text(field.name), text(field.value)))
            .collect()
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Returns the values of all fields with this name.
fn values(head: &ResponseHead, name: &str) -> Vec<String> {
    let named = head.headers().filter(|field| field.name == name.as_bytes());
    let values = named.map(|field| String::from_utf8(field.value.to_vec()).unwrap());
    values.collect()
}

impl Client {
    /// Connects in cleartext.
    pub(crate) fn h2c(addr: Option<SocketAddr>) -> Self {
        Self::new(Box::new(connect(addr)), "http", Config::client())
    }

    /// Connects in cleartext, and accepts heads and trailers of up to `bytes` bytes.
    pub(crate) fn taking_heads(addr: Option<SocketAddr>, bytes: u32) -> Self {
        let mut config = Config::client();
        config.max_header_list_size = bytes;
        Self::new(Box::new(connect(addr)), "http", config)
    }

    /// Connects in cleartext and accepts pushes.
    pub(crate) fn taking_pushes(addr: Option<SocketAddr>) -> Self {
        let mut config = Config::client();
        config.enable_push = true;
        Self::new(Box::new(connect(addr)), "http", config)
    }

    /// Connects over TLS and accepts any certificate.
    pub(crate) fn tls(addr: Option<SocketAddr>) -> Self {
        Self::tls_named(addr, "localhost", None)
    }

    /// Connects over TLS and trusts only this certificate, for `localhost`.
    pub(crate) fn tls_trusting(
        addr: Option<SocketAddr>,
        certificate: &CertificateDer<'static>,
    ) -> Self {
        Self::tls_named(addr, "localhost", Some(certificate))
    }

    /// Connects over TLS for this name. Trusts only this certificate, or any.
    pub(crate) fn tls_named(
        addr: Option<SocketAddr>,
        name: &str,
        trusted: Option<&CertificateDer<'static>>,
    ) -> Self {
        let config = client_config(trusted, &["h2"]);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(tls, connect(addr));
        stream.conn.complete_io(&mut stream.sock).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
        Self::new(Box::new(stream), "https", Config::client())
    }

    fn new(transport: Box<dyn Transport>, scheme: &'static str, mut config: Config) -> Self {
        config.initial_window_size = WINDOW;
        let engine = Connection::client(config.build().unwrap(), Instant::now());
        Self {
            driver: Driver::new(engine, transport),
            scheme,
            responses: HashMap::new(),
            finished: Vec::new(),
            promised: Vec::new(),
            going_away: false,
            closed: false,
        }
    }

    /// Sends a GET and returns the complete response.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, &[], Body::Empty)
    }

    /// Sends a request and returns the complete response.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> Response {
        let id = self.send(method, path, fields, body);
        self.response(id)
    }

    /// Sends a request without waiting for anything.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> StreamId {
        let id = self.prepare(method, path, fields, body);
        self.flush();
        id
    }

    /// Prepares a request that goes out together with the next one.
    pub(crate) fn prepare(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> StreamId {
        let mut head = RequestHead::new(method, self.scheme, "localhost", path);
        for (name, value) in fields {
            head.push(name, value);
        }
        self.open(&head, body)
    }

    /// Prepares a request with this head, which goes out together with whatever is sent next.
    pub(crate) fn open(&mut self, head: &RequestHead, body: Body) -> StreamId {
        // Before the server's SETTINGS arrive, only 100 streams are certain.
        while !self.driver.engine.can_open() {
            self.turn();
        }
        let id = self.driver.engine.open(head, body).unwrap();
        self.responses.insert(id, Response::default());
        id
    }

    /// Sends a piece of a body that was announced as [`Body::Stream`].
    pub(crate) fn write(&mut self, id: StreamId, data: impl Into<Bytes>, end: bool) {
        let mut data = data.into();
        loop {
            let mut stream = self.driver.engine.stream(id).expect("the stream is gone");
            stream.write(&mut data, end);
            self.flush();
            if data.is_empty() {
                return;
            }
            self.turn();
        }
    }

    /// Ends a body that was announced as [`Body::Stream`] with trailers.
    pub(crate) fn end_with(&mut self, id: StreamId, name: &str, value: &str) {
        let mut fields = Fields::new();
        fields.push(name, value);
        let mut stream = self.driver.engine.stream(id).expect("the stream is gone");
        stream.trailers(&fields).unwrap();
        self.flush();
    }

    /// Resets a stream.
    pub(crate) fn cancel(&mut self, id: StreamId) {
        self.driver
            .engine
            .stream(id)
            .unwrap()
            .reset(ErrorCode::CANCEL);
        self.flush();
    }

    /// Waits for the complete response.
    pub(crate) fn response(&mut self, id: StreamId) -> Response {
        self.wait_until(|client| client.responses[&id].end);
        self.responses.remove(&id).unwrap()
    }

    /// Waits until `happened` returns `true`.
    pub(crate) fn wait_until(&mut self, mut happened: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened(self) {
            assert!(!self.closed, "the server closed the connection first");
            assert!(Instant::now() < deadline, "it never happened");
            self.turn();
        }
    }

    /// Returns the response as far as it has arrived.
    pub(crate) fn so_far(&self, id: StreamId) -> &Response {
        &self.responses[&id]
    }

    /// Returns whether the server has advertised extended CONNECT (RFC 8441 §3).
    pub(crate) fn may_ask_for_websockets(&self) -> bool {
        self.driver.engine.peer_settings().enable_connect_protocol
    }

    /// Returns how many streams the server allows at once.
    pub(crate) fn max_streams(&self) -> u32 {
        self.driver.engine.peer_settings().max_concurrent_streams
    }

    /// Returns whether the final head of a response has arrived.
    pub(crate) fn has_begun(&self, id: StreamId) -> bool {
        self.responses[&id].head.is_some()
    }

    /// Returns the counters of this end.
    pub(crate) fn stats(&self) -> &Stats {
        self.driver.engine.stats()
    }

    /// Waits until the server has closed the connection.
    pub(crate) fn closed(&mut self) {
        while !self.closed {
            self.turn();
        }
    }

    /// Writes pending output, and reads what arrives.
    fn turn(&mut self) {
        self.flush();
        if self.closed {
            return;
        }
        match self.driver.read(16 << 10, Instant::now()) {
            Ok(count) => assert!(count.is_some(), "the server sends nothing"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.driver.engine.receive_eof(Instant::now());
            }
            Err(error) => panic!("reading failed: {error}"),
        }
        while let Some(event) = self.driver.receive(Instant::now()) {
            self.event(event);
        }
        self.flush();
    }

    fn flush(&mut self) {
        // The server may have closed, but what it wrote before can still be read.
        while let Ok(Some(event)) = self.driver.send(Instant::now()) {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Informational { id, head } => {
                self.with(id, |response| {
                    response.informational.push(head.status());
                    response.hinted.append(&mut values(&head, "link"));
                });
            }
            Event::PushPromise { promised, head, .. } => {
                self.promised.push((head.path().to_owned(), promised));
                self.responses.insert(promised, Response::default());
            }
            Event::Response { id, head, end } => self.with(id, |response| {
                response.head = Some(head);
                response.end = end;
            }),
            Event::Data { id, data, end } => {
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.consume(data.len());
                }
                self.with(id, |response| {
                    response.body.extend_from_slice(&data);
                    response.end = end;
                });
            }
            Event::Trailers { id, fields } => self.with(id, |response| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let all = fields.iter();
                response.trailers = all
                    .map(|field| (text(field.name), text(field.value)))
                    .collect();
                response.end = true;
            }),
            Event::Reset { id, code, .. } => {
                self.with(id, |response| {
                    response.reset = Some(code);
                    response.end = true;
                });
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.release();
                }
            }
            Event::GoingAway { .. } => self.going_away = true,
            Event::Closed(_) => self.closed = true,
            _ => {}
        }
    }

    fn with(&mut self, id: StreamId, change: impl FnOnce(&mut Response)) {
        if let Some(response) = self.responses.get_mut(&id) {
            change(response);
            if response.end {
                self.finished.push(id);
            }
        }
    }
}

fn connect(addr: Option<SocketAddr>) -> TcpStream {
    let stream = TcpStream::connect(addr.expect("no such port")).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
