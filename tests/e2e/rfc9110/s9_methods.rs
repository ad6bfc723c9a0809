//! §9: methods.

use super::ways::{Front, Lab, TEN};
use crate::upstream::Upstream;

#[test]
fn head_is_get_without_content() {
    // §9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send content in
    // the response." "The server SHOULD send the same header fields in response to a HEAD request
    // as it would have sent if the request method had been GET."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for path in [
            "/ten.txt",
            "/large.bin",
            "/empty.bin",
            "/status",
            "/sub",
            "/missing",
        ] {
            let (get, head) = (way.get(path, &[]), way.ask("HEAD", path, &[], ""));
            assert_eq!(
                (head.status, head.body.len()),
                (get.status, 0),
                "{}: {path}",
                head.way
            );
            let names = |fields: &[(String, String)]| {
                let fields = fields.iter().filter(|(name, _)| name != "date");
                fields.cloned().collect::<Vec<_>>()
            };
            assert_eq!(
                names(&head.fields),
                names(&get.fields),
                "{}: {path}",
                head.way
            );
        }
    }
}

#[test]
fn content_of_a_get_means_nothing() {
    // §9.3.1: "content received in a GET request has no generally defined semantics, cannot alter
    // the meaning or target of the request".
    let lab = Lab::new();
    for mut way in lab.ways() {
        for _ in 0..2 {
            let answer = way.ask(
                "GET",
                "/ten.txt",
                &[],
                "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n",
            );
            assert_eq!((answer.status, answer.text()), (200, TEN), "{}", answer.way);
        }
    }
}

#[test]
fn methods_are_case_sensitive() {
    // §9.1: "The method token is case-sensitive". "An origin server that receives a request method
    // that is unrecognized or not implemented SHOULD respond with the 501 (Not Implemented) status
    // code. An origin server that receives a request method that is recognized and implemented, but
    // not allowed for the target resource, SHOULD respond with the 405".
    let lab = Lab::new();
    for mut way in lab.ways() {
        for method in ["get", "Get", "FOO", "GETS"] {
            let answer = way.ask(method, "/ten.txt", &[], "");
            assert_eq!(answer.status, 501, "{}: {method}", answer.way);
        }
    }
}

#[test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    // §15.5.6: "The origin server MUST generate an Allow header field in a 405 response containing
    // a list of the target resource's currently supported methods."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (method, path) in [
            ("POST", "/ten.txt"),
            ("PUT", "/ten.txt"),
            ("DELETE", "/ten.txt"),
            ("PATCH", "/large.bin"),
            ("DELETE", "/status"),
            ("GET", "/upload"),
            ("DELETE", "/upload"),
            ("TRACE", "/ten.txt"),
            ("TRACE", "/status"),
        ] {
            let answer = way.ask(method, path, &[], "");
            assert_eq!(answer.status, 405, "{}: {method} {path}", answer.way);
            let allow = answer.field("allow");
            let methods: Vec<&str> = allow.split(", ").collect();
            assert!(
                methods.contains(&"OPTIONS"),
                "{}: {method} {path}: {allow}",
                answer.way
            );
            assert!(
                !methods.contains(&method),
                "{}: {method} {path}: {allow}",
                answer.way
            );
        }
    }
}

#[test]
fn options_of_a_resource_and_of_the_server() {
    // §9.3.7: "A server generating a successful response to OPTIONS SHOULD send any header that
    // might indicate optional features implemented by the server and applicable to the target
    // resource (e.g., Allow)". "An OPTIONS request with an asterisk ("*") as the request target …
    // applies to the server in general rather than to a specific resource."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for path in ["/ten.txt", "/status", "/upload", "*"] {
            let answer = way.ask("OPTIONS", path, &[], "");
            assert!(
                [200, 204].contains(&answer.status),
                "{}: {path}",
                answer.way
            );
            assert!(
                answer.field("allow").contains("OPTIONS"),
                "{}: {path}",
                answer.way
            );
            // §8.6: "A server MUST NOT send a Content-Length header field in any response with a
            // status code of … 204 (No Content)."
            for framing in ["content-length", "transfer-encoding"] {
                let said = answer.values(framing);
                assert!(
                    answer.status != 204 || said.is_empty(),
                    "{}: {said:?}",
                    answer.way
                );
            }
        }
    }
    // RFC 9112 §3.2.4: "If a proxy receives an OPTIONS request with an absolute-form of
    // request-target in which the URI has an empty path and no query component, then the last proxy
    // on the request chain MUST send a request-target of "*"".
    let mut client = lab.http1();
    assert_eq!(client.ask("OPTIONS http://localhost", "", b"").status, 204);
}

#[test]
fn trace_and_connect_go_nowhere() {
    // §9.3.8: a TRACE would reflect "sensitive data that might be disclosed by the response", such
    // as what a proxy adds. §9.3.6: "CONNECT is intended for use in requests to a proxy"; a server
    // "MUST reject a CONNECT request that targets an empty or invalid port number".
    let front = Front::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for mut way in front.ways() {
        assert_eq!(way.ask("TRACE", "/", &[], "").status, 405);
    }
    // Our own targets don't reflect TRACE either: not even the one that answers any other method.
    let lab = Lab::new();
    for mut way in lab.direct() {
        for path in ["/ten.txt", "/status", "/upload", "/echo"] {
            let answer = way.ask("TRACE", path, &[], "");
            assert_eq!(answer.status, 405, "{}: {path}", answer.way);
            let allowed = answer.field("allow");
            assert!(
                !allowed.is_empty() && !allowed.contains("TRACE"),
                "{}: {path}",
                answer.way
            );
        }
    }
    for target in ["localhost:80", "localhost:", "localhost", "localhost:99999"] {
        let mut client = crate::http1::Client::new(front.server.h2c);
        client.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ));
        let status = client.response(false).status;
        assert!((400..600).contains(&status), "{target}: {status}");
    }
    assert!(front.upstream.noted().is_empty());
}

#[test]
fn other_methods_go_through() {
    // §9.1: "Additional methods, outside the scope of this specification, have been specified for
    // use in HTTP." A gateway passes them on with their content.
    let front = Front::new(
        Upstream::new(|conn| {
            while let Some(head) = conn.request() {
                if head.contains("content-length: 5") {
                    assert_eq!(conn.bytes(5), b"hello");
                }
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }),
        &[],
    );
    for mut way in front.ways() {
        for method in [
            "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "M-SEARCH", "get",
        ] {
            for body in ["hello", ""] {
                assert_eq!(way.ask(method, "/", &[], body).status, 200, "{method}");
                let head = front.seen();
                assert!(
                    head.starts_with(&format!("{method} / HTTP/1.1\r\n")),
                    "{head}"
                );
            }
        }
    }
}
