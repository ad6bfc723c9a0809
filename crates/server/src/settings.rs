//! The values of a configuration file, and how they join those of the command line.
//!
//! Each flag is a key of the file. [`Flags`] defines both: a value of the file
//! is put before the words of the command line as the flag that it stands for, unless that flag was
//! typed. So both pass the same checks, and a new flag is a new key.
//!
//! - `keys`  what a key's value may be, and what is wrong with it

pub mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::parser::ValueSource;

use crate::document::{Document, FileError};
use crate::flags::Flags;
use keys::Given;

/// The origins of values: those that came from a file, and from which line.
#[derive(Debug, Default)]
pub struct Origins {
    file: PathBuf,
    keys: Vec<Given>,
}

/// A flag, or a key with its line. `Display` begins a sentence: `--cert`, or
/// `tidegate.toml, line 3: cert`.
#[derive(Debug)]
pub struct Named<'a> {
    name: &'a str,
    /// The file and the line, if the value came from a file.
    place: Option<(&'a Path, usize)>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            None => write!(f, "--{}", self.name),
            Some((file, line)) => write!(f, "{}, line {line}: {}", file.display(), self.name),
        }
    }
}

impl Origins {
    /// Returns the name and place of the `nth` value of a flag, counted from 0. A flag has its
    /// values from the file or from the command line, never from both.
    pub fn named<'a>(&'a self, flag: &'a str, nth: usize) -> Named<'a> {
        let key = self.keys.iter().find(|key| key.flag == flag);
        let value = key.and_then(|key| key.values.get(nth));
        Named {
            name: flag,
            place: value.map(|(_, line)| (&*self.file, *line)),
        }
    }

    /// Returns the beginning of a sentence about the `nth` value of a flag, if it came from a file:
    /// `tidegate.toml, line 3: `.
    pub fn place(&self, flag: &str, nth: usize) -> Option<String> {
        let (file, line) = self.named(flag, nth).place?;
        Some(format!("{}, line {line}: ", file.display()))
    }
}

/// Returns the file that `--config` names, if it is among these words of a command line.
fn named_file(matches: &clap::ArgMatches) -> Option<&PathBuf> {
    matches.try_get_one("config").ok().flatten()
}

/// Returns the words of a command line, after those that stand for the values of its `--config`.
///
/// # Errors
/// The first mistake in the file.
pub fn joined(arguments: &[OsString]) -> Result<(Vec<OsString>, Origins), FileError> {
    // Mistakes are reported later, by the words that this returns.
    let command = Flags::command().ignore_errors(true);
    let matches = command.try_get_matches_from(arguments).ok();
    let typed = matches.as_ref().zip(matches.as_ref().and_then(named_file));
    let Some((matches, file)) = typed else {
        return Ok((arguments.to_vec(), Origins::default()));
    };
    let document = Document::read(file)?;
    let mut keys = keys::read(&document)?;
    let all = Flags::command();
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let typed: HashSet<&str> = all
        .get_arguments()
        .filter(|argument| is_typed(argument.get_id().as_str()))
        .filter_map(clap::Arg::get_long)
        .collect();
    keys::check_needs(&document, &keys, &typed)?;
    keys.retain(|key| !typed.contains(&*key.flag));
    let mut words: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    words.extend(keys.iter().flat_map(Given::words));
    words.extend(arguments.iter().skip(1).cloned());
    let origins = Origins {
        file: file.clone(),
        keys,
    };
    Ok((words, origins))
}
