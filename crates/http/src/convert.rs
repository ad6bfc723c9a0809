//! Conversions to and from the types of the [`http`] crate (feature `http`).
//!
//! Heads become `Parts` and back by `TryFrom`, lists of fields such as trailers a `HeaderMap` by
//! [`header_map`] and back by [`fields`].
//!
//! ```
//! use http::{Request, Response, header};
//! use tidegate_http::{RequestHead, ResponseHead};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A client sends a request of the `http` crate.
//! let request = Request::get("https://localhost/a?b").header(header::ACCEPT, "*/*").body(())?;
//! let (parts, ()) = request.into_parts();
//! let head = RequestHead::try_from(&parts)?;
//! assert_eq!((head.authority(), head.path()), ("localhost", "/a?b"));
//!
//! // A server asks a function that knows only the `http` crate, and sends its answer.
//! fn answer(request: &Request<()>) -> Response<Vec<u8>> {
//!     Response::new(request.uri().path().into())
//! }
//! let parts = http::request::Parts::try_from(&head)?;
//! let (parts, body) = answer(&Request::from_parts(parts, ())).into_parts();
//! let head = ResponseHead::try_from(&parts)?;
//! assert_eq!((head.status(), body.as_slice()), (200, &b"/a"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! - The version of `Parts` is HTTP/2. [`Stream::version`](crate::Stream::version) returns the one
//!   that a peer used.
//! - The fields of one name keep their order; those of different names may change theirs.
//! - A field that is marked never-indexed is a sensitive `HeaderValue`.
//! - The crumbs of a cookie are joined (RFC 9113 §8.2.3).

use std::fmt;

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use tidegate_hpack::{Field, Fields, KnownName};

use crate::{InvalidHead, RequestHead, ResponseHead};

/// The protocol of an extended CONNECT request (RFC 8441 §4), such as `websocket`: an extension of
/// `Parts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectProtocol(pub String);

/// The reason why something has no counterpart on the other side.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// The URI of a request has no scheme. A request needs an absolute URI, but for CONNECT.
    NoScheme,
    /// The request's target isn't a URI that the `http` crate can hold without a change.
    NoUri,
    /// The head has something that HTTP/2 forbids, such as a `connection` field.
    InvalidHead(InvalidHead),
    /// The `http` crate refuses a part, such as a field's value.
    Http(::http::Error),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("the URI has no scheme: a request needs an absolute one"),
            Self::NoUri => f.write_str("the request's target isn't a URI"),
            Self::InvalidHead(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoScheme | Self::NoUri => None,
            Self::InvalidHead(error) => Some(error),
            Self::Http(error) => Some(error),
        }
    }
}

impl From<InvalidHead> for ConvertError {
    fn from(error: InvalidHead) -> Self {
        Self::InvalidHead(error)
    }
}

/// Returns an error of the `http` crate as one of a conversion.
fn refused(error: impl Into<::http::Error>) -> ConvertError {
    ConvertError::Http(error.into())
}

/// The URI has `:authority`, else the `host` field. A request without both has a URI that is only
/// its path, so its scheme is lost.
impl TryFrom<&RequestHead> for ::http::request::Parts {
    type Error = ConvertError;

    fn try_from(head: &RequestHead) -> Result<Self, ConvertError> {
        head.validate()?;
        let (mut parts, ()) = ::http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(head.method_bytes()).map_err(refused)?;
        parts.uri = uri(head)?;
        parts.version = Version::HTTP_2;
        if let Some(protocol) = head.protocol() {
            parts
                .extensions
                .insert(ConnectProtocol(protocol.to_owned()));
        }
        let mut is_sensitive = false;
        for field in head.headers() {
            if field.known == Some(KnownName::COOKIE) {
                is_sensitive |= field.never_indexed;
            } else {
                append(&mut parts.headers, field)?;
            }
        }
        if let Some(cookie) = head.cookie() {
            let field = Field {
                known: Some(KnownName::COOKIE),
                name: b"cookie",
                value: &cookie,
                never_indexed: is_sensitive,
            };
            append(&mut parts.headers, field)?;
        }
        Ok(parts)
    }
}

/// The URI must be absolute, but for CONNECT without a [`ConnectProtocol`]. The version is ignored.
impl TryFrom<&::http::request::Parts> for RequestHead {
    type Error = ConvertError;

    fn try_from(parts: &::http::request::Parts) -> Result<Self, ConvertError> {
        let authority = parts.uri.authority().map_or("", Authority::as_str);
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let scheme = parts.uri.scheme_str().ok_or(ConvertError::NoScheme);
        let is_connect = parts.method == Method::CONNECT;
        let mut head = match parts.extensions.get::<ConnectProtocol>() {
            None if is_connect => Self::connect(authority),
            Some(ConnectProtocol(protocol)) if is_connect => {
                Self::extended_connect(protocol, scheme?, authority, path)
            }
            _ => Self::new(parts.method.as_str(), scheme?, authority, path),
        };
        for (name, value) in &parts.headers {
            head.push_field(field(name, value));
        }
        head.validate()?;
        Ok(head)
    }
}

