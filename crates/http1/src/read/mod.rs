//! Reading messages: heads, where they end, and bodies. This file has what both kinds of heads
//! share.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod section;
mod target;

use tidegate_http::{Config, Fields, KnownName, Violation, may_be_trailer};

use crate::exchange::Version;
use body::BodyReader;

/// The most field lines of a head, whatever the configuration allows: `httparse` needs a place for
/// each in advance.
const MAX_FIELD_LINES: usize = 512;

/// The most options in all Connection fields of a head. Each field's name is compared with each
/// option.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// A request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The kind that a server reads.
    Request,
    /// The kind that a client reads.
    Response,
}

/// Reads a trailer section that `Section` found complete, without the fields whose names are
/// `nominated` by Connection.
///
/// # Errors
/// Returns the first rule that the section breaks.
pub(crate) fn parse_trailers(
    bytes: &[u8],
    nominated: &[Box<[u8]>],
    config: &Config,
) -> Result<Fields, Violation> {
    let mut fields = Fields::new();
    if bytes == b"\r\n" {
        return Ok(fields);
    }
    let mut places = vec![httparse::EMPTY_HEADER; MAX_FIELD_LINES];
    let lines = match httparse::parse_headers(bytes, &mut places) {
        Ok(httparse::Status::Complete((_, lines))) => lines,
        Ok(httparse::Status::Partial) => return Err(Violation::FieldLineInvalid),
        Err(error) => return Err(violation_of(error, Violation::FieldLineInvalid)),
    };
    let mut counts = Counts::default();
    for line in lines {
        let name = line.name.to_ascii_lowercase();
        let known = KnownName::of(name.as_bytes());
        counts.count(known, config)?;
        // Drop a field that must not be in trailers: the message is complete, and the field means
        // nothing here. RFC 9110 §7.6.1: "remove any header or trailer field(s) from the message
        // with the same name as the connection-option".
        let is_nominated = nominated.iter().any(|option| **option == *name.as_bytes());
        if may_be_trailer(known) && !is_nominated {
            fields.push(name, line.value);
        }
    }
    if fields.list_size() > config.max_header_list_size as usize {
        return Err(Violation::HeaderListTooLarge);
    }
    tidegate_http::check_trailers(&fields)?;
    Ok(fields)
}

/// Returns the version for the number that `httparse` gives.
fn version_of(minor: Option<u8>) -> Version {
    match minor {
        Some(1) => Version::Http11,
        _ => Version::Http10,
    }
}

/// Returns the violation for an error of `httparse`; `start` is the one for a broken first line.
fn violation_of(error: httparse::Error, start: Violation) -> Violation {
    match error {
        httparse::Error::Token | httparse::Error::Version | httparse::Error::Status => start,
        httparse::Error::TooManyHeaders => Violation::TooManyHeaderFields,
        httparse::Error::NewLine => Violation::LineEndInvalid,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Violation::FieldLineInvalid,
    }
}

/// The numbers of fields that the limits of `Config` count.
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

/// The options of the Connection fields (RFC 9110 §7.6.1).
struct ConnectionOptions<'a> {
    options: Vec<&'a [u8]>,
}

impl<'a> ConnectionOptions<'a> {
    /// # Errors
    /// Returns an error if there are more options than any honest peer needs.
    fn of(lines: &[httparse::Header<'a>]) -> Result<Self, Violation> {
        let connection =
            |line: &&httparse::Header<'a>| line.name.eq_ignore_ascii_case("connection");
        let lines = lines.iter().filter(connection);
        let options = lines.flat_map(|line| members(line.value));
        let options: Vec<_> = options.take(MAX_CONNECTION_OPTIONS + 1).collect();
        if options.len() > MAX_CONNECTION_OPTIONS {
            Err(Violation::TooManyHeaderFields)
        } else {
            Ok(Self { options })
        }
    }

    fn names(&self, name: &[u8]) -> bool {
        let mut options = self.options.iter();
        options.any(|option| option.eq_ignore_ascii_case(name))
    }

    /// Returns the options in lower case, for the trailers.
    fn nominated(&self) -> Vec<Box<[u8]>> {
        // Trailers never have these fields, so there is no need to keep their names.
        let others = self.options.iter().filter(|option| {
            let name = option.to_ascii_lowercase();
            !matches!(&*name, b"close") && may_be_trailer(KnownName::of(&name))
        });
        others
            .map(|option| option.to_ascii_lowercase().into())
            .collect()
    }

    /// Whether the connection persists. RFC 9112 §9.3, in its order: "close" ends it; HTTP/1.1
    /// persists; HTTP/1.0 persists with "keep-alive".
    fn persistent(&self, is_http11: bool) -> bool {
        !self.names(b"close") && (is_http11 || self.names(b"keep-alive"))
    }
}

/// Whether a field concerns this connection only, or is reported in another way than as a field
/// (RFC 9110 §7.6.1).
fn is_about_the_connection(known: Option<KnownName>) -> bool {
    matches!(
        known,
        Some(
            KnownName::CONNECTION
                | KnownName::KEEP_ALIVE
                | KnownName::PROXY_CONNECTION
                | KnownName::TRANSFER_ENCODING
                | KnownName::UPGRADE
                | KnownName::HTTP2_SETTINGS
        )
    )
}

/// The fields that decide where the message ends.
#[derive(Default)]
struct Framing<'a> {
    content_length: Option<&'a [u8]>,
    /// The members of all Transfer-Encoding fields.
    codings: Option<Vec<&'a [u8]>>,
}

