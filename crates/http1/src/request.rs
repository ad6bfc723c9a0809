//! A request's head: octets to a `RequestHead`, and how its body is framed.

use std::mem::MaybeUninit;

use tidegate_proto::{Config, Field, Fields, KnownName, RequestHead, RequestRules, Violation};

use crate::body::BodyReader;
use crate::target::{is_host, push_pseudo_fields};

/// Field lines that one head may have, whatever the configuration says: `httparse` wants a place for each beforehand.
const MAX_FIELD_LINES: usize = 512;

/// What a head says.
#[derive(Debug)]
pub(crate) struct Request {
    /// The same as HTTP/2 would have brought it: pseudo-fields, lower case, nothing that is about the connection.
    pub(crate) head: RequestHead,
    pub(crate) body: BodyReader,
    /// HTTP/1.1, else 1.0.
    pub(crate) is_http11: bool,
    /// The connection goes on behind the response, as far as the client is concerned.
    pub(crate) persistent: bool,
    /// The client waits for 100 (Continue) before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Reads a head that `Section` found to be whole.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn parse(octets: &[u8], scheme: &str, config: &Config) -> Result<Request, Violation> {
    check_request_line(octets)?;
    let mut places = [const { MaybeUninit::uninit() }; MAX_FIELD_LINES];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(octets, &mut places) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Violation::RequestLineInvalid),
        Err(error) => return Err(violation_of(error)),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Violation::RequestLineInvalid);
    };
    let is_http11 = parsed.version == Some(1);
    let options = ConnectionOptions::of(parsed.headers);
    let said = Said::of(parsed.headers)?;

    // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one Host header field line or a Host
    // header field with an invalid field value."
    if is_http11 && said.host.is_none() {
        return Err(Violation::HostMissing);
    }
    if said.host.is_some_and(|host| !is_host(host)) {
        return Err(Violation::HostInvalid);
    }

    let mut fields = Fields::with_capacity(parsed.headers.len() + 4, octets.len());
    push_pseudo_fields(
        &mut fields,
        method.as_bytes(),
        target.as_bytes(),
        said.host,
        scheme,
    )?;
    let mut counts = Counts::default();
    let mut name = Vec::with_capacity(32);
    for line in parsed.headers.iter() {
        name.clear();
        name.extend(line.name.bytes().map(|octet| octet.to_ascii_lowercase()));
        let known = KnownName::of(&name);
        counts.count(known, config)?;
        let value = match known {
            // What they said is in the pseudo-fields and in `Request`, or was about this connection only.
            Some(
                KnownName::HOST
                | KnownName::CONNECTION
                | KnownName::KEEP_ALIVE
                | KnownName::PROXY_CONNECTION
                | KnownName::TRANSFER_ENCODING
                | KnownName::UPGRADE,
            ) => continue,
            // RFC 9110 §10.1.4: TE is about this connection too; of it, HTTP/2 knows "trailers".
            Some(KnownName::TE) => match has_member(line.value, b"trailers") {
                true => b"trailers",
                false => continue,
            },
            // RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore
            // that expectation."
            Some(KnownName::EXPECT) if !is_http11 => continue,
            // RFC 9110 §7.6.1: a field that Connection names is removed before the message is forwarded. One that says
            // where the message ends is no business of Connection's.
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
    let head = RequestHead::from_fields(fields, RequestRules::default())?;
    let expect = head.get_known(KnownName::EXPECT);
    Ok(Request {
        body: said.framing(is_http11)?,
        is_http11,
        persistent: options.persistent(is_http11),
        expects_continue: expect.is_some_and(|value| has_member(value, b"100-continue")),
        head,
    })
}

/// Reads a trailer section that `Section` found to be whole.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn parse_trailers(octets: &[u8], config: &Config) -> Result<Fields, Violation> {
    let mut fields = Fields::new();
    if octets == b"\r\n" {
        return Ok(fields);
    }
    let mut places = vec![httparse::EMPTY_HEADER; MAX_FIELD_LINES];
    let lines = match httparse::parse_headers(octets, &mut places) {
        Ok(httparse::Status::Complete((_, lines))) => lines,
        Ok(httparse::Status::Partial) => return Err(Violation::FieldLineInvalid),
        Err(error) => return Err(violation_of(error)),
    };
    let mut counts = Counts::default();
    for line in lines {
        let name = line.name.to_ascii_lowercase();
        let known = KnownName::of(name.as_bytes());
        counts.count(known, config)?;
        // RFC 9110 §6.5.1: no "message framing (e.g., Transfer-Encoding and Content-Length)", no "routing (e.g., Host)".
        if let Some(KnownName::TRANSFER_ENCODING | KnownName::CONTENT_LENGTH | KnownName::HOST) =
            known
        {
            return Err(Violation::TrailerForbidden);
        }
        fields.push(name, line.value);
    }
    if fields.list_size() > config.max_header_list_size as usize {
        return Err(Violation::HeaderListTooLarge);
    }
    tidegate_proto::check_trailers(&fields)?;
    Ok(fields)
}

