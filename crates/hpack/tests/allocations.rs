//! In steady state neither side allocates.

use allocation_counter::measure;
use tidegate_hpack::{Decoder, Encoder, Fields, KnownName, Limits};

const LIMITS: Limits = Limits {
    max_list_size: 32_768,
    max_fields: 100,
    max_cookie_crumbs: 256,
};

fn request(path: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push_known(KnownName::METHOD, "GET");
    fields.push_known(KnownName::SCHEME, "https");
    fields.push_known(KnownName::AUTHORITY, "example.org");
    fields.push_known(KnownName::PATH, path);
    fields.push(
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    );
    fields.push(
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    );
    fields.push("x-request-id", path);
    fields.push("cookie", "session=0123456789abcdef0123456789abcdef");
    fields
}

#[test]
fn nothing_is_allocated_for_a_field() {
    // Some fields are in the table, some aren't, and entries are added and evicted.
    let requests: Vec<Fields> = (0..400)
        .map(|i| request(&format!("/items/{i}?page={}", i % 7)))
        .collect();
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    let (mut block, mut fields) = (Vec::new(), Fields::new());
    let mut pass = |requests: &[Fields]| {
        for request in requests {
            block.clear();
            encoder.encode(request, &mut block);
            fields.clear();
            decoder.decode(&block, &LIMITS, &mut fields).unwrap();
            assert_eq!(fields.len(), request.len());
        }
    };
    let first = measure(|| pass(&requests[..200]));
    assert!(
        first.count_total > 0,
        "the buffers have to come from somewhere"
    );
    let steady = measure(|| pass(&requests[200..]));
    assert_eq!(steady.count_total, 0);
}

#[test]
fn an_idle_connection_holds_no_memory() {
    let idle = measure(|| {
        let (encoder, decoder) = (Encoder::new(65_536), Decoder::new(65_536));
        assert_eq!((encoder.table_size(), decoder.table_size()), (0, 0));
    });
    assert_eq!(idle.count_total, 0);
}

#[test]
fn a_codec_at_rest_holds_little_more_than_its_tables() {
    let mut tables = 0;
    let held = measure(|| {
        let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
        let (mut block, mut fields) = (Vec::new(), Fields::new());
        for i in 0..200 {
            block.clear();
            encoder.encode(&request(&format!("/items/{i}")), &mut block);
            fields.clear();
            decoder.decode(&block, &LIMITS, &mut fields).unwrap();
        }
        encoder.release_memory();
        decoder.release_memory();
        tables = encoder.table_size() + decoder.table_size();
        std::mem::forget((encoder, decoder));
    });
    let beside = held.bytes_current - i64::try_from(tables).unwrap();
    assert!(beside < 500, "{tables} bytes of entries, and {beside}");
}

/// Fields over the limit take no memory but the table's.
#[test]
fn fields_over_a_limit_take_no_memory() {
    // "x-big" with 60,000 bytes, in and out of the index, raw and in the Huffman code.
    let mut block = vec![0x82];
    for first in [0x00, 0x40] {
        block.extend([first, 5]);
        block.extend(b"x-big");
        block.extend([0x7f, 0xe1, 0xd3, 0x03]);
        block.extend([b'v'; 60_000]);
        block.extend([first, 5]);
        block.extend(b"x-big");
        block.extend([0xff, 0xe1, 0xd3, 0x03]);
        block.extend([0; 60_000]);
    }
    block.extend([0x82; 10_000]);
    let mut decoder = Decoder::new(4096);
    let mut fields = Fields::with_capacity(8, 256);
    let cost = measure(|| {
        let decoded = decoder.decode(&block, &LIMITS, &mut fields).unwrap();
        assert_eq!(decoded.fields, 10_005);
    });
    assert_eq!((fields.len(), cost.bytes_total), (1, 0));
}
