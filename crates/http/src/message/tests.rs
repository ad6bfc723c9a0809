//! Every rule of messages, with its clause.

use std::borrow::Cow;

use tidegate_hpack::{Decoder, Encoder, Limits};

use super::*;
use crate::error::Violation;

type List<'a> = &'a [(&'a [u8], &'a [u8])];

/// Three byte strings of a test, and the violation they cause.
type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], Option<Violation>);

fn list(fields: List<'_>) -> Fields {
    fields.iter().copied().collect()
}

/// Returns the list as the engine decodes it: each field is checked when it comes, and the second
/// block has the fields from the tables.
fn decoded(fields: List<'_>) -> Fields {
    let limits = Limits {
        max_list_size: usize::MAX,
        max_fields: usize::MAX,
        max_cookie_crumbs: usize::MAX,
    };
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new(4096).with_check(is_valid_alone);
    let mut got = Fields::new();
    for _ in 0..2 {
        let mut block = Vec::new();
        encoder.encode(&list(fields), &mut block);
        got.clear();
        let decoded = decoder.decode(&block, &limits, &mut got);
        assert_eq!(decoded.map(|decoded| decoded.over), Ok(None));
    }
    got
}

/// Returns the request that a list makes, whether its fields were checked one by one before or not.
fn request(fields: List<'_>) -> Result<RequestHead, Violation> {
    let [built, received] = [list(fields), decoded(fields)]
        .map(|fields| RequestHead::from_fields(fields, RequestRules::default()));
    let parts = |head: &RequestHead| {
        let headers: Vec<_> = head.headers().map(|field| field.name.to_vec()).collect();
        let pseudo = [head.method(), head.scheme(), head.authority(), head.path()];
        let pseudo = pseudo.map(str::to_owned);
        (
            head.fields().clone(),
            headers,
            pseudo,
            head.content_length(),
        )
    };
    let both = [&built, &received].map(|head| head.as_ref().map(parts));
    assert_eq!(both[0], both[1], "{:?}", list(fields));
    built
}

/// All lists of five of these fields.
#[test]
fn a_list_of_fields_that_were_checked_alone_is_judged_as_any_other() {
    let fields: [(&[u8], &[u8]); 8] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/a"),
        (b"accept", b"*/*"),
        (b"host", b"example.org"),
        (b":path", b"*"),
        (b"connection", b"close"),
    ];
    let mut valid = 0;
    for places in 0..1 << 15 {
        let digits = [12, 9, 6, 3, 0].map(|bits| places >> bits & 7);
        valid += u32::from(request(&digits.map(|digit| fields[digit])).is_ok());
    }
    assert!(valid > 0);
}

fn request_error(fields: List<'_>) -> Option<Violation> {
    request(fields).err()
}

fn response_error(fields: List<'_>) -> Option<Violation> {
    ResponseHead::from_fields(list(fields)).err()
}

/// Returns the violation of a GET with one more field.
fn field_error(name: &[u8], value: &[u8]) -> Option<Violation> {
    let [method, scheme, authority, path] = GET;
    request_error(&[method, scheme, authority, path, (name, value)])
}

/// Returns the violation of a request with this path.
fn path_error(method: &[u8], scheme: &[u8], path: &[u8]) -> Option<Violation> {
    request_error(&[(b":method", method), (b":scheme", scheme), (b":path", path)])
}

const GET: [(&[u8], &[u8]); 4] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.org"),
    (b":path", b"/a?b"),
];

#[test]
fn a_request_tells_what_it_asks_for() {
    let [method, scheme, authority, path] = GET;
    // The pseudo-fields may have any order.
    let head = request(&[
        path,
        method,
        authority,
        scheme,
        (b"accept", b"*/*"),
        (b"x-own", b"\tnot"),
    ]);
    assert_eq!(head.unwrap_err(), Violation::FieldValueInvalid);
    let head = request(&[
        path,
        method,
        authority,
        scheme,
        (b"accept", b"*/*"),
        (b"x-own", b"1"),
    ])
    .unwrap();
    assert_eq!(head.method(), "GET");
    assert_eq!(head.scheme(), "https");
    assert_eq!(head.authority(), "example.org");
    assert_eq!(head.path(), "/a?b");
    assert_eq!(head.protocol(), None);
    assert_eq!(head.content_length(), None);
    assert_eq!(head.get("x-own"), Some(&b"1"[..]));
    let names: Vec<_> = head.headers().map(|field| field.name).collect();
    assert_eq!(names, [&b"accept"[..], b"x-own"]);
    assert!(!head.is_invalid());
}

