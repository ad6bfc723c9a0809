//! Certificates and keys as text (RFC 7468), in the forms that people produce: with a byte order
//! mark, with any line ends, with attributes between blocks. Text that can't be read is refused,
//! never skipped, and so are blocks that run together: other programs lose all but the first.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::TlsError;

/// A block of text between its BEGIN and END lines.
struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

/// Returns all certificates of a text, at least one. Skips blocks of other kinds.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = as_text(text, "certificate")?;
    let mut certificates = Vec::new();
    for block in blocks(text).map_err(|error| error.of(TlsError::CertificateUnreadable))? {
        match block.label {
            "CERTIFICATE" => {
                let certificate = CertificateDer::from_pem_slice(block.to_lines().as_bytes());
                certificates.push(certificate.map_err(TlsError::CertificateUnreadable)?);
            }
            "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                return Err(TlsError::CertificateKind(block.label.to_owned()));
            }
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(certificates)
}

/// Returns all certificate revocation lists of a text, at least one. Skips blocks of other kinds.
pub(crate) fn revocation_lists(
    text: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = as_text(text, "revocation list")?;
    let mut lists = Vec::new();
    for block in blocks(text).map_err(|error| error.of(TlsError::RevocationListUnreadable))? {
        if block.label == "X509 CRL" {
            let list = CertificateRevocationListDer::from_pem_slice(block.to_lines().as_bytes());
            lists.push(list.map_err(TlsError::RevocationListUnreadable)?);
        }
    }
    if lists.is_empty() {
        return Err(TlsError::NoRevocationList);
    }
    Ok(lists)
}

/// Returns the first private key of a text. Skips blocks of other kinds.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = as_text(text, "private key")?;
    for block in blocks(text).map_err(|error| error.of(TlsError::KeyUnreadable))? {
        match block.label {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                // RFC 1421 §4.6.1.1: OpenSSL still writes this.
                if block.body.contains("Proc-Type: 4,ENCRYPTED") {
                    return Err(TlsError::KeyEncrypted);
                }
                let key = PrivateKeyDer::from_pem_slice(block.to_lines().as_bytes());
                return key.map_err(TlsError::KeyUnreadable);
            }
            "ENCRYPTED PRIVATE KEY" => return Err(TlsError::KeyEncrypted),
            _ => {}
        }
    }
    Err(TlsError::NoKey)
}

/// Refuses text that can't be PEM. PEM is ASCII, but anything may surround its blocks.
fn as_text<'t>(text: &'t [u8], what: &'static str) -> Result<&'t [u8], TlsError> {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(TlsError::Utf16(what)),
        // Both certificates and keys are a DER SEQUENCE.
        [0x30, 0x80..=0x84, ..] => Err(TlsError::Der(what)),
        _ => Ok(text),
    }
}

impl Block<'_> {
    /// Returns the block on lines of its own, for a parser that works by lines.
    fn to_lines(&self) -> String {
        let Self { label, body } = self;
        let body: String = body.split_ascii_whitespace().collect();
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// A mistake in the blocks of a text.
enum Mistake {
    /// A block isn't whole.
    Broken(pem::Error),
    /// A block begins right behind another.
    Glued,
}

impl Mistake {
    fn of(self, broken: impl FnOnce(pem::Error) -> TlsError) -> TlsError {
        match self {
            Self::Broken(error) => broken(error),
            Self::Glued => TlsError::Glued,
        }
    }
}

impl From<pem::Error> for Mistake {
    fn from(error: pem::Error) -> Self {
        Self::Broken(error)
    }
}

/// Returns the blocks of a text. Each may begin and end anywhere on a line, but not right behind
/// another.
///
/// # Errors
/// Returns an error if a block isn't whole.
fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, Mistake> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = find(rest, BEGIN) {
        let wrong_start = || pem::Error::IllegalSectionStart {
            line: line(&rest[begin..]),
        };
        // RFC 7468 §2: a block ends before another begins.
        if find(&rest[..begin], END).is_some() {
            return Err(wrong_start().into());
        }
        let (label, behind) = marker(&rest[begin + BEGIN.len()..]).ok_or_else(wrong_start)?;
        let wrong_end = || pem::Error::MissingSectionEnd {
            end_marker: format!("-----END {label}-----").into_bytes(),
        };
        let end = find(behind, END).ok_or_else(wrong_end)?;
        let body = std::str::from_utf8(&behind[..end]).map_err(|_| wrong_end())?;
        let (other, behind) = marker(&behind[end + END.len()..]).ok_or_else(wrong_end)?;
        if other != label || body.contains("-----BEGIN ") {
            return Err(wrong_end().into());
        }
        if behind.starts_with(BEGIN) {
            return Err(Mistake::Glued);
        }
        blocks.push(Block { label, body });
        rest = behind;
    }
    match find(rest, END) {
        Some(end) => Err(Mistake::Broken(pem::Error::IllegalSectionStart {
            line: line(&rest[end..]),
        })),
        None => Ok(blocks),
    }
}

