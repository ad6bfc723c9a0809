//! Promises pushes: each is the answer to a request that is promised on a page's stream.

use tidegate_http::{KnownName, Misuse, Priority, RequestHead, Stream, StreamId};
use tidegate_http2::Connection;

use super::Refusal;
use super::list::Resource;

/// Promises a resource along with a page. Returns the promised stream and its request.
pub(super) fn send(
    engine: &mut Connection,
    id: StreamId,
    page: &RequestHead,
    resource: &Resource,
) -> Result<(StreamId, RequestHead), Refusal> {
    let mut stream = engine.stream(id).ok_or(Refusal::Unpromisable)?;
    let priority = resource.priority.unwrap_or_else(|| Priority {
        urgency: (stream.priority().urgency + 1).min(7),
        incremental: false,
    });
    // RFC 9113 §8.4: "The server MUST include a value in the ":authority" pseudo-header field for
    // which the server is authoritative". The page's authority is one, because the client requested
    // the page from this server.
    if page.authority_bytes().is_empty() {
        return Err(Refusal::Unpromisable);
    }
    let request = request(page, &resource.path);
    let promised = stream.push(&request).map_err(|misuse| match misuse {
        Misuse::PushDisabled => Refusal::Disabled,
        Misuse::TooManyStreams => Refusal::StreamLimit,
        Misuse::GoingAway => Refusal::GoingAway,
        _ => Refusal::Unpromisable,
    })?;
    if let Some(mut stream) = engine.stream(promised) {
        stream.prioritize(priority);
    }
    Ok((promised, request))
}

/// Fields copied from the page's request, as the client would have sent them. Conditions apply to
/// the page only. Credentials are left out, because a push is what any client would get. nghttpx,
/// mod_http2 and Caddy copy about the same fields.
const COPIED: [KnownName; 4] = [
    KnownName::ACCEPT_ENCODING,
    KnownName::ACCEPT_LANGUAGE,
    KnownName::CACHE_CONTROL,
    KnownName::USER_AGENT,
];

/// Returns the promised request, as the client would have made it after the page's request.
fn request(page: &RequestHead, path: &str) -> RequestHead {
    let mut head = RequestHead::new("GET", page.scheme(), page.authority(), path);
    for field in page.headers() {
        if field.known.is_some_and(|name| COPIED.contains(&name))
            && let Ok(name) = std::str::from_utf8(field.name)
        {
            head.push(name, field.value);
        }
    }
    head
}

/// Whether a request shows that the client has some version of the resource, or wants only a part
/// of it (RFC 9110 §13.1 and §14.2).
pub(super) fn is_conditional(head: &RequestHead) -> bool {
    let mut names = head.headers().filter_map(|field| field.known);
    names.any(|name| CONDITIONS.contains(&name))
}

const CONDITIONS: [KnownName; 6] = [
    KnownName::IF_MATCH,
    KnownName::IF_MODIFIED_SINCE,
    KnownName::IF_NONE_MATCH,
    KnownName::IF_RANGE,
    KnownName::IF_UNMODIFIED_SINCE,
    KnownName::RANGE,
];