#[test]
fn host_stands_in_for_authority() {
    // RFC 9113 §8.3.1: "Clients that generate HTTP/2 requests directly MUST use the ":authority"
    // pseudo-header field". Requests of an intermediary may have a host field instead.
    let [method, scheme, _, path] = GET;
    let head = request(&[method, scheme, path, (b"host", b"example.org:8080")]).unwrap();
    assert_eq!(head.authority(), "example.org:8080");
    assert_eq!(request(&[method, scheme, path]).unwrap().authority(), "");
}

#[test]
fn pseudo_fields_are_defined_ones() {
    // RFC 9113 §8.3: "Endpoints MUST NOT generate pseudo-header fields other than those defined in
    // this document"; "Endpoints MUST treat a request or response that contains undefined or
    // invalid pseudo-header fields as malformed".
    let unknown = Some(Violation::PseudoFieldUnknown);
    let [method, scheme, authority, path] = GET;
    for name in [&b":own"[..], b":", b":Method", b":method ", b":\0"] {
        let fields = [(name, &b"x"[..]), method, scheme, authority, path];
        assert_eq!(request_error(&fields), unknown, "{name:?}");
        let fields = [(&b":status"[..], &b"200"[..]), (name, b"x")];
        assert_eq!(response_error(&fields), unknown, "{name:?}");
    }
    // "Pseudo-header fields defined for requests MUST NOT appear in responses; pseudo-header fields
    // defined for responses MUST NOT appear in requests."
    let status: (&[u8], &[u8]) = (b":status", b"200");
    assert_eq!(request_error(&[method, scheme, path, status]), unknown);
    for pseudo in [method, scheme, authority, path, (b":protocol", b"x")] {
        assert_eq!(response_error(&[status, pseudo]), unknown);
    }
}

#[test]
fn pseudo_fields_come_first() {
    // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular
    // field lines."
    let [method, scheme, authority, path] = GET;
    let accept: (&[u8], &[u8]) = (b"accept", b"*/*");
    let misplaced = Some(Violation::PseudoFieldMisplaced);
    let fields = [method, scheme, authority, accept, path];
    assert_eq!(request_error(&fields), misplaced);
    assert_eq!(response_error(&[accept, (b":status", b"200")]), misplaced);
}

#[test]
fn pseudo_fields_come_once() {
    // RFC 9113 §8.3: "The same pseudo-header field name MUST NOT appear more than once in a field
    // block."
    let [method, scheme, authority, path] = GET;
    let repeated = Some(Violation::PseudoFieldRepeated);
    for again in GET {
        let fields = [method, scheme, authority, path, again];
        assert_eq!(request_error(&fields), repeated, "{again:?}");
    }
    let status: (&[u8], &[u8]) = (b":status", b"200");
    assert_eq!(response_error(&[status, status]), repeated);
}

#[test]
fn mandatory_pseudo_fields_are_there() {
    // RFC 9113 §8.3.1: "An HTTP request that omits mandatory pseudo-header fields or contains
    // invalid values for those pseudo-header fields is malformed".
    let [method, scheme, authority, path] = GET;
    let missing = Some(Violation::PseudoFieldMissing);
    assert_eq!(request_error(&[]), missing);
    assert_eq!(request_error(&[scheme, authority, path]), missing);
    assert_eq!(request_error(&[method, authority, path]), missing);
    assert_eq!(request_error(&[method, scheme, authority]), missing);
    assert_eq!(request_error(&[method, scheme, path]), None);
    // RFC 9113 §8.3.2: ":status" "MUST be included in all responses, including interim responses".
    assert_eq!(response_error(&[]), missing);
    assert_eq!(response_error(&[(b"server", b"x")]), missing);
}