/// Returns the label before five dashes, and the text after them.
fn marker(text: &[u8]) -> Option<(&str, &[u8])> {
    let dashes = find(text, DASHES)?;
    let label = std::str::from_utf8(&text[..dashes]).ok()?;
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ';
    (!label.is_empty() && label.bytes().all(is_label)).then_some((label, &text[dashes + 5..]))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|found| found == wanted)
}

/// Returns the first line, for a message.
fn line(text: &[u8]) -> Vec<u8> {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    text[..end.unwrap_or(text.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nMAMC\nAQI=\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQM=\n-----END PRIVATE KEY-----\n";

    fn ders(text: &str) -> Vec<Vec<u8>> {
        let certificates = certificates(text.as_bytes());
        let certificates = certificates.unwrap_or_else(|error| panic!("{text}: {error}"));
        certificates.iter().map(|der| der.to_vec()).collect()
    }

    #[test]
    fn a_chain_is_read_however_it_was_put_together() {
        let both = [vec![0x30, 3, 2, 1, 1], vec![0x30, 3, 2, 1, 2]];
        let lines = format!("{ONE}{TWO}");
        let indented = format!("{ONE}{TWO}")
            .replace("\n-", "\n    -")
            .replace("\nM", "\n  M");
        for text in [
            lines.clone(),
            lines.replace('\n', "\r\n"),
            lines.replace('\n', "\r"),
            lines.replace('\n', " "),
            format!("{ONE}{TWO}").trim_end().to_owned(),
            format!("\u{feff}{ONE}\u{feff}{TWO}"),
            format!(
                "Bag Attributes\n  friendlyName: ü\nsubject=/CN=a\n{ONE}\nissuer=b -- c\n{TWO}tail"
            ),
            format!("{KEY}{ONE}{KEY}{TWO}"),
            indented,
        ] {
            assert_eq!(ders(&text), both, "{text}");
        }
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let unreadable = |text: &str| {
            let error = certificates(text.as_bytes()).expect_err(text);
            assert!(
                matches!(error, TlsError::CertificateUnreadable(_)),
                "{text}: {error}"
            );
        };
        unreadable(&format!(
            "{ONE}{}",
            TWO.replace("-----END CERTIFICATE-----", "")
        ));
        unreadable(&format!(
            "{}{TWO}",
            ONE.replace("-----END CERTIFICATE-----", "")
        ));
        unreadable(&format!(
            "{ONE}{}",
            TWO.replace("-----BEGIN CERTIFICATE-----", "")
        ));
        unreadable(&format!(
            "{}{TWO}",
            ONE.replace("-----BEGIN CERTIFICATE-----", "")
        ));
        unreadable(&ONE.replace("CERTIFICATE-----\nM", "CERTIFICATE----\nM"));
        unreadable(&ONE.replace("END CERTIFICATE", "END PRIVATE KEY"));
        unreadable(&ONE.replace("MAMC", "MA!C"));
        for kind in ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"] {
            let error = certificates(ONE.replace("CERTIFICATE", kind).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
        }
        assert!(matches!(
            certificates(b"").unwrap_err(),
            TlsError::NoCertificate
        ));
        assert!(matches!(
            certificates(KEY.as_bytes()).unwrap_err(),
            TlsError::NoCertificate
        ));
        let utf16: Vec<u8> = "\u{feff}-"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(matches!(
            certificates(&utf16).unwrap_err(),
            TlsError::Utf16("certificate")
        ));
        assert!(matches!(
            certificates(&[0x30, 0x82, 1, 2]).unwrap_err(),
            TlsError::Der("certificate")
        ));
    }

    #[test]
    fn blocks_that_run_together_are_refused() {
        for text in [
            format!("{}{TWO}", ONE.trim_end()),
            format!("{ONE}{}{KEY}", TWO.trim_end()),
            format!("{ONE}{TWO}").replace('\n', ""),
        ] {
            let error = certificates(text.as_bytes()).unwrap_err();
            assert!(matches!(error, TlsError::Glued), "{text}: {error}");
        }
        let glued = format!("{}{KEY}", ONE.trim_end());
        let error = private_key(glued.as_bytes()).unwrap_err();
        assert!(matches!(error, TlsError::Glued), "{error}");
    }

    #[test]
    fn keys() {
        let key = |text: &str| private_key(text.as_bytes());
        for text in [
            KEY.to_owned(),
            format!("{ONE}\u{feff}{KEY}"),
            KEY.replace('\n', "\r\n"),
        ] {
            assert_eq!(key(&text).unwrap().secret_der(), [0x30, 3, 2, 1, 3]);
        }
        let parameters =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        assert!(key(&format!("{parameters}{}", KEY.replace("PRIV", "EC PRIV"))).is_ok());
        assert!(matches!(key(ONE).unwrap_err(), TlsError::NoKey));
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(
            key(&encrypted).unwrap_err(),
            TlsError::KeyEncrypted
        ));
        let headed = KEY.replace("PRIV", "RSA PRIV").replace(
            "-----\nM",
            "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nM",
        );
        assert!(matches!(key(&headed).unwrap_err(), TlsError::KeyEncrypted));
    }
}
