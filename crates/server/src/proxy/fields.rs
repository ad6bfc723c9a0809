//! Heads on their way through: what is taken out, what is put in, and what is not let through at all.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use percent_encoding::percent_decode;
use tidegate_net::Protocol;
use tidegate_proto::{Fields, KnownName, RequestHead, RequestRules, ResponseHead, is_authority};

use super::Route;

/// How the server calls itself in Via fields (RFC 9110 §7.6.3).
const PSEUDONYM: &str = "tidegate";

/// Entries of ours that a Via field may have. What has been here more often goes round in circles.
const MAX_HOPS: usize = 8;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The client's address.
    pub addr: SocketAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// What it spoke.
    pub protocol: Protocol,
    /// Whether what it says of those before it is believed.
    pub is_trusted: bool,
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The path has a segment `.` or `..`, or a fragment: the upstream could take it for another one.
    Path,
    /// It has been here too often.
    Loop,
    /// Max-Forwards says that it is meant for us.
    LastHop,
    /// TRACE would show the client what we have put in.
    Method,
    /// What is left of it is no request.
    Unsendable,
}

/// The head with which a request goes to its upstream. `rest` is what its path has behind the route's.
pub fn request(
    head: &RequestHead,
    route: &Route,
    rest: &[u8],
    client: &Client,
) -> Result<RequestHead, Refused> {
    if head.method_octets() == b"TRACE" {
        return Err(Refused::Method);
    }
    let path = path(head.path_octets(), route, rest)?;
    if !is_host(head.authority_octets()) {
        return Err(Refused::Unsendable);
    }
    let authority = match &route.host {
        None => head.authority_octets(),
        Some(host) => host.as_bytes(),
    };
    let mut fields = Fields::with_capacity(head.fields().len() + 8, head.fields().octets() + 256);
    fields.push_known(KnownName::METHOD, head.method_octets());
    if let Some(protocol) = head.protocol() {
        fields.push_known(KnownName::PROTOCOL, protocol);
    }
    fields.push_known(KnownName::SCHEME, route.scheme);
    if !authority.is_empty() {
        fields.push_known(KnownName::AUTHORITY, authority);
    }
    fields.push_known(KnownName::PATH, path);

    let mut said = Said::default();
    let mut hops = 0;
    for field in head.headers() {
        match field.known {
            // It is in `:authority`; and what an upgrade to HTTP/2 says is about the client's connection.
            Some(KnownName::HOST | KnownName::HTTP2_SETTINGS) => continue,
            Some(KnownName::X_FORWARDED_FOR) => said.keep(client, |said| {
                join(&mut said.forwarded_for, field.value);
            }),
            Some(KnownName::X_FORWARDED_HOST) => said.keep(client, |said| {
                said.host.get_or_insert_with(|| field.value.into());
            }),
            Some(KnownName::X_FORWARDED_PROTO) => said.keep(client, |said| {
                said.proto.get_or_insert_with(|| field.value.into());
            }),
            Some(KnownName::FORWARDED) => said.keep(client, |said| {
                join(&mut said.forwarded, field.value);
            }),
            Some(KnownName::X_REAL_IP) if !client.is_trusted => {}
            // RFC 9110 §7.6.2: for TRACE and OPTIONS, "an intermediary … MUST check and update its value prior to forwarding".
            Some(KnownName::MAX_FORWARDS) if head.method_octets() == b"OPTIONS" => {
                let left = std::str::from_utf8(field.value)
                    .ok()
                    .and_then(|value| value.parse::<u32>().ok());
                match left {
                    Some(0) => return Err(Refused::LastHop),
                    Some(left) => {
                        fields.push_known(KnownName::MAX_FORWARDS, (left - 1).to_string());
                    }
                    None => {}
                }
            }
            known => {
                if known == Some(KnownName::VIA) {
                    hops += visits(field.value);
                }
                if known.is_some() || goes_on(field.name, client.is_trusted) {
                    fields.push_field(field);
                }
            }
        }
    }
    if hops >= MAX_HOPS {
        return Err(Refused::Loop);
    }
    said.push(&mut fields, head.authority_octets(), client);
    fields.push_known(KnownName::VIA, via(client.protocol));
    let rules = RequestRules {
        extended_connect: true,
    };
    RequestHead::from_fields(fields, rules).map_err(|_| Refused::Unsendable)
}

