//! The upstreams of a configuration file that have names: `[upstream.NAME]`.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Command;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Given, Other};
use super::origins::Origins;
use super::scope::Scope;
use super::sites::{check_needs, given, names, update, write_keys};
use super::written::{self, Outer, inherited, quoted};
use crate::document::{Document, FileError};
use crate::flags::Flags;
use crate::proxy::target::{UpstreamTarget, is_name};

/// A table `[upstream.NAME]`.
#[derive(Debug)]
pub struct UpstreamTable {
    file: PathBuf,
    name: String,
    line: usize,
    /// The addresses as written, and the line of the first one.
    addresses: (Vec<String>, usize),
    target: UpstreamTarget,
    keys: Vec<Given>,
}

/// The settings of an upstream that has a name.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The name, which routes have behind `upstream:`.
    pub name: String,
    /// The protocol and the addresses.
    pub target: UpstreamTarget,
    /// The upstream's own settings, and those of the server.
    pub flags: Flags,
    /// The origins of the settings.
    pub origins: Origins,
    /// The flags that the upstream sets itself.
    pub given: HashSet<String>,
    /// The beginning of a sentence about the table, with its file and line.
    pub place: String,
}

impl UpstreamTable {
    /// Writes the table as TOML, with the line of each value.
    /// `outer` has the settings of the server.
    pub(super) fn write(&self, text: &mut String, command: &Command, outer: &[Outer]) {
        text.push_str(&format!("\n[upstream.{}]\n", quoted(&self.name)));
        let (addresses, line) = &self.addresses;
        let addresses: Vec<String> = addresses.iter().map(|address| quoted(address)).collect();
        let addresses = format!("addresses = [{}]", addresses.join(", "));
        written::line(
            text,
            &addresses,
            &format!("{}, line {line}", self.file.display()),
        );
        write_keys(text, &self.file, command, self.keys.iter());
        let own = names(&self.keys);
        inherited(text, command, Scope::Upstream, &own, outer.iter());
    }

    /// Returns the settings of the upstream on a server with these flags.
    ///
    /// # Errors
    /// An error of clap, though all values were checked when they were read.
    pub fn settings(
        &self,
        server: &Flags,
        origins: &Origins,
    ) -> Result<UpstreamSettings, clap::Error> {
        let mut flags = server.clone();
        update(&mut flags, &self.keys)?;
        Ok(UpstreamSettings {
            name: self.name.clone(),
            target: self.target.clone(),
            flags,
            origins: origins.with(&self.file, &self.keys),
            given: given(&self.keys),
            place: format!("{}, line {}: ", self.file.display(), self.line),
        })
    }
}

/// Reads the upstreams of a file: the table `upstream`. `is_given` says whether the file's top or
/// the command line has a flag.
///
/// # Errors
/// The first mistake.
pub(super) fn read(
    document: &Document,
    other: &Other<'_>,
    is_given: impl Fn(&str) -> bool,
) -> Result<Vec<UpstreamTable>, FileError> {
    let Some(tables) = other.value.get_ref().as_table() else {
        let problem = "upstream is a table of upstreams: write [upstream.NAME]";
        return Err(document.wrong(other.at, problem));
    };
    let mut entries: Vec<_> = tables.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut upstreams = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let (name, at): (&str, _) = (name.get_ref(), name.span().start);
        let Some(table) = value.get_ref().as_table() else {
            let problem = format!("an upstream has a name: write {name} below [upstream.NAME]");
            return Err(document.wrong(at, problem));
        };
        if !is_name(name) {
            let problem = format!(
                "upstream.{name}: a name has letters, digits, -, _ and . alone, as in \
                 [upstream.api-2]"
            );
            return Err(document.wrong(at, problem));
        }
        upstreams.push(upstream(document, name, at, table, &is_given)?);
    }
    Ok(upstreams)
}

fn upstream(
    document: &Document,
    name: &str,
    at: usize,
    table: &DeTable<'_>,
    is_given: impl Fn(&str) -> bool,
) -> Result<UpstreamTable, FileError> {
    let (keys, others) = keys::read(document, table, Scope::Upstream)?;
    check_needs(document, &keys, is_given)?;
    // `addresses` is the only key that isn't a flag.
    let Some(addresses) = others.first() else {
        let problem = format!(
            "the upstream {name} has no addresses: write addresses = [\"http://HOST:PORT\", …]"
        );
        return Err(document.wrong(at, problem));
    };
    let (written, line, target) = read_addresses(document, name, addresses)?;
    Ok(UpstreamTable {
        file: document.path().to_owned(),
        name: name.to_owned(),
        line: document.line(at),
        addresses: (written, line),
        target,
        keys,
    })
}

