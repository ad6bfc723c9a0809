//! The priority of a stream (RFC 9218 §4), and the field value that carries it.

use std::borrow::Cow;

use tidegate_hpack::{Fields, KnownName};

/// Urgency and incremental delivery (RFC 9218 §4). Displays as the value of a `priority` field:
/// `u=3`, `u=1, i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 (first) to 7 (last). Default 3.
    pub urgency: u8,
    /// Whether parts of the response are useful before it is complete. Default no.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// Reads the value of a request's `priority` field or of a PRIORITY_UPDATE frame.
    ///
    /// RFC 9218 §4: "unknown priority parameters, priority parameters with out-of-range values, or
    /// values of unexpected types MUST be ignored": those have their defaults. So has a whole value
    /// that isn't a dictionary of structured fields (RFC 8941 §4.2: "the entire field value MUST be
    /// ignored").
    pub fn parse(value: &[u8]) -> Self {
        Self::default().merge(value)
    }

    /// Returns this priority with the parameters that a response's `priority` field changes.
    ///
    /// RFC 9218 §8: "The absence of a priority parameter in an HTTP response indicates the server's
    /// disinterest in changing the client-provided value."
    #[must_use]
    pub fn merge(mut self, value: &[u8]) -> Self {
        let parameters = Parameters::parse(value);
        self.urgency = parameters.urgency.unwrap_or(self.urgency);
        self.incremental = parameters.incremental.unwrap_or(self.incremental);
        self
    }

    /// Returns the value of a section's `priority` field, whose first line is `first`. RFC 8941
    /// §4.2: "parsers MUST combine all lines in the same section … that case-insensitively match
    /// the field name into one comma-separated field-value".
    pub fn whole_value<'a>(fields: &Fields, first: &'a [u8]) -> Cow<'a, [u8]> {
        let lines = fields.iter();
        let mut lines = lines
            .filter(|field| field.known == Some(KnownName::PRIORITY))
            .skip(1)
            .peekable();
        if lines.peek().is_none() {
            return Cow::Borrowed(first);
        }
        let mut value = first.to_vec();
        for line in lines {
            value.extend_from_slice(b", ");
            value.extend_from_slice(line.value);
        }
        Cow::Owned(value)
    }
}

/// The parameters of a value that have a meaning (RFC 9218 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    urgency: Option<u8>,
    incremental: Option<bool>,
}

impl Parameters {
    fn parse(value: &[u8]) -> Self {
        match *value {
            // The usual values of browsers need no parser.
            [b'u', b'=', digit @ b'0'..=b'7'] => Self {
                urgency: Some(digit - b'0'),
                incremental: None,
            },
            [b'u', b'=', digit @ b'0'..=b'7', b',', b' ', b'i'] => Self {
                urgency: Some(digit - b'0'),
                incremental: Some(true),
            },
            _ => parse_dictionary(value).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "u={}", self.urgency.min(7))?;
        if self.incremental {
            f.write_str(", i")?;
        }
        Ok(())
    }
}

/// A member's value, as far as it matters; other values are only skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Integer(i64),
    Boolean(bool),
    Other,
}

/// Parses a dictionary (RFC 8941 §4.2.2). `None` if it isn't one. A repeated key has its last
/// value.
fn parse_dictionary(bytes: &[u8]) -> Option<Parameters> {
    let mut parameters = Parameters::default();
    let mut input = Input { bytes };
    input.skip(b" ");
    while !input.bytes.is_empty() {
        let key = input.key()?;
        let value = if input.take(b'=') {
            input.item_or_inner_list()?
        } else {
            Value::Boolean(true)
        };
        input.parameters()?;
        match key {
            b"u" => {
                parameters.urgency = match value {
                    Value::Integer(urgency @ 0..=7) => Some(urgency as u8),
                    _ => None,
                }
            }
            b"i" => {
                parameters.incremental = match value {
                    Value::Boolean(incremental) => Some(incremental),
                    _ => None,
                }
            }
            _ => {}
        }
        input.skip(b" \t");
        if input.bytes.is_empty() {
            break;
        }
        if !input.take(b',') {
            return None;
        }
        input.skip(b" \t");
        // "If input_string is empty, there is a trailing comma; fail parsing."
        if input.bytes.is_empty() {
            return None;
        }
    }
    Some(parameters)
}

