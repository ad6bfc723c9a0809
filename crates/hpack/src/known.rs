//! Field names that have a number.

use std::num::NonZeroU8;

use crate::static_table;

/// A field name that has a number, so that it is compared without its bytes.
///
/// Numbers 1 to 61 are the *first* index in the static table (RFC 7541 Appendix A) with the name.
/// Higher numbers are names that the static table lacks, but that HTTP/2 gives a meaning or most
/// messages carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KnownName(NonZeroU8);

#[allow(missing_docs)]
impl KnownName {
    pub const AUTHORITY: Self = Self::numbered(1);
    pub const METHOD: Self = Self::numbered(2);
    pub const PATH: Self = Self::numbered(4);
    pub const SCHEME: Self = Self::numbered(6);
    pub const STATUS: Self = Self::numbered(8);
    pub const ACCEPT_CHARSET: Self = Self::numbered(15);
    pub const ACCEPT_ENCODING: Self = Self::numbered(16);
    pub const ACCEPT_LANGUAGE: Self = Self::numbered(17);
    pub const ACCEPT_RANGES: Self = Self::numbered(18);
    pub const ACCEPT: Self = Self::numbered(19);
    pub const ACCESS_CONTROL_ALLOW_ORIGIN: Self = Self::numbered(20);
    pub const AGE: Self = Self::numbered(21);
    pub const ALLOW: Self = Self::numbered(22);
    pub const AUTHORIZATION: Self = Self::numbered(23);
    pub const CACHE_CONTROL: Self = Self::numbered(24);
    pub const CONTENT_DISPOSITION: Self = Self::numbered(25);
    pub const CONTENT_ENCODING: Self = Self::numbered(26);
    pub const CONTENT_LANGUAGE: Self = Self::numbered(27);
    pub const CONTENT_LENGTH: Self = Self::numbered(28);
    pub const CONTENT_LOCATION: Self = Self::numbered(29);
    pub const CONTENT_RANGE: Self = Self::numbered(30);
    pub const CONTENT_TYPE: Self = Self::numbered(31);
    pub const COOKIE: Self = Self::numbered(32);
    pub const DATE: Self = Self::numbered(33);
    pub const ETAG: Self = Self::numbered(34);
    pub const EXPECT: Self = Self::numbered(35);
    pub const EXPIRES: Self = Self::numbered(36);
    pub const FROM: Self = Self::numbered(37);
    pub const HOST: Self = Self::numbered(38);
    pub const IF_MATCH: Self = Self::numbered(39);
    pub const IF_MODIFIED_SINCE: Self = Self::numbered(40);
    pub const IF_NONE_MATCH: Self = Self::numbered(41);
    pub const IF_RANGE: Self = Self::numbered(42);
    pub const IF_UNMODIFIED_SINCE: Self = Self::numbered(43);
    pub const LAST_MODIFIED: Self = Self::numbered(44);
    pub const LINK: Self = Self::numbered(45);
    pub const LOCATION: Self = Self::numbered(46);
    pub const MAX_FORWARDS: Self = Self::numbered(47);
    pub const PROXY_AUTHENTICATE: Self = Self::numbered(48);
    pub const PROXY_AUTHORIZATION: Self = Self::numbered(49);
    pub const RANGE: Self = Self::numbered(50);
    pub const REFERER: Self = Self::numbered(51);
    pub const REFRESH: Self = Self::numbered(52);
    pub const RETRY_AFTER: Self = Self::numbered(53);
    pub const SERVER: Self = Self::numbered(54);
    pub const SET_COOKIE: Self = Self::numbered(55);
    pub const STRICT_TRANSPORT_SECURITY: Self = Self::numbered(56);
    pub const TRANSFER_ENCODING: Self = Self::numbered(57);
    pub const USER_AGENT: Self = Self::numbered(58);
    pub const VARY: Self = Self::numbered(59);
    pub const VIA: Self = Self::numbered(60);
    pub const WWW_AUTHENTICATE: Self = Self::numbered(61);
    pub const PROTOCOL: Self = Self::numbered(62);
    pub const CONNECTION: Self = Self::numbered(63);
    pub const KEEP_ALIVE: Self = Self::numbered(64);
    pub const PROXY_CONNECTION: Self = Self::numbered(65);
    pub const UPGRADE: Self = Self::numbered(66);
    pub const TE: Self = Self::numbered(67);
    pub const TRAILER: Self = Self::numbered(68);
    pub const PRIORITY: Self = Self::numbered(69);
    pub const X_PRIORITY: Self = Self::numbered(70);
    pub const HTTP2_SETTINGS: Self = Self::numbered(71);
    pub const ACCEPT_CH: Self = Self::numbered(72);
    pub const ACCESS_CONTROL_ALLOW_CREDENTIALS: Self = Self::numbered(73);
    pub const ACCESS_CONTROL_ALLOW_HEADERS: Self = Self::numbered(74);
    pub const ACCESS_CONTROL_ALLOW_METHODS: Self = Self::numbered(75);
    pub const ACCESS_CONTROL_EXPOSE_HEADERS: Self = Self::numbered(76);
    pub const ACCESS_CONTROL_MAX_AGE: Self = Self::numbered(77);
    pub const ACCESS_CONTROL_REQUEST_HEADERS: Self = Self::numbered(78);
    pub const ACCESS_CONTROL_REQUEST_METHOD: Self = Self::numbered(79);
    pub const ALT_SVC: Self = Self::numbered(80);
    pub const CONTENT_SECURITY_POLICY: Self = Self::numbered(81);
    pub const CROSS_ORIGIN_EMBEDDER_POLICY: Self = Self::numbered(82);
    pub const CROSS_ORIGIN_OPENER_POLICY: Self = Self::numbered(83);
    pub const CROSS_ORIGIN_RESOURCE_POLICY: Self = Self::numbered(84);
    pub const DNT: Self = Self::numbered(85);
    pub const EARLY_DATA: Self = Self::numbered(86);
    pub const FORWARDED: Self = Self::numbered(87);
    pub const GRPC_ACCEPT_ENCODING: Self = Self::numbered(88);
    pub const GRPC_ENCODING: Self = Self::numbered(89);
    pub const GRPC_MESSAGE: Self = Self::numbered(90);
    pub const GRPC_STATUS: Self = Self::numbered(91);
    pub const GRPC_TIMEOUT: Self = Self::numbered(92);
    pub const NEL: Self = Self::numbered(93);
    pub const ORIGIN: Self = Self::numbered(94);
    pub const PERMISSIONS_POLICY: Self = Self::numbered(95);
    pub const PRAGMA: Self = Self::numbered(96);
    pub const REFERRER_POLICY: Self = Self::numbered(97);
    pub const REPORT_TO: Self = Self::numbered(98);
    pub const SEC_CH_UA: Self = Self::numbered(99);
    pub const SEC_CH_UA_MOBILE: Self = Self::numbered(100);
    pub const SEC_CH_UA_PLATFORM: Self = Self::numbered(101);
    pub const SEC_FETCH_DEST: Self = Self::numbered(102);
    pub const SEC_FETCH_MODE: Self = Self::numbered(103);
    pub const SEC_FETCH_SITE: Self = Self::numbered(104);
    pub const SEC_FETCH_USER: Self = Self::numbered(105);
    pub const SEC_GPC: Self = Self::numbered(106);
    pub const SERVER_TIMING: Self = Self::numbered(107);
    pub const TIMING_ALLOW_ORIGIN: Self = Self::numbered(108);
    pub const TRACEPARENT: Self = Self::numbered(109);
    pub const TRACESTATE: Self = Self::numbered(110);
    pub const UPGRADE_INSECURE_REQUESTS: Self = Self::numbered(111);
    pub const X_CACHE: Self = Self::numbered(112);
    pub const X_CONTENT_TYPE_OPTIONS: Self = Self::numbered(113);
    pub const X_FORWARDED_FOR: Self = Self::numbered(114);
    pub const X_FORWARDED_HOST: Self = Self::numbered(115);
    pub const X_FORWARDED_PROTO: Self = Self::numbered(116);
    pub const X_FRAME_OPTIONS: Self = Self::numbered(117);
    pub const X_POWERED_BY: Self = Self::numbered(118);
    pub const X_REAL_IP: Self = Self::numbered(119);
    pub const X_REQUEST_ID: Self = Self::numbered(120);
    pub const X_REQUESTED_WITH: Self = Self::numbered(121);
    pub const X_XSS_PROTECTION: Self = Self::numbered(122);
}

