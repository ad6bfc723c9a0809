//! The keys of a configuration file. Each is the name of a flag without its dashes.

use std::collections::HashSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, absolute};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Document, FileError};
use crate::flags::{Flags, RouteTarget, route};

/// A key of the file, with its values in the words of the command line.
#[derive(Debug)]
pub struct Given {
    /// The flag's name, without dashes.
    pub flag: String,
    /// The values, each with its line. A switch that is off has none.
    pub values: Vec<(String, usize)>,
    /// Flags that must be given beside this one.
    needs: Vec<String>,
    /// The index of the key's first byte in the file.
    at: usize,
    is_switch: bool,
}

impl Given {
    /// Returns the words of a command line that stand for this key.
    pub fn words(&self) -> impl Iterator<Item = OsString> + '_ {
        self.values.iter().map(|(value, _)| {
            let flag = &self.flag;
            if self.is_switch {
                format!("--{flag}").into()
            } else {
                format!("--{flag}={value}").into()
            }
        })
    }
}

/// Whether a flag is also a key.
pub fn is_key(argument: &Arg) -> bool {
    let takes_part = !matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    takes_part && argument.get_long().is_some() && argument.get_id() != "config"
}

/// Returns a flag's key with its value as the file has it, such as `idle-timeout = "TIME"`.
pub fn form(argument: &Arg) -> String {
    let key = argument.get_long().unwrap_or_default();
    let name = value_name(argument);
    match argument.get_action() {
        ArgAction::SetTrue => format!("{key} = true"),
        ArgAction::Append => format!("{key} = [\"{name}\", …]"),
        _ if name == "N" => format!("{key} = {name}"),
        _ => format!("{key} = \"{name}\""),
    }
}

fn value_name(argument: &Arg) -> &str {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map_or("", |name| name)
}

/// Reads all keys of a file.
///
/// # Errors
/// The first mistake in the file.
pub fn read(document: &Document) -> Result<Vec<Given>, FileError> {
    let table = DeTable::parse(document.text()).map_err(|error| document.not_parsed(&error))?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let command = Flags::command();
    let keys = entries.into_iter().map(|(key, value)| {
        let name: &str = key.get_ref();
        let at = key.span().start;
        let mut arguments = command.get_arguments().filter(|argument| is_key(argument));
        match arguments.find(|argument| argument.get_long() == Some(name)) {
            Some(argument) => given(document, argument, at, value),
            None => Err(document.wrong(at, unknown(name, &command))),
        }
    });
    keys.collect()
}

/// Returns a sentence about a key that there is not.
fn unknown(name: &str, command: &clap::Command) -> String {
    let keys = command.get_arguments().filter(|argument| is_key(argument));
    let alike = keys
        .filter_map(Arg::get_long)
        .map(|key| (strsim::damerau_levenshtein(key, name), key))
        .min();
    match alike {
        Some((distance, key)) if distance <= name.len() / 3 => {
            format!("there is no key {name}: did you mean {key}?")
        }
        _ => format!("there is no key {name}: docs/configuration.md lists all"),
    }
}

/// Reads the value of one key.
fn given(
    document: &Document,
    argument: &Arg,
    at: usize,
    value: &Spanned<DeValue<'_>>,
) -> Result<Given, FileError> {
    let flag = argument.get_long().unwrap_or_default();
    let several = match value.get_ref() {
        DeValue::Array(values) if matches!(argument.get_action(), ArgAction::Append) => {
            values.iter().collect()
        }
        _ => vec![value],
    };
    let mut key = Given {
        flag: flag.to_owned(),
        values: Vec::new(),
        needs: Vec::new(),
        at,
        is_switch: matches!(argument.get_action(), ArgAction::SetTrue),
    };
    for value in several {
        let (line, span) = (document.line(value.span().start), value.span());
        let Some(text) = text(argument, value.get_ref()) else {
            let form = form(argument);
            let kind = kind(value.get_ref());
            return Err(document.wrong(
                value.span().start,
                format!("{flag} can't be {kind}: write {form}"),
            ));
        };
        if key.is_switch {
            if text == "true" {
                key.needs = needs(&format!("--{flag}")).unwrap_or_default();
                key.values.push((text, line));
            }
            continue;
        }
        let text = anchored(argument, text, document.path());
        key.needs = needs(&format!("--{flag}={text}")).map_err(|problem| {
            let written = document.text().get(span.clone()).unwrap_or_default();
            document.wrong(span.start, format!("{flag} = {written}: {problem}"))
        })?;
        key.values.push((text, line));
    }
    Ok(key)
}