/// What goes on of a request's trailers. RFC 9110 §6.5.1: what is about framing, routing, authentication or the request itself is
/// none, but some servers take trailers for fields of the head. So only names without a meaning here go on.
pub fn trailers(fields: &Fields) -> Fields {
    let mut kept = Fields::new();
    for field in fields {
        if field.known.is_none() && goes_on(field.name, false) {
            kept.push_field(field);
        }
    }
    kept
}

/// What goes into a response on its way back, which came by `protocol`.
pub fn response(head: &mut ResponseHead, protocol: Protocol) {
    head.push("via", via(protocol));
}

/// The head of a request for a WebSocket, as the GET that it is in HTTP/1.1 for who doesn't know WebSockets.
pub fn without_upgrade(head: &RequestHead) -> RequestHead {
    let mut plain = RequestHead::new("GET", head.scheme(), head.authority(), head.path());
    for field in head.headers() {
        if let Ok(name) = std::str::from_utf8(field.name) {
            plain.push(name, field.value);
        }
    }
    plain
}

/// RFC 9110 §7.6.3: the version that the message came by, and by whom it goes on.
fn via(protocol: Protocol) -> String {
    let version = match protocol {
        Protocol::Http2 => "2",
        Protocol::Http1 => "1.1",
    };
    format!("{version} {PSEUDONYM}")
}

/// How often we are in a Via field.
fn visits(via: &[u8]) -> usize {
    let ours = |entry: &&[u8]| entry.ends_with(PSEUDONYM.as_bytes());
    let entries = via.split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
    entries.filter(ours).count()
}

/// Whether an authority is one host with a port perhaps (RFC 9110 §7.2). It goes into fields that are lists.
fn is_host(authority: &[u8]) -> bool {
    authority.is_empty() || is_authority(authority)
}

/// Whether a field without a known name is for the upstream.
fn goes_on(name: &[u8], is_trusted: bool) -> bool {
    // RFC 3875 §4.1.18: programs of CGI, and of what came of it, are told names with "_" for "-". One that has it already would be
    // taken for the other.
    if name.contains(&b'_') {
        let dash = |octet: &u8| if *octet == b'_' { b'-' } else { *octet };
        let taken_for: Vec<u8> = name.iter().map(dash).collect();
        return KnownName::of(&taken_for).is_none() && goes_on(&taken_for, is_trusted);
    }
    match name {
        // A CGI program would take "Proxy" for the variable HTTP_PROXY (CVE-2016-5385).
        b"proxy" => false,
        // These say where a request came from, as others would have it.
        b"x-forwarded-port" | b"x-forwarded-server" | b"x-forwarded-prefix" => false,
        // RFC 8441 §5: "not used" in HTTP/2; and in HTTP/1.1 it is between two neighbours.
        b"sec-websocket-key" => false,
        // Another path than the one that the route was found by (CVE-2018-14773).
        b"x-original-url" | b"x-rewrite-url" => is_trusted,
        _ => is_trusted || !name.starts_with(b"x-forwarded-"),
    }
}

/// The path for the upstream.
fn path<'a>(asked: &'a [u8], route: &Route, rest: &[u8]) -> Result<Cow<'a, [u8]>, Refused> {
    // RFC 9112 §3.2: no form of the target has a fragment. Servers that cut it off and servers that don't take different
    // paths for the same octets (CVE-2023-45539).
    if asked.contains(&b'#') {
        return Err(Refused::Path);
    }
    let end = asked.iter().position(|octet| *octet == b'?');
    let (only_path, query) = asked.split_at(end.unwrap_or(asked.len()));
    if has_dot_segment(only_path) {
        return Err(Refused::Path);
    }
    let Some(base) = &route.base else {
        return Ok(Cow::Borrowed(asked));
    };
    let base = base.as_bytes();
    let base = base.strip_suffix(b"/").unwrap_or(base);
    let mut path = [base, rest].concat();
    if path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(query);
    Ok(Cow::Owned(path))
}