#[test]
fn a_method_is_a_token() {
    // RFC 9110 §9.1: "method = token".
    let invalid = Some(Violation::MethodInvalid);
    for method in [
        &b""[..],
        b"GET ",
        b"GE\tT",
        b"GET/",
        b"G\r\n",
        b"\xc3\xa4",
        b"G\0",
    ] {
        assert_eq!(path_error(method, b"https", b"/"), invalid, "{method:?}");
    }
    for method in [&b"get"[..], b"M-SEARCH", b"*", b"X_1"] {
        assert_eq!(path_error(method, b"https", b"/"), None, "{method:?}");
    }
}

#[test]
fn a_scheme_is_that_of_a_uri() {
    // RFC 3986 §3.1: "scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )".
    let invalid = Some(Violation::SchemeInvalid);
    for scheme in [
        &b""[..],
        b"https:",
        b"ht tp",
        b"1http",
        b"+",
        b"http\n",
        b"ht/tp",
        b"\xff",
    ] {
        assert_eq!(path_error(b"GET", scheme, b"/"), invalid, "{scheme:?}");
    }
    for scheme in [&b"http"[..], b"HTTPS", b"coap+tcp", b"a.b-c1"] {
        assert_eq!(path_error(b"GET", scheme, b"/"), None, "{scheme:?}");
    }
}

#[test]
fn a_path_is_visible_and_begins_with_a_slash() {
    // RFC 9113 §8.3.1: "This pseudo-header field MUST NOT be empty for "http" or "https" URIs;
    // "http" or "https" URIs that do not contain a path component MUST include a value of '/'." For
    // OPTIONS the asterisk form is "*".
    let invalid = Some(Violation::PathInvalid);
    let cases: &[Case<'_>] = &[
        (b"GET", b"https", b"/", None),
        (
            b"GET",
            b"http",
            b"/a/very/long/path/%20with?a=query&of=its~own!",
            None,
        ),
        (b"GET", b"https", b"", invalid),
        (b"GET", b"http", b"", invalid),
        (b"GET", b"HTTP", b"", invalid),
        (b"GET", b"https", b"*", invalid),
        (b"GET", b"https", b"a", invalid),
        (b"GET", b"https", b"http://example.org/", invalid),
        (b"OPTIONS", b"https", b"*", None),
        (b"OPTIONS", b"http", b"/", None),
        (b"OPTIONS", b"https", b"", invalid),
        (b"OPTIONS", b"https", b"*/", invalid),
        // Other schemes have other kinds of paths.
        (b"GET", b"urn", b"", None),
        (b"GET", b"urn", b"isbn:1", None),
        (b"GET", b"urn", b"isbn 1", invalid),
    ];
    for (method, scheme, path, expected) in cases {
        assert_eq!(path_error(method, scheme, path), *expected, "{path:?}");
    }
    // A blank or a control would end the request line of HTTP/1.1: request smuggling. Try each byte
    // at every place of words of eight bytes.
    for byte in 0..=255_u8 {
        for length in [1, 7, 8, 9, 16, 23] {
            for place in 0..length {
                let mut path = vec![b'a'; length + 1];
                path[0] = b'/';
                path[place + 1] = byte;
                // UTF-8 is accepted as if it were percent-encoded.
                let expected = if byte.is_ascii_graphic() || byte >= 0x80 {
                    None
                } else {
                    invalid
                };
                let error = path_error(b"GET", b"https", &path);
                assert_eq!(error, expected, "{byte:#x} at {place} of {length}");
            }
        }
    }
}

