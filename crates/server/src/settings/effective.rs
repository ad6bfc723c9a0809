//! The configuration in effect as a file, with the origin of each value.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory};

use super::keys::anchored;
use super::origins::Origins;
use super::scope::is_key;
use super::sites::SiteTable;
use super::upstreams::UpstreamTable;
use super::written::{Outer, line, value};
use crate::flags::Flags;

/// Returns the configuration in effect as the text of a file that describes the same. `matches` are
/// those of the joined command line.
pub fn text(
    matches: &ArgMatches,
    origins: &Origins,
    upstreams: &[UpstreamTable],
    sites: &[SiteTable],
) -> String {
    let mut text = String::new();
    let mut outer: Vec<Outer> = Vec::new();
    let command = Flags::command();
    for argument in command.get_arguments().filter(|flag| is_key(flag)) {
        let id = argument.get_id().as_str();
        let name = argument.get_long().unwrap_or_default();
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<String> = raw
            .map(|value| value.to_string_lossy().into_owned())
            // A path that was typed is relative to the working directory.
            .map(|value| anchored(argument, value.clone(), Path::new("")).unwrap_or(value))
            .collect();
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        match value(argument, &values) {
            Some(value) if is_given => {
                let place = origins.named(name, 0).at();
                let origin = place.as_deref().unwrap_or("typed");
                line(&mut text, &format!("{name} = {value}"), origin);
                outer.push(Outer::new(name, &value, origin));
            }
            // A default that was given could have no effect, which would be warned about.
            Some(value) => line(&mut text, &format!("# {name} = {value}"), "default"),
            None => line(&mut text, &format!("# {name}"), &unset(argument)),
        }
    }
    for upstream in upstreams {
        upstream.write(&mut text, &command, &outer);
    }
    for site in sites {
        site.write(&mut text, &command, &outer);
    }
    text
}

