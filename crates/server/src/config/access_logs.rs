//! The access logs of all sites.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use super::error::ConfigError;
use crate::access_log::{Destination, Format, Logs, Place, Settings, Style};
use crate::flags::Flags;
use crate::logs;
use crate::settings::SiteSettings;
use crate::user::owner;

/// A place that is open.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    place: Place,
    style: Style,
    destination: Option<Destination>,
}

/// The settings of a site's log.
struct Wanted {
    place: Place,
    format: Arc<Format>,
}

impl Wanted {
    fn of(flags: &Flags) -> Self {
        let place = flags.access_log.clone().unwrap_or_else(|| {
            // A line for each request would bury what a terminal is read for.
            if io::stderr().is_terminal() {
                Place::Off
            } else {
                Place::Log
            }
        });
        let format = flags.access_log_format.clone().unwrap_or_else(|| {
            Arc::new(match (&place, flags.log_format) {
                (Place::Log, logs::Format::Json) => Format::json(),
                (Place::Log, logs::Format::Text) => Format::short(),
                _ => Format::combined(),
            })
        });
        Self { place, format }
    }
}

/// The access logs of all sites.
pub(super) struct AllLogs {
    pub(super) logs: Logs,
    /// The index of each site's log.
    pub(super) of_sites: Vec<Option<usize>>,
    /// The places that are open now.
    pub(super) open: Vec<Opened>,
}

/// Opens the access logs of the server and of its sites, but for those that are open.
pub(super) fn open(
    flags: &Flags,
    sites: &[SiteSettings],
    former: &[Opened],
) -> Result<AllLogs, ConfigError> {
    let mut open = Vec::new();
    let mut logs = Logs::default();
    logs.of_no_site = log(flags, &mut logs.all, &mut open, former)?;
    let mut of_sites = Vec::with_capacity(sites.len());
    for (place, site) in sites.iter().enumerate() {
        let log = log(&site.flags, &mut logs.all, &mut open, former);
        of_sites.push(log.map_err(|error| error.of_site(place))?);
    }
    Ok(AllLogs {
        logs,
        of_sites,
        open,
    })
}

/// Returns the index of the log that these flags want, which is made if there is none like it.
fn log(
    flags: &Flags,
    all: &mut Vec<Settings>,
    open: &mut Vec<Opened>,
    former: &[Opened],
) -> Result<Option<usize>, ConfigError> {
    let Wanted { place, format } = Wanted::of(flags);
    let style = format.style();
    let is_it = |opened: &&Opened| opened.place == place && opened.style == style;
    let found = open
        .iter()
        .find(is_it)
        .or_else(|| former.iter().find(is_it));
    let opened = match found {
        Some(opened) => opened.clone(),
        None => Opened {
            destination: destination(flags, &place, style)?,
            place: place.clone(),
            style,
        },
    };
    let destination = opened.destination.clone();
    if !open.iter().any(|other| is_it(&other)) {
        open.push(opened);
    }
    let Some(destination) = destination else {
        return Ok(None);
    };
    let sampling = flags.access_log_sample.clone().unwrap_or_default();
    let settings = Settings {
        place,
        destination,
        format,
        sampling,
    };
    let known = all.iter().position(|other| other.is_like(&settings));
    if known.is_some() {
        return Ok(known);
    }
    all.push(settings);
    Ok(Some(all.len() - 1))
}

fn destination(
    flags: &Flags,
    place: &Place,
    style: Style,
) -> Result<Option<Destination>, ConfigError> {
    Destination::open(place, style, owner(flags.user.as_deref())).map_err(|error| {
        let path = match place {
            Place::File(path) => path.clone(),
            _ => PathBuf::new(),
        };
        ConfigError::NoAccessLog(path, error)
    })
}
