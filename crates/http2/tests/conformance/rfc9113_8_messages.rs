//! RFC 9113 §8: Expressing HTTP Semantics in HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http2::{
    Body, Config, ErrorCode, Event, RequestHead, ResetCause, ResponseHead, Stream, StreamId,
    Violation,
};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire::{self, GET, POST, with};

use crate::support::{
    bytes, client, client_of, client_of_window, pushing_server, resets, respond_streaming, server,
    server_of,
};

type List<'a> = &'a [(&'a str, &'a str)];

/// Checks that a request is malformed in this way.
#[track_caller]
fn malformed_request(fields: List<'_>, violation: Violation) {
    let mut peer = client();
    peer.send(wire::headers(1, fields).end());
    peer.stream_error(1, violation);
    peer.expect_no_event();
    assert_eq!(peer.engine.active_streams(), 0);
    // The next request is unaffected.
    peer.send(wire::get(3));
    peer.expect_request(3);
}

/// Checks that the response to a GET is malformed in this way.
#[track_caller]
fn malformed_response(fields: List<'_>, violation: Violation) {
    let mut peer = server();
    peer.open_get();
    peer.send(wire::headers(1, fields).end());
    peer.stream_error(1, violation);
    peer.expect_no_event();
}

/// A client engine that has sent this request on stream 1, without a body.
fn asked(method: &str) -> Peer {
    let mut peer = server();
    peer.open(
        &RequestHead::new(method, "https", "localhost", "/"),
        Body::Empty,
    );
    peer.frames.clear();
    peer
}

const OK: List<'static> = &[(":status", "200")];

// --- §8.1 HTTP Message Framing ---

#[test]
fn a_message_is_head_body_and_trailers() {
    // RFC 9113 §8.1: a message is one HEADERS frame "containing the header section", "zero or more
    // DATA frames containing the message content", "and", optionally, one HEADERS frame "containing
    // the trailer section, if present".
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::data(1, "body"),
        wire::headers(1, &[("checksum", "7")]).end(),
    ]);
    assert!(!peer.expect_request(1).1);
    assert_eq!(peer.expect_body(1), (Bytes::from("body"), false));
    assert_eq!(peer.expect_trailers(1).get("checksum"), Some(&b"7"[..]));
    respond_streaming(&mut peer, 1);
    let mut body = Bytes::from_static(b"answer");
    assert_eq!(peer.stream(1, |stream| stream.write(&mut body, false)), 6);
    let fields = [(&b"checksum"[..], &b"8"[..])].into_iter().collect();
    peer.stream(1, |stream| stream.trailers(&fields))
        .expect("it may");
    assert!(!peer.expect_head(1).end);
    assert_eq!(peer.expect_data(1), (Bytes::from("answer"), false));
    let trailers = peer.expect_head(1);
    assert_eq!((trailers.get("checksum"), trailers.end), (Some("8"), true));
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_alive();
}

#[test]
fn trailers_wait_for_the_body_in_front_of_them() {
    // RFC 9113 §8.1, as above: the trailer section is last, also when the window holds the body up.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 4)]);
    peer.send(wire::get(1));
    respond_streaming(&mut peer, 1);
    peer.expect_head(1);
    let mut body = Bytes::from_static(b"body");
    peer.stream(1, |stream| {
        stream.write(&mut body, false);
        let fields = [(&b"a"[..], &b"b"[..])].into_iter().collect();
        stream.trailers(&fields).expect("it may");
    });
    assert_eq!(peer.expect_data(1), (Bytes::from("body"), false));
    assert!(peer.expect_head(1).end);
}

#[test]
fn trailers_may_follow_the_head_at_once() {
    // RFC 9113 §8.1: "zero or more DATA frames".
    let mut peer = client();
    peer.send_all([wire::post(1), wire::headers(1, &[("a", "b")]).end()]);
    peer.expect_request(1);
    peer.expect_trailers(1);
    let mut peer = asked("GET");
    peer.send_all([wire::headers(1, OK), wire::headers(1, &[("a", "b")]).end()]);
    peer.expect_response(1);
    peer.expect_trailers(1);
}

#[test]
fn trailers_end_the_stream() {
    // RFC 9113 §8.1: "An endpoint that receives a HEADERS frame without the END_STREAM flag set
    // after receiving the HEADERS frame that opens a request or after receiving a final
    // (non-informational) status code MUST treat the corresponding request or response as
    // malformed".
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::data(1, "x"),
        wire::headers(1, &[("a", "b")]),
    ]);
    peer.expect_request(1);
    peer.stream_error(1, Violation::TrailersWithoutEndStream);
    let mut peer = asked("GET");
    peer.send_all([wire::headers(1, OK), wire::headers(1, OK)]);
    peer.expect_response(1);
    peer.stream_error(1, Violation::TrailersWithoutEndStream);
}

#[test]
fn trailers_have_no_pseudo_fields_and_no_forbidden_ones() {
    // RFC 9113 §8.1: "Trailers MUST NOT include pseudo-header fields (Section 8.3). An endpoint
    // that receives pseudo-header fields in trailers MUST treat the request or response as
    // malformed".
    for (field, violation) in [
        ((":method", "POST"), Violation::PseudoFieldInTrailers),
        ((":status", "200"), Violation::PseudoFieldInTrailers),
        ((":made-up", "x"), Violation::PseudoFieldInTrailers),
        (("connection", "close"), Violation::ConnectionSpecificField),
        (("te", "trailers"), Violation::ConnectionSpecificField),
        (("Upper", "x"), Violation::FieldNameUppercase),
        (("x", "a\0b"), Violation::FieldValueInvalid),
    ] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::headers(1, &[field]).end()]);
        peer.expect_request(1);
        peer.stream_error(1, violation);
        let mut peer = asked("GET");
        peer.send_all([wire::headers(1, OK), wire::headers(1, &[field]).end()]);
        peer.expect_response(1);
        peer.stream_error(1, violation);
    }
}

