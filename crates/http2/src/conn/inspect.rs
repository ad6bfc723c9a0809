//! A picture of the connection for those who ask. Nothing is kept for it.

use std::time::Instant;

use tidegate_hpack::TableEntry;
use tidegate_http::{Priorities, Role};

use crate::conn::{Connection, Resting};
use crate::inspection::{
    Inspection, Setting, StreamInspection, TableField, TableInspection, WaitsFor,
};
use crate::stream::state::{ClosedBy, Sender, State};
use crate::stream::{More, Phase, Stream};

/// The most bytes of a name or value that are shown.
const SHOWN: usize = 48;

/// The fields whose values are shown: none says anything about a person.
const SHOWN_VALUES: [&str; 16] = [
    ":method",
    ":scheme",
    ":status",
    "accept-encoding",
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "priority",
    "server",
    "strict-transport-security",
    "vary",
];

/// How much an inspection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectionScope {
    /// The most streams.
    pub streams: usize,
    /// The most entries of each table.
    pub entries: usize,
}

impl InspectionScope {
    /// Shows at most these numbers of streams and of entries of each table.
    pub const fn new(streams: usize, entries: usize) -> Self {
        Self { streams, entries }
    }
}

impl Connection {
    /// Returns a picture of the connection. Takes time in proportion to what is shown, and to the
    /// streams.
    pub fn inspect(&self, scope: InspectionScope, now: Instant) -> Inspection {
        let mut streams: Vec<&Stream> = self.streams.iter().map(|(_, stream)| stream).collect();
        streams.sort_unstable_by_key(|stream| stream.id);
        let shown = streams.iter().take(scope.streams);
        let table = |size, max_size, len| TableInspection {
            size,
            max_size,
            len,
            entries: Vec::new(),
        };
        let (decoder, encoder) = self.blocks.codecs();
        let mut decoding = table(
            decoder.table_size(),
            decoder.table_max_size(),
            decoder.table_len(),
        );
        let entries = decoder.table_entries().take(scope.entries);
        decoding.entries.extend(entries.map(shortened));
        let mut encoding = table(
            encoder.table_size(),
            encoder.table_max_size(),
            encoder.table_len(),
        );
        let entries = encoder.table_entries().take(scope.entries);
        encoding.entries.extend(entries.map(shortened));
        Inspection {
            role: self.role,
            resting: false,
            stream_count: streams.len(),
            streams: shown.map(|stream| self.picture(stream, now)).collect(),
            send_window: self.send_window.available(),
            receive_credit: self.recv_window.credit(),
            decoder: decoding,
            encoder: encoding,
            settings: self.both_settings(),
            settings_acknowledged: self.settings.is_acknowledged(),
            guards: self.guard.levels(now),
            last_frames: self.last_frames().collect(),
            stats: self.stats,
        }
    }

    fn picture(&self, stream: &Stream, now: Instant) -> StreamInspection {
        let stall = stream.send.stall;
        StreamInspection {
            id: stream.id,
            state: name_of(stream.state()),
            priority: stream.priority,
            send_window: stream.send.window.available(),
            receive_window: stream.recv.window().available(),
            unconsumed: stream.recv.window().unconsumed(),
            queued: stream.send.buf.pending.len(),
            sent: stream.send.sent,
            waits_for: self.waits_for(stream),
            stalled: stall.map(|stall| now.saturating_duration_since(stall.since)),
        }
    }

    /// Returns what a stream waits for. Our message comes first, because it is what the peer waits
    /// for, or else the rest of the peer's.
    fn waits_for(&self, stream: &Stream) -> WaitsFor {
        if stream.awaits_release() {
            return WaitsFor::Owner;
        }
        let buf = &stream.send.buf;
        let awaits_peer = stream.is_receiving() && stream.recv.window().unconsumed() == 0;
        match stream.send.phase {
            Phase::Body if !buf.pending.is_empty() || buf.more == More::Ask => {
                if stream.send.window.available() == 0 {
                    WaitsFor::StreamWindow
                } else if self.send_window.available() == 0 {
                    WaitsFor::ConnectionWindow
                } else {
                    WaitsFor::Turn
                }
            }
            Phase::Head | Phase::Body if awaits_peer => WaitsFor::Peer,
            Phase::Head | Phase::Body => WaitsFor::Owner,
            Phase::Done if stream.is_receiving() => WaitsFor::Peer,
            Phase::Done => WaitsFor::Nothing,
        }
    }

