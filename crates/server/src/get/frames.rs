//! Prints the frames of an HTTP/2 connection in the manner of nghttp, and the heads of an HTTP/1.1
//! connection.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::BytesMut;
use tidegate_frame::{
    Flags, Frame, Head, Kind, PREFACE, Reader, SettingId, Settings, StreamDependency,
};
use tidegate_hpack::{Decoder, Fields, Limits};
use tidegate_net::{Direction, Protocol};

/// Longest line of an HTTP/1.1 head, in bytes. A longer one is dropped.
const MAX_LINES: usize = 64 << 10;

/// The indent of a frame's lines after its first one.
const INDENT: &str = "          ";

/// Both directions of one connection.
pub struct Frames {
    protocol: Protocol,
    /// The direction of the last bytes.
    last: Option<Direction>,
    received: Half,
    sent: Half,
}

/// One direction of a connection.
struct Half {
    bytes: BytesMut,
    reader: Reader,
    decoder: Decoder,
    /// A field block that hasn't ended with END_HEADERS yet.
    block: Vec<u8>,
    /// Bytes of the preface that haven't come yet.
    preface: usize,
    /// HTTP/1.1: whether the next bytes belong to a head.
    in_head: bool,
    /// HTTP/1.1: whether that head is of an interim response.
    is_interim: bool,
}

impl Half {
    fn new(preface: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            reader: Reader::new(0xff_ffff),
            decoder: Decoder::new(4096),
            block: Vec::new(),
            preface,
            in_head: true,
            is_interim: false,
        }
    }
}

impl Frames {
    /// Returns the state of a client's connection that speaks this protocol.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            last: None,
            received: Half::new(0),
            sent: Half::new(PREFACE.len()),
        }
    }

    /// Appends lines for the frames or heads in these bytes to `out`. `since` is the time since the
    /// start.
    pub fn print(&mut self, direction: Direction, bytes: &[u8], since: Duration, out: &mut String) {
        let (half, verb) = match direction {
            Direction::In => (&mut self.received, "recv"),
            Direction::Out => (&mut self.sent, "send"),
        };
        // In HTTP/1.1 request and response alternate here, so a head begins where the direction
        // changes.
        half.in_head |= self.last.replace(direction) != Some(direction);
        half.bytes.extend_from_slice(bytes);
        let at = format!("[{:7.3}] {verb}", since.as_secs_f64());
        match self.protocol {
            Protocol::Http2 => print_frames(half, &at, out),
            Protocol::Http1 => print_lines(half, &at, out),
        }
    }
}

fn print_frames(half: &mut Half, at: &str, out: &mut String) {
    let preface = half.preface.min(half.bytes.len());
    half.preface -= preface;
    let _ = half.bytes.split_to(preface);
    if preface > 0 && half.preface == 0 {
        line(out, format_args!("{at} connection preface"));
    }
    loop {
        let Some(head) = half.bytes.first_chunk().map(Head::parse) else {
            return;
        };
        match half.reader.next(&mut half.bytes) {
            Ok(Some(frame)) => print_frame(half, at, head, &frame, out),
            Ok(None) => return,
            Err(malformed) => line(out, format_args!("{at} malformed frame: {malformed}")),
        }
    }
}