/// RFC 9112 §3: "request-line = method SP request-target SP HTTP-version".
fn check_request_line(octets: &[u8]) -> Result<(), Violation> {
    let line = octets.split(|&octet| octet == b'\r').next();
    let mut words = line.unwrap_or_default().split(|&octet| octet == b' ');
    let (method, target) = (words.next(), words.next());
    let (Some(b"HTTP/1.1" | b"HTTP/1.0"), None) = (words.next(), words.next()) else {
        return Err(wrong_request_line(line.unwrap_or_default()));
    };
    match [method, target].contains(&Some(b"")) {
        true => Err(Violation::RequestLineInvalid),
        false => Ok(()),
    }
}

/// RFC 9112 §2.3: "HTTP-version = HTTP-name "/" DIGIT "." DIGIT". Another version is no mistake, but not for us. That goes
/// for 1.2 to 1.9 too, which RFC 9110 §2.5 would rather have taken for 1.1: there are none.
fn wrong_request_line(line: &[u8]) -> Violation {
    let words: Vec<&[u8]> = line.split(|&octet| octet == b' ').collect();
    match words[..] {
        [
            _,
            _,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'],
        ] => Violation::HttpVersionUnsupported,
        _ => Violation::RequestLineInvalid,
    }
}

fn violation_of(error: httparse::Error) -> Violation {
    match error {
        httparse::Error::Token | httparse::Error::Version | httparse::Error::Status => {
            Violation::RequestLineInvalid
        }
        httparse::Error::TooManyHeaders => Violation::TooManyHeaderFields,
        httparse::Error::NewLine => Violation::LineEndInvalid,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Violation::FieldLineInvalid,
    }
}

/// How many fields there are, by the limits of `Config`.
#[derive(Default)]
struct Counts {
    fields: u32,
    cookies: u32,
}

impl Counts {
    fn count(&mut self, name: Option<KnownName>, config: &Config) -> Result<(), Violation> {
        if name == Some(KnownName::COOKIE) {
            self.cookies += 1;
        } else {
            self.fields += 1;
        }
        if self.fields > config.max_header_fields {
            return Err(Violation::TooManyHeaderFields);
        }
        if self.cookies > config.max_cookie_crumbs {
            return Err(Violation::TooManyCookieCrumbs);
        }
        Ok(())
    }
}

/// What the Connection fields say (RFC 9110 §7.6.1).
struct ConnectionOptions<'a> {
    values: Vec<&'a [u8]>,
}

