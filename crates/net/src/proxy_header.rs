//! The PROXY protocol, versions 1 and 2: a header with which a proxy says for whom it has opened a connection.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader};

/// Octets that a header may have. The addresses take 52 at most; the rest is for what else a proxy likes to tell.
pub(crate) const MAX_HEADER: usize = 4096;

/// What the octets at the front of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The beginning of one.
    Partial,
    /// One of `len` octets. `addresses` are the client's and the one that it connected to; a proxy that speaks for itself, such
    /// as one that looks whether we are alive, gives none.
    Whole {
        len: usize,
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
    /// None.
    Invalid,
}

/// Reads what is at the front of a connection.
pub(crate) fn parse(octets: &[u8]) -> Header {
    if octets.is_empty() {
        return Header::Partial;
    }
    match ProxyHeader::parse(octets, ParseConfig::default()) {
        Ok((header, len)) => Header::Whole {
            len,
            addresses: header
                .proxied_address()
                .map(|proxied| (proxied.source, proxied.destination)),
        },
        // A line that has ended will not become one.
        Err(Error::BufferTooShort) if octets.starts_with(b"PROXY") && octets.contains(&b'\n') => {
            Header::Invalid
        }
        Err(Error::BufferTooShort) if octets.len() < MAX_HEADER => Header::Partial,
        Err(_) => Header::Invalid,
    }
}

/// Writes a header of version 1 or 2 that says who connected whereto.
pub fn proxy_header(version: u8, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (client, server) = alike(client, server);
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
    let mut octets = Vec::new();
    let written = match version {
        1 => header.encode_v1(&mut octets),
        _ => header.encode_v2(&mut octets),
    };
    debug_assert!(written.is_ok(), "{written:?}");
    octets
}

/// Both addresses of one family, for a header has but one: IPv4 as far as possible.
fn alike(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, server) = (canonical(client), canonical(server));
    let mapped = |addr: SocketAddr| match addr {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    match client.is_ipv4() == server.is_ipv4() {
        true => (client, server),
        false => (mapped(client), mapped(server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn pairs() -> [(SocketAddr, SocketAddr); 3] {
        [
            (addr("192.0.2.1:4711"), addr("198.51.100.2:443")),
            (addr("[2001:db8::1]:4711"), addr("[2001:db8::2]:443")),
            (addr("[::ffff:192.0.2.1]:4711"), addr("[2001:db8::2]:443")),
        ]
    }

    #[test]
    fn what_is_written_is_read_wherever_it_is_cut() {
        for (client, server) in pairs() {
            for version in [1, 2] {
                let octets = proxy_header(version, client, server);
                for end in 0..octets.len() {
                    assert_eq!(parse(&octets[..end]), Header::Partial, "{version} {end}");
                }
                let expected = Header::Whole {
                    len: octets.len(),
                    addresses: Some(alike(client, server)),
                };
                assert_eq!(parse(&octets), expected);
                assert_eq!(
                    parse(&[&octets[..], b"GET / HTTP/1.1\r\n"].concat()),
                    expected
                );
            }
        }
    }

    #[test]
    fn version_1_is_a_line() {
        let (client, server) = pairs()[0];
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n";
        assert_eq!(proxy_header(1, client, server), line);
        let unknown = b"PROXY UNKNOWN\r\n";
        let nobody = Header::Whole {
            len: unknown.len(),
            addresses: None,
        };
        assert_eq!(parse(unknown), nobody);
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_gives_no_addresses() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let nobody = Header::Whole {
            len: local.len(),
            addresses: None,
        };
        assert_eq!(parse(local), nobody);
    }

    #[test]
    fn what_is_none() {
        for octets in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.2 4711 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(parse(octets), Header::Invalid, "{}", octets.escape_ascii());
        }
        // No header is waited for without end.
        let endless = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..],
            &[0; MAX_HEADER],
        ]
        .concat();
        assert_eq!(parse(&endless), Header::Invalid);
        assert_eq!(
            parse(&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat()),
            Header::Invalid
        );
    }
}