/// A set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownNames([u64; 2]);

impl KnownNames {
    /// Makes a set of these names.
    pub const fn new(names: &[KnownName]) -> Self {
        let mut set = Self([0; 2]);
        let mut i = 0;
        while i < names.len() {
            set.insert(names[i]);
            i += 1;
        }
        set
    }

    /// Returns the set with one more name.
    #[must_use]
    pub const fn with(mut self, name: KnownName) -> Self {
        self.insert(name);
        self
    }

    /// Adds a name. Numbers are below 128.
    #[inline]
    pub(crate) const fn insert(&mut self, name: KnownName) {
        let number = name.number();
        self.0[(number / 64 % 2) as usize] |= 1 << (number % 64);
    }

    /// Whether the set has this name.
    #[inline]
    pub const fn contains(self, name: KnownName) -> bool {
        let number = name.number();
        self.0[(number / 64 % 2) as usize] & 1 << (number % 64) != 0
    }

    /// Whether a name is in both sets.
    #[inline]
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0[0] & other.0[0] != 0 || self.0[1] & other.0[1] != 0
    }
}

/// The known names that the static table lacks, from number 62 on.
const BEYOND_STATIC: [&str; 61] = [
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
    "accept-ch",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "alt-svc",
    "content-security-policy",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "dnt",
    "early-data",
    "forwarded",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "nel",
    "origin",
    "permissions-policy",
    "pragma",
    "referrer-policy",
    "report-to",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "server-timing",
    "timing-allow-origin",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "x-cache",
    "x-content-type-options",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-frame-options",
    "x-powered-by",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-xss-protection",
];

