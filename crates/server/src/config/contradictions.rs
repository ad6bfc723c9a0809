//! Flags that contradict each other.

use std::sync::Arc;

use super::error::ConfigError;
use super::listeners::Address;
use crate::client_access::ClientAccess;
use crate::flags::{Flags, Listen, Route};
use crate::hosts::is_address;
use crate::settings::SiteSettings;

/// Returns a contradiction about the `nth` value of a flag.
fn contradiction(flag: &'static str, nth: usize, sentence: String) -> Result<(), ConfigError> {
    Err(ConfigError::Contradiction(sentence).about(flag, nth))
}

/// Checks that the flags of the ports don't contradict each other.
///
/// # Errors
/// A contradiction, whose sentence names the flags.
pub(super) fn check_ports(flags: &Flags, addresses: &[Address]) -> Result<(), ConfigError> {
    for (flag, typed) in [("listen", &flags.listen), ("listen-h2c", &flags.listen_h2c)] {
        let none = typed.iter().position(|listen| *listen == Listen::None);
        if let Some(nth) = none
            && typed.len() > 1
        {
            let sentence = format!(
                "--{flag} none means no such port: leave it out, or leave out the other --{flag}"
            );
            return contradiction(flag, nth, sentence);
        }
    }
    // The kernel would distribute the connections to an address over both listeners.
    for (place, address) in addresses.iter().enumerate() {
        let is_same = |other: &Address| other.first == address.first;
        if address.first.port() != 0 && addresses[..place].iter().any(is_same) {
            let sentence = format!(
                "can't listen on {} twice: leave out one --listen or --listen-h2c",
                address.first
            );
            // The addresses for TLS are first.
            let before = flags.listen.len().max(1);
            return match place.checked_sub(before) {
                Some(nth) if !flags.listen_h2c.is_empty() => {
                    contradiction("listen-h2c", nth, sentence)
                }
                _ => contradiction("listen", place.min(before - 1), sentence),
            };
        }
    }
    Ok(())
}

/// Checks that strangers can't reach the admin listener by mistake.
///
/// # Errors
/// A contradiction, whose sentence names the flags.
pub(super) fn check_admin(flags: &Flags) -> Result<(), ConfigError> {
    let flags = &flags.operators;
    if !flags.admin.is_public() || flags.admin_public {
        return Ok(());
    }
    let sentence = format!(
        "other machines may reach the admin listener on {}: choose an address of loopback or a \
         Unix socket, or add --admin-public",
        flags.admin
    );
    contradiction("admin", 0, sentence)
}

/// Checks that clients of an IP address can show the certificates that its site asks for.
///
/// # Errors
/// A contradiction, whose sentence names the address.
pub(super) fn check_addresses(
    sites: &[SiteSettings],
    access: &[Option<Arc<ClientAccess>>],
) -> Result<(), ConfigError> {
    let clients = |site: usize| Some(&access.get(site)?.as_ref()?.clients);
    let default = sites.iter().position(|site| site.names.is_empty());
    let default = default.and_then(clients);
    for (place, site) in sites.iter().enumerate() {
        let address = site.names.iter().find(|name| is_address(name.as_bytes()));
        if let Some(address) = address
            && clients(place) != default
        {
            let sentence = format!(
                "no client names an address such as {address} in TLS, so this site can't ask its \
                 clients for other certificates than the site of all other hosts does"
            );
            return contradiction("client-certs", 0, sentence)
                .map_err(|error| error.of_site(place));
        }
    }
    Ok(())
}

/// Checks that the routes of a site don't contradict each other.
///
/// # Errors
/// A contradiction, whose sentence names the flags.
pub(super) fn check_routes(flags: &Flags) -> Result<(), ConfigError> {
    let path = |route: &Route| route.path.trim_end_matches('/').to_owned();
    for (place, route) in flags.route.iter().enumerate() {
        if route.path == "/" && flags.root.is_some() {
            let sentence = "--root and --route / are for the same path: leave out one";
            return contradiction("route", place, sentence.into());
        }
        let mut others = flags.route[..place].iter();
        if others.any(|other| path(other) == path(route)) {
            let sentence = format!("two routes are for {}: leave out one --route", route.path);
            return contradiction("route", place, sentence);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let config = |line: &str| {
            let words = std::iter::once("tidegate").chain(line.split_whitespace());
            Config::new(&Flags::try_parse_from(words).unwrap())
        };
        for (line, says) in [
            ("--route /a=status --route /a=echo", "two routes are for /a"),
            (
                "--route /a=status --route /a/=echo",
                "two routes are for /a/",
            ),
            (
                "--route /a~=status --route /%61%7e=echo",
                "two routes are for /a~",
            ),
            ("--root . --route /=status", "--root and --route /"),
            ("--listen none --listen 1", "--listen none means"),
            (
                "--listen-h2c 1 --listen-h2c none",
                "--listen-h2c none means",
            ),
            (
                "--listen 127.0.0.1:1 --listen 127.0.0.1:1",
                "can't listen on 127.0.0.1:1 twice",
            ),
            ("--admin 0.0.0.0:9090", "add --admin-public"),
            ("--listen 8080", "can't listen on [::]:8080 twice"),
        ] {
            let error = config(line)
                .err()
                .unwrap_or_else(|| panic!("{line} is fine"));
            assert!(error.to_string().contains(says), "{line}: {error}");
            assert_eq!(error.exit_status(), 2, "{line}");
        }
        let several = "--listen none --listen-h2c 127.0.0.1:0 --listen-h2c 127.0.0.1:0 --root . \
                       --route /a=status --route /a/b=echo";
        assert!(config(several).is_ok());
        let no_directory = config("--listen none --route /=localhost").err().unwrap();
        assert!(
            no_directory.to_string().contains("http://"),
            "{no_directory}"
        );
    }
}