fn print_frame(half: &mut Half, at: &str, head: Head, frame: &Frame, out: &mut String) {
    let Head {
        length,
        kind,
        flags,
        stream_id,
    } = head;
    let name = name(kind);
    line(
        out,
        format_args!(
            "{at} {name} frame <length={length}, flags=0x{:02x}, stream_id={stream_id}>",
            flags.0
        ),
    );
    let flags = names_of_flags(kind, flags);
    if !flags.is_empty() {
        line(out, format_args!("{INDENT}; {}", flags.join(" | ")));
    }
    match frame {
        Frame::Headers(frame) => {
            if let Some(dependency) = frame.priority {
                print_dependency(dependency, out);
            }
            print_block(half, &frame.fragment, frame.end_headers, out);
        }
        Frame::Continuation(frame) => print_block(half, &frame.fragment, frame.end_headers, out),
        Frame::PushPromise(frame) => {
            let promised = frame.promised_id;
            line(out, format_args!("{INDENT}(promised_stream_id={promised})"));
            print_block(half, &frame.fragment, frame.end_headers, out);
        }
        Frame::Priority(frame) => print_dependency(frame.dependency, out),
        Frame::RstStream(frame) => print_code(frame.code.0, &frame.code, out),
        Frame::Settings(frame) => print_settings(frame, out),
        Frame::Ping(frame) => {
            let payload: String = frame
                .payload
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            line(out, format_args!("{INDENT}(opaque_data={payload})"));
        }
        Frame::GoAway(frame) => {
            let (last, code) = (frame.last_stream_id, frame.code);
            let words = frame.debug_data.escape_ascii();
            line(
                out,
                format_args!(
                    "{INDENT}(last_stream_id={last}, error_code={code}(0x{:02x}), \
                     opaque_data({})=[{words}])",
                    code.0,
                    frame.debug_data.len()
                ),
            );
        }
        Frame::WindowUpdate(frame) => {
            let increment = frame.increment;
            line(
                out,
                format_args!("{INDENT}(window_size_increment={increment})"),
            );
        }
        Frame::PriorityUpdate(frame) => {
            let (id, value) = (frame.prioritized_id, frame.value.escape_ascii());
            line(
                out,
                format_args!(
                    "{INDENT}(prioritized_stream_id={id}, priority_field_value=[{value}])"
                ),
            );
        }
        Frame::Data(_) | Frame::Unknown(_) => {}
    }
}

fn print_dependency(dependency: StreamDependency, out: &mut String) {
    let StreamDependency {
        depends_on,
        exclusive,
        weight,
    } = dependency;
    line(
        out,
        format_args!(
            "{INDENT}(dep_stream_id={depends_on}, weight={}, exclusive={})",
            u32::from(weight) + 1,
            u8::from(exclusive)
        ),
    );
}

fn print_code(number: u32, code: &dyn std::fmt::Display, out: &mut String) {
    line(
        out,
        format_args!("{INDENT}(error_code={code}(0x{number:02x}))"),
    );
}

fn print_settings(settings: &Settings, out: &mut String) {
    let entries: Vec<(SettingId, u32)> = settings.entries().collect();
    if matches!(settings, Settings::Values(_)) {
        line(out, format_args!("{INDENT}(niv={})", entries.len()));
    }
    for (id, value) in entries {
        let name = match id {
            SettingId::HEADER_TABLE_SIZE => "SETTINGS_HEADER_TABLE_SIZE",
            SettingId::ENABLE_PUSH => "SETTINGS_ENABLE_PUSH",
            SettingId::MAX_CONCURRENT_STREAMS => "SETTINGS_MAX_CONCURRENT_STREAMS",
            SettingId::INITIAL_WINDOW_SIZE => "SETTINGS_INITIAL_WINDOW_SIZE",
            SettingId::MAX_FRAME_SIZE => "SETTINGS_MAX_FRAME_SIZE",
            SettingId::MAX_HEADER_LIST_SIZE => "SETTINGS_MAX_HEADER_LIST_SIZE",
            SettingId::ENABLE_CONNECT_PROTOCOL => "SETTINGS_ENABLE_CONNECT_PROTOCOL",
            SettingId::NO_RFC7540_PRIORITIES => "SETTINGS_NO_RFC7540_PRIORITIES",
            _ => "UNKNOWN",
        };
        line(
            out,
            format_args!("{INDENT}[{name}(0x{:02x}):{value}]", id.0),
        );
    }
}

