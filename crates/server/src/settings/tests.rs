use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_net::Protocols;

use super::*;
use crate::access_log::Place;
use crate::command_line::CommandLine;
use crate::config::Config;
use crate::flags::{Listen, Size, Switch};
use crate::proxy::Host;
use crate::push::Mode;

/// Reads a file with this text, and the words of a command line after it.
pub(super) fn read(dir: &TempDir, text: &str, line: &str) -> Result<CommandLine, String> {
    let file = dir.path().join("t.toml");
    fs::write(&file, text).unwrap();
    let words = ["tidegate".into(), "--config".into(), file.into_os_string()];
    let typed = line.split_whitespace().map(OsString::from);
    CommandLine::read(words.into_iter().chain(typed)).map_err(|error| error.to_string())
}

pub(super) fn fine(dir: &TempDir, text: &str, line: &str) -> CommandLine {
    read(dir, text, line).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn config_error(command_line: &CommandLine) -> String {
    match Config::with_sites(
        &command_line.flags,
        &command_line.sites,
        &command_line.upstreams,
    ) {
        Ok(_) => panic!("the configuration is fine"),
        Err(error) => command_line.sentence(&error),
    }
}

#[test]
fn each_flag_is_a_key() {
    let command = Flags::command();
    let keys = command.get_arguments().filter(|flag| scope::is_key(flag));
    let examples = |flag: &clap::Arg| match flag.get_id().as_str() {
        "listen" | "listen_h2c" => "0",
        "proxy_protocol_from" | "trust_forwarded_from" | "trace_client" => "10.0.0.0/8",
        "route" => "/a=http://192.0.2.1",
        "preload" => "/=/a.css",
        "early_hints" | "trust_x_priority" | "push" | "early_data" | "trace_values"
        | "admin_write" => "on",
        "trace_sample" => "1/7",
        "tls_min_version" => "1.3",
        "tls_suites" => "ECDHE-RSA-AES256-GCM-SHA384",
        "tls_groups" => "X25519MLKEM768",
        "client_certs" => "optional",
        "client_cert_field" => "x-a=subject",
        "websocket" => "/a",
        "upstream_host" => "rewrite",
        "upstream_proxy_protocol" => "v2",
        "drop_field" => "x-a",
        "fallback" => "/index.html",
        "http_redirect" => "302:https://{host}:8443{path}{query}",
        "response_field" => "set x-a: b",
        "unknown_host" => "421",
        "default_priority" => "u=6, i",
        "client_shares" => "log",
        "priorities" => "auto",
        "admin" => "127.0.0.1:9090",
        "log" => "warn",
        "log_format" | "access_log_format" => "json",
        "access_log_sample" => "1%,5xx=100%",
        "request_id" => "on",
        "trace_context" => "make",
        _ => match flag.get_value_names().unwrap_or_default()[0].as_str() {
            "N" => "7",
            "SIZE" => "1M",
            "TIME" => "5s",
            _ => "/x",
        },
    };
    let (mut text, mut words) = (String::new(), vec!["tidegate".to_owned()]);
    for flag in keys {
        let name = flag.get_long().unwrap();
        if matches!(flag.get_action(), clap::ArgAction::SetTrue) {
            text += &format!("{name} = true\n");
            words.push(format!("--{name}"));
        } else {
            let value = examples(flag);
            text += &format!("{name} = \"{value}\"\n");
            words.push(format!("--{name}={value}"));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let by_file = fine(&dir, &text, "").flags;
    let by_flags = CommandLine::read(words.into_iter().map(OsString::from)).unwrap();
    let mut by_flags = by_flags.flags;
    by_flags.config.clone_from(&by_file.config);
    assert_eq!(format!("{by_file:?}"), format!("{by_flags:?}"));
}

#[test]
fn values_have_the_types_of_toml() {
    let dir = tempfile::tempdir().unwrap();
    let text = "max-streams = 0x10\nmemory-budget = 67108864\nidle-timeout = 0\n\
                write-timeout = '5m'\nmax-stream-window = \"1M\"\nlisten = [8443, \"none\", ]\n\
                listen-h2c = 8080\nh2c-upgrade = true\nproxy-protocol = false\n\
                trust-x-priority = \"off\"\ndrop-field = [\n  \"a\", # one\n  \"b\",\n]\n";
    let flags = fine(&dir, text, "").flags;
    assert_eq!(flags.max_streams, 16);
    assert_eq!(flags.memory_budget, Some(Size(64 << 20)));
    assert_eq!(flags.idle_timeout, Duration::ZERO);
    assert_eq!(flags.write_timeout, Duration::from_secs(300));
    assert_eq!(flags.max_stream_window, Size(1 << 20));
    assert_eq!(
        flags.listen,
        [Listen::Everywhere(8443, Protocols::Both), Listen::None]
    );
    assert_eq!(
        flags.listen_h2c,
        [Listen::Everywhere(8080, Protocols::Both)]
    );
    assert!(flags.h2c_upgrade && !flags.proxy_protocol);
    assert_eq!(flags.trust_x_priority, Switch::Off);
    assert_eq!(flags.drop_field.len(), 2);
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let text = "max-streams = 7\nlisten = [\"1\", \"2\"]\nlog = \"warn\"\n";
    let CommandLine { flags, origins, .. } = fine(&dir, text, "--listen 3 --max-streams=9");
    assert_eq!((flags.max_streams, &*flags.log), (9, "warn"));
    // The values of a flag replace all those of its key.
    assert_eq!(flags.listen, [Listen::Everywhere(3, Protocols::Both)]);
    assert_eq!(flags.idle_timeout, Duration::from_secs(600));
    assert_eq!(origins.named("listen", 0).to_string(), "--listen");
    let log = origins.named("log", 0).to_string();
    assert_eq!(log, format!("{}/t.toml, line 3: log", dir.path().display()));
    // What a key needs may be on the command line, and the reverse.
    fine(&dir, "cert = \"c\"", "--key k");
    fine(&dir, "proxy-protocol = true", "--proxy-protocol-from ::1");
}

#[test]
fn paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = "root = \"public\"\nroute = [\"/a=./a\", \"/b=status\", \"/c=/c\"]\n\
                access-log = \"-\"\ncert = '/etc/c'\nkey = \"../k\"";
    let flags = fine(&dir, text, "").flags;
    assert_eq!(flags.root, Some(dir.path().join("public")));
    assert_eq!(flags.access_log, Some(Place::Stdout));
    assert_eq!(flags.cert, ["/etc/c"].map(PathBuf::from));
    assert_eq!(flags.key, [dir.path().join("../k")]);
    let targets: Vec<String> = flags
        .route
        .iter()
        .map(|route| format!("{:?}", route.target))
        .collect();
    let expected = format!("Directory(\"{}/a\")", dir.path().display());
    assert_eq!(targets, [&*expected, "Named(Status)", "Directory(\"/c\")"]);
}

#[test]
fn paths_are_never_relative_to_another_directory() {
    let path = Path::new(OsStr::from_bytes(b"/\xff/t.toml"));
    for (text, says) in [
        ("root = 'public'", Some("root = 'public'")),
        ("route = ['/=/public', '/a=./a']", Some("route = '/a=./a'")),
        ("root = '/public'\naccess-log = '-'", None),
    ] {
        let document = Document::new(path, text);
        let table = document.parse().unwrap();
        let read = keys::read(&document, table.get_ref(), Scope::Server);
        let problem = "the path of the file's directory isn't UTF-8: move the file";
        assert_eq!(
            read.err().map(|error| error.to_string()),
            says.map(|key| format!("{}, line 1: {key}: {problem}", path.display()))
        );
    }
}

#[test]
fn mistakes_are_sentences_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("{}/t.toml, line ", dir.path().display());
    for (text, says) in [
        (
            "max-stream = 1",
            "1: there is no key max-stream: did you mean max-streams?",
        ),
        (
            "\n\nmax_streams = 1",
            "3: there is no key max_streams: did you mean max-streams?",
        ),
        (
            "Root = \".\"",
            "1: there is no key Root: did you mean root?",
        ),
        (
            "certificates = 1",
            "1: there is no key certificates: docs/configuration.md lists all",
        ),
        (
            "config = \"x\"",
            "1: there is no key config: docs/configuration.md lists all",
        ),
        (
            "help = true",
            "1: there is no key help: docs/configuration.md lists all",
        ),
        (
            "[limits]\nmax-streams = 1",
            "1: there is no key limits: docs/configuration.md lists all",
        ),
        (
            "log = \"info\"\nworkers = 0",
            "2: workers = 0: expected a number from 1 to 1024",
        ),
        (
            "workers = \"many\"",
            "1: workers = \"many\": expected a number from 1 to 1024",
        ),
        (
            "max-requests = -1",
            "1: max-requests = -1: expected a number from 0 to 4294967295",
        ),
        (
            "workers = 1.5",
            "1: workers can't be a number with a point: write workers = N",
        ),
        (
            "workers = true",
            "1: workers can't be true or false: write workers = N",
        ),
        (
            "workers = [1]",
            "1: workers can't be an array: write workers = N",
        ),
        (
            "root = 5",
            "1: root can't be a number: write root = \"DIR\"",
        ),
        (
            "root = [\".\"]",
            "1: root can't be an array: write root = \"DIR\"",
        ),
        ("root = \"\"", "1: root = \"\": expected a value"),
        (
            "h2c-upgrade = \"on\"",
            "1: h2c-upgrade can't be a string: write h2c-upgrade = true",
        ),
        (
            "route = [\n  \"/a=status\",\n  5,\n]",
            "3: route can't be a number: write route = [\"PATH=TARGET\", …]",
        ),
        (
            "route = [\n  \"/a=status\",\n  \"/b\",\n]",
            "3: route = \"/b\": expected PATH=TARGET, such as /static=./public, \
             /api=http://127.0.0.1:9000 or /health=status",
        ),
        (
            "idle-timeout = 10",
            "1: idle-timeout = 10: expected a time such as 500ms, 10s, 5m or 1h",
        ),
        (
            "idle-timeout = 1979-05-27",
            "1: idle-timeout can't be a date: write idle-timeout = \"TIME\"",
        ),
        ("push = \"onn\"", "1: push = \"onn\": did you mean \"on\"?"),
        (
            "push = \"sometimes\"",
            "1: push = \"sometimes\": expected one of off, on, learned",
        ),
        ("cert = \"c\"", "1: cert needs key, which isn't given"),
        ("workers = 1\nworkers = 2", "2: duplicate key"),
        (
            "workers = ",
            "1: string values must be quoted, expected literal string",
        ),
        ("root = \"a", "1: invalid basic string, expected `\"`"),
    ] {
        let error = read(&dir, text, "").expect_err(text);
        assert_eq!(error, format!("{place}{says}"), "{text}");
    }
}

#[test]
fn a_mistake_in_what_a_value_names_has_its_line_too() {
    let dir = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("\nroot = \"nowhere\"", "line 2: can't serve the directory "),
        (
            "route = [\n  \"/a=status\",\n  \"/b=./nowhere\",\n]",
            "line 3: can't serve the directory ",
        ),
        (
            "route = [\n  \"/a=status\",\n  \"/a=echo\",\n]",
            "line 3: two routes are for /a: leave out one --route",
        ),
        ("cert = \"c\"\nkey = \"k\"", "line 1: can't read "),
        (
            "\nwebsocket = \"/a\"",
            "line 2: --websocket /a needs a --route",
        ),
        (
            "listen = [\n\"none\",\n\"1\"]",
            "line 2: --listen none means no such port",
        ),
        (
            "listen-h2c = [\n\"127.0.0.1:1\",\n\"127.0.0.1:1\"]",
            "line 3: can't listen on 127.0.0.1:1 twice",
        ),
        (
            "push = \"on\"\nroute = \"/a=status\"",
            "line 1: there is nothing to push",
        ),
        (
            "access-log = \"/nonexistent/log\"",
            "line 1: can't write the access log ",
        ),
    ] {
        let sentence = config_error(&fine(&dir, text, ""));
        assert!(
            sentence.contains(&format!("t.toml, {says}")),
            "{text}: {sentence}"
        );
    }
}

