//! The blocking client, against servers on the loopback.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tidegate_http::{Body, Config, Event, Fields, ResponseHead, Stream};
use tidegate_net::{
    ConnId, Conns, EventLoop, Listener, Mailbox, Options as LoopOptions, Security, Service,
    TlsAcceptorConfig, TlsConnectorConfig, Trust,
};
use tidegate_pool::{BlockingClient, ClientError, Failure, Options, client_config};
use tidegate_testkit::tls::Certificate;

/// Answers with the method and path, and with a length of 100 kB for `/long`.
struct Echo;

impl Service for Echo {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let (Event::Request { id, .. } | Event::Data { id, .. } | Event::Reset { id, .. }) = event
        else {
            return;
        };
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        match event {
            Event::Request { head, .. } if head.path() == "/trailers" => {
                let mut trailers = Fields::new();
                trailers.push("x-checksum", "12");
                stream
                    .respond(&ResponseHead::new(200), Body::Stream)
                    .unwrap();
                stream.write(&mut Bytes::from_static(b"body"), false);
                stream.trailers(&trailers).unwrap();
            }
            Event::Request { head, .. } => {
                let body = match head.path() {
                    "/long" => vec![b'x'; 100_000],
                    path => format!("{} {path}", head.method()).into_bytes(),
                };
                let status = if head.path() == "/teapot" { 418 } else { 200 };
                let head = ResponseHead::new(status);
                stream.respond(&head, Body::Full(body.into())).unwrap();
            }
            Event::Data { data, .. } => stream.consume(data.len()),
            _ => stream.release(),
        }
    }
}

/// A server, and the origin of its URLs.
struct Server {
    origin: String,
    mailbox: Mailbox<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(security: Security) -> Self {
        let scheme = match security {
            Security::Plain => "http",
            Security::Tls(_) => "https",
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
        let origin = format!("{scheme}://localhost:{}", listener.local_addr().port());
        let options = LoopOptions::new(Config::server().build().unwrap());
        let event_loop = EventLoop::new(vec![listener], options, Echo).unwrap();
        Self {
            origin,
            mailbox: event_loop.mailbox(),
            thread: Some(std::thread::spawn(move || {
                event_loop.run().unwrap();
            })),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.mailbox.shut_down();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn client() -> BlockingClient {
    let options = Options::new(client_config().build().unwrap());
    let tls = TlsConnectorConfig::new(&Trust::Anybody, None).unwrap();
    BlockingClient::with(options, tls).unwrap()
}

#[test]
fn a_url_is_fetched_by_either_protocol() {
    let made = Certificate::localhost();
    let tls = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
    for (security, version) in [
        (Security::Plain, "HTTP/1.1"),
        (Security::Tls(Arc::new(tls)), "HTTP/2"),
    ] {
        let server = Server::start(security);
        let client = client();
        let response = client.get(&server.url("/a?b#c")).unwrap();
        assert_eq!((response.head.status(), response.version), (200, version));
        assert_eq!(response.body, b"GET /a?b");
        assert_eq!(response.trailers, None);
        // A response with another status is one.
        let response = client.get(&server.url("/teapot")).unwrap();
        assert_eq!(response.head.status(), 418);
        let response = client.get(&server.url("/long")).unwrap();
        assert!(response.body == [b'x'; 100_000]);
        let response = client.get(&server.url("/trailers")).unwrap();
        assert_eq!(response.body, b"body");
        assert!(response.trailers.is_some());
        let fields = [("content-type", "text/plain")];
        let sent = client.request("POST", &server.url("/p"), &fields, Bytes::from_static(b"x"));
        assert_eq!(sent.unwrap().body, b"POST /p");
    }
}

#[test]
fn threads_share_a_client() {
    let server = Server::start(Security::Plain);
    let client = client();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (client, url) = (&client, server.url(&format!("/{number}")));
            scope.spawn(move || {
                let response = client.get(&url).unwrap();
                assert_eq!(response.body, format!("GET /{number}").into_bytes());
            });
        }
    });
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let server = Server::start(Security::Plain);
    let client = client().max_body(1000);
    for url in ["localhost", "ftp://localhost/", "http://localhost/ /"] {
        let error = client.get(url).unwrap_err();
        assert!(matches!(error, ClientError::Url(_)), "{error}");
    }
    let error = client.get(&server.url("/long")).unwrap_err();
    assert!(matches!(error, ClientError::TooLarge(1000)), "{error}");
    // The client goes on.
    assert!(client.get(&server.url("/short")).is_ok());
    // The server speaks no TLS.
    let url = server.url("/").replace("http:", "https:");
    let error = client.get(&url).unwrap_err();
    assert!(
        matches!(error, ClientError::Failed(Failure::Tls(..))),
        "{error}"
    );
}