#[test]
fn interim_responses_come_before_the_final_one() {
    // RFC 9113 §8.1: "For a response only, a server MAY send any number of interim responses before
    // the HEADERS frame containing a final response."
    let mut peer = asked("GET");
    peer.send_all([
        wire::headers(1, &[(":status", "100")]),
        wire::headers(1, &[(":status", "103"), ("link", "</a.css>; rel=preload")]),
        wire::headers(1, &[(":status", "199"), ("content-length", "3")]),
        wire::headers(1, OK),
        wire::data(1, "done").end(),
    ]);
    for status in [100, 103, 199] {
        match peer.next_event() {
            Some(Event::Informational { head, .. }) => assert_eq!(head.status(), status),
            other => panic!("expected an interim response, got {other:?}"),
        }
    }
    assert_eq!(peer.expect_response(1).0.status(), 200);
    assert_eq!(peer.expect_body(1), (Bytes::from("done"), true));
}

#[test]
fn an_interim_response_does_not_end_the_stream() {
    // RFC 9113 §8.1: "A HEADERS frame with the END_STREAM flag set that carries an informational
    // status code is malformed".
    for status in ["100", "103"] {
        malformed_response(
            &[(":status", status)],
            Violation::InformationalWithEndStream,
        );
    }
}

#[test]
fn a_response_begins_with_its_head() {
    // RFC 9113 §8.1: "other than by …" the message framing above, DATA comes after a final HEADERS.
    let mut peer = asked("GET");
    peer.send(wire::data(1, "headless"));
    peer.stream_error(1, Violation::DataBeforeResponseHead);
    let mut peer = asked("GET");
    peer.send_all([
        wire::headers(1, &[(":status", "103")]),
        wire::data(1, "early"),
    ]);
    peer.stream_error(1, Violation::DataBeforeResponseHead);
}

#[test]
fn a_server_that_has_answered_may_ask_to_stop_the_request() {
    // RFC 9113 §8.1: "a server MAY request that the client abort transmission of a request without
    // error by sending a RST_STREAM with an error code of NO_ERROR after sending a complete
    // response".
    let mut peer = client_of_window(1000);
    peer.send_all([wire::post(1), wire::data(1, bytes(100))]);
    peer.respond(1, 413, "too much");
    peer.events.clear();
    assert_eq!(peer.expect_head(1).status(), 413);
    assert!(peer.expect_data(1).1);
    // A megabyte is accepted and not reported, so that the client can read the response; then it is
    // asked to stop.
    let mut passed = 0;
    while resets(&peer) == 0 {
        peer.send(wire::data(1, bytes(100)));
        passed += 100;
        assert!(passed < 2 << 20, "it is never asked to stop");
    }
    assert!(passed >= 1 << 20, "{passed}");
    peer.expect_rst(1, ErrorCode::NO_ERROR);
    peer.expect_no_event();
    assert_eq!(peer.engine.active_streams(), 0);
    // "Clients MUST NOT discard responses as a result of receiving such a RST_STREAM".
    let mut peer = server();
    peer.open(
        &RequestHead::new("POST", "https", "localhost", "/"),
        Body::Stream,
    );
    peer.events.clear();
    peer.send_all([
        wire::headers(1, &[(":status", "413")]),
        wire::data(1, "too much").end(),
        wire::rst_stream(1, ErrorCode::NO_ERROR),
    ]);
    peer.expect_response(1);
    assert_eq!(peer.expect_body(1), (Bytes::from("too much"), true));
    assert_eq!(peer.expect_reset(1, ResetCause::Peer), ErrorCode::NO_ERROR);
}

#[test]
fn the_rest_of_an_answered_request_is_let_pass() {
    // RFC 9113 §8.1: "A server can send a complete response prior to the client sending an entire
    // request if the response does not depend on any portion of the request that has not been sent
    // and received."
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, "beginning")]);
    peer.respond(1, 200, "");
    peer.events.clear();
    peer.send_all([wire::data(1, "rest"), wire::headers(1, &[("a", "b")]).end()]);
    peer.expect_no_event();
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_head(1);
    peer.expect_alive();
}

// --- §8.1.1 Malformed Messages ---

