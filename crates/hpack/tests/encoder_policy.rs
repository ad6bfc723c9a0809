//! Which fields the encoder puts in the dynamic table, and how much that saves.

use tidegate_hpack::{Decoder, Encoder, Fields, Limits};

const LIMITS: Limits = Limits {
    max_list_size: 32_768,
    max_fields: 100,
    max_cookie_crumbs: 256,
};

fn list(fields: &[(&str, &str)]) -> Fields {
    fields.iter().copied().collect()
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.encode(&list(fields), &mut block);
    block
}

#[test]
fn a_repeated_response_costs_a_byte_a_field() {
    let response = [
        (":status", "200"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "1256"),
        ("date", "Tue, 04 Nov 2025 10:00:00 GMT"),
        ("etag", "\"65f1c0-4e8\""),
        ("last-modified", "Mon, 03 Nov 2025 10:00:00 GMT"),
        ("server", "tidegate"),
        ("x-content-type-options", "nosniff"),
    ];
    let mut encoder = Encoder::new(4096);
    let first = encode(&mut encoder, &response).len();
    let second = encode(&mut encoder, &response).len();
    assert!(second < first, "{second} < {first}");
    // The volatile fields were indexed when they came the second time.
    for _ in 0..3 {
        assert_eq!(encode(&mut encoder, &response).len(), response.len());
    }
}

