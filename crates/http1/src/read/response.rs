//! Response heads: from bytes to a `ResponseHead` and the framing of the body.

use std::mem::MaybeUninit;
use std::time::Duration;

use tidegate_http::{Config, Field, Fields, KnownName, ResponseHead, Violation};

use super::body::BodyReader;
use super::{
    ConnectionOptions, Counts, Framing, MAX_FIELD_LINES, is_about_the_connection, version_of,
    violation_of,
};
use crate::exchange::{Tunnel, Version};
use crate::upgrade;

/// A response's head, parsed.
#[derive(Debug)]
pub(crate) struct Response {
    /// The head as HTTP/2 would carry it: `:status`, names in lower case, no field about the
    /// connection.
    pub(crate) head: ResponseHead,
    pub(crate) version: Version,
    pub(crate) body: BodyReader,
    /// Whether the response grants the tunnel that the request asked for.
    pub(crate) opens_tunnel: bool,
    /// Whether the server lets the connection persist after the response.
    pub(crate) persistent: bool,
    /// Whether the head contradicts itself about its framing.
    pub(crate) is_faulty: bool,
    /// How long the server promises to keep an idle connection.
    pub(crate) keep_alive: Option<Duration>,
}

/// The properties of a request that decide how its response is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Whether the request's method is HEAD.
    pub(crate) head_request: bool,
    pub(crate) tunnel: &'a Tunnel,
}

/// Reads a head that `Section` found complete.
///
/// # Errors
/// Returns the first rule that the head breaks.
pub(crate) fn parse(
    bytes: &[u8],
    asked: Asked<'_>,
    config: &Config,
) -> Result<Response, Violation> {
    let mut places = [const { MaybeUninit::uninit() }; MAX_FIELD_LINES];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut places) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Violation::StatusLineInvalid),
        Err(error) => return Err(violation_of(error, Violation::StatusLineInvalid)),
    }
    let Some(status) = parsed.code else {
        return Err(Violation::StatusLineInvalid);
    };
    let version = version_of(parsed.version);
    let is_http11 = version == Version::Http11;
    let options = ConnectionOptions::of(parsed.headers)?;
    let switches = status == 101;
    let is_success = (200..300).contains(&status);
    let opens_tunnel = switches || (is_success && matches!(asked.tunnel, Tunnel::Connect));
    let mut framing = Framing::default();
    let mut upgrades = Vec::new();
    let mut accepts = Vec::new();
    let mut keep_alive = None;
    let mut lower = Vec::with_capacity(32);
    let mut names = Vec::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        lower.clear();
        lower.extend_from_slice(line.name.as_bytes());
        lower.make_ascii_lowercase();
        let known = KnownName::of(&lower);
        names.push(known);
        match known {
            Some(KnownName::UPGRADE) => upgrades.push(line.value),
            Some(KnownName::KEEP_ALIVE) => keep_alive = timeout_of(line.value),
            // RFC 9110 §9.3.6: "A client MUST ignore any Content-Length or Transfer-Encoding header
            // fields received in a successful response to CONNECT."
            Some(KnownName::CONTENT_LENGTH | KnownName::TRANSFER_ENCODING) if !opens_tunnel => {
                framing.note(line)?;
            }
            None if lower == upgrade::ACCEPT => accepts.push(line.value),
            _ => {}
        }
    }
    if switches {
        // RFC 6455 §4.1: the client MUST fail the connection unless all of this holds. Upgrade must
        // be a single value here, not a list.
        let to_websocket =
            matches!(upgrades[..], [protocol] if protocol.eq_ignore_ascii_case(b"websocket"));
        let as_asked = to_websocket
            && options.names(b"upgrade")
            && matches!((asked.tunnel, &accepts[..]), (Tunnel::WebSocket { accept }, [got]) if accept.as_bytes() == *got);
        if !as_asked {
            return Err(Violation::UpgradeInvalid);
        }
    }
    // The order of RFC 9112 §6.3; but a tunnel's bytes are no body, and a 204 opens a tunnel too.
    let body = if opens_tunnel {
        BodyReader::UntilEnd
    } else if asked.head_request || matches!(status, 100..200 | 204 | 304) {
        BodyReader::Done
    } else {
        framing
            .body(is_http11, &options)?
            .unwrap_or(BodyReader::UntilEnd)
    };

    let mut fields = Fields::with_capacity(parsed.headers.len() + 1, bytes.len());
    // RFC 8441 §5: HTTP/2 has 200 where HTTP/1.1 has 101.
    let status = if switches { 200 } else { status };
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    fields.push_known(KnownName::STATUS, [digit(100), digit(10), digit(1)]);
    let mut counts = Counts::default();
    for (line, known) in parsed.headers.iter().zip(names) {
        counts.count(known, config)?;
        let name = match known {
            Some(known) => known.as_str().as_bytes(),
            None => {
                lower.clear();
                lower.extend_from_slice(line.name.as_bytes());
                lower.make_ascii_lowercase();
                &lower
            }
        };
        let is_ours = is_about_the_connection(known)
            || known == Some(KnownName::TE)
            || known.is_none() && name == upgrade::ACCEPT;
        let is_length = known == Some(KnownName::CONTENT_LENGTH);
        // RFC 9112 §6.3: the fields about a body's length have no meaning without a body or in a
        // tunnel.
        if is_ours || (is_length && opens_tunnel) || (!is_length && options.names(name)) {
            continue;
        }
        fields.push_field(Field {
            known,
            name,
            value: line.value,
            never_indexed: false,
        });
    }
    if fields.list_size() > config.max_header_list_size as usize {
        return Err(Violation::HeaderListTooLarge);
    }
    let is_endless = matches!(body, BodyReader::UntilEnd);
    // RFC 9112 §6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing, even without a
    // body. RFC 9110 §8.6, RFC 9112 §6.1: a 1xx or 204 has neither field. If a body followed, it
    // would be read as the response to the next request.
    let announces = matches!(status, 100..200 | 204) && framing.announces_body();
    let is_faulty = announces || !is_http11 && framing.codings.is_some();
    Ok(Response {
        head: ResponseHead::from_fields(fields)?,
        version,
        body,
        opens_tunnel,
        persistent: options.persistent(is_http11) && !is_endless && !is_faulty,
        is_faulty,
        keep_alive,
    })
}

/// The longest promise that is believed, in seconds. A longer one could overflow the clock.
const LONGEST_KEEP_ALIVE: u64 = 24 * 60 * 60;

/// Returns the parameter `timeout` of a Keep-Alive field, in seconds.
fn timeout_of(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parameters = text
        .split(',')
        .filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let seconds = seconds.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_KEEP_ALIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_has_a_time() {
        for (value, seconds) in [
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 15", Some(15)),
            ("timeout", None),
            ("timeout=-1", None),
            ("timeout=18446744073709551615", Some(LONGEST_KEEP_ALIVE)),
            ("timeout=99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(
                timeout_of(value.as_bytes()),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
