//! Redirects: a status, and a location made of the request.

use tidegate_http::{RequestHead, ascii_target};

use crate::hosts;
use crate::path::RequestPath;

/// The statuses that a redirect may have (RFC 9110 §15.4).
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// A redirect, as typed: `STATUS:LOCATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    location: Vec<Part>,
}

/// A part of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// `{host}`: the host that the request names, without a port.
    Host,
    /// `{path}`: the path that the request has.
    Path,
    /// `{rest}`: the part of the path that is below the route; empty or with a slash in front.
    Rest,
    /// `{query}`: the query with `?` in front, or nothing.
    Query,
}

impl Redirect {
    /// Returns a redirect to the same place over TLS, on the default port.
    pub fn to_https() -> Self {
        Self {
            status: 308,
            location: vec![
                Part::Text("https://".into()),
                Part::Host,
                Part::Path,
                Part::Query,
            ],
        }
    }

    /// Reads a redirect.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let expected = || {
            "expected STATUS:LOCATION, as in 308:https://www.example.com{path}{query}; the status is \
             301, 302, 303, 307 or 308"
                .to_owned()
        };
        let (status, location) = typed.split_once(':').ok_or_else(expected)?;
        let status: u16 = status.parse().map_err(|_| expected())?;
        if !STATUSES.contains(&status) {
            return Err(format!(
                "{status} isn't the status of a redirect: write 301 or 308 for good, 302 or 307 for \
                 now (307 and 308 keep the method), or 303 for a GET"
            ));
        }
        Ok(Self {
            status,
            location: parts(location)?,
        })
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the location for a request for `path`, which `route` covers, or `None` if it needs a
    /// host and the request has none.
    pub fn location(
        &self,
        head: &RequestHead,
        path: &RequestPath<'_>,
        route: &[u8],
    ) -> Option<Vec<u8>> {
        let mut location = Vec::new();
        for part in &self.location {
            match part {
                Part::Text(text) => location.extend_from_slice(text.as_bytes()),
                Part::Host => match hosts::host(head.authority_bytes()) {
                    b"" => return None,
                    host => location.extend_from_slice(host),
                },
                Part::Path => location.extend_from_slice(path.raw()),
                Part::Rest => location.extend_from_slice(path.behind(route)),
                Part::Query => location.extend_from_slice(path.query()),
            }
        }
        Some(ascii_target(&location))
    }
}

/// Reads a location.
fn parts(typed: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = typed;
    while !rest.is_empty() {
        let (text, behind) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
        if !text.is_empty() {
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "{typed} isn't a location: percent-encode spaces, controls and all that isn't \
                     ASCII"
                ));
            }
            parts.push(Part::Text(text.into()));
        }
        rest = behind;
        if rest.is_empty() {
            break;
        }
        let Some((name, behind)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        else {
            return Err(format!("{typed} has a brace without the other one"));
        };
        parts.push(match name {
            "host" => Part::Host,
            "path" => Part::Path,
            "rest" => Part::Rest,
            "query" => Part::Query,
            _ => {
                return Err(format!(
                    "there is no {{{name}}}: {{host}}, {{path}} and {{query}} are those of the \
                     request, {{rest}} is its path below the route"
                ));
            }
        });
        rest = behind;
    }
    check(typed, &parts)?;
    Ok(parts)
}

/// Checks that a location leads to the host that it seems to lead to, whatever a client requests.
fn check(typed: &str, parts: &[Part]) -> Result<(), String> {
    let first = match parts.first() {
        Some(Part::Text(text)) => &**text,
        _ => "",
    };
    let authority = first
        .strip_prefix("https://")
        .or_else(|| first.strip_prefix("http://"));
    match authority {
        // An authority that ends in the text ends before a path.
        Some(text) if !text.is_empty() && !text.starts_with(['/', '?', '#', ':', '@']) => {}
        Some("") if parts.get(1) == Some(&Part::Host) => {}
        Some(_) => return Err(format!("{typed} names no host")),
        // As a reference, two slashes are followed by a host (RFC 3986 §4.2). Browsers take a
        // backslash for a slash.
        None if first.starts_with('/') && !first.starts_with("//") && !first.contains('\\') => {}
        None => {
            return Err(format!(
                "{typed} must begin with https://, http:// or one /, as in https://{{host}}{{path}}"
            ));
        }
    }
    for two in parts.windows(2) {
        if let [Part::Text(text), Part::Path | Part::Rest] = two
            && text.ends_with('/')
        {
            return Err(format!(
                "{typed} has a / before {{path}} or {{rest}}, which begin with one: leave it out"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_made_of_requests() {
        for (typed, status, path, location) in [
            (
                "301:https://www.a.test{path}{query}",
                301,
                "/old/x?y=1",
                "https://www.a.test/old/x?y=1",
            ),
            (
                "308:https://{host}:8443{path}{query}",
                308,
                "/old",
                "https://b.test:8443/old",
            ),
            ("302:/new{rest}{query}", 302, "/old/x?", "/new/x?"),
            ("307:/new{rest}", 307, "/old?y", "/new"),
            ("303:/done", 303, "/old/x?y", "/done"),
            (
                "301:http://www.{host}{rest}",
                301,
                "/old//x",
                "http://www.b.test//x",
            ),
            ("301:/new{rest}", 301, "/old/%c3%a4%20", "/new/%c3%a4%20"),
        ] {
            let redirect =
                Redirect::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert_eq!(redirect.status, status);
            let head = RequestHead::new("GET", "http", "b.test:8080", path);
            let path = RequestPath::read(head.path_bytes()).unwrap();
            let is = redirect.location(&head, &path, b"/old").unwrap();
            assert_eq!(String::from_utf8(is).unwrap(), location, "{typed}");
        }
        let nobody = RequestHead::new("GET", "http", "", "/");
        let path = RequestPath::read(b"/").unwrap();
        assert_eq!(Redirect::to_https().location(&nobody, &path, b""), None);
        let same = Redirect::parse("308:https://{host}{path}{query}").unwrap();
        assert_eq!(Redirect::to_https(), same);
    }

    #[test]
    fn mistakes_are_sentences() {
        for (typed, says) in [
            ("", "expected STATUS:LOCATION"),
            ("https://a", "expected STATUS:LOCATION"),
            ("301", "expected STATUS:LOCATION"),
            ("200:/a", "200 isn't the status of a redirect"),
            ("304:/a", "304 isn't the status of a redirect"),
            ("301:", "must begin with https://"),
            ("301:{path}", "must begin with https://"),
            ("301:www.a.test{path}", "must begin with https://"),
            ("301://a.test", "must begin with https://"),
            ("301:/\\a.test", "must begin with https://"),
            ("301:https://", "names no host"),
            ("301:https:///a", "names no host"),
            ("301:https://{path}", "names no host"),
            ("301:https://{query}", "names no host"),
            ("301:/{rest}", "has a / before {path} or {rest}"),
            ("301:https://a/{path}", "has a / before {path} or {rest}"),
            ("301:/a b", "percent-encode spaces"),
            ("301:/\u{e4}", "percent-encode spaces"),
            ("301:/{host", "has a brace without the other one"),
            ("301:/a}", "has a brace without the other one"),
            (
                "301:/{uri}",
                "there is no {uri}: {host}, {path} and {query}",
            ),
        ] {
            let error = Redirect::parse(typed).expect_err(typed);
            assert!(error.contains(says), "{typed}: {error}");
        }
    }
}
