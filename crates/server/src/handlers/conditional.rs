//! Decides whether a GET or HEAD is answered with the whole content, a part of it, or none
//! (RFC 9110 §13 and §14).

use std::ops::Range;

use tidegate_http::{KnownName, KnownNames, RequestHead};

use crate::clock::{http_date, seconds};

/// The validators of one version of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag, quotes included. A weak one begins with `W/`.
    pub etag: String,
    /// The value of `last-modified`, and the same in seconds since 1970; `None` for built-in
    /// content.
    pub modified: Option<(String, u64)>,
}

impl Validators {
    /// Returns validators with this entity tag and time of modification, in seconds since 1970.
    pub fn new(etag: String, modified: Option<u64>) -> Self {
        let modified = modified.map(|second| (http_date(second), second));
        Self { etag, modified }
    }
}

/// How to answer a GET or HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200 with the whole content.
    Whole,
    /// 206 with this range of bytes.
    Part(Range<u64>),
    /// 304: the client has it already.
    NotModified,
    /// 412: the client wanted another version.
    PreconditionFailed,
    /// 416: the content isn't that long.
    RangeNotSatisfiable,
}

/// Evaluates a request's preconditions and range in the order of RFC 9110 §13.2.2.
pub fn judge(request: &RequestHead, validators: &Validators, length: u64) -> Verdict {
    let Conditions {
        if_match,
        if_unmodified_since,
        if_none_match,
        if_modified_since,
        range,
        if_range,
    } = match Conditions::of(request) {
        Some(conditions) => conditions,
        None => return Verdict::Whole,
    };

    if if_match.is_some() {
        let tags = lines(request, KnownName::IF_MATCH);
        if !matches_any(tags, &validators.etag, Comparison::Strong) {
            return Verdict::PreconditionFailed;
        }
    } else if let (Some(date), Some((_, modified))) = (if_unmodified_since, &validators.modified)
        && parse_date(date).is_some_and(|since| *modified > since)
    {
        return Verdict::PreconditionFailed;
    }

    if if_none_match.is_some() {
        let tags = lines(request, KnownName::IF_NONE_MATCH);
        if matches_any(tags, &validators.etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if let (Some(date), Some((_, modified))) = (if_modified_since, &validators.modified)
        && parse_date(date).is_some_and(|since| *modified <= since)
    {
        return Verdict::NotModified;
    }

    // RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method
    // that is unrecognized or for which range handling is not defined. For this specification, GET
    // is the only method".
    if request.method_bytes() != b"GET" {
        return Verdict::Whole;
    }
    match range {
        Some(range) if if_range.is_none_or(|validator| is_current(validator, &validators.etag)) => {
            parse_range(range, length)
        }
        _ => Verdict::Whole,
    }
}

/// Returns the values of all fields with this name. RFC 9110 §5.3: lines with one name are one
/// list.
fn lines(request: &RequestHead, name: KnownName) -> impl Iterator<Item = &[u8]> {
    let named = request
        .headers()
        .filter(move |field| field.known == Some(name));
    named.map(|field| field.value)
}

/// The names of the fields that make a request conditional, or ask for a part.
const CONDITIONAL: KnownNames = KnownNames::new(&[
    KnownName::IF_MATCH,
    KnownName::IF_UNMODIFIED_SINCE,
    KnownName::IF_NONE_MATCH,
    KnownName::IF_MODIFIED_SINCE,
    KnownName::RANGE,
    KnownName::IF_RANGE,
]);

/// The fields of those names. Holds the first line of a list. Any other field that occurs twice
/// counts as empty, because no single value is meant.
#[derive(Default)]
struct Conditions<'a> {
    if_match: Option<&'a [u8]>,
    if_unmodified_since: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
    if_modified_since: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
}

impl<'a> Conditions<'a> {
    /// Reads a request's conditions. Returns `None` if there are none, as in most requests.
    fn of(request: &'a RequestHead) -> Option<Self> {
        if !request.fields().has_any(CONDITIONAL) {
            return None;
        }
        let mut found = Self::default();
        for field in request.headers() {
            let Some(name) = field.known else { continue };
            let place = match name {
                KnownName::IF_MATCH => &mut found.if_match,
                KnownName::IF_UNMODIFIED_SINCE => &mut found.if_unmodified_since,
                KnownName::IF_NONE_MATCH => &mut found.if_none_match,
                KnownName::IF_MODIFIED_SINCE => &mut found.if_modified_since,
                KnownName::RANGE => &mut found.range,
                KnownName::IF_RANGE => &mut found.if_range,
                _ => continue,
            };
            *place = match (name, &place) {
                (_, None) => Some(field.value),
                (KnownName::IF_MATCH | KnownName::IF_NONE_MATCH, first) => **first,
                // RFC 9110 §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if
                // the received field value is not a valid HTTP-date, the field value has more than
                // one member".
                _ => Some(b""),
            };
        }
        Some(found)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether one of these lines, which are lists of entity tags or `*`, has this tag
/// (RFC 9110 §8.8.3.2).
fn matches_any<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    etag: &str,
    comparison: Comparison,
) -> bool {
    let (is_weak, opaque) = match etag.strip_prefix("W/") {
        Some(opaque) => (true, opaque),
        None => (false, etag),
    };
    let may_match = !(is_weak && comparison == Comparison::Strong);
    lines.any(|tags| tags.trim_ascii() == b"*" || may_match && has(tags, opaque, comparison))
}

/// Whether a list of entity tags has `etag`, which is given without its `W/`.
fn has(mut tags: &[u8], etag: &str, comparison: Comparison) -> bool {
    // Entity tags may have commas inside their quotes.
    loop {
        tags = trim_separators(tags);
        let (weak, opaque) = match tags.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, tags),
        };
        let Some(inner) = opaque.strip_prefix(b"\"") else {
            return false;
        };
        let Some(end) = inner.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        let (tag, rest) = opaque.split_at(end + 2);
        if tag == etag.as_bytes() && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        tags = rest;
    }
}

