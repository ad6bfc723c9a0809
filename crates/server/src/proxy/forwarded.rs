//! Reports where a request came from to its upstream, as X-Forwarded-* and Forwarded (RFC 7239).
//!
//! Both are written from the same facts, so an application finds the same in whichever it reads.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_http::{Field, Fields, KnownName, RequestHead, is_authority};

/// The client that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The client's address.
    pub addr: SocketAddr,
    /// Whether the request came over TLS.
    pub is_secure: bool,
    /// The version of the request, such as `HTTP/1.0`.
    pub version: &'static str,
    /// Whether the fields in which the client reports the hops before it are trusted.
    pub is_trusted: bool,
    /// Fields that go on only from trusted clients, in the form that
    /// [`field_to_drop`](super::fields::field_to_drop) returns.
    pub dropped: &'a [Box<[u8]>],
    /// The fields about the client's certificate, if the site asks for one. Nobody else may send
    /// them.
    pub certificate: Option<&'a [(Box<str>, String)]>,
    /// Whether the request may be a copy (RFC 8470 §3).
    pub is_early: bool,
    /// Ids that the request gets, whatever its own fields say.
    pub ids: &'a Ids,
}

/// Ids that a request gets.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// The value of `x-request-id`. `None` leaves the field as it is.
    pub request_id: Option<Box<str>>,
    /// The value of `traceparent` for a request without a valid one.
    pub traceparent: Option<Box<str>>,
}

impl Ids {
    /// No ids.
    pub const NONE: &'static Self = &Self {
        request_id: None,
        traceparent: None,
    };
}

/// The fields in which a trusted client reports the hops before it.
#[derive(Default)]
pub(super) struct Reported<'a> {
    x_for: Vec<&'a [u8]>,
    x_host: Option<&'a [u8]>,
    x_proto: Option<&'a [u8]>,
    forwarded: Vec<&'a [u8]>,
}

/// The reported origin of a request, as far as it is known.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts<'a> {
    /// The hops before this server's own client, the first one first.
    chain: Vec<Node<'a>>,
    host: Option<&'a [u8]>,
    proto: Option<&'a [u8]>,
}

/// A hop that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node<'a> {
    Address(IpAddr),
    /// Not an address: `unknown`, or a name that a proxy made up.
    Named(&'a [u8]),
}

impl<'a> Reported<'a> {
    /// Notes a field if it is one of the four.
    pub(super) fn note(&mut self, field: Field<'a>) {
        let value = field.value;
        match field.known {
            Some(KnownName::X_FORWARDED_FOR) => self.x_for.push(value),
            Some(KnownName::X_FORWARDED_HOST) => self.x_host = self.x_host.or(Some(value)),
            Some(KnownName::X_FORWARDED_PROTO) => self.x_proto = self.x_proto.or(Some(value)),
            Some(KnownName::FORWARDED) => self.forwarded.push(value),
            _ => {}
        }
    }

    /// Writes all four fields. `authority` is that of the request as received.
    pub(super) fn push(&self, fields: &mut Fields, authority: &[u8], client: &Client<'_>) {
        let facts = self.facts();
        let own: &[u8] = if client.is_secure { b"https" } else { b"http" };
        let proto = facts.proto.unwrap_or(own);
        let host = facts.host.unwrap_or(authority);
        let ours = Node::Address(client.addr.ip().to_canonical());
        if facts.chain.is_empty()
            && let Node::Address(IpAddr::V4(v4)) = ours
        {
            return push_v4(fields, v4, host, proto);
        }
        // Enough for one IPv6 address and most names.
        let (mut x_for, mut forwarded) = (Vec::with_capacity(48), Vec::with_capacity(128));
        for node in facts.chain.into_iter().chain([ours]) {
            let is_first = x_for.is_empty();
            if !is_first {
                x_for.extend_from_slice(b", ");
                forwarded.extend_from_slice(b", ");
            }
            node.write_plain(&mut x_for);
            forwarded.extend_from_slice(b"for=");
            node.write(&mut forwarded);
            // Some applications read these in the first element, others in the last one that has
            // them. So only the first element has them.
            if is_first {
                if !host.is_empty() {
                    // A name with a port isn't a token, so it is quoted.
                    for part in [b";host=\"", host, b"\""] {
                        forwarded.extend_from_slice(part);
                    }
                }
                forwarded.extend_from_slice(b";proto=");
                forwarded.extend_from_slice(proto);
            }
        }
        fields.push_known(KnownName::X_FORWARDED_FOR, &x_for);
        fields.push_known(KnownName::X_FORWARDED_PROTO, proto);
        if !host.is_empty() {
            fields.push_known(KnownName::X_FORWARDED_HOST, host);
        }
        fields.push_known(KnownName::FORWARDED, &forwarded);
    }

