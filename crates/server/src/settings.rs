//! The settings: flags, and the keys of a configuration file.
//!
//! Each flag is a key of the file. [`Flags`] defines both: a value of the file
//! is put before the words of the command line as the flag that it stands for, unless that flag was
//! typed. So both pass the same checks, and a new flag is a new key.
//!
//! - `keys`      what a key's value may be, and what is wrong with it
//! - `scope`     which keys are for the whole server, for a site, or for a route
//! - `sites`     the tables `[[site]]` and `[[site.route]]`
//! - `upstreams` the tables `[upstream.NAME]`
//! - `origins`   the lines of the file that values came from
//! - `effective` the configuration in effect, as a file
//! - `warnings`  flags that have no effect
//! - `written`   values as TOML

pub mod effective;
pub mod keys;
pub mod origins;
pub mod scope;
pub mod sites;
#[cfg(test)]
mod tests;
pub mod upstreams;
pub mod warnings;
mod written;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use crate::document::{Document, FileError};
use crate::flags::{Arguments, Flags};
use keys::Given;
pub use origins::Origins;
use scope::Scope;
pub use scope::alike;
pub use sites::SiteSettings;
use sites::SiteTable;
pub use upstreams::UpstreamSettings;
use upstreams::UpstreamTable;

/// A command line joined with the file that it names.
#[derive(Debug, Default)]
pub struct Joined {
    /// The words of the command line, after those that stand for the file's keys.
    pub words: Vec<OsString>,
    /// The origins of the keys.
    pub origins: Origins,
    /// The file's sites.
    pub sites: Vec<SiteTable>,
    /// The file's upstreams that have names.
    pub upstreams: Vec<UpstreamTable>,
}

/// Returns the file that `--config` names, if it is among these words of a command line.
fn named_file(matches: &ArgMatches) -> Option<&PathBuf> {
    matches.try_get_one("config").ok().flatten()
}

/// Returns the names of the flags that were typed, without dashes.
pub fn typed(matches: &ArgMatches) -> HashSet<String> {
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    Flags::command()
        .get_arguments()
        .filter(|argument| is_typed(argument.get_id().as_str()))
        .filter_map(clap::Arg::get_long)
        .map(str::to_owned)
        .collect()
}

/// Joins a command line with the file that it names by `--config`.
///
/// # Errors
/// The first mistake in the file.
pub fn joined(arguments: &[OsString]) -> Result<Joined, FileError> {
    // Mistakes are reported later, by the words that this returns.
    let command = Arguments::command().ignore_errors(true);
    let matches = command.try_get_matches_from(arguments).ok();
    let named = matches.as_ref().zip(matches.as_ref().and_then(named_file));
    let Some((matches, file)) = named else {
        return Ok(Joined {
            words: arguments.to_vec(),
            ..Joined::default()
        });
    };
    let document = Document::read(file)?;
    let table = document.parse()?;
    let (mut keys, others) = keys::read(&document, table.get_ref(), Scope::Server)?;
    let typed = typed(matches);
    keys::check_needs(&document, &keys, &typed)?;
    let is_given = |flag: &str| {
        let mut keys = keys.iter();
        typed.contains(flag) || keys.any(|key| key.flag == flag)
    };
    let (upstreams, sites) = others
        .into_iter()
        .partition::<Vec<_>, _>(|other| other.name == "upstream");
    let upstreams = match upstreams.first() {
        Some(table) => upstreams::read(&document, table, is_given)?,
        None => Vec::new(),
    };
    let sites = sites::read(&document, sites, is_given)?;
    keys.retain(|key| !typed.contains(&*key.flag));
    let mut words: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    words.extend(keys.iter().flat_map(Given::words));
    words.extend(arguments.iter().skip(1).cloned());
    Ok(Joined {
        words,
        origins: Origins::new(file.clone(), keys),
        sites,
        upstreams,
    })
}
