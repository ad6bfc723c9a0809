use super::super::Ids;
use super::*;

fn route(base: Option<&str>) -> Route {
    Route {
        upstream: 0,
        base: base.map(Into::into),
        scheme: "http",
        authority: "upstream.example:8080".into(),
        host: Host::Keep,
    }
}

fn stranger() -> Client<'static> {
    Client {
        addr: ([192, 0, 2, 1], 4711).into(),
        is_secure: true,
        version: "HTTP/2",
        is_trusted: false,
        dropped: &[],
        certificate: None,
        is_early: false,
        ids: Ids::NONE,
    }
}

fn get(path: &str) -> RequestHead {
    RequestHead::new("GET", "https", "example.org", path)
}

/// Returns the head that goes on for a request to a route at `/`.
fn sent(head: &RequestHead, client: &Client<'_>) -> Result<RequestHead, Refused> {
    request(head, &route(None), head.path_bytes(), client)
}

fn field<'a>(head: &'a RequestHead, name: &str) -> &'a str {
    std::str::from_utf8(head.get(name).unwrap_or_default()).unwrap()
}

#[test]
fn via_names_the_version_and_this_server() {
    for (version, expected) in [("HTTP/2", "2"), ("HTTP/1.1", "1.1"), ("HTTP/1.0", "1.0")] {
        assert_eq!(via(version), format!("{expected} {PSEUDONYM}"));
    }
}

#[test]
fn addresses_are_written_as_the_standard_library_does() {
    for address in [
        "0.0.0.0",
        "9.10.99.100",
        "255.254.199.1",
        "::ffff:203.0.113.7",
    ] {
        let client = Client {
            addr: format!("[{address}]:1")
                .parse()
                .unwrap_or_else(|_| format!("{address}:1").parse().unwrap()),
            ..stranger()
        };
        let on = sent(&get("/"), &client).unwrap();
        let ip = client.addr.ip().to_canonical();
        assert_eq!(field(&on, "x-forwarded-for"), ip.to_string());
        let forwarded = format!("for={ip};host=\"example.org\";proto=https");
        assert_eq!(field(&on, "forwarded"), forwarded);
    }
}

#[test]
fn where_it_came_from_is_said() {
    let head = get("/a?b").field("x-other", "kept");
    let on = sent(&head, &stranger()).unwrap();
    let pseudo = (on.method(), on.scheme(), on.authority(), on.path());
    assert_eq!(pseudo, ("GET", "http", "example.org", "/a?b"));
    assert_eq!(field(&on, "x-other"), "kept");
    assert_eq!(field(&on, "x-forwarded-for"), "192.0.2.1");
    assert_eq!(field(&on, "x-forwarded-proto"), "https");
    assert_eq!(field(&on, "x-forwarded-host"), "example.org");
    assert_eq!(
        field(&on, "forwarded"),
        "for=192.0.2.1;host=\"example.org\";proto=https"
    );
    assert_eq!(field(&on, "via"), "2 tidegate");
    let v6 = Client {
        addr: "[2001:db8::1]:1".parse().unwrap(),
        is_secure: false,
        version: "HTTP/1.1",
        ..stranger()
    };
    let on = sent(&head, &v6).unwrap();
    assert_eq!(field(&on, "x-forwarded-for"), "2001:db8::1");
    assert!(field(&on, "forwarded").starts_with("for=\"[2001:db8::1]\";"));
    assert_eq!(field(&on, "via"), "1.1 tidegate");
}

#[test]
fn strangers_are_not_believed_and_the_trusted_are() {
    let received = get("/")
        .field("forwarded", "for=10.0.0.1")
        .field("x-forwarded-for", "10.0.0.1")
        .field("x-forwarded-for", "10.0.0.2")
        .field("x-forwarded-proto", "http")
        .field("x-forwarded-host", "inner")
        .field("x-forwarded-port", "1")
        .field("x-real-ip", "10.0.0.1");
    let on = sent(&received, &stranger()).unwrap();
    assert_eq!(field(&on, "x-forwarded-for"), "192.0.2.1");
    assert_eq!(field(&on, "x-forwarded-proto"), "https");
    assert_eq!(field(&on, "x-forwarded-host"), "example.org");
    assert!(!field(&on, "forwarded").contains("10.0.0.1"));
    assert!(on.get("x-real-ip").is_none() && on.get("x-forwarded-port").is_none());
    let trusted = Client {
        is_trusted: true,
        ..stranger()
    };
    let on = sent(&received, &trusted).unwrap();
    assert_eq!(
        field(&on, "x-forwarded-for"),
        "10.0.0.1, 10.0.0.2, 192.0.2.1"
    );
    assert_eq!(field(&on, "x-forwarded-proto"), "http");
    assert_eq!(field(&on, "x-forwarded-host"), "inner");
    assert_eq!(
        field(&on, "forwarded"),
        "for=10.0.0.1;host=\"inner\";proto=http, for=10.0.0.2, for=192.0.2.1"
    );
    assert_eq!(field(&on, "x-real-ip"), "10.0.0.1");
    assert_eq!(field(&on, "x-forwarded-port"), "1");
    let one = |name: &str| on.headers().filter(|f| f.name == name.as_bytes()).count();
    assert_eq!((one("x-forwarded-for"), one("forwarded")), (1, 1));
}

