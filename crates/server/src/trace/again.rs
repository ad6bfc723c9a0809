//! The command `tidegate replay`: feeds a trace into the engine again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use tidegate_trace::replay;

use super::show::{chosen, complain, misused, only, read};

/// Words that can't be the name of a function.
#[rustfmt::skip]
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while",
];

/// The flags of `tidegate replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// A trace that the server or its simulator has written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Replay only this connection, by its name in the list of tidegate trace or by its number
    /// there, from 1
    #[arg(short, long, value_name = "NAME")]
    pub connection: Option<String>,

    /// Write the connection to PATH.trace, and a test in Rust that replays it to PATH.rs: for
    /// tidegate itself, PATH is crates/http2/tests/NAME
    #[arg(long, value_name = "PATH")]
    pub as_test: Option<PathBuf>,
}

/// Runs the command. Returns exit status 0 if the engine does as recorded, 1 if it does otherwise
/// or the file can't be read, and 2 if it has no such connection or none that is whole.
pub fn main(flags: &Flags) -> ExitCode {
    let trace = match read(&flags.file) {
        Ok(trace) => trace,
        Err(error) => return complain("replay", &error),
    };
    if let Some(damage) = &trace.damage {
        complain("replay", &format!("{}: {damage}", flags.file.display()));
    }
    let chosen = match chosen(&trace, flags.connection.as_deref()) {
        Ok(chosen) => chosen,
        Err(error) => return misused("replay", &error),
    };
    if let Some(path) = &flags.as_test {
        let connection = match only(&chosen, "--as-test") {
            Ok(connection) => connection,
            Err(error) => return misused("replay", &error),
        };
        return match write_test(connection, path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain("replay", &error),
        };
    }
    let (mut agree, mut differ, mut unfit) = (0, 0, 0);
    for (number, connection) in chosen {
        let name = connection.id.escape_debug();
        match replay::replay(connection, Instant::now()) {
            Ok(differences) if differences.is_empty() => agree += 1,
            Ok(differences) => {
                differ += 1;
                for difference in differences {
                    println!("connection {number} ({name}), {difference}");
                }
            }
            Err(reason) => {
                unfit += 1;
                println!("connection {number} ({name}) can't be replayed: {reason}");
            }
        }
    }
    println!("{agree} connections agree, {differ} differ, {unfit} can't be replayed");
    match (agree, differ) {
        (_, 1..) => ExitCode::FAILURE,
        (0, 0) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

/// Writes a trace with this connection alone, and a test beside it.
fn write_test(connection: &tidegate_trace::Connection, path: &Path) -> Result<(), String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let is_name = |name: &&str| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !KEYWORDS.contains(name)
    };
    let Some(name) = name.filter(is_name) else {
        let path = path.display();
        return Err(format!(
            "{path} can't be the name of a test: write it in small letters, digits and _, and \
             choose no keyword of Rust"
        ));
    };
    let (trace, test) = replay::as_test(connection, name);
    for (extension, text) in [("trace", trace), ("rs", test)] {
        let path = path.with_extension(extension);
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| format!("can't write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
