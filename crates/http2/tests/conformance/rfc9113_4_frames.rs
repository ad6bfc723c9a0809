//! RFC 9113 §4: HTTP Frames, and the compression of field blocks (RFC 7541).

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidegate_http2::{Body, Config, Event, RequestHead, ResponseHead, Stream, Violation};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, flag, with};

use crate::support::{bytes, client, client_of, server};

// --- §4.1 Frame Format ---

#[test]
fn frames_of_unknown_types_are_ignored() {
    // RFC 9113 §4.1: "Implementations MUST ignore and discard frames of unknown types."
    for mut peer in [client(), server()] {
        for kind in [0x0a, 0x0c, 0x11, 0x42, 0xff] {
            peer.send_all([
                wire::frame(kind, 0xff, 0, bytes(100)),
                wire::frame(kind, 0, 77, []),
            ]);
        }
        peer.expect_no_event();
        peer.expect_alive();
    }
}

#[test]
fn frames_of_unknown_types_are_reported_to_those_who_ask() {
    // RFC 9113 §5.5: extensions may add frame types; their frames are as harmless as above.
    let mut peer = client_of(|config| config.report_unknown_frames = true);
    peer.send(wire::frame(0x0c, 0xff, 77, bytes(100)));
    match peer.next_event() {
        Some(Event::UnknownFrame { kind, id, len }) => {
            assert_eq!((kind, id.get(), len), (0x0c, 77, 100));
        }
        other => panic!("{other:?}"),
    }
    peer.expect_alive();
    // A field block is no place for them (RFC 9113 §4.3).
    peer.send_all([wire::get(1).unfinished(), wire::frame(0x0c, 0, 0, [])]);
    peer.connection_error(Violation::HeaderBlockInterrupted);
}

#[test]
fn flags_that_mean_nothing_are_ignored() {
    // RFC 9113 §4.1: "Unused flags are those that have no defined semantics for a particular frame
    // type. Unused flags MUST be ignored on receipt and MUST be left unset (0x00) when sending."
    let mut peer = client();
    peer.send(wire::ping(b"flagship").flags(0xfe));
    assert_eq!(peer.expect_ping(), (*b"flagship", true));
    peer.send(wire::settings(&[]).flags(0xfe));
    assert_eq!(peer.expect_settings(), None);
    peer.send(wire::post(1).flags(0x92));
    peer.send(wire::data(1, "x").end().flags(0xf6));
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1).0, "x");
}

#[test]
fn the_reserved_bit_is_ignored() {
    // RFC 9113 §4.1: "A reserved 1-bit field. The semantics of this bit are undefined, and the bit
    // MUST remain unset (0x00) when sending and MUST be ignored when receiving."
    let mut peer = client();
    let reserved = 1 << 31;
    peer.send(wire::frame(0x6, 0, reserved, *b"reserved"));
    assert_eq!(peer.expect_ping(), (*b"reserved", true));
    peer.send(wire::headers(1 | reserved, GET).end());
    peer.expect_request(1);
    // In WINDOW_UPDATE and GOAWAY too: the increment is 1, the last stream 0.
    peer.send(wire::window_update(reserved, 1 | reserved));
    peer.send(wire::goaway(reserved, tidegate_http2::ErrorCode::NO_ERROR));
    peer.expect_alive();
}

// --- §4.2 Frame Size ---

#[test]
fn a_payload_of_2_to_the_14_bytes_is_taken() {
    // RFC 9113 §4.2: "All implementations MUST be capable of receiving and minimally processing
    // frames up to 2^14 octets in length, plus the 9-octet frame header".
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, bytes(16_384)).end()]);
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1).0.len(), 16_384);
}

