//! Fuzzes the frame reader with any bytes.

use bytes::BytesMut;
use tidegate_frame::{Frame, Head, Malformed, Reader, Scope};

const MAX_FRAME_SIZE: u32 = 16_384;

/// Byte 0 is the length minus one of the pieces in which the other bytes, frames, arrive.
///
/// - The same frames and defects are read however the bytes are split.
/// - Nothing follows a connection error.
/// - A frame that was read, written and read again is the same frame.
/// - The buffer never keeps more than one frame.
pub fn frame_decoder(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = read(bytes, bytes.len());
    assert_eq!(
        whole,
        read(bytes, usize::from(piece) + 1),
        "in pieces of {piece} + 1"
    );
    assert_eq!(whole, read(bytes, 1), "byte by byte");
    let fatal = |item: &Result<Frame, Malformed>| {
        item.as_ref()
            .is_err_and(|malformed| malformed.scope() == Scope::Connection)
    };
    if let Some(at) = whole.iter().position(fatal) {
        assert_eq!(at, whole.len() - 1, "something behind a connection error");
    }
    for frame in whole.into_iter().flatten() {
        round_trip(frame);
    }
}

/// Returns what is read from `bytes` that arrive in pieces of this length.
fn read(bytes: &[u8], piece: usize) -> Vec<Result<Frame, Malformed>> {
    let mut reader = Reader::new(MAX_FRAME_SIZE);
    let mut input = BytesMut::new();
    let mut items = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(item) = reader.next(&mut input).transpose() {
            items.push(item);
            assert!(
                items.len() <= bytes.len() / Head::LEN,
                "a frame without a head"
            );
        }
        assert!(
            input.len() < Head::LEN + MAX_FRAME_SIZE as usize,
            "{} bytes kept",
            input.len()
        );
    }
    items
}

fn round_trip(mut frame: Frame) {
    if let Frame::Data(data) = &mut frame {
        // The frame is written without its padding.
        data.flow_len = data.payload.len() as u32;
    }
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    assert_eq!(
        read(&bytes, bytes.len()),
        [Ok(frame)],
        "read, written and read again"
    );
}
