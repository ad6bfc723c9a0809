//! §5 and §6: fields, dates, content and trailers.

use std::time::{Duration, SystemTime};

use tidegate_http::ResponseHead;

use super::ways::{Front, Lab, values};
use crate::http1;
use crate::upstream::Upstream;

#[test]
fn lines_of_one_name_keep_their_order() {
    // §5.3: "a proxy MUST NOT change the order of these field line values when forwarding a
    // message."
    let front = Front::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-List: 1\r\nX-Other: a\r\nX-List: 2\r\n\r\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[("x-a", "first"), ("x-b", "x"), ("x-a", "second")]);
        assert_eq!(values(&front.seen(), "x-a").join(", "), "first, second");
        assert_eq!(answer.values("x-list").join(", "), "1, 2", "{}", answer.way);
    }
}

#[test]
fn values_have_no_whitespace_around_them() {
    // §5.5: "A field value does not include leading or trailing whitespace."
    let front = Front::answering("HTTP/1.1 204 No Content\r\nX-Spaced: \t a b \t\r\n\r\n");
    for mut way in front.ways() {
        assert_eq!(way.get("/", &[]).field("x-spaced"), "a b");
        front.seen();
    }
    let mut client = http1::Client::new(front.server.h2c);
    client.ask("GET /", "X-Spaced: \t c d \t\r\n", b"");
    assert_eq!(values(&front.seen(), "x-spaced"), ["c d"]);
}

#[test]
fn dates_are_read_in_all_three_formats() {
    // §5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three
    // HTTP-date formats."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (date, status) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 200),
            ("Sun Nov  6 08:49:37 1994", 200),
            ("Fri, 06 Nov 2893 08:49:37 GMT", 304),
            // "Recipients … SHOULD … interpret a timestamp that appears to be more than 50 years in
            // the future as representing the most recent year in the past that had the same last
            // two digits."
            ("Monday, 06-Nov-00 08:49:37 GMT", 200),
            // §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the received
            // field value is not a valid HTTP-date".
            ("yesterday", 200),
            ("", 200),
        ] {
            let answer = way.get("/ten.txt", &[("if-modified-since", date)]);
            // A date in the future may be treated as none.
            let expected = if status == 304 {
                [304, 200]
            } else {
                [status; 2]
            };
            assert!(expected.contains(&answer.status), "{}: {date}", answer.way);
        }
    }
}

/// Returns whether a value is an IMF-fixdate of about now.
fn is_now(date: &str) -> bool {
    let Ok(time) = httpdate::parse_http_date(date) else {
        return false;
    };
    let is_fixdate = httpdate::fmt_http_date(time) == date;
    let now = SystemTime::now();
    let distance = now
        .duration_since(time)
        .unwrap_or_else(|error| error.duration());
    is_fixdate && distance < Duration::from_secs(3600)
}

#[test]
fn answers_have_a_date() {
    // §6.6.1: "An origin server with a clock … MUST generate a Date header field in all 2xx
    // (Successful), 3xx (Redirection), and 4xx (Client Error) responses, and MAY generate a Date
    // header field in 1xx (Informational) and 5xx (Server Error) responses." §5.6.7: "the sender
    // MUST generate those timestamps in the IMF-fixdate format".
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (method, path, fields, status) in [
            ("GET", "/ten.txt", &[][..], 200),
            ("GET", "/ten.txt", &[("range", "bytes=0-1")], 206),
            ("GET", "/ten.txt", &[("range", "bytes=99-")], 416),
            ("GET", "/ten.txt", &[("if-none-match", "*")], 304),
            ("GET", "/ten.txt", &[("if-match", "\"x\"")], 412),
            ("GET", "/sub", &[], 301),
            ("GET", "/missing", &[], 404),
            ("DELETE", "/ten.txt", &[], 405),
            ("OPTIONS", "/ten.txt", &[], 204),
            ("OPTIONS", "*", &[], 204),
            ("POST", "/upload", &[], 200),
        ] {
            let answer = way.ask(method, path, fields, "");
            assert_eq!(answer.status, status, "{}: {method} {path}", answer.way);
            let dates = answer.values("date");
            assert!(
                matches!(dates[..], [date] if is_now(date)),
                "{}: {method} {path}: {dates:?}",
                answer.way
            );
        }
    }
}

#[test]
fn what_is_refused_has_a_date_too() {
    // §6.6.1, as above: responses that the protocol engine sends by itself.
    let lab = Lab::new();
    let long = "a".repeat(70_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(),
            501,
        ),
        ("GET / HTTP/1.9\r\nHost: a\r\n\r\n".to_owned(), 505),
    ] {
        let mut client = lab.http1();
        client.send(request);
        let response = client.response(false);
        assert_eq!(response.status, status);
        assert!(is_now(response.field("date")), "{status}");
    }
    let answer = lab.direct()[1].get("/", &[("x", &long)]);
    assert_eq!((answer.status, is_now(answer.field("date"))), (431, true));
}