impl TryFrom<&ResponseHead> for ::http::response::Parts {
    type Error = ConvertError;

    fn try_from(head: &ResponseHead) -> Result<Self, ConvertError> {
        head.validate()?;
        let (mut parts, ()) = ::http::Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(head.status()).map_err(refused)?;
        parts.version = Version::HTTP_2;
        for field in head.headers() {
            append(&mut parts.headers, field)?;
        }
        Ok(parts)
    }
}

/// The version is ignored.
impl TryFrom<&::http::response::Parts> for ResponseHead {
    type Error = ConvertError;

    fn try_from(parts: &::http::response::Parts) -> Result<Self, ConvertError> {
        let mut head = Self::new(parts.status.as_u16());
        for (name, value) in &parts.headers {
            head.push_field(field(name, value));
        }
        head.validate()?;
        Ok(head)
    }
}

/// Returns a list of fields without pseudo-fields, such as trailers, as a map.
///
/// # Errors
/// Returns [`ConvertError::Http`] if the map can't hold a field, which includes pseudo-fields.
pub fn header_map(fields: &Fields) -> Result<HeaderMap, ConvertError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        append(&mut map, field)?;
    }
    Ok(map)
}

/// Returns a map as a list of fields, such as trailers.
pub fn fields(map: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in map {
        fields.push_field(field(name, value));
    }
    fields
}

/// Returns a field of a map as one of a list.
fn field<'a>(name: &'a HeaderName, value: &'a HeaderValue) -> Field<'a> {
    let name = name.as_str().as_bytes();
    Field {
        known: KnownName::of(name),
        name,
        value: value.as_bytes(),
        never_indexed: value.is_sensitive(),
    }
}

fn append(map: &mut HeaderMap, field: Field<'_>) -> Result<(), ConvertError> {
    let name = HeaderName::from_bytes(field.name).map_err(refused)?;
    let mut value = HeaderValue::from_bytes(field.value).map_err(refused)?;
    value.set_sensitive(field.never_indexed);
    map.try_append(name, value).map_err(refused)?;
    Ok(())
}

/// Returns the URI of a request.
fn uri(head: &RequestHead) -> Result<Uri, ConvertError> {
    let mut parts = ::http::uri::Parts::default();
    if !head.authority().is_empty() {
        parts.authority = Some(Authority::try_from(head.authority()).map_err(refused)?);
        if !head.scheme().is_empty() {
            parts.scheme = Some(Scheme::try_from(head.scheme()).map_err(refused)?);
        }
    }
    if !head.scheme().is_empty() {
        let path = PathAndQuery::try_from(head.path()).map_err(refused)?;
        // The `http` crate ends a path where a fragment begins, and makes an empty one "/".
        if path.as_str() != head.path() {
            return Err(ConvertError::NoUri);
        }
        parts.path_and_query = Some(path);
    }
    Uri::from_parts(parts).map_err(refused)
}

#[cfg(test)]
mod tests {
    use ::http::{Request, Response, request, response};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Violation;

