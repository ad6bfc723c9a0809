//! The sites of a configuration file: `[[site]]` and `[[site.route]]`.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, FromArgMatches};
use tidegate_http::is_authority;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Given, Other};
use super::origins::Origins;
use super::scope::{CONTENT, OF_UPSTREAMS, Scope};
use super::written::{self, Outer, quoted};
use crate::document::{Document, FileError};
use crate::flags::{Flags, path};
use crate::proxy::target::NamedTarget;

/// A table `[[site]]`.
#[derive(Debug)]
pub struct SiteTable {
    file: PathBuf,
    line: usize,
    names: Vec<String>,
    keys: Vec<Given>,
    /// The keys of each `[[site.route]]`, which are the site's only routes then.
    routes: Vec<Vec<Given>>,
}

/// The settings of a site.
#[derive(Clone, Debug)]
pub struct SiteSettings {
    /// The hosts that the site is for, in lower case, such as `example.com` or `*.example.com`.
    /// Without one, it is the site for all hosts that no other site names.
    pub names: Vec<String>,
    /// The site's own settings, and those of the server.
    pub flags: Flags,
    /// The settings of each of `flags.route`.
    pub routes: Vec<RouteSettings>,
    /// The origins of the settings.
    pub origins: Origins,
    /// The flags that the site sets itself.
    pub given: HashSet<String>,
    /// The beginning of a sentence about the table, with its file and line.
    pub place: String,
}

/// The settings of a route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The route's own settings, and those of its site.
    pub flags: Flags,
    /// The origins of the settings.
    pub origins: Origins,
    /// The flags that the route sets itself.
    pub given: HashSet<String>,
}

impl SiteSettings {
    /// Returns the default site, which the flags describe.
    pub fn default_of(flags: &Flags, origins: &Origins) -> Self {
        Self {
            names: Vec::new(),
            routes: vec![inherited(flags, origins); flags.route.len()],
            flags: flags.clone(),
            origins: origins.clone(),
            given: HashSet::new(),
            place: String::new(),
        }
    }
}

impl SiteTable {
    /// Writes the table as TOML, with the line of each value. `outer` has the settings of the
    /// server.
    pub(super) fn write(&self, text: &mut String, command: &Command, outer: &[Outer]) {
        text.push_str("\n[[site]]\n");
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|name| quoted(name)).collect();
            text.push_str(&format!("names = [{}]\n", names.join(", ")));
        }
        let has_tables = !self.routes.is_empty();
        let keys = self.keys.iter();
        let others = keys.filter(|key| !(has_tables && key.flag == "route"));
        write_keys(text, &self.file, command, others);
        let own = names(&self.keys);
        written::inherited(text, command, Scope::Site, &own, outer.iter());
        // A route has the settings of its site, and those of the server that the site leaves alone.
        let outer = outer.iter().filter(|outer| !outer.is_replaced_by(&own));
        let mut outer: Vec<Outer> = outer.cloned().collect();
        outer.extend(self.keys.iter().filter_map(|key| self.outer(command, key)));
        let routes = self
            .keys
            .iter()
            .filter(|key| has_tables && key.flag == "route");
        let routes = routes.flat_map(|key| &key.values).zip(&self.routes);
        for ((route, line), keys) in routes {
            text.push_str("\n[[site.route]]\n");
            let (path, target) = route.split_once('=').unwrap_or_default();
            let origin = format!("{}, line {line}", self.file.display());
            written::line(text, &format!("path = {}", quoted(path)), &origin);
            text.push_str(&format!("target = {}\n", quoted(target)));
            write_keys(text, &self.file, command, keys.iter());
            written::inherited(text, command, Scope::Route, &names(keys), outer.iter());
        }
    }

    /// Returns a key as a setting that routes inherit.
    fn outer(&self, command: &Command, key: &Given) -> Option<Outer> {
        let mut flags = command.get_arguments();
        let flag = flags.find(|flag| flag.get_long() == Some(&key.flag))?;
        let values: Vec<String> = key.values.iter().map(|(value, _)| value.clone()).collect();
        let (_, line) = key.values.first()?;
        let origin = format!("{}, line {line}", self.file.display());
        Some(Outer::new(
            &key.flag,
            &written::value(flag, &values)?,
            &origin,
        ))
    }

    /// Returns the settings of the site on a server with these flags.
    ///
    /// # Errors
    /// An error of clap, though all values were checked when they were read.
    pub fn settings(&self, server: &Flags, origins: &Origins) -> Result<SiteSettings, clap::Error> {
        let mut flags = server.clone();
        flags.root = None;
        flags.route.clear();
        flags.websocket.clear();
        flags.preload.clear();
        flags.preload_file = None;
        update(&mut flags, &self.keys)?;
        let origins = origins.with(&self.file, &self.keys);
        let mut routes = vec![inherited(&flags, &origins); flags.route.len()];
        for (route, keys) in routes.iter_mut().zip(&self.routes) {
            update(&mut route.flags, keys)?;
            route.origins = origins.with(&self.file, keys);
            route.given = given(keys);
        }
        Ok(SiteSettings {
            names: self.names.clone(),
            flags,
            routes,
            origins,
            given: given(&self.keys),
            place: format!("{}, line {}: ", self.file.display(), self.line),
        })
    }
}