    /// Returns the reported facts. Most balancers write X-Forwarded-* and pass on a stranger's
    /// Forwarded unchanged, so Forwarded counts only if there are no others.
    fn facts(&self) -> Facts<'a> {
        if self.x_for.is_empty() && self.x_host.is_none() && self.x_proto.is_none() {
            return parse_all(&self.forwarded).unwrap_or_default();
        }
        let entries = self.x_for.iter().flat_map(|value| members(value));
        Facts {
            chain: entries.map(Node::of).collect(),
            host: self.x_host.and_then(first).filter(|host| is_host(host)),
            proto: self
                .x_proto
                .and_then(first)
                .filter(|proto| is_scheme(proto)),
        }
    }
}

/// Returns the client of a request that a trusted proxy has made: the address that the last trusted
/// hop has seen.
pub(super) fn client(head: &RequestHead, trusts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut reported = Reported::default();
    for field in head.headers() {
        reported.note(field);
    }
    let mut farthest = None;
    for node in reported.facts().chain.into_iter().rev() {
        let Node::Address(ip) = node else { break };
        farthest = Some(ip);
        // Entries before an untrusted address may be invented.
        if !trusts(ip) {
            break;
        }
    }
    farthest
}

/// Whether a request reports that its client sent it by `https`.
pub(super) fn came_by_https(head: &RequestHead) -> bool {
    let mut reported = Reported::default();
    for field in head.headers() {
        reported.note(field);
    }
    let proto = reported.facts().proto;
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

impl<'a> Node<'a> {
    /// Reads an entry of X-Forwarded-For or Forwarded: an address with or without brackets and
    /// port, or something else.
    fn of(text: &'a [u8]) -> Self {
        let address = std::str::from_utf8(text).ok().and_then(|text| {
            let bare = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            let ip = bare.unwrap_or(text).parse::<IpAddr>().ok();
            ip.or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()))
        });
        match address {
            Some(ip) => Self::Address(ip.to_canonical()),
            None => Self::Named(text),
        }
    }

    /// Writes an entry of X-Forwarded-For.
    fn write_plain(self, out: &mut Vec<u8>) {
        match self {
            Self::Address(ip) => write_text(out, format_args!("{ip}")),
            Self::Named(name) => out.extend_from_slice(name),
        }
    }

    /// Writes a node of Forwarded (RFC 7239 §6).
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(v4)) => write_text(out, format_args!("{v4}")),
            // RFC 7239 §6: "an IPv6 address is always enclosed in square brackets", and in quotes,
            // because it isn't a token.
            Self::Address(IpAddr::V6(v6)) => write_text(out, format_args!("\"[{v6}]\"")),
            // RFC 7239 §6.3: "obfnode = "_" 1*( ALPHA / DIGIT / "." / "_" / "-")".
            Self::Named(name) if is_obfuscated(name) => out.extend_from_slice(name),
            Self::Named(_) => out.extend_from_slice(b"unknown"),
        }
    }
}

