//! `tidegate check`: validates a configuration and prints what is in effect.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::access_log::Place;
use crate::command_line::CommandLine;
use crate::config::{Config, ConfigError};
use crate::flags::Flags;
use crate::logs;

/// The exit status for a configuration with which the server wouldn't start.
pub(crate) const WRONG: u8 = 2;

/// Does everything that the server does before it listens, and prints the configuration in effect.
/// Returns exit status 0 or 2.
pub fn main(command_line: &CommandLine) -> ExitCode {
    // Names that don't resolve and certificates that expire are warnings.
    if let Err(error) = logs::start("warn", command_line.flags.log_format) {
        logs::complain(&format!("can't start the log: {error}"));
        return ExitCode::from(WRONG);
    }
    for warning in &command_line.warnings {
        log::warn!("{warning}");
    }
    let code = match check(command_line) {
        Ok(()) => match io::stdout().write_all(command_line.effective.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(WRONG),
        },
        Err(error) => {
            logs::complain(&command_line.sentence(&error));
            ExitCode::from(WRONG)
        }
    };
    logs::flush(Instant::now() + logs::PATIENCE);
    code
}

fn check(command_line: &CommandLine) -> Result<(), ConfigError> {
    let mut flags = command_line.flags.clone();
    let mut sites = command_line.sites.clone();
    // A check creates no files.
    look_at_log(&mut flags)?;
    for (place, site) in sites.iter_mut().enumerate() {
        look_at_log(&mut site.flags).map_err(|error| error.of_site(place))?;
    }
    if let Some(path) = flags.tracing.trace.take() {
        can_append(&path).map_err(|error| ConfigError::NoTrace(path, error))?;
    }
    Config::with_sites(&flags, &sites, &command_line.upstreams).map(drop)
}

/// Returns an error if an access log can't be opened, and takes it away.
fn look_at_log(flags: &mut Flags) -> Result<(), ConfigError> {
    match flags.access_log.replace(Place::Off) {
        Some(Place::File(path)) => {
            can_append(&path).map_err(|error| ConfigError::NoAccessLog(path, error))
        }
        _ => Ok(()),
    }
}

/// Returns an error if a file can't be appended to, or created.
fn can_append(path: &Path) -> io::Result<()> {
    // To open a named pipe is to wait for its reader, and to close it ends what that reads.
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return Ok(());
    }
    match fs::OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            fs::metadata(directory.unwrap_or(Path::new("."))).map(drop)
        }
        result => result.map(drop),
    }
}
