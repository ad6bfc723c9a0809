//! The tables of the configuration file, and the keys that each may have.

use clap::{Arg, ArgAction, Command};

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The top of the file: settings of the whole server, and those that its sites inherit.
    Server,
    /// `[[site]]`.
    Site,
    /// `[[site.route]]`.
    Route,
    /// `[upstream.NAME]`.
    Upstream,
}

/// Keys that an upstream may have. Those of a route are for the upstream of its target, a site's
/// for all its routes, the server's for all sites and for upstreams with names.
pub(super) const OF_UPSTREAMS: [&str; 10] = [
    "upstream-ca",
    "upstream-cert",
    "upstream-key",
    "upstream-name",
    "upstream-connect-timeout",
    "upstream-timeout",
    "tunnel-timeout",
    "upstream-idle-timeout",
    "upstream-max-connections",
    "upstream-proxy-protocol",
];

/// Further keys that a route may have. A site's are for all its routes, the server's for all sites.
const OF_ROUTES: [&str; 7] = [
    "upstream-host",
    "fallback",
    "http-redirect",
    "response-field",
    "max-body",
    "default-priority",
    "early-data",
];

/// Keys that a site may have and a route may not, which a site inherits.
const OF_SITES: [&str; 13] = [
    "cert",
    "key",
    "ocsp",
    "client-certs",
    "client-ca",
    "client-crl",
    "client-cert-field",
    "early-hints",
    "push",
    "trust-x-priority",
    "access-log",
    "access-log-format",
    "access-log-sample",
];

/// Keys that a site may have and doesn't inherit: at the top of the file they describe the default
/// site.
pub(super) const CONTENT: [&str; 5] = ["root", "route", "websocket", "preload", "preload-file"];

/// Whether a flag is also a key.
pub fn is_key(argument: &Arg) -> bool {
    let takes_part = !matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    takes_part && argument.get_long().is_some() && argument.get_id() != "config"
}

impl Scope {
    /// Returns the table's keys that aren't flags.
    pub(super) fn own_keys(self) -> &'static [&'static str] {
        match self {
            Self::Server => &["site", "upstream"],
            Self::Site => &["names", "route"],
            Self::Route => &["path", "target"],
            Self::Upstream => &["addresses"],
        }
    }

    /// Whether the table may have the key of this flag.
    pub fn has(self, argument: &Arg) -> bool {
        let name = argument.get_long().unwrap_or_default();
        is_key(argument)
            && match self {
                Self::Server => true,
                Self::Site => is_of_routes(name) || is_of_sites(name),
                Self::Route => is_of_routes(name),
                Self::Upstream => OF_UPSTREAMS.contains(&name),
            }
    }

    /// Whether the table has the value of this flag from an outer one unless it sets its own.
    pub(super) fn inherits(self, argument: &Arg) -> bool {
        let name = argument.get_long().unwrap_or_default();
        self.has(argument) && !CONTENT.contains(&name)
    }

    /// Returns a sentence about a key that the table can't have.
    pub(super) fn unknown(self, name: &str, command: &Command) -> String {
        let mut flags = command.get_arguments().filter(|flag| is_key(flag));
        if flags.any(|flag| flag.get_long() == Some(name)) {
            return match self {
                Self::Route if Self::Site.own_keys().contains(&name) || is_of_sites(name) => {
                    format!("{name} is for a whole site: write it in the [[site]]")
                }
                Self::Upstream if OF_ROUTES.contains(&name) => {
                    format!("{name} is for routes: write it in the [[site.route]]")
                }
                Self::Upstream if is_of_sites(name) => {
                    format!("{name} is for a site: write it in the [[site]]")
                }
                _ => format!("{name} is for the whole server: write it before the first [[site]]"),
            };
        }
        for (scope, title) in [
            (Self::Site, "a [[site]]"),
            (Self::Route, "a [[site.route]]"),
            (Self::Upstream, "an [upstream.NAME]"),
        ] {
            if scope.own_keys().contains(&name) {
                return format!("{name} is a key of {title}");
            }
        }
        let flags = command.get_arguments().filter(|flag| self.has(flag));
        let own = self.own_keys().iter().copied();
        match alike(name, flags.filter_map(Arg::get_long).chain(own)) {
            Some(key) => format!("there is no key {name}: did you mean {key}?"),
            None => format!("there is no key {name}: docs/configuration.md lists all"),
        }
    }
}

fn is_of_routes(name: &str) -> bool {
    OF_ROUTES.contains(&name) || OF_UPSTREAMS.contains(&name)
}

fn is_of_sites(name: &str) -> bool {
    OF_SITES.contains(&name) || CONTENT.contains(&name)
}

/// Returns the name that was probably meant by another one.
pub fn alike<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = all.map(|other| (strsim::damerau_levenshtein(other, name), other));
    let (distance, nearest) = distances.min()?;
    (distance <= name.len() / 3).then_some(nearest)
}
