//! The lengths that a replay believes. A file may come from anyone, and a replay makes bytes of
//! each length in it.

use crate::record::{Block, Event, FrameRecord, Payload, Record};

/// The longest payload that a frame's head can name, in bytes (RFC 9113 §4.1).
const MOST_OF_FRAME: u32 = 0xff_ffff;

/// The most bytes of one value, and of the fields that were left out of one block.
const MOST_OF_VALUE: u32 = 16 << 20;

/// The most bytes of all fields of a connection that aren't in the file.
const MOST_OF_FIELDS: u64 = 256 << 20;

/// Each field counts 32 bytes beside its name and value (RFC 9113 §10.5.1).
const OVERHEAD: u64 = 32;

/// Whether the lengths in all records can be true.
pub(super) fn are_fit(records: &[Record]) -> bool {
    let mut left = MOST_OF_FIELDS;
    records.iter().all(|record| match &record.event {
        Event::Received(frame) | Event::Sent(frame) => is_fit(frame, &mut left),
        _ => true,
    })
}

fn is_fit(frame: &FrameRecord, left: &mut u64) -> bool {
    let block = match &frame.payload {
        Payload::Data { data_length } if *data_length > frame.length => return false,
        Payload::Headers { block, .. }
        | Payload::PushPromise { block, .. }
        | Payload::Continuation { block } => block.as_deref(),
        _ => None,
    };
    frame.length <= MOST_OF_FRAME && block.is_none_or(|block| is_block_fit(block, left))
}

fn is_block_fit(block: &Block, left: &mut u64) -> bool {
    let values = block.fields.iter().filter_map(|field| field.value_length);
    let mut sum = u64::from(block.omitted_fields) * OVERHEAD;
    for length in values.chain([block.omitted_size, block.block_length]) {
        if length > MOST_OF_VALUE {
            return false;
        }
        sum += u64::from(length);
    }
    match left.checked_sub(sum) {
        Some(rest) => *left = rest,
        None => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::FieldRecord;

    fn of_block(block: Block) -> Record {
        frame(
            9,
            Payload::Headers {
                dependency: None,
                block: Some(Box::new(block)),
            },
        )
    }

    fn frame(length: u32, payload: Payload) -> Record {
        Record {
            time: Duration::ZERO,
            group_id: "1-1".into(),
            event: Event::Received(Box::new(FrameRecord {
                stream_id: 1,
                length,
                flags: 0,
                payload,
                windows: None,
            })),
        }
    }

    fn value(length: u32) -> Block {
        let field = FieldRecord {
            name: "a".into(),
            value: None,
            value_length: Some(length),
            value_invalid: false,
        };
        Block {
            fields: vec![field],
            ..Block::default()
        }
    }

    #[test]
    fn lengths_of_a_hostile_file_are_refused() {
        let omitted = Block {
            omitted_fields: u32::MAX,
            ..Block::default()
        };
        for record in [
            frame(u32::MAX, Payload::Unknown { kind: 99 }),
            frame(9, Payload::Data { data_length: 10 }),
            of_block(value(u32::MAX)),
            of_block(omitted),
        ] {
            assert!(!are_fit(std::slice::from_ref(&record)), "{record:?}");
        }
        let large = of_block(value(MOST_OF_VALUE));
        assert!(are_fit(&vec![large.clone(); 16]));
        assert!(!are_fit(&vec![large; 17]));
    }
}