#[test]
fn an_authority_is_host_and_port() {
    let [method, scheme, _, path] = GET;
    let error = |scheme: (&[u8], &[u8]), authority: &[u8]| {
        request_error(&[method, scheme, (b":authority", authority), path])
    };
    let invalid = Some(Violation::AuthorityInvalid);
    // RFC 9113 §8.3.1: ":authority" MUST NOT include the deprecated userinfo subcomponent for
    // "http" or "https" schemed URIs.
    assert_eq!(error(scheme, b"user@example.org"), invalid);
    assert_eq!(error((b":scheme", b"ftp"), b"user@example.org"), None);
    // RFC 9110 §4.2.1: "A sender MUST NOT generate an "http" URI with an empty host identifier. A
    // recipient that processes such a URI reference MUST reject it as invalid."
    assert_eq!(error(scheme, b""), invalid);
    let bad: [&[u8]; 8] = [
        b"a b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\r\n",
        b"\xc3\xa4.de",
        b"a\\b",
        b"a\0",
    ];
    for authority in bad {
        assert_eq!(error(scheme, authority), invalid, "{authority:?}");
    }
    for authority in [
        &b"[::1]:443"[..],
        b"127.0.0.1",
        b"xn--a_b.de:8443",
        b"a%20b",
    ] {
        assert_eq!(error(scheme, authority), None, "{authority:?}");
    }
    // A host field in place of `:authority` is read alike.
    let host = |host: &[u8]| request_error(&[method, scheme, path, (b"host", host)]);
    for (authority, expected) in [
        (&b"a:80"[..], None),
        (b"a:b", invalid),
        (b"a:+80", invalid),
        (b"[v1.x]", invalid),
        (b"a,b", invalid),
        (b"", invalid),
    ] {
        assert_eq!(error(scheme, authority), expected, "{authority:?}");
        assert_eq!(host(authority), expected, "{authority:?}");
    }
    assert_eq!(
        request_error(&[method, scheme, path, (b"host", b"a@b")]),
        invalid
    );
    assert_eq!(
        request_error(&[method, scheme, path, (b"host", b"a b")]),
        invalid
    );
}

#[test]
fn connect_has_host_and_port_only() {
    // RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted"; "The
    // ":authority" pseudo-header field contains the host and port to connect to"; "A CONNECT
    // request that does not conform to these restrictions is malformed".
    let connect: (&[u8], &[u8]) = (b":method", b"CONNECT");
    let authority: (&[u8], &[u8]) = (b":authority", b"example.org:443");
    let [_, scheme, _, path] = GET;
    let malformed = Some(Violation::ConnectMalformed);
    let head = request(&[connect, authority]).unwrap();
    assert_eq!((head.scheme(), head.path()), ("", ""));
    assert_eq!(head.authority(), "example.org:443");
    assert_eq!(request_error(&[connect]), malformed);
    assert_eq!(request_error(&[connect, authority, scheme]), malformed);
    assert_eq!(request_error(&[connect, authority, path]), malformed);
    assert_eq!(
        request_error(&[connect, authority, scheme, path]),
        malformed
    );
    for bad in [
        &b"example.org"[..],
        b"a:",
        b":443",
        b"a:0",
        b"a:65536",
        b"a:b",
        b"",
    ] {
        assert_eq!(
            request_error(&[connect, (b":authority", bad)]),
            malformed,
            "{bad:?}"
        );
    }
    let userinfo = request_error(&[connect, (b":authority", b"user@a:443")]);
    assert_eq!(userinfo, Some(Violation::AuthorityInvalid));
}

#[test]
fn a_pseudo_field_that_is_absent_is_no_other_field_of_a_long_list() {
    let mut fields: Vec<(&[u8], &[u8])> = vec![(b":method", b"CONNECT"), (b":authority", b"a:443")];
    fields.resize(300, (b"accept", b"/echo"));
    let head = request(&fields).unwrap();
    assert_eq!((head.scheme(), head.path()), ("", ""));
    assert_eq!(head.path_bytes(), b"");
}