    /// Returns the fields of a list, those of one name in their order, and the names sorted.
    fn sorted<'a>(fields: impl Iterator<Item = Field<'a>>) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
        let owned = |field: Field<'_>| {
            (
                field.name.to_vec(),
                field.value.to_vec(),
                field.never_indexed,
            )
        };
        let mut fields: Vec<_> = fields.map(owned).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    }

    /// Returns a request of the `http` crate after a conversion there and back.
    fn through(head: &RequestHead) -> Result<RequestHead, ConvertError> {
        RequestHead::try_from(&request::Parts::try_from(head)?)
    }

    #[test]
    fn requests_of_every_form() {
        let cases = [
            (
                RequestHead::new("GET", "https", "a:1", "/b?c"),
                "https://a:1/b?c",
            ),
            (RequestHead::new("OPTIONS", "https", "a", "*"), "https://a*"),
            (RequestHead::new("GET", "foo", "u@a", "/"), "foo://u@a/"),
            (RequestHead::connect("a:443"), "a:443"),
            (
                RequestHead::extended_connect("websocket", "https", "a", "/b"),
                "https://a/b",
            ),
        ];
        for (head, uri) in cases {
            let parts = request::Parts::try_from(&head).unwrap();
            assert_eq!(parts.uri.to_string(), uri);
            let back = RequestHead::try_from(&parts).unwrap();
            assert_eq!(back.fields(), head.fields());
        }
    }

    #[test]
    fn an_authority_may_come_from_the_host_field() {
        let head = RequestHead::new("GET", "http", "", "/b").field("host", "a");
        let parts = request::Parts::try_from(&head).unwrap();
        assert_eq!(parts.uri, "http://a/b");
        let head = RequestHead::new("GET", "http", "", "/b");
        let parts = request::Parts::try_from(&head).unwrap();
        assert_eq!(parts.uri, "/b");
        let error = RequestHead::try_from(&parts).unwrap_err();
        assert!(matches!(error, ConvertError::NoScheme), "{error}");
    }

    #[test]
    fn a_path_that_would_be_another_is_none() {
        for path in ["/a#b", "/#"] {
            let head = RequestHead::new("GET", "https", "a", path);
            let error = request::Parts::try_from(&head).unwrap_err();
            assert!(matches!(error, ConvertError::NoUri), "{error}");
        }
    }

    #[test]
    fn what_http2_forbids_is_refused_by_name() {
        let request = Request::get("https://a/").header("connection", "close");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let error = RequestHead::try_from(&parts).unwrap_err();
        let ConvertError::InvalidHead(invalid) = error else {
            panic!("{error}");
        };
        assert_eq!(invalid.field.as_deref(), Some("connection"));
        assert_eq!(invalid.violation, Violation::ConnectionSpecificField);
        let (parts, ()) = Response::builder()
            .status(101)
            .body(())
            .unwrap()
            .into_parts();
        let error = ResponseHead::try_from(&parts).unwrap_err();
        assert!(matches!(error, ConvertError::InvalidHead(_)), "{error}");
        // A head whose builder was given a fault isn't converted either.
        let head = ResponseHead::new(99);
        let error = response::Parts::try_from(&head).unwrap_err();
        assert!(matches!(error, ConvertError::InvalidHead(_)), "{error}");
    }

    #[test]
    fn a_cookie_is_one_and_keeps_its_mark() {
        let mut head = RequestHead::new("GET", "https", "a", "/").field("cookie", "b=1");
        head.push_field(Field {
            known: Some(KnownName::COOKIE),
            name: b"cookie",
            value: b"c=2",
            never_indexed: true,
        });
        let parts = request::Parts::try_from(&head).unwrap();
        let cookies: Vec<_> = parts.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["b=1; c=2"]);
        assert!(cookies[0].is_sensitive());
        let back = RequestHead::try_from(&parts).unwrap();
        let field = back.headers().next().unwrap();
        assert!(field.never_indexed);
    }

    #[test]
    fn pseudo_fields_have_no_place_in_a_map() {
        let head = ResponseHead::new(200);
        assert!(matches!(
            header_map(head.fields()),
            Err(ConvertError::Http(_))
        ));
    }

    /// Names of fields that say nothing about the rest of a message.
    const NAMES: &str = "x-[a-z0-9-]{1,8}|accept|content-type|etag|vary|via";

    prop_compose! {
        fn some_fields()(list in vec((NAMES, "[!-~\u{80}-\u{ff}]([ !-~]{0,12}[!-~])?", any::<bool>()), 0..12))
            -> Vec<(String, Vec<u8>, bool)>
        {
            list.into_iter().map(|(name, value, mark)| (name, value.into_bytes(), mark)).collect()
        }
    }

    fn push_all(list: &[(String, Vec<u8>, bool)], mut push: impl FnMut(Field<'_>)) {
        for (name, value, never_indexed) in list {
            push(Field {
                known: KnownName::of(name.as_bytes()),
                name: name.as_bytes(),
                value,
                never_indexed: *never_indexed,
            });
        }
    }

    proptest! {
        #[test]
        fn a_request_comes_back(
            method in "[A-Z]{1,8}",
            scheme in "https?|foo\\+x",
            authority in "[a-z]{1,8}(:[1-9][0-9]{0,3})?|\\[::1\\]",
            path in "/[!$-;=?-Z_a-z~]{0,20}",
            list in some_fields(),
        ) {
            prop_assume!(method != "CONNECT");
            let mut head = RequestHead::new(&method, &scheme, &authority, &path);
            push_all(&list, |field| head.push_field(field));
            head.validate().unwrap();
            let parts = request::Parts::try_from(&head).unwrap();
            prop_assert_eq!(parts.method.as_str(), method);
            let back = RequestHead::try_from(&parts).unwrap();
            prop_assert_eq!(sorted(back.fields().iter()), sorted(head.fields().iter()));
        }

        #[test]
        fn a_response_comes_back(status in 100_u16..1000, list in some_fields()) {
            prop_assume!(status != 101);
            let mut head = ResponseHead::new(status);
            push_all(&list, |field| head.push_field(field));
            let parts = response::Parts::try_from(&head).unwrap();
            prop_assert_eq!(parts.status.as_u16(), status);
            let back = ResponseHead::try_from(&parts).unwrap();
            prop_assert_eq!(sorted(back.fields().iter()), sorted(head.fields().iter()));
        }

        #[test]
        fn trailers_come_back(list in some_fields()) {
            let mut trailers = Fields::new();
            push_all(&list, |field| trailers.push_field(field));
            let map = header_map(&trailers).unwrap();
            prop_assert_eq!(map.len(), trailers.len());
            prop_assert_eq!(sorted(fields(&map).iter()), sorted(trailers.iter()));
        }

        #[test]
        fn any_target_keeps_its_bytes_or_is_refused(path in "/[!-~]{0,12}") {
            let head = RequestHead::new("GET", "https", "a", &path);
            if let Ok(back) = through(&head) {
                prop_assert_eq!(back.path(), path);
            }
        }
    }
}