#[test]
fn a_malformed_request_is_answered_by_400_and_one_sentence() {
    // RFC 9113 §8.1.1: "For malformed requests, a server MAY send an HTTP response prior to closing
    // or resetting the stream." After a mere reset clients send the request again, and their users
    // wait.
    for (fields, violation) in [
        (with(GET, &[("te", "gzip")]), Violation::TeNotTrailers),
        (
            with(GET, &[("host", "other.example")]),
            Violation::HostContradictsAuthority,
        ),
        (
            with(GET, &[("content-length", "1")]),
            Violation::ContentLengthMismatch,
        ),
        (GET[1..].to_vec(), Violation::PseudoFieldMissing),
    ] {
        let mut peer = client();
        peer.send(wire::headers(1, &fields).end());
        peer.answered_by_400(1, violation);
        assert_eq!(peer.engine.active_streams(), 0);
    }
    // A client with a body still to come is asked to stop (§8.1), and the body is ignored.
    let mut peer = client();
    peer.send(wire::headers(1, &with(POST, &[("te", "gzip")])));
    peer.answered_by_400(1, Violation::TeNotTrailers);
    peer.send_all([wire::data(1, "on its way"), wire::data(1, "").end()]);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn a_request_that_turns_out_malformed_is_answered_by_400_and_one_sentence() {
    // RFC 9113 §8.1.1, as above, when the head was valid and a later part isn't.
    let long = || wire::headers(1, &with(POST, &[("content-length", "4")]));
    let post = || wire::headers(1, POST);
    for (frames, violation) in [
        (
            vec![long(), wire::data(1, "five!")],
            Violation::ContentLengthMismatch,
        ),
        (
            vec![long(), wire::data(1, "abc").end()],
            Violation::ContentLengthMismatch,
        ),
        (
            vec![post(), wire::headers(1, &[("a", "b")])],
            Violation::TrailersWithoutEndStream,
        ),
        (
            vec![post(), wire::headers(1, &[(":path", "/")]).end()],
            Violation::PseudoFieldInTrailers,
        ),
        (
            vec![post(), wire::headers(1, &[("connection", "x")]).end()],
            Violation::ConnectionSpecificField,
        ),
        (
            vec![post(), wire::headers(1, &[("a b", "c")]).end()],
            Violation::FieldNameInvalid,
        ),
    ] {
        let mut peer = client();
        println!("{frames:?}");
        peer.send_all(frames);
        peer.answered_by_400(1, violation);
        assert_eq!(peer.engine.active_streams(), 0);
    }
    // There is no place for another response after the first has begun.
    let mut peer = client();
    peer.send(long());
    peer.respond(1, 200, "whole");
    peer.frames.clear();
    peer.send(wire::data(1, "five!"));
    let heads = peer
        .frames
        .iter()
        .filter(|frame| matches!(frame, Received::Head(_)));
    assert_eq!(heads.count(), 0);
    // A fault that isn't the message's is answered by a reset alone.
    let mut peer = client();
    peer.send_all([post(), wire::window_update(1, 0)]);
    peer.stream_error(1, Violation::WindowUpdateOfZeroOnStream);
}

#[test]
fn a_sentence_needs_a_window_and_a_method_with_content() {
    // RFC 9113 §6.9.1: "The sender MUST NOT send a flow-controlled frame with a length that exceeds
    // the space available". RFC 9110 §9.3.2: in answer to HEAD, a server "MUST NOT send content".
    let head = [&[(":method", "HEAD")], &GET[1..]].concat();
    for (window, request) in [(10, GET.to_vec()), (65_535, head)] {
        for end in [true, false] {
            let mut peer = Peer::client_with(Config::server(), &[(0x4, window)]);
            let frame = wire::headers(1, &with(&request, &[("te", "gzip")]));
            peer.send(if end { frame.end() } else { frame });
            let code = if end {
                ErrorCode::PROTOCOL_ERROR
            } else {
                ErrorCode::NO_ERROR
            };
            let cause = ResetCause::Violation(Violation::TeNotTrailers);
            assert_eq!(peer.expect_reset(1, cause), code);
            let head = peer.expect_head(1);
            assert_eq!((head.status(), head.end), (400, !end));
            peer.expect_rst(1, code);
            peer.expect_alive();
        }
    }
    // The sentences have used up the connection's window.
    let mut peer = client();
    let mut sent = 0;
    for id in (1..).step_by(2) {
        peer.wait(Duration::from_millis(200));
        peer.frames.clear();
        peer.send(wire::headers(id, &with(GET, &[("te", "gzip")])).end());
        match peer.take_body(id).0.len() {
            0 => break,
            len => sent += len,
        }
        assert!(sent <= 65_535);
    }
    assert!(sent > 65_000, "{sent}");
}

#[test]
fn content_length_is_the_sum_of_data() {
    // RFC 9113 §8.1.1: "A request or response is also malformed if the value of a content-length
    // header field does not equal the sum of the DATA frame payload lengths that form the content,
    // unless the message is defined as having no content."
    let length =
        |length: &'static str| wire::headers(1, &with(POST, &[("content-length", length)]));
    let trailers = || wire::headers(1, &[("a", "b")]).end();
    for frames in [
        vec![length("1").end()],
        vec![length("4"), wire::data(1, "five!")],
        vec![length("4"), wire::data(1, "five!").end()],
        vec![length("4"), wire::data(1, "abc").end()],
        vec![length("4"), wire::data(1, "abc"), wire::data(1, "de")],
        vec![length("4"), wire::data(1, "abc"), wire::data(1, "").end()],
        vec![length("4"), wire::data(1, "abc"), trailers()],
        vec![length("0"), wire::data(1, "x")],
    ] {
        let mut peer = client();
        println!("{frames:?}");
        peer.send_all(frames);
        peer.stream_error(1, Violation::ContentLengthMismatch);
    }
    // Valid ones; padding and trailers don't count.
    for frames in [
        vec![length("0").end()],
        vec![
            length("4"),
            wire::data(1, "ab").padded(9),
            wire::data(1, "cd").end(),
        ],
        vec![length("4"), wire::data(1, "abcd"), wire::data(1, "").end()],
        vec![length("4"), wire::data(1, "abcd"), trailers()],
    ] {
        let mut peer = client();
        peer.send_all(frames);
        assert!(
            !peer
                .events
                .iter()
                .any(|event| matches!(event, Event::Reset { .. }))
        );
        peer.expect_alive();
    }
}

#[test]
fn content_length_of_a_response_holds_as_well() {
    // RFC 9113 §8.1.1, as above; responses to HEAD and those of 204 and 304 are defined as having
    // no content.
    let length =
        |status: &'static str| wire::headers(1, &[(":status", status), ("content-length", "4")]);
    for frames in [
        vec![length("200").end()],
        vec![length("200"), wire::data(1, "five!")],
        vec![length("404"), wire::data(1, "abc").end()],
    ] {
        let mut peer = asked("GET");
        peer.send_all(frames);
        peer.stream_error(1, Violation::ContentLengthMismatch);
    }
    for (method, status) in [
        ("HEAD", "200"),
        ("HEAD", "404"),
        ("GET", "304"),
        ("GET", "204"),
    ] {
        let mut peer = asked(method);
        peer.send(length(status).end());
        assert!(peer.expect_response(1).1);
        let mut peer = asked(method);
        peer.send_all([length(status), wire::data(1, "").end()]);
        assert!(!peer.expect_response(1).1);
        assert_eq!(peer.expect_body(1), (Bytes::new(), true));
        peer.expect_alive();
    }
}

#[test]
fn a_response_without_content_has_none() {
    // RFC 9110 §6.4.1: "Responses to the HEAD request method … never include content"; "All 1xx
    // (Informational), 204 (No Content), and 304 (Not Modified) responses do not include content."
    for (method, status) in [("HEAD", "200"), ("GET", "304"), ("GET", "204")] {
        let mut peer = asked(method);
        peer.send_all([
            wire::headers(1, &[(":status", status)]),
            wire::data(1, "content"),
        ]);
        peer.expect_response(1);
        peer.stream_error(1, Violation::DataWithoutContent);
    }
}

#[test]
fn our_responses_without_content_have_none() {
    // RFC 9110 §6.4.1, as above: whatever body the owner gives.
    let responses = [
        ("HEAD", 200, true),
        ("GET", 204, true),
        ("GET", 304, true),
        ("GET", 200, false),
    ];
    for (method, status, end) in responses {
        for body in [Body::Full(bytes(10)), Body::Stream] {
            let mut peer = client();
            peer.send(wire::headers(1, &[&[(":method", method)], &GET[1..]].concat()).end());
            peer.stream(1, |stream| {
                let head = ResponseHead::new(status).field("content-length", "10");
                stream.respond(&head, body).expect("the engine takes it");
            });
            let head = peer.expect_head(1);
            assert_eq!((head.get("content-length"), head.end), (Some("10"), end));
            assert!(peer.engine.active_streams() == 0 || !end);
        }
    }
}

#[test]
fn content_length_is_a_number() {
    // RFC 9110 §8.6: "Content-Length = 1*DIGIT"; several that contradict each other are wrong too.
    for value in [
        "",
        "-1",
        "+1",
        "1,2",
        "1 2",
        "0x10",
        "99999999999999999999",
        "4, 5",
        "4,",
        // The grammar allows a leading zero, but some recipients read octal: HTTP/1.1 refuses it
        // too.
        "00",
        "010",
        "8, 08",
    ] {
        malformed_request(
            &with(GET, &[("content-length", value)]),
            Violation::ContentLengthInvalid,
        );
        malformed_response(
            &with(OK, &[("content-length", value)]),
            Violation::ContentLengthInvalid,
        );
    }
    let twice = [("content-length", "0"), ("content-length", "1")];
    malformed_request(&with(GET, &twice), Violation::ContentLengthInvalid);
}

// --- §8.2 HTTP Fields ---

#[test]
fn field_names_are_lower_case() {
    // RFC 9113 §8.2: "Field names MUST be converted to lowercase when constructing an HTTP/2
    // message."
    for name in ["X-Test", "aCcept", "Z"] {
        malformed_request(&with(GET, &[(name, "x")]), Violation::FieldNameUppercase);
        malformed_response(&with(OK, &[(name, "x")]), Violation::FieldNameUppercase);
    }
}

#[test]
fn field_names_are_tokens() {
    // RFC 9113 §8.2.1: "A field name MUST NOT contain characters in the ranges 0x00-0x20,
    // 0x41-0x5a, or 0x7f-0xff (all ranges inclusive)", nor a colon but as the first of a
    // pseudo-field.
    for name in [
        "", "a b", "a\0", "a\r", "a\n", "a\t", "a\u{7f}", "é", "a:b", "a\"", "(a)",
    ] {
        malformed_request(&with(GET, &[(name, "x")]), Violation::FieldNameInvalid);
        malformed_response(&with(OK, &[(name, "x")]), Violation::FieldNameInvalid);
    }
}

#[test]
fn field_values_smuggle_nothing() {
    // RFC 9113 §8.2.1: "A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed
    // (ASCII LF, 0x0a), or carriage return (ASCII CR, 0x0d) at any position." "A field value MUST
    // NOT start or end with an ASCII whitespace character (ASCII SP or HTAB, 0x20 or 0x09)."
    let long = format!("{}\n{}", "a".repeat(50), "b".repeat(50));
    for value in [
        "\0",
        "a\0b",
        "a\nb",
        "a\r\nb: c",
        "a\r",
        " a",
        "a ",
        "\ta",
        "a\t",
        " ",
        &long,
    ] {
        malformed_request(&with(GET, &[("x", value)]), Violation::FieldValueInvalid);
        malformed_response(&with(OK, &[("x", value)]), Violation::FieldValueInvalid);
    }
    for value in ["", "a b", "a\tb", "\u{e9}", "\"{}\""] {
        let mut peer = client();
        peer.send(wire::headers(1, &with(GET, &[("x", value)])).end());
        assert_eq!(peer.expect_request(1).0.get("x"), Some(value.as_bytes()));
    }
}

#[test]
fn there_are_no_connection_specific_fields() {
    // RFC 9113 §8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing
    // connection-specific header fields. … Any message containing connection-specific header fields
    // MUST be treated as malformed".
    let fields = [
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ];
    for field in fields {
        malformed_request(&with(GET, &[field]), Violation::ConnectionSpecificField);
        malformed_response(&with(OK, &[field]), Violation::ConnectionSpecificField);
    }
}

#[test]
fn te_says_trailers_or_nothing() {
    // RFC 9113 §8.2.2: "The only exception to this is the TE header field, which MAY be present in
    // an HTTP/2 request; when it is, it MUST NOT contain any value other than "trailers"."
    for value in ["gzip", "trailers, deflate", "trailers;q=0.5", ""] {
        malformed_request(&with(GET, &[("te", value)]), Violation::TeNotTrailers);
    }
    malformed_response(
        &with(OK, &[("te", "trailers")]),
        Violation::ConnectionSpecificField,
    );
    let mut peer = client();
    peer.send(wire::headers(1, &with(GET, &[("te", "trailers")])).end());
    peer.expect_request(1);
}

#[test]
fn cookie_crumbs_are_one_cookie() {
    // RFC 9113 §8.2.3: "If there are multiple Cookie header fields after decompression, these MUST
    // be concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20 (the
    // ASCII string "; ")".
    let mut peer = client();
    let crumbs = [
        ("cookie", "a=b"),
        ("x", "y"),
        ("cookie", "c=d"),
        ("cookie", "e=f"),
    ];
    peer.send(wire::headers(1, &with(GET, &crumbs)).end());
    let (head, _) = peer.expect_request(1);
    assert_eq!(head.cookie().as_deref(), Some(&b"a=b; c=d; e=f"[..]));
}

// --- §8.3 HTTP Control Data ---

#[test]
fn pseudo_fields_come_first() {
    // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular
    // field lines. Any request or response that contains a pseudo-header field that appears in a
    // field block after a regular field line MUST be treated as malformed".
    malformed_request(
        &[&GET[..3], &[("x", "y")], &GET[3..]].concat(),
        Violation::PseudoFieldMisplaced,
    );
    malformed_response(
        &[("x", "y"), (":status", "200")],
        Violation::PseudoFieldMisplaced,
    );
}

#[test]
fn pseudo_fields_are_the_defined_ones() {
    // RFC 9113 §8.3: "Pseudo-header fields are only valid in the context in which they are defined.
    // Pseudo-header fields defined for requests MUST NOT appear in responses; pseudo-header fields
    // defined for responses MUST NOT appear in requests." "Endpoints MUST treat a request or
    // response that contains undefined or invalid pseudo-header fields as malformed".
    for name in [":test", ":", ":Method", ":status", ":host"] {
        malformed_request(&with(&[(name, "200")], GET), Violation::PseudoFieldUnknown);
    }
    for name in [
        ":test",
        ":method",
        ":path",
        ":authority",
        ":scheme",
        ":protocol",
    ] {
        malformed_response(&with(OK, &[(name, "x")]), Violation::PseudoFieldUnknown);
    }
}

#[test]
fn pseudo_fields_come_once() {
    // RFC 9113 §8.3: "The same pseudo-header field name MUST NOT appear more than once in a field
    // block. A field block for an HTTP request or response that contains a repeated pseudo-header
    // field name MUST be treated as malformed".
    for field in GET {
        malformed_request(&with(&[*field], GET), Violation::PseudoFieldRepeated);
    }
    malformed_response(&with(OK, OK), Violation::PseudoFieldRepeated);
}

#[test]
fn a_request_has_method_scheme_and_path() {
    // RFC 9113 §8.3.1: "All HTTP/2 requests MUST include exactly one valid value for the ":method",
    // ":scheme", and ":path" pseudo-header fields, unless they are CONNECT requests".
    for missing in [":method", ":scheme", ":path"] {
        let rest: Vec<_> = GET
            .iter()
            .copied()
            .filter(|(name, _)| *name != missing)
            .collect();
        malformed_request(&rest, Violation::PseudoFieldMissing);
    }
    malformed_request(&[], Violation::PseudoFieldMissing);
    malformed_response(&[], Violation::PseudoFieldMissing);
    malformed_response(
        &[("content-type", "text/plain")],
        Violation::PseudoFieldMissing,
    );
}

#[test]
fn an_authority_is_not_needed() {
    // RFC 9113 §8.3.1: ":authority" is left out where "there is no authority information to
    // convey"; then Host may have it.
    let mut peer = client();
    let pseudo = [GET[0], GET[1], GET[3]];
    peer.send(wire::headers(1, &pseudo).end());
    assert_eq!(peer.expect_request(1).0.authority(), "");
    peer.send(wire::headers(3, &with(&pseudo, &[("host", "example.org")])).end());
    assert_eq!(peer.expect_request(3).0.authority(), "example.org");
}

#[test]
fn a_path_begins_with_a_slash() {
    // RFC 9113 §8.3.1: "This pseudo-header field MUST NOT be empty for "http" or "https" URIs;
    // "http" or "https" URIs that do not contain a path component MUST include a value of '/'." and
    // '*' is for OPTIONS.
    let asking = |method, path| [(":method", method), GET[1], GET[2], (":path", path)];
    for (method, path) in [
        ("GET", ""),
        ("GET", "index.html"),
        ("GET", "*"),
        ("OPTIONS", ""),
        ("OPTIONS", "**"),
        ("GET", "/a b"),
        ("GET", "/\u{7f}"),
        ("GET", "/\n"),
        ("GET", "https://localhost/"),
    ] {
        malformed_request(&asking(method, path), Violation::PathInvalid);
    }
    for (method, path) in [
        ("OPTIONS", "*"),
        ("GET", "/?"),
        ("GET", "//"),
        ("GET", "/%00"),
    ] {
        let mut peer = client();
        peer.send(wire::headers(1, &asking(method, path)).end());
        assert_eq!(peer.expect_request(1).0.path(), path);
    }
    // RFC 3986 §2 restricts URIs to ASCII. Other bytes are accepted as if they were
    // percent-encoded, as other servers do.
    let mut peer = client();
    peer.send(wire::headers(1, &asking("GET", "/ü?q=ö")).end());
    assert_eq!(peer.expect_request(1).0.path(), "/%C3%BC?q=%C3%B6");
    malformed_request(&asking("GET", "/ü\n"), Violation::PathInvalid);
}

#[test]
fn methods_schemes_and_authorities_are_well_formed() {
    // RFC 9113 §8.3.1: "exactly one valid value"; ":authority" MUST NOT include the deprecated
    // userinfo subcomponent for "http" or "https" schemed URIs.
    for method in ["", "G T", "GET\0", "GÉT"] {
        let fields = [(":method", method), GET[1], GET[2], GET[3]];
        malformed_request(&fields, Violation::MethodInvalid);
    }
    for scheme in ["", "1", "ht tp", "https:"] {
        let fields = [GET[0], (":scheme", scheme), GET[2], GET[3]];
        malformed_request(&fields, Violation::SchemeInvalid);
    }
    for authority in [
        "user@localhost",
        "a b",
        "local/host",
        "\0",
        "",
        "a:b",
        "a:+80",
        "a:80:",
        "a:65536",
        "[::1",
        "[v1.x]",
        "a,b",
        "a%zz",
    ] {
        let fields = [GET[0], GET[1], (":authority", authority), GET[3]];
        malformed_request(&fields, Violation::AuthorityInvalid);
    }
}

#[test]
fn host_and_authority_agree() {
    // RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header
    // field that identifies an entity that differs from the entity in the ":authority"
    // pseudo-header field."
    malformed_request(
        &with(GET, &[("host", "example.org")]),
        Violation::HostContradictsAuthority,
    );
    let two = [("host", "localhost"), ("host", "localhost")];
    malformed_request(&with(GET, &two), Violation::HostContradictsAuthority);
    for host in ["localhost", "LOCALHOST", "localhost:443"] {
        let mut peer = client();
        peer.send(wire::headers(1, &with(GET, &[("host", host)])).end());
        assert_eq!(peer.expect_request(1).0.authority(), "localhost");
    }
}

#[test]
fn a_status_has_three_digits() {
    // RFC 9113 §8.3.2: "For HTTP/2 responses, a single ":status" pseudo-header field is defined
    // that carries the HTTP status code field"; RFC 9110 §15: three digits.
    for status in ["", "20", "2000", "2x0", "099", "+20", " 200", "OK"] {
        malformed_response(&[(":status", status)], Violation::StatusInvalid);
    }
    for status in ["200", "418", "599", "999"] {
        let mut peer = asked("GET");
        peer.send(wire::headers(1, &[(":status", status)]).end());
        assert_eq!(peer.expect_response(1).0.status().to_string(), status);
    }
}

// --- §8.4 Server Push ---

#[test]
fn a_client_does_not_push() {
    // RFC 9113 §8.4: "A client cannot push. Thus, servers MUST treat the receipt of a PUSH_PROMISE
    // frame as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    for stream in [1, 3] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::push_promise(stream, 2, GET)]);
        peer.connection_error(Violation::PushPromiseFromClient);
    }
}