#[test]
fn extended_connect_needs_leave_and_all_pseudo_fields() {
    let connect: (&[u8], &[u8]) = (b":method", b"CONNECT");
    let protocol: (&[u8], &[u8]) = (b":protocol", b"websocket");
    let [get, scheme, authority, path] = GET;
    let allowed = |fields: List<'_>| {
        let rules = RequestRules {
            extended_connect: true,
        };
        RequestHead::from_fields(list(fields), rules)
    };
    let head = allowed(&[connect, protocol, scheme, authority, path]).unwrap();
    assert_eq!(head.protocol(), Some("websocket"));
    assert_eq!(head.path(), "/a?b");
    let not_allowed = Violation::ProtocolNotAllowed;
    // RFC 8441 §3: the setting has to be sent first.
    let fields = [connect, protocol, scheme, authority, path];
    assert_eq!(request_error(&fields), Some(not_allowed));
    // RFC 8441 §4: ":protocol" "MAY be included on request HEADERS" that have CONNECT as their
    // method.
    let error = allowed(&[get, protocol, scheme, authority, path]).unwrap_err();
    assert_eq!(error, not_allowed);
    let error = allowed(&[connect, (b":protocol", b"a b"), scheme, path]).unwrap_err();
    assert_eq!(error, not_allowed);
    // RFC 8441 §4: "On requests that contain the :protocol pseudo-header field, the :scheme and
    // :path pseudo-header fields of the target URI (see Section 5) MUST also be included."
    let missing = Violation::PseudoFieldMissing;
    assert_eq!(
        allowed(&[connect, protocol, authority, path]).unwrap_err(),
        missing
    );
    assert_eq!(
        allowed(&[connect, protocol, authority, scheme]).unwrap_err(),
        missing
    );
    // Ordinary CONNECT is unaffected.
    assert!(allowed(&[connect, (b":authority", b"a:1")]).is_ok());
}

#[test]
fn host_says_what_authority_says() {
    // RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header
    // field that identifies an entity that differs from the entity in the ":authority"
    // pseudo-header field."
    let contradicts = Some(Violation::HostContradictsAuthority);
    let cases: &[Case<'_>] = &[
        (b"https", b"example.org", b"example.org", None),
        (b"https", b"example.org", b"EXAMPLE.org", None),
        (b"https", b"example.org", b"example.org:443", None),
        (b"http", b"example.org:80", b"Example.org", None),
        (b"http", b"example.org", b"example.org:443", contradicts),
        (b"https", b"example.org", b"example.com", contradicts),
        (b"https", b"example.org", b"", contradicts),
        (b"https", b"example.org:8443", b"example.org", contradicts),
    ];
    for (scheme, authority, host, expected) in cases {
        let error = request_error(&[
            (b":method", b"GET"),
            (b":scheme", scheme),
            (b":authority", authority),
            (b":path", b"/"),
            (b"host", host),
        ]);
        assert_eq!(error, *expected, "{authority:?} {host:?}");
    }
    let [method, scheme, _, path] = GET;
    let host: (&[u8], &[u8]) = (b"host", b"example.org");
    assert_eq!(
        request_error(&[method, scheme, path, host, host]),
        contradicts
    );
}

#[test]
fn names_are_tokens_in_lower_case() {
    // RFC 9113 §8.2.1: "A field name MUST NOT contain characters in the ranges 0x00-0x20,
    // 0x41-0x5a, or 0x7f-0xff (all ranges inclusive)"; "field names MUST NOT include a colon". RFC
    // 9110 §5.1: "field-name = token".
    for byte in 0..=255_u8 {
        let expected = match byte {
            b'A'..=b'Z' => Some(Violation::FieldNameUppercase),
            b'a'..=b'z' | b'0'..=b'9' => None,
            _ if b"!#$%&'*+-.^_`|~".contains(&byte) => None,
            _ => Some(Violation::FieldNameInvalid),
        };
        let name = [b'x', byte, b'y'];
        assert_eq!(field_error(&name, b"v"), expected, "{byte:#x}");
        let trailers = check_trailers(&list(&[(&name, b"v")]));
        assert_eq!(trailers.err(), expected, "{byte:#x}");
    }
    assert_eq!(field_error(b"", b"v"), Some(Violation::FieldNameInvalid));
    // The check notices a name that in lower case would be a known one.
    for name in [&b"Connection"[..], b"HOST", b"Content-Length", b"tE"] {
        assert_eq!(field_error(name, b"1"), Some(Violation::FieldNameUppercase));
    }
}