/// The bytes that are still to be read.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    /// Takes one byte if it is `byte`.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.first() == Some(&byte);
        if is_next {
            self.bytes = &self.bytes[1..];
        }
        is_next
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.bytes.iter().position(|&byte| !belongs(byte));
        let (taken, rest) = self.bytes.split_at(end.unwrap_or(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    fn skip(&mut self, blanks: &[u8]) {
        self.take_while(|byte| blanks.contains(&byte));
    }

    /// Parses a key (RFC 8941 §4.2.3.3).
    fn key(&mut self) -> Option<&'a [u8]> {
        if !matches!(self.bytes.first(), Some(b'a'..=b'z' | b'*')) {
            return None;
        }
        Some(self.take_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        ))
    }

    /// Parses a member value (RFC 8941 §4.2.1.1), without its parameters.
    fn item_or_inner_list(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.bytes.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// Parses parameters (RFC 8941 §4.2.3.2).
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// Parses a bare item (RFC 8941 §4.2.3.1).
    fn bare_item(&mut self) -> Option<Value> {
        match *self.bytes.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b':' => {
                self.next();
                self.take_while(
                    |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'='),
                );
                self.take(b':').then_some(Value::Other)
            }
            b'?' => {
                self.next();
                match self.next()? {
                    b'0' => Some(Value::Boolean(false)),
                    b'1' => Some(Value::Boolean(true)),
                    _ => None,
                }
            }
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// Parses a number (RFC 8941 §4.2.4): an integer has up to 15 digits, a decimal up to 12 and 1
    /// to 3 after the point.
    fn number(&mut self) -> Option<Value> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let fits = matches!(digits.len(), 1..=12) && matches!(fraction.len(), 1..=3);
            return fits.then_some(Value::Other);
        }
        if !matches!(digits.len(), 1..=15) {
            return None;
        }
        let number = digits
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(sign * number))
    }

    /// Parses a string (RFC 8941 §4.2.5).
    fn string(&mut self) -> Option<Value> {
        self.next();
        loop {
            match self.next()? {
                b'"' => return Some(Value::Other),
                b'\\' if !matches!(self.next()?, b'"' | b'\\') => return None,
                0x20..=0x7e => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn priority(urgency: u8, incremental: bool) -> Priority {
        Priority {
            urgency,
            incremental,
        }
    }

    #[test]
    fn reads_urgency_and_incremental() {
        // RFC 9218 §4.1: "The urgency (u) parameter value is Integer, between 0 and 7 inclusive, in
        // descending order of priority"; "The default is 3." §4.2: "The incremental (i) parameter
        // value is Boolean", by default false.
        let cases: &[(&str, u8, bool)] = &[
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7", 7, false),
            ("i", 3, true),
            ("i=?1", 3, true),
            ("i=?0", 3, false),
            ("u=5, i", 5, true),
            ("u=5,i", 5, true),
            ("u=5 \t,\t i", 5, true),
            ("  i, u=1  ", 1, true),
            // RFC 8941 §4.2.2: "all but the last instance are ignored."
            ("u=1, u=2", 2, false),
            ("u=1, u=9", 3, false),
            ("i, i=?0", 3, false),
            // Parameters of a member have no meaning here.
            ("u=2;foo=bar;baz, i;q=0.5", 2, true),
        ];
        for (value, urgency, incremental) in cases {
            assert_eq!(
                Priority::parse(value.as_bytes()),
                priority(*urgency, *incremental),
                "{value:?}"
            );
        }
    }

    #[test]
    fn ignores_unknown_parameters_and_bad_values() {
        // RFC 9218 §4: "unknown priority parameters, priority parameters with out-of-range values,
        // or values of unexpected types MUST be ignored."
        let cases: &[(&str, u8, bool)] = &[
            ("u=8, i", 3, true),
            ("u=-1, i", 3, true),
            ("u=1.0, i", 3, true),
            ("u=\"1\", i", 3, true),
            ("u=one, i", 3, true),
            ("u, i", 3, true),
            ("u=999999999999999, i", 3, true),
            ("u=1, i=1", 1, false),
            ("u=1, i=(?1)", 1, false),
            ("x=\"a, u=7 \\\" \\\\\", u=1", 1, false),
            ("x=(a \"b\";c=1  2.5);d, u=1", 1, false),
            ("x=:aGk=:, *y.z-_1=*t/o:k, u=1", 1, false),
        ];
        for (value, urgency, incremental) in cases {
            assert_eq!(
                Priority::parse(value.as_bytes()),
                priority(*urgency, *incremental),
                "{value:?}"
            );
        }
    }

    #[test]
    fn ignores_all_of_what_is_not_a_dictionary() {
        // RFC 8941 §4.2: "if parsing fails -- including when calling another algorithm -- the
        // entire field value MUST be ignored".
        let cases = [
            "u=1,",
            "u=1, ,i",
            ", u=1",
            "u=1 i",
            "u=",
            "u=1, U=1",
            "u=1, =2",
            "u=1, x=?2",
            "u=1, x=\"open",
            "u=1, x=\"\\n\"",
            "u=1, x=\"\x7f\"",
            "u=1, x=:aGk",
            "u=1, x=(a",
            "u=1, x=(a\"b\")",
            "u=1, x=1.",
            "u=1, x=1.2345",
            "u=1, x=1234567890123456",
            "u=1, x=-",
            "u=1, x=@",
            "u=1;=2",
            "u=1\r\n",
            "\tu=1",
        ];
        for value in cases {
            assert_eq!(
                Priority::parse(value.as_bytes()),
                Priority::default(),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_response_changes_only_what_it_names() {
        // RFC 9218 §8, with its example: a client's `u=5, i` and a response's `u=1` come to `u=1,
        // i`.
        let cases: &[(&str, u8, bool)] = &[
            ("u=1", 1, true),
            ("i=?0", 5, false),
            ("u=2, i=?0", 2, false),
            ("u=1, x=y", 1, true),
            ("", 5, true),
            ("u=8", 5, true),
            ("u=1, u=8", 5, true),
            ("i=1", 5, true),
            ("u=1,", 5, true),
        ];
        for (value, urgency, incremental) in cases {
            let merged = priority(5, true).merge(value.as_bytes());
            assert_eq!(merged, priority(*urgency, *incremental), "{value:?}");
        }
    }

    #[test]
    fn lines_of_a_section_are_one_value() {
        let mut fields = Fields::new();
        fields.push("accept", "*/*");
        fields.push("priority", "u=1");
        assert_eq!(&*Priority::whole_value(&fields, b"u=1"), b"u=1");
        fields.push("priority", "i, u=2");
        assert_eq!(&*Priority::whole_value(&fields, b"u=1"), b"u=1, i, u=2");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(urgency in 0_u8..8, incremental: bool) {
            let written = priority(urgency, incremental);
            let value = written.to_string();
            prop_assert_eq!(Priority::parse(value.as_bytes()), written);
            let parsed = parse_dictionary(value.as_bytes()).expect("a dictionary");
            prop_assert_eq!(parsed.urgency, Some(urgency));
            prop_assert_eq!(parsed.incremental.unwrap_or(false), incremental);
        }

        #[test]
        fn takes_any_bytes(bytes: Vec<u8>) {
            prop_assert!(Priority::parse(&bytes).urgency <= 7);
        }

        #[test]
        fn takes_anything_that_looks_like_a_dictionary(text in "[ui=0-9,; ?.()\":\\\\a-]{0,24}") {
            prop_assert!(Priority::parse(text.as_bytes()).urgency <= 7);
        }
    }
}
