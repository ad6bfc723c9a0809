//! Bytes in JSON.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Returns bytes as text: each byte is the character with its number, so that no byte is lost.
pub(crate) fn of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Returns the bytes of a text that [`of`] made. Other characters become question marks.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

/// Bytes as hexadecimal digits.
pub(crate) mod hex {
    use super::{Deserialize, Deserializer, Serializer};

    /// Returns the digits of bytes.
    pub(crate) fn of(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&of(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(from)?;
        let digits = digits.as_bytes();
        let pair = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
        bytes.ok_or_else(|| serde::de::Error::custom("expected hexadecimal digits"))
    }
}

/// Times as milliseconds, with six digits behind the point at most.
pub(crate) mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// The longest time that is read: beyond it, nanoseconds don't fit into the number.
    const LONGEST: f64 = 9e9;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_nanos() as f64 / 1e6)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let time = f64::deserialize(from)?;
        if !(0.0..=LONGEST).contains(&time) {
            return Err(serde::de::Error::custom("a time is out of range"));
        }
        Ok(Duration::from_nanos((time * 1e6).round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&of(&all)), all);
        assert_eq!(bytes("→"), b"?");
    }
}