#[test]
fn values_have_no_controls_and_no_blanks_around() {
    // RFC 9113 §8.2.1: "A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed
    // (ASCII LF, 0x0a), or carriage return (ASCII CR, 0x0d) at any position." RFC 9110 §5.5:
    // "field-vchar = VCHAR / obs-text".
    for byte in 0..=255_u8 {
        let allowed = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        for length in [3, 7, 8, 9, 16, 25] {
            for place in 1..length - 1 {
                let mut value = vec![b'v'; length];
                value[place] = byte;
                let expected = (!allowed).then_some(Violation::FieldValueInvalid);
                for name in [&b"accept"[..], b"x-own"] {
                    let error = field_error(name, &value);
                    assert_eq!(error, expected, "{byte:#x} at {place} of {length}");
                }
            }
        }
    }
    // "A field value MUST NOT start or end with an ASCII whitespace character (ASCII SP or HTAB,
    // 0x20 or 0x09)."
    for value in [
        &b" "[..],
        b"\t",
        b" v",
        b"v ",
        b"\tv",
        b"v\t",
        b"a long value that ends so ",
    ] {
        assert_eq!(
            field_error(b"x-own", value),
            Some(Violation::FieldValueInvalid)
        );
    }
    assert_eq!(field_error(b"x-own", b""), None);
    assert_eq!(
        field_error(b"x-own", b"tabs\tand bl\xc3\xa4nks inside"),
        None
    );
}

#[test]
fn connection_specific_fields_are_malformed() {
    // RFC 9113 §8.2.2: "Any message containing connection-specific header fields MUST be treated as
    // malformed".
    let specific = Some(Violation::ConnectionSpecificField);
    let names: [&[u8]; 5] = [
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
    ];
    for name in names {
        assert_eq!(field_error(name, b"x"), specific);
        assert_eq!(
            response_error(&[(b":status", b"200"), (name, b"x")]),
            specific
        );
        assert_eq!(check_trailers(&list(&[(name, b"x")])).err(), specific);
    }
}

#[test]
fn te_is_trailers_and_of_requests() {
    // RFC 9113 §8.2.2: "The only exception to this is the TE header field, which MAY be present in
    // an HTTP/2 request; when it is, it MUST NOT contain any value other than "trailers"."
    assert_eq!(field_error(b"te", b"trailers"), None);
    assert_eq!(field_error(b"te", b"Trailers"), None);
    for value in [&b""[..], b"gzip", b"trailers, gzip", b"trailers;q=1"] {
        assert_eq!(field_error(b"te", value), Some(Violation::TeNotTrailers));
    }
    let specific = Some(Violation::ConnectionSpecificField);
    let te: (&[u8], &[u8]) = (b"te", b"trailers");
    assert_eq!(response_error(&[(b":status", b"200"), te]), specific);
    assert_eq!(check_trailers(&list(&[te])).err(), specific);
}

#[test]
fn content_length_is_one_number() {
    // RFC 9110 §8.6: "Content-Length = 1*DIGIT"; "a recipient MUST anticipate potentially large
    // decimal numerals and prevent parsing errors due to integer conversion overflows".
    let length = |value: &[u8]| {
        let [method, scheme, _, path] = GET;
        request(&[method, scheme, path, (b"content-length", value)])
            .map(|head| head.content_length())
    };
    assert_eq!(length(b"0"), Ok(Some(0)));
    assert_eq!(length(b"18446744073709551615"), Ok(Some(u64::MAX)));
    let bad: [&[u8]; 12] = [
        b"",
        // Allowed by the grammar, but some recipients read octal.
        b"0042",
        b"-1",
        b"+1",
        b"1 ",
        b"0x1",
        b"1.0",
        b"1, 2",
        b"1,",
        b"1, 1 ",
        b"18446744073709551616",
        b"99999999999999999999999",
    ];
    for value in bad {
        assert_eq!(
            length(value),
            Err(Violation::ContentLengthInvalid),
            "{value:?}"
        );
    }
    // RFC 9110 §8.6: "the same decimal value repeated as a comma-separated list" may be replaced
    // "with a single instance of the decimal value".
    let [method, scheme, _, path] = GET;
    let five: (&[u8], &[u8]) = (b"content-length", b"5");
    let six: (&[u8], &[u8]) = (b"content-length", b"6");
    let head = request(&[method, scheme, path, five, five]).unwrap();
    assert_eq!(head.content_length(), Some(5));
    let joined: (&[u8], &[u8]) = (b"content-length", b"5, 5");
    let head = request(&[method, scheme, path, joined, five]).unwrap();
    let lengths = head.headers().map(|field| field.value).collect::<Vec<_>>();
    assert_eq!(
        (head.content_length(), &lengths[..]),
        (Some(5), &[&b"5"[..]][..])
    );
    assert_eq!((head.method(), head.path()), ("GET", "/a?b"));
    let error = request_error(&[method, scheme, path, five, six]);
    assert_eq!(error, Some(Violation::ContentLengthInvalid));
}

