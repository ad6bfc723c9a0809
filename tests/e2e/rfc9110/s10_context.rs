//! §10 to §12: expectations, credentials, negotiation.

use super::ways::{Front, Lab, values};
use crate::http1;
use crate::upstream::Upstream;

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn content_that_waits_is_invited() {
    // §10.1.1: "Upon receiving an HTTP/1.1 (or later) request that has a method, target URI, and
    // complete header section that contains a 100-continue expectation and an indication that
    // request content will follow, an origin server MUST send either: … an immediate response with
    // a final status code, … or … an immediate 100 (Continue) response".
    let lab = Lab::new();
    for mut way in lab.direct() {
        for path in ["/upload", "/echo"] {
            for lines in [
                &[("expect", "100-continue")][..],
                &[("expect", "100-Continue, x")],
                &[("expect", "x"), ("expect", "100-continue")],
                &[("expect", "100-continue;x=y")],
            ] {
                let answer = way.ask("POST", path, lines, "hello");
                assert_eq!(
                    (answer.status, &answer.interim[..]),
                    (200, &[100][..]),
                    "{}: {path}: {lines:?}",
                    answer.way
                );
            }
            // "A server MAY omit sending a 100 (Continue) response … if the framing indicates that
            // there is no content."
            let answer = way.ask("POST", path, &[("expect", "100-continue")], "");
            assert_eq!(
                (answer.status, answer.interim.len()),
                (200, 0),
                "{}: {path}",
                answer.way
            );
        }
        let refused = way.ask("POST", "/ten.txt", &[("expect", "100-continue")], "hello");
        assert_eq!(
            (refused.status, refused.interim.len()),
            (405, 0),
            "{}",
            refused.way
        );
    }
}

#[test]
fn expectations_of_http10_are_ignored() {
    // §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST
    // ignore that expectation."
    let lab = Lab::new();
    let mut client = lab.http1();
    client.send("POST /upload HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response(false).status, 200);
}

#[test]
fn an_expectation_is_the_upstreams_to_answer() {
    // §10.1.1: a proxy must "forward the request toward the origin server by sending a
    // corresponding request-line and header section to the next inbound server".
    let front = Front::new(
        Upstream::new(|conn| {
            while let Some(head) = conn.request() {
                if head.contains("/go") {
                    conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                    assert_eq!(conn.bytes(5), b"hello");
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                } else {
                    conn.send(
                        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                    return;
                }
            }
        }),
        &[],
    );
    let mut client = http1::Client::new(front.server.h2c);
    let head = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("POST /go {head}"));
    assert_eq!(client.response(false).status, 100);
    client.send("hello");
    assert_eq!(client.response(false).status, 200);
    client.send(format!("POST /no {head}"));
    assert_eq!(client.response(false).status, 403);
}

#[test]
fn te_is_for_the_next_hop_but_for_trailers() {
    // §10.1.4: "A sender of TE MUST also send a "TE" connection option within the Connection header
    // field … to inform intermediaries not to forward this field." A proxy that forwards trailers
    // may send TE by itself.
    let front = Front::answering(NO_CONTENT);
    for (te, expected) in [
        ("trailers", &["trailers"][..]),
        ("gzip", &[]),
        ("gzip;q=0.5, Trailers", &["trailers"]),
    ] {
        let mut client = http1::Client::new(front.server.h2c);
        client.ask("GET /", &format!("TE: {te}\r\nConnection: TE\r\n"), b"");
        let head = front.seen();
        assert_eq!(values(&head, "te"), expected, "{head}");
        let connection = values(&head, "connection").join(", ");
        assert_eq!(connection.contains("te"), !expected.is_empty(), "{head}");
    }
}

#[test]
fn credentials_are_not_changed() {
    // §11.6.2: "A proxy forwarding a request MUST NOT modify any Authorization header fields in
    // that request." §11.6.1: "A proxy forwarding a response MUST NOT modify any WWW-Authenticate
    // header fields in that response."
    let front = Front::answering(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nWWW-Authenticate: Own x=y\r\nContent-Length: 0\r\n\r\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[("authorization", "Basic  eDp5 ,\"")]);
        assert_eq!(values(&front.seen(), "authorization"), ["Basic  eDp5 ,\""]);
        let challenges = answer.values("www-authenticate");
        assert_eq!(
            challenges,
            ["Basic realm=\"a, b\"", "Own x=y"],
            "{}",
            answer.way
        );
    }
}

#[test]
fn preferences_may_be_disregarded_and_go_through() {
    // §12.4.1: a server may "disregard the header field by treating the response as if it is not
    // subject to content negotiation". §12.5.3: "If the representation has no content coding, then
    // it is acceptable by default".
    let lab = Lab::new();
    let preferences = [
        ("accept", "image/png;q=0.5, */*;q=0"),
        ("accept-charset", "x"),
        ("accept-encoding", "gzip, br;q=1.0"),
        ("accept-language", "tlh, *;q=0"),
    ];
    for mut way in lab.ways() {
        let answer = way.get("/ten.txt", &preferences);
        assert_eq!(answer.status, 200, "{}", answer.way);
        assert_eq!(answer.field("content-encoding"), "", "{}", answer.way);
    }
    // An upstream may use the preferences as it likes.
    let front = Front::answering(
        "HTTP/1.1 406 Not Acceptable\r\nVary: Accept, Accept-Language\r\nContent-Length: 0\r\n\r\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &preferences);
        let head = front.seen();
        for (name, value) in preferences {
            assert_eq!(values(&head, name), [value], "{head}");
        }
        assert_eq!(
            (answer.status, answer.field("vary")),
            (406, "Accept, Accept-Language"),
            "{}",
            answer.way
        );
    }
}
