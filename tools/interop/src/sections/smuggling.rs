//! Requests that must not reach an upstream.

use std::time::Duration;

use tidegate_testkit::signals::eventually;

use crate::bad_upstream::{BadUpstream, Header};
use crate::bench::Bench;
use crate::client::{Client, Transport};
use crate::exchange;
use crate::frames;
use crate::process::Result;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

/// Heads of HTTP/1.1 and what follows, and the status with which they are refused.
const REFUSED: [(&str, &str, &str, &str); 19] = [
    (
        "Content-Length with Transfer-Encoding",
        POST,
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "Transfer-Encoding with Content-Length",
        POST,
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "two lengths",
        POST,
        "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        "400",
    ),
    (
        "a list of different lengths",
        POST,
        "Content-Length: 5, 6\r\n\r\nhello",
        "400",
    ),
    (
        "a length with a sign",
        POST,
        "Content-Length: +5\r\n\r\nhello",
        "400",
    ),
    (
        "a coding that is not chunked",
        POST,
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "another coding than chunked",
        POST,
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "501",
    ),
    (
        "chunked twice",
        POST,
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked and another",
        POST,
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "Transfer-Encoding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a space before the colon",
        POST,
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("a folded line", GET, "X: a\r\n b\r\n\r\n", "400"),
    ("a lone LF", "GET / HTTP/1.1\nHost: a\n\n", "", "400"),
    ("a lone CR", GET, "X: a\rb\r\n\r\n", "400"),
    ("a NUL", GET, "X: a\0b\r\n\r\n", "400"),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", "", "400"),
    ("two Hosts", GET, "Host: b\r\n\r\n", "400"),
    (
        "two spaces in the request line",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "",
        "400",
    ),
    (
        "a fragment",
        "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        "",
        "400",
    ),
];

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a");
const TARGET: (&str, &str) = (":path", "/");

/// Fields that are refused over HTTP/2 after those of a good request.
const REFUSED_AFTER_GOOD: [(&str, (&str, &str)); 11] = [
    ("Connection", ("connection", "close")),
    ("Transfer-Encoding", ("transfer-encoding", "chunked")),
    ("Upgrade", ("upgrade", "websocket")),
    ("TE but trailers", ("te", "gzip")),
    ("a name in capitals", ("X-Name", "1")),
    ("a colon in a name", ("x:y", "1")),
    ("a space in a name", ("x y", "1")),
    ("a line end in a value", ("x", "1\r\nsmuggled: 1")),
    ("a Host that contradicts", ("host", "b")),
    ("two paths", (":path", "/other")),
    ("an unknown pseudo-field", (":x", "1")),
];

/// Lists of fields that are refused over HTTP/2.
const REFUSED_LISTS: [(&str, &[(&str, &str)]); 6] = [
    (
        "a line end in the path",
        &[METHOD, SCHEME, AUTHORITY, (":path", "/ HTTP/1.1\r\nx: y")],
    ),
    (
        "a space in the path",
        &[METHOD, SCHEME, AUTHORITY, (":path", "/ x")],
    ),
    (
        "a space in the method",
        &[(":method", "GET /x"), SCHEME, AUTHORITY, TARGET],
    ),
    (
        "a slash in the authority",
        &[METHOD, SCHEME, (":authority", "a/b"), TARGET],
    ),
    ("no path", &[METHOD, SCHEME, AUTHORITY]),
    (
        "a pseudo-field after others",
        &[METHOD, SCHEME, AUTHORITY, ("x", "1"), TARGET],
    ),
];

/// Paths that lead elsewhere when they are resolved.
const PATHS: [&str; 8] = [
    "/api/../secret",
    "/api/%2e%2e/secret",
    "/api/%2E./secret",
    "/api/..%2fsecret",
    "/api/..\\secret",
    "/api/..;/secret",
    "/api/..",
    "/./api",
];

pub(crate) fn smuggling(bench: &Bench) -> Result {
    let raw = BadUpstream::start(Header::None)?;
    let proxy = bench
        .tidegate("warn")
        .route("/", &format!("http://{}", raw.address))
        .start()?;
    let status = |request: &str| -> Result<String> {
        let answer = exchange::raw(&proxy.http, request.as_bytes())?;
        let status = answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        Ok(status.unwrap_or_default().to_owned())
    };
    let is_smuggled = |line: &str| line.contains("smuggled");

    bench.expect(
        "the upstream answers",
        Client::new(bench, &proxy, Transport::Http1).status("/ok", &[])?,
        200,
    );
    // RFC 9112 §6.3 allows equal lengths to count as one.
    for (what, lengths) in [
        (
            "neither of two equal lengths",
            "Content-Length: 0\r\nContent-Length: 0",
        ),
        ("none of a list of equal lengths", "Content-Length: 0, 0"),
    ] {
        bench.expect(
            format_args!("{what} is refused"),
            status(&format!("{POST}{lengths}\r\nConnection: close\r\n\r\n"))?,
            "200",
        );
    }
    let before = raw.reached(|_| true);

    for (what, head, rest, wanted) in REFUSED {
        bench.expect(
            format_args!("{what} is refused"),
            status(&format!("{head}{rest}"))?,
            wanted,
        );
    }
    let good = [METHOD, SCHEME, AUTHORITY, TARGET];
    for (what, field) in REFUSED_AFTER_GOOD {
        refused(
            bench,
            &proxy.http,
            what,
            &[&good[..], &[field]].concat(),
            None,
        )?;
    }
    for (what, fields) in REFUSED_LISTS {
        refused(bench, &proxy.http, what, fields, None)?;
    }
    let lengths = [("content-length", "1"), ("content-length", "2")];
    let two_lengths = [&good[..], &lengths].concat();
    refused(bench, &proxy.http, "two lengths", &two_lengths, Some("a"))?;

    for path in PATHS {
        for transport in Transport::ALL {
            bench.expect(
                format_args!("{path} is refused, {}", transport.name()),
                Client::new(bench, &proxy, transport).status(path, &["--path-as-is"])?,
                400,
            );
        }
    }
    bench.expect(
        "none of these requests has reached the upstream",
        (raw.reached(|_| true), raw.reached(is_smuggled)),
        (before, 0),
    );
    // The proxy has forwarded the head when the first byte of the body shows that the body is too
    // long. It forwards no more than the declared length.
    let post = [
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        TARGET,
        ("content-length", "1"),
    ];
    frames::request(&proxy.http, &post, Some("aGET /smuggled HTTP/1.1\r\n\r\n"))?;
    bench.expect(
        "while two requests on a connection do",
        Client::new(bench, &proxy, Transport::H2c)
            .nghttp(&["-y"], &["/a", "/b"])?
            .text(),
        "ok\nok",
    );
    let both = || {
        raw.reached(|line| {
            ["GET /a ", "GET /b "]
                .iter()
                .any(|get| line.starts_with(get))
        })
    };
    eventually(Duration::from_secs(10), || Ok(both() == 2))?;
    bench.expect("and both reach the upstream", both(), 2);
    bench.expect(
        "a body is never longer than its declared length",
        raw.reached(is_smuggled),
        0,
    );
    proxy.stop()
}

/// Sends a request that the server must answer with 400, or by a reset.
fn refused(
    bench: &Bench,
    address: &str,
    what: &str,
    fields: &[(&str, &str)],
    body: Option<&str>,
) -> Result {
    let fate = frames::request(address, fields, body)?;
    let verdict = if fate.is_refusal() {
        "refused".to_owned()
    } else {
        format!("{fate:?}")
    };
    bench.expect(
        format_args!("{what} is refused over HTTP/2"),
        verdict,
        "refused",
    );
    Ok(())
}