/// One more than the greatest number of a known name. Numbers stay below 128, so a few are left.
const END: usize = static_table::LEN + 1 + BEYOND_STATIC.len();

/// Every known name by its number. The array covers all values of a byte, so a lookup needs no
/// bounds check.
static NAMES: [&str; 256] = {
    let mut names = [""; 256];
    let mut number = 1;
    while number < END {
        names[number] = if number <= static_table::LEN {
            static_table::ENTRIES[number].0
        } else {
            BEYOND_STATIC[number - static_table::LEN - 1]
        };
        number += 1;
    }
    assert!(END <= 128);
    names
};

/// Numbers by the hash of their name, with linear probing; 0 marks a free place.
static NUMBERS: [u8; 256] = {
    let mut numbers = [0; 256];
    let mut number = 1;
    while number < END {
        let name = NAMES[number].as_bytes();
        // Of the entries with the same name, only the first has a number.
        if number > static_table::LEN || static_table::is_first(number) {
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

/// Hashes three bytes and the length: enough to distinguish these names. `name` must not be empty.
const fn hash(name: &[u8]) -> u8 {
    let first = name[0] as u32;
    let middle = name[name.len() / 2] as u32;
    let last = name[name.len() - 1] as u32;
    let mixed = first ^ (middle << 8) ^ (last << 16) ^ ((name.len() as u32) << 24);
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

impl KnownName {
    /// Returns the known name with these bytes (lower case), if there is one.
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let mut place = hash(name);
        loop {
            let number = NUMBERS[usize::from(place)];
            let known = Self(NonZeroU8::new(number)?);
            if known.as_str().as_bytes() == name {
                return Some(known);
            }
            place = place.wrapping_add(1);
        }
    }

    /// Returns the name in lower case.
    #[inline]
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.number())]
    }

    /// Returns the name's number, 1 to 127.
    #[inline]
    pub(crate) const fn number(self) -> u8 {
        self.0.get()
    }

    /// Returns the name with this number, which must not be 0.
    pub(crate) const fn numbered(number: u8) -> Self {
        match NonZeroU8::new(number) {
            Some(number) => Self(number),
            None => panic!("0 isn't a known name's number"),
        }
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
    fn every_name_is_found_by_its_bytes() {
        for (number, name) in NAMES.iter().enumerate().take(END).skip(1) {
            let known = KnownName::of(name.as_bytes()).expect(name);
            assert_eq!(known.as_str(), *name);
            assert!(
                usize::from(known.number()) <= number,
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
        // The longest run of taken places bounds the cost of a hostile name.
        let run = NUMBERS
            .iter()
            .chain(&NUMBERS)
            .fold((0, 0), |(run, worst), &number| {
                let run = if number == 0 { 0 } else { run + 1 };
                (run, worst.max(run))
            });
        assert!(run.1 <= 12, "{}", run.1);
    }
}
