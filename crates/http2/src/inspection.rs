//! A picture of a connection at one moment, for those who ask.

use std::time::Duration;

use tidegate_frame::StreamId;
use tidegate_http::{Priority, Role, Stats};

use crate::{LastFrame, ReceiveCredit};

/// A connection at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// Our role.
    pub role: Role,
    /// Whether the connection rests, so that most of its memory is given back.
    pub resting: bool,
    /// The number of streams that are open or wait for their owner.
    pub stream_count: usize,
    /// The streams, in the order of their identifiers, as many as were asked for.
    pub streams: Vec<StreamInspection>,
    /// The bytes of bodies that we may send by the connection's window.
    pub send_window: usize,
    /// The bytes that the peer may send, and those of it that were not consumed.
    pub receive_credit: ReceiveCredit,
    /// The table of the fields that the peer sends.
    pub decoder: TableInspection,
    /// The table of the fields that we send.
    pub encoder: TableInspection,
    /// The SETTINGS of both ends, in the order of their identifiers.
    pub settings: Vec<Setting>,
    /// Whether the peer has acknowledged our newest SETTINGS.
    pub settings_acknowledged: bool,
    /// The budgets against abuse.
    pub guards: Vec<GuardLevel>,
    /// The heads of the last frames, the oldest first.
    pub last_frames: Vec<LastFrame>,
    /// The counters.
    pub stats: Stats,
}

/// A stream at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamInspection {
    /// The identifier.
    pub id: StreamId,
    /// The state, as RFC 9113 §5.1 names it.
    pub state: &'static str,
    /// The priority by which the stream is scheduled.
    pub priority: Priority,
    /// The bytes that we may send by the stream's window.
    pub send_window: usize,
    /// The bytes that the peer may send by the stream's window; negative after a change of
    /// SETTINGS.
    pub receive_window: i64,
    /// The bytes received that the owner hasn't consumed.
    pub unconsumed: u32,
    /// The bytes of our body that wait to be sent.
    pub queued: usize,
    /// The bytes of our body that were sent.
    pub sent: u64,
    /// The thing that the stream waits for.
    pub waits_for: WaitsFor,
    /// How long the peer's windows have held up our body.
    pub stalled: Option<Duration>,
}

/// The thing that a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nothing: both messages are complete.
    Nothing,
    /// The peer's WINDOW_UPDATE on the stream.
    StreamWindow,
    /// The peer's WINDOW_UPDATE on the connection.
    ConnectionWindow,
    /// Its turn, or room in the transport.
    Turn,
    /// The owner: its message, more of its body, or its release of a stream that was reset.
    Owner,
    /// The rest of the peer's message.
    Peer,
}

/// A dynamic table of header compression at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TableInspection {
    /// The bytes in the table, as RFC 7541 §4.1 counts them.
    pub size: usize,
    /// The most bytes that it may have now.
    pub max_size: usize,
    /// The number of entries.
    pub len: usize,
    /// The newest entries, the newest first, as many as were asked for. The first has index 62.
    pub entries: Vec<TableField>,
}

/// An entry of a dynamic table. Values may be secrets, so most are not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableField {
    /// The name, shortened.
    pub name: String,
    /// The value, shortened, if it says nothing about a person.
    pub value: Option<String>,
    /// The length of the value in bytes.
    pub value_len: usize,
    /// The size in bytes as RFC 7541 §4.1 counts it.
    pub size: usize,
}

/// A setting of both ends (RFC 9113 §6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The name without `SETTINGS_`.
    pub name: &'static str,
    /// Our value; `None` if it has no meaning from our end, or no limit.
    pub ours: Option<u32>,
    /// The peer's value; `None` if it has no meaning from its end, or no limit.
    pub peers: Option<u32>,
}

/// A budget against abuse at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardLevel {
    /// The name, which is that of its field in [`AbuseLimits`](crate::AbuseLimits).
    pub name: &'static str,
    /// The units spent and not refilled.
    pub spent: u32,
    /// The most units that can be spent at once.
    pub limit: u32,
    /// The units refilled per second.
    pub per_second: u32,
}
