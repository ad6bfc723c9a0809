//! A response that is made while it is sent, no faster than the client takes it, with trailers at
//! its end. Try `nghttp -v http://127.0.0.1:8080/`.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use tidegate_net::http::{Body, Config, Event, Fields, ResponseHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns, End, EventLoop, Listener, Options, Security, Service};

/// The number of lines in a response.
pub(crate) const LINES: u32 = 100_000;

#[derive(Default)]
pub(crate) struct Lines {
    responses: HashMap<(ConnId, StreamId), Response>,
}

/// A response that isn't complete.
#[derive(Default)]
struct Response {
    /// The number of lines made.
    made: u32,
    /// The bytes made and not taken yet.
    rest: Bytes,
}

impl Response {
    /// Makes at least `want` bytes, or all that are left.
    fn make(&mut self, want: usize) {
        let mut text = String::new();
        while text.len() < want && self.made < LINES {
            self.made += 1;
            let _ = writeln!(text, "line {}", self.made);
        }
        self.rest = text.into();
    }
}

impl Service for Lines {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let id = event.stream_id();
        let Some(mut stream) = id.and_then(|id| conns.stream(conn, id)) else {
            return;
        };
        match event {
            Event::Request { id, head, .. } if head.method() == "GET" => {
                let head = ResponseHead::new(200).field("trailer", "lines");
                if stream.respond(&head, Body::Stream).is_ok() {
                    self.responses.insert((conn, id), Response::default());
                }
            }
            Event::Request { .. } => {
                let head = ResponseHead::new(405).field("allow", "GET");
                let _ = stream.respond(&head, Body::Empty);
            }
            // The client and the socket have room for `want` bytes.
            Event::Writable { id, want } => {
                let Some(response) = self.responses.get_mut(&(conn, id)) else {
                    return;
                };
                if response.rest.is_empty() {
                    response.make(want);
                }
                // Another event asks for what `write` leaves in `rest`.
                stream.write(&mut response.rest, false);
                if response.rest.is_empty() && response.made == LINES {
                    self.responses.remove(&(conn, id));
                    let mut fields = Fields::new();
                    fields.push("lines", LINES.to_string());
                    let _ = stream.trailers(&fields);
                }
            }
            event => {
                if let Event::Reset { id, .. } = event {
                    self.responses.remove(&(conn, id));
                }
                stream.ignore(&event);
            }
        }
    }

    fn closed(&mut self, _: &mut Conns, conn: ConnId, _: &End) {
        self.responses.retain(|(of, _), _| *of != conn);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:8080".parse()?, Security::Plain)?;
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Lines::default())?.run()?;
    Ok(())
}
