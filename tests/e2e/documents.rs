//! `docs/configuration.md` lists every flag and key with the text of `--help`.
//!
//! `BLESS=1 cargo test -p tidegate --test e2e documents` writes the page anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, CommandFactory};
use tidegate::command_line::CommandLine;
use tidegate::flags::Arguments;
use tidegate::settings::keys;
use tidegate::settings::scope::{self, Scope};

const INTRODUCTION: &str = r#"# Configuration

<!-- Generated from crates/server/src/flags.rs and crates/server/src/get/flags.rs. After a change of
     those run BLESS=1 cargo test -p tidegate --test e2e documents -->

Every setting is a flag, and a key of a configuration file in TOML, which `--config FILE` names.
Both have the same name, the same values and the same checks:

```toml
listen = ["443"]                        # --listen 443
listen-h2c = ["127.0.0.1:8080"]         # --listen-h2c 127.0.0.1:8080
cert = "site.pem"                       # --cert site.pem
key = "site.key"
root = "public"
route = ["/api=http://127.0.0.1:9000"]  # one --route for each
upstream-timeout = "30s"
max-streams = 200                       # numbers and sizes need no quotes
h2c-upgrade = true                      # a flag without a value
```

A flag that is typed takes the place of its key, with all values of the key. Paths in the file are
relative to its directory. A mistake in it, such as an unknown key, is an error with its line.
`tidegate check --config FILE` finds mistakes without a start, and prints what is in effect.
[examples/config](../examples/config) has whole files.

`tidegate --help` prints the flags, too. Flags that contradict each other, such as two routes for
one path, are an error. A flag that has no effect beside the others gets a warning in the log.
[operations.md](operations.md) describes signals, logs and exit statuses.

## Sites

```toml
cert = "site.pem"                        # for every site without one of its own
key = "site.key"

[[site]]
names = ["example.com", "*.example.com"]
root = "public"

  [[site.route]]
  path = "/api"
  target = "https://10.0.0.1:9000"
  upstream-name = "api.internal"         # for this route only

[[site]]
names = ["example.org"]
root = "other"
cert = "other.pem"
key = "other.key"
```

Each `[[site]]` is for the hosts that it names: `*.example.com` is for all names with one label in
place of the `*`, and an exact name comes before it. A site without `names` is for all other hosts;
so are the settings before the first `[[site]]`, if they have a `root` or a `route`, and flags.
Without such a site, a request for another host gets 404, or what `unknown-host` says. The ports
are those of all sites.

A site has the settings of the whole server, but for the routes, the WebSockets and the preload
list. A route has those of its site. What is nearer counts: a `[[site.route]]`, then its
`[[site]]`, then a flag, then the top of the file.

An upstream that several routes use has a name, and its settings in one place:

```toml
[upstream.api]
addresses = ["http://10.0.0.1:9000", "http://10.0.0.2:9000"]
upstream-timeout = "10s"                 # what isn't set here is as at the top of the file

[[site]]
names = ["example.com"]
route = ["/api=upstream:api", "/v2=upstream:api/version2"]
```

The least busy address gets the next request, and one that fails is skipped for a while, as with
addresses that a route lists itself. A path after the name replaces that of the route. Routes with
the same addresses and settings share connections, with a name or without; other settings mean
other connections.

A route leads to a directory, a handler, an upstream, or another place. `{host}`, `{path}` and
`{query}` of a redirect's location are those of the request, `{rest}` is its path below the route;
requests in cleartext are redirected by `http-redirect`, but for routes that say otherwise:

```toml
http-redirect = "on"                     # 308 to https://, at the same host, path and query

[[site]]
names = ["example.com"]
root = "public"

  [[site.route]]
  path = "/old"
  target = "redirect:301:/new{rest}{query}"

  [[site.route]]
  path = "/.well-known/acme-challenge"   # for certificates, asked for in cleartext
  target = "acme"
  http-redirect = "off"

[[site]]
names = ["www.example.com"]
route = ["/=redirect:308:https://example.com{path}{query}"]
```

Behind a balancer that ends TLS, a request is one in cleartext unless the balancer says otherwise by
X-Forwarded-Proto or Forwarded, and `trust-forwarded-from` has its address.

