//! What the tests of all frames share.

use bytes::BytesMut;

use crate::{ErrorCode, Frame, Malformed, Reader, Scope};

/// The first frame of `octets`.
pub(crate) fn read(octets: &[u8]) -> Result<Option<Frame>, Malformed> {
    Reader::new(16_384).next(&mut BytesMut::from(octets))
}

/// Checks that `frame` writes exactly `octets`, and that these read back as `frame`, nothing left.
#[track_caller]
pub(crate) fn round_trip(frame: &Frame, octets: &[u8]) {
    let mut out = Vec::new();
    frame.write(&mut out);
    assert_eq!(out, octets, "written");
    let mut input = BytesMut::from(octets);
    assert_eq!(
        Reader::new(16_384).next(&mut input),
        Ok(Some(frame.clone())),
        "read"
    );
    assert!(input.is_empty(), "{} octets left", input.len());
}

/// Checks that `octets` are refused as `defect`, with this code and scope.
#[track_caller]
pub(crate) fn refused(octets: &[u8], defect: crate::Defect, code: ErrorCode, scope: Scope) {
    let malformed = read(octets).expect_err("the frame is refused");
    assert_eq!(
        (malformed.defect, malformed.code(), malformed.scope()),
        (defect, code, scope)
    );
}
