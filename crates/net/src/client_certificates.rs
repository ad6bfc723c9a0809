//! The certificates that a server asks its clients for.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore};
use x509_parser::parse_x509_crl;

use crate::asn1_time::instant;
use crate::{TlsError, pem};

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// A client may show one. A bad one fails the handshake all the same.
    Optional,
    /// A client without one fails the handshake.
    Required,
}

/// The certificates that a server asks its clients for.
#[derive(Clone, Default)]
pub enum ClientCertificates {
    /// None: clients aren't asked.
    #[default]
    Off,
    /// Certificates of certain authorities.
    Of(Arc<ClientAuthorities>),
}

/// The authorities whose certificates clients may show.
pub struct ClientAuthorities {
    demand: Demand,
    verifier: Arc<dyn ClientCertVerifier>,
    /// A digest of everything that decides about certificates.
    digest: [u8; 16],
    /// When all revocation lists are up to date, if there are some and all tell.
    revocation_validity: Option<RangeInclusive<SystemTime>>,
}

impl ClientCertificates {
    /// Asks for certificates of the authorities in `authorities`, PEM text. `revoked` has the
    /// revocation lists (RFC 5280 §5) of all of them, PEM text too: a certificate whose issuer has
    /// no list there, or one that is out of date, is refused.
    ///
    /// # Errors
    /// Returns an error if a text or a part of it can't be used.
    pub fn from_pem(
        demand: Demand,
        authorities: &[u8],
        revoked: Option<&[u8]>,
    ) -> Result<Self, TlsError> {
        let mut digest = Context::new(&SHA256);
        digest.update(&[match demand {
            Demand::Optional => 1,
            Demand::Required => 2,
        }]);
        let mut roots = RootCertStore::empty();
        for authority in pem::certificates(authorities)? {
            digest.update(&authority);
            let added = roots.add(authority);
            added.map_err(TlsError::CertificateUnusable)?;
        }
        let provider = Arc::new(default_provider());
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        if demand == Demand::Optional {
            builder = builder.allow_unauthenticated();
        }
        let mut revocation_validity = None;
        if let Some(revoked) = revoked {
            let lists = pem::revocation_lists(revoked)?;
            for list in &lists {
                digest.update(list);
            }
            revocation_validity = validity(&lists);
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let verifier = builder.build();
        let verifier = verifier.map_err(|error| TlsError::Authorities(error.to_string()))?;
        let mut first = [0; 16];
        first.copy_from_slice(&digest.finish().as_ref()[..16]);
        Ok(Self::Of(Arc::new(ClientAuthorities {
            demand,
            verifier,
            digest: first,
            revocation_validity,
        })))
    }

    /// Returns when all revocation lists are up to date, both ends included. `None` if there are
    /// none, or if one of them doesn't tell. After that, no certificate is good.
    pub fn revocation_validity(&self) -> Option<&RangeInclusive<SystemTime>> {
        match self {
            Self::Off => None,
            Self::Of(authorities) => authorities.revocation_validity.as_ref(),
        }
    }

    /// Returns whether a client must show a certificate, if it is asked for one.
    pub fn demand(&self) -> Option<Demand> {
        match self {
            Self::Off => None,
            Self::Of(authorities) => Some(authorities.demand),
        }
    }

    /// Checks a chain that a client has shown, its own certificate first. The handshake checks it
    /// too, but not where it resumes a session.
    ///
    /// # Errors
    /// Returns why the chain isn't good now.
    pub fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        match (self, chain) {
            (Self::Off, _) => Ok(()),
            (Self::Of(authorities), []) => match authorities.demand {
                Demand::Optional => Ok(()),
                Demand::Required => Err(Error::NoCertificatesPresented),
            },
            (Self::Of(authorities), [own, others @ ..]) => {
                let verifier = &authorities.verifier;
                let verified = verifier.verify_client_cert(own, others, UnixTime::now());
                verified.map(drop)
            }
        }
    }

    /// Returns the verifier for rustls.
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        match self {
            Self::Off => WebPkiClientVerifier::no_client_auth(),
            Self::Of(authorities) => Arc::clone(&authorities.verifier),
        }
    }

    /// Returns a number that others have only if they decide the same about every client.
    pub(crate) fn digest(&self) -> [u8; 16] {
        match self {
            Self::Off => [0; 16],
            Self::Of(authorities) => authorities.digest,
        }
    }
}

/// Returns when all of these lists are up to date (RFC 5280 §5.1.2.5).
fn validity(lists: &[CertificateRevocationListDer<'_>]) -> Option<RangeInclusive<SystemTime>> {
    let mut all: Option<RangeInclusive<SystemTime>> = None;
    for list in lists {
        let (_, list) = parse_x509_crl(list).ok()?;
        let (start, end) = (instant(list.last_update())?, instant(list.next_update()?)?);
        all = Some(match all {
            None => start..=end,
            Some(others) => start.max(*others.start())..=end.min(*others.end()),
        });
    }
    all
}

impl PartialEq for ClientCertificates {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for ClientCertificates {}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificates({:?})", self.demand())
    }
}
