//! Request heads: from bytes to a `RequestHead` and the framing of the body.

use std::mem::MaybeUninit;

use tidegate_http::{
    Config, Field, Fields, KnownName, RequestHead, RequestRules, Violation, ascii_target,
    is_authority,
};

use super::body::BodyReader;
use super::target::{push_pseudo_fields, split_absolute};
use super::{
    ConnectionOptions, Counts, Framing, MAX_FIELD_LINES, has_member, is_about_the_connection,
    version_of, violation_of,
};
use crate::exchange::Version;
use crate::upgrade::{self, Upgrade};

/// A request's head, parsed.
#[derive(Debug)]
pub(crate) struct Request {
    /// The head as HTTP/2 would carry it: pseudo-fields, names in lower case, no field about the
    /// connection.
    pub(crate) head: RequestHead,
    pub(crate) body: BodyReader,
    pub(crate) version: Version,
    /// Whether the client lets the connection persist after the response.
    pub(crate) persistent: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub(crate) expects_continue: bool,
    /// The upgrade that the client asks for, if we offer it.
    pub(crate) upgrade: Option<Upgrade>,
}

/// The upgrades that a server offers (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offers {
    pub(crate) websocket: bool,
    pub(crate) h2c: bool,
}

/// Reads a head that `Section` found complete.
///
/// # Errors
/// Returns the first rule that the head breaks.
pub(crate) fn parse(
    bytes: &[u8],
    scheme: &str,
    offers: Offers,
    config: &Config,
) -> Result<Request, Violation> {
    let target = target_of(bytes)?;
    if !target.is_ascii() {
        return parse(&with_ascii_target(bytes, target)?, scheme, offers, config);
    }
    let mut places = [const { MaybeUninit::uninit() }; MAX_FIELD_LINES];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut places) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Violation::RequestLineInvalid),
        Err(error) => return Err(violation_of(error, Violation::RequestLineInvalid)),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Violation::RequestLineInvalid);
    };
    let version = version_of(parsed.version);
    let is_http11 = version == Version::Http11;
    let options = ConnectionOptions::of(parsed.headers)?;
    let said = Said::of(parsed.headers)?;

    // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    // request message that lacks a Host header field and to any request message that contains more
    // than one Host header field line or a Host header field with an invalid field value."
    if is_http11 && said.host.is_none() {
        return Err(Violation::HostMissing);
    }
    if said.host.is_some_and(|host| !is_authority(host)) {
        return Err(Violation::HostInvalid);
    }
    let body = said
        .framing
        .body(is_http11, &options)?
        .unwrap_or(BodyReader::Done);
    // RFC 9110 §7.8: "A server that receives an Upgrade header field in an HTTP/1.0 request MUST
    // ignore that Upgrade field". A field that Connection doesn't name was meant for another
    // recipient.
    let asks = is_http11 && body.is_done() && options.names(b"upgrade");
    let upgrade = if asks {
        said.upgrade(method, &options, offers)
    } else {
        None
    };

    let mut fields = Fields::with_capacity(parsed.headers.len() + 5, bytes.len());
    // RFC 8441 §5 and RFC 6455 §4.1 define the same request; the head has the form of RFC 8441.
    let protocol = matches!(upgrade, Some(Upgrade::WebSocket { .. })).then_some("websocket");
    push_pseudo_fields(
        &mut fields,
        method.as_bytes(),
        target.as_bytes(),
        said.host,
        scheme,
        protocol,
    )?;
    let mut counts = Counts::default();
    let mut name = Vec::with_capacity(32);
    for line in parsed.headers.iter() {
        name.clear();
        name.extend(line.name.bytes().map(|byte| byte.to_ascii_lowercase()));
        let known = KnownName::of(&name);
        counts.count(known, config)?;
        let value = match known {
            // `:authority` has its value.
            Some(KnownName::HOST) => continue,
            // `Request` has their content.
            known if is_about_the_connection(known) => continue,
            // RFC 9110 §10.1.4: TE concerns this connection too. HTTP/2 has only its "trailers".
            Some(KnownName::TE) => {
                if has_member(line.value, b"trailers") {
                    b"trailers"
                } else {
                    continue;
                }
            }
            // RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
            // request MUST ignore that expectation."
            Some(KnownName::EXPECT) if !is_http11 => continue,
            // RFC 9110 §8.6: the field is the length of the content; a tunnel has none.
            Some(KnownName::CONTENT_LENGTH) if protocol.is_some() => continue,
            // RFC 8441 §5: the key and its answer are not part of the request.
            None if protocol.is_some() && name == upgrade::KEY => continue,
            // RFC 9110 §7.6.1: a field that Connection names is removed before the message is
            // forwarded. Connection can't remove the field that says where the message ends.
            known if known != Some(KnownName::CONTENT_LENGTH) && options.names(&name) => continue,
            _ => line.value,
        };
        fields.push_field(Field {
            known,
            name: &name,
            value,
            never_indexed: false,
        });
    }
    if fields.list_size() > config.max_header_list_size as usize {
        return Err(Violation::HeaderListTooLarge);
    }
    let rules = RequestRules {
        extended_connect: protocol.is_some(),
    };
    let head = RequestHead::from_fields(fields, rules)?;
    Ok(Request {
        body,
        version,
        persistent: options.persistent(is_http11),
        expects_continue: head.expects_continue(),
        upgrade,
        head,
    })
}

