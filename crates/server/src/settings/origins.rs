//! The lines of the configuration file that values came from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::Given;

/// The origins of values: those that came from a file, and from which line.
#[derive(Clone, Debug, Default)]
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

impl Named<'_> {
    /// Returns the file and the line, if the value came from a file.
    pub(super) fn at(&self) -> Option<String> {
        let (file, line) = self.place?;
        Some(format!("{}, line {line}", file.display()))
    }
}

impl Origins {
    pub(super) fn new(file: PathBuf, keys: Vec<Given>) -> Self {
        Self { file, keys }
    }

    /// Returns these origins with those of a table, whose keys take the place of others.
    pub(super) fn with(&self, file: &Path, keys: &[Given]) -> Self {
        let mut all = keys.to_vec();
        all.extend(self.keys.iter().cloned());
        Self::new(file.to_owned(), all)
    }

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
        Some(self.named(flag, nth).at()? + ": ")
    }
}
