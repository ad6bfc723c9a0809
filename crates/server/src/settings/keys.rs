//! The keys of a configuration file. Each is the name of a flag without its dashes.

use std::collections::HashSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, absolute};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::scope::Scope;
use crate::access_log::destination::Place;
use crate::document::{Document, FileError};
use crate::flags::{self, Flags, RouteTarget};

/// A key of the file, with its values in the words of the command line.
#[derive(Clone, Debug)]
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
    /// Returns a key without values.
    pub(super) fn of(flag: &str, at: usize) -> Self {
        Self {
            flag: flag.to_owned(),
            values: Vec::new(),
            needs: Vec::new(),
            at,
            is_switch: false,
        }
    }

    /// Returns the flags that must be given beside this one.
    pub(super) fn needs(&self) -> &[String] {
        &self.needs
    }

    /// Returns the index of the key's first byte in the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

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

pub(super) fn value_name(argument: &Arg) -> &str {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map_or("", |name| name)
}

/// A key of a table that isn't a flag.
pub(super) struct Other<'t> {
    pub(super) name: &'t str,
    /// The index of the key's first byte in the file.
    pub(super) at: usize,
    pub(super) value: &'t Spanned<DeValue<'t>>,
}

/// Reads the keys of a table, in the order of the file. Returns those that aren't flags unread.
///
/// # Errors
/// The first mistake in a key.
pub(super) fn read<'t>(
    document: &Document,
    table: &'t DeTable<'t>,
    scope: Scope,
) -> Result<(Vec<Given>, Vec<Other<'t>>), FileError> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let command = Flags::command();
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let at = key.span().start;
        let mut arguments = command.get_arguments().filter(|flag| scope.has(flag));
        // A site's routes are strings or tables.
        let has_tables = || match value.get_ref() {
            DeValue::Array(values) => values.iter().any(|value| value.get_ref().is_table()),
            value => value.is_table(),
        };
        let is_own = scope.own_keys().contains(&name);
        match arguments.find(|argument| argument.get_long() == Some(name)) {
            Some(argument) if !is_own || !has_tables() => {
                keys.push(given(document, argument, at, value)?);
            }
            _ if is_own => others.push(Other { name, at, value }),
            _ => return Err(document.wrong(at, scope.unknown(name, &command))),
        }
    }
    Ok((keys, others))
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
    let mut key = Given::of(flag, at);
    key.is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
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
        let written = |problem| {
            let written = document.text().get(span.clone()).unwrap_or_default();
            document.wrong(span.start, format!("{flag} = {written}: {problem}"))
        };
        let text = anchored(argument, text, document.path()).map_err(written)?;
        key.needs = needs(&format!("--{flag}={text}")).map_err(written)?;
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

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
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
///
/// # Errors
/// When the directory's path isn't UTF-8, as values are.
pub(super) fn anchored(argument: &Arg, text: String, file: &Path) -> Result<String, String> {
    let below = |path: &Path| {
        let path = file.with_file_name("").join(path);
        let path = absolute(&path).unwrap_or(path);
        let path = path.into_os_string().into_string();
        path.map_err(|_| "the path of the file's directory isn't UTF-8: move the file".to_owned())
    };
    match value_name(argument) {
        // These are no files.
        "FILE" if argument.get_long() == Some("access-log") && is_word(&text) => Ok(text),
        // A hyphen is stdout.
        "FILE" | "DIR" if !text.is_empty() && text != "-" => below(Path::new(&text)),
        "PATH=TARGET" => match flags::route(&text).map(|route| (route.path, route.target)) {
            Ok((path, RouteTarget::Directory(directory))) => {
                let (path, directory) = (spelled(&path), below(&directory)?);
                Ok(format!("{path}={directory}"))
            }
            _ => Ok(text),
        },
        _ => Ok(text),
    }
}

/// Whether a value of `--access-log` is a word, not the path of a file.
fn is_word(text: &str) -> bool {
    !matches!(text.parse(), Ok(Place::File(_)))
}

/// Returns the value of `--route` for a path and a target.
///
/// # Errors
/// What is wrong with the target.
pub(super) fn route(document: &Document, path: &str, target: &str) -> Result<String, String> {
    let command = Flags::command();
    let mut arguments = command.get_arguments();
    let argument = arguments.find(|argument| argument.get_id() == "route");
    let text = format!("{}={target}", spelled(path));
    let text = match argument {
        Some(argument) => anchored(argument, text, document.path())?,
        None => text,
    };
    needs(&format!("--route={text}"))?;
    Ok(text)
}

/// Returns a path as a value of `--route` has it, where the target is behind the first `=`.
fn spelled(path: &str) -> String {
    path.replace('=', "%3D")
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
    typed: &HashSet<String>,
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