#[test]
fn a_server_promises_then_answers() {
    // RFC 9113 §8.4.1: "The server SHOULD send PUSH_PROMISE (Section 6.6) frames prior to sending
    // any frames that reference the promised responses." §8.4.2: "the server can begin delivering
    // the pushed response as a response".
    let mut peer = client();
    peer.send(wire::get(1));
    let head =
        RequestHead::new("GET", "https", "localhost", "/style.css").field("accept", "text/css");
    let promised = peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.respond(1, 200, "page");
    peer.respond(promised.get(), 200, "style");
    match peer.next_frame() {
        Some(Received::PushPromise {
            id: 1,
            promised: 2,
            fields,
        }) => {
            assert!(fields.contains(&(":path".into(), "/style.css".into())));
            assert!(fields.contains(&("accept".into(), "text/css".into())));
        }
        other => panic!("expected PUSH_PROMISE, got {other:?}"),
    }
    assert_eq!(peer.expect_head(1).status(), 200);
    assert_eq!(peer.expect_data(1), (Bytes::from("page"), true));
    assert_eq!(peer.expect_head(2).status(), 200);
    assert_eq!(peer.expect_data(2), (Bytes::from("style"), true));
    assert_eq!(peer.engine.active_streams(), 0);
    // The promises of a HEAD have no content either.
    peer.send(wire::get(3));
    let head = RequestHead::new("HEAD", "https", "localhost", "/style.css");
    let promised = peer.stream(3, |stream| stream.push(&head)).expect("it may");
    peer.respond(promised.get(), 200, "style");
    peer.next_frame();
    assert!(peer.expect_head(4).end);
}

