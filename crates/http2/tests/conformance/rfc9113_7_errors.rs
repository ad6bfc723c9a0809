//! RFC 9113 §7: Error Codes.

use bytes::Bytes;
use tidegate_http2::{CloseReason, ErrorCode, Event, ResetCause, Scope, Violation};
use tidegate_testkit::wire;

use crate::support::{client, server};

#[test]
fn unknown_codes_change_nothing() {
    // RFC 9113 §7: "Unknown or unsupported error codes MUST NOT trigger any special behavior. These
    // MAY be treated by an implementation as being equivalent to INTERNAL_ERROR."
    let code = ErrorCode(0xdead_beef);
    let mut peer = client();
    peer.send_all([wire::get(1), wire::rst_stream(1, code)]);
    peer.expect_request(1);
    assert_eq!(peer.expect_reset(1, ResetCause::Peer), code);
    peer.expect_alive();
    peer.send(wire::goaway(0, code));
    assert!(matches!(
        peer.next_event(),
        Some(Event::GoingAway {
            code: ErrorCode(0xdead_beef),
            ..
        })
    ));
    let debug_data = Bytes::new();
    assert_eq!(
        peer.expect_closed(),
        CloseReason::PeerError { code, debug_data }
    );
}

#[test]
fn every_known_code_ends_a_stream_in_the_same_way() {
    // RFC 9113 §7: "Error codes share a common code space": RST_STREAM may carry any of them.
    for code in 0..=0xe {
        let mut peer = server();
        peer.open_get();
        peer.frames.clear();
        peer.send(wire::rst_stream(1, ErrorCode(code)));
        assert_eq!(peer.expect_reset(1, ResetCause::Peer), ErrorCode(code));
        peer.expect_alive();
    }
}

#[test]
fn our_codes_are_of_the_table() {
    // RFC 9113 §7: the codes from NO_ERROR (0x00) to HTTP_1_1_REQUIRED (0x0d).
    for violation in Violation::ALL {
        assert!(violation.code().0 <= 0xd, "{violation}");
        let section = violation.section();
        assert!(!section.is_empty() && violation.to_string().contains(section));
        // A stream error with NO_ERROR would claim that nothing was wrong.
        assert!(violation.scope() == Scope::Connection || violation.code() != ErrorCode::NO_ERROR);
    }
}