impl<'a> ConnectionOptions<'a> {
    fn of(lines: &[httparse::Header<'a>]) -> Self {
        let connection =
            |line: &&httparse::Header<'a>| line.name.eq_ignore_ascii_case("connection");
        let lines = lines.iter().filter(connection);
        Self {
            values: lines.map(|line| line.value).collect(),
        }
    }

    fn names(&self, option: &[u8]) -> bool {
        self.values.iter().any(|value| has_member(value, option))
    }

    /// RFC 9112 §9.3, in its order: "close" ends; HTTP/1.1 goes on; HTTP/1.0 goes on with "keep-alive".
    fn persistent(&self, is_http11: bool) -> bool {
        !self.names(b"close") && (is_http11 || self.names(b"keep-alive"))
    }
}

/// Whether a comma-separated list has this member, in any case.
fn has_member(list: &[u8], member: &[u8]) -> bool {
    let mut members = list.split(|&octet| octet == b',');
    members.any(|found| found.trim_ascii().eq_ignore_ascii_case(member))
}

/// The fields that say where the request ends and where it goes.
#[derive(Default)]
struct Said<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    /// The members of all Transfer-Encoding fields.
    codings: Option<Vec<&'a [u8]>>,
}

impl<'a> Said<'a> {
    fn of(lines: &[httparse::Header<'a>]) -> Result<Self, Violation> {
        let mut said = Self::default();
        for line in lines {
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            if is("host") {
                if said.host.replace(line.value).is_some() {
                    return Err(Violation::HostRepeated);
                }
            } else if is("content-length") {
                // RFC 9112 §6.3: a list of the same number in it, or more than one line, may be taken for one, or the
                // message is rejected. Whoever counts differently is led astray.
                let before = said.content_length.replace(line.value);
                if before.is_some() || line.value.contains(&b',') {
                    return Err(Violation::ContentLengthRepeated);
                }
            } else if is("transfer-encoding") {
                let codings = said.codings.get_or_insert_default();
                codings.extend(line.value.split(|&octet| octet == b',').map(trim_ows));
            }
        }
        Ok(said)
    }

    /// RFC 9112 §6.3: how the body is framed.
    fn framing(&self, is_http11: bool) -> Result<BodyReader, Violation> {
        let Some(codings) = &self.codings else {
            return match self.content_length {
                None => Ok(BodyReader::Done),
                Some(digits) => content_length(digits),
            };
        };
        // RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header
        // field MUST treat the message as if the framing is faulty".
        if !is_http11 {
            return Err(Violation::TransferEncodingBeforeHttp11);
        }
        // RFC 9112 §6.1: "A server MAY reject a request that contains both Content-Length and Transfer-Encoding".
        if self.content_length.is_some() {
            return Err(Violation::ContentLengthWithTransferEncoding);
        }
        let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        match codings[..] {
            [coding] if is_chunked(&coding) => Ok(BodyReader::chunked()),
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does not understand
            // SHOULD respond with 501 (Not Implemented)." Chunked must be there once, and last.
            [ref others @ .., last]
                if is_chunked(&last)
                    && others
                        .iter()
                        .all(|coding| is_token(coding) && !is_chunked(coding)) =>
            {
                Err(Violation::TransferCodingUnknown)
            }
            // RFC 9112 §6.3: "If a Transfer-Encoding header field is present in a request and the chunked transfer
            // coding is not the final encoding, … the server MUST respond with the 400 (Bad Request) status code".
            _ => Err(Violation::TransferEncodingNotChunked),
        }
    }
}

/// RFC 9110 §8.6: "Content-Length = 1*DIGIT". A zero in front is legal and refused: some read octal.
fn content_length(digits: &[u8]) -> Result<BodyReader, Violation> {
    let is_number =
        digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || !digits.starts_with(b"0"));
    let length = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    match length.filter(|_| is_number) {
        None => Err(Violation::ContentLengthInvalid),
        Some(0) => Ok(BodyReader::Done),
        Some(left) => Ok(BodyReader::Length { left }),
    }
}

/// RFC 9110 §5.6.3: "OWS = *( SP / HTAB )". Other whitespace is a part of what is said.
fn trim_ows(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(octets: &[u8]) -> bool {
    let tchar = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    !octets.is_empty() && octets.iter().all(tchar)
}
