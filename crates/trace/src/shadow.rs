//! A shadow of a connection: it reads the same bytes as the engine, and makes a record of each
//! frame. The engine knows nothing of it.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use tidegate_frame::{
    Defect, ErrorCode, Flags, Frame, Head, Kind, Malformed, PREFACE, Reader, Scope, SettingId,
    Settings, StreamDependency,
};
use tidegate_hpack::{Decoder, Fields, Limits};

use crate::Direction;
use crate::privacy::Values;
use crate::record::{Block, Dependency, FrameRecord, Payload, Setting, TableChange, VantagePoint};
use crate::settings::EngineSettings;
use crate::text;
use crate::windows::Book;

/// The part of a field list that is kept. The engine's own limits are lower by default.
const KEPT: Limits = Limits {
    max_list_size: 256 << 10,
    max_fields: 2000,
    max_cookie_crumbs: 2000,
};

/// The longest field block that is decoded, in bytes.
const MAX_BLOCK: usize = 256 << 10;

/// The most bytes of a malformed frame's payload that are kept.
const MAX_PAYLOAD: usize = 64;

/// The most bytes of debug data that are kept.
const MAX_DEBUG: usize = 256;

/// Both directions of one connection.
pub struct Shadow {
    received: Half,
    sent: Half,
    windows: Book,
    /// SETTINGS_HEADER_TABLE_SIZE in each SETTINGS of ours that isn't acknowledged yet.
    table_sizes: VecDeque<Option<u32>>,
    values: Values,
}

/// One direction.
struct Half {
    direction: Direction,
    bytes: BytesMut,
    reader: Reader,
    decoder: Decoder,
    /// A field block that hasn't ended with END_HEADERS yet.
    block: Vec<u8>,
    /// The part of the preface that hasn't come yet.
    preface: &'static [u8],
    /// Whether the tables of both ends are still in step.
    in_step: bool,
    /// Bytes of a payload to skip.
    left: usize,
    /// Whether the bytes are no longer frames.
    is_over: bool,
}

impl Half {
    fn new(direction: Direction, preface: &'static [u8], frame: u32, table: u32) -> Self {
        Self {
            direction,
            bytes: BytesMut::new(),
            reader: Reader::new(frame),
            decoder: Decoder::new(table as usize),
            block: Vec::new(),
            preface,
            in_step: true,
            left: 0,
            is_over: false,
        }
    }
}

/// The largest values that a peer can allow.
const ANY_FRAME: u32 = 0xff_ffff;
const ANY_TABLE: u32 = 1 << 24;

/// The size of a table before SETTINGS, in bytes (RFC 9113 §6.5.2).
const TABLE: u32 = 4096;

impl Shadow {
    /// Makes the shadow of a connection from its first byte on. `engine` has the settings of our
    /// end.
    pub fn new(vantage_point: VantagePoint, engine: &EngineSettings, values: Values) -> Self {
        let (in_preface, out_preface) = match vantage_point {
            VantagePoint::Server => (PREFACE, &[][..]),
            VantagePoint::Client => (&[][..], PREFACE),
        };
        let frame = engine.max_frame_size();
        Self {
            received: Half::new(Direction::Received, in_preface, frame, TABLE),
            sent: Half::new(Direction::Sent, out_preface, ANY_FRAME, ANY_TABLE),
            windows: Book::default(),
            table_sizes: VecDeque::new(),
            values,
        }
    }

    /// Reads bytes of one direction, and calls `each` for each frame that is complete with them.
    pub fn read(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        mut each: impl FnMut(Box<FrameRecord>),
    ) {
        let half = match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        };
        if half.is_over {
            return;
        }
        half.bytes.extend_from_slice(bytes);
        if let Some(preface) = half.preface() {
            each(preface);
        }
        if !half.preface.is_empty() {
            return;
        }
        while let Some(frame) = half.next(&mut self.windows, self.values) {
            if let Payload::Settings { settings } = &frame.payload {
                match (direction, settings) {
                    (Direction::Sent, Some(settings)) => {
                        self.table_sizes.push_back(table_size(settings));
                    }
                    // What we announce binds the peer once it has acknowledged it.
                    (Direction::Received, None) => {
                        if let Some(Some(size)) = self.table_sizes.pop_front() {
                            half.decoder.set_max_table_size(size as usize);
                        }
                    }
                    _ => {}
                }
            }
            each(frame);
        }
    }
}

