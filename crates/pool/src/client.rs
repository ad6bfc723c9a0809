//! A client for programs without a loop of their own: it blocks the calling thread.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use slab::Slab;
use tidegate_http::{Body, Event as EngineEvent, Fields, RequestHead, ResponseHead};
use tidegate_net::{
    ConnId, Conns, End, EventLoop, Mailbox, Service, TlsConnectorConfig, TlsError, Trust,
};

use crate::{
    Address, Event, Failure, Limits, Options, Pool, RequestId, RequestOptions, Security, Upstream,
    UpstreamId, client_config,
};

/// The default of [`BlockingClient::max_body`].
const MAX_BODY: usize = 64 << 20;

/// A client whose calls return once the whole response is there. Threads that share one by
/// reference share its connections.
///
/// A thread of the client's own runs the event loop and the [`Pool`]. For `https`, ALPN decides
/// between HTTP/2 and HTTP/1.1; `http` is HTTP/1.1. Redirects aren't followed.
///
/// ```no_run
/// use tidegate_pool::BlockingClient;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = BlockingClient::new()?;
/// let response = client.get("https://www.example.org/")?;
/// println!("{}: {} bytes", response.head.status(), response.body.len());
/// # Ok(())
/// # }
/// ```
pub struct BlockingClient {
    mailbox: Mailbox<Call>,
    thread: Option<JoinHandle<()>>,
    tls: Arc<TlsConnectorConfig>,
    options: Arc<Options>,
    max_body: usize,
}

/// A whole response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status and the fields.
    pub head: ResponseHead,
    /// The version of the connection: `HTTP/2`, `HTTP/1.1` or `HTTP/1.0`.
    pub version: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers, if there are any.
    pub trailers: Option<Fields>,
}

/// Why a [`BlockingClient`] has no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL can't be requested: it must be absolute, with `http` or `https`.
    Url(String),
    /// The name in the URL has no address.
    Name(String, io::Error),
    /// The request failed.
    Failed(Failure),
    /// The response's body is longer than [`BlockingClient::max_body`].
    TooLarge(usize),
    /// The client's thread has ended.
    Ended,
    /// The client couldn't be started.
    Start(io::Error),
    /// The system's certificates can't be used.
    Tls(TlsError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(
                f,
                "can't request {url}: give a URL such as https://www.example.org/"
            ),
            Self::Name(host, error) => write!(f, "can't look up {host}: {error}"),
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::TooLarge(most) => write!(
                f,
                "the response is longer than {most} bytes: allow more with max_body"
            ),
            Self::Ended => f.write_str("the client's thread has ended"),
            Self::Start(error) => write!(f, "can't start the client: {error}"),
            Self::Tls(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(_, error) | Self::Start(error) => Some(error),
            Self::Failed(failure) => Some(failure),
            Self::Tls(error) => Some(error),
            Self::Url(_) | Self::TooLarge(_) | Self::Ended => None,
        }
    }
}

impl BlockingClient {
    /// Starts a client with the default options. It trusts the authorities that the system trusts.
    ///
    /// # Errors
    /// Returns why the certificates can't be read, or the thread can't be started.
    pub fn new() -> Result<Self, ClientError> {
        let tls = TlsConnectorConfig::new(&Trust::System, None).map_err(ClientError::Tls)?;
        let config = client_config().build();
        let config = config.expect("the defaults are within their limits");
        Self::with(Options::new(config), tls)
    }

    /// Starts a client with these options for all servers, and for TLS.
    ///
    /// # Errors
    /// Returns why the thread can't be started.
    pub fn with(options: Options, tls: TlsConnectorConfig) -> Result<Self, ClientError> {
        let loop_options = tidegate_net::Options::new(Arc::clone(&options.engine));
        let caller = Caller {
            pool: Pool::new(Limits::default()),
            upstreams: HashMap::new(),
            calls: Slab::new(),
        };
        let event_loop = EventLoop::new(Vec::new(), loop_options, caller);
        let event_loop = event_loop.map_err(ClientError::Start)?;
        let mailbox = event_loop.mailbox();
        let thread = std::thread::Builder::new()
            .name("http-client".into())
            .spawn(move || {
                if let Err(error) = event_loop.run() {
                    log::error!("the client's loop failed: {error}");
                }
            });
        Ok(Self {
            mailbox,
            thread: Some(thread.map_err(ClientError::Start)?),
            tls: Arc::new(tls),
            options: Arc::new(options),
            max_body: MAX_BODY,
        })
    }