/// Returns the settings of a route that sets nothing itself.
fn inherited(flags: &Flags, origins: &Origins) -> RouteSettings {
    RouteSettings {
        flags: flags.clone(),
        origins: origins.clone(),
        given: HashSet::new(),
    }
}

/// Returns the names of the flags that keys stand for.
pub(super) fn given(keys: &[Given]) -> HashSet<String> {
    keys.iter().map(|key| key.flag.clone()).collect()
}

/// Returns the names of the flags that keys stand for, in their order.
pub(super) fn names(keys: &[Given]) -> Vec<&str> {
    keys.iter().map(|key| &*key.flag).collect()
}

/// Writes the keys of a table as TOML, with the line of each value.
pub(super) fn write_keys<'a>(
    text: &mut String,
    file: &Path,
    command: &Command,
    keys: impl Iterator<Item = &'a Given>,
) {
    for key in keys {
        let mut flags = command.get_arguments();
        let flag = flags.find(|flag| flag.get_long() == Some(&key.flag));
        let values: Vec<String> = key.values.iter().map(|(value, _)| value.clone()).collect();
        if let (Some(flag), Some((_, line))) = (flag, key.values.first())
            && let Some(value) = written::value(flag, &values)
        {
            let origin = format!("{}, line {line}", file.display());
            written::line(text, &format!("{} = {value}", key.flag), &origin);
        }
    }
}

/// Sets the flags that keys stand for, and leaves the others alone.
pub(super) fn update(flags: &mut Flags, keys: &[Given]) -> Result<(), clap::Error> {
    let none: [&str; 0] = [];
    // A default would overwrite what is inherited. What a flag needs beside it was checked.
    let command = Flags::command().mut_args(|argument| {
        let argument = argument.default_values(none);
        argument.requires(clap::builder::Resettable::Reset)
    });
    let words = keys.iter().flat_map(Given::words);
    let mut matches =
        command.try_get_matches_from(std::iter::once("tidegate".into()).chain(words))?;
    // Changes to fields add up, from the outer table to the inner one.
    let outer = flags.response_field.clone();
    let has_own = keys.iter().any(|key| key.flag == "response-field");
    flags.update_from_arg_matches_mut(&mut matches)?;
    if has_own {
        flags.response_field.splice(0..0, outer);
    }
    Ok(())
}

