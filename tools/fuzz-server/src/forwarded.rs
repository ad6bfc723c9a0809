//! Requests on their way to an upstream: who asked for what, in all spellings.

use std::net::{IpAddr, SocketAddr};

use tidegate::flags::Host;
use tidegate::proxy::Route;
use tidegate::proxy::fields::{self, Client};
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

/// The first line is the client: each of its letters says something. The second is the authority; each other one is a field: a letter
/// for its name, and its value.
///
/// - What goes on is a request, with one field of each spelling.
/// - Both spellings tell one story, which ends with our client, and is the client's own alone if it isn't trusted.
/// - A stranger's claims don't go on, however they are spelled.
/// - Another proxy, which believes us, finds the story in either spelling, and goes on with it.
pub fn forwarded(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let client = client(lines.next().unwrap_or_default());
    let mut came = Fields::new();
    came.push_known(KnownName::METHOD, "GET");
    came.push_known(KnownName::SCHEME, "http");
    came.push_known(KnownName::AUTHORITY, lines.next().unwrap_or_default());
    came.push_known(KnownName::PATH, "/");
    for line in lines {
        if let Some((name, value)) = line.split_first() {
            let name = NAMES[usize::from(name % 16)];
            came.push(name, value);
        }
    }
    let Some(head) = let_through(came) else {
        return;
    };
    let Some(on) = sent(&head, &client) else {
        return;
    };
    let story = Story::of(&on);
    let own = client.addr.ip().to_canonical();
    assert_eq!(story.chain.last(), Some(&own.to_string()));
    if !client.is_trusted {
        let proto = if client.is_secure { "https" } else { "http" };
        assert_eq!(story.chain.len(), 1, "a stranger is believed");
        assert_eq!(
            (story.host.as_str(), story.proto.as_str()),
            (head.authority(), proto)
        );
        for field in on.headers() {
            let name = variable(field.name);
            let forged = ["X_REAL_IP", "X_FORWARDED_PORT", "REMOTE_USER"];
            assert!(!forged.contains(&&*name), "{name} goes on");
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

    // Another one behind us goes by either spelling.
    let ours = Client {
        addr: SocketAddr::from(([203, 0, 113, 1], 80)),
        is_secure: false,
        version: "HTTP/1.1",
        is_trusted: true,
        dropped: &[],
    };
    for spelling in [
        &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"][..],
        &["forwarded"],
    ] {
        let Some(next) = sent(&without(&on, spelling), &ours) else {
            // It has been on its way for too long.
            return;
        };
        let again = Story::of(&next);
        assert_eq!((&again.host, &again.proto), (&story.host, &story.proto));
        let (last, chain) = again.chain.split_last().expect("there is a chain");
        assert_eq!(last, "203.0.113.1");
        let by_forwarded = spelling.len() > 1;
        let expected = story.chain.iter().map(|node| node_in(node, by_forwarded));
        assert!(
            chain.iter().cloned().eq(expected),
            "{chain:?} is none of {story:?}"
        );
    }
}

/// A client, as a line describes it.
fn client(line: &[u8]) -> Client<'static> {
    let says = |letter: u8| line.contains(&letter);
    Client {
        addr: match (says(b'6'), says(b'm')) {
            (true, _) => SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 4711),
            (_, true) => SocketAddr::new([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201].into(), 4711),
            _ => SocketAddr::from(([192, 0, 2, 1], 4711)),
        },
        is_secure: says(b's'),
        version: if says(b'2') { "HTTP/2" } else { "HTTP/1.0" },
        is_trusted: says(b't'),
        dropped: &[],
    }
}

/// The head, if an engine takes it.
fn let_through(fields: Fields) -> Option<RequestHead> {
    let rules = RequestRules {
        extended_connect: true,
    };
    RequestHead::from_fields(fields, rules).ok()
}

/// What goes on of a request.
fn sent(head: &RequestHead, client: &Client<'_>) -> Option<RequestHead> {
    let route = Route {
        upstream: 0,
        base: None,
        scheme: "http",
        authority: "upstream.example:8080".into(),
        host: Host::Keep,
    };
    fields::request(head, &route, b"/", client).ok()
}

/// The head without these fields.
fn without(head: &RequestHead, names: &[&str]) -> RequestHead {
    let mut left = Fields::new();
    for field in head.fields() {
        if !names.iter().any(|name| name.as_bytes() == field.name) {
            left.push_field(field);
        }
    }
    let_through(left).expect("it is a request without them too")
}

/// The variable that a program of CGI gets for a field (RFC 3875 §4.1.18), `HTTP_` left out; servers make every character that no
/// variable has an underscore.
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

/// What an upstream is told of where a request came from.
#[derive(Debug)]
struct Story {
    /// The first one first, as X-Forwarded-For has it.
    chain: Vec<String>,
    host: String,
    proto: String,
}

impl Story {
    /// Reads both spellings, which must say the same.
    fn of(head: &RequestHead) -> Self {
        let text = |name| {
            let value = head.get(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let chain: Vec<String> = text("x-forwarded-for")
            .split(", ")
            .map(str::to_owned)
            .collect();
        let story = Self {
            chain,
            host: text("x-forwarded-host"),
            proto: text("x-forwarded-proto"),
        };
        let elements = elements(head.get("forwarded").unwrap_or_default());
        assert_eq!(elements.len(), story.chain.len(), "{story:?}, {elements:?}");
        for (number, (element, node)) in elements.iter().zip(&story.chain).enumerate() {
            let said = |name: &str| {
                let found = element.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str())
            };
            let address = said("for").expect("each has one");
            let bare = address
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            assert_eq!(bare.unwrap_or(address), node_in(node, true));
            assert_eq!(
                bare.is_some(),
                node.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
            );
            let is_first = number == 0;
            assert_eq!(said("proto"), is_first.then_some(&*story.proto));
            let host = Some(&*story.host).filter(|host| is_first && !host.is_empty());
            assert_eq!(said("host"), host);
        }
        story
    }
}

/// A node of X-Forwarded-For as the next one has it that reads Forwarded, or that.
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

/// The elements of a Forwarded field, each with its pairs: RFC 7239 §4, and nothing but what that has.
fn elements(value: &[u8]) -> Vec<Vec<(String, String)>> {
    let text = std::str::from_utf8(value).expect("RFC 7239 has ASCII only");
    let mut elements = vec![Vec::new()];
    let mut rest = text;
    loop {
        let (name, behind) = rest.split_once('=').expect("a pair has a =");
        assert!(is_token(name), "{name} is no token");
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("the quote has an end"),
            None => behind.split_at(behind.find([',', ';']).unwrap_or(behind.len())),
        };
        let was_quoted = rest[name.len() + 1..].starts_with('"');
        assert!(was_quoted || is_token(value), "{value} is no token");
        assert!(!value.contains('\\'));
        let element = elements.last_mut().expect("there is one");
        element.push((name.to_owned(), value.to_owned()));
        if behind.is_empty() {
            return elements;
        }
        rest = match behind.strip_prefix(", ") {
            Some(next) => {
                elements.push(Vec::new());
                next
            }
            None => behind.strip_prefix(';').expect("a ; between pairs"),
        };
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}