    /// Returns the settings of both ends.
    fn both_settings(&self) -> Vec<Setting> {
        let (config, peer) = (&self.config, &self.settings.peer);
        let (is_client, has_limit) = (self.role == Role::Client, |value| value != u32::MAX);
        let row = |name, ours, peers| Setting { name, ours, peers };
        let streams = self.settings.stream_limit() as u32;
        let rfc9218 = config.priorities == Priorities::Rfc9218;
        vec![
            row(
                "HEADER_TABLE_SIZE",
                Some(config.header_table_size),
                Some(peer.header_table_size),
            ),
            row(
                "ENABLE_PUSH",
                is_client.then_some(config.enable_push.into()),
                (!is_client).then_some(peer.enable_push.into()),
            ),
            row(
                "MAX_CONCURRENT_STREAMS",
                Some(streams).filter(|value| has_limit(*value)),
                Some(peer.max_concurrent_streams).filter(|value| has_limit(*value)),
            ),
            row(
                "INITIAL_WINDOW_SIZE",
                Some(self.settings.announced_window()),
                Some(peer.initial_window_size),
            ),
            row(
                "MAX_FRAME_SIZE",
                Some(config.max_frame_size),
                Some(peer.max_frame_size),
            ),
            row(
                "MAX_HEADER_LIST_SIZE",
                Some(config.max_header_list_size).filter(|value| has_limit(*value)),
                Some(peer.max_header_list_size).filter(|value| has_limit(*value)),
            ),
            row(
                "ENABLE_CONNECT_PROTOCOL",
                (!is_client).then_some(config.enable_connect_protocol.into()),
                is_client.then_some(peer.enable_connect_protocol.into()),
            ),
            row(
                "NO_RFC7540_PRIORITIES",
                Some(rfc9218.into()),
                Some(peer.no_rfc7540_priorities.into()),
            ),
        ]
    }
}

impl Resting {
    /// Returns a picture of the connection, as [`Connection::inspect`] does. The connection goes on
    /// resting.
    pub fn inspect(&self, scope: InspectionScope, now: Instant) -> Inspection {
        Inspection {
            resting: true,
            ..self.copy().inspect(scope, now)
        }
    }
}

/// Returns the name of a state in RFC 9113 §5.1.
fn name_of(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Reserved(Sender::Us) => "reserved (local)",
        State::Reserved(Sender::Peer) => "reserved (remote)",
        State::Open => "open",
        State::HalfClosed(Sender::Us) => "half-closed (local)",
        State::HalfClosed(Sender::Peer) => "half-closed (remote)",
        State::Closed(ClosedBy::EndStream | ClosedBy::Reset(_)) => "closed",
    }
}

/// Returns an entry without what may be secret.
fn shortened(entry: TableEntry<'_>) -> TableField {
    let name = beginning(entry.name);
    let is_shown = SHOWN_VALUES.contains(&name.as_str());
    TableField {
        value: is_shown.then(|| beginning(entry.value)),
        value_len: entry.value.len(),
        size: entry.size,
        name,
    }
}

/// Returns the beginning of a text as visible ASCII.
fn beginning(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let mut text: String = shown.escape_ascii().map(char::from).collect();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use tidegate_hpack::{Encoder, Fields};

    use super::*;

    /// Returns what is shown of the values of a field.
    fn shown(name: &str, value: &str) -> TableField {
        let mut encoder = Encoder::new(4096);
        let mut fields = Fields::new();
        fields.push(name, value);
        for _ in 0..2 {
            encoder.encode(&fields, &mut Vec::new());
        }
        let entries: Vec<_> = encoder.table_entries().map(shortened).collect();
        assert_eq!(entries.len(), 1, "{name}");
        entries[0].clone()
    }

    #[test]
    fn values_that_may_be_secret_are_not_shown() {
        for (name, value) in [
            (":path", "/reset?token=secret"),
            (":authority", "secret.example"),
            ("user-agent", "secret"),
            ("x-api-key", "secret"),
            ("referer", "https://secret.example/"),
        ] {
            let field = shown(name, value);
            assert_eq!((field.name.as_str(), field.value), (name, None));
            assert_eq!(field.value_len, value.len());
        }
        let field = shown("content-type", "text/html");
        assert_eq!(field.value.as_deref(), Some("text/html"));
        let secrets = [
            "authorization",
            "cookie",
            "proxy-authorization",
            "set-cookie",
        ];
        for name in secrets {
            assert!(!SHOWN_VALUES.contains(&name), "{name}");
        }
    }

    #[test]
    fn long_and_strange_text_is_shortened_and_escaped() {
        let long = beginning(&[b'x'; 100]);
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert_eq!(beginning(b"a\xff\"\n"), "a\\xff\\\"\\n");
    }
}
