//! The examples do as they say: the client's hundred requests are answered by either server.

use std::net::{TcpListener, TcpStream};
use std::thread;

use tidegate_http2::StreamId;
use tokio::runtime::Builder;

#[path = "../examples/blocking.rs"]
#[expect(dead_code, reason = "its main")]
mod blocking;
#[path = "../examples/client.rs"]
#[expect(dead_code, reason = "its main")]
mod client;
#[path = "../examples/tokio_server.rs"]
#[expect(dead_code, reason = "its main")]
mod tokio_server;

/// Checks that a server, which takes the first connection of a listener, answers each request.
fn check_answers(serve: fn(TcpListener) -> std::io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || serve(listener));
    let responses = client::get(TcpStream::connect(addr).unwrap()).unwrap();
    server.join().unwrap().unwrap();

    assert_eq!(responses.len(), client::COUNT);
    for (request, (id, response)) in responses.into_iter().enumerate() {
        assert_eq!(id, StreamId::new(2 * request as u32 + 1));
        assert_eq!(response.status, 200);
        let expected = format!("You asked for /{}\n", request + 1);
        assert_eq!(response.body, expected);
    }
}

#[test]
fn the_client_gets_a_hundred_answers_of_the_blocking_server() {
    check_answers(|listener| blocking::serve(listener.accept()?.0));
}

#[test]
fn the_client_gets_a_hundred_answers_of_the_server_on_tokio() {
    check_answers(|listener| {
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (stream, _) = listener.accept().await?;
            tokio_server::serve(stream).await
        })
    });
}
