//! The records of a trace: what each line of a file says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::EngineSettings;
use crate::text::{hex, milliseconds};

/// The version of the format. A reader refuses files of a later one.
pub const VERSION: u32 = 1;

/// The first record of a file. A file that was reopened or appended to has several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The version of the format.
    pub tidegate_trace: u32,
    /// The program that wrote the file.
    pub title: String,
    /// Whose view the file has.
    pub vantage_point: VantagePoint,
    /// The time of day at which the file was opened, in the notation of RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_time: Option<String>,
}

/// The end of a connection that recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VantagePoint {
    /// The server: what is received comes from a client.
    Server,
    /// The client.
    Client,
}

/// One record of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The time since the connection began.
    #[serde(with = "milliseconds")]
    pub time: Duration,
    /// The connection, unique in the file; empty in a note about the file.
    pub group_id: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// An event of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "data")]
pub enum Event {
    /// The connection began, and is traced from its first byte on.
    #[serde(rename = "http2:connection_started")]
    Started(Box<Started>),
    /// The peer sent a frame.
    #[serde(rename = "http2:frame_received")]
    Received(Box<FrameRecord>),
    /// We sent a frame.
    #[serde(rename = "http2:frame_sent")]
    Sent(Box<FrameRecord>),
    /// A rule or limit was applied to the peer.
    #[serde(rename = "http2:rule_applied")]
    Rule(Rule),
    /// Frames before this record were left out of a ring.
    #[serde(rename = "http2:frames_omitted")]
    Omitted {
        /// The number of frames of both directions.
        frames: u64,
    },
    /// The writer says something about the file, such as that records were lost.
    #[serde(rename = "tidegate:note")]
    Note {
        /// A sentence.
        text: String,
    },
    /// The connection ended.
    #[serde(rename = "http2:connection_closed")]
    Closed(Closed),
}

/// Facts about a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The client's address, as a PROXY protocol header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The server's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The name that the client requested by TLS (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The version of TLS; absent in cleartext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The time of day at which the connection began, in the notation of RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_time: Option<String>,
    /// The settings of our engine.
    pub engine: EngineSettings,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// The stream; 0 is the connection.
    pub stream_id: u32,
    /// The payload's length in bytes.
    pub length: u32,
    /// The bits of the frame's flags.
    pub flags: u8,
    /// The frame's type, and what it carries.
    #[serde(flatten)]
    pub payload: Payload,
    /// The flow-control windows after the frame, if it changed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
}

/// The content of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame_type", rename_all = "snake_case")]
pub enum Payload {
    /// The client's first bytes, before its first frame.
    Preface {
        /// Whether they are those of HTTP/2.
        valid: bool,
    },
    /// DATA.
    Data {
        /// The bytes of the body, without padding.
        data_length: u32,
    },
    /// HEADERS.
    Headers {
        /// The dependency of RFC 7540.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dependency: Option<Dependency>,
        /// The fields, if the block ends here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<Box<Block>>,
    },
    /// PRIORITY.
    Priority {
        /// The dependency of RFC 7540.
        dependency: Dependency,
    },
    /// RST_STREAM.
    RstStream {
        /// The error code.
        code: u32,
        /// The code's name.
        error: String,
    },
    /// SETTINGS.
    Settings {
        /// The identifiers and values; absent in an acknowledgement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<Vec<Setting>>,
    },
    /// PUSH_PROMISE.
    PushPromise {
        /// The promised stream.
        promised_stream_id: u32,
        /// The fields, if the block ends here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<Box<Block>>,
    },
    /// PING.
    Ping {
        /// The eight bytes.
        #[serde(with = "hex")]
        opaque: Vec<u8>,
    },
    /// GOAWAY.
    Goaway {
        /// The last stream that is or may be processed.
        last_stream_id: u32,
        /// The error code.
        code: u32,
        /// The code's name.
        error: String,
        /// The length of the debug data in bytes.
        debug_length: u32,
        /// The debug data, if it is ours or values are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        debug: Option<String>,
    },
    /// WINDOW_UPDATE.
    WindowUpdate {
        /// The increment in bytes.
        increment: u32,
    },
    /// CONTINUATION.
    Continuation {
        /// The fields, if the block ends here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<Box<Block>>,
    },
    /// PRIORITY_UPDATE.
    PriorityUpdate {
        /// The stream.
        prioritized_stream_id: u32,
        /// The priority field's value.
        value: String,
    },
    /// A frame of a type that the engine doesn't know, or ORIGIN.
    Unknown {
        /// The type.
        kind: u8,
    },
    /// A frame that is wrong by itself.
    Malformed {
        /// The type.
        kind: u8,
        /// The defect.
        defect: String,
        /// The beginning of the payload, as far as it tells the defect and can hold no value of a
        /// field.
        #[serde(with = "hex")]
        payload: Vec<u8>,
    },
}

/// A dependency of RFC 7540 §5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The stream that this one depends on.
    pub stream_id: u32,
    /// The weight, 1 to 256.
    pub weight: u16,
    /// Whether the dependency is exclusive.
    pub exclusive: bool,
}

/// One setting of a SETTINGS frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The identifier.
    pub id: u16,
    /// The identifier's name.
    pub name: String,
    /// The value.
    pub value: u32,
}

/// A whole field block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The length of the block in bytes, of all its frames.
    pub block_length: u32,
    /// The fields in their order.
    pub fields: Vec<FieldRecord>,
    /// Fields that were left out, because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_fields: u32,
    /// The bytes of the list that were left out, as RFC 9113 §10.5.1 counts them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_size: u32,
    /// Why the block can't be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The changes of the dynamic table, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableChange>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldRecord {
    /// The name.
    pub name: String,
    /// The value, unless it is withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The length of a value that is withheld, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_length: Option<u32>,
    /// Whether the value that is withheld breaks a rule by itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub value_invalid: bool,
}

/// A change of a dynamic table of HPACK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    /// The names of the fields that were inserted, oldest first.
    pub inserted: Vec<String>,
    /// The number of fields that were evicted.
    pub evicted: u32,
    /// The number of fields in the table now.
    pub entries: u32,
    /// The table's size in bytes now, as RFC 7541 §4.1 counts it.
    pub size: u32,
}

/// Flow-control windows in bytes. A window may be negative (RFC 9113 §6.9.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// The bytes that we may send on the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_send: Option<i64>,
    /// The bytes that the peer may send on the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_receive: Option<i64>,
    /// The bytes that we may send on the connection.
    pub connection_send: i64,
    /// The bytes that the peer may send on the connection.
    pub connection_receive: i64,
}

/// A rule or limit that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The stream that it ended, or absent for the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<u32>,
    /// The rule's label, as in the metrics.
    pub rule: String,
    /// The clause of the RFC, or the attack that the limit answers.
    pub section: String,
    /// The name of the error code.
    pub error: String,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The kind of end: `rule`, `peer_error`, `eof`, `eof_in_the_middle`, `graceful`,
    /// `shutdown_timed_out`, `idle`, `probe_unanswered`, `aborted`, `memory`, or `transport`: the
    /// transport failed, and the engine wasn't told why.
    pub reason: String,
    /// The sentence of the log.
    pub text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
