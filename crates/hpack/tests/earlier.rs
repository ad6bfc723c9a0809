//! A decoder that is given the block before makes of each block what another one makes of it.

use proptest::prelude::*;
use tidegate_hpack::{Decoder, Earlier, Fields, KnownName, Limits, ListLimit, Mark};

/// A block with its list and its mark.
#[derive(Default)]
struct Before {
    block: Vec<u8>,
    fields: Fields,
    mark: Option<Mark>,
}

impl Before {
    fn earlier(&self) -> Option<Earlier<'_>> {
        let (block, fields) = (&self.block, &self.fields);
        self.mark.map(|mark| Earlier {
            block,
            fields,
            mark,
        })
    }
}

/// Fields that come before the path.
const FRONT: [&[u8]; 7] = [
    b"\x82",            // :method: GET
    b"\x83",            // :method: POST
    b"\x86",            // :scheme: http
    b"\x41\x01h",       // :authority: h, for the table
    b"\x0f\x11\x02co",  // cookie: co
    b"\x40\x01x\x02yy", // x: yy, for the table
    b"\x20\x3f\x45",    // a table of 0 bytes, then of 100
];

const PATHS: [&[u8]; 8] = [
    b"\x84",                        // :path: /
    b"\x04\x02/a",                  // :path: /a
    b"\x04\x02zz",                  // :path: zz, which the check refuses
    b"\x04\x13/a-path-of-19-bytes", // :path: /a-path-of-19-bytes
    b"\x14\x02/a",                  // :path: /a, never indexed
    b"\x44\x02/i",                  // :path: /i, for the table
    b"\xbe",                        // the newest entry of the table
    b"",
];

/// Fields that follow the path.
const BEHIND: [&[u8]; 10] = [
    b"\x86",                 // :scheme: http
    b"\x41\x01h",            // :authority: h, for the table
    b"\x0f\x11\x02co",       // cookie: co
    b"\x0f\x11\x02co",       // again: there should be enough
    b"\x00\x01x\x02zz",      // x: zz
    b"\x0f\x2b\x03ABC",      // user-agent: ABC
    b"\xbe",                 // the newest entry of the table
    b"\xbf",                 // the one before
    b"\x40\x01x\x02yy",      // x: yy, for the table
    b"\x0f\x2b\x82\x1f\xff", // broken Huffman code
];

fn some_of(
    pieces: &'static [&'static [u8]],
    counts: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(pieces), counts).prop_map(|chosen| chosen.concat())
}

/// Blocks, most of which have the same fields behind their path as the one before.
fn blocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let behind = prop::option::weighted(0.2, some_of(&BEHIND, 0..6));
    let step = (some_of(&FRONT, 0..4), some_of(&PATHS, 1..2), behind);
    prop::collection::vec(step, 1..30).prop_map(|steps| {
        let mut now = Vec::new();
        steps
            .into_iter()
            .map(|(front, path, behind)| {
                now = behind.unwrap_or_else(|| now.clone());
                [front, path, now.clone()].concat()
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn it_makes_the_same_lists(blocks in blocks(), size in 40..400_usize, crumbs in 0..5_usize) {
        let limits = Limits { max_list_size: size, max_fields: 6, max_cookie_crumbs: crumbs };
        let check = |field: &tidegate_hpack::Field<'_>, _| field.value != b"zz";
        let decoders = || {
            (Decoder::new(4096).with_check(check), Decoder::new(4096).with_check(check))
        };
        let (mut plain, mut quick) = decoders();
        let mut before = Before::default();
        for block in blocks {
            let (mut expected, mut got, mut mark) = (Fields::new(), Fields::new(), None);
            let result = quick.decode_after(&block, &limits, before.earlier(), &mut got, &mut mark);
            prop_assert_eq!(result, plain.decode(&block, &limits, &mut expected));
            if result.is_err() {
                (plain, quick) = decoders();
                before = Before::default();
                continue;
            }
            prop_assert_eq!(format!("{got:?}"), format!("{expected:?}"));
            prop_assert_eq!(got.byte_len(), expected.byte_len());
            prop_assert_eq!(quick.state(), plain.state());
            prop_assert_eq!(got.all_passed(), expected.all_passed());
            for name in [KnownName::PATH, KnownName::METHOD, KnownName::COOKIE, KnownName::USER_AGENT] {
                prop_assert_eq!(got.get_known(name), expected.get_known(name));
            }
            before = Before { block, fields: got, mark };
        }
    }
}

#[test]
fn only_the_path_is_decoded_of_a_block_that_ends_like_the_one_before() {
    let limits = Limits {
        max_list_size: 1000,
        max_fields: 100,
        max_cookie_crumbs: 10,
    };
    // The check counts what is decoded.
    thread_local!(static DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    let mut decoder = Decoder::new(4096).with_check(|_, _| {
        DECODED.set(DECODED.get() + 1);
        true
    });
    let mut before = Before::default();
    let mut decoded = |path: &[u8], rest: &[u8]| {
        let block = [b"\x82\x86\x04\x02", path, rest].concat();
        let (mut fields, mut mark) = (Fields::new(), None);
        DECODED.set(0);
        decoder
            .decode_after(&block, &limits, before.earlier(), &mut fields, &mut mark)
            .expect("a block");
        assert_eq!(fields.get_known(KnownName::PATH), Some(path));
        before = Before {
            block,
            fields,
            mark,
        };
        DECODED.get()
    };
    let crumbs = b"\x0f\x11\x02co\x0f\x11\x02co";
    let new = b"\x40\x01x\x02yy\x0f\x11\x02co";
    assert_eq!(decoded(b"/a", crumbs), 3);
    assert_eq!(decoded(b"/b", crumbs), 1);
    assert_eq!(decoded(b"/b", crumbs), 1);
    assert_eq!(decoded(b"/c", new), 3);
    assert_eq!(decoded(b"/d", new), 3, "each changes the table");
    assert_eq!(decoded(b"/e", crumbs), 3);
    assert_eq!(decoded(b"/f", crumbs), 1);
}

#[test]
fn crumbs_before_the_path_are_counted() {
    let limits = Limits {
        max_list_size: 1000,
        max_fields: 100,
        max_cookie_crumbs: 2,
    };
    let (crumb, method, path) = (b"\x0f\x11\x02co", b"\x82", b"\x04\x02/a");
    let mut decoder = Decoder::new(4096);
    // Both have three fields of two names before the path, and one crumb behind it.
    let mut before = Before {
        block: [&crumb[..], method, method, path, crumb].concat(),
        ..Before::default()
    };
    let (block, fields, mark) = (&before.block, &mut before.fields, &mut before.mark);
    let decoded = decoder.decode_after(block, &limits, None, fields, mark);
    assert_eq!(decoded.map(|decoded| decoded.over), Ok(None));
    let second = [&crumb[..], crumb, method, path, crumb].concat();
    let (earlier, mut fields) = (before.earlier(), Fields::new());
    assert!(earlier.is_some());
    let decoded = decoder.decode_after(&second, &limits, earlier, &mut fields, &mut None);
    let over = decoded.map(|decoded| decoded.over);
    assert_eq!(over, Ok(Some(ListLimit::CookieCrumbs)));
}
