//! A configuration that was made while the process runs.

use std::fmt;
use std::sync::Arc;

use crate::command_line::CommandLine;
use crate::config::{Config, Lasting};

/// Why there is to be another configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// SIGHUP: the configuration file and all others are read.
    Signal,
    /// Only certificates have changed: the configuration file isn't read.
    CertificatesChanged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::CertificatesChanged => "certificates have changed",
        })
    }
}

/// A configuration that can be used, but for ports that may be taken.
pub(crate) struct Prepared {
    pub(crate) command_line: Arc<CommandLine>,
    pub(crate) config: Config,
}

impl Prepared {
    /// Makes a configuration. Returns a sentence if it can't be used.
    pub(crate) fn new(command_line: Arc<CommandLine>, lasting: &Lasting) -> Result<Self, String> {
        let CommandLine {
            flags,
            sites,
            upstreams,
            ..
        } = &*command_line;
        let config = Config::following(flags, sites, upstreams, Some(lasting));
        let config = config.map_err(|error| command_line.sentence(&error))?;
        for warning in &command_line.warnings {
            log::warn!("{warning}");
        }
        if let Some(warning) = lasting.unchanged(flags) {
            log::warn!("{warning}");
        }
        Ok(Self {
            command_line,
            config,
        })
    }
}
