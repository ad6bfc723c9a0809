//! Writes a line.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidegate_http::{ErrorCode, KnownName, Priority};

use super::entry::{Addresses, Cache, Entry, ResetBy};
use super::escape;
use super::fields::Field;
use super::format::Style;
use super::sampling::Rate;
use super::template::Part;
use crate::clock::Clock;
use crate::request::Sent;
use crate::trace_context::Traceparent;

/// Bytes of a request's target that are logged.
const MAX_TARGET: usize = 2048;
/// Bytes of a field that are logged.
const MAX_FIELD: usize = 1024;

/// A request that has ended.
pub(super) struct Line<'a> {
    pub(super) entry: &'a Entry,
    pub(super) sent: Sent,
    pub(super) took: Duration,
    pub(super) clock: &'a Clock,
    /// `None` if all requests have lines.
    pub(super) rate: Option<Rate>,
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    None,
    /// Text that a stranger may have chosen.
    Foreign(&'a [u8]),
    /// Text that needs no escapes.
    Own(&'a str),
    /// A status of three digits.
    Status(u16),
    Number(u64),
    Seconds(Duration),
    Ip(IpAddr),
    Addr(SocketAddr),
    Priority(Priority),
    Code(ErrorCode),
    /// Text that in JSON is an array of one.
    Listed(&'a [u8]),
    /// A word that in JSON is `true`.
    Is(&'static str),
    Part(f64),
    TimeIso8601,
    TimeLocal,
    RequestLine,
}

impl Line<'_> {
    /// Appends the line in its log's format, with its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let format = &self.entry.shape.format;
        match format.style {
            Style::Text => {
                for part in &format.parts {
                    self.text_part(out, part);
                }
            }
            Style::Json => self.json(out, &format.parts),
        }
        out.push(b'\n');
    }

    fn text_part(&self, out: &mut Vec<u8>, part: &Part) {
        let entry = self.entry;
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Field(field) => self.text(out, self.value(*field)),
            Part::RequestField(name) => {
                let value = entry.head.get(name).filter(|value| !value.is_empty());
                self.text(out, value.map_or(Value::None, foreign));
            }
            Part::Client => match entry.addresses {
                None => out.push(b'-'),
                Some(addresses) => match addresses.reported {
                    Some(ip) => self.text(out, Value::Ip(ip)),
                    None => self.text(out, Value::Addr(addresses.peer)),
                },
            },
            Part::Took => put(out, format_args!("{:.1?}", self.took)),
            Part::Origin => {
                if entry.stream.is_server_initiated() {
                    out.extend_from_slice(b" pushed");
                }
                if let Some(addr) = entry.trip.and_then(|trip| trip.addr) {
                    put(out, format_args!(" upstream={addr}"));
                }
            }
        }
    }

    fn text(&self, out: &mut Vec<u8>, value: Value<'_>) {
        match value {
            Value::None => out.push(b'-'),
            Value::Foreign(text) | Value::Listed(text) => escape::text(out, text),
            Value::Own(text) | Value::Is(text) => out.extend_from_slice(text.as_bytes()),
            Value::Status(status) => {
                let digits = [status / 100, status / 10 % 10, status % 10];
                out.extend(digits.map(|digit| b'0' + digit as u8));
            }
            Value::Number(number) => decimal(out, number),
            Value::Seconds(time) => seconds(out, time),
            Value::Ip(ip) => address_text(out, ip),
            Value::Addr(addr) => put(out, format_args!("{}", canonical(addr))),
            Value::Priority(Priority {
                urgency,
                incremental,
            }) => {
                out.extend_from_slice(b"u=");
                decimal(out, u64::from(urgency));
                if incremental {
                    out.extend_from_slice(b",i");
                }
            }
            Value::Code(code) => put(out, format_args!("{code}")),
            Value::Part(part) => put(out, format_args!("{part}")),
            Value::TimeIso8601 => self.clock.write_iso8601(out),
            Value::TimeLocal => {
                // `Sun, 06 Nov 1994 08:49:37 GMT`
                let date = self.clock.date();
                let parts = [
                    &date[5..7],
                    "/",
                    &date[8..11],
                    "/",
                    &date[12..16],
                    ":",
                    &date[17..25],
                    " +0000",
                ];
                for part in parts {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            Value::RequestLine => {
                escape::text(out, self.entry.head.method_bytes());
                out.push(b' ');
                escape::text(out, self.target());
                out.push(b' ');
                out.extend_from_slice(self.entry.version.as_bytes());
            }
        }
    }

    fn json(&self, out: &mut Vec<u8>, parts: &[Part]) {
        let before = out.len();
        for part in parts {
            let Part::Field(field) = part else { continue };
            let value = match self.value(*field) {
                Value::None | Value::Status(0) => continue,
                value => value,
            };
            out.extend_from_slice(field.json_key().as_bytes());
            match value {
                Value::Foreign(text) => escape::json(out, text),
                Value::Listed(text) => {
                    out.push(b'[');
                    escape::json(out, text);
                    out.push(b']');
                }
                Value::Is(_) => out.extend_from_slice(b"true"),
                Value::Status(status) => decimal(out, u64::from(status)),
                number @ (Value::Number(_) | Value::Seconds(_) | Value::Part(_)) => {
                    self.text(out, number);
                }
                text => {
                    // None of these has a quote or a backslash.
                    out.push(b'"');
                    self.text(out, text);
                    out.push(b'"');
                }
            }
        }
        match out.get_mut(before) {
            // The comma of the first key.
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }

    /// Returns the target of the request line.
    fn target(&self) -> &[u8] {
        let head = &self.entry.head;
        // CONNECT has no path.
        let target = match head.path_bytes() {
            b"" => head.authority_bytes(),
            path => path,
        };
        shortened(target, MAX_TARGET)
    }

    fn value(&self, field: Field) -> Value<'_> {
        let entry = self.entry;
        let head = &entry.head;
        let known = |name| head.get_known(name).map_or(Value::None, foreign);
        let trip = entry.trip.as_ref();
        match field {
            Field::TimeIso8601 => Value::TimeIso8601,
            Field::TimeLocal => Value::TimeLocal,
            Field::RemoteAddr
            | Field::RemotePort
            | Field::PeerAddr
            | Field::PeerPort
            | Field::ServerAddr
            | Field::ServerPort => match entry.addresses {
                Some(addresses) => address(field, addresses),
                None => Value::None,
            },
            Field::ServerProtocol => Value::Own(entry.version),
            Field::ProtocolVersion => {
                Value::Own(entry.version.strip_prefix("HTTP/").unwrap_or_default())
            }
            Field::Request => Value::RequestLine,
            Field::RequestMethod => foreign(head.method_bytes()),
            Field::Scheme => foreign(head.scheme().as_bytes()),
            Field::Host => foreign(host(head.authority_bytes())),
            Field::RequestUri => Value::Foreign(self.target()),
            Field::Path => match split(head.path_bytes()).0 {
                b"" => Value::None,
                path => Value::Foreign(shortened(path, MAX_TARGET)),
            },
            Field::Args => match split(head.path_bytes()).1 {
                b"" => Value::None,
                query => Value::Foreign(shortened(query, MAX_TARGET)),
            },
            Field::Status => Value::Status(self.sent.status),
            Field::BodyBytesSent => Value::Number(self.sent.bytes),
            Field::BodyBytesReceived => Value::Number(entry.received),
            Field::HeaderBytesReceived => Value::Number(head.fields().byte_len() as u64),
            Field::HeaderBlockReceived => size(entry.block_received),
            Field::HeaderBytesSent => size(entry.blocks_sent.map_or(0, |sent| sent.sent_fields)),
            Field::HeaderBlockSent => size(entry.blocks_sent.map_or(0, |sent| sent.sent)),
            Field::RequestTime => Value::Seconds(self.took),
            Field::FirstByteTime => optional(entry.first_byte.map(Value::Seconds)),
            Field::UpstreamAddr => optional(trip.and_then(|trip| trip.addr).map(Value::Addr)),
            Field::UpstreamTries => optional(trip.map(|trip| Value::Number(u64::from(trip.tries)))),
            Field::UpstreamQueueTime => optional(trip.map(|trip| Value::Seconds(trip.queued))),
            Field::UpstreamConnectTime => {
                optional(trip.map(|trip| Value::Seconds(trip.connecting)))
            }
            Field::UpstreamHeaderTime => optional(trip.map(|trip| Value::Seconds(trip.answering))),
            Field::UpstreamError => optional(entry.error.map(Value::Own)),
            Field::Cache => optional(entry.cache.map(|cache| {
                Value::Own(match cache {
                    Cache::Hit => "hit",
                    Cache::Miss => "miss",
                })
            })),
            Field::Push if entry.stream.is_server_initiated() => Value::Is("pushed"),
            Field::Push => Value::None,
            Field::EarlyHints if entry.is_hinted => Value::Is("hinted"),
            Field::EarlyHints => Value::None,
            Field::ResetCode => optional(entry.reset.map(|(code, _)| Value::Code(code))),
            Field::ResetBy => optional(entry.reset.map(|(_, by)| {
                Value::Own(match by {
                    ResetBy::Client => "client",
                    ResetBy::Server => "server",
                })
            })),
            Field::Violation => optional(entry.violation.map(|rule| Value::Own(rule.name()))),
            Field::Stream => Value::Number(u64::from(entry.stream.get())),
            Field::Priority => Value::Priority(entry.priority),
            Field::SslServerName => {
                let name = entry
                    .tls
                    .as_ref()
                    .and_then(|tls| tls.server_name.as_deref());
                optional(name.map(|name| foreign(name.as_bytes())))
            }
            Field::SslProtocol => optional(entry.tls.as_ref().map(|tls| match tls.version {
                "TLSv1_3" => Value::Own("TLSv1.3"),
                "TLSv1_2" => Value::Own("TLSv1.2"),
                other => Value::Own(other),
            })),
            Field::TlsVersion => optional(entry.tls.as_ref().map(|tls| match tls.version {
                "TLSv1_3" => Value::Own("1.3"),
                "TLSv1_2" => Value::Own("1.2"),
                other => Value::Own(other),
            })),
            Field::SslCipher => optional(entry.tls.as_ref().map(|tls| {
                // rustls names the suites of TLS 1.3 so.
                let rest = tls.cipher.strip_prefix("TLS13_");
                Value::Own(rest.map_or(tls.cipher, tls13_suite))
            })),
            Field::RequestId => match &entry.request_id {
                Some(id) => Value::Listed(id.as_bytes()),
                None => listed(head.get_known(KnownName::X_REQUEST_ID)),
            },
            Field::Traceparent => optional(self.trace().map(|trace| foreign(trace.text()))),
            Field::TraceId => optional(self.trace().map(|trace| foreign(trace.trace_id()))),
            Field::SpanId => optional(self.trace().map(|trace| foreign(trace.parent_id()))),
            Field::TraceFlags => optional(self.trace().map(|trace| foreign(trace.flags()))),
            Field::SampleRate => optional(self.rate.map(|rate| Value::Part(rate.part()))),
            Field::HttpReferer => listed(head.get_known(KnownName::REFERER)),
            Field::HttpUserAgent => known(KnownName::USER_AGENT),
        }
    }

    /// Returns the trace context that goes on.
    fn trace(&self) -> Option<Traceparent<'_>> {
        match &self.entry.traceparent {
            Some(made) => Traceparent::read(made.as_bytes()),
            None => Traceparent::of(&self.entry.head),
        }
    }
}

/// Returns the name at IANA of a suite of TLS 1.3, without what rustls puts before it.
fn tls13_suite(rest: &'static str) -> &'static str {
    match rest {
        "AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}

fn optional(value: Option<Value<'_>>) -> Value<'_> {
    value.unwrap_or(Value::None)
}

fn foreign(text: &[u8]) -> Value<'_> {
    if text.is_empty() {
        return Value::None;
    }
    Value::Foreign(shortened(text, MAX_FIELD))
}

fn listed(text: Option<&[u8]>) -> Value<'_> {
    match text {
        None | Some(b"") => Value::None,
        Some(text) => Value::Listed(shortened(text, MAX_FIELD)),
    }
}

/// Returns a size that is known if it isn't 0.
fn size(bytes: u32) -> Value<'static> {
    match bytes {
        0 => Value::None,
        bytes => Value::Number(u64::from(bytes)),
    }
}

fn address(field: Field, addresses: Addresses) -> Value<'static> {
    let Addresses {
        peer,
        via,
        local,
        reported,
    } = addresses;
    let port = |addr: SocketAddr| Value::Number(u64::from(addr.port()));
    match field {
        Field::RemoteAddr => Value::Ip(reported.unwrap_or(peer.ip())),
        Field::RemotePort if reported.is_some() => Value::None,
        Field::RemotePort => port(peer),
        Field::PeerAddr => Value::Ip(via.unwrap_or(peer).ip()),
        Field::PeerPort => port(via.unwrap_or(peer)),
        Field::ServerAddr => Value::Ip(local.ip()),
        Field::ServerPort => port(local),
        _ => Value::None,
    }
}

/// Returns an IPv4-mapped address as IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Returns the first `most` bytes of a text.
fn shortened(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

/// Returns an authority without its port.
fn host(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|byte| *byte == b':');
    match colon {
        // The colons of an IPv6 address are in brackets.
        Some(at) if !authority[at..].contains(&b']') => &authority[..at],
        _ => authority,
    }
}

/// Splits a path and its query.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

/// Appends an address; IPv4, as most are, without the formatter, which takes ten times as long.
fn address_text(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.to_bits().to_be_bytes();
            decimal(out, u64::from(first));
            for part in rest {
                out.push(b'.');
                decimal(out, u64::from(part));
            }
        }
        v6 @ IpAddr::V6(_) => put(out, format_args!("{v6}")),
    }
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    if let digit @ 0..=9 = number {
        return out.push(b'0' + digit as u8);
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends seconds with six digits after the point.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    decimal(out, time.as_secs());
    let micros = time.subsec_micros();
    let digits = [100_000, 10_000, 1000, 100, 10, 1];
    out.push(b'.');
    out.extend(digits.map(|unit| b'0' + (micros / unit % 10) as u8));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Vec takes everything");
}