fn print_block(half: &mut Half, fragment: &[u8], end: bool, out: &mut String) {
    half.block.extend_from_slice(fragment);
    if !end {
        return;
    }
    let block = std::mem::take(&mut half.block);
    // Far more than the engine takes, and far less than what a few bytes can expand to.
    let limits = Limits {
        max_list_size: 1 << 20,
        max_fields: 10_000,
        max_cookie_crumbs: 10_000,
    };
    let mut fields = Fields::new();
    match half.decoder.decode(&block, &limits, &mut fields) {
        Ok(_) => {
            for field in &fields {
                let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                line(out, format_args!("{INDENT}{name}: {value}"));
            }
        }
        Err(error) => line(
            out,
            format_args!("{INDENT}can't decompress the field block: {error}"),
        ),
    }
}

/// Prints the lines of heads, and leaves out bodies.
fn print_lines(half: &mut Half, at: &str, out: &mut String) {
    while half.in_head {
        let Some(end) = half.bytes.windows(2).position(|two| two == b"\r\n") else {
            if half.bytes.len() > MAX_LINES {
                half.bytes.clear();
            }
            return;
        };
        let text = half.bytes.split_to(end + 2);
        if end > 0 {
            half.is_interim |= text.starts_with(b"HTTP/1.1 1");
            line(out, format_args!("{at} {}", text[..end].escape_ascii()));
        } else {
            // After an interim response comes another head.
            half.in_head = std::mem::take(&mut half.is_interim);
        }
    }
    half.bytes.clear();
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn name(kind: Kind) -> String {
    let name = match kind {
        Kind::DATA => "DATA",
        Kind::HEADERS => "HEADERS",
        Kind::PRIORITY => "PRIORITY",
        Kind::RST_STREAM => "RST_STREAM",
        Kind::SETTINGS => "SETTINGS",
        Kind::PUSH_PROMISE => "PUSH_PROMISE",
        Kind::PING => "PING",
        Kind::GOAWAY => "GOAWAY",
        Kind::WINDOW_UPDATE => "WINDOW_UPDATE",
        Kind::CONTINUATION => "CONTINUATION",
        Kind::ORIGIN => "ORIGIN",
        Kind::PRIORITY_UPDATE => "PRIORITY_UPDATE",
        Kind(other) => return format!("UNKNOWN(0x{other:02x})"),
    };
    name.to_owned()
}

fn names_of_flags(kind: Kind, flags: Flags) -> Vec<&'static str> {
    let meanings: &[(Flags, &str)] = match kind {
        Kind::DATA => &[(Flags::END_STREAM, "END_STREAM"), (Flags::PADDED, "PADDED")],
        Kind::HEADERS => &[
            (Flags::END_STREAM, "END_STREAM"),
            (Flags::END_HEADERS, "END_HEADERS"),
            (Flags::PADDED, "PADDED"),
            (Flags::PRIORITY, "PRIORITY"),
        ],
        Kind::PUSH_PROMISE => &[
            (Flags::END_HEADERS, "END_HEADERS"),
            (Flags::PADDED, "PADDED"),
        ],
        Kind::CONTINUATION => &[(Flags::END_HEADERS, "END_HEADERS")],
        Kind::SETTINGS | Kind::PING => &[(Flags::ACK, "ACK")],
        _ => &[],
    };
    let set = meanings.iter().filter(|(flag, _)| flags.has(*flag));
    set.map(|(_, name)| *name).collect()
}

