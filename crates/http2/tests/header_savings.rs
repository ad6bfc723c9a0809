//! The bytes that header compression saves on the wire, by the engine's counters: the figures of
//! docs/header-compression.md.

use tidegate_http2::{Body, Config, Event, RequestHead, ResponseHead, Stats, Stream, StreamId};
use tidegate_testkit::pair::Pair;

/// About 2 KB, as a browser with a session sends: many cookies, a token, client hints.
fn request(path: &str) -> RequestHead {
    let session = "s%3AhW8dTj2mQyXfK0uLr7Zb1vN4cPq9sEaGoIi.b3".repeat(25);
    let cookie = format!(
        "_ga=GA1.2.1804562375.1762250000; _gid=GA1.2.441298751.1762250000; consent=analytics:1,ads:0,functional:1; \
         theme=dark; locale=en-GB; session={session}"
    );
    RequestHead::new("GET", "https", "www.shop.example.com", path)
        .field("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36")
        .field("sec-ch-ua", "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"")
        .field("sec-ch-ua-mobile", "?0")
        .field("sec-ch-ua-platform", "\"Linux\"")
        .field("accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8")
        .field("accept-encoding", "gzip, deflate, br, zstd")
        .field("accept-language", "en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7")
        .field("authorization", "Bearer 2YotnFZFEjr1zCsicMWpAA2YotnFZFEjr1zCsicM")
        .field("cookie", cookie)
        .field("origin", "https://www.shop.example.com")
        .field("priority", "u=2, i")
        .field("referer", "https://www.shop.example.com/catalogue/garden/furniture/benches?sort=price&page=2")
        .field("sec-fetch-dest", "image")
        .field("sec-fetch-mode", "no-cors")
        .field("sec-fetch-site", "same-origin")
        .field("x-csrf-token", "b5f7d0a1c94e4c0f8a52d6f0c7b1e8d93a6e5f24")
}

/// Runs one exchange. Returns what it adds to the client's and the server's counters.
fn exchange(pair: &mut Pair, request: &RequestHead, response: &ResponseHead) -> (Stats, Stats) {
    let before = (*pair.client.engine.stats(), *pair.server.engine.stats());
    let id: StreamId = pair.client.engine.open(request, Body::Empty).unwrap();
    pair.drive();
    let mut stream = pair.server.engine.stream(id).expect("the request is there");
    stream.respond(response, Body::Empty).unwrap();
    pair.drive();
    let came =
        |event: &Event| matches!(event, Event::Response { head, .. } if head.status() == 200);
    assert!(pair.client.events.iter().any(came));
    pair.client.events.clear();
    let since = |mut now: Stats, before: &Stats| {
        now.fields_in -= before.fields_in;
        now.blocks_in -= before.blocks_in;
        now.fields_out -= before.fields_out;
        now.blocks_out -= before.blocks_out;
        now
    };
    let client = since(*pair.client.engine.stats(), &before.0);
    let server = since(*pair.server.engine.stats(), &before.1);
    // The bytes that one end sent are those that the other received.
    let crossed = |a: Stats, b: Stats| (a.fields_out, a.blocks_out) == (b.fields_in, b.blocks_in);
    assert!(crossed(client, server) && crossed(server, client));
    (client, server)
}

#[test]
fn two_kilobytes_of_request_headers_take_under_200_bytes_from_the_second_request_on() {
    let mut pair = Pair::connected(Config::client(), Config::server());
    let response = ResponseHead::new(200);
    let paths = [
        "/images/products/bench-oak-120x80.avif",
        "/images/products/bench-steel-140x60.avif",
        "/images/products/table-teak-200x90.avif",
        "/api/v2/recommendations?item=8472&limit=12&seed=3f9a",
        "/images/products/bench-oak-120x80.avif",
    ];
    let mut blocks = Vec::new();
    for path in paths {
        let (client, _) = exchange(&mut pair, &request(path), &response);
        assert!(
            (1_950..2_150).contains(&client.fields_out),
            "{}",
            client.fields_out
        );
        blocks.push(client.blocks_out);
    }
    println!(
        "requests of {} bytes in blocks of {blocks:?}",
        request(paths[0]).fields().byte_len()
    );
    assert!(blocks[1..].iter().all(|bytes| *bytes < 200), "{blocks:?}");
    let stats = pair.client.engine.stats();
    let out = stats.fields_out - stats.blocks_out;
    let saved = out + stats.fields_in - stats.blocks_in;
    assert_eq!(stats.header_bytes_saved(), saved);
    assert_eq!(pair.server.engine.stats().header_bytes_saved(), saved);
}

/// The fields that are compared with other servers: Go's takes 4.0 bytes for them, nghttpd 10,
/// haproxy 54, nginx 104.
#[test]
fn a_repeated_response_takes_a_byte_a_field() {
    let mut pair = Pair::connected(Config::client(), Config::server());
    let request = RequestHead::new("GET", "https", "localhost", "/");
    let response = ResponseHead::new(200)
        .field("content-type", "text/html; charset=utf-8")
        .field("date", "Sun, 22 Nov 2026 12:00:00 GMT")
        .field("server", "tidegate");
    let (_, first) = exchange(&mut pair, &request, &response);
    for _ in 0..10 {
        let (_, again) = exchange(&mut pair, &request, &response);
        assert_eq!(again.blocks_out, 4, "{} at first", first.blocks_out);
        assert_eq!(again.fields_out, first.fields_out);
    }
    // A field that differs each time costs only its own bytes.
    let response = |age: u32| {
        ResponseHead::new(200)
            .field("age", age.to_string())
            .field("server", "tidegate")
    };
    let ages = [1_000, 2_000, 3_000];
    let blocks = ages.map(|age| exchange(&mut pair, &request, &response(age)).1.blocks_out);
    assert!(blocks.iter().all(|bytes| *bytes <= 2 + 6), "{blocks:?}");
}
