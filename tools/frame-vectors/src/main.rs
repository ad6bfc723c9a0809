//! Runs a directory of frame vectors (the format of
//! <https://github.com/http2jp/http2-frame-test-case>) against `tidegate-frame`: `cargo run -p
//! frame-vectors -- [DIR]`.
//!
//! A case is the bytes of one frame, and either the frame's fields or the error codes that fit. A
//! frame without padding must be written back to the same bytes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::BytesMut;
use serde_json::{Map, Value, json};
use tidegate_frame::{Frame, Head, Reader, Settings, StreamDependency};

const DEFAULT_DIR: &str = "../shared/vectors/frames";

fn main() -> ExitCode {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| DEFAULT_DIR.to_owned());
    let mut cases = Vec::new();
    if let Err(error) = find_cases(Path::new(&dir), &mut cases) {
        eprintln!("{error}");
        eprintln!("usage: frame-vectors [DIR], DIR holding the cases (default {DEFAULT_DIR})");
        return ExitCode::FAILURE;
    }
    cases.sort();
    let mut failed = 0;
    for path in &cases {
        if let Err(reason) = run(path) {
            failed += 1;
            println!("FAILED {}: {reason}", path.display());
        }
    }
    println!("{} cases passed, {failed} failed", cases.len() - failed);
    if cases.is_empty() {
        eprintln!("no .json files in {dir}");
    }
    if failed == 0 && !cases.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Finds all `.json` files below `dir`.
fn find_cases(dir: &Path, cases: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries {
        let path = entry
            .map_err(|error| format!("{}: {error}", dir.display()))?
            .path();
        if path.is_dir() {
            find_cases(&path, cases)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            cases.push(path);
        }
    }
    Ok(())
}

/// Runs one case.
fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let case: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let wire = from_hex(case["wire"].as_str().ok_or("no wire")?).ok_or("wire is not hex")?;
    let mut input = BytesMut::from(&wire[..]);
    let read = Reader::new(16_384).next(&mut input);
    match (case["error"].as_array(), read) {
        (Some(codes), Err(malformed)) => {
            let code = malformed.code();
            let fits = codes
                .iter()
                .any(|fitting| fitting.as_u64() == Some(u64::from(code.0)));
            if fits {
                Ok(())
            } else {
                Err(format!("{malformed} is not one of {codes:?}"))
            }
        }
        (Some(codes), Ok(frame)) => Err(format!("read {frame:?}, not one of the errors {codes:?}")),
        (None, Err(malformed)) => Err(format!("refused: {malformed}")),
        (None, Ok(None)) => Err("not a whole frame".to_owned()),
        (None, Ok(Some(frame))) => {
            let head = wire.first_chunk().ok_or("shorter than a head")?;
            compare(&frame, &Head::parse(head), &case["frame"])?;
            if !input.is_empty() {
                return Err(format!("{} bytes are left", input.len()));
            }
            let mut written = Vec::new();
            frame.write(&mut written);
            let padded = case["frame"]["frame_payload"]["padding_length"].is_u64();
            if padded || written == wire {
                Ok(())
            } else {
                Err(format!("wrote {written:02x?}"))
            }
        }
    }
}

/// Compares the fields of the case with ours. Padding, which we drop, shows only in the length of
/// the payload.
fn compare(frame: &Frame, head: &Head, expected: &Value) -> Result<(), String> {
    let mut expected = expected.clone();
    let payload = expected["frame_payload"]
        .as_object_mut()
        .ok_or("the case has no frame_payload")?;
    payload.remove("padding");
    payload.remove("padding_length");
    let ours = json!({
        "length": head.length,
        "flags": head.flags.0,
        "stream_identifier": head.stream_id.get(),
        "type": head.kind.0,
        "frame_payload": payload_fields(frame),
    });
    if ours == expected {
        Ok(())
    } else {
        Err(format!("read {ours}, not {expected}"))
    }
}

/// Returns the payload's fields, with the names that the vectors use.
fn payload_fields(frame: &Frame) -> Value {
    match frame {
        Frame::Data(data) => json!({ "data": text(&data.payload) }),
        Frame::Headers(headers) => {
            let mut fields = Map::new();
            fields.insert("header_block_fragment".to_owned(), text(&headers.fragment));
            insert_dependency(&mut fields, headers.priority);
            Value::Object(fields)
        }
        Frame::Priority(priority) => {
            let mut fields = Map::new();
            insert_dependency(&mut fields, Some(priority.dependency));
            Value::Object(fields)
        }
        Frame::RstStream(reset) => json!({ "error_code": reset.code.0 }),
        Frame::Settings(settings) => json!({ "settings": entries(settings) }),
        Frame::PushPromise(promise) => json!({
            "promised_stream_id": promise.promised_id.get(),
            "header_block_fragment": text(&promise.fragment),
        }),
        Frame::Ping(ping) => json!({ "opaque_data": text(&ping.payload) }),
        Frame::GoAway(goaway) => json!({
            "last_stream_id": goaway.last_stream_id.get(),
            "error_code": goaway.code.0,
            "additional_debug_data": text(&goaway.debug_data),
        }),
        Frame::WindowUpdate(update) => json!({ "window_size_increment": update.increment }),
        Frame::Continuation(more) => json!({ "header_block_fragment": text(&more.fragment) }),
        Frame::PriorityUpdate(update) => json!({
            "prioritized_stream_id": update.prioritized_id.get(),
            "priority_field_value": text(&update.value),
        }),
        Frame::Unknown(_) => Value::Null,
    }
}

/// Inserts the fields of a dependency, all null if there is none. The vectors count weights from 1.
fn insert_dependency(fields: &mut Map<String, Value>, dependency: Option<StreamDependency>) {
    let depends_on = dependency.map(|dependency| dependency.depends_on.get());
    let weight = dependency.map(|dependency| u16::from(dependency.weight) + 1);
    let exclusive = dependency.map(|dependency| dependency.exclusive);
    fields.insert("stream_dependency".to_owned(), json!(depends_on));
    fields.insert("weight".to_owned(), json!(weight));
    fields.insert("exclusive".to_owned(), json!(exclusive));
}

fn entries(settings: &Settings) -> Vec<Value> {
    settings
        .entries()
        .map(|(id, value)| json!([id.0, value]))
        .collect()
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// Returns the bytes of pairs of hexadecimal digits.
fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