fn trim_separators(mut list: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b',', rest @ ..] = list {
        list = rest;
    }
    list
}

/// Whether an `if-range` names the version with this entity tag.
fn is_current(validator: &[u8], etag: &str) -> bool {
    // RFC 9110 §13.1.5: "If the HTTP-date validator provided is not a strong validator in the sense
    // defined by Section 8.8.2.2, the condition is false." A file's date is never strong: a file
    // may change twice in a second, and its time may be set to anything. Entity tags are compared
    // strongly.
    !validator.starts_with(b"W/") && validator == etag.as_bytes()
}

fn parse_date(date: &[u8]) -> Option<u64> {
    let date = std::str::from_utf8(date).ok()?;
    httpdate::parse_http_date(date).ok().map(seconds)
}

/// Parses a single range of bytes (RFC 9110 §14.1.2). Several ranges, other units and malformed
/// ranges are ignored, as §14.2 allows.
fn parse_range(range: &[u8], length: u64) -> Verdict {
    let Some(range) = std::str::from_utf8(range).ok().and_then(byte_range) else {
        return Verdict::Whole;
    };
    match range {
        // `content-range` can't express a part of empty content.
        _ if length == 0 => Verdict::Whole,
        (Some(first), last) => {
            if last.is_some_and(|last| last < first) {
                // §14.1.1: such a range is invalid, and invalid ranges are ignored.
                return Verdict::Whole;
            }
            if first >= length {
                return Verdict::RangeNotSatisfiable;
            }
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            Verdict::Part(first..end)
        }
        (None, Some(0)) => Verdict::RangeNotSatisfiable,
        (None, Some(suffix)) => Verdict::Part(length.saturating_sub(suffix)..length),
        (None, None) => Verdict::Whole,
    }
}

