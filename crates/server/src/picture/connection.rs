//! One connection, with all that is known of it.

use serde::Serialize;
use tidegate_http2::{Direction, Inspection, LastFrame, TableInspection, WaitsFor};

use super::row::{Guard, Row};

/// One connection.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// The same as in the list.
    #[serde(flatten)]
    pub row: Row,
    /// The streams that are open, at most 200, in the order of their identifiers.
    pub open_streams: Vec<Stream>,
    /// The rest, which only HTTP/2 has.
    pub http2: Option<Http2>,
}

/// The parts of a connection that only HTTP/2 has.
#[derive(Clone, Debug, Serialize)]
pub struct Http2 {
    /// The bytes of bodies that the peer's connection window has room for.
    send_window: usize,
    /// The bytes that the peer may send by our connection window.
    receive_window: u64,
    /// The bytes that the peer has sent and that nothing has consumed.
    unconsumed: u64,
    /// The table of the fields that the peer sends.
    decoder: Table,
    /// The table of the fields that we send.
    encoder: Table,
    /// The SETTINGS of both ends.
    settings: Vec<Setting>,
    /// Whether the peer has acknowledged our newest SETTINGS.
    settings_acknowledged: bool,
    /// The budgets against abuse.
    guards: Vec<Guard>,
    /// The heads of the last frames, the oldest first.
    last_frames: Vec<Frame>,
}

/// A stream.
#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    /// The identifier.
    pub id: u32,
    /// The state, as RFC 9113 §5.1 names it.
    pub state: &'static str,
    /// The urgency, 0 to 7; `null` for HTTP/1.1.
    pub urgency: Option<u8>,
    /// Whether parts of the response are useful before it is complete.
    pub incremental: bool,
    /// The bytes that we may send by the stream's window; `null` for HTTP/1.1.
    pub send_window: Option<usize>,
    /// The bytes that the peer may send by the stream's window.
    pub receive_window: Option<i64>,
    /// The bytes received that nothing has consumed.
    pub unconsumed: u32,
    /// The bytes of our body that wait to be sent.
    pub queued: usize,
    /// The bytes of our body that were sent.
    pub sent: u64,
    /// The milliseconds for which the peer's windows have held up our body.
    pub stalled_ms: Option<u64>,
    /// The thing that the stream waits for.
    pub waits_for: Wait,
    /// The status of the response, once it has begun.
    pub status: Option<u16>,
    /// The handler that answers the request.
    pub handler: Option<&'static str>,
}

/// The thing that a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Nothing: both messages are complete.
    Nothing,
    /// The peer's WINDOW_UPDATE on the stream.
    StreamWindow,
    /// The peer's WINDOW_UPDATE on the connection.
    ConnectionWindow,
    /// The socket, which takes nothing until the peer has read.
    Socket,
    /// The upstream's response, or more of it.
    Upstream,
    /// The handler here: a file, or the connection's own requests to an upstream.
    Handler,
    /// The rest of the client's request.
    ClientBody,
}

/// A dynamic table of header compression.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The bytes in it, as RFC 7541 §4.1 counts them.
    size: usize,
    /// The most bytes that it may have.
    max_size: usize,
    /// The number of entries.
    len: usize,
    /// The newest entries, at most 100.
    entries: Vec<Entry>,
}

/// An entry of a dynamic table.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The index by which a block names it.
    index: usize,
    name: String,
    /// The value, if it says nothing about a person.
    value: Option<String>,
    value_len: usize,
    size: usize,
}

impl From<TableInspection> for Table {
    fn from(table: TableInspection) -> Self {
        let entries = table.entries.into_iter().enumerate();
        Self {
            size: table.size,
            max_size: table.max_size,
            len: table.len,
            entries: entries
                .map(|(age, field)| Entry {
                    // RFC 7541 §2.3.3: the static table has 61 entries.
                    index: 62 + age,
                    name: field.name,
                    value: field.value,
                    value_len: field.value_len,
                    size: field.size,
                })
                .collect(),
        }
    }
}

/// A setting of both ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Setting {
    /// The name without `SETTINGS_`.
    name: &'static str,
    /// Our value; `null` if there is none, or no limit.
    ours: Option<u32>,
    /// The peer's value.
    peers: Option<u32>,
}

/// The head of a frame.
#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    /// `received` or `sent`.
    direction: &'static str,
    /// The kind, as RFC 9113 names it.
    kind: String,
    /// The names of the flags that are set.
    flags: Vec<&'static str>,
    stream: u32,
    /// The bytes of the payload.
    length: u32,
}

impl From<&LastFrame> for Frame {
    fn from(frame: &LastFrame) -> Self {
        let head = frame.head;
        Self {
            direction: match frame.direction {
                Direction::Received => "received",
                Direction::Sent => "sent",
            },
            kind: head.kind.to_string(),
            flags: head.flags.names(head.kind).collect(),
            stream: head.stream_id.get(),
            length: head.length,
        }
    }
}

impl From<Inspection> for Http2 {
    fn from(inspection: Inspection) -> Self {
        let settings = inspection.settings.into_iter();
        Self {
            send_window: inspection.send_window,
            receive_window: inspection.receive_credit.available,
            unconsumed: inspection.receive_credit.unconsumed,
            decoder: inspection.decoder.into(),
            encoder: inspection.encoder.into(),
            settings: settings
                .map(|setting| Setting {
                    name: setting.name,
                    ours: setting.ours,
                    peers: setting.peers,
                })
                .collect(),
            settings_acknowledged: inspection.settings_acknowledged,
            guards: inspection.guards.into_iter().map(Guard::from).collect(),
            last_frames: inspection.last_frames.iter().map(Frame::from).collect(),
        }
    }
}

/// The owner of a stream's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A handler here.
    Handler,
    /// An upstream, to which the request was forwarded.
    Upstream,
    /// The pool: the request is one that we have sent.
    Pool,
}

impl Wait {
    /// Returns what a stream waits for, from what its engine and its owner know.
    pub fn of(engine: WaitsFor, owner: Owner) -> Self {
        match (engine, owner) {
            (WaitsFor::Nothing, _) => Self::Nothing,
            (WaitsFor::StreamWindow, _) => Self::StreamWindow,
            (WaitsFor::ConnectionWindow, _) => Self::ConnectionWindow,
            // A stream with window sends at its turn, so only the socket holds it up.
            (WaitsFor::Turn, _) => Self::Socket,
            (WaitsFor::Owner, Owner::Upstream) | (WaitsFor::Peer, Owner::Pool) => Self::Upstream,
            (WaitsFor::Owner, Owner::Handler | Owner::Pool) => Self::Handler,
            (WaitsFor::Peer, Owner::Handler | Owner::Upstream) => Self::ClientBody,
        }
    }
}
