//! The addresses to listen on, and the certificates.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_net::{
    Certificate, ClientCertificates, Port, Protocols, TlsAcceptorConfig, TlsError, TlsSettings,
    TlsSite,
};

use super::ConfigError;
use super::seen::Seen;
use super::tls::{self, Kept, read};
use crate::certificate;
use crate::client_access::ClientAccess;
use crate::expiry::{Dated, Expiry};
use crate::flags::{ClientCerts, Flags, Listen};
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
    /// for all. `access` is what each site asks of its clients.
    pub(super) fn new(
        flags: &Flags,
        tls: Vec<Address>,
        h2c: Vec<Address>,
        sites: &[SiteSettings],
        access: &[Option<Arc<ClientAccess>>],
        mut files: Option<Certificates>,
        kept: &mut Kept,
    ) -> Result<(Self, SiteCertificates), ConfigError> {
        if tls.is_empty() && h2c.is_empty() {
            return Err(ConfigError::NothingToListenOn);
        }
        let self_signed = !tls.is_empty() && files.is_none();
        let of_sites = match &files {
            Some(files) => files.of_sites.clone(),
            None => vec![0; sites.len()],
        };
        let mut of_sites = SiteCertificates {
            of_sites,
            names: Vec::new(),
        };
        let mut made = None;
        if !tls.is_empty() {
            let settings = tls::settings(flags, sites, kept)?;
            let certificates = match &files {
                Some(files) => files.read()?,
                None => match &kept.made {
                    Some(made) => vec![made.clone()],
                    None => vec![kept.made.insert(made_at_start()?).clone()],
                },
            };
            of_sites.names = certificates
                .iter()
                .map(|certificate| certificate.names().to_vec())
                .collect();
            if let Some(files) = &mut files {
                files.watch_expiry(&certificates, sites, access);
                warn_of_uncovered(sites, files, &of_sites);
            }
            let of_sites = &of_sites.of_sites;
            made = Some(acceptor(&settings, sites, access, certificates, of_sites)?);
        }
        let listeners = Self {
            tls,
            h2c,
            acceptor: made.map(Arc::new),
            certificates: files,
            self_signed,
            port: Port::Own,
        };
        Ok((listeners, of_sites))
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The protocols of its connections.
    pub protocols: Protocols,
    /// The first choice.
    pub first: SocketAddr,
    /// The second choice, for systems without IPv6.
    pub otherwise: Option<SocketAddr>,
}

/// Returns the addresses that were typed, or this port if none were.
pub(super) fn addresses(typed: &[Listen], default: u16) -> Vec<Address> {
    let typed = if typed.is_empty() {
        &[Listen::Everywhere(default, Protocols::Both)]
    } else {
        typed
    };
    let address = |listen: &Listen| match *listen {
        Listen::None => None,
        Listen::Everywhere(port, protocols) => Some(Address {
            protocols,
            first: (Ipv6Addr::UNSPECIFIED, port).into(),
            otherwise: Some((Ipv4Addr::UNSPECIFIED, port).into()),
        }),
        Listen::At(first, protocols) => Some(Address {
            protocols,
            first,
            otherwise: None,
        }),
    };
    typed.iter().filter_map(address).collect()
}

/// The files of a site's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    /// Each certificate's chain, and its key; may be the same file.
    pairs: Vec<(PathBuf, PathBuf)>,
    /// OCSP responses about these certificates.
    ocsp: Vec<PathBuf>,
}

/// The files of the certificates, at least one.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The first is for clients that ask for no name, or for that of no site. Each has the site
    /// that named it first, for errors.
    files: Vec<(Files, usize)>,
    /// The certificate of each site.
    of_sites: Vec<usize>,
    /// The other files that are read with them: authorities of clients' certificates, revocation
    /// lists, and keys of session tickets.
    others: Vec<PathBuf>,
    expiry: Expiry,
    /// The files before they were read.
    seen: Seen,
}