#[test]
fn a_date_is_added_where_there_is_none() {
    // §6.6.1: "A recipient with a clock that receives a response message without a Date header
    // field MUST record the time it was received and append a corresponding Date header field to
    // the message's header section if it is cached or forwarded downstream."
    let front = Front::answering("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        assert!(is_now(answer.field("date")), "{}", answer.way);
    }
    let dated =
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    let front = Front::answering(dated);
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        assert_eq!(answer.values("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    }
}

#[test]
fn some_responses_have_no_content() {
    // §6.4.1: "Responses to the HEAD request method … never include content"; "All 1xx
    // (Informational), 204 (No Content), and 304 (Not Modified) responses do not include content."
    let front = Front::new(
        Upstream::new(|conn| {
            while let Some(head) = conn.request() {
                let status = match () {
                    () if head.starts_with("HEAD") => "200 OK",
                    () if head.contains("/204") => "204 No Content",
                    () => "304 Not Modified",
                };
                conn.send(format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n"
                ));
            }
        }),
        &[],
    );
    for mut way in front.ways() {
        for (method, path, status, length) in [
            ("HEAD", "/", 200, "5"),
            // §8.6: "A server MUST NOT send a Content-Length header field in any response with a
            // status code of 1xx (Informational) or 204 (No Content)."
            ("GET", "/204", 204, ""),
            ("GET", "/304", 304, "5"),
        ] {
            let answer = way.ask(method, path, &[], "");
            assert_eq!(
                (answer.status, answer.body.len()),
                (status, 0),
                "{}",
                answer.way
            );
            assert_eq!(answer.field("content-length"), length, "{}", answer.way);
        }
    }
}

/// Returns an upstream that answers with a chunked response and these trailer lines.
fn with_trailers(head: &'static str, trailers: &'static str) -> Upstream {
    Upstream::new(move |conn| {
        while conn.request().is_some() {
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
            ));
        }
    })
}

#[test]
fn trailers_go_through() {
    // §6.5: "Trailer fields can be useful for supplying message integrity checks". §6.6.2: "Trailer
    // … provides a list of field names that the sender anticipates sending as trailer fields".
    let front = Front::new(with_trailers("Trailer: x-sum\r\n", "X-Sum: 1\r\n"), &[]);
    for mut way in front.ways() {
        let answer = way.get("/", &[("te", "trailers")]);
        let expected = [("x-sum".to_owned(), "1".to_owned())];
        assert_eq!(
            (answer.text(), &answer.trailers[..]),
            ("hello", &expected[..])
        );
        assert_eq!(answer.field("trailer"), "x-sum", "{}", answer.way);
    }
}

#[test]
fn trailers_are_announced_only_where_they_come() {
    // §6.6.2, as above, with an HTTP/2 upstream that also knows the length. §10.1.4: `trailers` in
    // TE "indicates that the sender will not discard trailer fields". Over HTTP/1.1 trailers need
    // chunks, so there is no Content-Length.
    let head = ResponseHead::new(200)
        .field("content-length", "5")
        .field("trailer", "x-sum");
    let front = Front::http2(head, "hello", &[("x-sum", "1")]);
    let sum = [("x-sum".to_owned(), "1".to_owned())];
    for (mut way, is_http2) in front.ways().into_iter().zip([false, true]) {
        for (te, comes) in [(&[("te", "trailers")][..], true), (&[], is_http2)] {
            let answer = way.get("/", te);
            assert_eq!(
                (answer.status, answer.text()),
                (200, "hello"),
                "{}",
                answer.way
            );
            assert_eq!(answer.field("trailer").is_empty(), !comes, "{}", answer.way);
            assert_eq!(
                answer.trailers,
                if comes { &sum[..] } else { &[] },
                "{}",
                answer.way
            );
        }
    }
}

#[test]
fn one_length_is_said_once() {
    // §8.6: "a recipient of a Content-Length header field value consisting of the same decimal
    // value repeated as a comma-separated list … MAY … replace that invalid field value with a
    // single instance of the decimal value".
    let twice = ResponseHead::new(200)
        .field("content-length", "5")
        .field("content-length", "5");
    for front in [
        Front::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        Front::answering("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
        Front::http2(twice, "hello", &[]),
    ] {
        for mut way in front.ways() {
            let answer = way.get("/", &[]);
            assert_eq!(
                (answer.status, answer.text()),
                (200, "hello"),
                "{}",
                answer.way
            );
            assert_eq!(answer.values("content-length"), ["5"], "{}", answer.way);
        }
    }
    // The same for requests: the upstream gets one field.
    let front = Front::new(
        Upstream::new(|conn| {
            while conn.request().is_some() {
                assert_eq!(conn.bytes(5), b"hello");
                conn.send("HTTP/1.1 204 No Content\r\n\r\n");
            }
        }),
        &[],
    );
    for mut way in front.ways() {
        assert_eq!(
            way.ask("POST", "/", &[("content-length", "5")], "hello")
                .status,
            204
        );
        assert_eq!(values(&front.seen(), "content-length"), ["5"]);
    }
}

#[test]
fn a_length_that_means_nothing_goes_no_further() {
    // §8.6: "A server MUST NOT send a Content-Length header field in any response with a status
    // code of 1xx (Informational) or 204 (No Content)."
    let front = Front::http2(ResponseHead::new(204).field("content-length", "5"), "", &[]);
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        assert_eq!(
            (answer.status, answer.field("content-length")),
            (204, ""),
            "{}",
            answer.way
        );
    }
}

#[test]
fn what_must_be_no_trailer_is_dropped() {
    // §6.5.1: "Many fields cannot be processed outside the header section …, such as those that
    // describe message framing, routing, authentication, request modifiers, response controls, or
    // content format."
    for line in [
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Set-Cookie: a=b\r\n",
        "Cache-Control: no-store\r\n",
        "Content-Type: text/html\r\n",
    ] {
        let front = Front::new(with_trailers("", line), &[]);
        for mut way in front.ways() {
            let answer = way.get("/", &[]);
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{line}");
            assert!(answer.trailers.is_empty(), "{}: {line}", answer.way);
        }
    }
    let trailers = &[("content-length", "0"), ("x-t", "1"), ("set-cookie", "a=b")];
    let front = Front::http2(ResponseHead::new(200), "ok", trailers);
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        let kept = [("x-t".to_owned(), "1".to_owned())];
        assert_eq!(
            (answer.text(), &answer.trailers[..]),
            ("ok", &kept[..]),
            "{}",
            answer.way
        );
    }
}
