//! Every encoded list decodes to the same list, and both tables stay equal, however their size
//! changes.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_hpack::{Decoder, Encoder, Field, Fields, KnownName, Limits, Packer, Unpacker};

const LIMITS: Limits = Limits {
    max_list_size: 1 << 20,
    max_fields: 1000,
    max_cookie_crumbs: 1000,
};

/// A step in one direction of a connection.
#[derive(Clone, Debug)]
enum Step {
    /// SETTINGS_HEADER_TABLE_SIZE, announced and acknowledged.
    TableSize(usize),
    /// Both sides free what they don't need.
    Rest,
    /// Both sides are packed and made anew.
    Pack,
    /// A header list: names, values and never-indexed marks.
    List(Vec<(Vec<u8>, Vec<u8>, bool)>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            ":method",
            ":path",
            ":status",
            ":authority",
            "accept-encoding",
            "authorization",
            "content-length",
            "cookie",
            "date",
            "etag",
            "host",
            "set-cookie",
            "te",
            "vary",
            "x-a",
            "x-b",
            "x-c",
        ])
        .prop_map(|name| name.as_bytes().to_vec()),
        vec(any::<u8>(), 0..40),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            "",
            "/",
            "GET",
            "200",
            "gzip, deflate",
            "a",
            "b",
            "text/html; charset=utf-8"
        ])
        .prop_map(|value| value.as_bytes().to_vec()),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..200),
        vec(any::<u8>(), 0..6000),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![
        Just(0),
        0..200_usize,
        0..10_000_usize,
        Just(4096),
        Just(u32::MAX as usize)
    ];
    prop_oneof![
        1 => size.prop_map(Step::TableSize),
        1 => Just(Step::Rest),
        1 => Just(Step::Pack),
        4 => vec((name(), value(), proptest::bool::weighted(0.1)), 0..12).prop_map(Step::List),
    ]
}

proptest! {
    #[test]
    fn lists_make_the_way_there_and_back(
        cap in prop_oneof![Just(4096), Just(0), 0..9000_usize],
        // Sequences come twice, so that there is something to find in the table.
        steps in vec(step(), 0..20).prop_map(|steps| [steps.clone(), steps].concat()),
    ) {
        let mut encoder = Encoder::new(cap);
        let mut decoder = Decoder::new(4096);
        // An encoder that never rests.
        let mut awake = Encoder::new(cap);
        let (mut block, mut received) = (Vec::new(), Fields::new());
        for step in steps {
            let list = match step {
                Step::TableSize(bytes) => {
                    decoder.set_max_table_size(bytes);
                    encoder.set_max_table_size(bytes);
                    awake.set_max_table_size(bytes);
                    continue;
                }
                Step::Rest => {
                    decoder.release_memory();
                    encoder.release_memory();
                    continue;
                }
                Step::Pack => {
                    let mut out = Packer::default();
                    encoder.pack(&mut out);
                    decoder.pack(&mut out);
                    let packed = out.finish();
                    let mut input = Unpacker::new(&packed);
                    let state = (encoder.state(), decoder.state());
                    (encoder, decoder) = (Encoder::unpack(&mut input), Decoder::unpack(&mut input));
                    prop_assert_eq!((encoder.state(), decoder.state()), state);
                    continue;
                }
                Step::List(list) => list,
            };
            let mut sent = Fields::new();
            for (name, value, never_indexed) in &list {
                sent.push_field(Field { known: KnownName::of(name), name, value, never_indexed: *never_indexed });
            }
            block.clear();
            encoder.encode(&sent, &mut block);
            let mut same = Vec::new();
            awake.encode(&sent, &mut same);
            prop_assert_eq!(&block, &same, "a rest changes no block");
            received.clear();
            let decoded = decoder.decode(&block, &LIMITS, &mut received).unwrap();
            prop_assert_eq!(decoded.over, None);
            prop_assert_eq!(decoded.list_size, sent.list_size());
            prop_assert_eq!(received.byte_len(), sent.byte_len());
            prop_assert_eq!(received.len(), sent.len());
            for (received, sent) in received.iter().zip(&sent) {
                prop_assert_eq!((received.known, received.name, received.value), (sent.known, sent.name, sent.value));
                // "An intermediary MUST NOT re-encode a value that uses the never-indexed literal
                // representation with another representation that would index it." (RFC 7541
                // §7.1.3)
                prop_assert!(received.never_indexed || !sent.never_indexed);
            }
            prop_assert!(encoder.table_size() <= cap);
            prop_assert_eq!(encoder.table_size(), decoder.table_size());
            prop_assert_eq!(encoder.table_len(), decoder.table_len());
        }
    }
}