    /// Sets the most bytes that a response's body may have. Default 64 MiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Gets a URL, such as `https://www.example.org/`.
    ///
    /// # Errors
    /// Returns why there is no response. A response with any status is one.
    pub fn get(&self, url: &str) -> Result<Response, ClientError> {
        self.request("GET", url, &[], Bytes::new())
    }

    /// Makes a request with further fields, in lower case, and a body.
    ///
    /// # Errors
    /// Returns why there is no response. A response with any status is one.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response, ClientError> {
        let wrong = || ClientError::Url(url.to_owned());
        let parts = Url::parse(url).ok_or_else(wrong)?;
        let mut head = RequestHead::new(method, parts.scheme(), parts.authority, &parts.path);
        if !body.is_empty() {
            head.push("content-length", body.len().to_string());
        }
        for (name, value) in fields {
            head.push(name, value);
        }
        if head.is_invalid() {
            return Err(wrong());
        }
        let security = if parts.is_secure {
            Security::Tls {
                config: Arc::clone(&self.tls),
                name: ServerName::try_from(parts.host.to_owned()).map_err(|_| wrong())?,
            }
        } else {
            Security::Http1
        };
        let addresses = (parts.host, parts.port)
            .to_socket_addrs()
            .map_err(|error| ClientError::Name(parts.host.to_owned(), error))?;
        let (answer, response) = sync_channel(1);
        let call = Call {
            upstream: Upstream {
                name: format!("{}://{}", parts.scheme(), parts.authority),
                addresses: addresses.map(Address::from).collect(),
                security,
                options: Arc::clone(&self.options),
            },
            head,
            body,
            max_body: self.max_body,
            answer,
        };
        if !self.mailbox.send(call) {
            return Err(ClientError::Ended);
        }
        response.recv().map_err(|_| ClientError::Ended)?
    }
}

