//! Writes the seeds of the fuzz corpora, all made by our own writers: `cargo run -p
//! tidegate-testkit --example fuzz_seeds`. The seeds are the same every time.

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
    hpack_round_trip(&corpora.join("hpack_round_trip"))?;
    server_connection(&corpora.join("server_connection"))?;
    client_connection(&corpora.join("client_connection"))?;
    http1_connection(&corpora.join("http1_connection"))?;
    http1_client(&corpora.join("http1_client"))?;
    operations(&corpora.join("operations"))?;
    request_path(&corpora.join("request_path"))?;
    forwarded(&corpora.join("forwarded"))?;
    upstream_target(&corpora.join("upstream_target"))?;
    proxy_header(&corpora.join("proxy_header"))
}

/// Paths: plain ones, and one for each way in which servers differ.
fn request_path(dir: &Path) -> std::io::Result<()> {
    for (name, target) in [
        ("plain", "/admin/x?y=z"),
        ("encoded", "/%61/%c3%a4%20b?%61"),
        ("utf8", "/ä ö/ü?q=é"),
        ("parameters", "/admin;x=y/a"),
        ("slashes", "/a//b///c"),
        ("encoded-slash", "/x/%2fadmin%5c\\y"),
        ("twice", "/%2561dmin%252f"),
        ("query", "/a%3fb%23c"),
        ("dots", "/a/..b/...;/%2e%2ex"),
        ("route", "/a/%7e/@%21/x"),
        ("asterisk", "*"),
    ] {
        seed(dir, name, target.as_bytes())?;
    }
    Ok(())
}

/// Requests of trusted and untrusted clients, with each field that says where they came from.
fn forwarded(dir: &Path) -> std::io::Result<()> {
    // Names by their numbers: X-Forwarded-For is `@`, Forwarded is `A`, and so on.
    let fields = "@203.0.113.7, [2001:db8::2]:80,backend\n@_x\nBa.example:8443\nChttps\nD10.0.0.1\nE1.1 other\nF3";
    let forwarded =
        "Afor=\"[2001:db8::1]:4711\";proto=https;host=\"a:1\", for=_hidden;by=x\nAfor=unknown";
    let spelled = "G10.0.0.1\nH1\nI10.0.0.1\nJroot\nKhttp://evil/\nL0\nMsite\nNtrailers\nOkept";
    for (name, client) in [
        ("stranger", "s2"),
        ("trusted", "t"),
        ("mapped", "tm"),
        ("v6", "t6s"),
    ] {
        for (kind, said) in [("x", fields), ("rfc", forwarded), ("spelled", spelled)] {
            let input = format!("{client}\nsite.example:80\n{said}");
            seed(dir, &format!("{name}-{kind}"), input.as_bytes())?;
        }
    }
    Ok(())
}

/// Upstreams of each scheme.
fn upstream_target(dir: &Path) -> std::io::Result<()> {
    for (name, typed) in [
        ("http", "http://127.0.0.1:9000"),
        ("h2c", "h2c://[::1]/"),
        ("https", "https://example.org:8443/v1/%c3%a4"),
        ("several", "http://a:1/x,http://b:2/x,c/x"),
        ("websocket", "wss://a"),
        ("user", "http://user@a/"),
    ] {
        seed(dir, name, typed.as_bytes())?;
    }
    Ok(())
}

/// PROXY headers of both versions, with other bytes after them.
fn proxy_header(dir: &Path) -> std::io::Result<()> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let addresses = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2];
    let version2 = |command: u8, family: u8, rest: &[u8]| {
        let len = (rest.len() as u16).to_be_bytes();
        [&signature[..], &[command, family], &len, rest].concat()
    };
    for (name, bytes) in [
        (
            "line",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nGET /".to_vec(),
        ),
        ("line6", b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec()),
        ("unknown", b"PROXY UNKNOWN what else\r\n".to_vec()),
        ("binary", version2(0x21, 0x11, &addresses)),
        ("binary6", version2(0x21, 0x21, &[7; 36])),
        ("local", version2(0x20, 0, &[])),
        ("unix", version2(0x21, 0x31, &[0; 216])),
        (
            "values",
            version2(
                0x21,
                0x11,
                &[&addresses[..], &[4, 0, 2, 0, 0, 1, 0, 1, b'h']].concat(),
            ),
        ),
        ("none", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        seed(dir, name, &bytes)?;
    }
    Ok(())
}

