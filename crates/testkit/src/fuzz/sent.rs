//! Watches the output of one engine, as its peer would, and panics on anything that no peer should
//! see.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BytesMut};
use tidegate_frame::{Frame, Reader, SettingId, Settings, StreamId};
use tidegate_hpack::{Decoder, Fields, Limits};
use tidegate_http::{ErrorCode, ResponseHead, Role};

use crate::wire::PREFACE;

/// Larger than any frame.
const ANY_FRAME_SIZE: u32 = 0xff_ffff;

/// A conversation seen from outside: the bytes given to an engine, and those it sent.
pub(super) struct Sent {
    /// The role of the watched engine.
    role: Role,
    received: Received,
    bytes: BytesMut,
    preface_left: usize,
    reader: Reader,
    frames: u64,
    decoder: Decoder,
    /// A field block whose end is still to come: its stream, and the frame that began it.
    block: Option<(StreamId, Vec<u8>)>,
    /// The peer's limits, as far as the engine has acknowledged them.
    max_frame_size: u32,
    initial_window: i64,
    connection_sent: i64,
    streams: HashMap<StreamId, Stream>,
    /// The last stream of the newest GOAWAY.
    last: Option<StreamId>,
    /// Whether a GOAWAY with an error went out: it is the last frame.
    failed: bool,
}

#[derive(Default)]
struct Stream {
    /// Whether HEADERS or PUSH_PROMISE of it have been sent.
    begun: bool,
    ended: bool,
    reset: bool,
    sent: i64,
}

/// The bytes given to the engine, as far as they decide what it may send.
struct Received {
    reader: Reader,
    bytes: BytesMut,
    preface_left: usize,
    /// Settings that the engine has not acknowledged yet.
    settings: VecDeque<Settings>,
    connection_window: i64,
    windows: HashMap<StreamId, i64>,
    /// The highest stream that the peer opened or promised.
    highest: StreamId,
}

impl Received {
    fn note(&mut self, bytes: &[u8]) {
        let skipped = self.preface_left.min(bytes.len());
        self.preface_left -= skipped;
        self.bytes.extend_from_slice(&bytes[skipped..]);
        while let Some(frame) = self.reader.next(&mut self.bytes).transpose() {
            match frame {
                Ok(Frame::Settings(settings @ Settings::Values(_))) => {
                    self.settings.push_back(settings);
                }
                Ok(Frame::WindowUpdate(update)) if update.stream_id.is_connection() => {
                    self.connection_window += i64::from(update.increment);
                }
                Ok(Frame::WindowUpdate(update)) => {
                    *self.windows.entry(update.stream_id).or_default() +=
                        i64::from(update.increment);
                }
                Ok(Frame::Headers(headers)) => self.highest = self.highest.max(headers.stream_id),
                Ok(Frame::PushPromise(promise)) => {
                    self.highest = self.highest.max(promise.promised_id);
                }
                _ => {}
            }
        }
    }
}

impl Sent {
    pub(super) fn new(role: Role, max_frame_size: u32) -> Self {
        let (ours, peers) = match role {
            Role::Client => (PREFACE.len(), 0),
            Role::Server => (0, PREFACE.len()),
        };
        Self {
            role,
            received: Received {
                reader: Reader::new(max_frame_size),
                bytes: BytesMut::new(),
                preface_left: peers,
                settings: VecDeque::new(),
                connection_window: 65_535,
                windows: HashMap::new(),
                highest: StreamId::CONNECTION,
            },
            bytes: BytesMut::new(),
            preface_left: ours,
            reader: Reader::new(ANY_FRAME_SIZE),
            frames: 0,
            decoder: Decoder::new(4096),
            block: None,
            max_frame_size: 16_384,
            initial_window: 65_535,
            connection_sent: 0,
            streams: HashMap::new(),
            last: None,
            failed: false,
        }
    }

    /// Notes bytes that the engine receives.
    pub(super) fn note_received(&mut self, bytes: &[u8]) {
        self.received.note(bytes);
    }

    /// Notes bytes that the engine has sent.
    pub(super) fn note_sent(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let n = self.preface_left.min(self.bytes.len());
        let expected = &PREFACE[PREFACE.len() - self.preface_left..];
        assert_eq!(self.bytes[..n], expected[..n], "not the preface");
        self.bytes.advance(n);
        self.preface_left -= n;
        while let Some(frame) = self.reader.next(&mut self.bytes).transpose() {
            let frame = frame.unwrap_or_else(|malformed| panic!("sent: {malformed}"));
            self.check(frame);
        }
    }

    /// Notes that the engine has sent everything for now: no frame or block is unfinished.
    pub(super) fn at_rest(&self) {
        assert!(self.bytes.is_empty(), "a piece of a frame was sent");
        assert!(self.block.is_none(), "a piece of a field block was sent");
    }

