//! Field names that the engine knows by number.

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
    // hpack: one constant per static name, then:
    pub const CONTENT_LENGTH: Self = Self(28);
    pub const COOKIE: Self = Self(32);
    pub const HOST: Self = Self(38);
    pub const TRANSFER_ENCODING: Self = Self(57);
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

impl KnownName {
    /// The known name with these octets (lower case), if there is one.
    pub fn of(_name: &[u8]) -> Option<Self> {
        todo!()
    }

    /// The name's octets, in lower case.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

impl std::fmt::Debug for KnownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
