//! SETTINGS (RFC 9113 §6.5).

use bytes::{Bytes, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A SETTINGS frame (RFC 9113 §6.5). The engine checks the values, because they depend on the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// The acknowledgement of our settings.
    Ack,
    /// The raw payload, six bytes per entry.
    Values(Bytes),
}

impl Settings {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if !head.stream_id.is_connection() {
            return Err(Defect::SettingsOnStream);
        }
        if head.flags.has(Flags::ACK) && head.length != 0 {
            return Err(Defect::SettingsAckWithPayload);
        }
        if !head.length.is_multiple_of(6) {
            return Err(Defect::SettingsLengthNotMultipleOf6);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        if head.flags.has(Flags::ACK) {
            return Ok(Self::Ack);
        }
        Ok(Self::Values(input.split_to(head.length as usize).freeze()))
    }

    /// Returns the entries in order, including repeated ones; none for an acknowledgement.
    pub fn entries(&self) -> impl Iterator<Item = (SettingId, u32)> + '_ {
        let bytes = match self {
            Self::Ack => &[][..],
            Self::Values(bytes) => bytes,
        };
        bytes.chunks_exact(6).map(|entry| {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (SettingId(id), value)
        })
    }

    /// Makes a SETTINGS frame of these entries.
    pub fn of(entries: &[(SettingId, u32)]) -> Self {
        let mut bytes = Vec::with_capacity(entries.len() * 6);
        for (id, value) in entries {
            bytes.extend_from_slice(&id.0.to_be_bytes());
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        Self::Values(bytes.into())
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (flags, bytes) = match self {
            Self::Ack => (Flags::ACK, &[][..]),
            Self::Values(bytes) => (Flags::NONE, &bytes[..]),
        };
        let length = bytes.len() as u32;
        Head {
            length,
            kind: Kind::SETTINGS,
            flags,
            stream_id: StreamId::CONNECTION,
        }
        .write(out);
        out.extend_from_slice(bytes);
    }
}

/// The identifier of a setting. Unknown identifiers are kept; the engine ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SettingId(pub u16);

impl SettingId {
    /// The largest HPACK dynamic table that the sender's decoder accepts, in bytes.
    pub const HEADER_TABLE_SIZE: Self = Self(0x1);
    /// Whether the sender accepts pushes: 0 or 1.
    pub const ENABLE_PUSH: Self = Self(0x2);
    /// The number of streams that the peer may have open at once.
    pub const MAX_CONCURRENT_STREAMS: Self = Self(0x3);
    /// The initial flow-control window of each stream, in bytes.
    pub const INITIAL_WINDOW_SIZE: Self = Self(0x4);
    /// The largest payload that the sender accepts, in bytes.
    pub const MAX_FRAME_SIZE: Self = Self(0x5);
    /// The largest field section that the sender accepts, in bytes; advice only.
    pub const MAX_HEADER_LIST_SIZE: Self = Self(0x6);
    /// Whether the sender accepts extended CONNECT (RFC 8441 §3): 0 or 1.
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(0x8);
    /// Whether the sender ignores RFC 7540 priorities (RFC 9218 §2.1): 0 or 1.
    pub const NO_RFC7540_PRIORITIES: Self = Self(0x9);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    #[test]
    fn settings_are_written_as_they_are_read() {
        round_trip(&Frame::Settings(Settings::Ack), b"\0\0\0\x04\x01\0\0\0\0");
        round_trip(&Frame::Settings(Settings::of(&[])), b"\0\0\0\x04\0\0\0\0\0");
        let entries = [
            (SettingId::HEADER_TABLE_SIZE, 8192),
            (SettingId(0xfefe), u32::MAX),
            (SettingId::HEADER_TABLE_SIZE, 0),
        ];
        let settings = Settings::of(&entries);
        assert!(settings.entries().eq(entries));
        round_trip(
            &Frame::Settings(settings),
            b"\0\0\x12\x04\0\0\0\0\0\0\x01\0\0\x20\0\xfe\xfe\xff\xff\xff\xff\0\x01\0\0\0\0",
        );
        assert_eq!(Settings::Ack.entries().count(), 0);
    }

    /// RFC 9113 §6.5: "If an endpoint receives a SETTINGS frame whose Stream Identifier field is
    /// anything other than 0x00, the endpoint MUST respond with a connection error (Section 5.4.1)
    /// of type PROTOCOL_ERROR."
    #[test]
    fn streams_are_refused() {
        refused(
            b"\0\0\x06\x04\0\0\0\0\x01",
            Defect::SettingsOnStream,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.5: "A SETTINGS frame with a length other than a multiple of 6 octets MUST be
    /// treated as a connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    #[test]
    fn partial_entries_are_refused() {
        refused(
            b"\0\0\x08\x04\0\0\0\0\0",
            Defect::SettingsLengthNotMultipleOf6,
            ErrorCode::FRAME_SIZE_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.5: "Receipt of a SETTINGS frame with the ACK flag set and a length field value
    /// other than 0 MUST be treated as a connection error (Section 5.4.1) of type
    /// FRAME_SIZE_ERROR."
    #[test]
    fn an_acknowledgement_with_a_payload_is_refused() {
        refused(
            b"\0\0\x06\x04\x01\0\0\0\0",
            Defect::SettingsAckWithPayload,
            ErrorCode::FRAME_SIZE_ERROR,
            Scope::Connection,
        );
    }
}
