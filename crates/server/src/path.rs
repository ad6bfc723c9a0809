//! A request's path, read once for routes, WebSockets, files, push and upstreams.
//!
//! Servers read paths in different ways. Some decode `%2F`, take `\` for `/`, drop parameters after
//! `;` or cut at an encoded `?`; some don't. A path that a route guards must not be reachable by a
//! spelling that only the upstream takes for it. So this module refuses paths that servers can't
//! agree on, and [`Router::is_ambiguous`](crate::router::Router::is_ambiguous) finds those that
//! could belong to another route.

use std::borrow::Cow;
use std::fmt;

/// A path with its canonical form. To routes, spellings with the same canonical form are one path.
///
/// In the canonical form a byte is percent-encoded if RFC 3986 §3.3 requires it, and `;` stays as
/// it came. All other bytes are plain, and hexadecimal digits are in upper case. There is no
/// segment `.` or `..`, and no control character.
#[derive(Clone, Debug)]
pub struct RequestPath<'a> {
    /// The path as the client sent it, with its query.
    target: &'a [u8],
    /// The length of the path in `target`, in bytes.
    length: usize,
    canonical: Cow<'a, [u8]>,
    /// The path with everything decoded, if servers could see other segments in it. A slash that
    /// only some servers see is a backslash here.
    decoded: Option<Cow<'a, [u8]>>,
}

/// Why a path is refused. `Display` gives a line of text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A control character, percent-encoded: programs in C end a path at NUL.
    Control,
    /// A `%` without two hexadecimal digits.
    Percent,
    /// A character in more bytes than UTF-8 allows. Old decoders turn such bytes into a dot or a
    /// slash (CVE-2000-0884).
    Overlong,
    /// A segment `.` or `..`, however it is spelled.
    DotSegment,
    /// Two slashes at the beginning, however they are spelled. As a reference, that is another
    /// host.
    TwoSlashes,
    /// A `#`. Servers that cut off a fragment read another path than servers that don't
    /// (CVE-2023-45539).
    Fragment,
    /// A path that some servers read as another route's.
    Ambiguous,
}

impl PathError {
    /// Returns the body of the answer, with status 400.
    pub fn text(self) -> &'static str {
        match self {
            Self::Control => "400 Bad Request: the path has an encoded control character\n",
            Self::Percent => {
                "400 Bad Request: a % in the path lacks its two hexadecimal digits; write %25 for a %\n"
            }
            Self::Overlong => "400 Bad Request: the path has bytes that aren't UTF-8\n",
            Self::DotSegment => {
                "400 Bad Request: the path has a segment . or ..; request the path that it leads to\n"
            }
            Self::TwoSlashes => "400 Bad Request: the path begins with two slashes\n",
            Self::Fragment => "400 Bad Request: the path has a #, and fragments are for clients\n",
            Self::Ambiguous => {
                "400 Bad Request: servers read this path in different ways; \
                 leave out ;, // and encoded slashes\n"
            }
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().trim_end())
    }
}

/// A slash. This and the next two are the classes of bytes in the first scan of a path.
const SLASH: u8 = 1;
/// A slash or a dot: needs a second look after a slash.
const AFTER_SLASH: u8 = 1 << 1;
/// Not plain: needs a second look anywhere.
const UNUSUAL: u8 = 1 << 2;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => SLASH | AFTER_SLASH,
            b'.' => AFTER_SLASH,
            byte if is_plain(byte) => 0,
            _ => UNUSUAL,
        };
        byte += 1;
    }
    classes
};

