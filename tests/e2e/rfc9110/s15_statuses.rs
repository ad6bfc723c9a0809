//! §15: statuses, and what goes with them.

use super::ways::{Front, Lab};
use crate::http1;
use crate::upstream::Upstream;

#[test]
fn statuses_go_through_as_they_are() {
    // §15: "a client MUST understand the class of any status code, as indicated by the first digit,
    // and treat an unrecognized status code as being equivalent to the x00 status code of that
    // class". A gateway has no reason to change one.
    let front = Front::new(
        Upstream::new(|conn| {
            while let Some(head) = conn.request() {
                let status = head.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
                conn.send(format!(
                    "HTTP/1.1 {status} Own Words\r\nContent-Length: 0\r\nX: {status}\r\n\r\n"
                ));
            }
        }),
        &[],
    );
    for mut way in front.ways() {
        for status in [
            200, 201, 202, 203, 205, 207, 226, 299, 300, 302, 303, 307, 308, 399, 400, 402, 409,
            418, 451, 499, 500, 501, 503, 599,
        ] {
            let answer = way.get(&format!("/{status}"), &[]);
            assert_eq!(
                (answer.status, answer.field("x")),
                (status, &*status.to_string()),
                "{}",
                answer.way
            );
        }
    }
}

#[test]
fn interim_responses_go_through() {
    // §15.2: "A proxy MUST forward 1xx responses unless the proxy itself requested the generation
    // of the 1xx response." "a server MUST NOT send a 1xx response to an HTTP/1.0 client."
    let front = Front::new(
        Upstream::new(|conn| {
            if conn.request().is_some() {
                // §8.6: a 1xx has no Content-Length; one that is present is ignored.
                conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\nHTTP/1.1 199 Own\r\n\r\n");
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }),
        &[],
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        assert_eq!(
            (answer.status, &answer.interim[..]),
            (200, &[103, 199][..]),
            "{}",
            answer.way
        );
    }
    let mut client = http1::Client::new(front.server.h2c);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response(false).status, 200);
}

#[test]
fn a_redirect_has_a_location() {
    // §15.4.2: "The server SHOULD generate a Location header field in the response containing a
    // preferred URI reference for the new permanent URI." §10.2.2: it may be relative to the target
    // URI.
    let lab = Lab::new();
    for mut way in lab.direct() {
        let answer = way.get("/sub?a=b", &[]);
        assert_eq!(
            (answer.status, answer.field("location")),
            (301, "/sub/?a=b"),
            "{}",
            answer.way
        );
    }
}

#[test]
fn a_304_has_what_caches_need_and_no_more() {
    // §15.4.5: "The server generating a 304 response MUST generate any of the following header
    // fields that would have been sent in a 200 (OK) response to the same request", among them Date
    // and ETag. "a sender SHOULD NOT generate representation metadata other than the above listed
    // fields".
    let lab = Lab::new();
    for mut way in lab.ways() {
        let answer = way.get("/ten.txt", &[("if-none-match", "*")]);
        assert_eq!(answer.status, 304);
        assert!(
            !answer.field("etag").is_empty() && !answer.field("date").is_empty(),
            "{}",
            answer.way
        );
        for name in ["content-type", "content-encoding", "content-range"] {
            assert_eq!(answer.field(name), "", "{}: {name}", answer.way);
        }
    }
}

#[test]
fn a_gateway_says_when_its_upstream_fails() {
    // §15.6.3: 502 for "an invalid response from an inbound server it accessed while attempting to
    // fulfill the request".
    for response in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let front = Front::answering(response);
        for mut way in front.ways() {
            assert_eq!(way.get("/", &[]).status, 502, "{response}");
        }
    }
}
