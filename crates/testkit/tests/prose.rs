//! Rules of prose that a program can count: in documents and in comments of the sources.
//!
//! `prose.txt` has today's count for each place and rule. A count may only fall:
//! `BLESS=1 cargo test -p tidegate-testkit --test prose` writes the lower ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns that a line of a document or a comment may have.
const COLUMNS: usize = 100;

/// What breaks a rule: a file, the number of a line, and the line.
type Broken = (PathBuf, usize, String);

/// Everything that breaks a rule, by place (`docs`, `crates/net`) and rule.
type Found = BTreeMap<(String, &'static str), Vec<Broken>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files with this extension below `dir`, without those that cargo makes.
fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory can be listed") {
        let path = entry.expect("a directory can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
}

/// `text` without what is between quotation marks, so far as these are closed.
fn unquoted(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        kept.push_str(before);
        match after.split_once('"') {
            // Lines are counted, so their ends stay.
            Some((quoted, after)) => {
                kept.extend(quoted.chars().filter(|&char| char == '\n'));
                rest = after;
            }
            None => rest = after,
        }
    }
    kept + rest
}

/// The numbers of the lines of `text` that have the word outside of quotations.
fn lines_with_octets(text: &str) -> Vec<usize> {
    let text = unquoted(text).to_lowercase().replace("octet-stream", "");
    let with = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("octet"));
    with.map(|(index, _)| index).collect()
}

/// What a line of prose must not do, in `rule -> indexes of lines`.
fn in_document(text: &str) -> Vec<(&'static str, usize)> {
    let mut broken: Vec<_> = lines_with_octets(text)
        .into_iter()
        .map(|at| ("octets", at))
        .collect();
    let mut is_code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let is_table = line.trim_start().starts_with('|');
        let has_link = line.contains("](") && !line.trim().contains(' ');
        if !is_code && !is_table && !has_link && line.chars().count() > COLUMNS {
            broken.push(("columns", at));
        }
    }
    broken
}

/// The text of a comment, and whether it is a doc comment.
fn comment(line: &str) -> Option<(&str, bool)> {
    let line = line.trim_start();
    let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
    match doc {
        Some(text) => Some((text.trim(), true)),
        None => line.strip_prefix("//").map(|text| (text.trim(), false)),
    }
}

fn in_source(text: &str) -> Vec<(&'static str, usize)> {
    let mut broken = Vec::new();
    let mut block = String::new();
    let mut begins = 0;
    let mut is_doc_before = false;
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().chain([&""]).enumerate() {
        if let Some((text, is_doc)) = comment(line) {
            if line.chars().count() > COLUMNS {
                broken.push(("columns", at));
            }
            let first = text.split([' ', '\'', ',']).next().unwrap_or_default();
            if is_doc && !is_doc_before && ["It", "They", "Who", "What", "Of"].contains(&first) {
                broken.push(("openings", at));
            }
            if block.is_empty() {
                begins = at;
            }
            block.push_str(text);
            block.push('\n');
            is_doc_before = is_doc;
            continue;
        }
        // Quotations go on over the lines of a comment.
        broken.extend(
            lines_with_octets(&block)
                .into_iter()
                .map(|line| ("octets", begins + line)),
        );
        block.clear();
        is_doc_before = false;
        // What a program says is prose too, so quotation marks excuse nothing here.
        if line
            .replace("octet-stream", "")
            .to_lowercase()
            .contains("octet")
        {
            broken.push(("octets", at));
        }
        if line.trim_start().starts_with("true =>") {
            broken.push(("bool matches", at));
        }
    }
    broken
}

/// Everything that breaks a rule today.
fn found() -> Found {
    let root = root();
    let mut places = vec![("docs".to_owned(), root.join("docs"), "md")];
    for name in ["tests", "tools", "fuzz", "benches"] {
        places.push((name.to_owned(), root.join(name), "rs"));
    }
    for entry in fs::read_dir(root.join("crates")).expect("the crates can be listed") {
        let path = entry.expect("the crates can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        places.push((format!("crates/{name}"), path.clone(), "rs"));
    }
    let mut found = Found::new();
    for (place, dir, extension) in places {
        let mut paths = Vec::new();
        files(&dir, extension, &mut paths);
        if place == "docs" {
            let at_the_top = fs::read_dir(&root).expect("the repository can be listed");
            let at_the_top = at_the_top.map(|entry| entry.expect("it can be listed").path());
            paths.extend(at_the_top.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
        }
        assert!(!paths.is_empty(), "{place} has no files");
        for path in paths {
            let text = fs::read_to_string(&path).expect("a file can be read");
            let broken = match extension {
                "md" => in_document(&text),
                _ => in_source(&text),
            };
            for (rule, at) in broken {
                let line = text.lines().nth(at).unwrap_or_default().trim().to_owned();
                let shown = path.strip_prefix(&root).unwrap_or(&path).to_owned();
                let all = found.entry((place.clone(), rule)).or_default();
                all.push((shown, at + 1, line));
            }
        }
    }
    found
}

/// `docs: columns 3` as its parts.
fn allowed(text: &str) -> BTreeMap<(String, String), usize> {
    let mut allowed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (place, rest) = line.split_once(": ").expect("PLACE: RULE COUNT");
        let (rule, count) = rest.rsplit_once(' ').expect("PLACE: RULE COUNT");
        let count = count.parse().expect("a count is a number");
        allowed.insert((place.to_owned(), rule.to_owned()), count);
    }
    allowed
}

#[test]
fn what_breaks_the_rules_of_prose_only_gets_less() {
    let path = root().join("crates/testkit/tests/prose.txt");
    let before = allowed(&fs::read_to_string(&path).expect("the counts can be read"));
    let found = found();
    let mut text =
        "# Lines that break a rule of prose: see prose.rs. Counts may only fall.\n".to_owned();
    let mut more = String::new();
    for ((place, rule), broken) in &found {
        let limit = before.get(&(place.clone(), (*rule).to_owned())).copied();
        let (limit, count) = (limit.unwrap_or(0), broken.len());
        text += &format!("{place}: {rule} {}\n", count.min(limit));
        if count > limit {
            more += &format!(
                "{place} has {count} lines that break the rule on {rule}, and may have {limit}:\n"
            );
            for (file, line, text) in broken.iter().take(200) {
                more += &format!("  {}:{line}: {text}\n", file.display());
            }
        }
    }
    assert!(more.is_empty(), "{more}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("the counts can be written");
    }
}

#[test]
fn rules_are_counted() {
    let broken = in_source(
        "/// What an octet is.\n\
         // RFC 9113: \"an octet\n\
         // and octets\" are quoted\n\
         say(\"octets\")\n\
         /// Returns what it is,\n\
         /// What follows isn't an opening\n\
         match it { \n  true => {}\n}\n",
    );
    let rules: Vec<_> = broken.iter().map(|(rule, at)| (*rule, at + 1)).collect();
    assert_eq!(
        rules,
        [
            ("openings", 1),
            ("octets", 1),
            ("octets", 4),
            ("bool matches", 8)
        ]
    );
    let long = "x ".repeat(51);
    assert_eq!(in_source(&format!("// {long}\n{long}")), [("columns", 0)]);
    let page = format!("{long}\n| {long}\n```\n{long}\n```\n\"an octet\" and octets\n");
    assert_eq!(in_document(&page), [("octets", 5), ("columns", 0)]);
}
