//! The self-signed certificate of a server that is given no other.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

/// A certificate and its private key, both as PEM.
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// Makes a self-signed certificate (ECDSA, P-256) for localhost, 127.0.0.1 and ::1, valid for 90
/// days.
///
/// # Errors
/// An error of the cryptographic library.
pub fn self_signed() -> Result<Pem, rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "tidegate self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    // The certificate must be valid for a client whose clock is a little off.
    params.not_before = (now - day).into();
    params.not_after = (now + 90 * day).into();
    let certificate = params.self_signed(&key)?;
    Ok(Pem {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_its_own() {
        let (one, other) = (self_signed().unwrap(), self_signed().unwrap());
        assert!(one.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(one.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(one.certificate, other.certificate);
        assert_ne!(one.key, other.key);
    }
}
