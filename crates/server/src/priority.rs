//! Priorities that the server sets: by the `x-priority` field of requests, and defaults by the type
//! of content.

use tidegate_http::{KnownName, Priority, RequestHead};

/// `x-priority: high`: more urgent than all defaults, less than urgency 0, which clients give.
const HIGH: u8 = 1;

/// `x-priority: low`: less urgent than all that a page shows. 7 is for background work
/// (RFC 9218 §4.1).
const LOW: u8 = 6;

/// Returns the urgency that a request's `x-priority` field asks for: `high` or `low`, in upper or
/// lower case, or a number from 0 to 7. Other values are ignored.
pub fn asked(head: &RequestHead) -> Option<u8> {
    let value = head.get_known(KnownName::X_PRIORITY)?.trim_ascii();
    match value {
        [digit @ b'0'..=b'7'] => Some(digit - b'0'),
        _ if value.eq_ignore_ascii_case(b"high") => Some(HIGH),
        _ if value.eq_ignore_ascii_case(b"low") => Some(LOW),
        _ => None,
    }
}

/// Returns the default priority of content of this type. What a page can't be shown without comes
/// first, then the page itself, then what is looked at later, then downloads. Pages, images and
/// videos are incremental, because a part of them is of use; a part of a style sheet, script or
/// font isn't.
pub fn of_content(content_type: &[u8]) -> Priority {
    let essence = content_type.split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii_end();
    let (kind, subtype) = match essence.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&essence[..slash], &essence[slash + 1..]),
        None => (essence, &b""[..]),
    };
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    let sub_is = |names: &[&str]| {
        let mut names = names.iter();
        names.any(|name| subtype.eq_ignore_ascii_case(name.as_bytes()))
    };
    let (urgency, incremental) = if is("font") || is("text") && sub_is(&["css"]) {
        (2, false)
    } else if is("text") && sub_is(&["html"]) || is("application") && sub_is(&["xhtml+xml"]) {
        (3, true)
    } else if is("image") {
        (4, true)
    } else if is("audio") || is("video") {
        (5, true)
    } else if is("application") && sub_is(DOWNLOADS) {
        (6, true)
    } else if is("application") && sub_is(OLD_FONTS) {
        (2, false)
    } else {
        (3, false)
    };
    Priority {
        urgency,
        incremental,
    }
}

/// Subtypes of `application` that browsers save instead of showing.
const DOWNLOADS: &[&str] = &[
    "gzip",
    "octet-stream",
    "vnd.debian.binary-package",
    "x-7z-compressed",
    "x-bzip",
    "x-bzip2",
    "x-gzip",
    "x-iso9660-image",
    "x-msdownload",
    "x-rar-compressed",
    "x-tar",
    "x-xz",
    "zip",
    "zstd",
];

/// Subtypes of `application` that fonts had before RFC 8081.
const OLD_FONTS: &[&str] = &["font-woff", "vnd.ms-fontobject", "x-font-ttf", "x-font-otf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x_priority_is_a_word_or_a_number() {
        let asked = |value: &str| {
            asked(&RequestHead::new("GET", "https", "localhost", "/").field("x-priority", value))
        };
        for (value, urgency) in [
            ("high", 1),
            ("HIGH", 1),
            ("Low", 6),
            ("0", 0),
            ("3", 3),
            ("7", 7),
        ] {
            assert_eq!(asked(value), Some(urgency), "{value}");
        }
        for value in ["", "8", "-1", "03", "u=1", "highest", "high, low", "1.0"] {
            assert_eq!(asked(value), None, "{value:?}");
        }
        let without = RequestHead::new("GET", "https", "localhost", "/");
        assert_eq!(super::asked(&without), None);
    }

    #[test]
    fn content_has_its_place() {
        for (content_type, priority) in [
            ("text/css; charset=utf-8", "u=2"),
            ("Text/CSS", "u=2"),
            ("text/css ;charset=utf-8", "u=2"),
            ("font/woff2", "u=2"),
            ("application/font-woff", "u=2"),
            ("text/html; charset=utf-8", "u=3, i"),
            ("application/xhtml+xml", "u=3, i"),
            ("text/javascript", "u=3"),
            ("application/json", "u=3"),
            ("application/wasm", "u=3"),
            ("text/plain", "u=3"),
            ("image/svg+xml", "u=4, i"),
            ("video/mp4", "u=5, i"),
            ("audio/ogg", "u=5, i"),
            ("application/octet-stream", "u=6, i"),
            ("application/zip", "u=6, i"),
            ("", "u=3"),
            ("/", "u=3"),
            ("css", "u=3"),
            ("text/css/x", "u=3"),
        ] {
            let found = of_content(content_type.as_bytes());
            assert_eq!(
                found,
                Priority::parse(priority.as_bytes()),
                "{content_type:?}"
            );
        }
    }
}