/// Reads the sites of a file: the tables that `others` has. `is_given` says whether the file's top
/// or the command line has a flag.
///
/// # Errors
/// The first mistake.
pub(super) fn read(
    document: &Document,
    others: Vec<Other<'_>>,
    is_given: impl Fn(&str) -> bool,
) -> Result<Vec<SiteTable>, FileError> {
    let mut sites = Vec::new();
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut default = None;
    if CONTENT.iter().take(2).any(|flag| is_given(flag)) {
        default = Some("the settings before the first [[site]]".to_owned());
    }
    for Other { name, at, value } in others {
        for table in tables(document, name, at, value, "[[site]]")? {
            let site = site(document, table, &is_given)?;
            let line = document.line(table.span().start);
            if site.names.is_empty() {
                if let Some(other) = &default {
                    let problem = format!(
                        "a site without names is for all other hosts, as {other} are: name its \
                         hosts"
                    );
                    return Err(document.wrong(table.span().start, problem));
                }
                default = Some(format!("those of line {line}"));
            }
            for name in &site.names {
                if let Some((_, other)) = names.iter().find(|(other, _)| other == name) {
                    let problem = format!("the site of line {other} has the name {name}, too");
                    return Err(document.wrong(table.span().start, problem));
                }
                names.push((name.clone(), line));
            }
            sites.push(site);
        }
    }
    Ok(sites)
}

/// Returns the tables of an array of tables.
fn tables<'t, 'd>(
    document: &Document,
    name: &str,
    at: usize,
    value: &'t Spanned<DeValue<'d>>,
    title: &str,
) -> Result<Vec<&'t Spanned<DeValue<'d>>>, FileError> {
    let wrong = || Err(document.wrong(at, format!("{name} is an array of tables: write {title}")));
    let DeValue::Array(tables) = value.get_ref() else {
        return wrong();
    };
    let is_table = |value: &Spanned<DeValue<'_>>| value.get_ref().is_table();
    if tables.iter().all(is_table) {
        Ok(tables.iter().collect())
    } else {
        wrong()
    }
}

fn site(
    document: &Document,
    table: &Spanned<DeValue<'_>>,
    is_given: impl Fn(&str) -> bool,
) -> Result<SiteTable, FileError> {
    let start = table.span().start;
    let Some(entries) = table.get_ref().as_table() else {
        return Err(document.wrong(start, "a site is a table: write [[site]]"));
    };
    let (mut keys, others) = keys::read(document, entries, Scope::Site)?;
    let mut site = SiteTable {
        file: document.path().to_owned(),
        line: document.line(start),
        names: Vec::new(),
        keys: Vec::new(),
        routes: Vec::new(),
    };
    for Other { name, at, value } in others {
        match name {
            "names" => site.names = hosts(document, value)?,
            _ => {
                let mut given = Given::of(name, at);
                for table in tables(document, name, at, value, "[[site.route]]")? {
                    let (value, line, keys) = route(document, table, &is_given, &keys)?;
                    given.values.push((value, line));
                    site.routes.push(keys);
                }
                keys.push(given);
            }
        }
    }
    check_needs(document, &keys, &is_given)?;
    if !keys
        .iter()
        .any(|key| ["root", "route"].contains(&&*key.flag) && !key.values.is_empty())
    {
        let problem = "the site has neither a root nor a route";
        return Err(document.wrong(start, problem));
    }
    site.keys = keys;
    Ok(site)
}

/// Checks that the keys of a table have the flags beside them that they need. `is_outside` says
/// whether an outer table or the command line has a flag.
pub(super) fn check_needs(
    document: &Document,
    keys: &[Given],
    is_outside: impl Fn(&str) -> bool,
) -> Result<(), FileError> {
    for key in keys {
        let is_here = |flag: &&String| keys.iter().any(|key| key.flag == **flag);
        if let Some(needed) = key.needs().iter().find(|flag| !is_here(flag)) {
            let flag = &key.flag;
            // One half of a pair, such as a certificate and its key, doesn't fit another's.
            let problem = if is_outside(needed) {
                format!("{flag} needs a {needed} of its own beside it")
            } else {
                format!("{flag} needs {needed}, which isn't given")
            };
            return Err(document.wrong(key.at(), problem));
        }
    }
    Ok(())
}

