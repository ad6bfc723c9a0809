//! Blocks that a peer should not send. Each is refused with the right error, or decoded at no cost.

use proptest::prelude::*;
use tidegate_hpack::{Decoded, Decoder, Encoder, Error, Fields, KnownName, Limits, ListLimit};

const LIMITS: Limits = Limits {
    max_list_size: 32_768,
    max_fields: 100,
    max_cookie_crumbs: 256,
};

/// Decodes a block that is the first on its connection.
fn decode(block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Fields::new();
    Decoder::new(4096)
        .decode(block, &LIMITS, &mut fields)
        .map(|_| fields)
}

/// Returns a literal with this first byte, name and value, none of them Huffman-coded.
fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![first];
    for text in [name, value] {
        let mut len = text.len();
        if len < 127 {
            block.push(len as u8);
        } else {
            block.push(127);
            len -= 127;
            while len >= 128 {
                block.push(len as u8 | 128);
                len >>= 7;
            }
            block.push(len as u8);
        }
        block.extend_from_slice(text.as_bytes());
    }
    block
}

#[test]
fn every_truncation_is_noticed() {
    let mut fields = Fields::new();
    fields.push("x-plain", "~~~~");
    fields.push("x-huffman", "huffman huffman huffman");
    fields.push("x-long", "~".repeat(300));
    fields.push_known(KnownName::AUTHORIZATION, "secret");
    let mut block = Vec::new();
    let mut boundaries = vec![0];
    let mut encoder = Encoder::new(4096);
    for field in &fields {
        let mut one = Fields::new();
        one.push_field(field);
        encoder.encode(&one, &mut block);
        boundaries.push(block.len());
    }
    for len in 0..=block.len() {
        match boundaries.iter().position(|&boundary| boundary == len) {
            Some(whole) => assert_eq!(decode(&block[..len]).map(|fields| fields.len()), Ok(whole)),
            None => assert_eq!(decode(&block[..len]), Err(Error::Truncated), "{len}"),
        }
    }
}