impl Certificates {
    /// Returns the certificates that sites name, as yet unread. `None` if no site names any.
    pub(super) fn of(flags: &Flags, sites: &[SiteSettings]) -> Result<Option<Self>, ConfigError> {
        // That of the default site comes first.
        let mut order: Vec<usize> = (0..sites.len()).collect();
        order.sort_by_key(|site| !sites[*site].names.is_empty());
        let mut all: Vec<(Files, usize)> = Vec::new();
        let mut of_sites = vec![0; sites.len()];
        for site in order {
            let files = Files::of(&sites[site].flags).map_err(|error| error.of_site(site))?;
            let Some(files) = files else {
                continue;
            };
            let known = all.iter().position(|(other, _)| *other == files);
            of_sites[site] = known.unwrap_or_else(|| {
                all.push((files, site));
                all.len() - 1
            });
        }
        let mut certificates = Self {
            of_sites,
            files: all,
            others: others(flags, sites),
            expiry: Expiry::default(),
            seen: Seen::default(),
        };
        certificates.look();
        Ok((!certificates.files.is_empty()).then_some(certificates))
    }

    /// Looks at the files, which are about to be read.
    fn look(&mut self) {
        self.seen = Seen::look(self.paths());
    }

    /// Returns the files as they were before they were read.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Reads all files.
    fn read(&self) -> Result<Vec<Certificate>, ConfigError> {
        let read =
            |(files, site): &(Files, usize)| files.read().map_err(|error| error.of_site(*site));
        self.files.iter().map(read).collect()
    }

    /// Notes when these certificates, which were read, expire.
    fn watch_expiry(
        &mut self,
        read: &[Certificate],
        sites: &[SiteSettings],
        access: &[Option<Arc<ClientAccess>>],
    ) {
        let files = self.files.iter().zip(read);
        let all = files.filter_map(|((files, _), certificate)| {
            let (cert, _) = files.pairs.first()?;
            let validity = certificate.validity()?.clone();
            Some(Dated::certificate(cert.display(), validity))
        });
        let mut all: Vec<Dated> = all.collect();
        for (site, access) in sites.iter().zip(access) {
            if let (Some(crl), Some(access)) = (&site.flags.client_crl, access)
                && let Some(validity) = access.clients.revocation_validity()
            {
                let list = Dated::revocation_list(crl.display(), validity.clone());
                if !all.contains(&list) {
                    all.push(list);
                }
            }
        }
        self.expiry = Expiry::new(all);
        self.warn_of_expiry(SystemTime::now());
    }

    /// Returns the paths of certificates and revocation lists, and when each expires.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, SystemTime)> {
        self.expiry.ends()
    }

    /// Warns of certificates that are about to expire, once a day.
    pub fn warn_of_expiry(&mut self, now: SystemTime) {
        for warning in self.expiry.warnings(now) {
            log::warn!("{warning}");
        }
    }

    /// Returns the paths of all files that are read for TLS with clients, each once.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter();
        let files = files.flat_map(|(files, _)| {
            let pairs = files.pairs.iter();
            let pairs = pairs.flat_map(|(cert, key)| [&**cert, &**key]);
            pairs.chain(files.ocsp.iter().map(|path| &**path))
        });
        let mut paths: Vec<&Path> = Vec::new();
        for path in files.chain(self.others.iter().map(|path| &**path)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths.into_iter()
    }
}

/// Returns the files that TLS needs beside the certificates.
fn others(flags: &Flags, sites: &[SiteSettings]) -> Vec<PathBuf> {
    let of_site = |site: &SiteSettings| {
        let asks = site.flags.client_certs != ClientCerts::Off;
        let files = [&site.flags.client_ca, &site.flags.client_crl];
        files.map(|file| file.clone().filter(|_| asks))
    };
    let of_sites = sites.iter().flat_map(of_site).flatten();
    of_sites.chain(flags.ticket_key.iter().cloned()).collect()
}

impl Files {
    fn of(flags: &Flags) -> Result<Option<Self>, ConfigError> {
        if flags.cert.len() != flags.key.len() {
            let sentence = "each --cert needs a --key, in the same order";
            return Err(ConfigError::Contradiction(sentence.into()).about("cert", 0));
        }
        let pairs = flags.cert.iter().cloned().zip(flags.key.iter().cloned());
        let files = Self {
            pairs: pairs.collect(),
            ocsp: flags.ocsp.clone(),
        };
        Ok((!files.pairs.is_empty()).then_some(files))
    }

