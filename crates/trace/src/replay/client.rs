//! The client's frames, rebuilt from their records.

use std::collections::VecDeque;

use tidegate_frame::{Flags, Head, Kind, PREFACE, StreamId};
use tidegate_hpack::{Encoder, Fields};

use crate::privacy::placeholder;
use crate::record::{Block, Dependency, Event, FrameRecord, Payload, Record};
use crate::settings::EngineSettings;
use crate::text;

/// The most bytes of a field that stands for those that were left out.
const FILLER: usize = 16 << 10;

/// The most bytes of a block that never ended.
const LONGEST_BLOCK: u64 = 16 << 20;

/// The size of a table of HPACK before SETTINGS, in bytes.
const TABLE: u32 = 4096;

/// A byte that no field block can begin with: an index of 0.
const NO_FIELD: u8 = 0x80;

/// The client, as far as its bytes depend on earlier ones.
pub(super) struct Client {
    encoder: Encoder,
    /// The size of the encoder's table once the client has acknowledged the server's SETTINGS.
    table_size: usize,
    max_frame_size: u32,
    /// The fragments of the field blocks that are still to come, by frame.
    fragments: VecDeque<Vec<u8>>,
    /// The whole block of each HEADERS or PUSH_PROMISE to come, with the lengths of the frames that
    /// carry it. A block that never ended is `None`.
    blocks: VecDeque<(Option<Block>, Vec<u32>)>,
}

impl Client {
    pub(super) fn new(records: &[Record], engine: &EngineSettings) -> Self {
        Self {
            encoder: Encoder::new(TABLE as usize),
            table_size: engine.header_table_size().min(TABLE) as usize,
            max_frame_size: engine.max_frame_size(),
            fragments: VecDeque::new(),
            blocks: blocks(records),
        }
    }

    /// Returns the bytes of the next frame.
    pub(super) fn bytes(&mut self, frame: &FrameRecord) -> Vec<u8> {
        let mut flags = Flags(frame.flags);
        let mut payload = Vec::new();
        let kind = match &frame.payload {
            Payload::Preface { valid: true } => return PREFACE.to_vec(),
            Payload::Preface { valid: false } => return vec![b'X'; PREFACE.len()],
            Payload::Data { data_length } => {
                let padding = frame.length.saturating_sub(*data_length);
                if padding > 0 {
                    payload.push((padding - 1).min(255) as u8);
                }
                payload.resize(frame.length as usize, 0);
                Kind::DATA
            }
            Payload::Headers { dependency, .. } => {
                flags = Flags(flags.0 & !Flags::PADDED.0 & !Flags::PRIORITY.0);
                if let Some(dependency) = dependency {
                    push_dependency(*dependency, &mut payload);
                    flags = flags.with(Flags::PRIORITY, true);
                }
                payload.extend(self.first_fragment());
                Kind::HEADERS
            }
            Payload::PushPromise {
                promised_stream_id, ..
            } => {
                flags = Flags(flags.0 & !Flags::PADDED.0);
                payload.extend(promised_stream_id.to_be_bytes());
                payload.extend(self.first_fragment());
                Kind::PUSH_PROMISE
            }
            Payload::Continuation { .. } => {
                let fragment = self.fragments.pop_front();
                payload = fragment.unwrap_or_else(|| vec![0; frame.length as usize]);
                Kind::CONTINUATION
            }
            Payload::Priority { dependency } => {
                push_dependency(*dependency, &mut payload);
                Kind::PRIORITY
            }
            Payload::RstStream { code, .. } => {
                payload.extend(code.to_be_bytes());
                Kind::RST_STREAM
            }
            Payload::Settings { settings } => {
                if settings.is_none() {
                    self.encoder.set_max_table_size(self.table_size);
                }
                for setting in settings.iter().flatten() {
                    payload.extend(setting.id.to_be_bytes());
                    payload.extend(setting.value.to_be_bytes());
                }
                Kind::SETTINGS
            }
            Payload::Ping { opaque } => {
                payload.extend(opaque);
                payload.resize(8, 0);
                Kind::PING
            }
            Payload::Goaway {
                last_stream_id,
                code,
                ..
            } => {
                payload.extend(last_stream_id.to_be_bytes());
                payload.extend(code.to_be_bytes());
                payload.resize(frame.length.max(8) as usize, b'a');
                Kind::GOAWAY
            }
            Payload::WindowUpdate { increment } => {
                payload.extend(increment.to_be_bytes());
                Kind::WINDOW_UPDATE
            }
            Payload::PriorityUpdate {
                prioritized_stream_id,
                value,
            } => {
                payload.extend(prioritized_stream_id.to_be_bytes());
                payload.extend(text::bytes(value));
                payload.resize(frame.length.max(4) as usize, b' ');
                Kind::PRIORITY_UPDATE
            }
            Payload::Unknown { kind } => {
                payload.resize(frame.length as usize, 0);
                Kind(*kind)
            }
            Payload::Malformed {
                kind,
                payload: start,
                ..
            } => {
                let kind = Kind(*kind);
                if matches!(kind, Kind::HEADERS | Kind::PUSH_PROMISE) {
                    self.blocks.pop_front();
                }
                payload.extend(start);
                if frame.length <= self.max_frame_size {
                    payload.resize(frame.length as usize, 0);
                }
                let head = Head {
                    length: frame.length & 0xff_ffff,
                    kind,
                    flags,
                    stream_id: StreamId::new(frame.stream_id),
                };
                return [&head.to_bytes()[..], &payload].concat();
            }
        };
        payload.truncate(0xff_ffff);
        let head = Head {
            length: payload.len() as u32,
            kind,
            flags,
            stream_id: StreamId::new(frame.stream_id),
        };
        [&head.to_bytes()[..], &payload].concat()
    }

