//! The examples do as they say: the client's hundred requests are answered by the server on tokio.

use std::thread;

use tidegate_http2::StreamId;
use tokio::runtime::Builder;

#[path = "../examples/client.rs"]
#[expect(dead_code, reason = "its main")]
mod client;
#[path = "../examples/tokio_server.rs"]
#[expect(dead_code, reason = "its main")]
mod tokio_server;

#[test]
fn the_client_gets_a_hundred_answers_of_the_server_on_tokio() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let bound = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = bound.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        runtime.block_on(async {
            let (stream, _) = listener.accept().await?;
            tokio_server::serve(stream).await
        })
    });

    let stream = std::net::TcpStream::connect(addr).unwrap();
    let responses = client::get(stream).unwrap();
    server.join().unwrap().unwrap();

    assert_eq!(responses.len(), client::COUNT);
    for (request, (id, response)) in responses.into_iter().enumerate() {
        assert_eq!(id, StreamId::new(2 * request as u32 + 1));
        assert_eq!(response.status, 200);
        let expected = format!("You asked for /{}\n", request + 1);
        assert_eq!(response.body, expected);
    }
}