impl<'a> Framing<'a> {
    /// Notes a field line if it decides where the message ends.
    fn note(&mut self, line: &httparse::Header<'a>) -> Result<(), Violation> {
        if line.name.eq_ignore_ascii_case("content-length") {
            // RFC 9112 §6.3: framing is invalid "unless the field value can be successfully parsed
            // as a comma-separated list …, all values in the list are valid, and all values in the
            // list are the same (in which case, the message is processed with that single value".
            // Two lines are such a list (RFC 9110 §5.3). The message is forwarded with the single
            // value.
            for member in line.value.split(|&byte| byte == b',').map(trim_ows) {
                if self
                    .content_length
                    .replace(member)
                    .is_some_and(|before| before != member)
                {
                    return Err(Violation::ContentLengthRepeated);
                }
            }
        } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
            let codings = self.codings.get_or_insert_default();
            codings.extend(line.value.split(|&byte| byte == b',').map(trim_ows));
        }
        Ok(())
    }

    /// Whether the fields announce a body.
    fn announces_body(&self) -> bool {
        self.codings.is_some() || self.content_length.is_some_and(|length| length != b"0")
    }

    /// Returns how the body is framed (RFC 9112 §6.3); `None` if neither field is there.
    fn body(
        &self,
        is_http11: bool,
        options: &ConnectionOptions<'_>,
    ) -> Result<Option<BodyReader>, Violation> {
        let Some(codings) = &self.codings else {
            return self.content_length.map(content_length).transpose();
        };
        // RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a
        // Transfer-Encoding header field MUST treat the message as if the framing is faulty".
        if !is_http11 {
            return Err(Violation::TransferEncodingBeforeHttp11);
        }
        // RFC 9112 §6.1: "A server MAY reject a request that contains both Content-Length and
        // Transfer-Encoding". §6.3: any message with both "ought to be handled as an error".
        if self.content_length.is_some() {
            return Err(Violation::ContentLengthWithTransferEncoding);
        }
        let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        match codings[..] {
            [coding] if is_chunked(&coding) => Ok(Some(BodyReader::chunked(options.nominated()))),
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it
            // does not understand SHOULD respond with 501 (Not Implemented)." Chunked must come
            // once, and last.
            [ref others @ .., last]
                if is_chunked(&last)
                    && others
                        .iter()
                        .all(|coding| is_token(coding) && !is_chunked(coding)) =>
            {
                Err(Violation::TransferCodingUnknown)
            }
            // RFC 9112 §6.3: "If a Transfer-Encoding header field is present in a request and the
            // chunked transfer coding is not the final encoding, … the server MUST respond with the
            // 400 (Bad Request) status code". A response would last until the connection's end, in
            // a coding that this engine can't read.
            _ => Err(Violation::TransferEncodingNotChunked),
        }
    }
}

/// Returns the reader for a Content-Length. RFC 9110 §8.6: "Content-Length = 1*DIGIT". A leading
/// zero is legal but refused, because some recipients read octal.
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

/// Returns the members of a comma-separated list. RFC 9110 §5.6.1.2: "A recipient MUST parse and
/// ignore a reasonable number of empty list elements".
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// Whether a comma-separated list has this member, in any case.
fn has_member(list: &[u8], member: &[u8]) -> bool {
    members(list).any(|found| found.eq_ignore_ascii_case(member))
}

/// Removes optional whitespace at both ends. RFC 9110 §5.6.3: "OWS = *( SP / HTAB )". Other
/// whitespace is part of the value.
fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether these bytes are a token (RFC 9110 §5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(tchar)
}
