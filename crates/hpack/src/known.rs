//! Field names that the engine knows by number.

use crate::static_table;

/// A field name that is recognised by number instead of by its octets.
///
/// Numbers 1 to 61 are the *first* static-table index (RFC 7541 Appendix A) that carries the name; further numbers are
/// names that HTTP/2 gives a meaning to although the static table lacks them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KnownName(pub(crate) u8);

#[allow(missing_docs)]
impl KnownName {
    pub const AUTHORITY: Self = Self(1);
    pub const METHOD: Self = Self(2);
    pub const PATH: Self = Self(4);
    pub const SCHEME: Self = Self(6);
    pub const STATUS: Self = Self(8);
    pub const ACCEPT_CHARSET: Self = Self(15);
    pub const ACCEPT_ENCODING: Self = Self(16);
    pub const ACCEPT_LANGUAGE: Self = Self(17);
    pub const ACCEPT_RANGES: Self = Self(18);
    pub const ACCEPT: Self = Self(19);
    pub const ACCESS_CONTROL_ALLOW_ORIGIN: Self = Self(20);
    pub const AGE: Self = Self(21);
    pub const ALLOW: Self = Self(22);
    pub const AUTHORIZATION: Self = Self(23);
    pub const CACHE_CONTROL: Self = Self(24);
    pub const CONTENT_DISPOSITION: Self = Self(25);
    pub const CONTENT_ENCODING: Self = Self(26);
    pub const CONTENT_LANGUAGE: Self = Self(27);
    pub const CONTENT_LENGTH: Self = Self(28);
    pub const CONTENT_LOCATION: Self = Self(29);
    pub const CONTENT_RANGE: Self = Self(30);
    pub const CONTENT_TYPE: Self = Self(31);
    pub const COOKIE: Self = Self(32);
    pub const DATE: Self = Self(33);
    pub const ETAG: Self = Self(34);
    pub const EXPECT: Self = Self(35);
    pub const EXPIRES: Self = Self(36);
    pub const FROM: Self = Self(37);
    pub const HOST: Self = Self(38);
    pub const IF_MATCH: Self = Self(39);
    pub const IF_MODIFIED_SINCE: Self = Self(40);
    pub const IF_NONE_MATCH: Self = Self(41);
    pub const IF_RANGE: Self = Self(42);
    pub const IF_UNMODIFIED_SINCE: Self = Self(43);
    pub const LAST_MODIFIED: Self = Self(44);
    pub const LINK: Self = Self(45);
    pub const LOCATION: Self = Self(46);
    pub const MAX_FORWARDS: Self = Self(47);
    pub const PROXY_AUTHENTICATE: Self = Self(48);
    pub const PROXY_AUTHORIZATION: Self = Self(49);
    pub const RANGE: Self = Self(50);
    pub const REFERER: Self = Self(51);
    pub const REFRESH: Self = Self(52);
    pub const RETRY_AFTER: Self = Self(53);
    pub const SERVER: Self = Self(54);
    pub const SET_COOKIE: Self = Self(55);
    pub const STRICT_TRANSPORT_SECURITY: Self = Self(56);
    pub const TRANSFER_ENCODING: Self = Self(57);
    pub const USER_AGENT: Self = Self(58);
    pub const VARY: Self = Self(59);
    pub const VIA: Self = Self(60);
    pub const WWW_AUTHENTICATE: Self = Self(61);
    pub const PROTOCOL: Self = Self(62);
    pub const CONNECTION: Self = Self(63);
    pub const KEEP_ALIVE: Self = Self(64);
    pub const PROXY_CONNECTION: Self = Self(65);
    pub const UPGRADE: Self = Self(66);
    pub const TE: Self = Self(67);
    pub const TRAILER: Self = Self(68);
    pub const PRIORITY: Self = Self(69);
    pub const X_PRIORITY: Self = Self(70);
    pub const HTTP2_SETTINGS: Self = Self(71);
}

/// One more than the greatest number of a known name.
pub(crate) const KNOWN_NAMES: usize = static_table::LEN + 1 + BEYOND_STATIC.len();

/// The known names that the static table lacks, from number 62 on.
const BEYOND_STATIC: [&str; 10] = [
    ":protocol",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
    "priority",
    "x-priority",
    "http2-settings",
];

/// Every known name by its number; nothing at 0.
const NAMES: [&str; KNOWN_NAMES] = {
    let mut names = [""; KNOWN_NAMES];
    let mut number = 1;
    while number < KNOWN_NAMES {
        names[number] = if number <= static_table::LEN {
            static_table::ENTRIES[number].0
        } else {
            BEYOND_STATIC[number - static_table::LEN - 1]
        };
        number += 1;
    }
    names
};

/// Numbers by the hash of their name, with linear probing; 0 is a free place.
const NUMBERS: [u8; 256] = {
    let mut numbers = [0; 256];
    let mut number = 1;
    while number < KNOWN_NAMES {
        let name = NAMES[number].as_bytes();
        // Of the entries that share a name, only the first has a number.
        if number == 1 || number > static_table::LEN || static_table::is_first(number) {
            let mut place = hash(name) as usize;
            while numbers[place] != 0 {
                place = (place + 1) % 256;
            }
            numbers[place] = number as u8;
        }
        number += 1;
    }
    numbers
};

/// A hash that takes three octets and the length: enough to tell these names apart. `name` isn't empty.
const fn hash(name: &[u8]) -> u8 {
    let first = name[0] as u32;
    let middle = name[name.len() / 2] as u32;
    let last = name[name.len() - 1] as u32;
    let mixed = first ^ (middle << 8) ^ (last << 16) ^ ((name.len() as u32) << 24);
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

impl KnownName {
    /// The known name with these octets (lower case), if there is one.
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let mut place = hash(name);
        loop {
            let number = NUMBERS[place as usize];
            if number == 0 {
                return None;
            }
            if NAMES[number as usize].as_bytes() == name {
                return Some(Self(number));
            }
            place = place.wrapping_add(1);
        }
    }

    /// The name's octets, in lower case.
    pub fn as_str(self) -> &'static str {
        NAMES[self.0 as usize]
    }
}

impl std::fmt::Debug for KnownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_octets() {
        for (number, name) in NAMES.iter().enumerate().skip(1) {
            let known = KnownName::of(name.as_bytes()).expect(name);
            assert_eq!(known.as_str(), *name);
            assert!(
                usize::from(known.0) <= number,
                "{name} has its first number"
            );
        }
        assert_eq!(KnownName::of(b":method"), Some(KnownName::METHOD));
        assert_eq!(
            KnownName::of(b"www-authenticate"),
            Some(KnownName::WWW_AUTHENTICATE)
        );
        assert_eq!(
            KnownName::of(b"http2-settings"),
            Some(KnownName::HTTP2_SETTINGS)
        );
    }

    #[test]
    fn other_names_are_not_known() {
        for name in [
            "",
            "x",
            ":",
            "Host",
            "hosts",
            ":methoD",
            "content-lengti",
            "www-authenticat",
        ] {
            assert_eq!(KnownName::of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_lookup_looks_at_few_places() {
        // The worst run of taken places bounds the cost of a hostile name.
        let run = NUMBERS
            .iter()
            .chain(&NUMBERS)
            .fold((0, 0), |(run, worst), &number| {
                let run = if number == 0 { 0 } else { run + 1 };
                (run, worst.max(run))
            });
        assert!(run.1 <= 8, "{}", run.1);
    }
}
