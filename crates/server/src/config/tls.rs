//! The settings of TLS of the whole server, and the demands of each site on its clients.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidegate_net::{
    Certificate, ClientCertificates, Demand, EarlyData, TicketKey, Tickets, TlsSettings, TlsVersion,
};

use super::ConfigError;
use crate::client_access::ClientAccess;
use crate::flags::{CertFact, CertField, ClientCerts, Flags, MinVersion, Switch};
use crate::settings::SiteSettings;

/// Sessions that clients may resume with early data. Each takes some hundred bytes.
const EARLY_SESSIONS: usize = 20_000;

/// Parts of TLS that outlive a configuration. Each is made when one is needed for the first time.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// The keys of session tickets, where no file has them.
    tickets: Option<Tickets>,
    /// The sessions that may be resumed with early data.
    early: Option<EarlyData>,
    /// The certificate that was made at start.
    pub(super) made: Option<Certificate>,
}

impl Kept {
    fn tickets(&mut self) -> Result<Tickets, ConfigError> {
        Ok(match &self.tickets {
            Some(tickets) => tickets.clone(),
            None => {
                let made = Tickets::random().map_err(ConfigError::TlsSettings)?;
                self.tickets.insert(made).clone()
            }
        })
    }
}

/// Returns the settings of TLS that all sites share.
pub(super) fn settings(
    flags: &Flags,
    sites: &[SiteSettings],
    kept: &mut Kept,
) -> Result<TlsSettings, ConfigError> {
    let mut settings = TlsSettings::with_tickets(match &flags.ticket_key[..] {
        [] => kept.tickets()?,
        files => tickets(files)?,
    });
    settings.min_version = match flags.tls_min_version {
        MinVersion::V1_2 => TlsVersion::V1_2,
        MinVersion::V1_3 => TlsVersion::V1_3,
    };
    settings.suites = flags.tls_suites.clone();
    settings.groups = flags.tls_groups.clone();
    if takes_early_data(sites) {
        let early = &mut kept.early;
        let early = early.get_or_insert_with(|| EarlyData::on(EARLY_SESSIONS));
        settings.early_data = early.clone();
    }
    Ok(settings)
}

/// Whether some route takes early data.
pub(super) fn takes_early_data(sites: &[SiteSettings]) -> bool {
    let takes = |flags: &Flags| flags.early_data == Switch::On;
    let mut sites = sites.iter();
    sites.any(|site| takes(&site.flags) || site.routes.iter().any(|route| takes(&route.flags)))
}

fn tickets(files: &[impl AsRef<Path>]) -> Result<Tickets, ConfigError> {
    let key = |(nth, file): (usize, &_)| {
        let file = AsRef::<Path>::as_ref(file);
        let key = read(file).and_then(|bytes| {
            let key = TicketKey::from_bytes(&bytes);
            key.map_err(|error| ConfigError::TlsFile(file.to_owned(), error))
        });
        key.map_err(|error| error.about("ticket-key", nth))
    };
    let keys = files.iter().enumerate().map(key);
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    Tickets::from_keys(keys).map_err(ConfigError::TlsSettings)
}

/// Returns what each site asks of its clients' certificates, if it asks for any.
pub(super) fn access(
    sites: &[SiteSettings],
) -> Result<Vec<Option<Arc<ClientAccess>>>, ConfigError> {
    let of = |(place, site): (usize, &SiteSettings)| {
        access_of(site).map_err(|error| error.of_site(place))
    };
    sites.iter().enumerate().map(of).collect()
}

fn access_of(site: &SiteSettings) -> Result<Option<Arc<ClientAccess>>, ConfigError> {
    let flags = &site.flags;
    let demand = match flags.client_certs {
        ClientCerts::Off => return Ok(None),
        ClientCerts::Optional => Demand::Optional,
        ClientCerts::Required => Demand::Required,
    };
    let Some(ca) = &flags.client_ca else {
        let sentence = "--client-certs needs --client-ca, the authorities that sign them";
        return Err(ConfigError::Contradiction(sentence.into()).about("client-certs", 0));
    };
    let authorities = read(ca).map_err(|error| error.about("client-ca", 0))?;
    // Each file by itself, so that an error names the right one.
    let alone = ClientCertificates::from_pem(demand, &authorities, None);
    let alone =
        alone.map_err(|error| ConfigError::TlsFile(ca.clone(), error).about("client-ca", 0))?;
    let clients = match &flags.client_crl {
        None => alone,
        Some(crl) => {
            let revoked = read(crl).map_err(|error| error.about("client-crl", 0))?;
            let clients = ClientCertificates::from_pem(demand, &authorities, Some(&revoked));
            clients
                .map_err(|error| ConfigError::TlsFile(crl.clone(), error).about("client-crl", 0))?
        }
    };
    let access = ClientAccess {
        clients,
        fields: fields(flags),
        site: match &site.names[..] {
            [] => "the site of all other hosts".into(),
            names => names.join(", "),
        },
    };
    Ok(Some(Arc::new(access)))
}

/// Returns the fields that tell upstreams about a client's certificate.
fn fields(flags: &Flags) -> Vec<CertField> {
    if !flags.client_cert_field.is_empty() {
        return flags.client_cert_field.clone();
    }
    let field = |(name, fact): (&str, CertFact)| CertField {
        name: name.to_owned(),
        fact,
    };
    // Nobody but a trusted proxy may send these, even where no site asks for certificates.
    let all = [
        ("x-client-cert-verdict", CertFact::Verdict),
        ("x-client-cert-subject", CertFact::Subject),
        ("x-client-cert-san", CertFact::San),
        ("x-client-cert-fingerprint", CertFact::Fingerprint),
    ];
    all.map(field).to_vec()
}

/// Returns the names of the fields that some site tells its upstreams. Strangers mustn't send them
/// to any site: its upstream may serve another one too.
pub(super) fn told_names(sites: &[SiteSettings]) -> Vec<Box<[u8]>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    for field in sites.iter().flat_map(|site| fields(&site.flags)) {
        let name: Box<[u8]> = field.name.as_bytes().into();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))
}