#[test]
fn a_payload_over_max_frame_size_ends_the_connection() {
    // RFC 9113 §4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds
    // the size defined in SETTINGS_MAX_FRAME_SIZE".
    for (kind, stream) in [(0x0, 1), (0x1, 3), (0x4, 0), (0x9, 1), (0xfe, 0)] {
        let mut peer = client();
        peer.send(wire::post(1));
        peer.send(wire::frame(kind, flag::END_HEADERS, stream, bytes(16_385)));
        peer.connection_error(Violation::FrameOverMaxFrameSize);
    }
    // The length is enough: nobody waits for the 16 MiB.
    let mut peer = client();
    peer.send_bytes(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01");
    peer.connection_error(Violation::FrameOverMaxFrameSize);
}

#[test]
fn a_larger_max_frame_size_of_ours_is_kept() {
    // RFC 9113 §6.5.2, SETTINGS_MAX_FRAME_SIZE: "This setting indicates the size of the largest
    // frame payload that the sender is willing to receive, in units of octets."
    let mut peer = client_of(|config| config.max_frame_size = 20_000);
    peer.send_all([wire::post(1), wire::data(1, bytes(20_000))]);
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1).0.len(), 20_000);
    peer.send(wire::data(1, bytes(20_001)));
    peer.connection_error(Violation::FrameOverMaxFrameSize);
}

#[test]
fn the_peers_max_frame_size_is_kept() {
    // RFC 9113 §4.2: "The size of a frame payload is limited by the maximum size that a receiver
    // advertises in the SETTINGS_MAX_FRAME_SIZE setting."
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(40_000));
    peer.expect_head(1);
    // With its head of nine bytes, each frame fills a TLS record (RFC 8446 §5.1).
    assert_eq!(peer.expect_data(1).0.len(), 16_384 - 9);
    assert_eq!(peer.expect_data(1).0.len(), 16_384 - 9);
    assert_eq!(
        peer.expect_data(1),
        (bytes(40_000 - 2 * (16_384 - 9)), true)
    );
    // A larger limit of the peer changes nothing: a stream's turn is one frame, and the others wait
    // that long.
    peer.send(wire::settings(&[(0x5, 30_000)]));
    assert_eq!(peer.expect_settings(), None);
    peer.send_all([wire::window_update(0, 40_000), wire::get(3)]);
    peer.respond(3, 200, bytes(40_000));
    peer.expect_head(3);
    assert_eq!(peer.expect_data(3).0.len(), 16_384 - 9);
}

#[test]
fn a_head_over_max_frame_size_is_continued() {
    // RFC 9113 §4.3: a field section may be "a HEADERS or PUSH_PROMISE frame with the END_HEADERS
    // flag unset and one or more CONTINUATION frames, where the last CONTINUATION frame has the
    // END_HEADERS flag set."
    let mut peer = client();
    peer.send(wire::get(1));
    let long = "\u{7f}".repeat(0) + &"~".repeat(40_000);
    peer.stream(1, |stream| {
        let head = ResponseHead::new(200).field("x-long", &long);
        stream
            .respond(&head, Body::Empty)
            .expect("the engine takes the response");
    });
    let head = peer.expect_head(1);
    assert_eq!(head.get("x-long"), Some(&long[..]));
    assert!(head.end);

    let mut peer = server();
    peer.open(
        &RequestHead::new("GET", "https", "localhost", "/").field("x-long", &long),
        Body::Empty,
    );
    assert_eq!(peer.expect_head(1).get("x-long"), Some(&long[..]));
}

// --- §4.3 Header Compression and Decompression ---