/// Whether a byte is one of RFC 3986 §3.3: "pchar = unreserved / pct-encoded / sub-delims / ":" /
/// "@"", without `pct-encoded`. `;` begins parameters to some servers, so it isn't plain.
const fn is_plain(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

impl<'a> RequestPath<'a> {
    /// Reads a request's `:path`, which may be empty for CONNECT and `*` for OPTIONS.
    ///
    /// # Errors
    /// Why servers can't agree on the path.
    pub fn read(target: &'a [u8]) -> Result<Self, PathError> {
        let length = target.iter().position(|&byte| byte == b'?');
        let length = length.unwrap_or(target.len());
        let (path, query) = target.split_at(length);
        let mut seen = 0;
        let mut before = 0;
        for &byte in path {
            let class = CLASSES[usize::from(byte)];
            seen |= class & (UNUSUAL | (before & SLASH) << 1);
            before = class;
        }
        if query.contains(&b'#') {
            return Err(PathError::Fragment);
        }
        let (canonical, decoded) = match seen {
            0 => (Cow::Borrowed(path), None),
            _ => read_unusual(path)?,
        };
        Ok(Self {
            target,
            length,
            canonical,
            decoded,
        })
    }

    /// Returns the path as the client sent it, without the query.
    pub fn raw(&self) -> &'a [u8] {
        &self.target[..self.length]
    }

    /// Returns the canonical form, by which routes are matched, without the query.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Returns the query as the client sent it, beginning with `?`; empty if there is none.
    pub fn query(&self) -> &'a [u8] {
        &self.target[self.length..]
    }

    /// Returns the canonical form with the query.
    pub fn canonical_target(&self) -> Cow<'_, [u8]> {
        if *self.canonical == *self.raw() {
            return Cow::Borrowed(self.target);
        }
        Cow::Owned([&self.canonical, self.query()].concat())
    }

    /// Returns the part of the raw path after `prefix`, the canonical path of a route that covers
    /// it. The part is empty or begins with `/`.
    pub fn behind(&self, prefix: &[u8]) -> &'a [u8] {
        // The raw and the canonical form have the same segments.
        let slashes = prefix.iter().filter(|&&byte| byte == b'/').count();
        let raw = self.raw();
        let mut places = (0..raw.len()).filter(|&at| raw[at] == b'/');
        raw.get(places.nth(slashes).unwrap_or(raw.len())..)
            .unwrap_or_default()
    }

    /// Returns the target for the upstream: `base`, the part after `prefix` (the canonical path of
    /// the route), and the query. Without a base the route's path stays.
    ///
    /// # Errors
    /// [`PathError::TwoSlashes`] if the upstream could read the target as another host.
    pub fn mapped(&self, prefix: &[u8], base: Option<&[u8]>) -> Result<Cow<'a, [u8]>, PathError> {
        let Some(base) = base else {
            // The route's path goes on in its canonical form, which all upstreams read alike.
            if self.raw().starts_with(prefix) {
                return Ok(Cow::Borrowed(self.target));
            }
            return Ok(Cow::Owned(
                [prefix, self.behind(prefix), self.query()].concat(),
            ));
        };
        let base = base.strip_suffix(b"/").unwrap_or(base);
        let mut path = [base, self.behind(prefix)].concat();
        if begins_with_two_slashes(&decode(&path)) {
            return Err(PathError::TwoSlashes);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(self.query());
        Ok(Cow::Owned(path))
    }

    /// Returns the decoded path if servers could see other segments in it than the canonical form
    /// has.
    pub fn other_readings(&self) -> Option<OtherReadings<'_>> {
        self.decoded.as_deref().map(OtherReadings)
    }
}

/// A path that servers may read in different ways, with everything decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherReadings<'a>(&'a [u8]);

impl OtherReadings<'_> {
    /// Whether some server could see these decoded segments at the beginning of the path. Such a
    /// server may merge slashes, take any spelling of a slash for a slash, drop parameters, cut at
    /// `?` or `#`, or do several of these.
    pub fn may_begin_with(self, segments: &[Box<[u8]>]) -> bool {
        may_begin_with(self.0, segments)
    }
}

/// Returns the segments of a canonical path, decoded.
pub fn segments(canonical: &str) -> Vec<Box<[u8]>> {
    let segments = canonical.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| decode(segment.as_bytes()).into())
        .collect()
}