#[test]
fn a_key_without_effect_gets_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let text = "route = [\"/=status\"]\n\nupstream-name = \"x\"";
    let warnings = fine(&dir, text, "").warnings;
    let place = format!("{}/t.toml, line 3: ", dir.path().display());
    let sentence = "upstream-name has no effect: no --route leads to an upstream";
    assert_eq!(warnings, [format!("{place}{sentence}")]);
}

#[test]
fn sites_have_their_own_settings_and_those_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let text = "push = 'on'\nupstream-host = 'rewrite'\ncert = 'c'\nkey = 'k'\nmax-streams = 7\n\
                [[site]]\nnames = ['Example.com', '*.example.com']\nroot = 'a'\npush = 'off'\n\
                trust-x-priority = 'off'\n\
                [[site]]\nroute = ['/=http://192.0.2.1']\nwebsocket = '/a'\n\
                cert = 'd'\nkey = 'e'\n";
    let sites = fine(&dir, text, "--max-streams 8").sites;
    let [named, default] = &sites[..] else {
        panic!("{sites:?}");
    };
    assert_eq!(named.names, ["example.com", "*.example.com"]);
    assert!(default.names.is_empty());
    let text = "[[site]]\nroot = 'a'\nnames = ['[2001:DB8:0::0001]', '[::]']";
    let names = &fine(&dir, text, "").sites[0].names;
    assert_eq!(*names, ["[2001:db8::1]", "[::]"]);
    let (named, default) = (&named.flags, &default.flags);
    assert_eq!(named.root, Some(dir.path().join("a")));
    assert_eq!(default.root, None);
    assert_eq!((named.push, default.push), (Mode::Off, Mode::On));
    assert_eq!(named.cert, [dir.path().join("c")]);
    assert_eq!(default.cert, [dir.path().join("d")]);
    assert_eq!(named.trust_x_priority, Switch::Off);
    assert_eq!(default.trust_x_priority, Switch::On);
    let hosts = (named.upstream_host, default.upstream_host);
    assert_eq!(hosts, (Host::Rewrite, Host::Rewrite));
    assert_eq!((named.max_streams, default.max_streams), (8, 8));
    assert_eq!((named.route.len(), default.route.len()), (0, 1));
    assert_eq!(default.websocket, ["/a"]);
}

