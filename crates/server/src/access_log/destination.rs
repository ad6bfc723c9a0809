//! The places that lines go to.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use crate::logs::queue::{self, Appended, Gap, Options, Queue, Readers, Report};

use super::format::Style;

/// The value of `--access-log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// No lines.
    Off,
    /// The log, at level info.
    Log,
    /// Stdout.
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        match typed {
            "" => Err("expected a file, -, log or off".into()),
            "off" => Ok(Self::Off),
            "log" => Ok(Self::Log),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// The place that lines go to. Opened once; each worker has a clone.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To the log, at level info.
    Log,
    /// To a file that is appended to.
    File(Queue),
    /// To stdout.
    Stdout(Queue),
}

impl Destination {
    /// Opens a place for lines of this style. A new file belongs to `owner`, a user and a group, if
    /// there is one. Returns `None` if there are to be no lines.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(
        place: &Place,
        style: Style,
        owner: Option<(u32, u32)>,
    ) -> io::Result<Option<Self>> {
        Ok(match place {
            Place::Off => None,
            Place::Log => Some(Self::Log),
            Place::Stdout => Some(Self::Stdout(queue::stdout(marker(style))?)),
            Place::File(path) => {
                let name = format!("the access log {}", path.display());
                let file = match owner {
                    Some(owner) => Appended::open_for(path, Readers::Umask, owner)?,
                    None => Appended::open(path, Readers::Umask)?,
                };
                let report = Report::Log(marker(style));
                let queue = Queue::start(file, &name, report, Options::default())?;
                Some(Self::File(queue))
            }
        })
    }

    /// Returns the queue of the file or stdout; `None` for the log.
    pub(super) fn queue(&self) -> Option<&Queue> {
        match self {
            Self::Log => None,
            Self::File(queue) | Self::Stdout(queue) => Some(queue),
        }
    }

    /// Makes the queue reopen the file before the next line, as after log rotation. Returns
    /// immediately.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue() {
            queue.reopen();
        }
    }
}

/// Returns the function that writes the line in place of lost ones.
pub fn marker(style: Style) -> fn(&Gap) -> String {
    match style {
        Style::Text => |gap| {
            let Gap { lines, .. } = gap;
            format!(
                "# {lines} lines were lost here, from {} to {}\n",
                gap.began(),
                gap.ended()
            )
        },
        Style::Json => |gap| {
            format!(
                "{{\"timestamp\":\"{}\",\"tidegate.lines_lost\":{},\"tidegate.lines_lost_since\":\
                 \"{}\"}}\n",
                gap.ended(),
                gap.lines,
                gap.began()
            )
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (typed, place) in [
            ("off", Place::Off),
            ("log", Place::Log),
            ("-", Place::Stdout),
            ("./off", Place::File("./off".into())),
        ] {
            assert_eq!(typed.parse(), Ok(place));
        }
        assert!("".parse::<Place>().is_err());
    }

    #[test]
    fn an_unusable_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().into());
        assert!(Destination::open(&place, Style::Text, None).is_err());
        assert!(
            Destination::open(&Place::Off, Style::Text, None)
                .unwrap()
                .is_none()
        );
    }
}