/// Returns the line for a connection that was established `since` the start.
pub fn connected(protocol: Protocol, addr: std::net::SocketAddr, since: Duration) -> String {
    let protocol = match protocol {
        Protocol::Http2 => "HTTP/2",
        Protocol::Http1 => "HTTP/1.1",
    };
    format!(
        "[{:7.3}] Connected to {addr}, {protocol}\n",
        since.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use tidegate_frame::{
        Data, ErrorCode, GoAway, Headers, Ping, RstStream, StreamId, WindowUpdate,
    };
    use tidegate_hpack::Encoder;

    use super::*;

    fn printed(direction: Direction, bytes: &[u8], piece: usize) -> String {
        let mut frames = Frames::new(Protocol::Http2);
        let mut out = String::new();
        for bytes in bytes.chunks(piece) {
            frames.print(direction, bytes, Duration::from_millis(1234), &mut out);
        }
        out
    }

    #[test]
    fn frames_are_printed_in_whatever_pieces_they_come() {
        let mut fields = Fields::new();
        fields.push(":status", "200");
        fields.push("server", "x\u{7f}");
        let mut block = Vec::new();
        Encoder::new(4096).encode(&fields, &mut block);
        let id = StreamId::new(1);
        let mut bytes = Vec::new();
        Settings::of(&[(SettingId::MAX_CONCURRENT_STREAMS, 100)]).write(&mut bytes);
        Settings::Ack.write(&mut bytes);
        Headers::write_block(id, &block, false, 16_384, None, &mut bytes);
        bytes.extend_from_slice(&Data::head(id, 3, true));
        bytes.extend_from_slice(b"abc");
        Ping {
            ack: true,
            payload: *b"12345678",
        }
        .write(&mut bytes);
        WindowUpdate {
            stream_id: id,
            increment: 7,
        }
        .write(&mut bytes);
        RstStream {
            stream_id: id,
            code: ErrorCode::CANCEL,
        }
        .write(&mut bytes);
        GoAway {
            last_stream_id: id,
            code: ErrorCode::NO_ERROR,
            debug_data: "bye".into(),
        }
        .write(&mut bytes);
        let block_len = block.len();
        let expected = format!(
            "[  1.234] recv SETTINGS frame <length=6, flags=0x00, stream_id=0>
          (niv=1)
          [SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100]
[  1.234] recv SETTINGS frame <length=0, flags=0x01, stream_id=0>
          ; ACK
[  1.234] recv HEADERS frame <length={block_len}, flags=0x04, stream_id=1>
          ; END_HEADERS
          :status: 200
          server: x\\x7f
[  1.234] recv DATA frame <length=3, flags=0x01, stream_id=1>
          ; END_STREAM
[  1.234] recv PING frame <length=8, flags=0x01, stream_id=0>
          ; ACK
          (opaque_data=3132333435363738)
[  1.234] recv WINDOW_UPDATE frame <length=4, flags=0x00, stream_id=1>
          (window_size_increment=7)
[  1.234] recv RST_STREAM frame <length=4, flags=0x00, stream_id=1>
          (error_code=CANCEL(0x08))
[  1.234] recv GOAWAY frame <length=11, flags=0x00, stream_id=0>
          (last_stream_id=1, error_code=NO_ERROR(0x00), opaque_data(3)=[bye])
"
        );
        for piece in [1, 5, 1000] {
            assert_eq!(printed(Direction::In, &bytes, piece), expected);
        }
    }

    #[test]
    fn the_preface_is_not_a_frame() {
        let mut bytes = PREFACE.to_vec();
        Settings::of(&[]).write(&mut bytes);
        let expected = "[  1.234] send connection preface
[  1.234] send SETTINGS frame <length=0, flags=0x00, stream_id=0>
          (niv=0)
";
        for piece in [1, 10, 1000] {
            assert_eq!(printed(Direction::Out, &bytes, piece), expected);
        }
    }

    #[test]
    fn the_heads_of_http1_are_printed() {
        for piece in [1, 7, 1000] {
            let mut frames = Frames::new(Protocol::Http1);
            let mut out = String::new();
            let mut say = |direction, bytes: &[u8]| {
                for bytes in bytes.chunks(piece) {
                    frames.print(direction, bytes, Duration::ZERO, &mut out);
                }
            };
            for _ in 0..2 {
                say(
                    Direction::Out,
                    b"POST / HTTP/1.1\r\nhost: a\r\n\r\nbody: no field\r\n",
                );
                say(
                    Direction::In,
                    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\nHTTP/1.1 in the body\r\n",
                );
            }
            let expected = "[  0.000] send POST / HTTP/1.1
[  0.000] send host: a
[  0.000] recv HTTP/1.1 103 Early Hints
[  0.000] recv HTTP/1.1 200 OK
[  0.000] recv a: b
";
            assert_eq!(out, expected.repeat(2), "{piece}");
        }
    }
}