/// Writes the four fields of a request that came directly from a client with an IPv4 address, as
/// most do.
fn push_v4(fields: &mut Fields, v4: Ipv4Addr, host: &[u8], proto: &[u8]) {
    // The digits that `Display` writes, at a tenth of its cost.
    let mut text = [0; 15];
    let mut len = 0;
    let mut write = |byte| {
        text[len] = byte;
        len += 1;
    };
    for (at, part) in v4.to_bits().to_be_bytes().into_iter().enumerate() {
        if at > 0 {
            write(b'.');
        }
        if part >= 100 {
            write(b'0' + part / 100);
        }
        if part >= 10 {
            write(b'0' + part / 10 % 10);
        }
        write(b'0' + part % 10);
    }
    let ip = &text[..len];
    fields.push_known(KnownName::X_FORWARDED_FOR, ip);
    fields.push_known(KnownName::X_FORWARDED_PROTO, proto);
    let forwarded = KnownName::FORWARDED;
    if host.is_empty() {
        fields.push_parts(forwarded, &[b"for=", ip, b";proto=", proto]);
    } else {
        fields.push_known(KnownName::X_FORWARDED_HOST, host);
        // A name with a port isn't a token, so it is quoted.
        let parts = [b"for=", ip, b";host=\"", host, b"\";proto=", proto];
        fields.push_parts(forwarded, &parts);
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

fn is_obfuscated(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    matches!(name, [b'_', _, ..]) && name.iter().all(is_plain)
}

/// Whether this is a scheme (RFC 3986 §3.1).
fn is_scheme(proto: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    proto.first().is_some_and(u8::is_ascii_alphabetic) && proto.iter().all(is_plain)
}

/// Returns the members of a list without empty ones.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

fn first(list: &[u8]) -> Option<&[u8]> {
    members(list).next()
}

/// Returns the facts in the elements of all Forwarded fields. Returns `None` if one of them is
/// malformed by RFC 7239 §4, because half a list proves nothing.
fn parse_all<'a>(values: &[&'a [u8]]) -> Option<Facts<'a>> {
    let mut facts = Facts::default();
    for value in values {
        parse(value, &mut facts)?;
    }
    Some(facts)
}

/// Parses a value of RFC 7239 §4: "forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair
/// ] )", with commas between elements.
fn parse<'a>(mut rest: &'a [u8], facts: &mut Facts<'a>) -> Option<()> {
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Some(()),
            [b',' | b';', after @ ..] => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, after) = (&rest[..equals], &rest[equals + 1..]);
        let (value, after) = match after.strip_prefix(b"\"") {
            // No node, host or scheme has a character that needs a backslash.
            Some(quoted) => {
                let end = quoted
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'\\'))?;
                let value = &quoted[..end];
                (value, quoted[end..].strip_prefix(b"\"")?)
            }
            None => {
                let is_end = |byte: &u8| matches!(byte, b',' | b';') || byte.is_ascii_whitespace();
                after.split_at(after.iter().position(is_end).unwrap_or(after.len()))
            }
        };
        // RFC 7239 §4: "The parameter names are case-insensitive."
        if name.eq_ignore_ascii_case(b"for") && !value.is_empty() {
            facts.chain.push(match Node::of(value) {
                // RFC 7239 §6: "node = nodename [ ":" node-port ]". In quotes there may be anything
                // else, and with a comma it would be two entries of X-Forwarded-For.
                Node::Named(name) if !is_obfuscated(name) => Node::Named(b"unknown"),
                node => node,
            });
        } else if name.eq_ignore_ascii_case(b"host") {
            facts.host = facts
                .host
                .or(Some(value).filter(|host| is_host(host) && !host.is_empty()));
        } else if name.eq_ignore_ascii_case(b"proto") {
            facts.proto = facts.proto.or(Some(value).filter(|proto| is_scheme(proto)));
        }
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b',' | b';', ..]) {
            return None;
        }
    }
}