#[test]
fn a_block_that_does_not_decode_ends_the_connection() {
    // RFC 9113 §4.3: "A receiver MUST terminate the connection with a connection error (Section
    // 5.4.1) of type COMPRESSION_ERROR if it does not decompress a field block."
    for (block, why) in [
        (&b"\x40\x7f"[..], "a literal that is cut off"),
        (b"\x80", "RFC 7541 §6.1: index 0"),
        (b"\xbe", "RFC 7541 §2.3.3: an index above both tables"),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "RFC 7541 §5.1: an integer without end",
        ),
        (b"\x3f\xe2\x1f", "RFC 7541 §6.3: a table larger than 4,096"),
        (
            b"\x82\x84\x87\x20",
            "RFC 7541 §4.2: a size update behind a field",
        ),
        (
            b"\x00\x83\xff\xff\xff\x01x",
            "RFC 7541 §5.2: padding longer than 7 bits",
        ),
        (b"\x00\x81\x18\x01x", "RFC 7541 §5.2: padding of zeros"),
        (b"\x00\x84\xff\xff\xff\xff\x01x", "RFC 7541 §5.2: EOS"),
    ] {
        let mut peer = client();
        peer.send(wire::headers_block(1, block).end());
        println!("{why}");
        peer.connection_error(Violation::CompressionFailed);
    }
    let mut peer = server();
    peer.open_get();
    peer.send(wire::headers_block(1, *b"\x80"));
    peer.connection_error(Violation::CompressionFailed);
    // Also on a stream that nobody needs any more, because the tables belong to the connection.
    let mut peer = client();
    peer.send(wire::post(1));
    peer.stream(1, |stream| stream.reset(tidegate_http2::ErrorCode::CANCEL));
    peer.send(wire::headers_block(1, *b"\x80").end());
    peer.connection_error(Violation::CompressionFailed);
}

#[test]
fn every_representation_is_taken() {
    // RFC 7541 §6: indexed, literal with incremental indexing, without indexing and never indexed,
    // names by index or spelled out, strings plain or Huffman-coded, and size updates.
    let get = b"\x82\x87\x84\x41\x09localhost";
    let huffman_key = b"\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f";
    let huffman_value = b"\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
    let plain_key = b"\x0acustom-key";
    let plain_value = b"\x0ccustom-value";
    let mut peer = client();
    let mut id = 1;
    for first in [0x40, 0x00, 0x10] {
        for key in [&huffman_key[..], plain_key] {
            for value in [&huffman_value[..], plain_value] {
                let block = [&get[..], &[first], key, value].concat();
                peer.send(wire::headers_block(id, block).end());
                let (head, _) = peer.expect_request(id);
                assert_eq!(head.authority(), "localhost");
                assert_eq!(head.get("custom-key"), Some(&b"custom-value"[..]));
                id += 2;
            }
        }
        // user-agent is 58 in the static table: 4 or 6 bits of prefix.
        let index: &[u8] = if first == 0x40 {
            b"\x7a"
        } else if first == 0 {
            b"\x0f\x2b"
        } else {
            b"\x1f\x2b"
        };
        for value in [&huffman_value[..], plain_value] {
            peer.send(wire::headers_block(id, [&get[..], index, value].concat()).end());
            let (head, _) = peer.expect_request(id);
            assert_eq!(head.get("user-agent"), Some(&b"custom-value"[..]));
            id += 2;
        }
    }
    for update in [&b"\x20"[..], b"\x20\x3f\xe1\x1f", b"\x3f\xe1\x1f"] {
        peer.send(wire::headers_block(id, [update, get].concat()).end());
        assert_eq!(peer.expect_request(id).0.method(), "GET");
        id += 2;
    }
    peer.expect_alive();
}

#[test]
fn the_table_holds_across_streams_and_is_kept_in_step_on_dead_ones() {
    // RFC 9113 §4.3: an endpoint "needs to reassemble field blocks and perform decompression even
    // if the frames are to be discarded."
    let mut peer = client();
    // The engine resets stream 1 for its malformed request; its field enters the table
    // nevertheless.
    peer.send(wire::headers_block(1, *b"\x82\x40\x01a\x01b").end());
    peer.stream_error(1, Violation::PseudoFieldMissing);
    peer.send(wire::headers_block(3, *b"\x82\x87\x84\xbe").end());
    let (head, _) = peer.expect_request(3);
    assert_eq!(head.get("a"), Some(&b"b"[..]));
}