/// Requests of HTTP/1.1 as clients send them, one after the other, each answered in another way.
fn http1_connection(dir: &Path) -> std::io::Result<()> {
    let get = "GET /a?b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: t\r\nAccept: */*\r\n\r\n";
    let head = "HEAD http://localhost:80/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";
    let post =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello";
    let chunks = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n\
                  5;a=\"b\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    let options = "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let websocket = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nthrough the tunnel";
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nPRI * HTTP/2.0";
    let pipeline = [get, head, post, chunks, old, get, options].concat();
    let upgrades = 0x80;
    for (name, offers, bytes) in [
        ("get", 0, get),
        ("head", 0, head),
        ("post", 0, post),
        ("chunks", 0, chunks),
        ("options", 0, options),
        ("http10", 0, old),
        ("connect", 0, connect),
        ("pipeline", 0, &pipeline),
        ("websocket", upgrades, websocket),
        ("h2c", upgrades, h2c),
        ("h2c-behind", upgrades, &[post, h2c].concat()),
    ] {
        for plan in 0..8 {
            // Pieces of eight bytes; plans from this one on.
            let mut input = vec![7, offers | 7];
            input.extend((0..7).map(|n| (plan + n) % 8));
            input.extend_from_slice(bytes.as_bytes());
            seed(dir, &format!("{name}-{plan}"), &input)?;
        }
    }
    Ok(())
}

/// HTTP/1.1 responses as servers send them, one after the other, to requests of every kind.
fn http1_client(dir: &Path) -> std::io::Result<()> {
    let length = "HTTP/1.1 200 OK\r\nServer: t\r\nContent-Length: 5\r\n\r\nhello";
    let chunks = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;a=\"b\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                   HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5, max=99\r\n\r\n";
    let closes = "HTTP/1.1 413 \r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx";
    let until_end = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
    let switches = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x01\x05hello";
    // 304 and 204 have no content, whatever their fields say.
    let none = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    let several = [interim, none, none, old, interim, chunks, length, until_end].concat();
    for (name, bytes) in [
        ("length", length),
        ("chunks", chunks),
        ("interim", interim),
        ("closes", closes),
        ("http10", old),
        ("until-end", until_end),
        ("switches", switches),
        ("several", &several),
    ] {
        for plan in 0..8 {
            // Pieces of eight bytes; plans from this one on.
            let mut input = vec![7, 8];
            input.extend((0..8).map(|n| (plan + n) % 8));
            input.extend_from_slice(bytes.as_bytes());
            seed(dir, &format!("{name}-{plan}"), &input)?;
        }
    }
    Ok(())
}

