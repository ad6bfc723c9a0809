//! §13: conditional requests.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::ways::{Front, Lab, values};

/// The time of the last change of `/ten.txt`, and a second before and after: long ago, so that the
/// date is a strong validator.
const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn lab() -> Lab {
    let lab = Lab::new();
    for name in ["ten.txt", "large.bin"] {
        let file = fs::File::options()
            .write(true)
            .open(lab.dir.path().join(name))
            .unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(784_111_777))
            .unwrap();
    }
    lab
}

#[test]
fn conditions_in_their_order() {
    // §13.2.2: "When recipient is the origin server and If-Match is present, … if false, respond
    // 412 (Precondition Failed)"; "When recipient is the origin server, If-Match is not present,
    // and If-Unmodified-Since is present"; "When If-None-Match is present, … if false for GET/HEAD,
    // respond 304 (Not Modified)"; "When the method is GET or HEAD, If-None-Match is not present,
    // and If-Modified-Since is present".
    let lab = lab();
    for mut way in lab.ways() {
        for path in ["/ten.txt", "/large.bin"] {
            let etag = way.get(path, &[]).field("etag").to_owned();
            assert!(!etag.is_empty());
            let etag = &*etag;
            // §13.1.1: "An origin server MUST use the strong comparison function when comparing
            // entity tags for If-Match".
            let is_strong = !etag.starts_with("W/");
            let matched = if is_strong { 200 } else { 412 };
            let list = format!("\"x\", {etag}");
            let weak = format!("W/{}", etag.trim_start_matches("W/"));
            for (fields, status) in [
                // §13.1.1.
                (&[("if-match", "*")][..], 200),
                (&[("if-match", etag)], matched),
                (&[("if-match", &*list)], matched),
                (&[("if-match", "\"x\""), ("if-match", etag)], matched),
                (&[("if-match", "\"x\"")], 412),
                (&[("if-match", &weak)], 412),
                // §13.1.2: weak comparison.
                (&[("if-none-match", "*")], 304),
                (&[("if-none-match", etag)], 304),
                (&[("if-none-match", &weak)], 304),
                (&[("if-none-match", &*list)], 304),
                (&[("if-none-match", "\"x\""), ("if-none-match", etag)], 304),
                (&[("if-none-match", "\"x\"")], 200),
                // §13.1.3.
                (&[("if-modified-since", THEN)], 304),
                (&[("if-modified-since", AFTER)], 304),
                (&[("if-modified-since", BEFORE)], 200),
                (
                    &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                    304,
                ),
                (&[("if-modified-since", "Sun Nov  6 08:49:37 1994")], 304),
                (&[("if-modified-since", "now")], 200),
                // §13.1.4.
                (&[("if-unmodified-since", THEN)], 200),
                (&[("if-unmodified-since", BEFORE)], 412),
                (&[("if-unmodified-since", "now")], 200),
                // The order of evaluation.
                (&[("if-match", "*"), ("if-unmodified-since", BEFORE)], 200),
                (&[("if-match", "\"x\""), ("if-none-match", "*")], 412),
                (
                    &[("if-none-match", "\"x\""), ("if-modified-since", THEN)],
                    200,
                ),
                (
                    &[("if-none-match", etag), ("if-modified-since", BEFORE)],
                    304,
                ),
                (&[("if-match", "*"), ("if-none-match", etag)], 304),
            ] {
                for method in ["GET", "HEAD"] {
                    let answer = way.ask(method, path, fields, "");
                    assert_eq!(
                        answer.status, status,
                        "{}: {method} {path} {fields:?}",
                        answer.way
                    );
                    if status != 200 {
                        assert!(answer.body.is_empty(), "{}: {fields:?}", answer.way);
                    }
                }
            }
        }
    }
}

#[test]
fn conditions_count_only_where_there_is_something() {
    // §13.2.1: "A server MUST ignore all received preconditions if its response to the same request
    // without those conditions … would have been a status code other than a 2xx (Successful) or 412
    // (Precondition Failed)." "a server MUST ignore the conditional request header fields … when
    // received with a request method that does not involve the selection or modification of a
    // selected representation, such as CONNECT, OPTIONS, or TRACE."
    let lab = lab();
    let conditions: [&[(&str, &str)]; 4] = [
        &[("if-match", "\"x\"")],
        &[("if-none-match", "*")],
        &[("if-modified-since", AFTER)],
        &[("if-unmodified-since", BEFORE)],
    ];
    for mut way in lab.ways() {
        for fields in conditions {
            for (method, path, status) in [
                ("GET", "/missing", 404),
                ("GET", "/sub", 301),
                ("DELETE", "/ten.txt", 405),
                ("OPTIONS", "/ten.txt", 204),
                ("OPTIONS", "*", 204),
                ("TRACE", "/ten.txt", 405),
            ] {
                let answer = way.ask(method, path, fields, "");
                assert_eq!(
                    answer.status, status,
                    "{}: {method} {path} {fields:?}",
                    answer.way
                );
            }
        }
    }
}

#[test]
fn conditions_are_the_upstreams_to_judge() {
    // §13.2.1: a server that isn't the origin server for the target "MUST NOT evaluate the
    // conditional request header fields …, and it MUST forward them if the request is forwarded".
    let front = Front::answering(
        "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\n\r\nx",
    );
    let conditions = [
        ("if-match", "\"x\""),
        ("if-none-match", "\"a\""),
        ("if-modified-since", THEN),
        ("if-unmodified-since", BEFORE),
        ("if-range", "\"a\""),
        ("range", "bytes=5-"),
    ];
    for mut way in front.ways() {
        let answer = way.get("/", &conditions);
        assert_eq!((answer.status, answer.text()), (200, "x"), "{}", answer.way);
        let head = front.seen();
        for (name, value) in conditions {
            assert_eq!(values(&head, name), [value], "{head}");
        }
    }
}

#[test]
fn a_part_only_of_the_version_that_is_known() {
    // §13.1.5: "A client MUST NOT generate an If-Range header field containing an entity tag that
    // is marked as weak." "If the HTTP-date validator provided is not a strong validator in the
    // sense defined by Section 8.8.2.2, the condition is false." "If the HTTP-date validator
    // provided exactly matches the Last-Modified field value for the selected representation, the
    // condition is true."
    let lab = lab();
    for mut way in lab.ways() {
        let whole = way.get("/ten.txt", &[]);
        let etag = whole.field("etag").to_owned();
        let is_strong = !etag.starts_with("W/");
        let weak = format!("W/{}", etag.trim_start_matches("W/"));
        let by_etag = if is_strong { 206 } else { 200 };
        for (validator, status) in [
            (&*etag, by_etag),
            (&*weak, 200),
            ("\"x\"", 200),
            (BEFORE, 200),
            (AFTER, 200),
            ("", 200),
        ] {
            let fields = [("range", "bytes=2-3"), ("if-range", validator)];
            let answer = way.get("/ten.txt", &fields);
            assert_eq!(answer.status, status, "{}: {validator}", answer.way);
            let expected = if status == 206 {
                "23"
            } else {
                super::ways::TEN
            };
            assert_eq!(answer.text(), expected, "{}: {validator}", answer.way);
        }
        // Without Range, If-Range has no meaning.
        assert_eq!(way.get("/ten.txt", &[("if-range", &*etag)]).status, 200);
        let dated = way.get("/ten.txt", &[("range", "bytes=2-3"), ("if-range", THEN)]);
        assert!([200, 206].contains(&dated.status), "{}", dated.way);
    }
}
