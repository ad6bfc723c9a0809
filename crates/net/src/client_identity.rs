//! Facts about a client's certificate, as text for those who decide what the client may do.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

use crate::certificate::address;

/// Facts about a certificate that a client has shown, in visible ASCII and spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject as RFC 4514 writes it: `CN=client,O=Example`.
    pub subject: String,
    /// The alternative names: `DNS:client.test, email:a@b.test, URI:spiffe://x/y, IP:192.0.2.1`.
    /// A comma, a space or any character that isn't visible in a name is percent-encoded.
    pub names: String,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
}

impl ClientIdentity {
    /// Reads a certificate (DER). What can't be read is empty.
    pub fn of(certificate: &[u8]) -> Self {
        let mut fingerprint = String::with_capacity(64);
        for byte in digest(&SHA256, certificate).as_ref() {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
            return Self {
                fingerprint,
                ..Self::default()
            };
        };
        let names = match parsed.subject_alternative_name() {
            Ok(Some(names)) => names_of(&names.value.general_names),
            Ok(None) | Err(_) => String::new(),
        };
        Self {
            subject: subject(parsed.subject()),
            names,
            fingerprint,
        }
    }
}

/// Writes a distinguished name. RFC 4514 §2.1: "starting with the last element of the sequence and
/// moving backwards toward the first".
fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let names: Vec<_> = name.iter_rdn().collect();
    for name in names.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (nth, attribute) in name.iter().enumerate() {
            if nth > 0 {
                text.push('+');
            }
            let kind = attribute.attr_type();
            match oid2abbrev(kind, oid_registry()) {
                Ok(known) => text.push_str(known),
                Err(_) => text.push_str(&kind.to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => push_value(&mut text, value.as_bytes()),
                // A type of string that isn't one of ASCII or UTF-8.
                Err(_) => push_value(&mut text, attribute.as_slice()),
            }
        }
    }
    text
}

/// Writes a value of a distinguished name, as RFC 4514 §2.4 escapes it.
fn push_value(text: &mut String, value: &[u8]) {
    for (place, &byte) in value.iter().enumerate() {
        let is_edge = place == 0 || place + 1 == value.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => text.extend(['\\', byte.into()]),
            b'#' if place == 0 => text.push_str("\\#"),
            b' ' if is_edge => text.push_str("\\ "),
            b' '..=b'~' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

fn names_of(names: &[GeneralName<'_>]) -> String {
    let mut text = String::new();
    for name in names {
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("DNS", encoded(name)),
            GeneralName::RFC822Name(name) => ("email", encoded(name)),
            GeneralName::URI(name) => ("URI", encoded(name)),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => ("IP", address.to_string()),
                None => continue,
            },
            _ => continue,
        };
        if !text.is_empty() {
            text.push_str(", ");
        }
        let _ = write!(text, "{kind}:{value}");
    }
    text
}

/// Returns a name in which nothing looks like the end of the name.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b',' | b'%' => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            b'!'..=b'~' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn facts_are_text_that_nobody_can_forge() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example, Inc.");
        params
            .distinguished_name
            .push(DnType::CommonName, " a\r\nx-b: \u{fc},CN=root#");
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        params.subject_alt_names = vec![
            SanType::DnsName(text("a.test, DNS:b.test")),
            SanType::Rfc822Name(text("a@b.test")),
            SanType::URI(text("spiffe://a/b%\r\n")),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let identity = ClientIdentity::of(certificate.der());
        assert_eq!(
            identity.subject,
            r"CN=\ a\0D\0Ax-b: \C3\BC\,CN=root#,O=Example\, Inc."
        );
        assert_eq!(
            identity.names,
            "DNS:a.test%2C%20DNS:b.test, email:a@b.test, URI:spiffe://a/b%25%0D%0A, IP:192.0.2.1, \
             IP:2001:db8::1"
        );
        assert_eq!(identity.fingerprint.len(), 64);
        let nothing = ClientIdentity::of(b"nothing");
        assert_eq!(nothing.subject, "");
        assert_eq!(nothing.fingerprint.len(), 64);
    }
}