/// Returns a value as it is typed on the command line. `None` if the key takes no value of this
/// type.
fn text(argument: &Arg, value: &DeValue<'_>) -> Option<String> {
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    match value {
        DeValue::Boolean(is_on) => is_switch.then(|| is_on.to_string()),
        _ if is_switch => None,
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number)
            if ["N", "SIZE", "TIME", "ADDR"].contains(&value_name(argument)) =>
        {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            Some(decimal.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Returns the value with the path in it, if there is one, relative to the directory of the
/// configuration file.
fn anchored(argument: &Arg, text: String, file: &Path) -> String {
    let below = |path: &Path| {
        let path = file.with_file_name("").join(path);
        let path = absolute(&path).unwrap_or(path);
        path.to_str().map(str::to_owned)
    };
    match value_name(argument) {
        // A hyphen is stdout.
        "FILE" | "DIR" if !text.is_empty() && text != "-" => {
            below(Path::new(&text)).unwrap_or(text)
        }
        "PATH=TARGET" => match route(&text).map(|route| (route.path, route.target)) {
            Ok((path, RouteTarget::Directory(directory))) => {
                below(&directory).map_or(text, |directory| format!("{path}={directory}"))
            }
            _ => text,
        },
        _ => text,
    }
}

/// Checks a flag by itself. Returns the names of the flags that it needs beside it.
fn needs(word: &str) -> Result<Vec<String>, String> {
    let Err(error) = Flags::command().try_get_matches_from(["tidegate", word]) else {
        return Ok(Vec::new());
    };
    let strings = |kind| match error.get(kind) {
        Some(ContextValue::Strings(words)) => words.clone(),
        Some(ContextValue::String(word)) => vec![word.clone()],
        _ => Vec::new(),
    };
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let missing = strings(ContextKind::InvalidArg).into_iter();
            let names = missing.map(|usage| {
                let name = usage.trim_start_matches('-').split(' ').next();
                name.unwrap_or_default().to_owned()
            });
            Ok(names.collect())
        }
        ErrorKind::InvalidValue => {
            let values: Vec<String> = strings(ContextKind::ValidValue);
            match strings(ContextKind::SuggestedValue).first() {
                Some(suggested) => Err(format!("did you mean \"{suggested}\"?")),
                None if values.is_empty() => Err("expected a value".into()),
                None => Err(format!("expected one of {}", values.join(", "))),
            }
        }
        _ => Err(match error.source() {
            Some(problem) => problem.to_string(),
            None => error.kind().to_string(),
        }),
    }
}

/// Checks that the flags which keys need are there, in the file or among those that were typed.
///
/// # Errors
/// The first key that lacks one.
pub(super) fn check_needs(
    document: &Document,
    keys: &[Given],
    typed: &HashSet<&str>,
) -> Result<(), FileError> {
    let is_there = |flag: &str| {
        let mut keys = keys.iter();
        typed.contains(flag) || keys.any(|key| key.flag == flag && !key.values.is_empty())
    };
    for key in keys.iter().filter(|key| !typed.contains(&*key.flag)) {
        if let Some(needed) = key.needs.iter().find(|needed| !is_there(needed)) {
            let problem = format!("{} needs {needed}, which isn't given", key.flag);
            return Err(document.wrong(key.at, problem));
        }
    }
    Ok(())
}
