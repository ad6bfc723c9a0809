//! Prints the frames of an HTTP/2 connection in the manner of nghttp, and the heads of an HTTP/1.1
//! connection.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::BytesMut;
use tidegate_http::Config;
use tidegate_net::{Direction, Protocol};
use tidegate_trace::{EngineSettings, Shadow, Values, VantagePoint, print_frame};

/// Longest line of an HTTP/1.1 head, in bytes. A longer one is dropped.
const MAX_LINES: usize = 64 << 10;

/// The largest frame that is printed, in bytes: the largest that there can be.
const MAX_FRAME: u32 = 0xff_ffff;

/// Both directions of one connection.
pub enum Frames {
    /// HTTP/2.
    Http2(Box<Shadow>),
    /// HTTP/1.1.
    Http1(Lines),
}

/// Both directions of an HTTP/1.1 connection.
#[derive(Default)]
pub struct Lines {
    /// The direction of the last bytes.
    last: Option<Direction>,
    received: Half,
    sent: Half,
}

/// One direction of an HTTP/1.1 connection.
#[derive(Default)]
struct Half {
    bytes: BytesMut,
    /// Whether the next bytes belong to a head.
    in_head: bool,
    /// Whether that head is of an interim response.
    is_interim: bool,
}

impl Frames {
    /// Returns the state of a client's connection that speaks this protocol.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http2 => {
                let mut config = Config::client();
                config.max_frame_size = MAX_FRAME;
                let engine = EngineSettings::of(&config);
                let shadow = Shadow::new(VantagePoint::Client, &engine, Values::All);
                Self::Http2(Box::new(shadow))
            }
            Protocol::Http1 => Self::Http1(Lines::default()),
        }
    }

    /// Appends lines for the frames or heads in these bytes to `out`. `since` is the time since the
    /// start.
    pub fn print(&mut self, direction: Direction, bytes: &[u8], since: Duration, out: &mut String) {
        match self {
            Self::Http2(shadow) => {
                let direction = match direction {
                    Direction::In => tidegate_trace::Direction::Received,
                    Direction::Out => tidegate_trace::Direction::Sent,
                };
                let each = |frame: Box<_>| print_frame(direction, since, &frame, out);
                shadow.read(direction, bytes, each);
            }
            Self::Http1(lines) => lines.print(direction, bytes, since, out),
        }
    }
}

impl Lines {
    fn print(&mut self, direction: Direction, bytes: &[u8], since: Duration, out: &mut String) {
        let (half, verb) = match direction {
            Direction::In => (&mut self.received, "recv"),
            Direction::Out => (&mut self.sent, "send"),
        };
        // Request and response alternate here, so a head begins where the direction changes.
        half.in_head |= self.last.replace(direction) != Some(direction);
        half.bytes.extend_from_slice(bytes);
        let at = format!("[{:7.3}] {verb}", since.as_secs_f64());
        print_lines(half, &at, out);
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
        Data, ErrorCode, GoAway, Headers, PREFACE, Ping, RstStream, SettingId, Settings, StreamId,
        WindowUpdate,
    };
    use tidegate_hpack::{Encoder, Fields};

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
