//! `tidegate man` and `tidegate completions`: what packages install beside the binary, made from
//! the flags.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::logs;

/// The man page to print.
#[derive(Clone, Debug, clap::Args)]
pub struct Page {
    /// Command to describe [default: the server]
    #[arg(value_name = "COMMAND", value_parser = ["get", "check", "trace", "replay", "man", "completions"])]
    pub of: Option<String>,
}

impl Page {
    /// Writes the page in roff, for section 1 of the manual. `program` is the whole command line.
    ///
    /// # Errors
    /// An error of `out`.
    pub fn write(&self, program: Command, out: &mut dyn Write) -> io::Result<()> {
        // There is no page on `help`.
        let mut command = program.disable_help_subcommand(true);
        // Gives each command its full name: tidegate-get.
        command.build();
        let named = |name: &String| command.find_subcommand(name).cloned();
        let mut command = self.of.as_ref().and_then(named).unwrap_or(command);
        let usage = command.render_usage().to_string();
        let examples = command.get_after_help().map(ToString::to_string);
        // Man would flow the lines of the examples together.
        command = command.after_help("");
        let man = Man::new(command.clone())
            .source(concat!("tidegate ", env!("CARGO_PKG_VERSION")))
            .manual("User Commands");
        man.render_title(out)?;
        man.render_name_section(out)?;
        let usage = usage.trim_start_matches("Usage:").lines().map(str::trim);
        lines("SYNOPSIS", usage).to_writer(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
        if command.has_subcommands() {
            man.render_subcommands_section(out)?;
        }
        if let Some(examples) = examples {
            lines("VALUES AND EXAMPLES", examples.lines()).to_writer(out)?;
        }
        let manual = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/docs");
        lines("SEE ALSO", [manual]).to_writer(out)
    }
}

/// Returns a section whose lines stay as they are.
fn lines<'a>(heading: &str, lines: impl IntoIterator<Item = &'a str>) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [heading]);
    section.control("nf", []);
    for line in lines {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

/// The shell whose completions to print.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Completions {
    /// Shell that reads the completions
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

impl Completions {
    /// Writes a script for the shell, which completes the command line `program`.
    ///
    /// # Errors
    /// An error of `out`.
    pub fn write(self, mut program: Command, out: &mut dyn Write) -> io::Result<()> {
        clap_complete::generate(self.shell, &mut program, "tidegate", out);
        Ok(())
    }
}

/// Prints on stdout what `write` writes. Returns exit status 0, or 1 if stdout takes no more.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    // A script that is cut off could do anything, so all of it is made before the first byte goes.
    let mut text = Vec::new();
    let printed = write(&mut text).and_then(|()| io::stdout().write_all(&text));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs::complain(&format!("can't write to stdout: {error}"));
            ExitCode::FAILURE
        }
    }
}