    fn read(&self) -> Result<Certificate, ConfigError> {
        let mut all: Option<Certificate> = None;
        for (nth, (cert, key)) in self.pairs.iter().enumerate() {
            let one = read_pair(nth, cert, key)?;
            all = Some(match all {
                None => one,
                Some(others) => others.beside(one),
            });
        }
        let mut all = all.ok_or(ConfigError::TlsSettings(TlsError::NoCertificate))?;
        for (nth, path) in self.ocsp.iter().enumerate() {
            let response = read(path).map_err(|error| error.about("ocsp", nth))?;
            match all.staple(&response, SystemTime::now()) {
                Ok(()) => {}
                // The certificate is as good as without it. When one is renewed, its response comes
                // later.
                Err(error @ (TlsError::OcspOutdated | TlsError::OcspOfAnother)) => {
                    log::warn!("{}: {error}", path.display());
                }
                Err(error) => {
                    return Err(ConfigError::TlsFile(path.clone(), error).about("ocsp", nth));
                }
            }
        }
        Ok(all)
    }
}

fn read_pair(nth: usize, cert: &Path, key: &Path) -> Result<Certificate, ConfigError> {
    let chain = read(cert).map_err(|error| error.about("cert", nth))?;
    let private = read(key).map_err(|error| error.about("key", nth))?;
    Certificate::from_pem(&chain, &private).map_err(|error| {
        let error = ConfigError::Tls {
            cert: cert.to_owned(),
            key: key.to_owned(),
            error,
        };
        error.about("cert", nth)
    })
}

/// Makes the settings of TLS for sites with these certificates.
fn acceptor(
    settings: &TlsSettings,
    sites: &[SiteSettings],
    access: &[Option<Arc<ClientAccess>>],
    certificates: Vec<Certificate>,
    of_sites: &[usize],
) -> Result<TlsAcceptorConfig, ConfigError> {
    let certificates: Vec<_> = certificates.into_iter().map(Arc::new).collect();
    let tls_site = |site: usize| -> Option<TlsSite> {
        Some(TlsSite {
            certificate: Arc::clone(certificates.get(*of_sites.get(site)?)?),
            clients: match access.get(site)? {
                Some(access) => access.clients.clone(),
                None => ClientCertificates::Off,
            },
        })
    };
    let default = sites.iter().position(|site| site.names.is_empty());
    let default = default.and_then(tls_site).or_else(|| {
        // A client that asks for no site's name gets the first certificate.
        let certificate = Arc::clone(certificates.first()?);
        let clients = ClientCertificates::Off;
        Some(TlsSite {
            certificate,
            clients,
        })
    });
    let default = default.ok_or(ConfigError::TlsSettings(TlsError::NoCertificate))?;
    let named = sites.iter().enumerate().flat_map(|(place, site)| {
        let site_of = move |name: &String| Some((name.clone(), tls_site(place)?));
        site.names.iter().filter_map(site_of).collect::<Vec<_>>()
    });
    TlsAcceptorConfig::new(settings, default, named).map_err(ConfigError::TlsSettings)
}

/// Warns of names that their site's certificate isn't for.
fn warn_of_uncovered(
    sites: &[SiteSettings],
    certificates: &Certificates,
    of_sites: &SiteCertificates,
) {
    for (site, nth) in sites.iter().zip(&of_sites.of_sites) {
        let is_uncovered = |name: &&String| {
            let mut covered = of_sites.names[*nth].iter();
            !covered.any(|covered| covered == *name || hosts::covers(covered, name.as_bytes()))
        };
        for name in site.names.iter().filter(is_uncovered) {
            let place = site.origins.place("cert", 0).unwrap_or_default();
            let Some((cert, _)) = certificates.files[*nth].0.pairs.first() else {
                continue;
            };
            let cert = cert.display();
            log::warn!(
                "{place}the certificate {cert} isn't for {name}, which the site has: clients \
                 refuse it there"
            );
        }
    }
}

fn made_at_start() -> Result<Certificate, ConfigError> {
    let pem =
        certificate::self_signed().map_err(|error| ConfigError::SelfSigned(error.to_string()))?;
    Certificate::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes())
        .map_err(|error| ConfigError::SelfSigned(error.to_string()))
}