#[test]
fn routes_have_their_own_settings_and_those_of_the_site() {
    let dir = tempfile::tempdir().unwrap();
    let text = "upstream-name = 'a'\n[[site]]\nupstream-host = 'rewrite'\n\
                [[site.route]]\npath = '/b'\ntarget = 'https://192.0.2.1'\n\
                [[site.route]]\npath = '/c'\ntarget = 'https://192.0.2.1'\n\
                upstream-name = 'c'\nupstream-host = 'keep'\n\
                [[site.route]]\npath = '/d'\ntarget = 'd'\n";
    let sites = fine(&dir, text, "").sites;
    let [site] = &sites[..] else {
        panic!("{sites:?}");
    };
    let routes = site.routes.iter();
    let settings: Vec<_> = routes
        .map(|route| {
            let flags = &route.flags;
            (flags.upstream_name.as_deref().unwrap(), flags.upstream_host)
        })
        .collect();
    let expected = [
        ("a", Host::Rewrite),
        ("c", Host::Keep),
        ("a", Host::Rewrite),
    ];
    assert_eq!(settings, expected);
    let directory = format!("{:?}", site.flags.route[2].target);
    assert_eq!(
        directory,
        format!("Directory(\"{}/d\")", dir.path().display())
    );
}

#[test]
fn what_is_before_the_sites_is_the_default_site_if_it_has_content() {
    let dir = tempfile::tempdir().unwrap();
    let sites = |text: &str, line: &str| {
        let sites = fine(&dir, text, line).sites;
        sites.into_iter().map(|site| site.names).collect::<Vec<_>>()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(sites("", ""), std::slice::from_ref(&none));
    let named = "[[site]]\nnames = ['a']\nroot = '.'";
    let a = vec!["a".to_owned()];
    assert_eq!(sites(named, ""), std::slice::from_ref(&a));
    assert_eq!(
        sites(&format!("root = 'b'\n{named}"), ""),
        [none.clone(), a.clone()]
    );
    assert_eq!(sites(named, "--route /x=status"), [none, a]);
}

#[test]
fn mistakes_in_sites_are_sentences_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("{}/t.toml, line ", dir.path().display());
    // Each text follows these two lines.
    let site = "[[site]]\nroot = '.'\n";
    let route = "[[site.route]]\npath = '/a'\n";
    for (text, says) in [
        ("name = 1", "3: there is no key name: did you mean names?"),
        (
            "names = 1",
            "3: names can't be a number: write names = [\"HOST\", …]",
        ),
        (
            "names = [\n'a',\n'']",
            "5: names = \"\": expected the name of a host, such as example.com or *.example.com",
        ),
        (
            "names = 'https://a/b'",
            "3: names = \"https://a/b\": write the host alone: a",
        ),
        (
            "names = 'a:443'",
            "3: names = \"a:443\": leave out the port: a site is on all ports",
        ),
        (
            "names = 'a.*.b'",
            "3: names = \"a.*.b\": a * is for a whole first label, as in *.example.com",
        ),
        (
            "names = '\u{e4}.de'",
            "3: names = \"\u{e4}.de\": write the name as in DNS, with labels that begin with xn--",
        ),
        ("path = '/'", "3: path is a key of a [[site.route]]"),
        (
            "max-streams = 1",
            "3: max-streams is for the whole server: write it before the first [[site]]",
        ),
        ("cert = 'c'", "3: cert needs key, which isn't given"),
        (
            "\n[[site]]\nroot = '.'",
            "4: a site without names is for all other hosts, as those of line 1 are: name its hosts",
        ),
        (
            "names = 'a'\n[[site]]\nroot = '.'\nnames = ['b', 'A']",
            "4: the site of line 1 has the name a, too",
        ),
        (
            "[site.route]",
            "3: route is an array of tables: write [[site.route]]",
        ),
        ("[[site.route]]\npath = '/a'", "3: the route has no target"),
        ("[[site.route]]\ntarget = '/a'", "3: the route has no path"),
        (
            "[[site.route]]\npath = 'a'\ntarget = 'status'",
            "4: path = \"a\": the path must begin with /, as in /a",
        ),
        (
            "[[site.route]]\npath = 5",
            "4: path can't be a number: write path = \"PATH\"",
        ),
        (
            &format!("{route}\ntarget = 'http://'"),
            "6: target = \"http://\": http:// isn't an address: expected HOST:PORT",
        ),
        (
            &format!("{route}push = 'on'"),
            "5: push is for a whole site: write it in the [[site]]",
        ),
        (
            &format!("{route}upstream-cert = 'c'"),
            "5: upstream-cert needs upstream-key, which isn't given",
        ),
    ] {
        let error = read(&dir, &format!("{site}{text}"), "").expect_err(text);
        assert_eq!(error, format!("{place}{says}"), "{text}");
    }
    for (text, says) in [
        ("site = 5", "1: site is an array of tables: write [[site]]"),
        (
            "[site]\nroot = '.'",
            "1: site is an array of tables: write [[site]]",
        ),
        (
            "[[site]]\nnames = ['a']",
            "1: the site has neither a root nor a route",
        ),
        ("names = ['a']", "1: names is a key of a [[site]]"),
        (
            &format!("root = '.'\n{site}"),
            "2: a site without names is for all other hosts, as the settings before the first \
             [[site]] are: name its hosts",
        ),
        (
            &format!("cert = 'c'\nkey = 'k'\n{site}cert = 'd'"),
            "5: cert needs a key of its own beside it",
        ),
    ] {
        let error = read(&dir, text, "").expect_err(text);
        assert_eq!(error, format!("{place}{says}"), "{text}");
    }
    for (text, says) in [
        (
            "[[site]]\nnames = 'a'\nroot = 'nowhere'",
            "line 3: can't serve the directory ",
        ),
        (
            &format!("{site}[[site.route]]\npath = '/'\ntarget = 'status'"),
            "line 4: --root and --route / are for the same path",
        ),
        (
            &format!("{site}[[site]]\nnames = 'a'\nroot = '.'\ncert = 'c'\nkey = 'k'"),
            "line 6: can't read ",
        ),
    ] {
        let sentence = config_error(&fine(&dir, text, ""));
        assert!(
            sentence.contains(&format!("t.toml, {says}")),
            "{text}: {sentence}"
        );
    }
}