#[test]
fn a_smaller_table_of_ours_binds_once_it_is_acknowledged() {
    // RFC 9113 §4.3.1: "Once an endpoint acknowledges a change to SETTINGS_HEADER_TABLE_SIZE that
    // reduces the maximum below the current size of the dynamic table, its HPACK encoder MUST start
    // the next field block with a Dynamic Table Size Update instruction".
    let mut config = Config::server();
    config.header_table_size = 100;
    let mut peer = Peer::client_unborn(config);
    peer.send_bytes(wire::PREFACE);
    peer.send(wire::settings(&[]));
    // Until then the size is 4,096: a field of 150 bytes is inserted and can be referred to.
    let long = [&b"\x82\x87\x84\x40\x01a\x76"[..], &[b'x'; 118]].concat();
    peer.send(wire::headers_block(1, long).end());
    peer.send(wire::headers_block(3, *b"\x82\x87\x84\xbe").end());
    peer.events
        .retain(|event| !matches!(event, tidegate_http2::Event::PeerSettings));
    peer.expect_request(1);
    assert_eq!(
        peer.expect_request(3).0.get("a").map(<[u8]>::len),
        Some(118)
    );
    peer.send(wire::settings_ack());
    peer.send(wire::headers_block(5, *b"\x3f\x45\x82\x87\x84").end());
    peer.expect_request(5);
    // After that, more than 100 is too much.
    peer.send(wire::headers_block(7, *b"\x3f\x46\x82\x87\x84").end());
    peer.connection_error(Violation::CompressionFailed);
}

#[test]
fn a_shrunk_table_without_a_size_update_ends_the_connection() {
    // RFC 9113 §4.3.1: "An endpoint MUST treat a field block that follows an acknowledgment of the
    // reduction to the maximum dynamic table size as a connection error (Section 5.4.1) of type
    // COMPRESSION_ERROR if it does not start with a conformant Dynamic Table Size Update
    // instruction."
    let mut peer = client_of(|config| config.header_table_size = 100);
    peer.send(wire::get(1));
    peer.connection_error(Violation::CompressionFailed);
}

#[test]
fn the_peers_table_size_is_kept() {
    // RFC 9113 §4.3.1: the peer's SETTINGS_HEADER_TABLE_SIZE limits our encoder. The peer's decoder
    // here has 4,096, so only the size update at the start of a block can keep both in step.
    let mut peer = Peer::client_with(Config::server(), &[(0x1, 0)]);
    for id in [1, 3] {
        peer.send(wire::get(id));
        peer.stream(id, |stream| {
            let head = ResponseHead::new(200).field("server", "tidegate");
            stream
                .respond(&head, Body::Empty)
                .expect("the engine takes the response");
        });
        assert_eq!(peer.expect_head(id).get("server"), Some("tidegate"));
    }
}

#[test]
fn the_smallest_table_size_is_signalled_though_a_larger_one_follows() {
    // RFC 7541 §4.2: "the smallest maximum table size that occurs in that interval MUST be signaled
    // in a dynamic table size update. The final maximum size is always signaled". RFC 9113 §6.5.3:
    // "The values in the SETTINGS frame MUST be processed in the order they appear".
    let mut peer = client();
    let mut id = 1;
    let mut answered = |peer: &mut Peer| {
        let before = peer.engine.stats().blocks_out;
        peer.send(wire::get(id));
        peer.stream(id, |stream| {
            let response = stream.respond(&ResponseHead::new(200), Body::Empty);
            response.expect("the engine takes the response");
        });
        peer.expect_head(id);
        id += 2;
        peer.engine.stats().blocks_out - before
    };
    let (zero, whole) = ((0x1, 0), (0x1, 4096));
    for frames in [&[&[zero, whole][..]][..], &[&[zero], &[whole]]] {
        assert_eq!(answered(&mut peer), 1, "88");
        for entries in frames {
            peer.send(wire::settings(entries));
        }
        // The acknowledgements.
        peer.frames.clear();
        assert_eq!(answered(&mut peer), 5, "20 3fe11f 88");
    }
}

