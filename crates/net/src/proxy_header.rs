//! The PROXY protocol, versions 1 and 2: a header with which a proxy says for whom it has opened a connection.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader};

/// Octets that a header may have. The addresses take 52 at most; the rest is for what else a proxy likes to tell.
pub const MAX_HEADER: usize = 4096;

/// Bytes of a line of version 1, its end included (§2.1 of the specification).
const MAX_LINE: usize = 107;

/// What the octets at the front of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The beginning of one.
    Partial,
    /// One.
    Whole {
        /// Its octets.
        len: usize,
        /// The client's address and the one that it connected to. A proxy that speaks for itself, such as one that looks whether we are
        /// alive, gives none.
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
    /// None.
    Invalid,
}

/// Reads what is at the front of a connection.
pub fn parse(octets: &[u8]) -> Header {
    if octets.is_empty() {
        return Header::Partial;
    }
    match ProxyHeader::parse(octets, ParseConfig::default()) {
        Ok((header, len)) if !is_sound(&header, &octets[..len]) => Header::Invalid,
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

/// Whether a header keeps what its parser doesn't look at.
fn is_sound(header: &ProxyHeader<'_>, octets: &[u8]) -> bool {
    match octets.strip_prefix(b"PROXY ") {
        // Its end is CR LF, and whether one that ended before is taken mustn't depend on the pieces in
        // which it comes.
        Some(line) => {
            let ends = line.iter().filter(|octet| **octet == b'\n').count();
            octets.len() <= MAX_LINE && ends == 1 && is_sound_line(line)
        }
        // §2.1: "exactly one space" follows, which the parser doesn't look at.
        None if octets.starts_with(b"PROXY") => false,
        // §2.2 of the specification: what a proxy that speaks for itself (LOCAL) says isn't looked at.
        None => header.proxied_address().is_none() || has_sound_values(octets),
    }
}

/// Whether a line says one of the three families, and its ports are plain numbers, with nothing in
/// front: §2.1 has "heading zeroes are not permitted".
fn is_sound_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let mut words = line.split(|&octet| octet == b' ');
    match words.next() {
        Some(b"UNKNOWN") => return true,
        Some(b"TCP4" | b"TCP6") => {}
        _ => return false,
    }
    let is_plain = |port: &[u8]| {
        let is_number = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        is_number && (port == b"0" || port[0] != b'0')
    };
    let rest: Vec<&[u8]> = words.collect();
    matches!(rest[..], [_, _, source, destination] if is_plain(source) && is_plain(destination))
}

/// Whether what stands behind the addresses of a header of version 2 is whole, and a checksum right
/// if there is one: §2.2.3, "the receiver MUST verify the checksum".
fn has_sound_values(octets: &[u8]) -> bool {
    const FIXED: usize = 16;
    const CRC32C: u8 = 3;
    let addresses = match octets.get(13).map(|family| family >> 4) {
        Some(1) => 12,
        Some(2) => 36,
        Some(3) => 216,
        _ => 0,
    };
    let mut at = FIXED + addresses;
    while at < octets.len() {
        let [kind, high, low] = octets[at..octets.len().min(at + 3)] else {
            return false;
        };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > octets.len() {
            return false;
        }
        if kind == CRC32C {
            let Ok(told) = <[u8; 4]>::try_from(&octets[value..at]) else {
                return false;
            };
            let mut counted = octets.to_vec();
            counted[value..at].fill(0);
            if crc32c(&counted) != u32::from_be_bytes(told) {
                return false;
            }
        }
    }
    at == octets.len()
}

/// The checksum of RFC 3720 §12.1, bit by bit: a header is short, and there is one a connection.
fn crc32c(octets: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for octet in octets {
        sum ^= u32::from(*octet);
        for _ in 0..8 {
            let carry = sum & 1;
            sum = (sum >> 1) ^ (0x82f6_3b78 * carry);
        }
    }
    !sum
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
    fn ports_of_version_1_are_plain_numbers_and_its_line_is_short() {
        for ports in [
            "+1 2", "1 +2", "01 2", "1 02", "00 2", " 1 2", "1  2", "1 2 ", "1 2 3", "1",
        ] {
            let line = format!("PROXY TCP4 1.2.3.4 5.6.7.8 {ports}\r\n");
            assert_eq!(parse(line.as_bytes()), Header::Invalid, "{ports}");
        }
        for line in [
            "PROXY UNKNOWN a\n",
            "PROXY UNKNOWN a\n b\r\n",
            "PROXY$UNKNOWN\r\n",
            "PROXY UNKNOWNS a 1 2 3\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Header::Invalid, "{line:?}");
        }
        for ports in ["0 1", "1 65535"] {
            let line = format!("PROXY TCP4 1.2.3.4 5.6.7.8 {ports}\r\n");
            assert!(
                matches!(parse(line.as_bytes()), Header::Whole { .. }),
                "{ports}"
            );
        }
        for (len, is_taken) in [(107, true), (108, false)] {
            let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
            assert_eq!(line.len(), len);
            let is_whole = matches!(parse(line.as_bytes()), Header::Whole { .. });
            assert_eq!(is_whole, is_taken, "{len}");
        }
    }

    #[test]
    fn values_of_version_2_are_whole_and_checksums_right() {
        // RFC 3720 §B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let header = |values: &[u8]| {
            let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
            octets.extend((12 + values.len() as u16).to_be_bytes());
            octets.extend([1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]);
            octets.extend(values);
            octets
        };
        let mut sum = crc32c(&header(&[3, 0, 4, 0, 0, 0, 0])).to_be_bytes();
        let with = |sum: [u8; 4]| header(&[&[3, 0, 4][..], &sum].concat());
        assert!(matches!(parse(&with(sum)), Header::Whole { .. }));
        sum[3] ^= 1;
        assert_eq!(parse(&with(sum)), Header::Invalid);
        for cut in [
            &[4][..],
            &[4, 0],
            &[4, 0, 1],
            &[4, 255, 0],
            &[3, 0, 3, 0, 0, 0],
            &[3, 0, 0],
        ] {
            assert_eq!(parse(&header(cut)), Header::Invalid, "{cut:?}");
        }
        for whole in [
            &[][..],
            &[4, 0, 0],
            &[4, 0, 2, 0, 0],
            &[0xe0, 0, 1, 7, 4, 0, 0],
        ] {
            assert!(
                matches!(parse(&header(whole)), Header::Whole { .. }),
                "{whole:?}"
            );
        }
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
