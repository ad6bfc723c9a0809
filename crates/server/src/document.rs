//! A TOML file that an operator writes, and errors with its lines.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

/// Why a file can't be used. `Display` gives one sentence with the file and, if known, the line.
#[derive(Debug)]
pub enum FileError {
    /// The file, or one that it names, can't be read.
    Unreadable(PathBuf, io::Error),
    /// The problem in this line of the file, counted from 1.
    Line(PathBuf, usize, String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "can't read {}: {error}", path.display()),
            Self::Line(path, line, problem) => {
                write!(f, "{}, line {line}: {problem}", path.display())
            }
        }
    }
}

impl std::error::Error for FileError {}

impl FileError {
    /// Returns the process's exit status: 2 if the file has a mistake, 1 if it can't be read.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Unreadable(..) => 1,
            Self::Line(..) => 2,
        }
    }
}

/// The text of a file.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or isn't UTF-8.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = fs::read_to_string(path)
            .map_err(|error| FileError::Unreadable(path.to_owned(), error))?;
        Ok(Self::new(path, text))
    }

    /// Returns the document with this text, for a file at `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line of the byte at index `at`, counted from 1.
    pub fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Returns an error about the line of the byte at index `at`.
    pub fn wrong(&self, at: usize, problem: impl Into<String>) -> FileError {
        FileError::Line(self.path.clone(), self.line(at), problem.into())
    }

    /// Parses the text.
    ///
    /// # Errors
    /// The first mistake in the syntax.
    pub fn parse(&self) -> Result<Spanned<DeTable<'_>>, FileError> {
        DeTable::parse(&self.text).map_err(|error| self.not_parsed(&error))
    }

    /// Returns an error of the parser as one with a line.
    pub fn not_parsed(&self, error: &toml::de::Error) -> FileError {
        let at = error.span().map_or(0, |span| span.start);
        self.wrong(at, error.message().replace('\n', ", "))
    }
}
