//! The engine on tokio: a task for each connection. `cargo run -p tidegate-http2 --example
//! tokio_server`, then `curl --http2-prior-knowledge http://127.0.0.1:8081/`.

use std::io::{self, ErrorKind};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{Body, Config, Connection, Event, Flow, Outbox, ResponseHead, Stream};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::time::timeout_at;

fn main() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:8081").await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream));
        }
    })
}

/// Serves a connection until it ends.
pub(crate) async fn serve(stream: TcpStream) -> io::Result<()> {
    let config = Config::server().build().expect("the defaults are valid");
    let mut conn = Connection::server(config, now());
    let (mut input, mut out, mut chunk) = (BytesMut::new(), Outbox::new(), [0; 16_384]);
    loop {
        // Outputs: what the engine wants written. It is asked for more when that is out.
        if out.is_empty() {
            match conn.transmit(&mut out, 1 << 16, now()) {
                Flow::Event(event) => {
                    handle(&mut conn, event);
                    continue;
                }
                Flow::Closed if out.is_empty() => return Ok(()),
                _ => {}
            }
        }
        let ready = wait(&stream, &conn, &out).await?;
        if ready.is_writable() {
            out.advance(unless_blocked(stream.try_write(out.chunk()))?.unwrap_or(0));
        }
        // Inputs: what the peer sent, and the engine's time limits.
        if ready.is_readable() {
            match unless_blocked(stream.try_read(&mut chunk))? {
                Some(0) => conn.receive_eof(now()),
                Some(n) => input.extend_from_slice(&chunk[..n]),
                None => {}
            }
        } else if ready.is_empty() {
            conn.handle_timeout(now());
        }
        while let Some(event) = conn.receive(&mut input, now()) {
            handle(&mut conn, event);
        }
    }
}

/// Waits for the socket, or for the engine's next time limit: nothing is ready then.
async fn wait(stream: &TcpStream, conn: &Connection, out: &Outbox) -> io::Result<Ready> {
    let read = conn.can_receive().then_some(Interest::READABLE);
    let write = (!out.is_empty()).then_some(Interest::WRITABLE);
    let ready = async {
        match read.into_iter().chain(write).reduce(Interest::add) {
            Some(interest) => stream.ready(interest).await,
            None => std::future::pending().await,
        }
    };
    if let Some(at) = conn.next_timeout() {
        let result = timeout_at(at.into(), ready).await;
        result.unwrap_or(Ok(Ready::EMPTY))
    } else {
        ready.await
    }
}

fn handle(conn: &mut Connection, event: Event) {
    let Some(mut stream) = event.stream_id().and_then(|id| conn.stream(id)) else {
        return;
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

/// Returns `None` if the socket wasn't ready after all.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

#[expect(clippy::disallowed_methods, reason = "the engine's owner has a clock")]
fn now() -> Instant {
    Instant::now()
}
