//! A request's path, read once for routes, WebSockets, files, push and upstreams.
//!
//! Servers read paths in different ways. Some decode `%2F`, take `\` for `/`, drop parameters after
//! `;` or cut at an encoded `?`; some don't. A path that a route guards must not be reachable by a
//! spelling that only the upstream takes for it. So this module refuses paths that servers can't
//! agree on, and [`Router::is_ambiguous`](crate::router::Router::is_ambiguous) finds those that
//! could belong to another route.

#[cfg(test)]
mod tests;

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

/// A slash or a dot: needs a second look after a slash. This and the next two are the classes of
/// bytes in the first scan of a path.
const AFTER_SLASH: u8 = 1;
/// Not plain: needs a second look anywhere.
const UNUSUAL: u8 = 1 << 1;
/// The end of the path.
const QUERY: u8 = 1 << 2;

/// By how many bits an entry of [`CLASSES`] is shifted to the classes that need a second look in
/// the byte after it.
const NEXT: u8 = 4;

/// The class of each byte, and what it makes of the next one.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => AFTER_SLASH | (UNUSUAL | AFTER_SLASH) << NEXT,
            b'.' => AFTER_SLASH | UNUSUAL << NEXT,
            b'?' => QUERY,
            byte if is_plain(byte) => UNUSUAL << NEXT,
            _ => UNUSUAL | UNUSUAL << NEXT,
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

/// Returns the part of a raw path after `prefix`, as [`RequestPath::behind`] does.
pub(crate) fn behind<'a>(raw: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    // The raw and the canonical form have the same segments.
    let slashes = prefix.iter().filter(|&&byte| byte == b'/').count();
    let mut places = (0..raw.len()).filter(|&at| raw[at] == b'/');
    raw.get(places.nth(slashes).unwrap_or(raw.len())..)
        .unwrap_or_default()
}

impl<'a> RequestPath<'a> {
    /// Reads a request's `:path`, which may be empty for CONNECT and `*` for OPTIONS.
    ///
    /// # Errors
    /// Why servers can't agree on the path.
    pub fn read(target: &'a [u8]) -> Result<Self, PathError> {
        let mut seen = 0;
        let mut looked_for = UNUSUAL;
        let mut length = target.len();
        for (at, &byte) in target.iter().enumerate() {
            let entry = CLASSES[usize::from(byte)];
            if entry == QUERY {
                length = at;
                break;
            }
            seen |= entry & looked_for;
            looked_for = entry >> NEXT;
        }
        let (path, query) = target.split_at(length);
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

    /// Whether the request is for the server in general (RFC 9110 §9.3.7).
    pub fn is_asterisk(&self) -> bool {
        self.target == b"*"
    }

    /// Returns the part of the raw path after `prefix`, the canonical path of a route that covers
    /// it. The part is empty or begins with `/`.
    pub fn behind(&self, prefix: &[u8]) -> &'a [u8] {
        behind(self.raw(), prefix)
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
