//! Rules of prose that a program can count: in documents and in comments of the sources.
//!
//! The rules hold in the places that `DONE` lists; elsewhere what breaks them is only counted:
//! `cargo test -p tidegate-testkit --test prose -- --nocapture` prints the counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files and directories in which no line may break a rule.
const DONE: &[&str] = &[
    "crates/pool",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "benches",
    "crates/frame",
    "crates/hpack",
    "crates/http",
    "crates/http1",
    "crates/http2",
    "crates/ledger",
    "crates/net",
    "crates/server",
    "crates/testkit",
    "crates/trace",
    "docs/admin.md",
    "docs/certificates.md",
    "docs/configuration.md",
    "docs/decisions.md",
    "docs/embedding.md",
    "docs/features.md",
    "docs/flow-control.md",
    "docs/header-compression.md",
    "docs/limits.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/priorities.md",
    "docs/proxy.md",
    "docs/push.md",
    "docs/security.md",
    "docs/shares.md",
    "docs/traces.md",
    "examples",
    "fuzz",
    "tests",
    "tools/README.md",
    "tools/acme.sh",
    "tools/admin-page.sh",
    "tools/admin_page.py",
    "tools/attacks",
    "tools/benign.sh",
    "tools/browser.sh",
    "tools/chromium.py",
    "tools/compare",
    "tools/crowd.sh",
    "tools/engine-instructions.sh",
    "tools/frame-vectors",
    "tools/fuzz-server",
    "tools/grpc.sh",
    "tools/h2spec.sh",
    "tools/hpack-table",
    "tools/interop",
    "tools/lib.sh",
    "tools/measure",
    "tools/package.sh",
    "tools/pageload.sh",
    "tools/path.py",
    "tools/peers.sh",
    "tools/proxy-cpu.sh",
    "tools/proxy-memory.sh",
    "tools/push.sh",
    "tools/shares.sh",
    "tools/sim",
    "tools/stalled.sh",
    "tools/third-party.py",
    "tools/upload.sh",
    "tools/urgent.sh",
];

/// Columns that a line of a document or a comment may have.
const COLUMNS: usize = 100;

/// A line that breaks a rule.
struct Broken {
    /// From the root of the repository.
    file: PathBuf,
    rule: &'static str,
    number: usize,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Adds the files with this extension below `dir`, without those that cargo makes.
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

/// Returns `text` without quotations.
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

/// Returns the indexes of the lines of `text` that have the word outside of quotations.
fn lines_with_octets(text: &str) -> Vec<usize> {
    let text = unquoted(text).to_lowercase().replace("octet-stream", "");
    let with = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("octet"));
    with.map(|(index, _)| index).collect()
}

/// Returns the rules that the lines of a document break, each with the index of the line.
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

/// Returns the text of a comment in Rust, and whether it is a doc comment.
fn comment(line: &str) -> Option<(&str, bool)> {
    let line = line.trim_start();
    let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
    match doc {
        Some(text) => Some((text.trim(), true)),
        None => line.strip_prefix("//").map(|text| (text.trim(), false)),
    }
}

/// Returns the text of a comment in a script.
fn script_comment(line: &str) -> Option<(&str, bool)> {
    let text = line.trim_start().strip_prefix('#');
    text.map(|text| (text.trim(), false))
}

/// Returns the rules that the lines of a program break. `comment` recognises its comments.
fn in_source(text: &str, comment: fn(&str) -> Option<(&str, bool)>) -> Vec<(&'static str, usize)> {
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
        // A quotation may continue on the next line of a comment.
        broken.extend(
            lines_with_octets(&block)
                .into_iter()
                .map(|line| ("octets", begins + line)),
        );
        block.clear();
        is_doc_before = false;
        // The texts of a program are prose too, so quotation marks excuse nothing here.
        if line
            .replace("octet-stream", "")
            .replace("octet_stream", "")
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

/// Returns every line of the repository that breaks a rule.
fn found() -> Vec<Broken> {
    let root = root();
    let mut paths = Vec::new();
    for dir in ["crates", "tests", "tools", "fuzz", "benches"] {
        for extension in ["rs", "sh", "py"] {
            files(&root.join(dir), extension, &mut paths);
        }
    }
    for dir in ["docs", "tools"] {
        files(&root.join(dir), "md", &mut paths);
    }
    for entry in fs::read_dir(&root).expect("the repository can be listed") {
        let path = entry.expect("the repository can be listed").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    let mut found = Vec::new();
    // This file names the words that it forbids.
    paths.retain(|path| !path.ends_with("crates/testkit/tests/prose.rs"));
    for path in paths {
        let text = fs::read_to_string(&path).expect("a file can be read");
        let broken = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => in_document(&text),
            Some("rs") => in_source(&text, comment),
            _ => in_source(&text, script_comment),
        };
        let file = path.strip_prefix(&root).expect("it is below the root");
        found.extend(broken.into_iter().map(|(rule, at)| Broken {
            file: file.to_owned(),
            rule,
            number: at + 1,
            text: text.lines().nth(at).unwrap_or_default().trim().to_owned(),
        }));
    }
    found
}

/// Returns the directory in whose count a file is: `crates/net`, `docs`.
fn place(file: &Path) -> PathBuf {
    let depth = if file.starts_with("crates") { 2 } else { 1 };
    file.iter().take(depth).collect()
}

#[test]
fn prose_follows_the_rules_where_it_is_done() {
    for done in DONE {
        assert!(root().join(done).exists(), "{done} isn't there");
    }
    let mut counts = BTreeMap::new();
    let mut wrong = String::new();
    for Broken {
        file,
        rule,
        number,
        text,
    } in found()
    {
        *counts.entry((place(&file), rule)).or_insert(0) += 1;
        if DONE.iter().any(|done| file.starts_with(done)) {
            wrong += &format!("{}:{number}: {rule}: {text}\n", file.display());
        }
    }
    for ((place, rule), count) in counts {
        println!("{}: {rule}: {count}", place.display());
    }
    assert!(
        wrong.is_empty(),
        "lines that break a rule of CONTRIBUTING.md:\n{wrong}"
    );
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
        comment,
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
    assert_eq!(
        in_source(&format!("// {long}\n{long}"), comment),
        [("columns", 0)]
    );
    let script = format!("# {long}\nsend octets\n");
    assert_eq!(
        in_source(&script, script_comment),
        [("columns", 0), ("octets", 1)]
    );
    let page = format!("{long}\n| {long}\n```\n{long}\n```\n\"an octet\" and octets\n");
    assert_eq!(in_document(&page), [("octets", 5), ("columns", 0)]);
}