type Readings<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// Returns the canonical form, and the decoded one if servers could see other segments in it.
fn read_unusual(raw: &[u8]) -> Result<Readings<'_>, PathError> {
    let mut canonical = Vec::with_capacity(raw.len() + 16);
    let mut splits = raw.windows(2).any(|two| two == b"//");
    let mut before = 0;
    let mut rest = raw;
    while let Some((&first, behind)) = rest.split_first() {
        let (byte, behind) = match first {
            b'%' => hexadecimal(behind).ok_or(PathError::Percent)?,
            b'#' => return Err(PathError::Fragment),
            _ => (first, behind),
        };
        if byte.is_ascii_control() {
            return Err(PathError::Control);
        }
        if is_overlong(before, byte) {
            return Err(PathError::Overlong);
        }
        match first {
            b'/' => canonical.push(first),
            b';' => {
                splits = true;
                canonical.push(first);
            }
            _ => {
                splits |= matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#' | b'%');
                push(&mut canonical, byte);
            }
        }
        (before, rest) = (byte, behind);
    }
    let decoded = splits.then(|| decode(raw));
    let segments = decoded.as_deref().unwrap_or(&canonical);
    // Servers that decode twice see what was encoded twice.
    if segments.iter().any(u8::is_ascii_control) {
        return Err(PathError::Control);
    }
    if segments.windows(2).any(|two| is_overlong(two[0], two[1])) {
        return Err(PathError::Overlong);
    }
    if has_dot_segment(segments) {
        return Err(PathError::DotSegment);
    }
    if begins_with_two_slashes(segments) {
        return Err(PathError::TwoSlashes);
    }
    let canonical = if canonical == raw {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(canonical)
    };
    Ok((canonical, decoded))
}

/// Appends a decoded byte in its canonical form.
fn push(canonical: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if is_plain(byte) {
        return canonical.push(byte);
    }
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    canonical.extend([b'%', DIGITS[high], DIGITS[low]]);
}

/// Reads a byte of two hexadecimal digits. Returns it with the rest of the text.
fn hexadecimal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = digit(high)? << 4 | digit(low)?;
    Some((u8::try_from(byte).ok()?, rest))
}

/// Whether two bytes begin a character that UTF-8 writes in fewer bytes (RFC 3629 §3). Characters
/// of five and six bytes were UTF-8 before RFC 3629, and old decoders take them.
fn is_overlong(first: u8, second: u8) -> bool {
    matches!(
        (first, second),
        (0xc0 | 0xc1, 0x80..=0xbf)
            | (0xe0, 0x80..=0x9f)
            | (0xf0, 0x80..=0x8f)
            | (0xf8, 0x80..=0x87)
            | (0xfc, 0x80..=0x83)
    )
}

/// How often a path may be decoded: twice, by a server and one in front of it.
const DECODERS: usize = 2;

/// Returns a path with everything decoded, and with a backslash for each slash that only some
/// servers see.
fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut decoded = Cow::Borrowed(raw);
    for _ in 0..DECODERS {
        if !decoded.contains(&b'%') {
            break;
        }
        let mut next = Vec::with_capacity(decoded.len());
        let mut rest = &*decoded;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match hexadecimal(rest).filter(|_| byte == b'%') {
                Some((byte, behind)) => {
                    rest = behind;
                    next.push(if byte == b'/' { b'\\' } else { byte });
                }
                None => next.push(byte),
            }
        }
        decoded = Cow::Owned(next);
    }
    decoded
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Whether some server could see a segment `.` or `..`: plain, percent-encoded, after a backslash,
/// or with parameters. Clients remove such segments themselves (RFC 3986 §6.2.2.3).
fn has_dot_segment(decoded: &[u8]) -> bool {
    decoded.split(is_slash).any(|segment| {
        let name = segment.split(ends_name).next();
        matches!(name, Some(b"." | b".."))
    })
}

fn begins_with_two_slashes(decoded: &[u8]) -> bool {
    matches!(decoded, [first, second, ..] if is_slash(first) && is_slash(second))
}

/// Whether this byte ends the name of a segment for some servers.
fn ends_name(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#')
}

