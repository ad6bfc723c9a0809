//! The W3C trace context: which `traceparent` fields are valid, and new ones.
//!
//! The server makes no spans. It passes a valid context on as it came, and drops an invalid one
//! together with its `tracestate` (W3C Trace Context §3.2).

use clap::ValueEnum;
use tidegate_http::{KnownName, RequestHead};

use crate::request_id::Random;

/// The treatment of the trace context of a request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceContext {
    /// A valid one goes on.
    Pass,
    /// A request without a valid one gets one.
    Make,
}

/// The length of version 00, and the least of later versions.
const LEN: usize = 55;

/// A valid `traceparent`, in the text of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent<'a>(&'a [u8]);

impl<'a> Traceparent<'a> {
    /// Returns the context of a request: that of its only `traceparent`, if it is valid.
    pub fn of(head: &'a RequestHead) -> Option<Self> {
        let fields = head.headers();
        let mut fields = fields.filter(|field| field.known == Some(KnownName::TRACEPARENT));
        let only = fields.next()?;
        if fields.next().is_some() {
            return None;
        }
        Self::read(only.value)
    }

    /// Checks a value: `version-trace-parent-flags` in lower-case hexadecimal digits. Later
    /// versions may have more after that.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let fixed = value.first_chunk::<LEN>()?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_shaped = fixed.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => is_hex(byte),
        });
        let rest = &value[LEN..];
        let ends_well = match &fixed[..2] {
            b"00" => rest.is_empty(),
            b"ff" => false,
            // W3C Trace Context §4.3: of a later version, these parts are what this version has.
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let is_set = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
        let context = Self(value);
        (is_shaped && ends_well && is_set(context.trace_id()) && is_set(context.parent_id()))
            .then_some(context)
    }

    /// Returns the field's value.
    pub fn text(self) -> &'a [u8] {
        self.0
    }

    /// Returns the 32 digits of the trace's id.
    pub fn trace_id(self) -> &'a [u8] {
        &self.0[3..35]
    }

    /// Returns the 16 digits of the parent's id.
    pub fn parent_id(self) -> &'a [u8] {
        &self.0[36..52]
    }

    /// Returns the two digits of the flags.
    pub fn flags(self) -> &'a [u8] {
        &self.0[53..55]
    }
}

/// Returns the value of a new `traceparent`. Its trace is sampled, because services would record
/// nothing of one that isn't.
pub fn new(random: &mut Random) -> Box<str> {
    // An id of zeros alone is invalid.
    let trace = random.number().max(1);
    let parent = (random.number() as u64).max(1);
    format!("00-{trace:032x}-{parent:016x}-01").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_valid_and_what_is_not() {
        let later = VALID.replacen("00", "cc", 1);
        for valid in [
            VALID.to_owned(),
            VALID.replace("-01", "-ff"),
            later.clone(),
            format!("{later}-what-the-future-brings"),
        ] {
            let context = Traceparent::read(valid.as_bytes());
            let context = context.unwrap_or_else(|| panic!("{valid}"));
            assert_eq!(context.trace_id(), b"0af7651916cd43dd8448eb211c80319c");
            assert_eq!(context.parent_id(), b"b7ad6b7169203331");
            assert_eq!(context.text(), valid.as_bytes());
        }
        for invalid in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}-"),
            format!("{VALID}0"),
            format!("{VALID}-what-the-future-brings"),
            format!("{later}."),
            VALID.to_uppercase(),
            VALID.replacen("00", "ff", 1),
            VALID.replacen("00", ".0", 1),
            VALID.replacen('-', "_", 1),
            VALID.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            VALID.replace("b7ad6b7169203331", &"0".repeat(16)),
            VALID.replace("-01", "-.1"),
        ] {
            assert_eq!(Traceparent::read(invalid.as_bytes()), None, "{invalid}");
        }
    }

    #[test]
    fn a_request_has_one_context_or_none() {
        let head = || RequestHead::new("GET", "https", "a", "/");
        assert_eq!(Traceparent::of(&head()), None);
        let one = head().field("traceparent", VALID);
        assert_eq!(
            Traceparent::of(&one).map(Traceparent::flags),
            Some(&b"01"[..])
        );
        assert_eq!(Traceparent::of(&one.field("traceparent", VALID)), None);
    }

    #[test]
    fn a_new_context_is_valid() {
        let mut random = Random::default();
        let (one, other) = (new(&mut random), new(&mut random));
        let one = Traceparent::read(one.as_bytes()).unwrap();
        let other = Traceparent::read(other.as_bytes()).unwrap();
        assert_ne!(one.trace_id(), other.trace_id());
        assert_ne!(one.parent_id(), other.parent_id());
    }
}
