//! The addresses to listen on, and the certificates.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_net::{Port, TlsAcceptorConfig};

use super::ConfigError;
use crate::certificate;
use crate::flags::Listen;
use crate::hosts;
use crate::settings::SiteSettings;

/// The addresses to listen on, and the certificates for TLS.
pub struct Listeners {
    /// Addresses to listen on for TLS.
    pub tls: Vec<Address>,
    /// Addresses to listen on for cleartext.
    pub h2c: Vec<Address>,
    /// Certificates and keys, if there is an address for TLS.
    pub acceptor: Option<Arc<TlsAcceptorConfig>>,
    /// The files that the certificates were read from; `None` if there is a self-signed one.
    pub certificates: Option<Certificates>,
    /// Whether the certificate was made at start.
    pub self_signed: bool,
    /// Whether other processes may listen there too.
    pub port: Port,
}

/// Which certificate each site has.
#[derive(Debug, Default)]
pub(super) struct SiteCertificates {
    /// The index of each site's certificate.
    pub(super) of_sites: Vec<usize>,
    /// The names that each certificate is for.
    pub(super) names: Vec<Vec<String>>,
}

impl Listeners {
    /// Returns the listeners for these addresses. Reads the certificates of the sites, or makes one
    /// for all.
    pub(super) fn new(
        tls: Vec<Address>,
        h2c: Vec<Address>,
        sites: &[SiteSettings],
        former: Option<&Former>,
    ) -> Result<(Self, SiteCertificates), ConfigError> {
        if tls.is_empty() && h2c.is_empty() {
            return Err(ConfigError::NothingToListenOn);
        }
        let (certificates, of_sites) = Certificates::of(sites);
        let self_signed = !tls.is_empty() && certificates.is_none();
        let mut of_sites = SiteCertificates {
            of_sites,
            names: Vec::new(),
        };
        let made = former.filter(|former| former.self_signed == self_signed);
        let acceptor = if tls.is_empty() {
            None
        } else if let (true, Some(made)) = (self_signed, made) {
            of_sites.names.push(made.acceptor.names().to_vec());
            Some(Arc::clone(&made.acceptor))
        } else if let Some(certificates) = &certificates {
            let (acceptor, names) = certificates.read()?;
            warn_of_uncovered(sites, certificates, &of_sites.of_sites, &names);
            of_sites.names = names;
            Some(Arc::new(match former {
                Some(former) => acceptor.with_tickets_of(&former.acceptor),
                None => acceptor,
            }))
        } else {
            let acceptor = self_signed_acceptor()?;
            of_sites.names.push(acceptor.names().to_vec());
            Some(Arc::new(acceptor))
        };
        let listeners = Self {
            tls,
            h2c,
            acceptor,
            certificates,
            self_signed,
            port: Port::Own,
        };
        Ok((listeners, of_sites))
    }

    /// Returns the acceptor, for the next configuration.
    pub(super) fn former(&self) -> Option<Former> {
        let acceptor = Arc::clone(self.acceptor.as_ref()?);
        Some(Former {
            acceptor,
            self_signed: self.self_signed,
        })
    }
}

/// The acceptor of TLS of a former configuration.
#[derive(Clone)]
pub(super) struct Former {
    acceptor: Arc<TlsAcceptorConfig>,
    /// Whether its certificate was made at start.
    self_signed: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    /// The certificate's chain.
    cert: PathBuf,
    /// The certificate's key; may be the same file.
    key: PathBuf,
    /// The site that named them first, for errors.
    site: usize,
}

/// The files of the certificates, at least one.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The first is for clients that ask for no name, or for that of no site.
    files: Vec<Files>,
    /// The names that clients may ask for, each with the index of its certificate.
    by_name: Vec<(String, usize)>,
}