`response-field` changes the fields of all responses of a route, errors and redirects too. Changes
of a site follow those of the whole server, and a route's those of its site. `cache-control`,
`cdn-cache-control` and `expires` go with statuses below 400 alone, and
`strict-transport-security` goes over TLS alone (RFC 6797 §7.2):

```toml
response-field = [
  "set strict-transport-security: max-age=63072000; includeSubDomains",
  "set x-content-type-options: nosniff",
  "remove server",
]

[[site]]
names = ["app.example.com"]

  [[site.route]]
  path = "/"
  target = "app"
  fallback = "/index.html"               # for paths without a file: the application draws them
  response-field = ["set cache-control: no-cache"]

  [[site.route]]
  path = "/assets"                       # without the fallback: 404 for what isn't there
  target = "app/assets"
  response-field = ["set cache-control: public, max-age=31536000, immutable"]
```

A route may have its own limits and time limits, too. `max-body` counts the bytes of bodies without
a length as they come; calls of gRPC are such bodies, the data of WebSockets isn't one:

```toml
max-body = "1M"

[[site]]
names = ["files.example.com"]

  [[site.route]]
  path = "/"
  target = "http://10.0.0.1:9000"
  upstream-timeout = "10s"

  [[site.route]]
  path = "/upload"
  target = "http://10.0.0.1:9000"
  max-body = "10G"
  upstream-timeout = "5m"
  default-priority = "u=6"               # after all other responses, unless a client asks
```

The name that a client asks for in TLS (SNI) chooses the certificate of its site. Without a name, or
for one that no site has, it is that of the site without names, or else of the first site. A
connection carries requests for the host that it asked for and for those that its certificate is
for; others get 421 (RFC 9110 §15.5.20), and the client asks again on another connection. Where a
certificate is for several hosts of the sites, an ORIGIN frame (RFC 8336) lists them on each
connection over HTTP/2 and TLS, unless one has a wildcard, which no list can have. A reload reads
the names of the certificates anew, and the connections that exist have them too. A client that asks
for no name may request all hosts by HTTP/1.1, and by HTTP/2 those of the certificate and all IP
addresses: TLS has no names for these. A request without a host, as HTTP/1.0 allows, is for the name
that its client asked for.

| table | keys |
|---|---|
"#;

const MORE: &str = "
More about the settings is in the pages on [the proxy](proxy.md), [early hints and pushes](push.md),
[shares](shares.md), [flow control](flow-control.md), [priorities](priorities.md) and
[limits](limits.md).
";

/// Returns the page that follows from the flags.
fn page() -> String {
    let command = Arguments::command();
    let mut page = INTRODUCTION.to_owned();
    for (scope, own, title) in [
        (Scope::Site, "`names`", "[[site]]"),
        (Scope::Route, "`path`, `target`", "[[site.route]]"),
        (Scope::Upstream, "`addresses`", "[upstream.NAME]"),
    ] {
        let keys = command.get_arguments().filter(|arg| scope.has(arg));
        let keys = keys.filter_map(Arg::get_long);
        let keys: Vec<String> = keys.map(|key| format!("`{key}`")).collect();
        row(
            &mut page,
            [format!("`{title}`"), format!("{own}, {}", keys.join(", "))],
        );
    }
    page.push_str(MORE);
    let mut headings: Vec<&str> = Vec::new();
    for heading in command.get_arguments().filter_map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        let below = |arg: &&Arg| arg.get_help_heading() == Some(heading);
        let _ = write!(page, "\n## {heading}\n\n");
        settings(&mut page, command.get_arguments().filter(below));
    }
    let examples = command
        .get_after_help()
        .expect("the help ends with examples");
    let _ = write!(
        page,
        "\n## Values and examples\n\n```text\n{examples}\n```\n"
    );
    for command in command.get_subcommands() {
        let about = command.get_about().expect("a command says what it does");
        let name = command.get_name();
        let _ = write!(page, "\n## `tidegate {name}`\n\n{about}.\n\n");
        let mut all = command.get_arguments();
        // Those of `check` are in the tables above.
        if all.all(|arg| arg.get_long() != Some("config")) {
            flags(&mut page, command.get_arguments());
        }
    }
    page
}

