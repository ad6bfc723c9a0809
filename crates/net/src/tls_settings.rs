//! Everything that TLS servers may negotiate: versions, cipher suites, groups, tickets, early data.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::TlsError;
use crate::tickets::Tickets;

/// The TLS settings of a server that its sites share.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The least version that clients may speak. Default: TLS 1.2.
    pub min_version: TlsVersion,
    /// The cipher suites, the preferred one first. Empty, the default: all that rustls offers.
    pub suites: Vec<TlsSuite>,
    /// The groups of the key exchange, the preferred one first. Empty, the default: those that
    /// rustls offers.
    pub groups: Vec<TlsGroup>,
    /// The keys of session tickets.
    pub tickets: Tickets,
    /// Whether clients may send requests before the handshake is done. Default: off.
    pub early_data: EarlyData,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A cipher suite.
#[derive(Clone, Copy, PartialEq)]
pub struct TlsSuite(SupportedCipherSuite);

/// A group of the key exchange.
#[derive(Clone, Copy)]
pub struct TlsGroup(&'static dyn SupportedKxGroup);

/// Whether clients may send data in the first flight of a resumed session (RFC 8446 §2.3). An
/// attacker may send a copy of it.
#[derive(Clone, Debug)]
pub enum EarlyData {
    /// Clients must not.
    Off,
    /// Clients may. Each session of this store can be resumed once, so a copy of its early data is
    /// ignored. Tickets have no content then, and only this process can resume a session.
    On(Arc<dyn StoresServerSessions>),
}

impl EarlyData {
    /// Bytes that a client may send early.
    pub(crate) const MOST: u32 = 16 << 10;

    /// Allows early data, for at most this many sessions that may be resumed.
    pub fn on(sessions: usize) -> Self {
        Self::On(ServerSessionMemoryCache::new(sessions))
    }
}

impl TlsSettings {
    /// Returns the defaults, with ticket keys of their own.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self::with_tickets(Tickets::random()?))
    }

    /// Returns the defaults, with these ticket keys.
    pub fn with_tickets(tickets: Tickets) -> Self {
        Self {
            min_version: TlsVersion::V1_2,
            suites: Vec::new(),
            groups: Vec::new(),
            tickets,
            early_data: EarlyData::Off,
        }
    }

    /// Returns the cryptography for rustls.
    pub(crate) fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites = self.suites.iter().map(|suite| suite.0).collect();
        }
        if !self.groups.is_empty() {
            provider.kx_groups = self.groups.iter().map(|group| group.0).collect();
        }
        provider
    }

    /// Returns the versions for rustls: those that some suite is for.
    pub(crate) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let is_of = |suite: &TlsSuite, version: &SupportedProtocolVersion| {
            suite.0.version().version == version.version
        };
        let has_suite = |version: &&'static SupportedProtocolVersion| {
            self.suites.is_empty() || self.suites.iter().any(|suite| is_of(suite, version))
        };
        let allowed: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let versions: Vec<_> = allowed.iter().copied().filter(has_suite).collect();
        if versions.is_empty() {
            return Err(TlsError::NoSuiteOfVersion);
        }
        Ok(versions)
    }
}

impl TlsSuite {
    /// Returns the cipher suite of this name, as IANA or OpenSSL has it.
    pub fn named(name: &str) -> Option<Self> {
        let plain = plain_suite(name);
        let mut all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
        let found = all.find(|suite| plain_suite(&suite_name(suite)) == plain)?;
        Some(Self(*found))
    }

    /// Returns the names of all cipher suites, as IANA has them.
    pub fn names() -> impl Iterator<Item = String> {
        aws_lc_rs::ALL_CIPHER_SUITES.iter().map(suite_name)
    }
}

fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    // rustls says the version in the names of TLS 1.3.
    name.replace("TLS13_", "TLS_")
}

/// Returns what the names of IANA and OpenSSL have in common.
fn plain_suite(name: &str) -> String {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let name = name.trim_start_matches("TLS_").replace("TLS13_", "");
    let name = name.replace("_WITH_", "_");
    // OpenSSL leaves out the hash of the suites for TLS 1.2.
    let name = match name.strip_suffix("POLY1305_SHA256") {
        Some(front) => format!("{front}POLY1305"),
        None => name,
    };
    name.replace('_', "")
}

impl fmt::Debug for TlsSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&suite_name(&self.0))
    }
}

impl TlsGroup {
    /// Returns the group of this name, as IANA or OpenSSL has it, or NIST.
    pub fn named(name: &str) -> Option<Self> {
        let name = match &*name.to_ascii_lowercase() {
            "p-256" | "prime256v1" => "secp256r1".to_owned(),
            "p-384" => "secp384r1".to_owned(),
            name => name.to_owned(),
        };
        let mut all = aws_lc_rs::ALL_KX_GROUPS.iter();
        let found = all.find(|group| group_name(**group).eq_ignore_ascii_case(&name))?;
        Some(Self(*found))
    }

    /// Returns the names of all groups, as IANA has them.
    pub fn names() -> impl Iterator<Item = String> {
        aws_lc_rs::ALL_KX_GROUPS
            .iter()
            .map(|group| group_name(*group))
    }
}

fn group_name(group: &dyn SupportedKxGroup) -> String {
    format!("{:?}", group.name())
}

impl fmt::Debug for TlsGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&group_name(self.0))
    }
}

impl PartialEq for TlsGroup {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_iana_and_openssl() {
        for (name, found) in [
            ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            ("tls13_aes_128_gcm_sha256", "TLS_AES_128_GCM_SHA256"),
            (
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_CHACHA20_POLY1305_SHA256",
            ),
            (
                "ECDHE-RSA-AES256-GCM-SHA384",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            ),
        ] {
            let suite = TlsSuite::named(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(format!("{suite:?}"), found);
        }
        for name in TlsSuite::names() {
            assert_eq!(format!("{:?}", TlsSuite::named(&name).unwrap()), name);
        }
        for name in ["", "AES128-SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256"] {
            assert_eq!(TlsSuite::named(name), None, "{name}");
        }
    }

    #[test]
    fn groups_have_the_names_of_iana_openssl_and_nist() {
        for (name, found) in [
            ("X25519MLKEM768", "X25519MLKEM768"),
            ("x25519", "X25519"),
            ("P-256", "secp256r1"),
            ("prime256v1", "secp256r1"),
            ("secp384r1", "secp384r1"),
        ] {
            assert_eq!(format!("{:?}", TlsGroup::named(name).unwrap()), found);
        }
        assert_eq!(TlsGroup::named("secp521r1"), None);
        assert!(TlsGroup::names().any(|name| name == "X25519MLKEM768"));
    }

    #[test]
    fn versions_need_suites() {
        let mut settings = TlsSettings::new().unwrap();
        assert_eq!(settings.versions().unwrap().len(), 2);
        settings.suites = vec![TlsSuite::named("ECDHE-RSA-AES256-GCM-SHA384").unwrap()];
        assert_eq!(settings.versions().unwrap(), [&TLS12]);
        settings.min_version = TlsVersion::V1_3;
        let error = settings.versions().unwrap_err();
        assert!(matches!(error, TlsError::NoSuiteOfVersion), "{error}");
    }
}
