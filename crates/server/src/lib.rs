//! The server `tidegate`, as a library for its binary and tests.

pub mod access_log;
pub mod admin;
pub mod app;
mod banner;
pub mod certificate;
mod certificate_watch;
mod channel;
pub mod check;
pub mod client_access;
pub mod clock;
pub mod command_line;
pub mod config;
pub mod disk;
pub mod document;
pub mod expiry;
pub mod flags;
pub mod get;
pub mod handlers;
mod happening;
pub mod hosts;
pub mod in_progress;
mod inherited;
mod listening;
pub mod logs;
pub mod manual;
pub mod memory;
pub mod message;
pub mod metrics;
mod notify;
pub mod path;
pub mod picture;
mod pid_file;
pub mod pipe;
mod prepared;
pub mod priority;
mod process;
pub mod proxy;
pub mod push;
pub mod redirect;
mod reload;
pub mod request;
pub mod request_id;
pub mod response_fields;
pub mod router;
pub mod rules;
pub mod run;
mod run_error;
pub mod settings;
pub mod shares;
pub mod site;
pub mod stats;
pub mod trace;
pub mod trace_context;
mod upgrade;
mod user;

use std::process::ExitCode;
use std::time::Instant;

use clap::CommandFactory;

use crate::command_line::{CommandLine, Error};
use crate::config::Config;
use crate::flags::{Arguments, Command};

/// Runs the program. Returns exit status 0 after a signal, 1 for an error of the system and 2 for a
/// wrong command line or configuration file.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::read(std::env::args_os()) {
        Ok(command_line) => command_line,
        Err(Error::Typed(error)) => {
            // `exit` writes it. Help and the version aren't errors.
            if error.use_stderr()
                && let Ok(given) = run::Given::take()
                && let Some(former) = given.complaint()
            {
                former.make(error.to_string().trim_end());
            }
            error.exit()
        }
        Err(Error::File(error)) => {
            complain(&error.to_string(), run::Given::take().ok().as_ref());
            let is_check = std::env::args_os()
                .nth(1)
                .is_some_and(|word| word == "check");
            return ExitCode::from(if is_check {
                check::WRONG
            } else {
                error.exit_status()
            });
        }
    };
    let flags = &command_line.flags;
    match &command_line.command {
        // `get` prints its own errors and has no log.
        Some(Command::Get(flags)) => return get::main(flags),
        Some(Command::Trace(flags)) => return trace::show::main(flags),
        Some(Command::Replay(flags)) => return trace::again::main(flags),
        Some(Command::Man(page)) => {
            return manual::print(|out| page.write(Arguments::command(), out));
        }
        Some(Command::Completions(shell)) => {
            return manual::print(|out| shell.write(Arguments::command(), out));
        }
        Some(Command::Check(_)) | None => {}
    }
    if command_line.is_check {
        return check::main(&command_line);
    }
    let given = match run::Given::take() {
        Ok(given) => given,
        Err(error) => {
            logs::complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = logs::start(&flags.log, flags.log_format) {
        complain(&format!("can't start the log: {error}"), Some(&given));
        return ExitCode::FAILURE;
    }
    for warning in &command_line.warnings {
        log::warn!("{warning}");
    }
    let code = serve(command_line, given);
    logs::flush(Instant::now() + logs::PATIENCE);
    code
}

fn serve(command_line: CommandLine, given: run::Given) -> ExitCode {
    let config = match Config::with_sites(
        &command_line.flags,
        &command_line.sites,
        &command_line.upstreams,
    ) {
        Ok(config) => config,
        Err(error) => {
            complain(&command_line.sentence(&error), Some(&given));
            return ExitCode::from(error.exit_status());
        }
    };
    let former = given.complaint();
    let ports = command_line.ports();
    match run::run(command_line, config, given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let place = error.port().and_then(|port| ports.place(port));
            let error = format!("{}{error}", place.unwrap_or_default());
            logs::complain(&error);
            if let Some(former) = former {
                former.make(&error);
            }
            ExitCode::FAILURE
        }
    }
}

/// Says why the server can't start, on stderr and to the process that it should have taken over
/// from.
fn complain(sentence: &str, given: Option<&run::Given>) {
    logs::complain(sentence);
    if let Some(former) = given.and_then(run::Given::complaint) {
        former.make(sentence);
    }
}