#[test]
fn names_and_keys_of_routes_without_effect_get_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[[site]]\nnames = ['b.a.test', '*.a.test', 'a.test']\n\
                [[site.route]]\npath = '/a'\ntarget = 'status'\nupstream-timeout = '1s'\n\
                [[site.route]]\npath = '/b'\ntarget = 'http://192.0.2.1'\n\
                upstream-name = 'x'\nfallback = '/index.html'\n\
                [[site.route]]\npath = '/c'\ntarget = '.'\nfallback = '/index.html'\n\
                [[site]]\nnames = 'c.a.test'\nroute = '/=status'\n";
    let place = format!("{}/t.toml, line ", dir.path().display());
    let expected = [
        "1: the name b.a.test has no effect: *.a.test of the same site covers it",
        "6: upstream-timeout has no effect: the target isn't an upstream",
        "11: fallback has no effect: the target isn't a directory",
        "10: upstream-name has no effect: the target doesn't begin with https://",
    ];
    assert_eq!(
        fine(&dir, text, "").warnings,
        expected.map(|sentence| format!("{place}{sentence}"))
    );
}

#[test]
fn a_port_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = ['1']\nlisten-h2c = [\n'127.0.0.1:2',\n'3']";
    let ports = fine(&dir, text, "").ports();
    for (addr, line) in [
        ("[::]:1", Some(1)),
        ("0.0.0.0:1", Some(1)),
        ("127.0.0.1:2", Some(3)),
        ("[::]:3", Some(4)),
        ("127.0.0.1:3", None),
        ("[::]:2", None),
    ] {
        let place = ports.place(addr.parse().unwrap());
        let expected = line.map(|line| format!("{}/t.toml, line {line}: ", dir.path().display()));
        assert_eq!(place, expected, "{addr}");
    }
}

