//! Sites that ask their clients for certificates, and the facts that upstreams learn of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustc_hash::FxHashMap;
use rustls::Error;
use rustls::pki_types::CertificateDer;
use tidegate_net::{ClientCertificates, ClientIdentity, ConnId, ConnInfo, Demand};

use crate::flags::{CertFact, CertField};

/// The demands of a site on its clients' certificates.
#[derive(Debug)]
pub struct ClientAccess {
    /// The certificates that clients may or must show.
    pub clients: ClientCertificates,
    /// The fields that upstreams get.
    pub fields: Vec<CertField>,
    /// The site, for messages.
    pub site: String,
}

/// Fields about a client's certificate: names in lower case, and values.
pub type Told = Arc<[(Box<str>, String)]>;

impl ClientAccess {
    /// Returns the fields for upstreams if a client may make requests of the site. Its connection
    /// may have begun with other settings.
    fn admit(&self, info: &ConnInfo) -> Option<Told> {
        let shown = match &info.tls {
            Some(tls) => &tls.client_certificates[..],
            // Where there is no TLS there is no certificate.
            None if self.clients.demand() == Some(Demand::Required) => return None,
            None => &[],
        };
        if let Err(error) = self.clients.check(shown) {
            let (peer, site) = (info.peer, &self.site);
            match error {
                Error::NoCertificatesPresented => {
                    log::info!("{peer}: no certificate was shown, which {site} needs");
                }
                error => log::info!("{peer}: the certificate isn't good for {site}: {error}"),
            }
            return None;
        }
        Some(self.told(shown.first()))
    }

    fn told(&self, certificate: Option<&CertificateDer<'_>>) -> Told {
        let identity = certificate.map(|certificate| ClientIdentity::of(certificate));
        let mut told = Vec::with_capacity(self.fields.len());
        for CertField { name, fact } in &self.fields {
            let value = match (fact, &identity, certificate) {
                (CertFact::Verdict, None, _) => "NONE".to_owned(),
                (_, None, _) | (_, _, None) => continue,
                (CertFact::Verdict, ..) => "SUCCESS".to_owned(),
                (CertFact::Subject, Some(identity), _) => identity.subject.clone(),
                (CertFact::San, Some(identity), _) => identity.names.clone(),
                (CertFact::Fingerprint, Some(identity), _) => identity.fingerprint.clone(),
                // RFC 9440 §2.1: a byte sequence of RFC 8941 §3.3.5.
                (CertFact::Certificate, _, Some(certificate)) => {
                    format!(":{}:", BASE64_STANDARD.encode(certificate))
                }
            };
            told.push((name.as_str().into(), value));
        }
        told.into()
    }
}

/// The certificates that clients of a worker have shown, as the sites see them.
#[derive(Default)]
pub(crate) struct Admitted(FxHashMap<ConnId, (Arc<ClientAccess>, Told)>);

impl Admitted {
    /// Returns the fields for upstreams if a client may make requests of a site. Its certificate is
    /// checked with the first request of its connection.
    pub(crate) fn admit(
        &mut self,
        conn: ConnId,
        access: &Arc<ClientAccess>,
        info: &ConnInfo,
    ) -> Option<Told> {
        if let Some((known, told)) = self.0.get(&conn)
            && Arc::ptr_eq(known, access)
        {
            return Some(Arc::clone(told));
        }
        let told = access.admit(info)?;
        let known = (Arc::clone(access), Arc::clone(&told));
        self.0.insert(conn, known);
        Some(told)
    }

    /// Forgets a connection that has closed.
    pub(crate) fn closed(&mut self, conn: ConnId) {
        if !self.0.is_empty() {
            self.0.remove(&conn);
        }
    }
}
