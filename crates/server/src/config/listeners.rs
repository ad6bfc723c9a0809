//! The addresses to listen on, and the certificate.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_net::TlsAcceptorConfig;

use super::ConfigError;
use crate::certificate;
use crate::flags::{Flags, Listen};

/// The addresses to listen on, and the certificate for TLS.
pub struct Listeners {
    /// Addresses to listen on for TLS.
    pub tls: Vec<Address>,
    /// Addresses to listen on for cleartext.
    pub h2c: Vec<Address>,
    /// Certificate and key, if there is an address for TLS.
    pub acceptor: Option<Arc<TlsAcceptorConfig>>,
    /// The files that the certificate was read from; `None` if it is self-signed.
    pub certificate: Option<CertificateFiles>,
    /// Whether the certificate was made at start.
    pub self_signed: bool,
}

impl Listeners {
    /// Returns the listeners for these addresses. Reads the certificate, or makes one.
    pub(super) fn new(
        tls: Vec<Address>,
        h2c: Vec<Address>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        if tls.is_empty() && h2c.is_empty() {
            return Err(ConfigError::NothingToListenOn);
        }
        let self_signed = !tls.is_empty() && flags.cert.is_none();
        let certificate = flags.cert.clone().zip(flags.key.clone());
        let certificate = certificate.map(|(cert, key)| CertificateFiles { cert, key });
        let acceptor = if tls.is_empty() {
            None
        } else {
            Some(Arc::new(acceptor(certificate.as_ref())?))
        };
        Ok(Self {
            tls,
            h2c,
            acceptor,
            certificate,
            self_signed,
        })
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The first choice.
    pub first: SocketAddr,
    /// The second choice, for systems without IPv6.
    pub otherwise: Option<SocketAddr>,
}

/// Returns the addresses that were typed, or this port if none were.
pub(super) fn addresses(typed: &[Listen], default: u16) -> Vec<Address> {
    let typed = if typed.is_empty() {
        &[Listen::Everywhere(default)]
    } else {
        typed
    };
    let address = |listen: &Listen| match *listen {
        Listen::None => None,
        Listen::Everywhere(port) => Some(Address {
            first: (Ipv6Addr::UNSPECIFIED, port).into(),
            otherwise: Some((Ipv4Addr::UNSPECIFIED, port).into()),
        }),
        Listen::At(first) => Some(Address {
            first,
            otherwise: None,
        }),
    };
    typed.iter().filter_map(address).collect()
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate's chain.
    pub cert: PathBuf,
    /// The certificate's key; may be the same file.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both files again, for all later handshakes.
    ///
    /// # Errors
    /// When a file can't be read or used; the former certificate stays in use then.
    pub fn reload(&self, current: &TlsAcceptorConfig) -> Result<(), ConfigError> {
        current.replace_certificate(&acceptor(Some(self))?);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))
}

fn acceptor(files: Option<&CertificateFiles>) -> Result<TlsAcceptorConfig, ConfigError> {
    let Some(files) = files else {
        let pem = certificate::self_signed()
            .map_err(|error| ConfigError::SelfSigned(error.to_string()))?;
        return TlsAcceptorConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes())
            .map_err(|error| ConfigError::SelfSigned(error.to_string()));
    };
    let CertificateFiles { cert, key } = files;
    let chain = read(cert).map_err(|error| error.about("cert", 0))?;
    let private = read(key).map_err(|error| error.about("key", 0))?;
    match TlsAcceptorConfig::from_pem(&chain, &private) {
        Ok(acceptor) => {
            if let Some(problem) = acceptor.validity().and_then(out_of_date) {
                log::warn!("the certificate {} {problem}", cert.display());
            }
            Ok(acceptor)
        }
        Err(error) => Err(ConfigError::Tls {
            cert: cert.clone(),
            key: key.clone(),
            error,
        }),
    }
}

/// Returns what is wrong with a certificate's dates, if anything is.
fn out_of_date(validity: &RangeInclusive<SystemTime>) -> Option<String> {
    let now = SystemTime::now();
    let date = |time: &SystemTime| httpdate::fmt_http_date(*time);
    if now > *validity.end() {
        let date = date(validity.end());
        return Some(format!(
            "expired on {date}: clients refuse it until it is renewed"
        ));
    }
    (now < *validity.start()).then(|| {
        let date = date(validity.start());
        format!("isn't valid before {date}: clients refuse it until then, or the clock is wrong")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_of_certificates() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(out_of_date(&(now - day..=now + day)), None);
        let past = out_of_date(&(now - 2 * day..=now - day)).unwrap();
        assert!(past.starts_with("expired on "), "{past}");
        let future = out_of_date(&(now + day..=now + 2 * day)).unwrap();
        assert!(future.starts_with("isn't valid before "), "{future}");
    }
}