fn seed(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path: PathBuf = dir.join(format!("seed-{name}"));
    std::fs::write(path, bytes)
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
        let mut input = vec![6]; // pieces of 7 bytes
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
    // The choices of table size and limits, then blocks, each after its length.
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
    // A size update, a literal that is indexed and one that never is, a Huffman-coded one; then a
    // change of the size.
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
    seed(dir, "every-representation", &input)?;
    let browsing = [
        Step::Behind(
            b"\x82\x41\x01h\x04\x02/a",
            b"\x86\x0f\x2b\x03ABC\x40\x01x\x02yy".to_vec(),
        ),
        Step::Again(b"\x82\xbe\x04\x02/b"),
        Step::Behind(
            b"\x82\xbf\x04\x03/cc",
            b"\x86\xbe\x0f\x11\x02co\x0f\x11\x02co".to_vec(),
        ),
        Step::Again(b"\x82\xbf\x04\x02/d"),
        Step::Again(b"\x82\xbf\x44\x02/i"),
        Step::Again(b"\x82\xc0\xbe"),
        Step::Again(b"\x83\xc0\x84"),
        Step::Again(b"\x82\xc0\x14\x02/n"),
    ];
    // Five crumbs, then six with as many fields of the same names before the path.
    let crumb = b"\x0f\x11\x02co";
    let crumbs = [
        Step::Behind(b"\x0f\x11\x02co\x82\x82\x84", crumb.repeat(4)),
        Step::Again(b"\x0f\x11\x02co\x0f\x11\x02co\x82\x84"),
        Step::Again(b"\x82\x84"),
        Step::Again(b"\x83\x04\x02/a"),
    ];
    // Four fields, then six of the same names, then others.
    let numbers = [
        Step::Behind(b"\x82\x84", b"\x0f\x2b\x03ABC\x00\x01x\x02zz".to_vec()),
        Step::Again(b"\x82\x82\x82\x84"),
        Step::Again(b"\x82\x84"),
        Step::Again(b"\x86\x84"),
    ];
    // A list of 83 bytes, then one of 107.
    let lengths = [
        Step::Behind(b"\x84", b"\x0f\x2b\x03ABC".to_vec()),
        Step::Again(b"\x04\x19/a-long-path-of-25-bytes/"),
        Step::Again(b"\x84"),
    ];
    // Paths that a request may not have, and a field behind them; then a name in upper case.
    let invalid = [
        Step::Behind(b"\x82\x04\x03a b", b"\x86\x0f\x2b\x03ABC".to_vec()),
        Step::Again(b"\x82\x04\x02/b"),
        Step::Again(b"\x82\x04\x02/c"),
        Step::Behind(b"\x82\x04\x02/c", b"\x86\x00\x01X\x02yy".to_vec()),
        Step::Again(b"\x82\x04\x02/d"),
    ];
    let sizes = [
        Step::Behind(
            b"\x41\x01h\x40\x01x\x02yy\x04\x02/a",
            b"\xbe\xbf\x86\x87".to_vec(),
        ),
        Step::Again(b"\x04\x02/b"),
        Step::Size(0x80 | 4), // 100 bytes
        Step::Again(b"\x3f\x45\x04\x02/c"),
        Step::Size(0x80),
        Step::Again(b"\x04\x02/d"),
        Step::Again(b"\x20\x3f\x45\x41\x01h\x40\x01x\x02yy\x04\x02/a"),
        Step::Again(b"\x04\x02/e"),
    ];
    for (name, choices, steps) in [
        ("paths", [0, 0, 0, 0], &browsing[..]),
        ("paths-of-small-lists", [0, 4, 2, 0], &browsing),
        ("crumbs", [0, 0, 0, 0], &crumbs),
        ("numbers", [0, 0, 3, 0], &numbers),
        ("lengths", [0, 3, 0, 0], &lengths),
        ("invalid-paths", [0, 0, 0, 0], &invalid),
        ("paths-and-sizes", [0, 0, 0, 0], &sizes),
    ] {
        let mut input = choices.to_vec();
        for step in steps {
            step.write(&mut input);
        }
        seed(dir, name, &input)?;
    }
    Ok(())
}

