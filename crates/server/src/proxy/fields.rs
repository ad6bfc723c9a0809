//! The fields of forwarded heads: which are removed, which are added, and which requests are
//! refused.

#[cfg(test)]
mod tests;

use tidegate_http::{Fields, KnownName, RequestHead, RequestRules, ResponseHead, may_be_trailer};

use super::forwarded::{Client, Reported, is_host};
use super::identity::{goes_on, taken_for};
use super::route::{Host, Route};
use crate::trace_context::Traceparent;

/// The server's name in Via fields (RFC 9110 §7.6.3).
const PSEUDONYM: &str = "tidegate";

/// A request with this many entries of this server in Via goes round in circles.
const MAX_HOPS: usize = 8;

/// Why a request isn't forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request has passed this server too often.
    Loop,
    /// By Max-Forwards the request is for this server.
    LastHop,
    /// TRACE would show the client the fields that this server adds.
    Method,
    /// The forwarded head would be malformed.
    Unsendable,
}

/// Returns the head with which a request goes to its upstream, with `path` as its path.
pub fn request(
    head: &RequestHead,
    route: &Route,
    path: &[u8],
    client: &Client<'_>,
) -> Result<RequestHead, Refused> {
    if head.method_bytes() == b"TRACE" {
        return Err(Refused::Method);
    }
    if !is_host(head.authority_bytes()) {
        return Err(Refused::Unsendable);
    }
    let authority = match route.host {
        Host::Keep if !head.authority_bytes().is_empty() => head.authority_bytes(),
        // RFC 9110 §7.2: an upstream always gets a Host, and servers refuse an empty one. HTTP/1.0
        // and HTTP/2 requests (RFC 9113 §8.3.1) may have none.
        Host::Keep | Host::Rewrite => route.authority.as_bytes(),
    };
    let mut fields = Fields::with_capacity(head.fields().len() + 8, head.fields().byte_len() + 256);
    fields.push_known(KnownName::METHOD, head.method_bytes());
    if let Some(protocol) = head.protocol() {
        fields.push_known(KnownName::PROTOCOL, protocol);
    }
    fields.push_known(KnownName::SCHEME, route.scheme);
    fields.push_known(KnownName::AUTHORITY, authority);
    fields.push_known(KnownName::PATH, path);

    let told = client.certificate.unwrap_or_default();
    let is_dropped = |name: &[u8]| {
        let is_refused =
            !client.is_trusted && !client.dropped.is_empty() && is_among(name, client.dropped);
        // These are our word, not even a trusted client's.
        is_refused
            || told
                .iter()
                .any(|(told, _)| told.as_bytes() == &*taken_for(name))
            || client.ids.request_id.is_some() && *taken_for(name) == *b"x-request-id"
    };
    let mut has_context = None;
    let mut reported = Reported::default();
    let mut hops = 0;
    for field in head.headers() {
        match field.known {
            // Host is in `:authority`. The settings of an upgrade to HTTP/2 concern only the
            // client's connection.
            Some(KnownName::HOST | KnownName::HTTP2_SETTINGS) => continue,
            Some(
                KnownName::X_FORWARDED_FOR
                | KnownName::X_FORWARDED_HOST
                | KnownName::X_FORWARDED_PROTO
                | KnownName::FORWARDED,
            ) => {
                // From an untrusted client these may be forgeries.
                if client.is_trusted {
                    reported.note(field);
                }
            }
            Some(KnownName::X_REAL_IP) if !client.is_trusted => {}
            // RFC 9110 §8.6: content-length is the length of content, and a tunnel has no content.
            Some(KnownName::CONTENT_LENGTH) if head.protocol().is_some() => {}
            // RFC 9110 §7.6.2: for TRACE and OPTIONS, "an intermediary … MUST check and update its
            // value prior to forwarding".
            Some(KnownName::MAX_FORWARDS) if head.method_bytes() == b"OPTIONS" => {
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
            Some(KnownName::TRACEPARENT | KnownName::TRACESTATE) => {
                // W3C Trace Context §3.2.1 and §3.3.1.2: without a valid traceparent there is no
                // trace, and tracestate has no meaning.
                let goes_on = *has_context.get_or_insert_with(|| Traceparent::of(head).is_some());
                if goes_on && !is_dropped(field.name) {
                    fields.push_field(field);
                }
            }
            known => {
                if known == Some(KnownName::VIA) {
                    hops += visits(field.value);
                }
                // Ours says so, whatever the client's says.
                let is_replaced = client.is_early && field.name == b"early-data";
                let fits = known.is_some() || goes_on(field.name, client.is_trusted);
                if fits && !is_replaced && !is_dropped(field.name) {
                    fields.push_field(field);
                }
            }
        }
    }
    if hops >= MAX_HOPS {
        return Err(Refused::Loop);
    }
    reported.push(&mut fields, head.authority_bytes(), client);
    for (name, value) in told {
        fields.push(&**name, value);
    }
    if let Some(id) = &client.ids.request_id {
        fields.push_known(KnownName::X_REQUEST_ID, &**id);
    }
    if let Some(traceparent) = &client.ids.traceparent {
        fields.push_known(KnownName::TRACEPARENT, &**traceparent);
    }
    if client.is_early {
        // RFC 8470 §5.1: "An intermediary that forwards a request prior to the completion of the
        // TLS handshake with its client MUST send it with the Early-Data header field set to "1"".
        fields.push("early-data", "1");
    }
    fields.push_known(KnownName::VIA, via(client.version));
    let rules = RequestRules {
        extended_connect: true,
    };
    RequestHead::from_fields(fields, rules).map_err(|_| Refused::Unsendable)
}

/// Whether a field is one of these, in whatever spelling a CGI program takes for it.
fn is_among(name: &[u8], names: &[Box<[u8]>]) -> bool {
    names.iter().any(|known| **known == *taken_for(name))
}

/// Returns the trailers of a request that go on, without those that strangers can't send. RFC 9110
/// §6.5.1: fields about framing, routing, authentication or the request itself must not be
/// trailers, but some servers take trailers for fields of the head. So only unknown names go on.
pub fn trailers(fields: &Fields, dropped: &[Box<[u8]>]) -> Fields {
    let mut kept = Fields::new();
    for field in fields {
        if field.known.is_none()
            && goes_on(field.name, false)
            && (dropped.is_empty() || !is_among(field.name, dropped))
        {
            kept.push_field(field);
        }
    }
    kept
}

/// Adds fields to a final response for the client. `version` is that of the response, `date` the
/// time at which it came.
pub fn response(head: &mut ResponseHead, version: &str, date: &str) {
    // RFC 9110 §6.6.1: "A recipient with a clock that receives a response message without a Date
    // header field MUST … append a corresponding Date header field to the message's header section
    // if it is … forwarded downstream."
    if head.get_known(KnownName::DATE).is_none() {
        head.push("date", date);
    }
    head.push("via", via(version));
}

/// Returns the trailers of a response that go on: all but those that must not be trailers
/// (RFC 9110 §6.5.1), because of which some clients refuse the response.
pub fn response_trailers(fields: Fields) -> Fields {
    if fields.iter().all(|field| may_be_trailer(field.known)) {
        return fields;
    }
    let mut kept = Fields::new();
    for field in &fields {
        if may_be_trailer(field.known) {
            kept.push_field(field);
        }
    }
    kept
}

/// Returns the name of a field that the operator wants dropped, in the form in which names are
/// compared.
pub fn field_to_drop(name: &str) -> Box<[u8]> {
    taken_for(name.to_ascii_lowercase().as_bytes()).into()
}

/// Whether the proxy removes or rewrites the field of this name from all clients, so that there is
/// nothing to drop.
pub fn is_rewritten(name: &[u8]) -> bool {
    matches!(
        KnownName::of(name),
        Some(
            KnownName::HOST
                | KnownName::CONNECTION
                | KnownName::KEEP_ALIVE
                | KnownName::PROXY_CONNECTION
                | KnownName::TRANSFER_ENCODING
                | KnownName::CONTENT_LENGTH
                | KnownName::UPGRADE
                | KnownName::HTTP2_SETTINGS
                | KnownName::X_FORWARDED_FOR
                | KnownName::X_FORWARDED_HOST
                | KnownName::X_FORWARDED_PROTO
                | KnownName::FORWARDED
        )
    )
}

/// Converts the head of a request for a WebSocket to the GET that it is in HTTP/1.1 for a server
/// that doesn't know WebSockets.
pub fn without_upgrade(head: &RequestHead) -> RequestHead {
    let mut plain = RequestHead::new("GET", head.scheme(), head.authority(), head.path());
    for field in head.headers() {
        if let Ok(name) = std::str::from_utf8(field.name) {
            plain.push(name, field.value);
        }
    }
    plain
}

/// Returns an entry for Via (RFC 9110 §7.6.3): the version of the received message, and this
/// server's name.
fn via(version: &str) -> &'static str {
    // RFC 9110 §7.6.3: "the protocol-name is omitted when the received protocol is HTTP".
    match version {
        "HTTP/2" => "2 tidegate",
        "HTTP/1.0" => "1.0 tidegate",
        _ => "1.1 tidegate",
    }
}

/// Returns the number of entries of this server in a Via field.
fn visits(via: &[u8]) -> usize {
    let ours = |entry: &&[u8]| entry.ends_with(PSEUDONYM.as_bytes());
    let entries = via.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    entries.filter(ours).count()
}