#[test]
fn what_is_about_the_clients_connection_stays_here() {
    let head = get("/")
        .field("http2-settings", "AAMAAABk")
        .field("host", "example.org")
        .field("proxy", "http://evil/")
        .field("te", "trailers");
    let on = sent(&head, &stranger()).unwrap();
    for name in ["http2-settings", "host", "proxy"] {
        assert!(on.get(name).is_none(), "{name}");
    }
    // gRPC servers require this field.
    assert_eq!(field(&on, "te"), "trailers");
}

#[test]
fn what_could_be_taken_for_ours_stays_here() {
    // RFC 3875 §4.1.18: "-" and "_" are the same to CGI programs.
    for name in [
        "x_forwarded_for",
        "x-forwarded_proto",
        "x_real_ip",
        "proxy_",
        "content_length",
        "transfer_encoding",
        "x_original_url",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-ssl",
        "x-forwarded-user",
    ] {
        let goes_on = name == "proxy_";
        let on = sent(&get("/").field(name, "1"), &stranger()).unwrap();
        assert_eq!(on.get(name).is_some(), goes_on, "{name}");
    }
    let own = get("/").field("my_field", "1").field("x-own", "2");
    let on = sent(&own, &stranger()).unwrap();
    assert_eq!((field(&on, "my_field"), field(&on, "x-own")), ("1", "2"));
    // A trusted proxy may name the user in a field of its own.
    let trusted = Client {
        is_trusted: true,
        ..stranger()
    };
    let received = get("/")
        .field("x-forwarded-user", "a")
        .field("x_real_ip", "b");
    let on = sent(&received, &trusted).unwrap();
    assert_eq!(
        (field(&on, "x-forwarded-user"), on.get("x_real_ip")),
        ("a", None)
    );
}

#[test]
fn the_operator_can_have_more_dropped() {
    let dropped = [field_to_drop("X-Own-User"), field_to_drop("authorization")];
    let received = get("/")
        .field("x-own-user", "a")
        .field("x_own.user", "b")
        .field("authorization", "c")
        .field("x-own-users", "d");
    let mut client = Client {
        dropped: &dropped,
        ..stranger()
    };
    let names = ["x-own-user", "x_own.user", "authorization", "x-own-users"];
    let on = sent(&received, &client).unwrap();
    assert_eq!(
        names.map(|name| on.get(name).is_some()),
        [false, false, false, true]
    );
    client.is_trusted = true;
    let on = sent(&received, &client).unwrap();
    assert_eq!(names.map(|name| on.get(name).is_some()), [true; 4]);
}

#[test]
fn a_response_has_a_date_and_says_how_it_came() {
    let (now, then) = (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sat, 05 Nov 1994 08:49:37 GMT",
    );
    let mut bare = ResponseHead::new(200);
    response(&mut bare, "HTTP/1.0", now);
    assert_eq!(bare.get("date"), Some(now.as_bytes()));
    assert_eq!(bare.get("via"), Some(&b"1.0 tidegate"[..]));
    let mut dated = ResponseHead::new(500).field("date", then);
    response(&mut dated, "HTTP/2", now);
    let dates: Vec<_> = dated
        .headers()
        .filter(|field| field.name == b"date")
        .collect();
    assert_eq!(dates.len(), 1);
    assert_eq!(dates[0].value, then.as_bytes());
}

#[test]
fn trailers_say_nothing_that_a_head_could() {
    let mut received = Fields::new();
    for name in [
        "x-sum",
        "x-forwarded-for",
        "x_forwarded_for",
        "forwarded",
        "authorization",
        "cookie",
        "host",
        "content-length",
        "proxy",
        "grpc-own",
    ] {
        received.push(name, "1");
    }
    let kept = trailers(&received, &[]);
    let kept: Vec<&[u8]> = kept.iter().map(|field| field.name).collect();
    assert_eq!(kept, [&b"x-sum"[..], b"grpc-own"]);
}

