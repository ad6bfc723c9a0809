//! A service on the event loop that answers every request with a greeting. Try `curl
//! --http2-prior-knowledge 127.0.0.1:8080`.

use bytes::Bytes;
use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream};
use tidegate_net::{ConnId, Conns, EventLoop, Listener, Options, Security, Service};

pub(crate) struct Hello;

impl Service for Hello {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let id = event.stream_id();
        let Some(mut stream) = id.and_then(|id| conns.stream(conn, id)) else {
            return;
        };
        if let Event::Request { .. } = event {
            let head = ResponseHead::new(200).field("content-type", "text/plain");
            if let Err(error) = stream.respond(&head, Body::Full(Bytes::from("hello\n"))) {
                eprintln!("can't answer: {error}");
            }
        } else {
            // Nobody wants this data, but the peer needs credit to go on.
            stream.ignore(&event);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:8080".parse()?, Security::Plain)?;
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Hello)?.run()?;
    Ok(())
}
