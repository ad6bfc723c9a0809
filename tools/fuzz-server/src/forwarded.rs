//! Requests that a proxy forwards: the fields that say where a request came from, in all
//! spellings.

use std::net::{IpAddr, SocketAddr};

use tidegate::proxy::fields;
use tidegate::proxy::{Client, Host, Ids, Route};
use tidegate_http::{Fields, KnownName, RequestHead, RequestRules};

/// Names that inputs choose from.
const NAMES: [&str; 16] = [
    "x-forwarded-for",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "max-forwards",
    "x_forwarded_for",
    "x-forwarded-port",
    "x.real.ip",
    "remote_user",
    "proxy",
    "content-length",
    "host",
    "te",
    "x-own",
];

/// Fuzzes the fields that a forwarded request has. The first line is the client: each of its
/// letters sets a property. The second line is the authority. Each other line is a field: a letter
/// for its name, and its value.
///
/// - The forwarded message is a request, with one field of each spelling.
/// - Both spellings name the same chain, which ends with our client. If the client isn't trusted,
///   the chain has nobody else.
/// - Claims of an untrusted client aren't forwarded, however they are spelled.
/// - Another proxy, which trusts us, reads the same chain from either spelling, and extends it.
pub fn forwarded(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let client = client(lines.next().unwrap_or_default());
    let mut received = Fields::new();
    received.push_known(KnownName::METHOD, "GET");
    received.push_known(KnownName::SCHEME, "http");
    received.push_known(KnownName::AUTHORITY, lines.next().unwrap_or_default());
    received.push_known(KnownName::PATH, "/");
    for line in lines {
        if let Some((name, value)) = line.split_first() {
            let name = NAMES[usize::from(name % 16)];
            received.push(name, value);
        }
    }
    let Some(head) = accepted(received) else {
        return;
    };
    let Some(on) = forwarded_by(&head, &client) else {
        return;
    };
    let origin = Origin::of(&on);
    let own = client.addr.ip().to_canonical();
    assert_eq!(origin.chain.last(), Some(&own.to_string()));
    if !client.is_trusted {
        let proto = if client.is_secure { "https" } else { "http" };
        assert_eq!(origin.chain.len(), 1, "an untrusted client is believed");
        assert_eq!(
            (origin.host.as_str(), origin.proto.as_str()),
            (head.authority(), proto)
        );
        for field in on.headers() {
            let name = variable(field.name);
            let forged = ["X_REAL_IP", "X_FORWARDED_PORT", "REMOTE_USER"];
            assert!(!forged.contains(&&*name), "{name} is forwarded");
        }
    }
    for field in on.headers() {
        assert_ne!(variable(field.name), "PROXY");
    }
    let count = |name: &str| {
        let all = on.headers().map(|field| variable(field.name));
        all.filter(|known| known == name).count()
    };
    for name in ["X_FORWARDED_FOR", "X_FORWARDED_PROTO", "FORWARDED"] {
        assert_eq!(count(name), 1, "{name}");
    }
    assert!(count("X_FORWARDED_HOST") <= 1);

    // The next proxy reads either spelling.
    let ours = Client {
        addr: SocketAddr::from(([203, 0, 113, 1], 80)),
        is_secure: false,
        version: "HTTP/1.1",
        is_trusted: true,
        dropped: &[],
        certificate: None,
        is_early: false,
        ids: Ids::NONE,
    };
    for spelling in [
        &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"][..],
        &["forwarded"],
    ] {
        let Some(next) = forwarded_by(&without(&on, spelling), &ours) else {
            // The request has passed too many proxies.
            return;
        };
        let again = Origin::of(&next);
        assert_eq!((&again.host, &again.proto), (&origin.host, &origin.proto));
        let (last, chain) = again.chain.split_last().expect("there is a chain");
        assert_eq!(last, "203.0.113.1");
        let by_forwarded = spelling.len() > 1;
        let expected = origin.chain.iter().map(|node| node_in(node, by_forwarded));
        assert!(
            chain.iter().cloned().eq(expected),
            "{chain:?} is not the chain of {origin:?}"
        );
    }
}

/// Returns the client that a line describes.
fn client(line: &[u8]) -> Client<'static> {
    let has = |letter: u8| line.contains(&letter);
    Client {
        addr: match (has(b'6'), has(b'm')) {
            (true, _) => SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 4711),
            (_, true) => SocketAddr::new([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201].into(), 4711),
            _ => SocketAddr::from(([192, 0, 2, 1], 4711)),
        },
        is_secure: has(b's'),
        version: if has(b'2') { "HTTP/2" } else { "HTTP/1.0" },
        is_trusted: has(b't'),
        dropped: &[],
        certificate: None,
        is_early: false,
        ids: Ids::NONE,
    }
}