#[test]
fn an_authority_is_one_host() {
    for authority in ["a", "a:1", "[::1]:8080", "xn--a.b-c_d", "127.0.0.1"] {
        let head = RequestHead::new("GET", "https", authority, "/");
        assert!(sent(&head, &stranger()).is_ok(), "{authority}");
    }
    for authority in ["a,b", "a:1:2", "[", "a]b"] {
        let head = RequestHead::new("GET", "https", authority, "/");
        let refused = sent(&head, &stranger()).err();
        assert_eq!(refused, Some(Refused::Unsendable), "{authority}");
    }
}

#[test]
fn host_is_kept_or_rewritten() {
    let mut rewriting = route(None);
    rewriting.host = Host::Rewrite;
    let on = request(&get("/"), &rewriting, b"/", &stranger()).unwrap();
    assert_eq!(on.authority(), "upstream.example:8080");
    assert_eq!(field(&on, "x-forwarded-host"), "example.org");
    // A request without an authority gets that of the upstream, and no field reports it as the
    // client's.
    let bare = RequestHead::new("GET", "https", "", "/");
    let on = sent(&bare, &stranger()).unwrap();
    assert_eq!(on.authority(), "upstream.example:8080");
    assert_eq!(on.get("x-forwarded-host"), None);
    assert_eq!(field(&on, "forwarded"), "for=192.0.2.1;proto=https");
}

#[test]
fn what_goes_round_in_circles_is_stopped() {
    let mut head = get("/").field("via", "1.0 other, 2 tidegate");
    for _ in 0..MAX_HOPS - 2 {
        head.push("via", "2 tidegate");
    }
    let on = sent(&head, &stranger()).unwrap();
    let vias = on.headers().filter(|field| field.name == b"via").count();
    assert_eq!(vias, MAX_HOPS);
    head.push("via", "2 tidegate");
    assert_eq!(sent(&head, &stranger()).err(), Some(Refused::Loop));
}

#[test]
fn trace_and_the_last_hop_go_no_further() {
    let trace = RequestHead::new("TRACE", "https", "example.org", "/");
    assert_eq!(sent(&trace, &stranger()).err(), Some(Refused::Method));
    let options = |left: &str| {
        let head = RequestHead::new("OPTIONS", "https", "example.org", "/");
        sent(&head.field("max-forwards", left), &stranger())
    };
    assert_eq!(options("0").err(), Some(Refused::LastHop));
    assert_eq!(field(&options("10").unwrap(), "max-forwards"), "9");
    // RFC 9110 §7.6.2: Max-Forwards may be ignored for other methods.
    let get = get("/").field("max-forwards", "0");
    assert_eq!(
        field(&sent(&get, &stranger()).unwrap(), "max-forwards"),
        "0"
    );
}

#[test]
fn a_websocket_goes_on_as_one_or_as_a_get() {
    let head = RequestHead::extended_connect("websocket", "https", "example.org", "/chat")
        .field("sec-websocket-version", "13")
        .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let on = sent(&head, &stranger()).unwrap();
    assert_eq!((on.method(), on.protocol()), ("CONNECT", Some("websocket")));
    assert_eq!(field(&on, "sec-websocket-version"), "13");
    assert_eq!(on.get("sec-websocket-key"), None);
    let long = sent(&head.clone().field("content-length", "0"), &stranger()).unwrap();
    assert_eq!(long.get("content-length"), None);
    let plain = without_upgrade(&head);
    assert_eq!(
        (plain.method(), plain.protocol(), plain.path()),
        ("GET", None, "/chat")
    );
    assert!(!plain.is_invalid());
}

/// RFC 8470 §5.1: a request in early data goes on with `early-data: 1`, whatever its client and the
/// operator say.
#[test]
fn a_request_in_early_data_is_marked() {
    let dropped = [field_to_drop("early-data")];
    let early = |dropped| Client {
        is_early: true,
        dropped,
        ..stranger()
    };
    for claimed in [None, Some("0"), Some("1")] {
        let received = match claimed {
            None => get("/"),
            Some(claimed) => get("/").field("early-data", claimed),
        };
        for dropped in [&[][..], &dropped] {
            let on = sent(&received, &early(dropped)).unwrap();
            let values: Vec<_> = on
                .headers()
                .filter(|field| field.name == b"early-data")
                .map(|field| field.value.to_vec())
                .collect();
            assert_eq!(values, [b"1"], "{claimed:?}");
        }
    }
    // RFC 8470 §5.1: it "MUST NOT be removed if present".
    let on = sent(&get("/").field("early-data", "1"), &stranger()).unwrap();
    assert_eq!(field(&on, "early-data"), "1");
}