/// Whether an authority is one host, perhaps with a port (RFC 9110 §7.2), or empty. Anything else
/// must not get into fields that are lists.
pub(super) fn is_host(authority: &[u8]) -> bool {
    authority.is_empty() || is_authority(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the X-Forwarded-For, -Proto, -Host and Forwarded fields that go on, if a trusted
    /// client at 192.0.2.1 sends these fields in cleartext.
    fn told(received: &[(&str, &str)]) -> [String; 4] {
        let came: Fields = received.iter().copied().collect();
        let mut reported = Reported::default();
        for field in &came {
            reported.note(field);
        }
        let client = Client {
            addr: ([192, 0, 2, 1], 4711).into(),
            is_secure: false,
            version: "HTTP/1.1",
            is_trusted: true,
            dropped: &[],
            certificate: None,
            is_early: false,
            ids: Ids::NONE,
        };
        let mut fields = Fields::new();
        reported.push(&mut fields, b"site.example", &client);
        let names = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "forwarded",
        ];
        names.map(|name| String::from_utf8(fields.get(name).unwrap_or_default().to_vec()).unwrap())
    }

    #[test]
    fn both_spellings_say_the_same() {
        let own = "192.0.2.1";
        for (received, expected) in [
            (
                &[][..],
                [
                    own,
                    "http",
                    "site.example",
                    "for=192.0.2.1;host=\"site.example\";proto=http",
                ],
            ),
            (
                &[("x-forwarded-proto", "https")],
                [
                    own,
                    "https",
                    "site.example",
                    "for=192.0.2.1;host=\"site.example\";proto=https",
                ],
            ),
            (
                &[
                    ("x-forwarded-for", "203.0.113.7"),
                    ("x-forwarded-proto", "https"),
                ],
                [
                    "203.0.113.7, 192.0.2.1",
                    "https",
                    "site.example",
                    "for=203.0.113.7;host=\"site.example\";proto=https, for=192.0.2.1",
                ],
            ),
            (
                &[("forwarded", "for=203.0.113.7;proto=https")],
                [
                    "203.0.113.7, 192.0.2.1",
                    "https",
                    "site.example",
                    "for=203.0.113.7;host=\"site.example\";proto=https, for=192.0.2.1",
                ],
            ),
            (
                &[
                    (
                        "forwarded",
                        "For=\"[2001:db8::1]:4711\";Proto=https; host=\"a:8443\" , for=_hidden;by=x",
                    ),
                    ("forwarded", "for=unknown, for=\"192.0.2.9:80\";proto=http"),
                ],
                [
                    "2001:db8::1, _hidden, unknown, 192.0.2.9, 192.0.2.1",
                    "https",
                    "a:8443",
                    "for=\"[2001:db8::1]\";host=\"a:8443\";proto=https, for=_hidden, for=unknown, for=192.0.2.9, for=192.0.2.1",
                ],
            ),
            (
                &[
                    ("x-forwarded-for", "2001:db8::1, 203.0.113.7:5678,,"),
                    ("x-forwarded-for", "[2001:db8::2]:80, backend"),
                    ("x-forwarded-host", "first.example, second.example"),
                    ("x-forwarded-proto", "https,http"),
                ],
                [
                    "2001:db8::1, 203.0.113.7, 2001:db8::2, backend, 192.0.2.1",
                    "https",
                    "first.example",
                    "for=\"[2001:db8::1]\";host=\"first.example\";proto=https, for=203.0.113.7, for=\"[2001:db8::2]\", \
                     for=unknown, for=192.0.2.1",
                ],
            ),
        ] {
            assert_eq!(told(received), expected, "{received:?}");
        }
    }

    #[test]
    fn x_forwarded_counts_where_both_are_there() {
        // A balancer that writes X-Forwarded-* passes on a stranger's Forwarded.
        let both = told(&[
            ("forwarded", "for=10.0.0.1;host=evil.example;proto=http"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(both[3], "for=192.0.2.1;host=\"site.example\";proto=https");
        assert!(!both.concat().contains("evil") && !both.concat().contains("10.0.0.1"));
    }

    #[test]
    fn what_is_no_node_is_unknown() {
        for node in ["10.0.0.1, 10.0.0.2", "a,b", "a b", "_", "_a,_b"] {
            let told = told(&[("forwarded", &format!("for=\"{node}\";proto=https"))]);
            assert_eq!(told[0], "unknown, 192.0.2.1", "{node}");
            assert_eq!(
                told[3],
                "for=unknown;host=\"site.example\";proto=https, for=192.0.2.1"
            );
        }
    }

    #[test]
    fn what_is_no_fact_is_left_out() {
        let none = told(&[]);
        for forwarded in [
            "for",
            "for=\"a",
            "for=a b",
            "for=\"a\"b",
            "for=\"\\a\"",
            "for=1.1.1.1;proto=\"",
            "for=",
        ] {
            assert_eq!(told(&[("forwarded", forwarded)]), none, "{forwarded}");
        }
        for (name, value) in [
            ("x-forwarded-proto", "ht tp"),
            ("x-forwarded-proto", ";"),
            ("x-forwarded-host", "a\"b"),
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", ""),
            ("x-forwarded-for", " , "),
        ] {
            assert_eq!(told(&[(name, value)]), none, "{name}: {value}");
        }
    }
}
