//! Settings written as TOML.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::keys::value_name;
use super::scope::Scope;

/// Writes a line with its origin as a comment.
pub(super) fn line(text: &mut String, setting: &str, origin: &str) {
    let _ = writeln!(text, "{setting:<44} # {origin}");
}

/// A setting of an outer table, which an inner one inherits.
#[derive(Clone, Debug)]
pub(super) struct Outer {
    name: String,
    /// The value as TOML.
    value: String,
    origin: String,
}

impl Outer {
    pub(super) fn new(name: &str, value: &str, origin: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            origin: origin.to_owned(),
        }
    }

    /// Whether one of these settings of an inner table takes the place of this one. Changes to
    /// fields are added.
    pub(super) fn is_replaced_by(&self, own: &[&str]) -> bool {
        own.contains(&&*self.name) && self.name != "response-field"
    }
}

/// Writes the settings that a table inherits as comments. `own` names its own ones, which take
/// their places, but for changes to fields, which are added.
pub(super) fn inherited<'a>(
    text: &mut String,
    command: &Command,
    scope: Scope,
    own: &[&str],
    outer: impl Iterator<Item = &'a Outer>,
) {
    for setting in outer.filter(|setting| !setting.is_replaced_by(own)) {
        let Outer {
            name,
            value,
            origin,
        } = setting;
        let mut flags = command.get_arguments();
        if flags.any(|flag| flag.get_long() == Some(name) && scope.inherits(flag)) {
            line(text, &format!("# {name} = {value}"), origin);
        }
    }
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
