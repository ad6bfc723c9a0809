//! The reader returns the same frames however their bytes are split on the way.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_frame::{
    Continuation, Data, ErrorCode, Frame, GoAway, Headers, Malformed, Ping, Priority,
    PriorityUpdate, PushPromise, Reader, RstStream, Scope, SettingId, Settings, StreamDependency,
    StreamId, Unknown, WindowUpdate,
};

fn stream_id() -> impl Strategy<Value = StreamId> {
    (1..=0x7fff_ffff_u32).prop_map(StreamId::new)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn dependency() -> impl Strategy<Value = StreamDependency> {
    (any::<u32>(), any::<bool>(), any::<u8>()).prop_map(|(on, exclusive, weight)| {
        StreamDependency {
            depends_on: StreamId::new(on),
            exclusive,
            weight,
        }
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let known_kinds = |kind: &u8| *kind > 9 && *kind != 0x10;
    prop_oneof![
        (stream_id(), bytes(), any::<bool>()).prop_map(|(stream_id, payload, end_stream)| {
            let flow_len = payload.len() as u32;
            Frame::Data(Data {
                stream_id,
                payload,
                end_stream,
                flow_len,
            })
        }),
        (
            stream_id(),
            bytes(),
            any::<bool>(),
            any::<bool>(),
            prop::option::of(dependency())
        )
            .prop_map(|(stream_id, fragment, end_stream, end_headers, priority)| {
                Frame::Headers(Headers {
                    stream_id,
                    fragment,
                    end_stream,
                    end_headers,
                    priority,
                })
            }),
        (stream_id(), dependency()).prop_map(|(stream_id, dependency)| Frame::Priority(Priority {
            stream_id,
            dependency
        })),
        (stream_id(), any::<u32>()).prop_map(|(stream_id, code)| Frame::RstStream(RstStream {
            stream_id,
            code: ErrorCode(code)
        })),
        Just(Frame::Settings(Settings::Ack)),
        vec((any::<u16>(), any::<u32>()), 0..9).prop_map(|entries| {
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(id, value)| (SettingId(id), value))
                .collect();
            Frame::Settings(Settings::of(&entries))
        }),
        (stream_id(), 1..=0x3fff_ffff_u32, bytes(), any::<bool>()).prop_map(
            |(stream_id, half, fragment, end_headers)| Frame::PushPromise(PushPromise {
                stream_id,
                promised_id: StreamId::new(half * 2),
                fragment,
                end_headers
            })
        ),
        (any::<bool>(), any::<[u8; 8]>())
            .prop_map(|(ack, payload)| Frame::Ping(Ping { ack, payload })),
        (any::<u32>(), any::<u32>(), bytes()).prop_map(|(last, code, debug_data)| {
            let last_stream_id = StreamId::new(last);
            Frame::GoAway(GoAway {
                last_stream_id,
                code: ErrorCode(code),
                debug_data,
            })
        }),
        (any::<u32>(), 1..=0x7fff_ffff_u32).prop_map(|(stream_id, increment)| {
            let stream_id = StreamId::new(stream_id);
            Frame::WindowUpdate(WindowUpdate {
                stream_id,
                increment,
            })
        }),
        (stream_id(), bytes(), any::<bool>()).prop_map(|(stream_id, fragment, end_headers)| {
            Frame::Continuation(Continuation {
                stream_id,
                fragment,
                end_headers,
            })
        }),
        (stream_id(), bytes()).prop_map(|(prioritized_id, value)| Frame::PriorityUpdate(
            PriorityUpdate {
                prioritized_id,
                value
            }
        )),
        (
            any::<u8>().prop_filter("known kinds", known_kinds),
            any::<u32>(),
            0..999_u32
        )
            .prop_map(|(kind, stream_id, length)| Frame::Unknown(Unknown {
                kind,
                stream_id: StreamId::new(stream_id),
                length
            })),
    ]
}

/// Reads `bytes` that arrive in pieces of these lengths, repeated. Returns all frames and defects.
fn read(bytes: &[u8], pieces: &[usize]) -> Vec<Result<Frame, Malformed>> {
    let mut reader = Reader::new(16_384);
    let mut input = BytesMut::new();
    let mut out = Vec::new();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*piece));
        rest = later;
        input.extend_from_slice(now);
        while let Some(frame) = reader.next(&mut input).transpose() {
            out.push(frame);
        }
        if rest.is_empty() {
            break;
        }
    }
    out
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written(
        frames in vec(frame(), 0..12),
        pieces in vec(1..400_usize, 1..20),
    ) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.write(&mut bytes);
        }
        let expected: Vec<_> = frames.into_iter().map(Ok).collect();
        prop_assert_eq!(&read(&bytes, &[bytes.len().max(1)]), &expected);
        prop_assert_eq!(&read(&bytes, &pieces), &expected);
        prop_assert_eq!(&read(&bytes, &[1]), &expected);
    }

    #[test]
    fn padding_makes_no_difference_but_to_flow_control(
        stream_id in stream_id(),
        payload in bytes(),
        dependency in prop::option::of(dependency()),
        padding: u8,
        flag: bool,
    ) {
        let mut bytes = Vec::new();
        let data = Data {
            stream_id,
            payload: payload.clone(),
            end_stream: flag,
            flow_len: payload.len() as u32 + 1 + u32::from(padding),
        };
        let headers = Headers {
            stream_id,
            fragment: payload.clone(),
            end_stream: flag,
            end_headers: !flag,
            priority: dependency,
        };
        let promise = PushPromise {
            stream_id,
            promised_id: StreamId::new(2),
            fragment: payload,
            end_headers: flag,
        };
        data.write_padded(padding, &mut bytes);
        headers.write_padded(padding, &mut bytes);
        promise.write_padded(padding, &mut bytes);
        prop_assert_eq!(
            read(&bytes, &[bytes.len()]),
            [Ok(Frame::Data(data)), Ok(Frame::Headers(headers)), Ok(Frame::PushPromise(promise))]
        );
    }

    /// Heads with small lengths and likely kinds, so that the input is more than one oversized
    /// frame.
    #[test]
    fn any_bytes_read_the_same_however_split(
        heads in vec((0..24_u8, 0..18_u8, any::<u8>(), 0..3_u8, vec(any::<u8>(), 24)), 0..12),
        pieces in vec(1..40_usize, 1..20),
    ) {
        let mut bytes = Vec::new();
        for (length, kind, flags, stream, payload) in &heads {
            bytes.extend_from_slice(&[0, 0, *length, *kind, *flags, 0, 0, 0, *stream]);
            bytes.extend_from_slice(&payload[..usize::from(*length)]);
        }
        let whole = read(&bytes, &[bytes.len().max(1)]);
        prop_assert_eq!(&read(&bytes, &pieces), &whole);
        prop_assert_eq!(&read(&bytes, &[1]), &whole);
        let fatal = |item: &Result<Frame, Malformed>| {
            item.as_ref().is_err_and(|malformed| malformed.scope() == Scope::Connection)
        };
        match whole.iter().position(fatal) {
            Some(at) => prop_assert_eq!(at, whole.len() - 1, "nothing after a connection error"),
            None => prop_assert_eq!(whole.len(), heads.len(), "every frame is reported"),
        }
    }
}
