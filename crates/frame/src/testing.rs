//! Helpers that the tests of all frames share.

use bytes::BytesMut;

use crate::{ErrorCode, Frame, Malformed, Reader, Scope};

/// Returns the first frame of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
    Reader::new(16_384).next(&mut BytesMut::from(bytes))
}

/// Checks that `frame` writes exactly `bytes`, and that they read back as `frame` with nothing
/// left.
#[track_caller]
pub(crate) fn round_trip(frame: &Frame, bytes: &[u8]) {
    let mut out = Vec::new();
    frame.write(&mut out);
    assert_eq!(out, bytes, "written");
    let mut input = BytesMut::from(bytes);
    assert_eq!(
        Reader::new(16_384).next(&mut input),
        Ok(Some(frame.clone())),
        "read"
    );
    assert!(input.is_empty(), "{} bytes left", input.len());
}

/// Checks that `bytes` are refused as `defect`, with this code and scope.
#[track_caller]
pub(crate) fn refused(bytes: &[u8], defect: crate::Defect, code: ErrorCode, scope: Scope) {
    let malformed = read(bytes).expect_err("the frame is refused");
    assert_eq!(
        (malformed.defect, malformed.code(), malformed.scope()),
        (defect, code, scope)
    );
}
