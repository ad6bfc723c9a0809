//! Placeholder of one file per frame.
#![allow(missing_docs)]
use crate::{ErrorCode, StreamId};
use bytes::Bytes;

/// Any frame of a known kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data(Data),
    Headers(Headers),
    Priority(Priority),
    RstStream(RstStream),
    Settings(Settings),
    PushPromise(PushPromise),
    Ping(Ping),
    GoAway(GoAway),
    WindowUpdate(WindowUpdate),
    Continuation(Continuation),
    PriorityUpdate(PriorityUpdate),
    /// A frame of a kind that we don't know, skipped by the reader: its octets count for abuse, nothing else.
    Unknown(Unknown),
}

/// RFC 9113 §6.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub stream_id: StreamId,
    /// Without the padding.
    pub payload: Bytes,
    pub end_stream: bool,
    /// Octets that flow control counts: payload, pad length and padding.
    pub flow_len: u32,
}

/// RFC 9113 §6.2
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    pub stream_id: StreamId,
    pub fragment: Bytes,
    pub end_stream: bool,
    pub end_headers: bool,
    pub priority: Option<StreamDependency>,
}

/// The RFC 7540 priority signal of HEADERS and PRIORITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamDependency {
    pub depends_on: StreamId,
    pub exclusive: bool,
    /// As on the wire: one less than the weight (0 to 255 for 1 to 256).
    pub weight: u8,
}

/// RFC 9113 §6.3
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    pub stream_id: StreamId,
    pub dependency: StreamDependency,
}

/// RFC 9113 §6.4
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RstStream {
    pub stream_id: StreamId,
    pub code: ErrorCode,
}

/// RFC 9113 §6.5. Values are not validated here: the engine does, as it depends on the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    Ack,
    /// The raw payload, six octets an entry.
    Values(Bytes),
}

impl Settings {
    /// The entries in order; none for an acknowledgement.
    pub fn entries(&self) -> impl Iterator<Item = (SettingId, u32)> + '_ {
        todo!();
        #[allow(unreachable_code)]
        std::iter::empty()
    }
    /// A SETTINGS frame's payload made of these entries.
    pub fn of(entries: &[(SettingId, u32)]) -> Self {
        let _ = entries;
        todo!()
    }
}

/// A setting's identifier; unknown ones are kept and ignored by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SettingId(pub u16);

impl SettingId {
    pub const HEADER_TABLE_SIZE: Self = Self(0x1);
    pub const ENABLE_PUSH: Self = Self(0x2);
    pub const MAX_CONCURRENT_STREAMS: Self = Self(0x3);
    pub const INITIAL_WINDOW_SIZE: Self = Self(0x4);
    pub const MAX_FRAME_SIZE: Self = Self(0x5);
    pub const MAX_HEADER_LIST_SIZE: Self = Self(0x6);
    /// RFC 8441 §3
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(0x8);
    /// RFC 9218 §2.1
    pub const NO_RFC7540_PRIORITIES: Self = Self(0x9);
}

/// RFC 9113 §6.6
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPromise {
    pub stream_id: StreamId,
    pub promised_id: StreamId,
    pub fragment: Bytes,
    pub end_headers: bool,
}

/// RFC 9113 §6.7
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    pub ack: bool,
    pub payload: [u8; 8],
}

/// RFC 9113 §6.8
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    pub last_stream_id: StreamId,
    pub code: ErrorCode,
    pub debug_data: Bytes,
}

/// RFC 9113 §6.9
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowUpdate {
    pub stream_id: StreamId,
    /// 1 to 2^31-1.
    pub increment: u32,
}

/// RFC 9113 §6.10
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    pub stream_id: StreamId,
    pub fragment: Bytes,
    pub end_headers: bool,
}

/// RFC 9218 §7.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityUpdate {
    pub prioritized_id: StreamId,
    /// The priority field value.
    pub value: Bytes,
}

/// A skipped frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub kind: u8,
    pub stream_id: StreamId,
    pub length: u32,
}