/// Splits `bytes=first-last`.
fn byte_range(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    Some((position(first)?, position(last)?))
}

/// Parses a position that may be missing. A number beyond `u64` becomes the largest one.
fn position(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §5.6.7's example, 784,111,777 seconds after 1970.
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judged(method: &str, fields: &[(&str, &str)]) -> Verdict {
        judged_with("\"a,b\"", method, fields)
    }

    fn judged_with(etag: &str, method: &str, fields: &[(&str, &str)]) -> Verdict {
        let mut request = RequestHead::new(method, "https", "localhost", "/");
        for (name, value) in fields {
            request.push(name, value);
        }
        let validators = Validators::new(etag.into(), Some(784_111_777));
        judge(&request, &validators, 1000)
    }

    fn get(fields: &[(&str, &str)]) -> Verdict {
        judged("GET", fields)
    }

    #[test]
    fn without_conditions_all_of_it() {
        assert_eq!(get(&[]), Verdict::Whole);
        assert_eq!(
            get(&[("accept", "*/*"), ("link", "</>"), ("location", "/")]),
            Verdict::Whole
        );
    }

    // RFC 9110 §13.1.2: "If-None-Match ... MUST use the weak comparison function".
    #[test]
    fn if_none_match() {
        for tags in [
            "\"a,b\"",
            "W/\"a,b\"",
            "*",
            " * ",
            "\"x\", \"a,b\"",
            "\"x\",W/\"y\" , ,\"a,b\", \"z\"",
        ] {
            assert_eq!(
                get(&[("if-none-match", tags)]),
                Verdict::NotModified,
                "{tags}"
            );
        }
        for tags in [
            "",
            "\"a\"",
            "a,b",
            "\"a,b",
            "\"x\", *",
            "w/\"a,b\"",
            "\"\"",
            "\"",
            ",",
        ] {
            assert_eq!(get(&[("if-none-match", tags)]), Verdict::Whole, "{tags}");
        }
        assert_eq!(
            judged("HEAD", &[("if-none-match", "*")]),
            Verdict::NotModified
        );
    }

    // RFC 9110 §5.3: "combining [...] lines [...] into one field line [...] without changing the
    // semantics of the message".
    #[test]
    fn lists_may_have_several_lines() {
        let lines = |name, first, second| get(&[(name, first), ("accept", "*/*"), (name, second)]);
        for (first, second) in [("\"x\"", "\"a,b\""), ("\"a,b\"", "\"x\""), ("\"x\"", "*")] {
            assert_eq!(lines("if-match", first, second), Verdict::Whole);
            assert_eq!(lines("if-none-match", first, second), Verdict::NotModified);
        }
        let neither = lines("if-match", "\"x\"", "\"y\"");
        assert_eq!(neither, Verdict::PreconditionFailed);
        assert_eq!(lines("if-none-match", "\"x\"", "\"y\""), Verdict::Whole);
        // A field that isn't a list has no value if it occurs twice.
        assert_eq!(lines("range", "bytes=0-1", "bytes=0-1"), Verdict::Whole);
        assert_eq!(lines("if-modified-since", DATE, DATE), Verdict::Whole);
        assert_eq!(lines("if-unmodified-since", BEFORE, BEFORE), Verdict::Whole);
    }

    // RFC 9110 §8.8.3.2: with strong comparison, "two entity tags are equivalent if both are not
    // weak".
    #[test]
    fn a_weak_tag_of_ours() {
        let weak = |fields: &[(&str, &str)]| judged_with("W/\"a\"", "GET", fields);
        for tag in ["W/\"a\"", "\"a\""] {
            assert_eq!(weak(&[("if-none-match", tag)]), Verdict::NotModified);
            assert_eq!(weak(&[("if-match", tag)]), Verdict::PreconditionFailed);
            let part = [("range", "bytes=0-1"), ("if-range", tag)];
            assert_eq!(weak(&part), Verdict::Whole);
        }
        assert_eq!(weak(&[("if-match", "*")]), Verdict::Whole);
    }

    // RFC 9110 §13.1.1: "If-Match ... MUST use the strong comparison function".
    #[test]
    fn if_match() {
        assert_eq!(get(&[("if-match", "\"a,b\"")]), Verdict::Whole);
        assert_eq!(get(&[("if-match", "*")]), Verdict::Whole);
        assert_eq!(
            get(&[("if-match", "W/\"a,b\"")]),
            Verdict::PreconditionFailed
        );
        assert_eq!(get(&[("if-match", "\"x\"")]), Verdict::PreconditionFailed);
    }

    #[test]
    fn if_modified_since() {
        assert_eq!(get(&[("if-modified-since", DATE)]), Verdict::NotModified);
        assert_eq!(get(&[("if-modified-since", AFTER)]), Verdict::NotModified);
        assert_eq!(get(&[("if-modified-since", BEFORE)]), Verdict::Whole);
        assert_eq!(get(&[("if-modified-since", "yesterday")]), Verdict::Whole);
        // §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an
        // If-None-Match header field".
        assert_eq!(
            get(&[("if-modified-since", DATE), ("if-none-match", "\"x\"")]),
            Verdict::Whole
        );
    }

    #[test]
    fn if_unmodified_since() {
        assert_eq!(get(&[("if-unmodified-since", DATE)]), Verdict::Whole);
        assert_eq!(
            get(&[("if-unmodified-since", BEFORE)]),
            Verdict::PreconditionFailed
        );
        // §13.1.4: "A recipient MUST ignore If-Unmodified-Since if the request contains an If-Match
        // header field".
        assert_eq!(
            get(&[("if-unmodified-since", BEFORE), ("if-match", "*")]),
            Verdict::Whole
        );
    }

    #[test]
    fn single_ranges() {
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-", 0..1000),
            ("bytes=999-", 999..1000),
            ("bytes=10-19", 10..20),
            ("bytes=10-99999", 10..1000),
            ("bytes=0-18446744073709551615", 0..1000),
            ("bytes=0-99999999999999999999999", 0..1000),
            ("bytes=-1", 999..1000),
            ("bytes=-5000", 0..1000),
            ("Bytes=1-2", 1..3),
        ] {
            assert_eq!(get(&[("range", range)]), Verdict::Part(part), "{range}");
        }
        for range in [
            "bytes=1000-",
            "bytes=1000-1001",
            "bytes=99999999999999999999999-",
            "bytes=-0",
        ] {
            assert_eq!(
                get(&[("range", range)]),
                Verdict::RangeNotSatisfiable,
                "{range}"
            );
        }
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=--1",
            "bytes=1 - 2",
        ] {
            assert_eq!(get(&[("range", range)]), Verdict::Whole, "{range}");
        }
        assert_eq!(judged("HEAD", &[("range", "bytes=0-0")]), Verdict::Whole);
    }

    #[test]
    fn nothing_of_nothing() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=5-9", "bytes=-1", "bytes=-0"] {
            assert_eq!(parse_range(range.as_bytes(), 0), Verdict::Whole, "{range}");
        }
    }

    // RFC 9110 §13.1.5: only the exact, strong validator keeps the range.
    #[test]
    fn if_range() {
        let with = |validator| get(&[("range", "bytes=0-9"), ("if-range", validator)]);
        assert_eq!(with("\"a,b\""), Verdict::Part(0..10));
        for other in ["W/\"a,b\"", "\"x\"", BEFORE, DATE, AFTER, "", "*"] {
            assert_eq!(with(other), Verdict::Whole, "{other}");
        }
        // Without a range it means nothing.
        assert_eq!(get(&[("if-range", "\"x\"")]), Verdict::Whole);
    }
}