/// Returns the same head with a target in ASCII. Only a path and a query may have other bytes; in
/// an authority they are refused, as in Host.
fn with_ascii_target(bytes: &[u8], target: &[u8]) -> Result<Vec<u8>, Violation> {
    let path = match target {
        [b'/', ..] => target,
        _ => split_absolute(target).ok_or(Violation::TargetInvalid)?.1,
    };
    let method = bytes.iter().position(|&byte| byte == b' ');
    let end = method.map_or(0, |method| method + 1) + target.len();
    let (before, behind) = (&bytes[..end - path.len()], &bytes[end..]);
    Ok([before, &ascii_target(path), behind].concat())
}

/// Returns the target. RFC 9112 §3: "request-line = method SP request-target SP HTTP-version".
fn target_of(bytes: &[u8]) -> Result<&[u8], Violation> {
    let line = bytes.split(|&byte| byte == b'\r').next();
    let mut words = line.unwrap_or_default().split(|&byte| byte == b' ');
    let (method, target) = (words.next(), words.next());
    let (Some(b"HTTP/1.1" | b"HTTP/1.0"), None) = (words.next(), words.next()) else {
        return Err(wrong_request_line(line.unwrap_or_default()));
    };
    match (method, target) {
        (Some([_, ..]), Some(target @ [_, ..])) => Ok(target),
        _ => Err(Violation::RequestLineInvalid),
    }
}

/// Returns the violation of a request line. RFC 9112 §2.3: "HTTP-version = HTTP-name "/" DIGIT "."
/// DIGIT". Another version is valid but not supported. That includes 1.2 to 1.9, which don't exist,
/// although RFC 9110 §2.5 prefers to read them as 1.1.
fn wrong_request_line(line: &[u8]) -> Violation {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match words[..] {
        [
            _,
            _,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'],
        ] => Violation::HttpVersionUnsupported,
        _ => Violation::RequestLineInvalid,
    }
}

/// The fields that decide where the request ends, where it goes, and what the connection becomes.
#[derive(Default)]
struct Said<'a> {
    host: Option<&'a [u8]>,
    framing: Framing<'a>,
    /// The values of the fields that belong to an upgrade.
    upgrades: Vec<&'a [u8]>,
    websocket_keys: Vec<&'a [u8]>,
    http2_settings: Vec<&'a [u8]>,
}

impl<'a> Said<'a> {
    fn of(lines: &[httparse::Header<'a>]) -> Result<Self, Violation> {
        let mut said = Self::default();
        for line in lines {
            let is = |name: &[u8]| line.name.as_bytes().eq_ignore_ascii_case(name);
            if is(b"host") {
                if said.host.replace(line.value).is_some() {
                    return Err(Violation::HostRepeated);
                }
            } else if is(b"upgrade") {
                said.upgrades.push(line.value);
            } else if is(upgrade::KEY) {
                said.websocket_keys.push(line.value);
            } else if is(b"http2-settings") {
                said.http2_settings.push(line.value);
            } else {
                said.framing.note(line)?;
            }
        }
        Ok(said)
    }

    /// Returns the upgrade that the request asks for, if the request is valid and we offer it.
    fn upgrade(
        &self,
        method: &str,
        options: &ConnectionOptions<'_>,
        offers: Offers,
    ) -> Option<Upgrade> {
        let asks = |protocol| {
            self.upgrades
                .iter()
                .any(|value| has_member(value, protocol))
        };
        if offers.websocket && asks(b"websocket") {
            // RFC 6455 §4.1: "The method of the request MUST be GET", with one key.
            if let ("GET", [key]) = (method, &self.websocket_keys[..]) {
                return upgrade::accept(key).map(|accept| Upgrade::WebSocket { accept });
            }
        }
        // The bytes after CONNECT may be meant for its tunnel.
        if offers.h2c && method != "CONNECT" && asks(b"h2c") && options.names(b"http2-settings") {
            // RFC 7540 §3.2.1: "A server MUST NOT upgrade the connection to HTTP/2 if this header
            // field is not present or if more than one is present."
            if let [settings] = self.http2_settings[..] {
                return upgrade::settings(settings).map(|settings| Upgrade::Http2 { settings });
            }
        }
        None
    }
}
