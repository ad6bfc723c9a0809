//! The formats of the log.

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object for each line.
    Json,
}