impl Half {
    /// Takes the preface off the bytes. Returns its record once it is complete or wrong.
    fn preface(&mut self) -> Option<Box<FrameRecord>> {
        let (expected, left) = self.preface.split_at_checked(self.bytes.len()).unwrap_or((
            // More bytes than the preface has.
            self.preface,
            &[],
        ));
        if expected.is_empty() {
            return None;
        }
        let valid = self.bytes.starts_with(expected);
        self.bytes.advance(expected.len());
        self.preface = left;
        if !valid {
            (self.is_over, self.preface) = (true, &[]);
            self.bytes.clear();
        } else if !left.is_empty() {
            return None;
        }
        Some(Box::new(FrameRecord {
            stream_id: 0,
            length: 0,
            flags: 0,
            payload: Payload::Preface { valid },
            windows: None,
        }))
    }

    fn next(&mut self, windows: &mut Book, values: Values) -> Option<Box<FrameRecord>> {
        self.skip();
        if self.is_over {
            return None;
        }
        let (head, start) = self.bytes.split_first_chunk()?;
        let head = Head::parse(head);
        let start = start[..start.len().min(MAX_PAYLOAD)].to_vec();
        let (payload, windows) = match self.reader.next(&mut self.bytes) {
            Ok(None) => return None,
            Ok(Some(frame)) => {
                let windows = windows.enter(self.direction, &frame);
                (self.payload(frame, values), windows)
            }
            Err(malformed) => {
                self.is_over = malformed.scope() == Scope::Connection;
                (malformed_payload(head, malformed, start), None)
            }
        };
        if !self.reader.is_between_frames() {
            self.left = head.length as usize;
        }
        Some(Box::new(FrameRecord {
            stream_id: head.stream_id.get(),
            length: head.length,
            flags: head.flags.0,
            payload,
            windows,
        }))
    }

    /// Skips the payload of a frame that the reader doesn't read.
    fn skip(&mut self) {
        if self.left > 0 {
            let here = self.left.min(self.bytes.len());
            let mut payload = self.bytes.split_to(here);
            let nothing = self.reader.next(&mut payload);
            debug_assert!(matches!(nothing, Ok(None)), "there is no frame in it");
            self.left -= here;
        }
    }

    fn payload(&mut self, frame: Frame, values: Values) -> Payload {
        match frame {
            Frame::Data(frame) => Payload::Data {
                data_length: frame.payload.len() as u32,
            },
            Frame::Headers(frame) => Payload::Headers {
                dependency: frame.priority.map(dependency),
                block: self.block(&frame.fragment, frame.end_headers, values),
            },
            Frame::Continuation(frame) => Payload::Continuation {
                block: self.block(&frame.fragment, frame.end_headers, values),
            },
            Frame::PushPromise(frame) => Payload::PushPromise {
                promised_stream_id: frame.promised_id.get(),
                block: self.block(&frame.fragment, frame.end_headers, values),
            },
            Frame::Priority(frame) => Payload::Priority {
                dependency: dependency(frame.dependency),
            },
            Frame::RstStream(frame) => Payload::RstStream {
                code: frame.code.0,
                error: frame.code.to_string(),
            },
            Frame::Settings(frame) => Payload::Settings {
                settings: settings(&frame),
            },
            Frame::Ping(frame) => Payload::Ping {
                opaque: frame.payload.to_vec(),
            },
            Frame::GoAway(frame) => {
                let is_kept = self.direction == Direction::Sent || values != Values::Protocol;
                let data = &frame.debug_data[..frame.debug_data.len().min(MAX_DEBUG)];
                Payload::Goaway {
                    last_stream_id: frame.last_stream_id.get(),
                    code: frame.code.0,
                    error: frame.code.to_string(),
                    debug_length: frame.debug_data.len() as u32,
                    debug: (is_kept && !data.is_empty()).then(|| text::of(data)),
                }
            }
            Frame::WindowUpdate(frame) => Payload::WindowUpdate {
                increment: frame.increment,
            },
            Frame::PriorityUpdate(frame) => Payload::PriorityUpdate {
                prioritized_stream_id: frame.prioritized_id.get(),
                value: text::of(&frame.value[..frame.value.len().min(MAX_DEBUG)]),
            },
            Frame::Unknown(frame) => Payload::Unknown { kind: frame.kind },
        }
    }

