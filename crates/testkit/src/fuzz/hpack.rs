//! Fuzzes the HPACK decoder with any bytes, and encoder and decoder with field lists.

use tidegate_hpack::{
    Decoded, Decoder, Earlier, Encoder, Error, Field, Fields, KnownName, KnownNames, Limits, Mark,
};
use tidegate_http::is_valid_alone;

use super::Choices;

const UNLIMITED: Limits = Limits {
    max_list_size: usize::MAX,
    max_fields: usize::MAX,
    max_cookie_crumbs: usize::MAX,
};

/// The sizes of a table.
const TABLE_SIZES: &[usize] = &[4096, 0, 33, 64, 100, 256, 8192, 65_536];

/// The length that announces a block of two parts (see [`hpack_decoder`]).
const TWO_PARTS: usize = 255;

/// Longer inputs only take more time: a list can be thousands of times larger than its block.
const LONGEST: usize = 8192;

/// Bytes 0 to 3 choose the table's size and the limits. Then come blocks, each after a byte with
/// its length. Length 0 means a change of the table's size, chosen by the next byte, whose highest
/// bit also has a decoder free its memory. Length 255 means a block of two parts, each after its
/// length. Length 0 of the second one means that it is the same as last time.
///
/// - A decoder that is given the block before makes the same list of each block, with the same
///   verdict, and the same table.
/// - The kept fields are within the limits, and are those before the first field over one.
/// - Limits change nothing else: a decoder without any has the same result and the same table after
///   each block.
/// - The table stays within the size that was announced.
/// - A list that was decoded, encoded and decoded again is the same list.
pub fn hpack_decoder(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let mut max_table_size = choices.one_of(TABLE_SIZES);
    let limits = Limits {
        max_list_size: choices.one_of(&[4096, 0, 32, 100, 1000, 32_768]),
        max_fields: choices.one_of(&[100, 0, 1, 5, 20]),
        max_cookie_crumbs: choices.one_of(&[5, 0, 1, 256]),
    };
    let mut decoder = Decoder::new(max_table_size).with_check(is_valid_alone);
    let mut quick = Quick::new(max_table_size);
    let mut behind: &[u8] = &[];
    let mut unlimited = Decoder::new(max_table_size);
    while !choices.is_empty() {
        let len = usize::from(choices.byte());
        if len == 0 {
            let choice = choices.byte();
            max_table_size = TABLE_SIZES[usize::from(choice) % TABLE_SIZES.len()];
            decoder.set_max_table_size(max_table_size);
            quick.decoder.set_max_table_size(max_table_size);
            unlimited.set_max_table_size(max_table_size);
            if choice & 0x80 != 0 {
                quick.decoder.release_memory();
            }
            continue;
        }
        let block = if len == TWO_PARTS {
            let front = choices.part();
            match choices.part() {
                [] => {}
                part => behind = part,
            }
            [front, behind].concat()
        } else {
            choices.bytes(len).to_vec()
        };
        let (mut kept, mut all) = (Fields::new(), Fields::new());
        let verdict = decoder.decode(&block, &limits, &mut kept);
        let unlimited_verdict = unlimited.decode(&block, &UNLIMITED, &mut all);
        assert_eq!(
            quick.decode(&block, &limits),
            verdict,
            "the block before changes the outcome"
        );
        match (verdict, unlimited_verdict) {
            (Ok(decoded), Ok(everything)) => {
                check_limits(&limits, decoded, &kept);
                check_prefix(decoded, &kept, everything, &all);
                check_same(&quick.fields, &kept);
            }
            (verdict, unlimited_verdict) => {
                let (ours, other) = (verdict.map(drop), unlimited_verdict.map(drop));
                assert_eq!(ours, other, "limits change the verdict");
                return;
            }
        }
        assert_eq!(
            quick.decoder.state(),
            decoder.state(),
            "the block before changes the table"
        );
        assert_eq!(
            decoder.table_size(),
            unlimited.table_size(),
            "limits change the table"
        );
        assert_eq!(
            decoder.table_len(),
            unlimited.table_len(),
            "limits change the table"
        );
        assert!(
            decoder.table_size() <= max_table_size,
            "the table is too large"
        );
        assert_eq!(
            through_encoder(&kept),
            Ok(list(&kept)),
            "encoded and decoded again"
        );
    }
}

/// A decoder that is given the block before, as a server's connection does it.
struct Quick {
    decoder: Decoder,
    /// The block before, with its list and its mark.
    block: Vec<u8>,
    fields: Fields,
    mark: Option<Mark>,
    /// An older list, whose memory the next one takes.
    spare: Fields,
}

impl Quick {
    fn new(max_table_size: usize) -> Self {
        Self {
            decoder: Decoder::new(max_table_size).with_check(is_valid_alone),
            block: Vec::new(),
            fields: Fields::new(),
            mark: None,
            spare: Fields::new(),
        }
    }

    fn decode(&mut self, block: &[u8], limits: &Limits) -> Result<Decoded, Error> {
        let earlier = self.mark.map(|mark| Earlier {
            block: &self.block,
            fields: &self.fields,
            mark,
        });
        let (mut fields, mut mark) = (std::mem::take(&mut self.spare), None);
        fields.clear();
        let decoded = self
            .decoder
            .decode_after(block, limits, earlier, &mut fields, &mut mark)?;
        self.spare = std::mem::replace(&mut self.fields, fields);
        self.block = block.to_vec();
        self.mark = mark;
        Ok(decoded)
    }
}