#[test]
fn mistakes_in_values_of_tables_have_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("{}/t.toml, line ", dir.path().display());
    for (text, says) in [
        (
            "[[site]]\n[[site.route]]\npath = '/'\ntarget = 'https://192.0.2.1'\n\
             upstream-ca = '/nonexistent'",
            "5: can't read /nonexistent: No such file or directory (os error 2)",
        ),
        (
            "[[site]]\nupstream-ca = '/dev/null'\nroute = '/=https://192.0.2.1'",
            "2: can't use /dev/null for upstreams: ",
        ),
        (
            "[[site]]\n[[site.route]]\npath = '/'\ntarget = 'https://192.0.2.1'\n\
             upstream-name = 'a b'",
            "5: a b can't be the name in an upstream's certificate: ",
        ),
        (
            "route = '/a=status'\npreload = [\n'/a=/a.css',\n'/a=/b']",
            "4: the name of /b doesn't show its destination: ",
        ),
        (
            "route = '/a=status'\npreload = [\n'/a=/a.css']",
            "3: /a.css can't be preloaded, because no route serves it: ",
        ),
        (
            "min-body-rate = '1M'\nmax-stream-window = '4G'",
            "2: max_stream_window_size is ",
        ),
    ] {
        let sentence = config_error(&fine(&dir, text, ""));
        assert!(
            sentence.starts_with(&format!("{place}{says}")),
            "{text}: {sentence}"
        );
    }
}

#[test]
fn keys_of_a_site_without_effect_get_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let text = "upstream-timeout = '1s'\nupstream-name = 'x'\n\
                [[site]]\nroot = '.'\nupstream-host = 'keep'\n\
                [[site]]\nnames = 'a'\nroute = ['/=http://192.0.2.1']\n";
    let warnings = fine(&dir, text, "").warnings;
    let place = format!("{}/t.toml, line ", dir.path().display());
    let expected = [
        "2: upstream-name has no effect: no --route leads to an upstream with https://",
        "5: upstream-host has no effect: no --route leads to an upstream",
    ];
    assert_eq!(
        warnings,
        expected.map(|sentence| format!("{place}{sentence}"))
    );
}