/// Whether somebody could take a part of the path for the way up: plain, percent-encoded, behind a backslash, or with
/// parameters. What a route covers would be another matter for the upstream then. Clients take such segments out by themselves
/// (RFC 3986 §6.2.2.3).
fn has_dot_segment(path: &[u8]) -> bool {
    if !path
        .windows(2)
        .any(|two| matches!(two, b"/." | b"\\." | b"%2" | b"%5"))
    {
        return false;
    }
    let decoded: Cow<'_, [u8]> = percent_decode(path).into();
    let mut segments = decoded.split(|octet| matches!(octet, b'/' | b'\\'));
    segments.any(|segment| {
        let name = segment.split(|octet| *octet == b';').next();
        matches!(name, Some(b"." | b".."))
    })
}

/// What those before us have said of where the request came from.
#[derive(Default)]
struct Said {
    forwarded_for: Vec<u8>,
    forwarded: Vec<u8>,
    host: Option<Box<[u8]>>,
    proto: Option<Box<[u8]>>,
}

impl Said {
    /// Only those whom the operator trusts are believed: anybody can say anything.
    fn keep(&mut self, client: &Client, keep: impl FnOnce(&mut Self)) {
        if client.is_trusted {
            keep(self);
        }
    }

    fn push(mut self, fields: &mut Fields, authority: &[u8], client: &Client) {
        let ip = client.addr.ip().to_canonical();
        let proto: &[u8] = if client.is_secure { b"https" } else { b"http" };
        join(&mut self.forwarded_for, ip.to_string().as_bytes());
        join(&mut self.forwarded, &forwarded(ip, authority, proto));
        fields.push_known(KnownName::X_FORWARDED_FOR, &self.forwarded_for);
        fields.push_known(
            KnownName::X_FORWARDED_PROTO,
            self.proto.as_deref().unwrap_or(proto),
        );
        let host = self.host.as_deref().unwrap_or(authority);
        if !host.is_empty() {
            fields.push_known(KnownName::X_FORWARDED_HOST, host);
        }
        fields.push_known(KnownName::FORWARDED, &self.forwarded);
    }
}