/// The head of a file, as `tidegate` sends it.
fn file_head(modified: u64, length: u64) -> Fields {
    const WEEKDAYS: [&str; 7] = ["Fri", "Sat", "Sun", "Mon", "Tue", "Wed", "Thu"];
    let (day, second) = (modified / 86_400 % 30 + 1, modified % 86_400);
    let last_modified = format!(
        "{}, {day:02} Nov 2025 {:02}:{:02}:{:02} GMT",
        WEEKDAYS[day as usize % 7],
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    let fingerprint = (modified ^ length << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    list(&[
        (":status", "200"),
        ("server", "tidegate"),
        ("date", "Mon, 01 Dec 2025 10:00:00 GMT"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", &length.to_string()),
        ("last-modified", &last_modified),
        ("etag", &format!("\"{fingerprint:016x}-{length:x}\"")),
        ("accept-ranges", "bytes"),
    ])
}

/// The volatile fields of one head don't make the encoder forget each other, whatever their values
/// are.
#[test]
fn the_third_response_for_any_file_is_small() {
    let large = (0..1000_u64)
        .map(|i| (i * 7_919, i * i * 31 + 15))
        .filter(|&(modified, length)| {
            let head = file_head(modified, length);
            let mut encoder = Encoder::new(4096);
            let mut block = Vec::new();
            for _ in 0..3 {
                block.clear();
                encoder.encode(&head, &mut block);
            }
            block.len() > 12
        })
        .collect::<Vec<_>>();
    assert_eq!(large, [], "(modified, length) of {} files", large.len());
}

/// Nearly as many files as the table has space for.
#[test]
fn the_third_round_of_a_pages_files_is_small() {
    let heads: Vec<Fields> = (0..20)
        .map(|i| file_head(i * 100_003, 15 + i * 7_001))
        .collect();
    let mut encoder = Encoder::new(4096);
    for round in 1..=3 {
        for (i, head) in heads.iter().enumerate() {
            let mut block = Vec::new();
            encoder.encode(head, &mut block);
            assert!(
                round < 3 || block.len() <= 12,
                "file {i} costs {} bytes",
                block.len()
            );
        }
    }
}

/// About 2 KB of headers, as a browser sends them for each part of a page.
#[test]
fn a_browsers_requests_cost_under_200_bytes_from_the_second_on() {
    let session = "s%3AhW8dTj2mQyXfK0uLr7Zb1vN4cPq9sEaGoIi.b3".repeat(25);
    let cookie = format!(
        "_ga=GA1.2.1804562375.1762250000; _gid=GA1.2.441298751.1762250000; consent=analytics:1,ads:0,functional:1; \
         theme=dark; locale=en-GB; session={session}; experiments=eyJhIjoxLCJiIjoiY29udHJvbCIsImMiOiJ2YXJpYW50LTIifQ%3D%3D"
    );
    let request = |path: &str, dest: &str, accept: &str, referer: &str| -> Fields {
        [
            (":method", "GET"),
            (":authority", "www.shop.example.com"),
            (":scheme", "https"),
            (":path", path),
            ("sec-ch-ua-platform", "\"Linux\""),
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            ),
            ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\""),
            ("sec-ch-ua-mobile", "?0"),
            ("accept", accept),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", dest),
            ("referer", referer),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("accept-language", "en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7"),
            ("cookie", &cookie),
            ("priority", "u=2"),
            ("x-client-data", "CIS2yQEIprbJAQipncoBCMvxygEIlqHLAQiFoM0BCJz+zAEY4eLOARj1yc0BGOznzgE="),
            ("x-forwarded-for", "203.0.113.195, 70.41.3.18, 150.172.238.178"),
            ("x-forwarded-proto", "https"),
        ]
        .into_iter()
        .collect()
    };
    let page = "https://www.shop.example.com/catalogue/garden/furniture/benches?sort=price&page=2";
    let image = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
    let requests = [
        request(
            "/static/css/main.4f2a91.css",
            "style",
            "text/css,*/*;q=0.1",
            page,
        ),
        request("/static/js/vendor.88d0c3e1.js", "script", "*/*", page),
        request(
            "/images/products/bench-oak-120x80.avif",
            "image",
            image,
            page,
        ),
        request(
            "/images/products/bench-steel-140x60.avif",
            "image",
            image,
            page,
        ),
        request(
            "/api/v2/recommendations?item=8472&limit=12&seed=3f9a",
            "empty",
            "application/json",
            page,
        ),
        request("/static/fonts/inter-latin-400.woff2", "font", "*/*", page),
    ];
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    for (i, request) in requests.iter().enumerate() {
        assert!(
            (1900..2300).contains(&request.byte_len()),
            "{}",
            request.byte_len()
        );
        let mut block = Vec::new();
        encoder.encode(request, &mut block);
        assert!(
            i == 0 || block.len() < 200,
            "request {i} costs {} bytes",
            block.len()
        );
        let mut received = Fields::new();
        decoder.decode(&block, &LIMITS, &mut received).unwrap();
        assert_eq!(&received, request);
    }
}

/// "An encoder might also choose not to index values for header fields that are considered to be
/// highly valuable or sensitive to recovery" (RFC 7541 §7.1.3)
#[test]
fn credentials_are_never_indexed() {
    for (name, value) in [
        ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("proxy-authorization", "Bearer mF_9.B5f-4.1JqM"),
        (
            "set-cookie",
            "id=a3fWa; Expires=Thu, 21 Oct 2027 07:28:00 GMT; Secure; HttpOnly",
        ),
        ("cookie", "id=0123456789abcdef"),
    ] {
        let mut encoder = Encoder::new(4096);
        for _ in 0..3 {
            let block = encode(&mut encoder, &[(name, value)]);
            assert_eq!(encoder.table_len(), 0, "{name}");
            let mut fields = Fields::new();
            Decoder::new(4096)
                .decode(&block, &LIMITS, &mut fields)
                .unwrap();
            assert!(fields.at(0).unwrap().never_indexed, "{name}");
        }
    }
    // A cookie that is one byte longer can't be guessed.
    let mut encoder = Encoder::new(4096);
    encode(&mut encoder, &[("cookie", "id=0123456789abcdefg")]);
    assert_eq!(encoder.table_len(), 1);
}

/// "it MUST use the same representation to forward this header field" (RFC 7541 §6.2.3)
#[test]
fn a_never_indexed_field_is_sent_on_as_such() {
    // An indexed entry with the same name and value makes no difference.
    let mut encoder = Encoder::new(4096);
    encode(&mut encoder, &[("x-token", "secret")]);
    let mut field_list = list(&[("x-token", "secret")]);
    let mut field = field_list.at(0).unwrap();
    field.never_indexed = true;
    let mut forwarded = Fields::new();
    forwarded.push_field(field);
    let mut block = Vec::new();
    encoder.encode(&forwarded, &mut block);
    assert_eq!(block[0] & 0xf0, 0x10);
    field_list.clear();
    let mut decoder = Decoder::new(4096);
    decoder
        .decode(
            &encode(&mut Encoder::new(4096), &[("x-token", "secret")]),
            &LIMITS,
            &mut field_list,
        )
        .unwrap();
    field_list.clear();
    decoder.decode(&block, &LIMITS, &mut field_list).unwrap();
    assert_eq!(field_list, forwarded);
}

#[test]
fn values_that_differ_each_time_leave_the_table_alone() {
    let mut encoder = Encoder::new(4096);
    for i in 0..200 {
        encode(
            &mut encoder,
            &[
                (":path", &format!("/item?id={i}")),
                ("content-length", &(1000 + i).to_string()),
            ],
        );
    }
    assert_eq!(encoder.table_len(), 0);
}

#[test]
fn a_name_in_no_table_gets_a_place() {
    let mut encoder = Encoder::new(4096);
    let first = encode(&mut encoder, &[("x-request-id", "00000001")]).len();
    for i in 2..100 {
        let next = encode(&mut encoder, &[("x-request-id", &format!("{i:08}"))]).len();
        assert!(
            next <= first - "x-request-id".len() / 2,
            "{next} and {first} bytes"
        );
    }
}

#[test]
fn huffman_only_where_it_is_shorter() {
    let mut encoder = Encoder::new(0);
    // Five bits a byte, and more than eight.
    assert_eq!(
        encode(&mut encoder, &[("age", "00000000")])[1..],
        [0x0f, 6, 0x85, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        encode(&mut encoder, &[("age", "~~~~")]),
        b"\x0f\x06\x04~~~~"
    );
    assert_eq!(
        encode(&mut encoder, &[("age", "X")]),
        b"\x0f\x06\x01X",
        "as long either way"
    );
}

/// "the smallest maximum table size that occurs in that interval MUST be signaled in a dynamic
/// table size update. The final maximum size is always signaled, resulting in at most two dynamic
/// table size updates." (RFC 7541 §4.2)
#[test]
fn the_table_follows_the_peer_down_to_nothing_and_up_again() {
    let mut encoder = Encoder::new(8192);
    let field = [("server", "tidegate")];
    encode(&mut encoder, &field);
    assert_eq!(encode(&mut encoder, &field), [0x80 | 62]);

    encoder.set_max_table_size(0);
    assert_eq!(encode(&mut encoder, &field)[0], 0x20);
    assert_eq!(
        (encoder.table_len(), encode(&mut encoder, &field)[0]),
        (0, 0x0f),
        "nothing is indexed"
    );

    encoder.set_max_table_size(4096);
    assert_eq!(encode(&mut encoder, &field)[..3], [0x3f, 0xe1, 0x1f]);
    assert_eq!(encode(&mut encoder, &field), [0x80 | 62]);

    for bytes in [100, 0, 5000, 4096] {
        encoder.set_max_table_size(bytes);
    }
    assert_eq!(encode(&mut encoder, &field)[..4], [0x20, 0x3f, 0xe1, 0x1f]);
    assert_eq!(encode(&mut encoder, &field), [0x80 | 62]);

    // The table doesn't exceed our own cap, and no update is sent when nothing changes.
    encoder.set_max_table_size(u32::MAX as usize);
    assert_eq!(
        encode(&mut encoder, &field)[..3],
        [0x3f, 0xe1, 0x3f],
        "8,192"
    );
    encoder.set_max_table_size(8192);
    encoder.set_max_table_size(100_000);
    assert_eq!(encode(&mut encoder, &field), [0x80 | 62]);
}

#[test]
fn a_cap_below_the_protocols_size_is_announced() {
    let mut encoder = Encoder::new(100);
    assert_eq!(
        encode(&mut encoder, &[(":method", "GET")]),
        [0x3f, 69, 0x82]
    );
    assert_eq!(encode(&mut encoder, &[(":method", "GET")]), [0x82]);
}
