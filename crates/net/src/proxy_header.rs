//! The PROXY protocol, versions 1 and 2: a header in which a proxy names the client that it opened
//! the connection for.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader};

/// The most bytes of a header. The addresses take at most 52; the rest is for other values that a
/// proxy may send.
pub const MAX_HEADER: usize = 4096;

/// The most bytes of a version 1 line, with its end (§2.1 of the specification).
const MAX_LINE: usize = 107;

/// The kind of the bytes at the front of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Whole {
        /// The bytes of the header.
        len: usize,
        /// The client's address and the address that it connected to. `None` if the proxy speaks
        /// for itself, for example to check that we are alive.
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
    /// No header.
    Invalid,
}

/// Returns what is at the front of a connection.
pub fn parse(bytes: &[u8]) -> Header {
    if bytes.is_empty() {
        return Header::Partial;
    }
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((header, len)) if !is_sound(&header, &bytes[..len]) => Header::Invalid,
        Ok((header, len)) => Header::Whole {
            len,
            addresses: header
                .proxied_address()
                .map(|proxied| (proxied.source, proxied.destination)),
        },
        // A line that has ended won't become a header.
        Err(Error::BufferTooShort) if bytes.starts_with(b"PROXY") && bytes.contains(&b'\n') => {
            Header::Invalid
        }
        Err(Error::BufferTooShort) if bytes.len() < MAX_HEADER => Header::Partial,
        Err(_) => Header::Invalid,
    }
}

/// Whether a header keeps the rules that its parser doesn't check.
fn is_sound(header: &ProxyHeader<'_>, bytes: &[u8]) -> bool {
    match bytes.strip_prefix(b"PROXY ") {
        // The line ends with CR LF. The parser takes lines that end otherwise or not, depending on
        // the pieces in which they arrive.
        Some(line) => {
            let ends = line.iter().filter(|byte| **byte == b'\n').count();
            bytes.len() <= MAX_LINE && ends == 1 && is_sound_line(line)
        }
        // 2.1: "exactly one space" follows. The parser doesn't check that.
        None if bytes.starts_with(b"PROXY") => false,
        // 2.2 of the specification: the values that a proxy sends for itself (LOCAL) are ignored.
        None => header.proxied_address().is_none() || has_sound_values(bytes),
    }
}

/// Whether a line names one of the three families and has plain port numbers: §2.1 says "heading
/// zeroes are not permitted".
fn is_sound_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let mut words = line.split(|&byte| byte == b' ');
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

/// Whether the values after the addresses of a version 2 header are whole, and the checksum, if
/// there is one, is right. §2.2.3: "the receiver MUST verify the checksum".
fn has_sound_values(bytes: &[u8]) -> bool {
    const FIXED: usize = 16;
    const CRC32C: u8 = 3;
    let addresses = match bytes.get(13).map(|family| family >> 4) {
        Some(1) => 12,
        Some(2) => 36,
        Some(3) => 216,
        _ => 0,
    };
    let mut at = FIXED + addresses;
    while at < bytes.len() {
        let [kind, high, low] = bytes[at..bytes.len().min(at + 3)] else {
            return false;
        };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > bytes.len() {
            return false;
        }
        if kind == CRC32C {
            let Ok(reported) = <[u8; 4]>::try_from(&bytes[value..at]) else {
                return false;
            };
            let mut counted = bytes.to_vec();
            counted[value..at].fill(0);
            if crc32c(&counted) != u32::from_be_bytes(reported) {
                return false;
            }
        }
    }
    at == bytes.len()
}

/// Returns the checksum of RFC 3720 §12.1, computed bit by bit: a header is short, and a connection
/// has one.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = sum & 1;
            sum = (sum >> 1) ^ (0x82f6_3b78 * carry);
        }
    }
    !sum
}

/// Writes a header of version 1 or 2 with these addresses.
pub fn proxy_header(version: u8, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (client, server) = alike(client, server);
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
    let mut bytes = Vec::new();
    let written = match version {
        1 => header.encode_v1(&mut bytes),
        _ => header.encode_v2(&mut bytes),
    };
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// Converts both addresses to one family, because a header has only one: IPv4 if possible.
fn alike(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, server) = (canonical(client), canonical(server));
    let mapped = |addr: SocketAddr| match addr {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    if client.is_ipv4() == server.is_ipv4() {
        (client, server)
    } else {
        (mapped(client), mapped(server))
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
                let bytes = proxy_header(version, client, server);
                for end in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..end]), Header::Partial, "{version} {end}");
                }
                let expected = Header::Whole {
                    len: bytes.len(),
                    addresses: Some(alike(client, server)),
                };
                assert_eq!(parse(&bytes), expected);
                assert_eq!(
                    parse(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat()),
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
            let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
            bytes.extend((12 + values.len() as u16).to_be_bytes());
            bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]);
            bytes.extend(values);
            bytes
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
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.2 4711 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(parse(bytes), Header::Invalid, "{}", bytes.escape_ascii());
        }
        // The wait for a header is limited.
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
