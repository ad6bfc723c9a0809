//! A request's head: bytes to a `RequestHead`, and how its body is framed.

use std::mem::MaybeUninit;

use tidegate_proto::{
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

/// What a head says.
#[derive(Debug)]
pub(crate) struct Request {
    /// The same as HTTP/2 would have brought it: pseudo-fields, lower case, nothing that is about
    /// the connection.
    pub(crate) head: RequestHead,
    pub(crate) body: BodyReader,
    pub(crate) version: Version,
    /// The connection goes on behind the response, as far as the client is concerned.
    pub(crate) persistent: bool,
    /// The client waits for 100 (Continue) before it sends the body.
    pub(crate) expects_continue: bool,
    /// What the client asks the connection to become, if we would.
    pub(crate) upgrade: Option<Upgrade>,
}

/// What a server upgrades to when it is asked to (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offers {
    pub(crate) websocket: bool,
    pub(crate) h2c: bool,
}

/// Reads a head that `Section` found to be whole.
///
/// # Errors
/// The first rule that it breaks.
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
    // ignore that Upgrade field", and one that Connection doesn't name was meant for somebody else.
    let asks = is_http11 && body.is_done() && options.names(b"upgrade");
    let upgrade = match asks {
        true => said.upgrade(method, &options, offers),
        false => None,
    };

    let mut fields = Fields::with_capacity(parsed.headers.len() + 5, bytes.len());
    // RFC 8441 §5 has the one and RFC 6455 §4.1 the other; here both are the same request.
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
            // What it said is in `:authority`.
            Some(KnownName::HOST) => continue,
            // What they said is in `Request`.
            known if is_about_the_connection(known) => continue,
            // RFC 9110 §10.1.4: TE is about this connection too; of it, HTTP/2 knows "trailers".
            Some(KnownName::TE) => match has_member(line.value, b"trailers") {
                true => b"trailers",
                false => continue,
            },
            // RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
            // request MUST ignore that expectation."
            Some(KnownName::EXPECT) if !is_http11 => continue,
            // RFC 9110 §8.6: it is how long the content is, and a tunnel has none.
            Some(KnownName::CONTENT_LENGTH) if protocol.is_some() => continue,
            // RFC 8441 §5: the key and its answer are not a part of the request.
            None if protocol.is_some() && name == upgrade::KEY => continue,
            // RFC 9110 §7.6.1: a field that Connection names is removed before the message is
            // forwarded. One that says where the message ends is no business of Connection's.
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

/// The same head, with a target in ASCII. Only a path and a query may have other bytes; in an
/// authority, Host has none either.
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

/// RFC 9112 §3: "request-line = method SP request-target SP HTTP-version", of which this is the
/// target.
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

/// RFC 9112 §2.3: "HTTP-version = HTTP-name "/" DIGIT "." DIGIT". Another version is no mistake,
/// but not for us. That goes for 1.2 to 1.9 too, which RFC 9110 §2.5 would rather have taken for
/// 1.1: there are none.
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

/// The fields that say where the request ends, where it goes, and what it would become.
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

    /// What the connection is to become, if the request says so properly and we would.
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
        // What follows CONNECT may have been meant for its tunnel.
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