    fn check(&mut self, frame: Frame) {
        assert!(
            !self.failed,
            "sent behind a GOAWAY with an error: {frame:?}"
        );
        let settings = matches!(frame, Frame::Settings(Settings::Values(_)));
        assert!(self.frames > 0 || settings, "the first frame is {frame:?}");
        self.frames += 1;
        match frame {
            Frame::Continuation(more) => {
                let (id, mut block) = self.block.take().expect("CONTINUATION of nothing");
                assert_eq!(id, more.stream_id, "CONTINUATION of another stream");
                block.extend_from_slice(&more.fragment);
                self.check_size(more.fragment.len());
                self.block = Some((id, block));
                self.end_block(more.end_headers);
                return;
            }
            _ => assert!(self.block.is_none(), "inside a field block: {frame:?}"),
        }
        match frame {
            Frame::Data(data) => {
                self.check_size(data.flow_len as usize);
                self.check_flow(data.stream_id, data.flow_len);
                let stream = self.open_stream(data.stream_id);
                assert!(stream.begun, "DATA before HEADERS on {}", data.stream_id);
                stream.ended = data.end_stream;
            }
            Frame::Headers(headers) => {
                self.check_size(headers.fragment.len());
                self.check_opener(headers.stream_id);
                let stream = self.open_stream(headers.stream_id);
                stream.begun = true;
                stream.ended = headers.end_stream;
                self.block = Some((headers.stream_id, headers.fragment.to_vec()));
                self.end_block(headers.end_headers);
            }
            Frame::PushPromise(promise) => {
                assert_eq!(self.role, Role::Server, "PUSH_PROMISE from a client");
                self.check_size(promise.fragment.len() + 4);
                self.open_stream(promise.stream_id);
                assert!(
                    !self.streams.contains_key(&promise.promised_id),
                    "promised twice"
                );
                self.open_stream(promise.promised_id);
                self.block = Some((promise.stream_id, promise.fragment.to_vec()));
                self.end_block(promise.end_headers);
            }
            Frame::RstStream(reset) => {
                let id = reset.stream_id;
                // RFC 9113 §6.4: not "for a stream in the "idle" state".
                let idle = !self.streams.contains_key(&id) && id > self.received.highest;
                assert!(!idle, "RST_STREAM on {id}, which is idle");
                self.streams.entry(id).or_default().reset = true;
            }
            Frame::Settings(Settings::Ack) => self.settings_acknowledged(),
            Frame::GoAway(goaway) => {
                // RFC 9113 §6.8: "Endpoints MUST NOT increase the value they send in the last
                // stream identifier".
                let before = self.last.replace(goaway.last_stream_id);
                assert!(
                    before.is_none_or(|before| goaway.last_stream_id <= before),
                    "{goaway:?}"
                );
                self.failed = goaway.code != ErrorCode::NO_ERROR;
            }
            Frame::Unknown(unknown) => panic!("sent: {unknown:?}"),
            _ => {}
        }
    }

    fn check_size(&self, len: usize) {
        assert!(
            len <= self.max_frame_size as usize,
            "a frame of {len} bytes"
        );
    }

    /// Checks that the sender of HEADERS is the client, or answers, or has promised.
    fn check_opener(&self, id: StreamId) {
        if self.role == Role::Client {
            assert!(id.is_client_initiated(), "a client's HEADERS on {id}");
        } else if id.is_client_initiated() {
            assert!(id <= self.received.highest, "an answer to nothing on {id}");
        } else {
            assert!(
                self.streams.contains_key(&id),
                "HEADERS on {id}, which was not promised"
            );
        }
    }

    fn open_stream(&mut self, id: StreamId) -> &mut Stream {
        let stream = self.streams.entry(id).or_default();
        assert!(!stream.ended, "a frame on {id} after END_STREAM");
        assert!(!stream.reset, "a frame on {id} after RST_STREAM");
        stream
    }

    /// RFC 9113 §6.9.1: "A sender MUST NOT send a flow-controlled frame with a length that exceeds
    /// the space available in either of the flow-control windows advertised by the receiver."
    fn check_flow(&mut self, id: StreamId, len: u32) {
        let len = i64::from(len);
        let stream = self.streams.entry(id).or_default();
        stream.sent += len;
        self.connection_sent += len;
        if len == 0 {
            return;
        }
        let window = self.initial_window + self.received.windows.get(&id).copied().unwrap_or(0);
        assert!(
            stream.sent <= window,
            "{} bytes on {id}, window {window}",
            stream.sent
        );
        let window = self.received.connection_window;
        assert!(
            self.connection_sent <= window,
            "{} bytes, window {window}",
            self.connection_sent
        );
    }

    /// Notes that the engine has applied the oldest settings of its peer.
    fn settings_acknowledged(&mut self) {
        let settings = self
            .received
            .settings
            .pop_front()
            .expect("SETTINGS to acknowledge");
        for (id, value) in settings.entries() {
            match id {
                SettingId::INITIAL_WINDOW_SIZE => self.initial_window = i64::from(value),
                SettingId::MAX_FRAME_SIZE => self.max_frame_size = value,
                _ => {}
            }
        }
    }

    fn end_block(&mut self, end: bool) {
        if !end {
            return;
        }
        let (id, block) = self.block.take().expect("a block has begun");
        let limits = Limits {
            max_list_size: usize::MAX,
            max_fields: usize::MAX,
            max_cookie_crumbs: usize::MAX,
        };
        let mut fields = Fields::new();
        if let Err(error) = self.decoder.decode(&block, &limits, &mut fields) {
            panic!("sent on {id}: {error}");
        }
        if fields.get(":status").is_some()
            && let Err(violation) = ResponseHead::from_fields(fields)
        {
            panic!("sent on {id}: {violation}");
        }
    }
}