/// A step of an input of `hpack_decoder`.
enum Step {
    /// A block of two parts.
    Behind(&'static [u8], Vec<u8>),
    /// A block whose second part is that of the one before.
    Again(&'static [u8]),
    /// A change of the table's size.
    Size(u8),
}

impl Step {
    fn write(&self, out: &mut Vec<u8>) {
        let (front, behind) = match self {
            Self::Behind(front, behind) => (front, &behind[..]),
            Self::Again(front) => (front, &[][..]),
            Self::Size(choice) => return out.extend_from_slice(&[0, *choice]),
        };
        out.push(255);
        for part in [*front, behind] {
            out.push(part.len() as u8);
            out.extend_from_slice(part);
        }
    }
}

fn hpack_round_trip(dir: &Path) -> std::io::Result<()> {
    // Lists of three fields: known names with short values, other names, repeated fields.
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

/// The input of a connection target: its options, then frames.
fn connection(config: u8, script: &[u8], frames: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut input = vec![config, 49, 0, script.len() as u8];
    input.extend_from_slice(script);
    frames(&mut input);
    input
}

fn headers(stream: u32, fragment: Bytes, end_stream: bool) -> Headers {
    let stream_id = StreamId::new(stream);
    Headers {
        stream_id,
        fragment,
        end_stream,
        end_headers: true,
        priority: None,
    }
}

fn data(stream: u32, len: usize, end_stream: bool) -> Data {
    let payload = Bytes::from(vec![b'd'; len]);
    Data {
        stream_id: StreamId::new(stream),
        payload,
        end_stream,
        flow_len: len as u32,
    }
}

fn window_update(stream: u32, increment: u32) -> WindowUpdate {
    WindowUpdate {
        stream_id: StreamId::new(stream),
        increment,
    }
}

fn response_block(encoder: &mut Encoder, status: &str) -> Bytes {
    let mut fields = Fields::new();
    fields.push(":status", status);
    fields.push("content-type", "text/plain");
    let mut block = Vec::new();
    encoder.encode(&fields, &mut block);
    block.into()
}

fn trailer_block(encoder: &mut Encoder) -> Bytes {
    let mut fields = Fields::new();
    fields.push("x-checksum", "1");
    let mut block = Vec::new();
    encoder.encode(&fields, &mut block);
    block.into()
}

fn server_connection(dir: &Path) -> std::io::Result<()> {
    // One request for each of the owner's first actions.
    for choice in 0..32 {
        let input = connection(choice & 15, &[choice * 8 + choice % 5, 0x18, 0], |out| {
            let mut encoder = Encoder::new(if choice & 8 == 0 { 4096 } else { 0 });
            headers(1, request_block(&mut encoder, "/"), choice & 1 == 0).write(out);
            if choice & 1 == 1 {
                data(1, 9, false).write(out);
                headers(1, trailer_block(&mut encoder), true).write(out);
            }
            window_update(1, 100_000).write(out);
            window_update(0, 100_000).write(out);
            headers(3, request_block(&mut encoder, "/a"), true).write(out);
            RstStream {
                stream_id: StreamId::new(3),
                code: ErrorCode::CANCEL,
            }
            .write(out);
        });
        seed(dir, &format!("request-{choice}"), &input)?;
    }
    let input = connection(0, &[], |out| {
        let mut encoder = Encoder::new(4096);
        for stream in [1, 3, 5] {
            let block = request_block(&mut encoder, "/");
            Headers::write_block(StreamId::new(stream), &block, stream < 5, 9, None, out);
        }
        data(5, 100, false).write_padded(9, out);
        data(5, 0, true).write(out);
    });
    seed(dir, "continuation", &input)?;
    for (name, frame) in every_frame() {
        let input = connection(0, &[2], |out| {
            headers(1, request_block(&mut Encoder::new(4096), "/"), false).write(out);
            frame.write(out);
            window_update(0, 1).write(out);
        });
        seed(dir, name, &input)?;
    }
    let small_windows = Settings::of(&[
        (SettingId::INITIAL_WINDOW_SIZE, 3),
        (SettingId::HEADER_TABLE_SIZE, 0),
        (SettingId::MAX_FRAME_SIZE, 20_000),
    ]);
    let input = connection(0, &[24, 16], |out| {
        let mut encoder = Encoder::new(4096);
        small_windows.write(out);
        for stream in [1, 3] {
            headers(stream, request_block(&mut encoder, "/"), true).write(out);
            window_update(stream, 5).write(out);
        }
        Settings::of(&[(SettingId::INITIAL_WINDOW_SIZE, 0)]).write(out);
        Settings::of(&[(SettingId::INITIAL_WINDOW_SIZE, 65_535)]).write(out);
    });
    seed(dir, "windows", &input)?;
    let input = connection(0, &[2], |out| {
        // More than may come at once: the request waits for the end of a pause.
        for _ in 0..60 {
            Settings::of(&[]).write(out);
        }
        headers(1, request_block(&mut Encoder::new(4096), "/"), true).write(out);
    });
    seed(dir, "pause", &input)?;
    let input = connection(0, &[2], |out| {
        let mut encoder = Encoder::new(4096);
        // The first is answered with a sentence, the second has no window for one.
        headers(1, request_block(&mut encoder, "no path"), true).write(out);
        small_windows.write(out);
        headers(3, request_block(&mut encoder, "no path"), false).write(out);
        data(3, 9, true).write(out);
        window_update(1, 1).write(out);
        window_update(0, 1).write(out);
    });
    seed(dir, "malformed", &input)
}

fn client_connection(dir: &Path) -> std::io::Result<()> {
    for choice in 0..16 {
        let input = connection(choice, &[choice * 4 + choice % 4, 0x18, 0], |out| {
            let mut encoder = Encoder::new(if choice & 8 == 0 { 4096 } else { 0 });
            headers(1, response_block(&mut encoder, "103"), false).write(out);
            headers(1, response_block(&mut encoder, "200"), false).write(out);
            PushPromise {
                stream_id: StreamId::new(1),
                promised_id: StreamId::new(2),
                fragment: request_block(&mut encoder, "/pushed"),
                end_headers: true,
            }
            .write(out);
            data(1, 9, true).write(out);
            window_update(3, 100_000).write(out);
            window_update(0, 100_000).write(out);
            headers(3, response_block(&mut encoder, "204"), true).write(out);
            if choice & 1 == 1 {
                headers(2, response_block(&mut encoder, "200"), false).write(out);
                headers(2, trailer_block(&mut encoder), true).write(out);
            }
            RstStream {
                stream_id: StreamId::new(5),
                code: ErrorCode::REFUSED_STREAM,
            }
            .write(out);
        });
        seed(dir, &format!("response-{choice}"), &input)?;
    }
    for (name, frame) in every_frame() {
        let input = connection(0, &[], |out| {
            headers(1, response_block(&mut Encoder::new(4096), "200"), false).write(out);
            frame.write(out);
            window_update(0, 1).write(out);
        });
        seed(dir, name, &input)?;
    }
    Ok(())
}

fn operations(dir: &Path) -> std::io::Result<()> {
    const SETTLE: u8 = 15;
    let (open, respond, write, end, consume) = (0, 2, 4, 5, 6);
    let server = 0x80;
    // A request and its response with bodies of every kind.
    for choice in 0..8 {
        let input = [
            choice * 4,
            SETTLE,
            open,
            choice,
            SETTLE,
            respond,
            0,
            7 - choice,
            SETTLE,
            write,
            0,
            3,
            write | server,
            0,
            3,
            SETTLE,
            consume,
            0,
            0,
            consume | server,
            0,
            0,
            end,
            0,
            2,
            end | server,
            0,
            choice,
            SETTLE,
        ];
        seed(dir, &format!("exchange-{choice}"), &input)?;
    }
    // Others have all memory while there are uploads, and the client signals priorities until the
    // server pauses.
    let (others, signal) = (SETTLE | server, 11);
    for taken in 0..5 {
        let mut input = vec![128 | 8, SETTLE, open, 3, open, 1, SETTLE, others, taken];
        input.extend([write, 0, 4, write, 1, 3, SETTLE, others, 4 - taken]);
        for choice in [1, 2, 3, 1, 2, 3] {
            input.extend([SETTLE, signal, choice, 16 | choice]);
        }
        input.extend([SETTLE, open, 6, 14, 15, SETTLE, others, taken]);
        input.extend([respond, 0, 6, SETTLE, consume | server, 0, 0, 14, 15]);
        seed(dir, &format!("shares-{taken}"), &input)?;
    }
    let reset = 7;
    let input = [
        1,
        open,
        1,
        open,
        2,
        open,
        3,
        12,
        3,
        140,
        3,
        reset,
        1,
        respond,
        0,
        1,
        SETTLE,
        reset | server,
        0,
    ];
    seed(dir, "resets", &input)?;
    // Both configurations; dependencies, an update, and the owner's priorities in between.
    let priority = 11;
    for auto in [0, 32] {
        let input = [
            auto,
            open,
            7,
            open,
            7,
            open,
            7,
            SETTLE,
            priority,
            10,
            19,
            priority,
            9,
            26,
            respond,
            0,
            6,
            respond,
            0,
            3,
            priority | server,
            21,
            0,
            priority | server,
            4,
            1,
            SETTLE,
            priority,
            11,
            1,
            priority,
            2,
            0,
            respond,
            0,
            6,
            SETTLE,
        ];
        seed(dir, &format!("priorities-{auto}"), &input)?;
    }
    let (push, inform, deliver, time) = (9, 10, 12, 14);
    let input = [
        9, SETTLE, open, 0, SETTLE, push, 0, push, 0, inform, 0, respond, 1, 3, SETTLE, respond, 0,
        2,
    ];
    seed(dir, "pushes", &input)?;
    let input = [
        6,
        open,
        1,
        deliver,
        3,
        deliver | server,
        4,
        open,
        6,
        SETTLE,
        respond,
        0,
        1,
        time,
        0,
        SETTLE,
    ];
    seed(dir, "shut-down", &input)
}