/// One element of a Forwarded field (RFC 7239 §4).
fn forwarded(ip: IpAddr, authority: &[u8], proto: &[u8]) -> Vec<u8> {
    let mut element = String::new();
    let written = match ip {
        IpAddr::V4(v4) => write!(element, "for={v4}"),
        // RFC 7239 §6: "an IPv6 address is always enclosed in square brackets", and then in quotes, as it is no token.
        IpAddr::V6(v6) => write!(element, "for=\"[{v6}]\""),
    };
    debug_assert!(written.is_ok(), "a String takes everything");
    let mut element = element.into_bytes();
    // A name with a port is no token either, and quotes can hold what a name may have.
    if !authority.is_empty() && !authority.iter().any(|octet| matches!(octet, b'"' | b'\\')) {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(authority);
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(proto);
    element
}

/// Adds a member to a list.
fn join(list: &mut Vec<u8>, member: &[u8]) {
    if !list.is_empty() && !member.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(member);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(base: Option<&str>) -> Route {
        Route {
            upstream: 0,
            base: base.map(Into::into),
            scheme: "http",
            host: None,
            has_http2: false,
        }
    }

    fn stranger() -> Client {
        Client {
            addr: ([192, 0, 2, 1], 4711).into(),
            is_secure: true,
            protocol: Protocol::Http2,
            is_trusted: false,
        }
    }

    fn get(path: &str) -> RequestHead {
        RequestHead::new("GET", "https", "example.org", path)
    }

    /// What goes on of a request to a route at `/`.
    fn sent(head: &RequestHead, client: &Client) -> Result<RequestHead, Refused> {
        request(head, &route(None), head.path_octets(), client)
    }

    fn field<'a>(head: &'a RequestHead, name: &str) -> &'a str {
        std::str::from_utf8(head.get(name).unwrap_or_default()).unwrap()
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
            protocol: Protocol::Http1,
            ..stranger()
        };
        let on = sent(&head, &v6).unwrap();
        assert_eq!(field(&on, "x-forwarded-for"), "2001:db8::1");
        assert!(field(&on, "forwarded").starts_with("for=\"[2001:db8::1]\";"));
        assert_eq!(field(&on, "via"), "1.1 tidegate");
    }

    #[test]
    fn strangers_are_not_believed_and_the_trusted_are() {
        let said = get("/")
            .field("forwarded", "for=10.0.0.1")
            .field("x-forwarded-for", "10.0.0.1")
            .field("x-forwarded-for", "10.0.0.2")
            .field("x-forwarded-proto", "http")
            .field("x-forwarded-host", "inner")
            .field("x-forwarded-port", "1")
            .field("x-real-ip", "10.0.0.1");
        let on = sent(&said, &stranger()).unwrap();
        assert_eq!(field(&on, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(field(&on, "x-forwarded-proto"), "https");
        assert_eq!(field(&on, "x-forwarded-host"), "example.org");
        assert!(!field(&on, "forwarded").contains("10.0.0.1"));
        assert!(on.get("x-real-ip").is_none() && on.get("x-forwarded-port").is_none());
        let trusted = Client {
            is_trusted: true,
            ..stranger()
        };
        let on = sent(&said, &trusted).unwrap();
        assert_eq!(
            field(&on, "x-forwarded-for"),
            "10.0.0.1, 10.0.0.2, 192.0.2.1"
        );
        assert_eq!(field(&on, "x-forwarded-proto"), "http");
        assert_eq!(field(&on, "x-forwarded-host"), "inner");
        assert!(field(&on, "forwarded").starts_with("for=10.0.0.1, for=192.0.2.1;"));
        assert_eq!(field(&on, "x-real-ip"), "10.0.0.1");
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
        // gRPC's servers insist on it.
        assert_eq!(field(&on, "te"), "trailers");
    }

    #[test]
    fn what_could_be_taken_for_ours_stays_here() {
        // RFC 3875 §4.1.18: "-" and "_" are the same to programs of CGI.
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
        // A proxy in front may say who the user is, by its own name of it.
        let trusted = Client {
            is_trusted: true,
            ..stranger()
        };
        let said = get("/")
            .field("x-forwarded-user", "a")
            .field("x_real_ip", "b");
        let on = sent(&said, &trusted).unwrap();
        assert_eq!(
            (field(&on, "x-forwarded-user"), on.get("x_real_ip")),
            ("a", None)
        );
    }

    #[test]
    fn trailers_say_nothing_that_a_head_could() {
        let mut said = Fields::new();
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
            said.push(name, "1");
        }
        let kept = trailers(&said);
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
        rewriting.host = Some("inner:8080".into());
        let on = request(&get("/"), &rewriting, b"/", &stranger()).unwrap();
        assert_eq!(on.authority(), "inner:8080");
        assert_eq!(field(&on, "x-forwarded-host"), "example.org");
    }

    #[test]
    fn a_base_takes_the_place_of_the_routes_path() {
        for (base, asked, rest, expected) in [
            (None, "/api/x?y", "/x", "/api/x?y"),
            (Some("/"), "/api/x?y", "/x", "/x?y"),
            (Some("/"), "/api", "", "/"),
            (Some("/"), "/api?y", "", "/?y"),
            (Some("/v1"), "/api/x", "/x", "/v1/x"),
            (Some("/v1/"), "/api/x/", "/x/", "/v1/x/"),
            (Some("/v1"), "/api", "", "/v1"),
        ] {
            let on = request(&get(asked), &route(base), rest.as_bytes(), &stranger()).unwrap();
            assert_eq!(on.path(), expected, "{base:?} {asked}");
        }
    }

    #[test]
    fn no_path_leads_out_of_its_route() {
        for path in [
            "/api/../admin",
            "/api/..",
            "/./x",
            "/a/.",
            "/api/%2e%2e/admin",
            "/api/%2E./admin",
            "/api/..%2fadmin",
            "/api/%2e%2e%2fadmin",
            "/api/..\\admin",
            "/api\\..\\admin",
            "/api/..%5cadmin",
            "/api/..;/admin",
            "/api/..;x=y/admin",
            "/a#b",
        ] {
            assert_eq!(
                sent(&get(path), &stranger()).err(),
                Some(Refused::Path),
                "{path}"
            );
        }
        for path in [
            "/a..b",
            "/.well-known/x",
            "/a/...",
            "/a?b=/../c",
            "/%20/x",
            "/a.b/c%2fd",
        ] {
            assert!(sent(&get(path), &stranger()).is_ok(), "{path}");
        }
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
        // RFC 9110 §7.6.2 lets it be ignored for other methods.
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
        let plain = without_upgrade(&head);
        assert_eq!(
            (plain.method(), plain.protocol(), plain.path()),
            ("GET", None, "/chat")
        );
        assert!(!plain.is_invalid());
    }
}
