//! Writes the seeds of the fuzz corpora, all made by our own writers: `cargo run -p tidegate-testkit --example
//! fuzz_seeds`. The same seeds come out every time.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidegate_frame::{
    Continuation, Data, ErrorCode, Flags, Frame, GoAway, Head, Headers, Kind, Ping, Priority,
    PriorityUpdate, PushPromise, RstStream, SettingId, Settings, StreamDependency, StreamId,
    Unknown, WindowUpdate,
};
use tidegate_hpack::{Encoder, Fields};

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    frame_decoder(&corpora.join("frame_decoder"))?;
    hpack_decoder(&corpora.join("hpack_decoder"))?;
    hpack_round_trip(&corpora.join("hpack_round_trip"))
}

fn seed(dir: &Path, name: &str, octets: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path: PathBuf = dir.join(format!("seed-{name}"));
    std::fs::write(path, octets)
}

/// One frame of each kind, well-formed.
fn every_frame() -> Vec<(&'static str, Frame)> {
    let stream_id = StreamId::new(1);
    let dependency = StreamDependency {
        depends_on: StreamId::new(3),
        exclusive: true,
        weight: 15,
    };
    let fragment = request_block(&mut Encoder::new(4096), "/");
    vec![
        (
            "data",
            Frame::Data(Data {
                stream_id,
                payload: Bytes::from_static(b"hello"),
                end_stream: true,
                flow_len: 5,
            }),
        ),
        (
            "headers",
            Frame::Headers(Headers {
                stream_id,
                fragment: fragment.clone(),
                end_stream: true,
                end_headers: true,
                priority: Some(dependency),
            }),
        ),
        (
            "priority",
            Frame::Priority(Priority {
                stream_id,
                dependency,
            }),
        ),
        (
            "rst_stream",
            Frame::RstStream(RstStream {
                stream_id,
                code: ErrorCode::CANCEL,
            }),
        ),
        ("settings", settings()),
        ("settings-ack", Frame::Settings(Settings::Ack)),
        (
            "push_promise",
            Frame::PushPromise(PushPromise {
                stream_id,
                promised_id: StreamId::new(2),
                fragment: fragment.clone(),
                end_headers: true,
            }),
        ),
        (
            "ping",
            Frame::Ping(Ping {
                ack: false,
                payload: *b"tidegate",
            }),
        ),
        (
            "goaway",
            Frame::GoAway(GoAway {
                last_stream_id: StreamId::MAX,
                code: ErrorCode::NO_ERROR,
                debug_data: Bytes::from_static(b"bye"),
            }),
        ),
        (
            "window_update",
            Frame::WindowUpdate(WindowUpdate {
                stream_id,
                increment: 1000,
            }),
        ),
        (
            "continuation",
            Frame::Continuation(Continuation {
                stream_id,
                fragment,
                end_headers: true,
            }),
        ),
        (
            "priority_update",
            Frame::PriorityUpdate(PriorityUpdate {
                prioritized_id: stream_id,
                value: Bytes::from_static(b"u=1, i"),
            }),
        ),
        (
            "unknown",
            Frame::Unknown(Unknown {
                kind: 0xbe,
                stream_id,
                length: 20,
            }),
        ),
    ]
}

fn settings() -> Frame {
    Frame::Settings(Settings::of(&[
        (SettingId::HEADER_TABLE_SIZE, 4096),
        (SettingId::ENABLE_PUSH, 0),
        (SettingId::MAX_CONCURRENT_STREAMS, 100),
        (SettingId::INITIAL_WINDOW_SIZE, 65_535),
        (SettingId::MAX_FRAME_SIZE, 16_384),
        (SettingId::MAX_HEADER_LIST_SIZE, 32_768),
    ]))
}

fn request_block(encoder: &mut Encoder, path: &str) -> Bytes {
    let mut fields = Fields::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("user-agent", "seed"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ] {
        fields.push(name, value);
    }
    let mut block = Vec::new();
    encoder.encode(&fields, &mut block);
    block.into()
}

fn frame_decoder(dir: &Path) -> std::io::Result<()> {
    let mut all = vec![6];
    for (name, frame) in every_frame() {
        let mut input = vec![6]; // pieces of 7 octets
        frame.write(&mut input);
        frame.write(&mut all);
        seed(dir, name, &input)?;
    }
    seed(dir, "all", &all)?;

    let mut padded = vec![99];
    for (_, frame) in every_frame() {
        match frame {
            Frame::Data(data) => data.write_padded(10, &mut padded),
            Frame::Headers(headers) => headers.write_padded(0, &mut padded),
            Frame::PushPromise(promise) => promise.write_padded(3, &mut padded),
            _ => {}
        }
    }
    seed(dir, "padded", &padded)?;

    // Heads that are refused, by connection or by stream.
    for (name, kind, length, stream) in [
        ("data-on-0", Kind::DATA, 0, 0),
        ("oversized", Kind::DATA, 16_385, 1),
        ("priority-of-6", Kind::PRIORITY, 6, 1),
        ("ping-of-7", Kind::PING, 7, 0),
        ("settings-of-5", Kind::SETTINGS, 5, 0),
    ] {
        let mut input = vec![0];
        let stream_id = StreamId::new(stream);
        Head {
            length,
            kind,
            flags: Flags::NONE,
            stream_id,
        }
        .write(&mut input);
        input.extend_from_slice(&[0; 8]);
        seed(dir, name, &input)?;
    }
    Ok(())
}

fn hpack_decoder(dir: &Path) -> std::io::Result<()> {
    // The choices of table size and limits, then blocks with their length in front.
    for (name, choices) in [
        ("requests", [0, 0, 0, 0]),
        ("few-fields", [0, 0, 3, 1]),
        ("short-list", [0, 3, 0, 0]),
    ] {
        let mut encoder = Encoder::new(4096);
        let mut input = choices[..].to_vec();
        for path in [
            "/",
            "/style.css",
            "/style.css",
            "/a/rather/long/path?with=a&query=too",
        ] {
            let block = request_block(&mut encoder, path);
            input.push(block.len() as u8);
            input.extend_from_slice(&block);
        }
        seed(dir, name, &input)?;
    }
    // A size update, a literal that is indexed and one that never is, a Huffman-coded one; then a change of the size.
    let mut input = vec![0, 0, 0, 0];
    for block in [
        &b"\x3f\xe1\x1f\x82"[..],
        b"\x40\x01a\x01b\xbe",
        b"\x10\x06secret\x03abc",
        b"\x44\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    ] {
        input.push(block.len() as u8);
        input.extend_from_slice(block);
    }
    input.extend_from_slice(b"\0\x01\x02\x20\x82");
    seed(dir, "every-representation", &input)
}

fn hpack_round_trip(dir: &Path) -> std::io::Result<()> {
    // Lists of three fields: known names with short values, made-up names, repeated fields.
    let mut input = vec![0];
    for round in 0..4 {
        input.push(0x23);
        input.extend_from_slice(b"\x61\x05/path");
        input.extend_from_slice(&[0x65, 0x03, b'a', b'b', b'c' + round]);
        input.extend_from_slice(b"\xe1\x04x-me\x02ok");
        input.push(0x22);
        input.extend_from_slice(&[0x00, 0x02]);
    }
    seed(dir, "lists", &input)?;
    // The same with the table's size changing in between.
    for size in 0..8 {
        input.extend_from_slice(&[size, 0x22]);
        input.extend_from_slice(b"\x6f\x03xyz\x67\x81q");
    }
    seed(dir, "sizes", &input)
}