impl Certificates {
    /// Returns the certificates that sites name, and the index of each site's one. `None` if no
    /// site names any.
    fn of(sites: &[SiteSettings]) -> (Option<Self>, Vec<usize>) {
        let files_of = |(site, settings): (usize, &SiteSettings)| {
            let flags = &settings.flags;
            let (cert, key) = flags.cert.clone().zip(flags.key.clone())?;
            Some(Files { cert, key, site })
        };
        // That of the default site comes first.
        let mut order: Vec<usize> = (0..sites.len()).collect();
        order.sort_by_key(|site| !sites[*site].names.is_empty());
        let mut all: Vec<Files> = Vec::new();
        let mut of_sites = vec![0; sites.len()];
        for site in order {
            let Some(files) = files_of((site, &sites[site])) else {
                continue;
            };
            let is_same = |other: &Files| other.cert == files.cert && other.key == files.key;
            of_sites[site] = all.iter().position(is_same).unwrap_or_else(|| {
                all.push(files);
                all.len() - 1
            });
        }
        let named = sites.iter().zip(&of_sites);
        let by_name = named.flat_map(|(site, certificate)| {
            site.names.iter().map(|name| (name.clone(), *certificate))
        });
        let certificates = Self {
            by_name: by_name.collect(),
            files: all,
        };
        let certificates = (!certificates.files.is_empty()).then_some(certificates);
        (certificates, of_sites)
    }

    /// Reads all files. Returns the settings with the certificates, and the names that each is for.
    fn read(&self) -> Result<(TlsAcceptorConfig, Vec<Vec<String>>), ConfigError> {
        let read = |files: &Files| files.read().map_err(|error| error.of_site(files.site));
        let mut all = self.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let names = all.iter().map(|config| config.names().to_vec()).collect();
        let by_name = self.by_name.iter();
        let named: Vec<_> = by_name.map(|(name, nth)| (&**name, &all[*nth])).collect();
        if self.files.len() > 1 {
            all[0].serve_by_name(named);
        }
        Ok((all.swap_remove(0), names))
    }

    /// Returns the paths of the certificates and keys.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter();
        files.flat_map(|files| [&*files.cert, &*files.key])
    }
}

impl Files {
    fn read(&self) -> Result<TlsAcceptorConfig, ConfigError> {
        let Self { cert, key, .. } = self;
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
}

/// Warns of names that their site's certificate isn't for.
fn warn_of_uncovered(
    sites: &[SiteSettings],
    certificates: &Certificates,
    of_sites: &[usize],
    covered: &[Vec<String>],
) {
    for (site, nth) in sites.iter().zip(of_sites) {
        let is_uncovered = |name: &&String| {
            let mut covered = covered[*nth].iter();
            !covered.any(|covered| covered == *name || hosts::covers(covered, name.as_bytes()))
        };
        for name in site.names.iter().filter(is_uncovered) {
            let place = site.origins.place("cert", 0).unwrap_or_default();
            let cert = certificates.files[*nth].cert.display();
            log::warn!(
                "{place}the certificate {cert} isn't for {name}, which the site has: clients \
                 refuse it there"
            );
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))
}

fn self_signed_acceptor() -> Result<TlsAcceptorConfig, ConfigError> {
    let pem =
        certificate::self_signed().map_err(|error| ConfigError::SelfSigned(error.to_string()))?;
    TlsAcceptorConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes())
        .map_err(|error| ConfigError::SelfSigned(error.to_string()))
}

/// Before the end of a certificate's validity there is a warning for this long.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

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
    if now + SOON > *validity.end() {
        let date = date(validity.end());
        return Some(format!("expires on {date}: renew it"));
    }
    (now < *validity.start()).then(|| {
        let date = date(validity.start());
        format!("isn't valid before {date}: clients refuse it until then, or the clock is wrong")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_certificates() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(out_of_date(&(now - day..=now + 15 * day)), None);
        let soon = out_of_date(&(now - day..=now + 13 * day)).unwrap();
        assert!(soon.starts_with("expires on "), "{soon}");
        let past = out_of_date(&(now - 2 * day..=now - day)).unwrap();
        assert!(past.starts_with("expired on "), "{past}");
        let future = out_of_date(&(now + day..=now + 20 * day)).unwrap();
        assert!(future.starts_with("isn't valid before "), "{future}");
    }
}