/// Returns what holds without a value, as the help says in its last words.
fn unset(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let stated = help.strip_suffix(']');
    let stated = stated.and_then(|help| help.rsplit_once("[default: "));
    stated.map_or_else(
        || "not set".to_owned(),
        |(_, default)| format!("default: {default}"),
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::fs;
    use std::path::PathBuf;

    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::command_line::CommandLine;

    /// Keys that fit each other in any number and order, before the first site.
    const SERVER: &[&str] = &[
        "workers = 3",
        "max-streams = 0x10",
        "max-requests = 0",
        "memory-budget = '64M'",
        "min-body-rate = 1024",
        "idle-timeout = 0",
        "write-timeout = '500ms'",
        "listen = ['none']",
        "listen = [8443, '127.0.0.1:0']",
        "h2c-upgrade = true",
        "proxy-protocol = true\nproxy-protocol-from = ['10.1.2.3/8', '::1']",
        "trust-forwarded-from = '::/0'",
        "drop-field = ['X-A', 'b']",
        "log = 'warn,tidegate::access=info'",
        "access-log = 'logs/a \\\"b\\\".log'",
        "access-log-format = '$status \"$request\" \\ä'",
        "access-log-sample = '0.5%,404=1%'\nlog-format = 'json'",
        "upstream-name = 'a.test'",
        "upstream-ca = '../ca.pem'",
        "upstream-timeout = '1h'",
        "push = 'learned'",
        "early-hints = 'off'",
        "client-shares = 'log'",
        "preload = ['/=/a.css', '/=/b.js']",
        "preload-file = \"\\u00e4\\t.toml\"",
        "cert = 'c'\nkey = 'k'",
        "root = 'default'",
        "route = ['/a=status', '/b=./b=c', '/c=https://192.0.2.1/x']\nwebsocket = '/c'",
    ];

    const SITE: &[&str] = &[
        "push = 'on'",
        "early-hints = 'on'",
        "trust-x-priority = 'off'",
        "access-log = 'off'\naccess-log-format = 'json'",
        "cert = 'd'\nkey = '/e'",
        "upstream-host = 'rewrite'",
        "upstream-cert = 'f'\nupstream-key = 'g'",
        "preload = []",
        "websocket = ['/a', '/b']",
    ];

    const ROUTES: &[&str] = &[
        "route = ['/=./x', '/b=h2c://192.0.2.1,192.0.2.2']",
        "[[site.route]]\npath = '/b'\ntarget = 'https://192.0.2.1'\nupstream-name = 'b'",
        "[[site.route]]\npath = '/b=c'\ntarget = 'upstream:a.b/d'\nupstream-host = 'rewrite'",
        "[[site.route]]\npath = '/%61 b'\ntarget = 'y'\n\
         [[site.route]]\npath = '/c'\ntarget = 'echo'\nupstream-host = 'keep'",
    ];

    fn several(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        subsequence(lines, 0..=lines.len()).prop_shuffle()
    }

    fn site(number: usize) -> impl Strategy<Value = String> {
        (several(SITE), select(ROUTES)).prop_map(move |(keys, routes)| {
            let names = format!("names = ['{number}.test', '*.{number}.test']");
            format!(
                "[[site]]\n{names}\nroot = 'r'\n{}\n{routes}\n",
                keys.join("\n")
            )
        })
    }

    prop_compose! {
        fn file()(server in several(SERVER), sites in prop_oneof![
            Just(String::new()),
            site(1),
            (site(1), site(2)).prop_map(|(one, other)| one + &other),
        ]) -> String {
            let mut lines = server;
            // Each key once.
            let mut seen = Vec::new();
            lines.retain(|line| {
                let key = line.split(' ').next().unwrap_or_default();
                let is_new = !seen.contains(&key);
                seen.push(key);
                is_new
            });
            // The name of an upstream is a string, and may have a dot.
        let upstream = "[upstream.'a.b']\naddresses = 'h2c://192.0.2.1'\nupstream-timeout = '1s'";
        format!("{}\n{upstream}\n{sites}", lines.join("\n"))
        }
    }

    fn check(file: PathBuf, typed: &[&str]) -> CommandLine {
        let words = [
            "tidegate".into(),
            "check".into(),
            "--config".into(),
            file.into(),
        ];
        let typed = typed.iter().map(Into::into);
        CommandLine::read(words.into_iter().chain(typed)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns all settings of a command line, but for the name of the file.
    fn settings(command_line: &CommandLine) -> impl Debug + PartialEq + use<> {
        let without_file = |flags: &Flags| {
            let mut flags = flags.clone();
            flags.config = None;
            format!("{flags:#?}")
        };
        let sites = command_line.sites.iter().map(|site| {
            let routes: Vec<String> = site
                .routes
                .iter()
                .map(|route| without_file(&route.flags))
                .collect();
            (site.names.clone(), without_file(&site.flags), routes)
        });
        let upstreams = command_line.upstreams.iter().map(|upstream| {
            let flags = without_file(&upstream.flags);
            (upstream.name.clone(), upstream.target.clone(), flags)
        });
        (
            without_file(&command_line.flags),
            sites.collect::<Vec<_>>(),
            upstreams.collect::<Vec<_>>(),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_printed_describes_the_same(text in file(), typed in select(vec![
            &[][..],
            &["--max-streams", "7"],
            &["--root", "/typed", "--listen", "1"],
        ])) {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let file = from.path().join("a.toml");
            fs::write(&file, &text).unwrap();
            let read = check(file, typed);
            let printed = to.path().join("b.toml");
            fs::write(&printed, &read.effective).unwrap();
            let again = check(printed, &[]);
            prop_assert_eq!(settings(&again), settings(&read), "{}\n{}", text, read.effective);
        }
    }

    #[test]
    fn each_value_has_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        fs::write(
            &file,
            "\nlog = 'warn'\n[[site]]\nnames = 'a'\nroot = '/b'\n",
        )
        .unwrap();
        let text = check(file.clone(), &["--max-streams", "7"]).effective;
        let file = file.display();
        for line in [
            format!("{:<44} # {file}, line 2", "log = \"warn\""),
            format!("{:<44} # typed", "max-streams = 7"),
            format!("{:<44} # default", "# idle-timeout = \"10m\""),
            format!("{:<44} # default: one for each core", "# workers"),
            format!("{:<44} # not set", "# root"),
            format!("{:<44} # {file}, line 5", "root = \"/b\""),
        ] {
            assert!(text.lines().any(|other| *other == line), "{line}\n{text}");
        }
        assert!(text.contains("\n[[site]]\nnames = [\"a\"]\n"), "{text}");
    }

    #[test]
    fn what_a_table_inherits_is_a_comment_with_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        let written = "upstream-timeout = '1s'\nresponse-field = 'remove a'\nmax-streams = 7\n\
                       [upstream.u]\naddresses = 'http://192.0.2.1'\n\
                       [[site]]\nupstream-timeout = '2s'\nmax-body = '1M'\n\
                       response-field = 'remove b'\n\
                       [[site.route]]\npath = '/'\ntarget = 'upstream:u'\nmax-body = '2M'\n";
        fs::write(&file, written).unwrap();
        let text = check(file.clone(), &["--push", "on"]).effective;
        let (upstream, site) = text.split_once("\n[[site]]\n").unwrap();
        let (_, upstream) = upstream.split_once("\n[upstream.").unwrap();
        let (site, route) = site.split_once("\n[[site.route]]\n").unwrap();
        let comments = |table: &str| -> Vec<String> {
            let lines = table.lines().filter(|line| line.starts_with("# "));
            let lines = lines.map(|line| line.replace(&file.display().to_string(), "F"));
            lines
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(
            comments(upstream),
            ["# upstream-timeout = \"1s\" # F, line 1"]
        );
        let fields = "# response-field = [\"remove a\"] # F, line 2";
        assert_eq!(comments(site), [fields, "# push = \"on\" # typed"]);
        let expected = [
            fields,
            "# upstream-timeout = \"2s\" # F, line 7",
            "# response-field = [\"remove b\"] # F, line 9",
        ];
        let mut is = comments(route);
        is.sort_by_key(|line| expected.iter().position(|other| other == line));
        assert_eq!(is, expected);
    }
}