#[test]
fn cookie_crumbs_make_one_cookie() {
    // RFC 9113 §8.2.3: "these MUST be concatenated into a single octet string using the two-octet
    // delimiter of 0x3b, 0x20 (the ASCII string "; ")".
    let head = RequestHead::new("GET", "https", "a", "/");
    assert_eq!(head.cookie(), None);
    let head = head.field("cookie", "a=b");
    assert!(matches!(head.cookie(), Some(Cow::Borrowed(b"a=b"))));
    let head = head.field("accept", "*/*").field("cookie", "c=d");
    let head = head.field("cookie", "e=f");
    assert_eq!(head.cookie().as_deref(), Some(&b"a=b; c=d; e=f"[..]));
}

#[test]
fn a_status_has_three_digits() {
    // RFC 9110 §15: "The status code of a response is a three-digit integer code".
    for status in [100, 103, 200, 404, 599, 999] {
        let text = status.to_string();
        let head = ResponseHead::from_fields(list(&[(b":status", text.as_bytes())])).unwrap();
        assert_eq!(head.status(), status);
        assert_eq!(head.is_informational(), status < 200);
    }
    for status in [
        &b""[..],
        b"20",
        b"2000",
        b"099",
        b"+20",
        b"2 0",
        b"20a",
        b" 200",
    ] {
        let error = response_error(&[(b":status", status)]);
        assert_eq!(error, Some(Violation::StatusInvalid), "{status:?}");
    }
    // RFC 9113 §8.6: "HTTP/2 removes support for the 101 (Switching Protocols) informational status
    // code".
    let error = response_error(&[(b":status", b"101")]);
    assert_eq!(error, Some(Violation::SwitchingProtocols));
}

#[test]
fn a_response_without_content_has_no_length() {
    // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a
    // status code of 1xx (Informational) or 204 (No Content)."
    for (status, length) in [
        ("103", None),
        ("204", None),
        ("200", Some(7)),
        ("304", Some(7)),
    ] {
        let fields = list(&[(b":status", status.as_bytes()), (b"content-length", b"7")]);
        let head = ResponseHead::from_fields(fields).unwrap();
        assert_eq!(head.content_length(), length, "{status}");
        assert_eq!(head.get("content-length").is_some(), length.is_some());
    }
    let five: (&[u8], &[u8]) = (b"content-length", b"5");
    let head = ResponseHead::from_fields(list(&[(b":status", b"200"), five, five])).unwrap();
    assert_eq!(
        (head.content_length(), head.headers().count()),
        (Some(5), 1)
    );
    let error = response_error(&[(b":status", b"200"), (b"content-length", b"x")]);
    assert_eq!(error, Some(Violation::ContentLengthInvalid));
}

#[test]
fn trailers_have_no_pseudo_fields() {
    // RFC 9113 §8.1: "Trailers MUST NOT include pseudo-header fields".
    assert_eq!(check_trailers(&list(&[(b"grpc-status", b"0")])), Ok(()));
    let pseudo = Err(Violation::PseudoFieldInTrailers);
    for name in [&b":method"[..], b":status", b":protocol", b":own"] {
        assert_eq!(check_trailers(&list(&[(name, b"x")])), pseudo);
    }
    // A length has no meaning there, whatever its value.
    assert_eq!(check_trailers(&list(&[(b"content-length", b"x")])), Ok(()));
    let error = check_trailers(&list(&[(b"a", b"b\n")])).unwrap_err();
    assert_eq!(error, Violation::FieldValueInvalid);
}

