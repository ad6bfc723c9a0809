//! A hundred GETs at once over one connection, in a plain blocking loop on std::net. Start the
//! example `blocking`, then `cargo run -p tidegate-http2 --example client`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, RequestHead, Stream, StreamId,
};

/// The number of requests.
pub(crate) const COUNT: usize = 100;

/// A response, as far as it has arrived.
#[derive(Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: BytesMut,
}

fn main() -> Result<(), Box<dyn Error>> {
    for (id, response) in get(TcpStream::connect("127.0.0.1:8081")?)? {
        println!("{id}: {}, {} bytes", response.status, response.body.len());
    }
    Ok(())
}

/// Gets `/1`, `/2` and so on.
#[expect(clippy::disallowed_methods, reason = "the engine's owner has a clock")]
pub(crate) fn get(mut stream: TcpStream) -> Result<BTreeMap<StreamId, Response>, Box<dyn Error>> {
    let authority = stream.peer_addr()?.to_string();
    let mut conn = Connection::client(Config::client().build()?, Instant::now());
    let (mut input, mut out, mut chunk) = (BytesMut::new(), Outbox::new(), [0; 16_384]);
    let mut responses = BTreeMap::new();
    let mut complete = 0;
    loop {
        // Commands: as many requests as the server allows at once.
        while responses.len() < COUNT && conn.can_open() {
            let path = format!("/{}", responses.len() + 1);
            let head = RequestHead::new("GET", "http", &authority, &path);
            let id = conn.open(&head, Body::Empty)?;
            responses.insert(id, Response::default());
        }
        if complete == COUNT {
            conn.shut_down(Instant::now());
        }
        // Outputs: what the engine wants written.
        let flow = conn.transmit(&mut out, 1 << 16, Instant::now());
        stream.write_all(&out.copy_to_bytes(out.remaining()))?;
        match flow {
            Flow::Drained => {}
            Flow::Closed => return Ok(responses),
            // No event asks for a body, for no request has one.
            Flow::Full | Flow::Event(_) => continue,
        }
        // Inputs: what the server sent, within the engine's time limits.
        let at = conn.next_timeout();
        let left = at.map(|at| at.saturating_duration_since(Instant::now()));
        stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        match stream.read(&mut chunk) {
            Ok(0) => conn.receive_eof(Instant::now()),
            Ok(n) => input.extend_from_slice(&chunk[..n]),
            Err(_) => conn.handle_timeout(Instant::now()),
        }
        while let Some(event) = conn.receive(&mut input, Instant::now()) {
            let end = match &event {
                Event::Response { id, head, end } => {
                    responses.entry(*id).or_default().status = head.status();
                    *end
                }
                Event::Data { id, data, end } => {
                    responses
                        .entry(*id)
                        .or_default()
                        .body
                        .extend_from_slice(data);
                    *end
                }
                Event::Trailers { .. } => true,
                Event::Reset { id, code, .. } => {
                    return Err(format!("{id} was reset: {code:?}").into());
                }
                Event::Closed(why) if complete < COUNT => return Err(why.to_string().into()),
                _ => false,
            };
            complete += usize::from(end);
            // The data is copied, so its credit goes back.
            if let Some(mut stream) = event.stream_id().and_then(|id| conn.stream(id)) {
                stream.ignore(&event);
            }
        }
    }
}