/// Writes the table of flags that are also keys.
fn settings<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    page.push_str("| flag | key | default | meaning |\n|---|---|---|---|\n");
    for arg in args {
        let (meaning, default) = meaning_and_default(arg);
        let key = if scope::is_key(arg) {
            format!("`{}`", keys::form(arg))
        } else {
            String::new()
        };
        row(
            page,
            [format!("`{}`", spelling(arg)), key, default, meaning],
        );
    }
}

/// Writes the table of flags that aren't keys.
fn flags<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    page.push_str("| flag | default | meaning |\n|---|---|---|\n");
    for arg in args {
        let (meaning, default) = meaning_and_default(arg);
        row(page, [format!("`{}`", spelling(arg)), default, meaning]);
    }
}

fn row<const N: usize>(page: &mut String, cells: [String; N]) {
    for cell in cells {
        // A bar would end the cell, even in code.
        let _ = write!(page, "| {} ", cell.replace('|', "\\|"));
    }
    page.push_str("|\n");
}

/// Returns the flag as it is typed: `-o, --output FILE`.
fn spelling(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
    let values = arg.get_value_names().filter(|_| takes_value);
    let values = values.unwrap_or_default().iter();
    let values = values.map(ToString::to_string);
    let names = (!names.is_empty()).then(|| names.join(", "));
    names
        .into_iter()
        .chain(values)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the help of the flag without its default, and the default, which the help may state in
/// its last words.
fn meaning_and_default(arg: &Arg) -> (String, String) {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.expect("every flag has a help").to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let stated = help
        .strip_suffix(']')
        .and_then(|help| help.rsplit_once(" [default: "));
    if let Some((meaning, default)) = stated {
        return (linked(meaning), default.to_owned());
    }
    let values = arg.get_default_values();
    let default = match arg.get_action() {
        ArgAction::SetTrue => "off".to_owned(),
        _ => values
            .iter()
            .map(|value| format!("`{}`", value.display()))
            .collect(),
    };
    (linked(&help), default)
}

/// Returns `text` with a link in place of each `docs/NAME.md`. The page itself is in `docs/`.
fn linked(text: &str) -> String {
    let mut linked = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("docs/") {
        let end = after
            .find(".md")
            .expect("a page in docs/ is named with .md");
        let name = &after[..end + ".md".len()];
        let _ = write!(linked, "{before}[{name}]({name})");
        rest = &after[name.len()..];
    }
    linked + rest
}

#[test]
fn the_page_of_flags_has_what_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, page).expect("docs/configuration.md can be written");
    } else {
        let before = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            before == page,
            "docs/configuration.md is stale: run BLESS=1 cargo test -p tidegate --test e2e documents"
        );
    }
}

#[test]
fn the_page_of_logs_has_all_fields() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logs.md");
    let before = fs::read_to_string(&path).unwrap();
    let (head, rest) = before.split_once("<!-- fields -->\n").unwrap();
    let (_, rest) = rest.split_once("<!-- end of fields -->\n").unwrap();
    let table = tidegate::access_log::fields::table();
    let page = format!("{head}<!-- fields -->\n{table}<!-- end of fields -->\n{rest}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, page).expect("docs/logs.md can be written");
    } else {
        assert!(
            before == page,
            "docs/logs.md is stale: run BLESS=1 cargo test -p tidegate --test e2e documents"
        );
    }
}

#[test]
fn configurations_in_documents_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (document, count) in [
        ("README.md", 1),
        ("docs/certificates.md", 3),
        ("docs/configuration.md", 6),
        ("docs/logs.md", 2),
        ("docs/operations.md", 1),
    ] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let blocks: Vec<&str> = text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert_eq!(blocks.len(), count, "{document}");
        for block in blocks {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("tidegate.toml");
            fs::write(&file, block).unwrap();
            let words = ["tidegate".into(), "--config".into(), file.into_os_string()];
            let read = CommandLine::read(words);
            let CommandLine { warnings, .. } =
                read.unwrap_or_else(|error| panic!("{document}: {error}"));
            assert!(warnings.is_empty(), "{document}: {warnings:?}");
        }
    }
}