#[test]
fn nothing_comes_between_the_frames_of_a_block() {
    // RFC 9113 §4.3: "Field blocks MUST be transmitted as a contiguous sequence of frames, with no
    // interleaved frames of any other type or from any other stream."
    for frame in [
        wire::priority(1, 0, false, 15),
        wire::get(3),
        wire::get(1),
        wire::data(1, "x"),
        wire::settings(&[]),
        wire::window_update(0, 1),
        wire::rst_stream(1, tidegate_http2::ErrorCode::CANCEL),
        wire::frame(0xfe, 0, 0, []),
        wire::continuation(3, []),
    ] {
        let mut peer = client();
        peer.send_all([wire::get(1).unfinished(), frame.clone()]);
        println!("{frame:?}");
        peer.connection_error(Violation::HeaderBlockInterrupted);
    }
    // On a stream that is open, and for a client.
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::headers(1, &[("a", "b")]).end().unfinished(),
        wire::data(1, "x"),
    ]);
    peer.connection_error(Violation::HeaderBlockInterrupted);
    let mut peer = server();
    peer.open_get();
    peer.send_all([
        wire::headers(1, &[(":status", "200")]).unfinished(),
        wire::ping(b"a moment"),
    ]);
    peer.connection_error(Violation::HeaderBlockInterrupted);
}

#[test]
fn a_block_may_be_cut_anywhere() {
    // RFC 9113 §4.3: "A receiving endpoint reassembles the field block by concatenating its
    // fragments and then decompresses the block to reconstruct the field section."
    let whole = wire::block(&with(GET, &[("x", "1")]));
    for cut in 0..=whole.len() {
        let mut peer = client();
        let (first, rest) = whole.split_at(cut);
        peer.send(wire::headers_block(1, first).end().unfinished());
        peer.expect_no_event();
        peer.send(wire::continuation(1, rest));
        assert_eq!(peer.expect_request(1).0.get("x"), Some(&b"1"[..]));
    }
}

#[test]
fn a_malformed_frame_inside_a_block_ends_the_connection() {
    // RFC 9113 §6.10: "A receiver MUST treat the receipt of any other type of frame or a frame on a
    // different stream as a connection error (Section 5.4.1) of type PROTOCOL_ERROR." This includes
    // frames that would be only a stream error elsewhere.
    for odd in [
        wire::window_update(1, 0),
        wire::window_update(3, 0),
        wire::frame(0x2, 0, 1, [0; 4]),
        wire::window_update(1, 5),
    ] {
        let mut peer = client();
        peer.send(wire::post(1));
        let block = wire::block(GET);
        peer.send_all([
            wire::headers_block(3, &block[..4]).end().unfinished(),
            odd,
            wire::continuation(3, &block[4..]),
        ]);
        peer.connection_error(Violation::HeaderBlockInterrupted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// RFC 9113 §4.3, for any fields and any cuts, including empty fragments.
    #[test]
    fn a_block_of_any_fields_may_be_cut_into_any_fragments(
        fields in vec(("x-[a-z0-9]{1,12}", "[!-~]{0,40}"), 0..12),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let whole = wire::block(&with(GET, &fields));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(whole.len());
        let mut peer = client();
        let mut start = 0;
        for (count, &cut) in cuts.iter().enumerate() {
            let fragment = &whole[start..cut];
            let frame = match count {
                0 => wire::headers_block(1, fragment).end(),
                _ => wire::continuation(1, fragment),
            };
            let is_last = count + 1 == cuts.len();
            peer.send(if is_last { frame } else { frame.unfinished() });
            start = cut;
        }
        let (head, _) = peer.expect_request(1);
        let received: Vec<_> = head.headers().map(|field| (field.name, field.value)).collect();
        let sent: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        prop_assert_eq!(received, sent);
    }
}
