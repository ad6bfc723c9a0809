//! The cost of encoding and decoding a header block.
//!
//! `cargo bench -p hpack-table` prints nanoseconds and bytes. With a case's name and a count
//! (`cargo bench -p hpack-table -- request 1000`) it runs only that case, `count` times, to count
//! instructions under `valgrind --tool=callgrind --toggle-collect='*steady*'`.

use std::hint::black_box;
use std::time::Instant;

use tidegate_hpack::{Decoder, Encoder, Fields, Limits};

const LIMITS: Limits = Limits {
    max_list_size: 32_768,
    max_fields: 100,
    max_cookie_crumbs: 256,
};

/// The request of a load generator.
const REQUEST: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "127.0.0.1:8443"),
    (":path", "/index.txt"),
    ("user-agent", "h2load nghttp2/1.64.0"),
];

/// The response of a file server.
const RESPONSE: [(&str, &str); 8] = [
    (":status", "200"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "1256"),
    ("date", "Tue, 04 Nov 2025 10:00:00 GMT"),
    ("etag", "\"65f1c0-4e8\""),
    ("last-modified", "Mon, 03 Nov 2025 10:00:00 GMT"),
    ("server", "tidegate"),
    ("x-content-type-options", "nosniff"),
];

/// The request of a browser.
const BROWSER: [(&str, &str); 14] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/images/products/bench-oak-120x80.avif"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    (
        "accept",
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-dest", "image"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7"),
    (
        "cookie",
        "session=s%3AhW8dTj2mQyXfK0uLr7Zb1vN4cPq9sEaGoIi.b3; theme=dark; locale=en-GB",
    ),
];

fn main() {
    let cases: [(&str, &[(&str, &str)]); 3] = [
        ("request", &REQUEST),
        ("response", &RESPONSE),
        ("browser", &BROWSER),
    ];
    // Cargo passes `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    if let [name, count] = &args[..] {
        let count = count.parse().expect("a count of blocks");
        let (_, list) = cases
            .iter()
            .find(|case| case.0 == name)
            .expect("a case's name");
        let mut case = Case::new(list);
        steady_encode(&mut case, count);
        steady_decode(&mut case, count);
        return;
    }

    println!(
        "{:<24} {:>6} {:>7} {:>11} {:>11}",
        "block", "bytes", "of", "encode ns", "decode ns"
    );
    for (name, list) in cases {
        let mut case = Case::new(list);
        let (encode, decode) = (
            time(|n| steady_encode(&mut case, n)),
            time(|n| steady_decode(&mut case, n)),
        );
        print_row(
            &format!("{name}, repeated"),
            case.block.len(),
            case.fields.byte_len(),
            encode,
            decode,
        );
        let fields: Fields = list.iter().copied().collect();
        let (mut block, mut decoded) = (Vec::new(), Fields::new());
        let encode = time(|n| {
            for _ in 0..n {
                block.clear();
                Encoder::new(4096).encode(black_box(&fields), &mut block);
            }
        });
        let decode = time(|n| {
            for _ in 0..n {
                decoded.clear();
                Decoder::new(4096)
                    .decode(black_box(&block), &LIMITS, &mut decoded)
                    .expect("our own block");
            }
        });
        print_row(
            &format!("{name}, first"),
            block.len(),
            fields.byte_len(),
            encode,
            decode,
        );
    }

    println!("\nnanoseconds per byte to decode a hostile block (flat: the cost is linear)");
    println!(
        "{:<44} {:>7} {:>7} {:>7} {:>7}",
        "block", "1 KiB", "4 KiB", "16 KiB", "64 KiB"
    );
    for (name, start, repeated) in hostile() {
        print!("{name:<44}");
        for size in [1 << 10, 1 << 12, 1 << 14, 1 << 16] {
            let mut block = start.clone();
            while block.len() + repeated.len() <= size.max(start.len()) {
                block.extend_from_slice(&repeated);
            }
            let mut fields = Fields::new();
            let nanos = time(|n| {
                for _ in 0..n {
                    fields.clear();
                    Decoder::new(4096)
                        .decode(black_box(&block), &LIMITS, &mut fields)
                        .expect("a valid block");
                }
            });
            print!(" {:>7.2}", nanos / block.len() as f64);
        }
        println!();
    }
}

/// One list, on a connection that has sent it before.
struct Case {
    fields: Fields,
    encoder: Encoder,
    decoder: Decoder,
    block: Vec<u8>,
    decoded: Fields,
}

impl Case {
    fn new(list: &[(&str, &str)]) -> Self {
        let mut case = Self {
            fields: list.iter().copied().collect(),
            encoder: Encoder::new(4096),
            decoder: Decoder::new(4096),
            block: Vec::new(),
            decoded: Fields::new(),
        };
        for _ in 0..3 {
            steady_encode(&mut case, 1);
            steady_decode(&mut case, 1);
        }
        case
    }
}

#[inline(never)]
fn steady_encode(case: &mut Case, count: usize) {
    for _ in 0..count {
        case.block.clear();
        case.encoder
            .encode(black_box(&case.fields), &mut case.block);
    }
}

#[inline(never)]
fn steady_decode(case: &mut Case, count: usize) {
    for _ in 0..count {
        case.decoded.clear();
        case.decoder
            .decode(black_box(&case.block), &LIMITS, &mut case.decoded)
            .expect("our own block");
    }
}

/// Returns blocks of one field that is repeated: a name, the start of the block, and the repeated
/// part.
fn hostile() -> [(&'static str, Vec<u8>, Vec<u8>); 6] {
    let mut long_name = vec![0x40, 0x7f, 0xd1, 0x0e];
    long_name.extend([b'n'; 2000]);
    long_name.push(0);
    let mut long_value = vec![0x40, 0x01, b'n', 0x7f, 0xd1, 0x0e];
    long_value.extend([b'v'; 2000]);
    [
        ("indexed", Vec::new(), vec![0x82]),
        ("indexed, 2,000 bytes each", long_value, vec![0xbe]),
        ("entries without bytes", Vec::new(), vec![0x40, 0, 0]),
        (
            "entries with a name of 2,000 bytes",
            long_name,
            vec![0x7e, 0],
        ),
        (
            "Huffman code of 5 bits",
            Vec::new(),
            [&[0x00, 0x00, 0xe4][..], &[0; 100]].concat(),
        ),
        (
            "Huffman code of 28 bits",
            Vec::new(),
            [
                &[0x00, 0x00, 0x87][..],
                &[0xff, 0xff, 0xfe, 0x2f, 0xff, 0xff, 0xe2],
            ]
            .concat(),
        ),
    ]
}

/// Returns the nanoseconds of one iteration of `run`, which gets the number of iterations: the best
/// of five runs.
fn time(mut run: impl FnMut(usize)) -> f64 {
    let mut count = 1;
    loop {
        let start = Instant::now();
        run(count);
        let elapsed = start.elapsed();
        if elapsed.as_millis() >= 10 {
            break;
        }
        count *= 4;
    }
    (0..5)
        .map(|_| {
            let start = Instant::now();
            run(count);
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn print_row(name: &str, bytes: usize, of: usize, encode: f64, decode: f64) {
    println!("{name:<24} {bytes:>6} {of:>7} {encode:>11.1} {decode:>11.1}");
}
