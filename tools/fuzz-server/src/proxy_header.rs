//! The PROXY protocol: who a connection is for.

use std::net::SocketAddr;

use tidegate_net::fuzz::{Header, MAX_HEADER, parse};

/// The input is what a connection begins with.
///
/// - However it is cut, what is known of the beginning holds for what follows: a part is never taken for another header, and what is no
///   header never becomes one.
/// - No header is waited for without end.
/// - What one is read as is read again from what we write.
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

/// What we write of these is read as these.
fn check_written(client: SocketAddr, server: SocketAddr) {
    let bare = |addr: SocketAddr| (addr.ip().to_canonical(), addr.port());
    for version in [1, 2] {
        let written = tidegate_net::proxy_header(version, client, server);
        let Header::Whole {
            len,
            addresses: Some((from, to)),
        } = parse(&written)
        else {
            panic!("{} is none", written.escape_ascii());
        };
        assert_eq!(len, written.len());
        assert_eq!((bare(from), bare(to)), (bare(client), bare(server)));
    }
}

/// The addresses of a line of version 1, read by the letter of its specification (§2.1).
fn line(octets: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::str::from_utf8(octets).ok()?;
    let text = text.strip_suffix("\r\n")?;
    assert!(octets.len() <= 107 && !text.contains('\n'));
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