    /// Encodes the next block, and returns the fragment of its first frame.
    fn first_fragment(&mut self) -> Vec<u8> {
        let (block, lengths) = self.blocks.pop_front().unwrap_or_default();
        let mut bytes = Vec::new();
        match &block {
            // The block never ended, so nobody decodes it.
            None => {
                let sum: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
                bytes.resize(sum.min(LONGEST_BLOCK) as usize, 0);
            }
            Some(block) if block.error.is_some() => {
                bytes.resize(block.block_length.max(1) as usize, NO_FIELD);
            }
            Some(block) => self.encoder.encode(&fields(block), &mut bytes),
        }
        self.fragments.clear();
        let mut rest = bytes.as_slice();
        for (place, length) in lengths.iter().enumerate() {
            let is_last = place + 1 == lengths.len();
            let len = if is_last {
                rest.len()
            } else {
                *length as usize
            };
            let (fragment, behind) = rest.split_at(len.min(rest.len()));
            self.fragments.push_back(fragment.to_vec());
            rest = behind;
        }
        self.fragments.pop_front().unwrap_or_default()
    }
}

/// Returns the fields of a block, with placeholders.
pub(super) fn fields(block: &Block) -> Fields {
    let mut fields = Fields::new();
    for field in &block.fields {
        fields.push(text::bytes(&field.name), placeholder(field));
    }
    let mut left = block.omitted_size as usize;
    for n in (1..=block.omitted_fields as usize).rev() {
        // Each counts its name of one byte, its value, and 32.
        let size = (left / n).clamp(33, FILLER);
        fields.push("x", vec![b'a'; size - 33]);
        left = left.saturating_sub(size);
    }
    fields
}

/// Returns the blocks of all HEADERS and PUSH_PROMISE frames that were received.
fn blocks(records: &[Record]) -> VecDeque<(Option<Block>, Vec<u32>)> {
    let mut blocks: VecDeque<(Option<Block>, Vec<u32>)> = VecDeque::new();
    for record in records {
        let Event::Received(frame) = &record.event else {
            continue;
        };
        match &frame.payload {
            Payload::Headers { block, dependency } => {
                let length = frame
                    .length
                    .saturating_sub(5 * u32::from(dependency.is_some()));
                blocks.push_back((block.as_deref().cloned(), vec![length]));
            }
            Payload::PushPromise { block, .. } => {
                let length = frame.length.saturating_sub(4);
                blocks.push_back((block.as_deref().cloned(), vec![length]));
            }
            Payload::Continuation { block } => {
                if let Some((whole, lengths)) = blocks.back_mut()
                    && whole.is_none()
                {
                    lengths.push(frame.length);
                    *whole = block.as_deref().cloned();
                }
            }
            Payload::Malformed { kind, .. }
                if matches!(Kind(*kind), Kind::HEADERS | Kind::PUSH_PROMISE) =>
            {
                blocks.push_back((None, Vec::new()));
            }
            _ => {}
        }
    }
    blocks
}

fn push_dependency(dependency: Dependency, out: &mut Vec<u8>) {
    let exclusive = u32::from(dependency.exclusive) << 31;
    out.extend((dependency.stream_id | exclusive).to_be_bytes());
    out.push(dependency.weight.saturating_sub(1).min(255) as u8);
}
