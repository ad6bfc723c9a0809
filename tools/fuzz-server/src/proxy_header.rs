//! The PROXY protocol: the client on whose behalf a connection is made.

use std::net::SocketAddr;

use tidegate_net::fuzz::{Header, MAX_HEADER, parse};

/// Fuzzes the first bytes of a connection, which are the input.
///
/// - More bytes don't change a verdict: a part of a header is never a whole one, and an invalid
///   header never becomes valid.
/// - Waiting for a header has an end.
/// - The addresses of a header are read again from the header that we write for them.
pub fn proxy_header(input: &[u8]) {
    let whole = parse(input);
    match whole {
        Header::Whole { len, addresses } => {
            assert!(0 < len && len <= input.len());
            for end in 0..len {
                assert_eq!(parse(&input[..end]), Header::Partial, "{end} of {len}");
            }
            assert_eq!(parse(&input[..len]), whole);
            let more = [&input[..len], b"\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"].concat();
            assert_eq!(parse(&more), whole);
            if let Some((client, server)) = addresses {
                check_written(client, server);
            }
            if input.starts_with(b"PROXY") {
                assert_eq!(addresses, line(&input[..len]));
            }
        }
        Header::Partial => {
            assert!(input.len() < MAX_HEADER);
            for end in 0..input.len() {
                assert_eq!(parse(&input[..end]), Header::Partial, "{end}");
            }
        }
        Header::Invalid => {
            for more in [&b" "[..], b"\r\n", b"\n", &[0; 300]] {
                let more = [input, more].concat();
                assert_eq!(parse(&more), Header::Invalid, "with {more:?}");
            }
        }
    }
}

/// Checks that the headers that we write for these addresses are read as these.
fn check_written(client: SocketAddr, server: SocketAddr) {
    let bare = |addr: SocketAddr| (addr.ip().to_canonical(), addr.port());
    for version in [1, 2] {
        let written = tidegate_net::proxy_header(version, client, server);
        let Header::Whole {
            len,
            addresses: Some((from, to)),
        } = parse(&written)
        else {
            panic!("{} isn't a header", written.escape_ascii());
        };
        assert_eq!(len, written.len());
        assert_eq!((bare(from), bare(to)), (bare(client), bare(server)));
    }
}

/// Returns the addresses in a line of version 1, read by the letter of its specification (§2.1).
fn line(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix("\r\n")?;
    assert!(bytes.len() <= 107 && !text.contains('\n'));
    let words: Vec<&str> = text.split(' ').collect();
    let [_, family @ ("TCP4" | "TCP6"), source, destination, from, to] = words[..] else {
        assert_eq!(words.get(1), Some(&"UNKNOWN"), "{text}");
        return None;
    };
    let addr = |ip: &str, port: &str| {
        assert!(port == "0" || !port.starts_with('0'), "{port}");
        assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{port}");
        let addr = SocketAddr::new(
            ip.parse().expect("an address"),
            port.parse().expect("a port"),
        );
        assert_eq!(addr.is_ipv4(), family == "TCP4");
        addr
    };
    Some((addr(source, from), addr(destination, to)))
}