fn may_begin_with(decoded: &[u8], segments: &[Box<[u8]>]) -> bool {
    // Parameters end at a slash. If servers disagree about slashes, all that follows may or may not
    // be parameters.
    let is_clear = !decoded.contains(&b'\\');
    let mut parameters_may_go_on = false;
    let mut rest = decoded;
    'segments: for segment in segments {
        loop {
            let slashes = rest.iter().take_while(|byte| is_slash(byte)).count();
            rest = &rest[slashes..];
            if slashes > 0
                && let Some(behind) = rest.strip_prefix(&**segment)
                && behind.first().is_none_or(ends_name)
            {
                rest = behind;
                continue 'segments;
            }
            let begins_parameters = rest.first() == Some(&b';');
            parameters_may_go_on |= begins_parameters && !is_clear;
            if !begins_parameters && !parameters_may_go_on {
                return false;
            }
            let Some(next) = rest.iter().position(is_slash) else {
                return false;
            };
            rest = &rest[next..];
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(target: &str) -> Result<String, PathError> {
        let path = RequestPath::read(target.as_bytes())?;
        Ok(String::from_utf8(path.canonical_target().into_owned()).unwrap())
    }

    #[test]
    fn one_form_for_all_spellings() {
        for (target, expected) in [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("/a/b?c", "/a/b?c"),
            ("/%61%7e%2D", "/a~-"),
            ("/%40%2b", "/@+"),
            ("/%c3%a4", "/%C3%A4"),
            ("/\u{e4} b", "/%C3%A4%20b"),
            ("/a|b\"", "/a%7Cb%22"),
            ("/a%2fb%5c\\", "/a%2Fb%5C%5C"),
            ("/a;b%3b", "/a;b%3B"),
            ("/a%25b", "/a%25b"),
            ("/.well-known/...", "/.well-known/..."),
            ("/a..b/.%20", "/a..b/.%20"),
            ("/a//b", "/a//b"),
            ("/?%61%zz%00/../", "/?%61%zz%00/../"),
        ] {
            assert_eq!(canonical(target), Ok(expected.to_owned()), "{target}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        let cases = [
            (
                PathError::Control,
                &[
                    "/%00",
                    "/a%0a",
                    "/a%0D%0Ab",
                    "/%7f",
                    "/%09",
                    "/a;%00",
                    "/%2500",
                    "/\0",
                    "/\u{7f}",
                ][..],
            ),
            (
                PathError::Percent,
                &["/%", "/a%2", "/%zz", "/%u0061", "/%%61"],
            ),
            (
                PathError::DotSegment,
                &[
                    "/api/../admin",
                    "/api/..",
                    "/./x",
                    "/a/.",
                    "/api/%2e%2e/admin",
                    "/api/%2E./admin",
                    "/api/..%2fadmin",
                    "/api/%2e%2e%2fadmin",
                    "/api/..\\admin",
                    "/api\\..\\admin",
                    "/api/..%5cadmin",
                    "/api/..;/admin",
                    "/api/..;x=y/admin",
                    "/api/..%3bx/admin",
                    "/api/..%3fx",
                    "/api/..%23",
                    "/api/%252e%252e/admin",
                    "/api/..%252fadmin",
                ],
            ),
            (
                PathError::TwoSlashes,
                &[
                    "//",
                    "//host/x",
                    "///",
                    "/%2fhost",
                    "/%5Chost",
                    "/\\host",
                    "\\\\host",
                    "/%252fhost",
                ],
            ),
            (PathError::Fragment, &["/a#b", "/#", "/?a#b"]),
            (
                PathError::Overlong,
                &[
                    "/%c0%ae%c0%ae/x",
                    "/a%C0%AFb",
                    "/%e0%80%af",
                    "/%F0%80%80%AF",
                    "/%f8%80%80%80%af",
                    "/%FC%80%80%80%80%AE",
                    "/%25c0%25ae%25c0%25ae/x",
                ],
            ),
        ];
        for (error, targets) in cases {
            for target in targets {
                assert_eq!(canonical(target), Err(error), "{target}");
            }
            assert!(error.text().starts_with("400 Bad Request: "));
        }
    }

    #[test]
    fn what_goes_on() {
        let mapped = |prefix: &str, base: Option<&str>, target: &str| {
            let path = RequestPath::read(target.as_bytes()).unwrap();
            let mapped = path.mapped(prefix.as_bytes(), base.map(str::as_bytes))?;
            Ok(String::from_utf8(mapped.into_owned()).unwrap())
        };
        for (prefix, base, target, expected) in [
            ("/api", None, "/api/x?y", "/api/x?y"),
            ("", None, "/%61/%7E?%61", "/%61/%7E?%61"),
            // The route's path keeps the route's spelling: no upstream sees another one.
            ("/~me", None, "/%7eme/%7e?y", "/~me/%7e?y"),
            ("/api", Some("/"), "/api/x?y", "/x?y"),
            ("/api", Some("/"), "/api", "/"),
            ("/api", Some("/"), "/api?y", "/?y"),
            ("/api", Some("/v1"), "/%61pi/x%2fz", "/v1/x%2fz"),
            ("/api", Some("/v1/"), "/api/x/", "/v1/x/"),
            ("/api", Some("/v1"), "/api", "/v1"),
            ("/api", Some("/v1"), "/api//x", "/v1//x"),
            ("", Some("/v1"), "/", "/v1/"),
        ] {
            let mapped = mapped(prefix, base, target);
            assert_eq!(mapped, Ok(expected.to_owned()), "{target}");
        }
        for target in [
            "/api//host",
            "/api/%2fhost",
            "/api/\\host",
            "/api/%5C",
            "/api//",
        ] {
            let mapped = mapped("/api", Some("/"), target);
            assert_eq!(mapped, Err(PathError::TwoSlashes), "{target}");
        }
    }

    /// Returns the path with some bytes percent-encoded that needn't be.
    fn spelled(path: &str, choices: &[u8]) -> String {
        let mut choices = choices.iter().cycle();
        let mut after_percent = 0;
        let spell = |byte: u8| {
            after_percent = if byte == b'%' {
                3
            } else {
                after_percent.max(1) - 1
            };
            match (byte, choices.next()) {
                _ if after_percent > 0 => char::from(byte).to_string(),
                (b'/' | b';', _) | (_, None | Some(0)) => char::from(byte).to_string(),
                (_, Some(1)) => format!("%{byte:02x}"),
                (_, Some(_)) => format!("%{byte:02X}"),
            }
        };
        path.bytes().map(spell).collect()
    }

    proptest! {
        #[test]
        fn spellings_of_one_path_route_alike(
            path in "(/(admin|a|b|;|%2F|%5c|%3B|[.~!@ -])*){1,4}",
            choices in proptest::collection::vec(0..3_u8, 8..32),
        ) {
            let routes = ["/", "/admin", "/a/b", "/~/@!"].map(|route| (route.to_owned(), route));
            let router = crate::router::Router::new(routes);
            let goes_on = |target: &str| {
                let path = RequestPath::read(target.as_bytes())?;
                let found = router.find(&path).unwrap();
                Ok::<_, PathError>((*found.target, router.is_ambiguous(&path, &found)))
            };
            let other = spelled(&path, &choices);
            prop_assert_eq!(goes_on(&path), goes_on(&other), "{} and {}", path, other);
        }

        #[test]
        fn a_canonical_form_is_its_own(target in "/(/|%2f|%61|%25|%|[a-c.;?#\\\\ \u{e4}\u{7f}\0]|%[0-9a-fA-F]{2}){0,12}") {
            let Ok(path) = RequestPath::read(target.as_bytes()) else {
                return Ok(());
            };
            let canonical = path.canonical();
            prop_assert!(canonical.iter().all(u8::is_ascii_graphic));
            prop_assert!(!canonical.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
            let again = RequestPath::read(canonical).unwrap();
            prop_assert_eq!(again.canonical(), canonical);
            prop_assert_eq!(&again.decoded, &path.decoded, "what has one form is taken for the same");
            prop_assert_eq!([path.raw(), path.query()].concat(), target.as_bytes());
        }
    }
}
