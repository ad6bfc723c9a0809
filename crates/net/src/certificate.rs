//! A server's certificate: its chain and key, or several of them for different kinds of keys.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::asn1_time::instant;
use crate::{TlsError, ocsp, pem};

/// A server's certificate with its chain and private key. It may have others beside it, for the
/// same names but with keys of other kinds.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// At least one. A client gets the first whose signatures it can check.
    keys: Vec<Key>,
    names: Vec<String>,
    validity: Option<RangeInclusive<SystemTime>>,
}

/// A chain with its key, and perhaps an OCSP response about it.
#[derive(Clone, Debug)]
struct Key {
    plain: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
}

/// A chain that is sent with an OCSP response.
#[derive(Clone, Debug)]
struct Stapled {
    key: Arc<CertifiedKey>,
    /// When clients stop believing the response.
    until: Option<SystemTime>,
}

impl Key {
    fn new(key: CertifiedKey) -> Self {
        Self {
            plain: Arc::new(key),
            stapled: None,
        }
    }

    /// Returns the chain for a handshake at a time, which is asked for only if it matters.
    fn at(&self, now: impl FnOnce() -> SystemTime) -> &Arc<CertifiedKey> {
        match &self.stapled {
            // RFC 6960 §4.2.2.1: clients consider an outdated response unreliable, and some end the
            // handshake.
            Some(Stapled { until, .. }) if until.is_some_and(|until| until < now()) => &self.plain,
            Some(stapled) => &stapled.key,
            None => &self.plain,
        }
    }
}

impl Certificate {
    /// Reads a certificate chain (leaf first) and its private key, both PEM text (RFC 7468). Both
    /// may be in one file: other blocks are skipped, and so is text between blocks.
    ///
    /// # Errors
    /// Returns an error if one of them is missing or unreadable, or if they don't belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::from_der(pem::certificates(certificates)?, &pem::private_key(key)?)
    }

    /// Takes a certificate chain (leaf first) and its private key in DER.
    ///
    /// # Errors
    /// Returns an error if the certificate or the key can't be used, or if they don't belong
    /// together.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let leaf = certificates.first().ok_or(TlsError::NoCertificate)?;
        let (names, validity) = (names(leaf), validity(leaf));
        let key = certified_key(certificates, key, &aws_lc_rs::default_provider())?;
        Ok(Self {
            keys: vec![Key::new(key)],
            names,
            validity,
        })
    }

    /// Adds another certificate for clients that can't check the signatures of these, such as one
    /// with an RSA key beside one with an ECDSA key.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.names.retain(|name| other.names.contains(name));
        self.validity = match (self.validity, other.validity) {
            (Some(one), Some(other)) => {
                let start = *one.start().max(other.start());
                Some(start..=*one.end().min(other.end()))
            }
            _ => None,
        };
        self
    }

    /// Sends an OCSP response (RFC 6960, DER) with the certificate that it is about (RFC 6066 §8),
    /// to clients that ask for it, until it is out of date.
    ///
    /// # Errors
    /// Returns an error if the response can't be read, is about another certificate, doesn't say
    /// `good`, or is out of date.
    pub fn staple(&mut self, response: &[u8], now: SystemTime) -> Result<(), TlsError> {
        let response_for = ocsp::read(response).map_err(TlsError::Ocsp)?;
        let is_about = |key: &&mut Key| {
            let leaf = key.plain.cert.first();
            leaf.is_some_and(|leaf| {
                parse_x509_certificate(leaf)
                    .is_ok_and(|(_, leaf)| leaf.raw_serial() == response_for.serial)
            })
        };
        let key = self.keys.iter_mut().find(is_about);
        let key = key.ok_or(TlsError::OcspOfAnother)?;
        response_for.check(now)?;
        let mut stapled = CertifiedKey::clone(&key.plain);
        stapled.ocsp = Some(response.to_vec());
        key.stapled = Some(Stapled {
            key: Arc::new(stapled),
            until: response_for.next_update,
        });
        Ok(())
    }

    /// Returns the names that all of these certificates are for, in lower case: DNS names, perhaps
    /// with a wildcard, and IP addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns when all of these certificates are valid, both ends included. `None` if the years
    /// are outside the range of the system's clock.
    pub fn validity(&self) -> Option<&RangeInclusive<SystemTime>> {
        self.validity.as_ref()
    }

    /// Returns the certificate for a client.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls leaves out the schemes that fit none of the client's versions and suites.
        let schemes = hello.signature_schemes();
        let mut keys = self.keys.iter();
        let fit = keys.find(|key| key.plain.key.choose_scheme(schemes).is_some());
        let key = fit.or(self.keys.first())?;
        Some(Arc::clone(key.at(SystemTime::now)))
    }
}