#[test]
fn a_promised_request_is_safe_and_has_no_body() {
    // RFC 9113 §8.4: "Promised requests MUST be safe … and cacheable … Promised requests cannot
    // include any content or a trailer section. Clients that receive a promised request that is not
    // cacheable, that is not known to be safe, or that indicates the presence of request content
    // MUST reset the promised stream with a stream error (Section 5.4.2) of type PROTOCOL_ERROR."
    let with_length = with(GET, &[("content-length", "1")]);
    let options: Vec<_> = [&[(":method", "OPTIONS")], &GET[1..]].concat();
    for (fields, violation) in [
        (POST, Violation::PromisedRequestUnsafe),
        (&options[..], Violation::PromisedRequestUnsafe),
        (&with_length[..], Violation::PromisedRequestWithBody),
        // A promised request that is malformed like any other request.
        (&GET[1..], Violation::PseudoFieldMissing),
    ] {
        let mut peer = pushing_server();
        peer.open_get();
        peer.frames.clear();
        peer.send(wire::push_promise(1, 2, fields));
        peer.stream_error(2, violation);
        // Frames on it were in flight; the stream that carried the promise goes on.
        peer.send_all([
            wire::headers(2, OK),
            wire::data(2, "x").end(),
            wire::headers(1, OK).end(),
        ]);
        peer.expect_response(1);
        peer.expect_alive();
    }
}