#[test]
fn integers_do_not_overflow() {
    for first in [0xff, 0x7f, 0x0f, 0x1f, 0x3f] {
        let mut block = vec![first];
        block.extend([0xff; 20]);
        assert_eq!(decode(&block), Err(Error::IntegerOverflow), "{first:x}");
        // A length can't overflow either.
        let block = [&[0x00, 0x7f][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(decode(&block), Err(Error::IntegerOverflow));
    }
}

/// "Indices strictly greater than the sum of the lengths of both tables MUST be treated as a
/// decoding error." (§2.3.3)
#[test]
fn an_index_must_be_in_a_table() {
    // "The index value of 0 is not used. It MUST be treated as a decoding error if found in an
    // indexed header field representation." (§6.1)
    assert_eq!(decode(&[0x80]), Err(Error::InvalidIndex));
    assert_eq!(decode(&[0x80 | 61]).map(|fields| fields.len()), Ok(1));
    assert_eq!(decode(&[0x80 | 62]), Err(Error::InvalidIndex));
    assert_eq!(decode(&[0xff, 0xff, 0xff, 0x7f]), Err(Error::InvalidIndex));
    for name_index in [0x40 | 62, 0x0f, 0x1f] {
        assert_eq!(
            decode(&[name_index, 47, 0x01, b'v']),
            Err(Error::InvalidIndex),
            "{name_index:x}"
        );
    }
    // An entry exists from the next field on, not earlier.
    let entry = literal(0x40, "name", "value");
    assert_eq!(
        decode(&[&entry[..], &[0x80 | 62]].concat()).map(|fields| fields.len()),
        Ok(2)
    );
    assert_eq!(
        decode(&[&[0x80 | 62], &entry[..]].concat()),
        Err(Error::InvalidIndex)
    );
    assert_eq!(
        decode(&[&entry[..], &[0x80 | 63]].concat()),
        Err(Error::InvalidIndex)
    );
}

#[test]
fn huffman_strings_are_checked_wherever_they_are() {
    for (code, error) in [
        (&[0xff, 0xff, 0xff, 0xff][..], Error::HuffmanEos),
        (&[0x1f, 0xff], Error::HuffmanPadding),
        (&[0x18], Error::HuffmanPadding),
    ] {
        let len = 0x80 | code.len() as u8;
        for first in [0x00, 0x10, 0x40] {
            let name = [&[first, len], code, &[0]].concat();
            let value = [&[first, 1, b'n', len], code].concat();
            for block in [&name, &value] {
                assert_eq!(decode(block), Err(error), "{block:x?}");
                // Strings that aren't kept are checked too.
                let mut limits = LIMITS;
                limits.max_list_size = 0;
                let decoded = Decoder::new(4096).decode(block, &limits, &mut Fields::new());
                assert_eq!(decoded, Err(error), "{block:x?}");
            }
        }
    }
}

/// "This dynamic table size update MUST occur at the beginning of the first header block following
/// the change to the dynamic table size." (§4.2)
#[test]
fn size_updates_stand_at_the_start() {
    assert_eq!(
        decode(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]).map(|fields| fields.len()),
        Ok(1),
        "0, then 4,096"
    );
    assert_eq!(decode(&[0x20]).map(|fields| fields.len()), Ok(0));
    assert_eq!(decode(&[0x82, 0x20]), Err(Error::SizeUpdateNotAtStart));
    assert_eq!(
        decode(&[0x20, 0x82, 0x20, 0x82]),
        Err(Error::SizeUpdateNotAtStart)
    );
}

/// "The new maximum size MUST be lower than or equal to the limit determined by the protocol using
/// HPACK." (§6.3)
#[test]
fn size_updates_stay_within_the_settings() {
    assert_eq!(
        decode(&[0x3f, 0xe2, 0x1f]),
        Err(Error::SizeUpdateTooLarge),
        "4,097"
    );
    let mut decoder = Decoder::new(4096);
    decoder.set_max_table_size(8192);
    let decoded = decoder.decode(&[0x3f, 0xe1, 0x3f], &LIMITS, &mut Fields::new());
    assert!(decoded.is_ok(), "8,192");
    let decoded = decoder.decode(&[0x3f, 0xe2, 0x3f], &LIMITS, &mut Fields::new());
    assert_eq!(decoded, Err(Error::SizeUpdateTooLarge), "8,193");
}

#[test]
fn a_shrink_must_be_confirmed() {
    let decode = |sizes: &[usize], block: &[u8]| {
        let mut decoder = Decoder::new(4096);
        for &bytes in sizes {
            decoder.set_max_table_size(bytes);
        }
        decoder
            .decode(block, &LIMITS, &mut Fields::new())
            .map(|decoded| decoded.fields)
    };
    assert_eq!(decode(&[100], &[0x82]), Err(Error::SizeUpdateMissing));
    assert_eq!(decode(&[100], &[]), Err(Error::SizeUpdateMissing));
    assert_eq!(decode(&[100], &[0x3f, 69, 0x82]), Ok(1), "100");
    assert_eq!(decode(&[100], &[0x3e, 0x82]), Ok(1), "30");
    assert_eq!(
        decode(&[100], &[0x3f, 70, 0x82]),
        Err(Error::SizeUpdateTooLarge),
        "101"
    );
    // "the smallest maximum table size that occurs in that interval MUST be signaled"
    assert_eq!(decode(&[0, 4096], &[0x82]), Err(Error::SizeUpdateMissing));
    assert_eq!(
        decode(&[0, 4096], &[0x3f, 0xe1, 0x1f, 0x82]),
        Err(Error::SizeUpdateMissing)
    );
    assert_eq!(decode(&[0, 4096], &[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(1));
    assert_eq!(
        decode(&[0, 4096], &[0x20, 0x82]),
        Ok(1),
        "the encoder needn't use all that it may"
    );
    // The limit never went below the table's size.
    assert_eq!(decode(&[8192, 4096], &[0x82]), Ok(1));
}

fn decode_within(limits: Limits, block: &[u8]) -> (Decoded, Fields) {
    let mut fields = Fields::new();
    let decoded = Decoder::new(4096)
        .decode(block, &limits, &mut fields)
        .unwrap();
    (decoded, fields)
}

#[test]
fn the_list_size_is_limited() {
    // ":method: GET" counts 42 bytes.
    let mut limits = LIMITS;
    limits.max_list_size = 84;
    let (decoded, fields) = decode_within(limits, &[0x82, 0x82]);
    assert_eq!(
        (decoded.list_size, decoded.over, fields.len()),
        (84, None, 2)
    );
    let (decoded, fields) = decode_within(limits, &[0x82, 0x82, 0x82, 0x82]);
    assert_eq!((decoded.list_size, decoded.fields), (168, 4));
    assert_eq!((decoded.over, fields.len()), (Some(ListLimit::Size), 2));
    // A later field that would fit is not kept either.
    let block = [&[0x82], &literal(0, "name", "value")[..], &[0x86]].concat();
    let (decoded, fields) = decode_within(
        Limits {
            max_list_size: 82,
            ..limits
        },
        &block,
    );
    assert_eq!(
        (decoded.list_size, decoded.over, fields.len()),
        (42 + 41 + 43, Some(ListLimit::Size), 1)
    );
}

#[test]
fn fields_and_cookie_crumbs_are_counted_apart() {
    let limits = Limits {
        max_list_size: 1 << 20,
        max_fields: 3,
        max_cookie_crumbs: 2,
    };
    let crumb = literal(0, "cookie", "a=b");
    let block = [&[0x82, 0x86][..], &crumb, &crumb, &[0x84]].concat();
    let (decoded, fields) = decode_within(limits, &block);
    assert_eq!((decoded.over, fields.len()), (None, 5));

    let more_fields = [&block[..], &[0x84, 0x84]].concat();
    let (decoded, fields) = decode_within(limits, &more_fields);
    assert_eq!(
        (decoded.over, decoded.fields, fields.len()),
        (Some(ListLimit::Fields), 7, 5)
    );

    let more_crumbs = [&block[..], &crumb, &[0x84]].concat();
    let (decoded, fields) = decode_within(limits, &more_crumbs);
    assert_eq!(
        (decoded.over, decoded.fields, fields.len()),
        (Some(ListLimit::CookieCrumbs), 7, 5)
    );
}

#[test]
fn the_table_stays_in_step_beyond_the_limit() {
    let mut limits = LIMITS;
    limits.max_fields = 1;
    let mut decoder = Decoder::new(4096);
    let mut fields = Fields::new();
    let block = [
        &[0x82][..],
        &literal(0x40, "first", "1"),
        &literal(0x40, "second", "2"),
        &literal(0x00, "not-in-table", "3"),
        // The second's name, Huffman-coded value "aaaaaaaa".
        &[0x40 | 62, 0x85, 0x18, 0xc6, 0x31, 0x8c, 0x63],
    ]
    .concat();
    let decoded = decoder.decode(&block, &limits, &mut fields).unwrap();
    assert_eq!(
        (decoded.over, decoded.fields, fields.len()),
        (Some(ListLimit::Fields), 5, 1)
    );

    fields.clear();
    decoder
        .decode(&[0x80 | 62, 0x80 | 63, 0x80 | 64], &LIMITS, &mut fields)
        .unwrap();
    let expected: Fields = [("second", "aaaaaaaa"), ("second", "2"), ("first", "1")]
        .into_iter()
        .collect();
    assert_eq!(fields, expected);

    // A field too large for the table empties it, whether it is kept or not.
    let huge = literal(0x40, "x-huge", &"v".repeat(5000));
    decoder
        .decode(&[&[0x82][..], &huge].concat(), &limits, &mut fields)
        .unwrap();
    assert_eq!(decoder.table_len(), 0);
}

/// An entry of 4,000 bytes, then references to it of one byte each: the list's limit holds.
#[test]
fn a_bomb_stays_within_the_limit() {
    let mut block = literal(0x40, "x", &"v".repeat(4000));
    block.extend([0x80 | 62; 16_000]);
    let mut fields = Fields::new();
    let decoded = Decoder::new(4096)
        .decode(&block, &LIMITS, &mut fields)
        .unwrap();
    assert_eq!(
        (decoded.over, decoded.fields),
        (Some(ListLimit::Size), 16_001)
    );
    assert_eq!(decoded.list_size, 16_001 * 4033);
    assert!(fields.list_size() <= LIMITS.max_list_size);
}

proptest! {
    /// No bytes make the decoder panic or keep more than the limits allow.
    #[test]
    fn any_bytes_end_in_an_error_or_a_list(blocks: Vec<Vec<u8>>, max_list_size in 0..2000_usize) {
        let limits = Limits { max_list_size, max_fields: 8, max_cookie_crumbs: 4 };
        let mut decoder = Decoder::new(4096);
        for block in blocks {
            let mut fields = Fields::new();
            let Ok(decoded) = decoder.decode(&block, &limits, &mut fields) else { break };
            prop_assert!(fields.list_size() <= max_list_size);
            prop_assert!(fields.len() <= 12);
            prop_assert!(decoder.table_size() <= 4096);
            prop_assert_eq!(decoded.over.is_none(), decoded.fields == fields.len());
            if decoded.over.is_none() {
                prop_assert_eq!(decoded.list_size, fields.list_size());
            }
        }
    }

    /// A decoder that drops fields over its limits has the same table as one that keeps them.
    #[test]
    fn limits_do_not_change_the_table(
        lists in proptest::collection::vec(
            proptest::collection::vec(("[a-c]{1,2}|cookie|:path", "[x-z]{0,3}|[a-z]{3000}"), 0..8), 1..8),
        max_list_size in 0..5000_usize,
    ) {
        let tight = Limits { max_list_size, max_fields: 4, max_cookie_crumbs: 1 };
        let mut encoder = Encoder::new(4096);
        let (mut tight_decoder, mut decoder) = (Decoder::new(4096), Decoder::new(4096));
        for list in lists {
            let list: Fields = list.into_iter().collect();
            let mut block = Vec::new();
            encoder.encode(&list, &mut block);
            let (mut kept, mut all) = (Fields::new(), Fields::new());
            let wide = Limits { max_list_size: 1 << 20, ..LIMITS };
            decoder.decode(&block, &wide, &mut all).unwrap();
            let decoded = tight_decoder.decode(&block, &tight, &mut kept).unwrap();
            prop_assert_eq!(decoded.fields, list.len());
            prop_assert_eq!(decoded.list_size, list.list_size());
            prop_assert!(kept.iter().eq(all.iter().take(kept.len())));
            prop_assert_eq!(tight_decoder.table_size(), decoder.table_size());
            prop_assert_eq!(tight_decoder.table_len(), decoder.table_len());
        }
    }
}