/// Returns a chain with its key, after checking that they belong together.
pub(crate) fn certified_key(
    certificates: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(TlsError::KeyUnusable)?;
    let certified = CertifiedKey::new(certificates, key);
    let error = match certified.keys_match() {
        // Some keys can't tell their public half, so they can't be checked.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => return Ok(certified),
        Err(error) => error,
    };
    match place_of_key(&certified) {
        // webpki reads only what it would trust. Clients may trust more: RFC 5280 §4.1.2.1 has
        // version 1 too.
        Some(0) => Ok(certified),
        Some(place) => Err(TlsError::LeafNotFirst(place + 1)),
        None if is_certificate(&certified) => Err(TlsError::KeyMismatch),
        None => Err(TlsError::CertificateUnusable(error)),
    }
}

/// Returns when a certificate is valid.
fn validity(certificate: &[u8]) -> Option<RangeInclusive<SystemTime>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    Some(instant(validity.not_before)?..=instant(validity.not_after)?)
}

/// Returns the names of a certificate (RFC 5280 §4.2.1.6).
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => Some(address(bytes)?.to_string()),
        _ => None,
    };
    names.filter_map(name).collect()
}

/// Returns the address in a name of a certificate.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).ok()
}

/// Returns the index of the certificate in the chain that the key was made for.
fn place_of_key(certified: &CertifiedKey) -> Option<usize> {
    let key = certified.key.public_key()?;
    certified.cert.iter().position(|certificate| {
        let parsed = parse_x509_certificate(certificate);
        parsed.is_ok_and(|(rest, parsed)| rest.is_empty() && parsed.public_key().raw == &*key)
    })
}

