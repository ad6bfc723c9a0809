//! The reasons why a certificate or a key can't be used.

use rustls::Error;
use rustls::pki_types::pem as pki_pem;

/// The reason why a certificate or a key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no certificate in the text.
    NoCertificate,
    /// There is no private key in the text.
    NoKey,
    /// The text of the named thing, certificate or private key, is UTF-16, as some editors save it.
    Utf16(&'static str),
    /// The named thing, certificate or private key, is DER instead of text.
    Der(&'static str),
    /// The certificate's text is broken.
    CertificateUnreadable(pki_pem::Error),
    /// The certificate has another form, with this label.
    CertificateKind(String),
    /// The key's text is broken.
    KeyUnreadable(pki_pem::Error),
    /// The private key needs a passphrase.
    KeyEncrypted,
    /// TLS can't use the certificate.
    CertificateUnusable(Error),
    /// TLS can't use the private key.
    KeyUnusable(Error),
    /// The certificate was made for another private key.
    KeyMismatch,
    /// The private key belongs to another certificate of the chain, at this place, counted from 1.
    LeafNotFirst(usize),
    /// Two blocks of the text are on one line, with nothing between them.
    Glued,
    /// There is no certificate revocation list in the text.
    NoRevocationList,
    /// The text of a certificate revocation list is broken.
    RevocationListUnreadable(pki_pem::Error),
    /// The authorities of clients' certificates, or their revocation lists, can't be used.
    Authorities(String),
    /// An OCSP response can't be used, for this reason.
    Ocsp(&'static str),
    /// An OCSP response is about another certificate.
    OcspOfAnother,
    /// An OCSP response is out of date.
    OcspOutdated,
    /// A key of session tickets has another size.
    TicketKey,
    /// No cipher suite is for a version that clients may speak.
    NoSuiteOfVersion,
    /// The system trusts no authorities.
    NoAuthorities,
    /// TLS can't be set up at all, for example because the system provides no random numbers.
    Setup(Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCertificate => f.write_str(
                "there is no certificate in it: a PEM block that begins with BEGIN CERTIFICATE is needed",
            ),
            Self::NoKey => f.write_str(
                "there is no private key in it: an unencrypted PEM block that begins with BEGIN PRIVATE KEY is needed",
            ),
            Self::Utf16(what) => {
                write!(f, "the {what} is text in UTF-16: save it as ASCII or UTF-8")
            }
            Self::Der(what) => {
                let tool = match *what {
                    "private key" => "pkey",
                    "revocation list" => "crl",
                    _ => "x509",
                };
                write!(
                    f,
                    "the {what} is DER, not text: make PEM of it with openssl {tool} -inform der"
                )
            }
            Self::CertificateUnreadable(error) => {
                write!(f, "the certificate isn't readable as PEM: {error}")
            }
            Self::CertificateKind(label) => write!(
                f,
                "a {label} can't be read: write it as a CERTIFICATE with openssl x509"
            ),
            Self::KeyUnreadable(error) => {
                write!(f, "the private key isn't readable as PEM: {error}")
            }
            Self::KeyEncrypted => f.write_str(
                "the private key is encrypted: write it without a passphrase with openssl pkey, in a file that only the \
                 server can read",
            ),
            Self::CertificateUnusable(error) => {
                write!(f, "the certificate can't be used: {error}")
            }
            Self::KeyUnusable(error) => write!(f, "the private key can't be used: {error}"),
            Self::KeyMismatch => f.write_str(
                "the private key doesn't belong to the certificate: give the key that the certificate was made for",
            ),
            Self::LeafNotFirst(place) => write!(
                f,
                "the private key belongs to certificate {place} of the chain: put the server's own certificate first, then \
                 the one that signed it"
            ),
            Self::Glued => f.write_str(
                "an END line is followed by a BEGIN on the same line: put a line break between the blocks",
            ),
            Self::NoRevocationList => f.write_str(
                "there is no revocation list in it: a PEM block that begins with BEGIN X509 CRL is needed",
            ),
            Self::RevocationListUnreadable(error) => {
                write!(f, "the revocation list isn't readable as PEM: {error}")
            }
            Self::Authorities(error) => {
                write!(f, "clients' certificates can't be checked with it: {error}")
            }
            Self::Ocsp(why) => write!(f, "the OCSP response can't be used: {why}"),
            Self::OcspOfAnother => f.write_str(
                "the OCSP response is about another certificate: fetch one about this one",
            ),
            Self::OcspOutdated => f.write_str("the OCSP response is out of date: fetch a new one"),
            Self::TicketKey => f.write_str(
                "a key of session tickets has 48 or 80 bytes: make one with openssl rand 80",
            ),
            Self::NoSuiteOfVersion => {
                f.write_str("none of the cipher suites is for a version that clients may speak")
            }
            Self::NoAuthorities => f.write_str(
                "this system trusts no certificate authority: install its ca-certificates, or name a file of your own",
            ),
            Self::Setup(error) => write!(f, "TLS can't be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