/// Returns the head, if an engine accepts it.
fn accepted(fields: Fields) -> Option<RequestHead> {
    let rules = RequestRules {
        extended_connect: true,
    };
    RequestHead::from_fields(fields, rules).ok()
}

/// Returns the head that the proxy sends for this one, unless it refuses.
fn forwarded_by(head: &RequestHead, client: &Client<'_>) -> Option<RequestHead> {
    let route = Route {
        upstream: 0,
        base: None,
        scheme: "http",
        authority: "upstream.example:8080".into(),
        host: Host::Keep,
    };
    fields::request(head, &route, b"/", client).ok()
}

/// Returns the head without these fields.
fn without(head: &RequestHead, names: &[&str]) -> RequestHead {
    let mut left = Fields::new();
    for field in head.fields() {
        if !names.iter().any(|name| name.as_bytes() == field.name) {
            left.push_field(field);
        }
    }
    accepted(left).expect("a request without these fields too")
}

/// Returns the variable that a CGI program gets for a field (RFC 3875 §4.1.18), without `HTTP_`.
/// Servers replace every character that a variable can't have by an underscore.
fn variable(name: &[u8]) -> String {
    let plain = |byte: &u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte.to_ascii_uppercase())
        } else {
            '_'
        }
    };
    name.iter().map(plain).collect()
}

/// Where a request came from, as its fields say.
#[derive(Debug)]
struct Origin {
    /// The clients, the first one first, as in X-Forwarded-For.
    chain: Vec<String>,
    host: String,
    proto: String,
}

impl Origin {
    /// Reads both spellings, which must agree.
    fn of(head: &RequestHead) -> Self {
        let text = |name| {
            let value = head.get(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let chain: Vec<String> = text("x-forwarded-for")
            .split(", ")
            .map(str::to_owned)
            .collect();
        let origin = Self {
            chain,
            host: text("x-forwarded-host"),
            proto: text("x-forwarded-proto"),
        };
        let elements = elements(head.get("forwarded").unwrap_or_default());
        assert_eq!(
            elements.len(),
            origin.chain.len(),
            "{origin:?}, {elements:?}"
        );
        for (number, (element, node)) in elements.iter().zip(&origin.chain).enumerate() {
            let value_of = |name: &str| {
                let found = element.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str())
            };
            let address = value_of("for").expect("each element has one");
            let bare = address
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            assert_eq!(bare.unwrap_or(address), node_in(node, true));
            assert_eq!(
                bare.is_some(),
                node.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
            );
            let is_first = number == 0;
            assert_eq!(value_of("proto"), is_first.then_some(&*origin.proto));
            let host = Some(&*origin.host).filter(|host| is_first && !host.is_empty());
            assert_eq!(value_of("host"), host);
        }
        origin
    }
}

/// Returns a node of X-Forwarded-For as the next proxy has it, which reads Forwarded or
/// X-Forwarded-For.
fn node_in(node: &str, by_forwarded: bool) -> String {
    let is_name = node.strip_prefix('_').is_some_and(|name| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && name.bytes().all(is_plain)
    });
    match node.parse::<IpAddr>() {
        Err(_) if by_forwarded && !is_name => "unknown".to_owned(),
        _ => node.to_owned(),
    }
}

/// Returns the elements of a Forwarded field, each with its pairs. Accepts only the grammar of RFC
/// 7239 §4.
fn elements(value: &[u8]) -> Vec<Vec<(String, String)>> {
    let text = std::str::from_utf8(value).expect("RFC 7239 allows only ASCII");
    let mut elements = vec![Vec::new()];
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=').expect("a pair has a =");
        assert!(is_token(name), "{name} isn't a token");
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("the quote has an end"),
            None => after.split_at(after.find([',', ';']).unwrap_or(after.len())),
        };
        let was_quoted = rest[name.len() + 1..].starts_with('"');
        assert!(was_quoted || is_token(value), "{value} isn't a token");
        assert!(!value.contains('\\'));
        let element = elements.last_mut().expect("there is one");
        element.push((name.to_owned(), value.to_owned()));
        if after.is_empty() {
            return elements;
        }
        rest = match after.strip_prefix(", ") {
            Some(next) => {
                elements.push(Vec::new());
                next
            }
            None => after.strip_prefix(';').expect("a ; between pairs"),
        };
    }
}

/// Whether the text is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}