impl Drop for BlockingClient {
    fn drop(&mut self) {
        self.mailbox.shut_down();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// The parts of a URL.
struct Url<'a> {
    is_secure: bool,
    authority: &'a str,
    /// The host, for an IPv6 address without brackets.
    host: &'a str,
    port: u16,
    path: String,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_secure = scheme.eq_ignore_ascii_case("https");
        if !is_secure && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        // The fragment isn't sent (RFC 9110 §7.1).
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let bare = authority.rsplit_once(':');
        let (host, port) = match bare.filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, if is_secure { 443 } else { 80 }),
        };
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?,
            None => host,
        };
        // RFC 9110 §4.2.4: a recipient should treat userinfo as an error.
        let is_valid = !host.is_empty() && !authority.contains('@');
        is_valid.then(|| Self {
            is_secure,
            authority,
            host,
            port,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }

    fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

/// A request, on its way to the client's thread.
struct Call {
    upstream: Upstream,
    head: RequestHead,
    body: Bytes,
    max_body: usize,
    answer: Answer,
}

/// The end of a channel for the response.
type Answer = SyncSender<Result<Response, ClientError>>;

/// The service on the client's thread.
struct Caller {
    pool: Pool<usize>,
    /// The upstreams by name.
    upstreams: HashMap<String, UpstreamId>,
    calls: Slab<Pending>,
}

/// A request in progress.
struct Pending {
    request: Option<RequestId>,
    response: Option<Response>,
    max_body: usize,
    answer: Answer,
}

impl Caller {
    /// Handles all events of the pool.
    fn drain(&mut self, conns: &mut Conns) {
        while let Some(event) = self.pool.next_event() {
            match event {
                Event::Response {
                    key,
                    head,
                    version,
                    end,
                    ..
                } => {
                    if let Some(call) = self.calls.get_mut(key) {
                        call.response = Some(Response {
                            head,
                            version,
                            body: Vec::new(),
                            trailers: None,
                        });
                    }
                    self.finish_if(end, key);
                }
                Event::Data { key, data, end } => self.receive(conns, key, &data, end),
                Event::Trailers { key, fields } => {
                    let call = self.calls.get_mut(key);
                    if let Some(response) = call.and_then(|call| call.response.as_mut()) {
                        response.trailers = Some(fields);
                    }
                    self.finish_if(true, key);
                }
                Event::Failed { key, failure, .. } => {
                    self.answer(key, Err(ClientError::Failed(failure)));
                }
                // Bodies are given as a whole, and interim responses aren't reported.
                _ => {}
            }
        }
    }

    /// Takes a piece of a response's body.
    fn receive(&mut self, conns: &mut Conns, key: usize, data: &[u8], end: bool) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let (Some(request), Some(response)) = (call.request, call.response.as_mut()) else {
            return;
        };
        if response.body.len() + data.len() > call.max_body {
            let error = ClientError::TooLarge(call.max_body);
            self.pool.cancel(conns, request);
            return self.answer(key, Err(error));
        }
        response.body.extend_from_slice(data);
        self.pool.consume(conns, request, data.len());
        self.finish_if(end, key);
    }

    /// Returns the response to the caller if it is whole.
    fn finish_if(&mut self, end: bool, key: usize) {
        let call = self.calls.get_mut(key).filter(|_| end);
        if let Some(response) = call.and_then(|call| call.response.take()) {
            self.answer(key, Ok(response));
        }
    }

    fn answer(&mut self, key: usize, result: Result<Response, ClientError>) {
        if let Some(call) = self.calls.try_remove(key) {
            // The caller waits, so the channel is open and empty.
            let _ = call.answer.send(result);
        }
    }
}

impl Service for Caller {
    type Message = Call;

    fn message(&mut self, conns: &mut Conns, call: Call) {
        let Call {
            upstream,
            head,
            body,
            max_body,
            answer,
        } = call;
        let id = match self.upstreams.get(&upstream.name) {
            Some(id) => {
                self.pool.set_addresses(conns, *id, upstream.addresses);
                *id
            }
            None => {
                let name = upstream.name.clone();
                *self
                    .upstreams
                    .entry(name)
                    .or_insert(self.pool.add(upstream))
            }
        };
        let key = self.calls.insert(Pending {
            request: None,
            response: None,
            max_body,
            answer,
        });
        let body = Body::Full(body);
        let options = RequestOptions::default();
        let request = self.pool.request(conns, key, id, head, &body, options);
        self.calls[key].request = Some(request);
    }

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        self.pool.opened(conns, conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: EngineEvent) {
        self.pool.event(conns, conn, event);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        self.pool.closed(conns, conn, why);
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        self.drain(conns);
        false
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.pool.next_timeout()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.pool.handle_timeout(conns, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_a_host_and_a_path() {
        for (url, expected) in [
            ("https://a", Some(("https", "a", "a", 443, "/"))),
            ("http://a/b?c#d", Some(("http", "a", "a", 80, "/b?c"))),
            (
                "HTTP://a:8080?c",
                Some(("http", "a:8080", "a", 8080, "/?c")),
            ),
            ("https://[::1]/", Some(("https", "[::1]", "::1", 443, "/"))),
            (
                "http://[::1]:81/",
                Some(("http", "[::1]:81", "::1", 81, "/")),
            ),
            ("a/b", None),
            ("ftp://a/", None),
            ("http:///b", None),
            ("http://a:b/", None),
            ("http://a:99999/", None),
            ("http://me@a/", None),
            ("http://[::1/", None),
        ] {
            let parsed = Url::parse(url);
            let parts = parsed.as_ref().map(|url| {
                let path = url.path.as_str();
                (url.scheme(), url.authority, url.host, url.port, path)
            });
            assert_eq!(parts, expected, "{url}");
        }
    }
}
