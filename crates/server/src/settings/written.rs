//! Settings written as TOML.

use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use super::keys::value_name;

/// Writes a line with its origin as a comment.
pub(super) fn line(text: &mut String, setting: &str, origin: &str) {
    let _ = writeln!(text, "{setting:<44} # {origin}");
}

/// Returns a flag's values as TOML, or `None` if it has none.
pub(super) fn value(argument: &Arg, values: &[String]) -> Option<String> {
    let one = |value: &String| match value_name(argument) {
        "N" => value.clone(),
        _ => quoted(value),
    };
    match argument.get_action() {
        ArgAction::SetTrue => values.first().cloned(),
        ArgAction::Append => {
            let all: Vec<String> = values.iter().map(one).collect();
            (!all.is_empty()).then(|| format!("[{}]", all.join(", ")))
        }
        _ => values.first().map(one),
    }
}

/// Returns a string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(control));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
