//! The examples of RFC 7541, Appendix C. (C.1, integers, is in `src/integer.rs`.)

use tidegate_hpack::{Decoder, Encoder, Fields, Limits};

const LIMITS: Limits = Limits {
    max_list_size: 4096,
    max_fields: 100,
    max_cookie_crumbs: 100,
};

type List = &'static [(&'static str, &'static str)];

/// A header list, its block in hex, and the size and number of entries of the dynamic table
/// afterwards.
struct Example {
    list: List,
    block: &'static str,
    table: (usize, usize),
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    hex.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decode(decoder: &mut Decoder, example: &Example) -> Fields {
    let mut fields = Fields::new();
    let decoded = decoder
        .decode(&bytes(example.block), &LIMITS, &mut fields)
        .unwrap();
    assert_eq!(decoded.over, None);
    assert_eq!(decoded.fields, example.list.len());
    assert_eq!(decoded.list_size, fields.list_size());
    let list: Fields = example.list.iter().copied().collect();
    let listed = |fields: &Fields| -> Vec<_> {
        fields
            .iter()
            .map(|field| (field.name.to_vec(), field.value.to_vec()))
            .collect()
    };
    assert_eq!(listed(&fields), listed(&list));
    assert_eq!((decoder.table_size(), decoder.table_len()), example.table);
    fields
}

#[test]
fn c_2_header_field_representations() {
    // The examples are independent of each other.
    for (example, never_indexed) in [
        (
            // C.2.1. Literal Header Field with Indexing
            Example {
                list: &[("custom-key", "custom-header")],
                block: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                table: (55, 1),
            },
            false,
        ),
        (
            // C.2.2. Literal Header Field without Indexing
            Example {
                list: &[(":path", "/sample/path")],
                block: "040c 2f73 616d 706c 652f 7061 7468",
                table: (0, 0),
            },
            false,
        ),
        (
            // C.2.3. Literal Header Field Never Indexed
            Example {
                list: &[("password", "secret")],
                block: "1008 7061 7373 776f 7264 0673 6563 7265 74",
                table: (0, 0),
            },
            true,
        ),
        (
            // C.2.4. Indexed Header Field
            Example {
                list: &[(":method", "GET")],
                block: "82",
                table: (0, 0),
            },
            false,
        ),
    ] {
        let fields = decode(&mut Decoder::new(4096), &example);
        assert_eq!(fields.at(0).unwrap().never_indexed, never_indexed);
    }
}

const REQUESTS: [List; 3] = [
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

const REQUEST_TABLES: [(usize, usize); 3] = [(57, 1), (110, 2), (164, 3)];

#[test]
fn c_3_requests_without_huffman_coding() {
    let mut decoder = Decoder::new(4096);
    for (i, block) in [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]
    .into_iter()
    .enumerate()
    {
        let (list, table) = (REQUESTS[i], REQUEST_TABLES[i]);
        decode(&mut decoder, &Example { list, block, table });
    }
}

#[test]
fn c_4_requests_with_huffman_coding() {
    let mut decoder = Decoder::new(4096);
    let mut encoder = Encoder::new(4096);
    for (i, block) in [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]
    .into_iter()
    .enumerate()
    {
        let (list, table) = (REQUESTS[i], REQUEST_TABLES[i]);
        let fields = decode(&mut decoder, &Example { list, block, table });
        // The encoder makes the same choices as the example.
        let mut out = Vec::new();
        encoder.encode(&fields, &mut out);
        assert_eq!(out, bytes(block));
        assert_eq!((encoder.table_size(), encoder.table_len()), table);
    }
}

const RESPONSES: [List; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ],
];

const RESPONSE_TABLES: [(usize, usize); 3] = [(222, 4), (222, 4), (215, 3)];

/// "The HTTP/2 setting parameter SETTINGS_HEADER_TABLE_SIZE is set to the value of 256 octets,
/// causing some evictions to occur."
fn responses(blocks: [&'static str; 3]) {
    let mut decoder = Decoder::new(256);
    for (i, block) in blocks.into_iter().enumerate() {
        let (list, table) = (RESPONSES[i], RESPONSE_TABLES[i]);
        decode(&mut decoder, &Example { list, block, table });
    }
    // All three entries of C.5.3 and C.6.3, newest first.
    let list = &[
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
        ("content-encoding", "gzip"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ];
    let (block, table) = ("bebfc0", RESPONSE_TABLES[2]);
    decode(&mut decoder, &Example { list, block, table });
}

#[test]
fn c_5_responses_without_huffman_coding() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e
         1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d
         4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572
         7369 6f6e 3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman_coding() {
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b
         97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf
         cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}