/// Reads the addresses of an upstream. Returns them as written, the line of the first, and what
/// they are together.
fn read_addresses(
    document: &Document,
    name: &str,
    addresses: &Other<'_>,
) -> Result<(Vec<String>, usize, UpstreamTarget), FileError> {
    let several: Vec<&Spanned<DeValue<'_>>> = match addresses.value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        _ => vec![addresses.value],
    };
    let mut written: Vec<String> = Vec::with_capacity(several.len());
    let mut target: Option<UpstreamTarget> = None;
    for value in several {
        let wrong = |problem: String| document.wrong(value.span().start, problem);
        let DeValue::String(typed) = value.get_ref() else {
            let kind = keys::kind(value.get_ref());
            return Err(wrong(format!(
                "addresses can't be {kind}: write addresses = [\"http://HOST:PORT\", …]"
            )));
        };
        let wrong = |problem: &str| wrong(format!("addresses = \"{typed}\": {problem}"));
        let one = UpstreamTarget::parse(typed).map_err(|problem| wrong(&problem))?;
        if let Some(base) = &one.base {
            return Err(wrong(&format!(
                "leave out the path: routes have it, as in target = \"upstream:{name}{base}\""
            )));
        }
        written.push(typed.to_string());
        match &mut target {
            None => target = Some(one),
            Some(all) if all.scheme != one.scheme => {
                return Err(wrong("all addresses of an upstream must have one scheme"));
            }
            Some(all) => {
                if let Some((host, port)) = one.hosts.iter().find(|host| all.hosts.contains(host)) {
                    return Err(wrong(&format!("{host}:{port} is listed already")));
                }
                all.hosts.extend(one.hosts);
            }
        }
    }
    match target {
        Some(target) => Ok((written, document.line(addresses.value.span().start), target)),
        None => {
            let problem = format!("the upstream {name} has no addresses: list at least one");
            Err(document.wrong(addresses.at, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{config_error, fine, read};
    use crate::config::Config;
    use crate::site::Target;

    const API: &str = "[upstream.api]\naddresses = ['h2c://192.0.2.1:1', 'h2c://192.0.2.2:1']\n";

    #[test]
    fn routes_share_an_upstream_with_its_settings() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "upstream-timeout = '7s'\nupstream-connect-timeout = '2s'\n{API}\
             upstream-timeout = '9s'\nupstream-max-connections = 3\n\
             [[site]]\nnames = 'a'\nroute = ['/a=upstream:api', '/b=h2c://192.0.2.3']\n\
             [[site]]\nnames = 'b'\nupstream-host = 'rewrite'\n\
             [[site.route]]\npath = '/c=d'\ntarget = 'upstream:api/v1'\n\
             [[site.route]]\npath = '/d'\ntarget = 'h2c://192.0.2.3'\nupstream-timeout = '5s'\n\
             [[site.route]]\npath = '/e'\ntarget = 'h2c://192.0.2.3'\n"
        );
        let read = fine(&dir, &text, "--listen none --listen-h2c 127.0.0.1:0");
        assert_eq!(read.warnings, Vec::<String>::new());
        let config = Config::with_sites(&read.flags, &read.sites, &read.upstreams).unwrap();
        let settings = &config.served.proxy;
        let options = settings.upstreams.iter().map(|upstream| {
            let seconds = |time: Duration| time.as_secs();
            let options = &upstream.options;
            (
                &*upstream.name,
                seconds(options.request_timeout),
                seconds(options.connect_timeout),
                options.max_connections,
            )
        });
        let expected = [
            ("h2c://192.0.2.1:1,192.0.2.2:1", 9, 2, 3),
            ("h2c://192.0.2.3:80", 7, 2, 256),
            ("h2c://192.0.2.3:80", 5, 2, 256),
        ];
        assert_eq!(options.collect::<Vec<_>>(), expected);
        let routes = config.served.sites.iter().map(|site| {
            let routes = site
                .routes
                .paths()
                .map(|(path, route)| match &route.target {
                    Target::Proxy(route) => (path, route.upstream, route.base.as_deref()),
                    other => panic!("{other:?}"),
                });
            routes.collect::<Vec<_>>()
        });
        let expected = [
            vec![("/a", 0, None), ("/b", 1, None)],
            vec![("/c=d", 0, Some("/v1")), ("/d", 2, None), ("/e", 1, None)],
        ];
        assert_eq!(routes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn mistakes_in_upstreams_are_sentences_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let place = format!("{}/t.toml, line ", dir.path().display());
        for (text, says) in [
            (
                "upstream = 5",
                "1: upstream is a table of upstreams: write [upstream.NAME]",
            ),
            (
                "[[upstream]]\na = 1",
                "1: upstream is a table of upstreams: write [upstream.NAME]",
            ),
            (
                "[upstream]\naddresses = 'http://a'",
                "2: an upstream has a name: write addresses below [upstream.NAME]",
            ),
            (
                "[upstream.'a b']\naddresses = 'http://a'",
                "1: upstream.a b: a name has letters, digits, -, _ and . alone, as in \
                 [upstream.api-2]",
            ),
            (
                "[upstream.a]\nupstream-name = 'a'",
                "1: the upstream a has no addresses: write addresses = [\"http://HOST:PORT\", …]",
            ),
            (
                "[upstream.a]\naddresses = []",
                "2: the upstream a has no addresses: list at least one",
            ),
            (
                "[upstream.a]\naddresses = 5",
                "2: addresses can't be a number: write addresses = [\"http://HOST:PORT\", …]",
            ),
            (
                "[upstream.a]\naddresses = [\n'http://a',\n'b']",
                "4: addresses = \"b\": b must begin with http://, h2c:// or https://",
            ),
            (
                "[upstream.a]\naddresses = ['http://a',\n'https://b']",
                "3: addresses = \"https://b\": all addresses of an upstream must have one scheme",
            ),
            (
                "[upstream.a]\naddresses = ['http://a',\n'http://a:80']",
                "3: addresses = \"http://a:80\": a:80 is listed already",
            ),
            (
                "[upstream.a]\naddresses = 'http://a/b'",
                "2: addresses = \"http://a/b\": leave out the path: routes have it, as in \
                 target = \"upstream:a/b\"",
            ),
            (
                "[upstream.a]\naddresses = 'http://a'\nadresses = 1",
                "3: there is no key adresses: did you mean addresses?",
            ),
            (
                "[upstream.a]\naddresses = 'http://a'\nroot = '.'",
                "3: root is for a site: write it in the [[site]]",
            ),
            (
                "[upstream.a]\naddresses = 'http://a'\nupstream-host = 'keep'",
                "3: upstream-host is for routes: write it in the [[site.route]]",
            ),
            (
                "[upstream.a]\naddresses = 'http://a'\nlisten = 1",
                "3: listen is for the whole server: write it before the first [[site]]",
            ),
            (
                "[upstream.a]\naddresses = 'https://a'\nupstream-cert = 'c'",
                "3: upstream-cert needs upstream-key, which isn't given",
            ),
            (
                "addresses = 'http://a'",
                "1: addresses is a key of an [upstream.NAME]",
            ),
            (
                "route = '/=upstream:'",
                "1: route = '/=upstream:': expected the name of an upstream, as in upstream:api \
                 for [upstream.api]; a directory of that name is ./upstream:",
            ),
            (
                "[[site]]\n[[site.route]]\npath = '/'\ntarget = 'upstream:api'\n\
                 upstream-timeout = '1s'",
                "5: upstream-timeout is for the upstream: write it in [upstream.api], or leave it \
                 out",
            ),
        ] {
            let error = read(&dir, text, "").expect_err(text);
            assert_eq!(error, format!("{place}{says}"), "{text}");
        }
        for (text, says) in [
            (
                "route = ['/a=status',\n'/=upstream:apo']",
                "2: there is no upstream apo: did you mean api?",
            ),
            (
                "route = '/=upstream:other'",
                "1: there is no upstream other: describe it in [upstream.other] of the --config \
                 file",
            ),
            (
                "route = '/=upstream:api'\n[upstream.b]\naddresses = 'https://b'\n\
                 upstream-ca = '/nonexistent'",
                "4: can't read /nonexistent: No such file or directory (os error 2)",
            ),
        ] {
            let sentence = config_error(&fine(&dir, &format!("{text}\n{API}"), ""));
            assert_eq!(sentence, format!("{place}{says}"), "{text}");
        }
    }

    #[test]
    fn settings_of_upstreams_without_effect_get_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "{API}upstream-name = 'x'\n[upstream.b]\naddresses = 'http://127.0.0.1:8080'\n\
             [[site]]\nroute = '/=upstream:api'\nupstream-timeout = '1s'\nupstream-host = 'keep'"
        );
        let warnings = fine(&dir, &text, "").warnings;
        let place = format!("{}/t.toml, line ", dir.path().display());
        let expected = [
            "8: upstream-timeout has no effect: the routes lead to upstreams with names: write it \
             in [upstream.NAME]",
            "3: upstream-name has no effect: the addresses of api don't begin with https://",
            "4: the upstream b isn't used: no route leads to upstream:b",
            "4: the upstream b leads back to this server, which listens there: requests go round in \
             circles",
        ];
        assert_eq!(
            warnings,
            expected.map(|sentence| format!("{place}{sentence}"))
        );
    }
}