/// Whether the first of the chain is a certificate of any version.
fn is_certificate(certified: &CertifiedKey) -> bool {
    let first = certified.cert.first();
    first.is_some_and(|first| parse_x509_certificate(first).is_ok())
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::tls::Certificate as Made;

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn pair() -> (String, String) {
        let made = Made::localhost();
        (made.pem, made.key)
    }

    fn error(certificate: &str, key: &str) -> TlsError {
        let result = Certificate::from_pem(certificate.as_bytes(), key.as_bytes());
        result.expect_err("this pair can't be used")
    }

    #[test]
    fn takes_a_pair_also_from_one_file() {
        let (certificate, key) = pair();
        assert!(Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
        let both = format!("{certificate}{key}");
        assert!(Certificate::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }

    #[test]
    fn tells_a_key_of_another_certificate() {
        let (certificate, _) = pair();
        let (_, key) = pair();
        let error = error(&certificate, &key);
        assert!(matches!(error, TlsError::KeyMismatch), "{error}");
    }

    #[test]
    fn tells_what_is_missing_or_broken() {
        let (certificate, key) = pair();
        let no_certificate = error(&key, &key);
        assert!(matches!(no_certificate, TlsError::NoCertificate));
        let no_key = error(&certificate, &certificate);
        assert!(matches!(no_key, TlsError::NoKey));
        let middle = certificate.len() / 2;
        let broken = error(
            &format!("{}!?{}", &certificate[..middle], &certificate[middle..]),
            &key,
        );
        assert!(
            matches!(broken, TlsError::CertificateUnreadable(_)),
            "{broken}"
        );
        let broken = error(&certificate, &key[..key.len() / 2]);
        assert!(matches!(broken, TlsError::KeyUnreadable(_)), "{broken}");
    }

    /// Returns the tag of one element of DER, its content, and the bytes after it.
    fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (header, length) = match der[1] {
            length @ 0..0x80 => (2, usize::from(length)),
            digits => {
                let digits = usize::from(digits & 0x7f);
                let length = der[2..2 + digits].iter();
                let length = length.fold(0, |length, &byte| length << 8 | usize::from(byte));
                (2 + digits, length)
            }
        };
        (
            der[0],
            &der[header..header + length],
            &der[header + length..],
        )
    }

    fn sequence(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], &length[..], content].concat()
    }

    /// Returns the certificate without its version and its extensions. Apart from its signature, it
    /// is a version 1 certificate.
    fn version_1(der: &[u8]) -> Vec<u8> {
        let (_, certificate, _) = element(der);
        let (_, mut fields, signature) = element(certificate);
        let mut kept = Vec::new();
        while !fields.is_empty() {
            let (tag, _, rest) = element(fields);
            if !matches!(tag, 0xa0 | 0xa3) {
                kept.extend_from_slice(&fields[..fields.len() - rest.len()]);
            }
            fields = rest;
        }
        sequence(&[&sequence(&kept), signature].concat())
    }

    #[test]
    fn a_certificate_of_version_1_is_served() {
        let load = |certificate: &str, key: &str| {
            let certificate = pem::certificates(certificate.as_bytes()).unwrap();
            let der = CertificateDer::from(version_1(&certificate[0]));
            let parsed = parse_x509_certificate(&der).unwrap().1;
            assert_eq!(parsed.version().0, 0);
            let key = pem::private_key(key.as_bytes()).unwrap();
            Certificate::from_der(vec![der.clone()], &key)
        };
        let (certificate, key) = pair();
        assert!(load(&certificate, &key).is_ok());
        let error = load(&certificate, &pair().1).err();
        assert!(matches!(error, Some(TlsError::KeyMismatch)), "{error:?}");
        let broken = vec![CertificateDer::from(vec![0x30, 3, 2, 1, 1])];
        let key = pem::private_key(key.as_bytes()).unwrap();
        let error = Certificate::from_der(broken, &key).err();
        assert!(
            matches!(error, Some(TlsError::CertificateUnusable(_))),
            "{error:?}"
        );
    }

    #[test]
    fn knows_how_long_the_certificate_is_valid() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let [from, until] = [1000, 2000].map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let config = Certificate::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes());
        assert_eq!(config.unwrap().validity(), Some(&(from..=until)));
    }

    #[test]
    fn knows_the_names_of_the_certificate() {
        let names = ["Example.com", "*.example.org", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let config = Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let names = ["example.com", "*.example.org", "127.0.0.1", "::1"];
        assert_eq!(config.names(), names);
    }

    #[test]
    fn tells_a_chain_in_the_wrong_order() {
        let (leaf, key) = pair();
        let chain = format!("{}{leaf}", pair().0);
        let error = error(&chain, &key);
        assert!(matches!(error, TlsError::LeafNotFirst(2)), "{error}");
    }

    #[test]
    fn an_ocsp_response_goes_to_its_certificate() {
        let (certificate, key) = pair();
        let mut served = Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let leaf = served.keys[0].plain.cert[0].clone();
        let serial = parse_x509_certificate(&leaf)
            .unwrap()
            .1
            .raw_serial()
            .to_vec();
        let now = SystemTime::now();
        let fine = ocsp::tests::response(&serial, 0x80, "20990101000000Z");
        served.staple(&fine, now).unwrap();
        let sent = |served: &Certificate, now| served.keys[0].at(|| now).ocsp.clone();
        assert_eq!(sent(&served, now), Some(fine));
        let after = UNIX_EPOCH + Duration::from_secs(4_070_908_800);
        assert!(sent(&served, after - Duration::from_secs(1)).is_some());
        assert_eq!(sent(&served, after + Duration::from_secs(1)), None);
        let other = ocsp::tests::response(&[1, 2], 0x80, "20990101000000Z");
        let result = served.staple(&other, now);
        assert!(matches!(result, Err(TlsError::OcspOfAnother)));
        let old = ocsp::tests::response(&serial, 0x80, "20200101000000Z");
        let result = served.staple(&old, now);
        assert!(matches!(result, Err(TlsError::OcspOutdated)));
    }
}