#[test]
fn builders_make_what_the_rules_allow() {
    let head = RequestHead::new("POST", "https", "example.org", "/")
        .field("content-length", "5")
        .field("host", "example.org")
        .field("x-own", "v");
    assert!(!head.is_invalid());
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.authority(), "example.org");
    let rules = RequestRules::default();
    assert!(RequestHead::from_fields(head.into_fields(), rules).is_ok());
    assert_eq!(RequestHead::new("GET", "http", "", "/").fields().len(), 3);
    assert!(!RequestHead::connect("example.org:443").is_invalid());
    let head = RequestHead::extended_connect("websocket", "https", "example.org", "/chat");
    assert!(!head.is_invalid());
    assert_eq!(head.protocol(), Some("websocket"));

    let head = ResponseHead::new(200)
        .field("content-length", "5")
        .field("content-type", "text/plain");
    assert!(!head.is_invalid());
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.fields().get(":status"), Some(&b"200"[..]));
    assert_eq!(head.headers().count(), 2);
    assert!(ResponseHead::from_fields(head.into_fields()).is_ok());
}

#[test]
fn builders_notice_what_the_rules_forbid() {
    let get = || RequestHead::new("GET", "https", "example.org", "/");
    let requests = [
        RequestHead::new("G T", "https", "example.org", "/"),
        RequestHead::new("GET", "https", "example.org", ""),
        RequestHead::new("CONNECT", "https", "example.org", "/"),
        RequestHead::connect("example.org"),
        RequestHead::extended_connect("", "https", "example.org", "/"),
        get().field("Accept", "x"),
        get().field("x-own", "a\r\nb"),
        get().field(":path", "/other"),
        get().field("connection", "close"),
        get().field("te", "gzip"),
        get().field("host", "example.com"),
        get()
            .field("content-length", "1")
            .field("content-length", "2"),
        // Later fields don't repair it.
        get().field("", "x").field("accept", "x"),
    ];
    for head in requests {
        assert!(head.is_invalid(), "{head:?}");
    }
    let responses = [
        ResponseHead::new(99),
        ResponseHead::new(1000),
        ResponseHead::new(101),
        ResponseHead::new(200).field(":status", "200"),
        ResponseHead::new(200).field("x", " y"),
        ResponseHead::new(200).field("transfer-encoding", "chunked"),
    ];
    for head in responses {
        assert!(head.is_invalid(), "{head:?}");
    }
}

#[test]
fn an_invalid_head_names_the_first_field_that_is_wrong() {
    let get = || RequestHead::new("GET", "https", "example.org", "/");
    assert_eq!(get().field("accept", "*/*").validate(), Ok(()));
    let head = get().field("accept", "*/*").field("X-Own", "a");
    let error = head.field("connection", "close").validate().unwrap_err();
    let text = "field \"X-Own\": FieldNameUppercase (RFC 9113 §8.2.1)";
    assert_eq!(error.to_string(), text);
    let error = get().field("host", "example.com").validate().unwrap_err();
    assert_eq!(error.field.as_deref(), Some("host"));
    assert_eq!(error.violation, Violation::HostContradictsAuthority);
    let head = RequestHead::new("GET", "https", "example.org", "a");
    let error = head.validate().unwrap_err();
    assert_eq!(error.to_string(), "PathInvalid (RFC 9113 §8.3.1)");
    let head = ResponseHead::new(200).field("te", "trailers");
    let error = head.validate().unwrap_err();
    assert_eq!(error.field.as_deref(), Some("te"));
    let error = ResponseHead::new(99).validate().unwrap_err();
    assert_eq!(
        (error.field, error.violation),
        (None, Violation::StatusInvalid)
    );
}