/// Checks that two lists are the same to whoever asks them.
fn check_same(ours: &Fields, expected: &Fields) {
    assert_eq!(ours, expected, "the block before changes the list");
    assert_eq!(ours.byte_len(), expected.byte_len());
    assert_eq!(ours.all_passed(), expected.all_passed(), "the verdict");
    let known = NAMES.iter().map(|name| KnownName::of(name.as_bytes()));
    for name in known.flatten() {
        assert_eq!(ours.get_known(name), expected.get_known(name));
        let set = KnownNames::new(&[name]);
        assert_eq!(ours.has_any(set), expected.has_any(set), "{name:?}");
    }
}

/// Checks that the kept fields are within the limits.
fn check_limits(limits: &Limits, decoded: Decoded, kept: &Fields) {
    let crumbs = kept.iter().filter(|field| field.name == b"cookie").count();
    assert!(
        kept.list_size() <= limits.max_list_size,
        "over max_list_size"
    );
    assert!(kept.len() - crumbs <= limits.max_fields, "over max_fields");
    assert!(crumbs <= limits.max_cookie_crumbs, "over max_cookie_crumbs");
    let complete = kept.len() == decoded.fields && kept.list_size() == decoded.list_size;
    assert_eq!(
        complete,
        decoded.over.is_none(),
        "{decoded:?}, {} fields kept",
        kept.len()
    );
}

/// Checks that the kept fields are the first ones of all, and that the totals are those of all.
fn check_prefix(decoded: Decoded, kept: &Fields, everything: Decoded, all: &Fields) {
    assert_eq!(everything.over, None, "over no limit");
    assert_eq!(
        (everything.fields, everything.list_size),
        (all.len(), all.list_size())
    );
    assert_eq!(
        (decoded.fields, decoded.list_size),
        (all.len(), all.list_size())
    );
    assert!(
        kept.iter().eq(all.iter().take(kept.len())),
        "not the first fields"
    );
}

/// Names and values.
type List = Vec<(Vec<u8>, Vec<u8>)>;

/// A list as plain data. A field may become never-indexed on the way: our encoder marks secrets.
fn list(fields: &Fields) -> List {
    fields
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

fn through_encoder(fields: &Fields) -> Result<List, Error> {
    let mut block = Vec::new();
    Encoder::new(4096).encode(fields, &mut block);
    let mut decoded = Fields::new();
    Decoder::new(4096).decode(&block, &UNLIMITED, &mut decoded)?;
    Ok(list(&decoded))
}

/// Names of the lists, besides random ones.
const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":authority",
    ":status",
    "accept",
    "authorization",
    "content-length",
    "cookie",
    "date",
    "etag",
    "location",
    "set-cookie",
    "te",
    "user-agent",
    "x-request-id",
    "x-unheard-of",
];

/// Byte 0 chooses the encoder's cap. Then come steps: a change of the peer's
/// SETTINGS_HEADER_TABLE_SIZE, or a list of fields to encode and decode.
///
/// - The list is unchanged: names, values, order, and never-indexed marks.
/// - Both tables are equal, and no larger than cap and announcement allow.
pub fn hpack_round_trip(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let cap = choices.one_of(TABLE_SIZES);
    let mut announced = 4096;
    let mut encoder = Encoder::new(cap);
    let mut decoder = Decoder::new(announced);
    let mut fields = Fields::new();
    while !choices.is_empty() {
        let step = choices.byte();
        if step < 0x20 {
            announced = TABLE_SIZES[usize::from(step) % TABLE_SIZES.len()];
            encoder.set_max_table_size(announced);
            decoder.set_max_table_size(announced);
            continue;
        }
        let before = std::mem::take(&mut fields);
        for _ in 0..step % 0x20 {
            push_field(&mut choices, &before, &mut fields);
        }
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        let mut decoded = Fields::new();
        let measures = decoder
            .decode(&block, &UNLIMITED, &mut decoded)
            .expect("our own block");
        assert_eq!(list(&decoded), list(&fields));
        assert_eq!(
            (measures.fields, measures.list_size),
            (fields.len(), fields.list_size())
        );
        for (sent, received) in fields.iter().zip(&decoded) {
            assert!(
                received.never_indexed || !sent.never_indexed,
                "a mark was lost"
            );
            assert_eq!(received.known, sent.known);
        }
        assert_eq!(
            encoder.table_size(),
            decoder.table_size(),
            "the tables are out of step"
        );
        assert_eq!(
            encoder.table_len(),
            decoder.table_len(),
            "the tables are out of step"
        );
        assert!(
            encoder.table_size() <= announced.min(cap),
            "the table is too large"
        );
    }
}

/// Returns a field: one of the list before, or a new one.
fn push_field(choices: &mut Choices<'_>, before: &Fields, fields: &mut Fields) {
    let choice = choices.byte();
    if choice < 0x60
        && let Some(field) = before.at(usize::from(choice) % before.len().max(1))
    {
        fields.push_field(field);
        return;
    }
    let made_up: Vec<u8>;
    let name: &[u8] = if choice < 0xe0 {
        NAMES[usize::from(choice) % NAMES.len()].as_bytes()
    } else {
        let len = usize::from(choices.byte() % 0x40);
        made_up = choices.bytes(len).to_ascii_lowercase();
        &made_up
    };
    let len = choices.byte();
    let never_indexed = len & 0x80 != 0;
    // A few long values, so that tables overflow.
    let len = if len & 0x7f == 0x7f {
        1000
    } else {
        usize::from(len & 0x7f)
    };
    let value = choices.bytes(len);
    if never_indexed {
        fields.push_field(Field {
            known: tidegate_hpack::KnownName::of(name),
            name,
            value,
            never_indexed,
        });
    } else {
        fields.push(name, value);
    }
}
