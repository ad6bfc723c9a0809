//! The documents at the top of the repository say what the code says: examples, links, the map,
//! limits.
//!
//! `BLESS=1 cargo test -p tidegate-testkit --test documents` puts changed examples into
//! `docs/embedding.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_http::Config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents: at the top and in `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in [root(), root().join("docs")] {
        for entry in fs::read_dir(dir).expect("the repository can be listed") {
            let path = entry.expect("the repository can be listed").path();
            if path.extension().is_some_and(|ext| ext == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 6, "{found:?}");
    found
}

/// Returns `text` with `code` in place of the code block that follows the comment about `source`.
fn with_example(text: &str, source: &str, code: &str) -> Option<String> {
    let comment = text.find(&format!("<!-- {source}:"))?;
    let begin = comment + text[comment..].find("```rust\n")? + "```rust\n".len();
    let len = text[begin..].find("```\n")?;
    Some(format!("{}{code}{}", &text[..begin], &text[begin + len..]))
}

#[test]
fn the_page_on_embedding_shows_the_examples_as_they_are() {
    let before = read("docs/embedding.md");
    let mut text = before.clone();
    for (source, most_lines) in [
        ("crates/http2/examples/blocking.rs", 60),
        ("crates/net/examples/service.rs", 40),
    ] {
        let code = read(source);
        let lines = code.lines().count();
        assert!(lines <= most_lines, "{source} has {lines} lines");
        text = with_example(&text, source, &code)
            .unwrap_or_else(|| panic!("docs/embedding.md has no code block for {source}"));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(root().join("docs/embedding.md"), text).expect("the page can be written");
    } else {
        assert!(
            text == before,
            "docs/embedding.md shows other examples than the files have; run this test again with BLESS=1"
        );
    }
}

#[test]
fn the_readme_shows_lines_of_an_example_in_their_order() {
    let source = "crates/net/examples/service.rs";
    let (text, code) = (read("README.md"), read(source));
    let (_, rest) = text
        .split_once(&format!("<!-- {source}:"))
        .expect("README.md says where its lines are from");
    let (_, rest) = rest.split_once("```rust\n").expect("a code block follows");
    let (shown, _) = rest.split_once("```").expect("the code block ends");
    let mut lines = code.lines();
    for line in shown
        .lines()
        .filter(|line| !line.trim().starts_with("// …"))
    {
        let is_there = lines.any(|other| other == line);
        assert!(
            is_there,
            "{source} doesn't have, after the lines before: {line}"
        );
    }
    let shown = shown.lines().count();
    assert!((10..=20).contains(&shown), "README.md shows {shown} lines");
}

#[test]
fn pages_for_everybody_are_short() {
    for (page, most) in [("README.md", 9 << 10), ("ARCHITECTURE.md", 16 << 10)] {
        let bytes = read(page).len();
        assert!(
            bytes <= most,
            "{page} has {bytes} bytes; {most} are allowed"
        );
    }
}

/// Returns the targets of `[…](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.split("](").skip(1);
    behind.filter_map(|rest| rest.split([')', '\n']).next())
}

#[test]
fn relative_links_lead_somewhere() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document can be read");
        let dir = document.parent().expect("a file is in a directory");
        for link in links(&text) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let path = link.split('#').next().unwrap_or(link);
            let here = document.display();
            assert!(dir.join(path).exists(), "{here}: {link} leads nowhere");
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} links found");
}

/// Returns the words between backticks that look like files of the repository: sources, scripts,
/// and the documents beside them.
fn source_files(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('`').skip(1).step_by(2);
    let is_file = |word: &&str| [".rs", ".sh", ".py"].iter().any(|end| word.ends_with(end));
    code.filter(is_file).filter(|word| !word.contains(' '))
}

#[test]
fn the_documents_name_files_that_exist() {
    let mut named = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document can be read");
        let here = document.display();
        // Below the heading of a crate, names of files begin in its `src`; elsewhere with the
        // crate.
        let mut of_heading = None;
        for line in text.lines() {
            if line.starts_with('#') {
                let name = line.split('`').nth(1);
                of_heading = name.filter(|name| name.starts_with("crates/"));
            }
            for file in source_files(line) {
                let from_crate = file
                    .split_once('/')
                    .map(|(of, rest)| format!("crates/{of}/src/{rest}"));
                let from_heading = of_heading.map(|heading| format!("{heading}/src/{file}"));
                let mut places = [Some(file.to_owned()), from_crate, from_heading]
                    .into_iter()
                    .flatten();
                assert!(
                    places.any(|place| root().join(place).exists()),
                    "{here} names {file}, which isn't there"
                );
                named += 1;
            }
        }
    }
    assert!(named > 100, "only {named} files are named");
}

/// Returns the `Debug` form of a configuration as rows `| \`path\` | value |`.
fn rows(debug: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    let mut burst = "";
    for line in debug.lines().map(str::trim).skip(1) {
        if line.starts_with('}') {
            path.pop();
            continue;
        }
        let (name, value) = line.split_once(": ").expect("a field and its value");
        let value = value.trim_end_matches(',');
        match (name, value) {
            (_, value) if value.ends_with('{') => path.push(name),
            ("burst", value) => burst = value,
            ("per_second", per_second) => rows.push(row(
                &path,
                &format!("{}, {} a second", thousands(burst), thousands(per_second)),
            )),
            _ => {
                path.push(name);
                rows.push(row(&path, &thousands(value)));
                path.pop();
            }
        }
    }
    rows
}

fn row(path: &[&str], value: &str) -> String {
    format!("| `{}` | {value} |", path.join("."))
}

/// Formats `4096` as `4,096`, `10s` as `10 s`, `false` as `off`.
fn thousands(value: &str) -> String {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let mut text = String::new();
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (digits - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let unit = unit.replace("false", "off").replace("true", "on");
    if !text.is_empty() && !unit.is_empty() {
        text.push(' ');
    }
    let _ = write!(text, "{unit}");
    text
}

#[test]
fn every_limit_of_the_engine_is_told_with_its_default() {
    let text = read("docs/limits.md");
    let rows = rows(&format!("{:#?}", Config::server()));
    assert!(rows.len() > 30, "{rows:?}");
    let missing: Vec<_> = rows
        .iter()
        .filter(|row| !text.lines().any(|line| line.starts_with(row.as_str())))
        .collect();
    assert!(missing.is_empty(), "docs/limits.md lacks {missing:#?}");
}

#[test]
fn every_package_has_a_page_licences_and_words_to_find_it_by() {
    let mut packages = 0;
    for entry in fs::read_dir(root().join("crates")).expect("the repository can be listed") {
        let dir = entry.expect("the repository can be listed").path();
        let manifest = read(dir.join("Cargo.toml"));
        if manifest.contains("\npublish = false\n") {
            continue;
        }
        packages += 1;
        let name = dir.display();
        for key in ["description", "keywords", "categories"] {
            let has_it = manifest.contains(&format!("\n{key} = "));
            assert!(has_it, "{name}/Cargo.toml has no {key}");
        }
        let has_page = dir.join("README.md").exists() || manifest.contains("\nreadme = ");
        assert!(has_page, "{name} has no README.md");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let is_same = read(dir.join(licence)) == read(licence);
            assert!(is_same, "{name}/{licence} is another text");
        }
    }
    assert!(packages >= 9, "only {packages} packages found");
}