#[test]
fn a_client_takes_a_pushed_response() {
    // RFC 9113 §8.4.2: "Once a client receives a PUSH_PROMISE frame and chooses to accept the
    // pushed response, the client SHOULD NOT issue any requests for the promised response until
    // after the promised stream has closed."
    let mut peer = pushing_server();
    peer.open_get();
    peer.frames.clear();
    peer.send_all([
        wire::push_promise(1, 2, GET),
        wire::headers(1, OK).end(),
        wire::headers(2, &with(OK, &[("content-length", "5")])),
        wire::data(2, "style").end(),
    ]);
    assert!(matches!(peer.next_event(), Some(Event::PushPromise { .. })));
    assert!(peer.expect_response(1).1);
    assert!(!peer.expect_response(2).1);
    assert_eq!(peer.expect_body(2), (Bytes::from("style"), true));
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_alive();
}

#[test]
fn an_unwanted_push_is_cancelled() {
    // RFC 9113 §8.4.2: "If the client determines, for any reason, that it does not wish to receive
    // the pushed response from the server …, the client can send a RST_STREAM frame, using either
    // the CANCEL or REFUSED_STREAM code".
    let mut peer = pushing_server();
    peer.open_get();
    peer.send(wire::push_promise(1, 2, GET));
    peer.frames.clear();
    peer.events.clear();
    peer.stream(2, |stream| stream.reset(ErrorCode::CANCEL));
    peer.expect_rst(2, ErrorCode::CANCEL);
    peer.send_all([wire::headers(2, OK), wire::data(2, "style").end()]);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn a_cancelled_push_is_not_sent() {
    // RFC 9113 §8.4.2, as above, for the server.
    let mut peer = client();
    peer.send(wire::get(1));
    let head = RequestHead::new("GET", "https", "localhost", "/style.css");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.expect_request(1);
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    peer.expect_reset(2, ResetCause::Peer);
    assert!(peer.engine.stream(StreamId::new(2)).is_none());
    peer.frames.clear();
    peer.respond(1, 200, "page");
    peer.expect_head(1);
    peer.expect_data(1);
    peer.expect_alive();
}

#[test]
fn a_push_can_be_cancelled_when_its_response_is_out_already() {
    // RFC 9113 §8.4.2, as above: "If the client determines, for any reason, that it does not wish
    // to receive the pushed response from the server …, the client can send a RST_STREAM frame". It
    // is reported to the owner, once.
    let mut peer = client();
    peer.send(wire::get(1));
    let head = RequestHead::new("GET", "https", "localhost", "/style.css");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.respond(2, 200, "style");
    peer.respond(1, 200, "page");
    peer.expect_request(1);
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    peer.expect_reset(2, ResetCause::Peer);
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    // A client knows the outcome of its own requests.
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    peer.expect_no_event();
    peer.frames.clear();
    peer.expect_alive();
}

#[test]
fn a_push_that_was_not_processed_is_reported_once() {
    // RFC 9113 §6.8: streams above the one in GOAWAY were not processed; the client's engine may
    // reset them too.
    let mut peer = client();
    peer.send(wire::get(1));
    let head = RequestHead::new("GET", "https", "localhost", "/style.css");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.expect_request(1);
    peer.send(wire::goaway(0, ErrorCode::NO_ERROR));
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.expect_reset(2, ResetCause::Unprocessed);
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    peer.expect_no_event();
    peer.frames.clear();
    peer.expect_alive();
}

// --- §8.5 The CONNECT Method ---

const CONNECT: List<'static> = &[(":method", "CONNECT"), (":authority", "localhost:22")];

#[test]
fn connect_has_a_target_and_nothing_else() {
    // RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted. The
    // ":authority" pseudo-header field contains the host and port to connect to". "A CONNECT
    // request that does not conform to these restrictions is malformed".
    let mut peer = client();
    peer.send(wire::headers(1, CONNECT));
    let (head, end) = peer.expect_request(1);
    assert_eq!(
        (head.method(), head.authority(), head.path(), end),
        ("CONNECT", "localhost:22", "", false)
    );
    for fields in [
        &with(CONNECT, &[(":scheme", "https")])[..],
        &with(CONNECT, &[(":path", "/")]),
        &with(CONNECT, &[(":scheme", "https"), (":path", "/")]),
        &CONNECT[..1],
        &[CONNECT[0], (":authority", "localhost")],
        &[CONNECT[0], (":authority", "localhost:0")],
        &[CONNECT[0], (":authority", "localhost:65536")],
        &[CONNECT[0], (":authority", ":22")],
    ] {
        malformed_request(fields, Violation::ConnectMalformed);
    }
}

/// A server engine whose owner has granted a CONNECT on stream 1.
fn tunnel() -> Peer {
    let mut peer = client();
    peer.send(wire::headers(1, CONNECT));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    peer.expect_head(1);
    peer.events.clear();
    peer
}

#[test]
fn a_tunnel_carries_data_both_ways() {
    // RFC 9113 §8.5: "After the initial HEADERS frame sent by each peer, all subsequent DATA frames
    // correspond to data sent on the TCP connection." "The END_STREAM flag on a DATA frame is
    // treated as being equivalent to the TCP FIN bit."
    let mut peer = tunnel();
    peer.send(wire::data(1, "ping"));
    assert_eq!(peer.expect_body(1), (Bytes::from("ping"), false));
    let mut pong = Bytes::from_static(b"pong");
    peer.stream(1, |stream| stream.write(&mut pong, false));
    assert_eq!(peer.expect_data(1), (Bytes::from("pong"), false));
    // Half closed by us, the other direction goes on.
    peer.stream(1, |stream| stream.write(&mut Bytes::new(), true));
    assert_eq!(peer.expect_data(1), (Bytes::new(), true));
    peer.events.clear();
    peer.send(wire::data(1, "more").end());
    assert_eq!(peer.expect_body(1), (Bytes::from("more"), true));
    assert_eq!(peer.engine.active_streams(), 0);
}

#[test]
fn a_tunnel_carries_nothing_but_data() {
    // RFC 9113 §8.5: "Frame types other than DATA or stream management frames (RST_STREAM,
    // WINDOW_UPDATE, and PRIORITY) MUST NOT be sent on a connected stream and MUST be treated as a
    // stream error (Section 5.4.2) if received."
    let mut peer = tunnel();
    peer.send_all([wire::window_update(1, 10), wire::priority(1, 0, false, 1)]);
    peer.expect_alive();
    peer.send(wire::headers(1, &[("a", "b")]).end());
    peer.stream_error(1, Violation::HeadersOnTunnel);
    let mut peer = server();
    peer.open(&RequestHead::connect("localhost:22"), Body::Stream);
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([wire::headers(1, OK), wire::headers(1, &[("a", "b")]).end()]);
    peer.expect_response(1);
    peer.stream_error(1, Violation::HeadersOnTunnel);
    // Our owner can't either.
    let mut peer = tunnel();
    let fields = [(&b"a"[..], &b"b"[..])].into_iter().collect();
    let misuse = peer.stream(1, |stream| stream.trailers(&fields));
    assert_eq!(misuse, Err(tidegate_http2::Misuse::OutOfOrder));
}

#[test]
fn a_connect_that_is_turned_down_is_a_request_like_others() {
    // RFC 9110 §9.3.6: "Any 2xx (Successful) response indicates that the sender (and all inbound
    // proxies) will switch to tunnel mode"; "Any response other than a successful response
    // indicates that the tunnel has not yet been formed."
    let mut peer = client();
    peer.send(wire::headers(1, CONNECT));
    peer.expect_request(1);
    peer.respond(1, 403, "no");
    peer.send_all([wire::data(1, "never mind"), wire::data(1, "").end()]);
    peer.expect_no_event();
    assert_eq!(peer.engine.active_streams(), 0);
    let mut peer = server();
    peer.open(&RequestHead::connect("localhost:22"), Body::Stream);
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([
        wire::headers(1, &[(":status", "403"), ("content-length", "2")]),
        wire::data(1, "no"),
        wire::headers(1, &[("a", "b")]).end(),
    ]);
    peer.expect_response(1);
    peer.expect_body(1);
    peer.expect_trailers(1);
}

#[test]
fn content_length_says_nothing_about_a_tunnel() {
    // RFC 9110 §9.3.6: "A client MUST ignore any Content-Length or Transfer-Encoding header fields
    // received in a successful response to CONNECT."
    let mut peer = server();
    peer.open(&RequestHead::connect("localhost:22"), Body::Stream);
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([
        wire::headers(1, &with(OK, &[("content-length", "1")])),
        wire::data(1, "three"),
    ]);
    assert_eq!(peer.expect_response(1).0.get("content-length"), None);
    assert_eq!(peer.expect_body(1).0, "three");
    peer.expect_alive();
}

#[test]
fn a_silent_tunnel_is_left_alone() {
    // RFC 9113 §8.5: a tunnel is a TCP connection, and those may be silent; the limit on bodies
    // doesn't apply.
    let mut peer = tunnel();
    peer.wait(crate::support::secs(3600));
    peer.send(wire::data(1, "good morning"));
    assert_eq!(peer.expect_body(1).0, "good morning");
}

#[test]
fn a_tunnel_that_its_owner_ends_ends_as_other_streams_do() {
    // RFC 9113 §8.1: a server MAY, after a complete response, send "a RST_STREAM with an error code
    // of NO_ERROR". After the end, or before: the bytes written come first.
    for is_early in [true, false] {
        let mut peer = tunnel();
        peer.stream(1, |stream| {
            if is_early {
                stream.end_tunnel();
            }
            stream.write(&mut Bytes::from_static(b"bye"), true);
        });
        assert_eq!(peer.expect_data(1), (Bytes::from("bye"), true));
        if !is_early {
            peer.stream(1, |stream| {
                stream.end_tunnel();
            });
        }
        peer.events.clear();
        // Nothing after that is reported, up to its end.
        peer.send_all([wire::data(1, "never"), wire::data(1, " mind").end()]);
        peer.expect_no_event();
        peer.expect_alive();
        assert_eq!(peer.engine.active_streams(), 0);
    }
    // A client that never ends is not waited for.
    let mut peer = tunnel();
    peer.stream(1, |stream| {
        stream.write(&mut Bytes::new(), true);
        stream.end_tunnel();
    });
    assert_eq!(peer.expect_data(1), (Bytes::new(), true));
    peer.wait(crate::support::secs(5));
    peer.expect_rst(1, ErrorCode::NO_ERROR);
    assert_eq!(peer.engine.active_streams(), 0);
}

#[test]
fn only_a_tunnel_of_a_server_is_ended_so() {
    let mut peer = server();
    peer.open(&RequestHead::connect("localhost:22"), Body::Stream);
    peer.frames.clear();
    peer.events.clear();
    peer.send(wire::headers(1, OK));
    peer.expect_response(1);
    peer.stream(1, |stream| {
        stream.write(&mut Bytes::new(), true);
        stream.end_tunnel();
    });
    peer.send(wire::data(1, "still told").end());
    assert_eq!(peer.expect_body(1), (Bytes::from("still told"), true));
    let mut peer = client();
    peer.send(wire::post(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    peer.events.clear();
    peer.stream(1, |stream| {
        stream.end_tunnel();
    });
    peer.send(wire::data(1, "still told").end());
    assert_eq!(peer.expect_body(1), (Bytes::from("still told"), true));
}

// --- §8.6 The Upgrade Header Field ---

#[test]
fn there_is_no_101() {
    // RFC 9113 §8.6: "HTTP/2 does not support the 101 (Switching Protocols) informational status
    // code (Section 15.2.2 of [HTTP])."
    let mut peer = asked("GET");
    peer.send(wire::headers(1, &[(":status", "101")]));
    peer.stream_error(1, Violation::SwitchingProtocols);
}

// --- §10.5.1 Limits on Field Block Size ---

#[test]
fn a_list_over_the_limit_is_answered_with_431() {
    // RFC 9113 §10.5.1: "A server that receives a larger field block than it is willing to handle
    // can send an HTTP 431 (Request Header Fields Too Large) status code [RFC6585]."
    let long = "x".repeat(1000);
    let many: Vec<_> = (0..10).map(|_| ("x", "y")).collect();
    let crumbs = [("cookie", "a=1"); 5];
    for (more, violation) in [
        (&[("x", &long[..])][..], Violation::HeaderListTooLarge),
        (&many, Violation::TooManyHeaderFields),
        (&crumbs, Violation::TooManyCookieCrumbs),
    ] {
        for end in [true, false] {
            let mut peer = client_of(|config| {
                config.max_header_list_size = 900;
                config.max_header_fields = 8;
                config.max_cookie_crumbs = 4;
            });
            let frame = wire::headers(1, &with(GET, more));
            peer.send(if end { frame.end() } else { frame });
            let told = ResetCause::Violation(violation);
            assert_eq!(peer.expect_reset(1, told), ErrorCode::ENHANCE_YOUR_CALM);
            let head = peer.expect_head(1);
            assert_eq!((head.status(), head.end), (431, true));
            if !end {
                // The rest of the request is not wanted.
                peer.expect_rst(1, ErrorCode::NO_ERROR);
                peer.send(wire::data(1, "rest").end());
            }
            peer.expect_alive();
            assert_eq!(peer.engine.active_streams(), 0);
        }
    }
}

#[test]
fn a_response_over_the_limit_is_not_taken() {
    // RFC 9113 §10.5.1: "A client can discard responses that it cannot process."
    let mut peer = server_of(|config| config.max_header_list_size = 100);
    peer.open_get();
    let long = "x".repeat(200);
    peer.send(wire::headers(1, &with(OK, &[("x", &long)])));
    peer.stream_error(1, Violation::HeaderListTooLarge);
}