/// Reads a `[[site.route]]`. Returns its value as that of `--route`, its line, and its own keys.
fn route(
    document: &Document,
    table: &Spanned<DeValue<'_>>,
    is_given: impl Fn(&str) -> bool,
    site: &[Given],
) -> Result<(String, usize, Vec<Given>), FileError> {
    let start = table.span().start;
    let Some(entries) = table.get_ref().as_table() else {
        return Err(document.wrong(start, "a route is a table: write [[site.route]]"));
    };
    let (keys, _) = keys::read(document, entries, Scope::Route)?;
    check_needs(document, &keys, |flag| {
        is_given(flag) || site.iter().any(|key| key.flag == flag)
    })?;
    let (at, typed) = text(document, entries, "path", start)?;
    path(typed).map_err(|problem| document.wrong(at, format!("path = \"{typed}\": {problem}")))?;
    let (target_at, target) = text(document, entries, "target", start)?;
    let value = keys::route(document, typed, target).map_err(|problem| {
        document.wrong(target_at, format!("target = \"{target}\": {problem}"))
    })?;
    let mut policy = keys.iter();
    if let Some(named) = NamedTarget::is_meant(target)
        && let Some(key) = policy.find(|key| OF_UPSTREAMS.contains(&&*key.flag))
    {
        let problem = format!(
            "{} is for the upstream: write it in [upstream.{}], or leave it out",
            key.flag,
            named.split('/').next().unwrap_or(named)
        );
        return Err(document.wrong(key.at(), problem));
    }
    Ok((value, document.line(at), keys))
}

/// Returns a string of a table, and its place.
fn text<'t>(
    document: &Document,
    table: &'t DeTable<'_>,
    key: &str,
    start: usize,
) -> Result<(usize, &'t str), FileError> {
    let Some(value) = table.get(key) else {
        return Err(document.wrong(start, format!("the route has no {key}")));
    };
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(text) => Ok((at, text)),
        other => {
            let kind = keys::kind(other);
            let form = key.to_uppercase();
            Err(document.wrong(
                at,
                format!("{key} can't be {kind}: write {key} = \"{form}\""),
            ))
        }
    }
}

/// Reads the names of a site.
fn hosts(document: &Document, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, FileError> {
    let several: Vec<_> = match value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        _ => vec![value],
    };
    let mut names = Vec::new();
    for value in several {
        let at = value.span().start;
        let DeValue::String(typed) = value.get_ref() else {
            let kind = keys::kind(value.get_ref());
            let problem = format!("names can't be {kind}: write names = [\"HOST\", …]");
            return Err(document.wrong(at, problem));
        };
        let name = name(typed)
            .map_err(|problem| document.wrong(at, format!("names = \"{typed}\": {problem}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Checks the name of a host, and returns it in lower case.
fn name(typed: &str) -> Result<String, String> {
    let host = typed.strip_prefix("*.").unwrap_or(typed);
    if let Some((_, rest)) = typed.split_once("://") {
        return Err(format!(
            "write the host alone: {}",
            rest.split('/').next().unwrap_or(rest)
        ));
    }
    if !typed.is_ascii() {
        return Err("write the name as in DNS, with labels that begin with xn--".into());
    }
    if host.contains('*') {
        return Err("a * is for a whole first label, as in *.example.com".into());
    }
    let has_port = !host.ends_with(']') && host.contains(':');
    if has_port {
        return Err("leave out the port: a site is on all ports".into());
    }
    if host.is_empty() || host.ends_with('.') || !is_authority(host.as_bytes()) {
        return Err("expected the name of a host, such as example.com or *.example.com".into());
    }
    // RFC 5952 §4: clients write an IPv6 address in one form.
    let literal = typed
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match literal.map(str::parse::<Ipv6Addr>) {
        Some(Ok(address)) => Ok(format!("[{address}]")),
        _ => Ok(typed.to_ascii_lowercase()),
    }
}
