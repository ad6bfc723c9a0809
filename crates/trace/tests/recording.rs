//! Bytes of scripted peers become records.

use tidegate_http::{Config, ErrorCode};
use tidegate_testkit::wire::{self, Raw};
use tidegate_trace::{
    Direction, EngineSettings, FrameRecord, Payload, Shadow, Values, VantagePoint, Windows,
};

/// Records what a client sends, in pieces of this many bytes.
fn received(frames: &[Raw], values: Values, piece: usize) -> Vec<FrameRecord> {
    let mut bytes = wire::PREFACE.to_vec();
    bytes.extend(frames.iter().flat_map(Raw::to_bytes));
    let engine = EngineSettings::of(&Config::server());
    let mut shadow = Shadow::new(VantagePoint::Server, &engine, values);
    let mut records = Vec::new();
    for piece in bytes.chunks(piece) {
        shadow.read(Direction::Received, piece, |frame| records.push(*frame));
    }
    let preface = records.remove(0);
    assert_eq!(preface.payload, Payload::Preface { valid: true });
    records
}

fn payloads(frames: &[Raw]) -> Vec<Payload> {
    let all = [1, 7, 10_000].map(|piece| received(frames, Values::Protocol, piece));
    assert!(all.iter().all(|records| *records == all[0]));
    let [records, ..] = all;
    records.into_iter().map(|record| record.payload).collect()
}

#[test]
fn frames_become_records_in_whatever_pieces_they_come() {
    let frames = [
        wire::settings(&[(3, 100), (0xfafa, 1)]),
        wire::settings_ack(),
        wire::get(1).depends_on(0, true, 7),
        wire::ping(b"12345678"),
        wire::frame(0xbe, 0, 0, vec![0; 100]),
        wire::window_update(1, 7),
        wire::rst_stream(1, ErrorCode::CANCEL),
        wire::priority_update(3, "u=1"),
        wire::goaway(0, ErrorCode::NO_ERROR).and(b"bye"),
    ];
    let payloads = payloads(&frames);
    assert_eq!(payloads.len(), frames.len());
    let Payload::Headers { dependency, block } = &payloads[2] else {
        panic!("{payloads:?}");
    };
    assert_eq!(dependency.map(|dependency| dependency.weight), Some(8));
    let names = block.as_ref().unwrap().fields.iter();
    let names: Vec<&str> = names.map(|field| field.name.as_str()).collect();
    assert_eq!(names, [":method", ":scheme", ":authority", ":path"]);
    assert_eq!(payloads[4], Payload::Unknown { kind: 0xbe });
    assert_eq!(payloads[5], Payload::WindowUpdate { increment: 7 });
    let Payload::Goaway { debug, .. } = &payloads[8] else {
        panic!("{payloads:?}");
    };
    assert_eq!(*debug, None, "the client's words are a value");
}

#[test]
fn no_byte_of_a_body_or_a_field_is_kept_of_what_is_malformed() {
    let secret = b"cookie-of-a-stranger";
    for (frame, kept) in [
        (wire::data(1, secret).claim_padding(200, 0), vec![200]),
        (
            wire::headers_block(1, *secret).claim_padding(200, 0),
            vec![200],
        ),
        (wire::data(0, secret), vec![]),
        (wire::headers_block(0, *secret), vec![]),
        (wire::frame(9, 4, 0, *secret), vec![]),
        (wire::frame(7, 0, 1, [0; 8]).and(secret), vec![0; 8]),
        (wire::frame(6, 0, 0, *b"1234567"), b"1234567".to_vec()),
    ] {
        for piece in [1, 1000] {
            let records = received(std::slice::from_ref(&frame), Values::Most, piece);
            let [FrameRecord { payload, .. }] = &records[..] else {
                panic!("{records:?}");
            };
            let Payload::Malformed { payload, .. } = payload else {
                panic!("{records:?}");
            };
            assert!(kept.starts_with(payload), "{frame:?}: {payload:?}");
            if piece > 1 {
                // Where the head tells the defect, the payload may not have come yet.
                assert_eq!(*payload, kept, "{frame:?}");
            }
        }
    }
}

#[test]
fn windows_follow_the_frames() {
    let engine = EngineSettings::of(&Config::server());
    let mut shadow = Shadow::new(VantagePoint::Server, &engine, Values::Protocol);
    let mut windows = Vec::new();
    let mut read = |direction, bytes: &[u8]| {
        shadow.read(direction, bytes, |frame| windows.extend(frame.windows));
    };
    read(Direction::Received, wire::PREFACE);
    read(
        Direction::Received,
        &wire::settings(&[(4, 1000)]).to_bytes(),
    );
    read(Direction::Received, &wire::post(1).to_bytes());
    read(
        Direction::Received,
        &wire::data(1, [0; 10]).padded(4).to_bytes(),
    );
    read(Direction::Sent, &wire::data(1, [0; 30]).to_bytes());
    read(Direction::Received, &wire::window_update(1, 5).to_bytes());
    read(Direction::Sent, &wire::window_update(0, 7).to_bytes());
    let last = |windows: &[Windows]| *windows.last().unwrap();
    let expected = Windows {
        stream_send: Some(1000 - 30 + 5),
        stream_receive: Some(65_535 - 15),
        connection_send: 65_535 - 30,
        connection_receive: 65_535 - 15 + 7,
    };
    assert_eq!(
        last(&windows),
        Windows {
            stream_send: None,
            stream_receive: None,
            ..expected
        }
    );
    assert_eq!(
        windows[windows.len() - 2],
        Windows {
            connection_receive: 65_535 - 15,
            ..expected
        }
    );
}

#[test]
fn changes_of_the_table_have_the_names() {
    // Literals with incremental indexing: x-a, twice; then the table is emptied by a size of 0.
    let insert = b"\x40\x03x-a\x01b";
    let block = [&insert[..], insert, b"\x82"].concat();
    let empty = b"\x20\x82";
    let records = received(
        &[
            wire::headers_block(1, block).end(),
            wire::headers_block(3, *empty).end(),
        ],
        Values::Protocol,
        1000,
    );
    let tables: Vec<_> = records
        .iter()
        .map(|record| match &record.payload {
            Payload::Headers {
                block: Some(block), ..
            } => block.table.clone().unwrap(),
            _ => panic!("{record:?}"),
        })
        .collect();
    assert_eq!(tables[0].inserted, ["x-a", "x-a"]);
    assert_eq!((tables[0].evicted, tables[0].entries), (0, 2));
    assert_eq!((tables[0].size, tables[1].size), (72, 0));
    assert_eq!((tables[1].evicted, tables[1].entries), (2, 0));
}
