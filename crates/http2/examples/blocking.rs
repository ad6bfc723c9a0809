//! The engine alone, in a plain blocking loop on std::net: `cargo run -p tidegate-http2 --example
//! blocking`, then `curl --http2-prior-knowledge http://127.0.0.1:8081/`.

use bytes::{Buf, Bytes, BytesMut};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tidegate_http2::{Body, Config, Connection, Event, Flow, Outbox, ResponseHead, Stream};

fn main() -> std::io::Result<()> {
    for stream in TcpListener::bind("127.0.0.1:8081")?.incoming() {
        std::thread::spawn(move || serve(stream?));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the engine's owner has a clock")]
pub(crate) fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let config = Config::server().build().expect("the defaults are valid");
    let mut conn = Connection::server(config, Instant::now());
    let (mut input, mut out, mut chunk) = (BytesMut::new(), Outbox::new(), [0; 16_384]);
    loop {
        // Outputs: what the engine wants written.
        let flow = conn.transmit(&mut out, 1 << 16, Instant::now());
        stream.write_all(&out.copy_to_bytes(out.remaining()))?;
        match flow {
            Flow::Drained => {}
            Flow::Closed => return Ok(()),
            // No event asks for a body: all are at hand as `Body::Full`.
            Flow::Full | Flow::Event(_) => continue,
        }
        // Inputs: what the peer sent, within the engine's time limits.
        let at = conn.next_timeout();
        let left = at.map(|at| at.saturating_duration_since(Instant::now()));
        stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        match stream.read(&mut chunk) {
            Ok(0) => conn.receive_eof(Instant::now()),
            Ok(n) => input.extend_from_slice(&chunk[..n]),
            Err(_) => conn.handle_timeout(Instant::now()),
        }
        while let Some(event) = conn.receive(&mut input, Instant::now()) {
            let Some(mut stream) = event.stream_id().and_then(|id| conn.stream(id)) else {
                continue;
            };
            if let Event::Request { head, .. } = event {
                let body = Bytes::from(format!("You asked for {}\n", head.path()));
                let head = ResponseHead::new(200).field("content-type", "text/plain");
                let answered = stream.respond(&head, Body::Full(body));
                answered.expect("a request is answered once");
            } else {
                stream.ignore(&event);
            }
        }
    }
}