    /// Adds a fragment of a field block. Returns the block if it ends here.
    fn block(&mut self, fragment: &[u8], is_end: bool, values: Values) -> Option<Box<Block>> {
        if self.block.len() + fragment.len() > MAX_BLOCK {
            self.in_step = false;
            self.block.clear();
        }
        if self.in_step {
            self.block.extend_from_slice(fragment);
        }
        if !is_end {
            return None;
        }
        let bytes = std::mem::take(&mut self.block);
        let mut block = Block {
            block_length: bytes.len() as u32,
            ..Block::default()
        };
        if !self.in_step {
            block.error = Some("the tables of HPACK are no longer in step".into());
            return Some(Box::new(block));
        }
        let (inserted, entries) = (self.decoder.inserted(), self.decoder.table_len());
        let size = self.decoder.table_size();
        let mut fields = Fields::new();
        match self.decoder.decode(&bytes, &KEPT, &mut fields) {
            Ok(decoded) => {
                let omitted_size = decoded.list_size.saturating_sub(fields.list_size());
                block.omitted_fields = decoded.fields.saturating_sub(fields.len()) as u32;
                block.omitted_size = u32::try_from(omitted_size).unwrap_or(u32::MAX);
            }
            Err(error) => {
                self.in_step = false;
                block.error = Some(error.to_string());
            }
        }
        let authority = fields.get(":authority");
        let records = fields.iter().map(|field| values.record(&field, authority));
        block.fields = records.collect();
        let inserted = self.decoder.inserted().wrapping_sub(inserted);
        if inserted > 0 || self.decoder.table_size() != size {
            block.table = Some(self.change(inserted as usize, entries));
        }
        Some(Box::new(block))
    }

    /// Returns the change of the table by a block that inserted some fields, where there were
    /// `before`.
    fn change(&self, inserted: usize, before: usize) -> TableChange {
        let decoder = &self.decoder;
        let newest = decoder.table_entries().take(inserted);
        let mut names: Vec<String> = newest.map(|entry| text::of(entry.name)).collect();
        names.reverse();
        TableChange {
            inserted: names,
            evicted: (before + inserted).saturating_sub(decoder.table_len()) as u32,
            entries: decoder.table_len() as u32,
            size: decoder.table_size() as u32,
        }
    }
}

fn dependency(dependency: StreamDependency) -> Dependency {
    Dependency {
        stream_id: dependency.depends_on.get(),
        weight: u16::from(dependency.weight) + 1,
        exclusive: dependency.exclusive,
    }
}

fn settings(frame: &Settings) -> Option<Vec<Setting>> {
    if let Settings::Ack = frame {
        return None;
    }
    let setting = |(id, value): (SettingId, u32)| Setting {
        id: id.0,
        name: setting_name(id).to_owned(),
        value,
    };
    Some(frame.entries().map(setting).collect())
}

/// Returns SETTINGS_HEADER_TABLE_SIZE, if it is among these.
fn table_size(settings: &[Setting]) -> Option<u32> {
    let id = SettingId::HEADER_TABLE_SIZE.0;
    let mut found = settings.iter().rev().filter(|setting| setting.id == id);
    found.next().map(|setting| setting.value)
}

/// Returns the name of a setting, as the RFCs have it.
fn setting_name(id: SettingId) -> &'static str {
    match id {
        SettingId::HEADER_TABLE_SIZE => "SETTINGS_HEADER_TABLE_SIZE",
        SettingId::ENABLE_PUSH => "SETTINGS_ENABLE_PUSH",
        SettingId::MAX_CONCURRENT_STREAMS => "SETTINGS_MAX_CONCURRENT_STREAMS",
        SettingId::INITIAL_WINDOW_SIZE => "SETTINGS_INITIAL_WINDOW_SIZE",
        SettingId::MAX_FRAME_SIZE => "SETTINGS_MAX_FRAME_SIZE",
        SettingId::MAX_HEADER_LIST_SIZE => "SETTINGS_MAX_HEADER_LIST_SIZE",
        SettingId::ENABLE_CONNECT_PROTOCOL => "SETTINGS_ENABLE_CONNECT_PROTOCOL",
        SettingId::NO_RFC7540_PRIORITIES => "SETTINGS_NO_RFC7540_PRIORITIES",
        _ => "UNKNOWN",
    }
}

/// Returns the record of a frame that is wrong. The payload's beginning is kept as far as a defect
/// can be in it: of DATA and field blocks, no byte of the body or of a field.
fn malformed_payload(head: Head, malformed: Malformed, mut start: Vec<u8>) -> Payload {
    let Malformed { defect, .. } = malformed;
    let padded = usize::from(head.flags.has(Flags::PADDED));
    let kept = match head.kind {
        Kind::DATA => padded,
        Kind::HEADERS if head.flags.has(Flags::PRIORITY) => padded + 5,
        Kind::HEADERS => padded,
        Kind::PUSH_PROMISE => padded + 4,
        Kind::CONTINUATION => 0,
        // The debug data of GOAWAY.
        Kind::GOAWAY => 8,
        _ if defect == Defect::FrameOverMaxFrameSize => 0,
        _ => MAX_PAYLOAD,
    };
    start.truncate(kept.min(head.length as usize));
    Payload::Malformed {
        kind: head.kind.0,
        defect: format!("{defect:?}"),
        payload: start,
    }
}

/// Returns the name of an error code.
pub(crate) fn error_name(code: u32) -> String {
    ErrorCode(code).to_string()
}
