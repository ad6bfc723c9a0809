//! The example does as it says, against a server on the loopback.

use std::sync::Arc;
use std::thread;

use tidegate_net::TlsAcceptorConfig;
use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream};
use tidegate_net::{ConnId, Conns, EventLoop, Listener, Options, Security, Service};
use tidegate_testkit::tls::Certificate;

#[path = "../examples/fetch.rs"]
#[expect(dead_code, reason = "its main")]
mod fetch;

/// Answers with the path.
struct Paths;

impl Service for Paths {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        if let Event::Request { id, head, .. } = event
            && let Some(mut stream) = conns.stream(conn, id)
        {
            let body = Body::Full(head.path().to_owned().into());
            stream.respond(&ResponseHead::new(200), body).unwrap();
        }
    }
}

#[test]
fn a_thousand_urls_are_fetched_over_one_connection() {
    let made = Certificate::localhost();
    let tls = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
    let security = Security::Tls(Arc::new(tls));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
    let server = listener.local_addr().to_string();
    let options = Options::new(Config::server().build().unwrap());
    let event_loop = EventLoop::new(vec![listener], options, Paths).unwrap();
    let mailbox = event_loop.mailbox();
    let worker = thread::spawn(move || event_loop.run().map(|_| ()));

    let fetched = fetch::fetch(&server, "/four").unwrap();
    mailbox.stop();
    worker.join().unwrap().unwrap();
    let stats = fetched.pool.stats();
    assert_eq!((stats.connected, stats.sent), (1, fetch::COUNT as u64));
    assert_eq!(fetched.bytes, fetch::COUNT * "/four".len());
}
