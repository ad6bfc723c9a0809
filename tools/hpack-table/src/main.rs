//! Decodes the HPACK stories of several encoders, re-encodes the raw stories, and compares the
//! sizes.
//!
//! `hpack-table [DIR]`: DIR holds a directory for each encoder (`nghttp2`, `go-hpack` and so on)
//! and `raw-data`, in the format of the http2jp `hpack-test-case` collection. A story is one
//! connection's header lists in one direction. The exit status is 0 when every field was decoded
//! correctly and our encoder took no more bytes than nghttp2's.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use tidegate_hpack::{Decoder, Encoder, Fields, Limits};

/// The collection's lists are trusted: only a broken decoder exceeds these limits.
const LIMITS: Limits = Limits {
    max_list_size: 1 << 20,
    max_fields: 1000,
    max_cookie_crumbs: 1000,
};

/// The table size that a story starts with, unless it has another one.
const TABLE_SIZE: usize = 4096;

/// The encoder that ours is compared with.
const REFERENCE: &str = "nghttp2";

/// The directory of the lists themselves, without blocks.
const RAW: &str = "raw-data";

/// One connection's header lists.
struct Story {
    name: String,
    cases: Vec<Case>,
}

/// One header list.
struct Case {
    fields: Fields,
    /// The list's block; empty in the raw stories.
    block: Vec<u8>,
    /// A SETTINGS_HEADER_TABLE_SIZE that takes effect before this block, if any.
    table_size: Option<usize>,
}

fn main() -> ExitCode {
    let dir = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "../shared/vectors/hpack".into());
    match run(Path::new(&dir)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hpack-table: {}: {error}", Path::new(&dir).display());
            ExitCode::FAILURE
        }
    }
}

/// Checks everything under `dir` and prints the table. Returns whether all checks held.
fn run(dir: &Path) -> Result<bool, Box<dyn Error>> {
    let (mut stories, mut cases, mut failed) = (0, 0, 0);
    let mut raw = Vec::new();
    let mut reference = Vec::new();
    for encoder in sorted(dir)?.into_iter().filter(|path| path.is_dir()) {
        let name = file_name(&encoder);
        let read = sorted(&encoder)?
            .iter()
            .map(|path| story(path))
            .collect::<Result<Vec<_>, _>>()?;
        if name == RAW {
            raw = read;
            continue;
        }
        for story in &read {
            stories += 1;
            cases += story.cases.len();
            if let Err(error) = decode(story) {
                failed += 1;
                eprintln!("{name}/{}: {error}", story.name);
            }
        }
        if name == REFERENCE {
            reference = read;
        }
    }

    println!(
        "{:<10} {:>7} {:>9} {:>9} {:>9} {:>7}",
        "story", "lists", "raw", REFERENCE, "tidegate", "ratio"
    );
    let (mut reencoded, mut worse) = (0, 0);
    let mut total = Row::default();
    for story in &raw {
        let ours = match reencode(story) {
            Ok(bytes) => bytes,
            Err(error) => {
                failed += 1;
                eprintln!("{RAW}/{}: {error}", story.name);
                continue;
            }
        };
        reencoded += story.cases.len();
        let Some(theirs) = reference.iter().find(|other| other.name == story.name) else {
            return Err(format!("{REFERENCE} has no {}", story.name).into());
        };
        let row = Row {
            lists: story.cases.len(),
            raw: story.cases.iter().map(|case| case.fields.byte_len()).sum(),
            reference: theirs.cases.iter().map(|case| case.block.len()).sum(),
            ours,
        };
        worse += usize::from(row.ours > row.reference);
        row.print(&story.name);
        total.add(&row);
    }
    total.print("total");
    println!(
        "stories that take more bytes than {REFERENCE}'s: {worse} of {}",
        raw.len()
    );
    println!("{stories} stories decoded, {cases} cases, {reencoded} re-encoded, {failed} failed");
    Ok(failed == 0 && reencoded > 0 && total.ours <= total.reference)
}

/// A line of the table.
#[derive(Default)]
struct Row {
    lists: usize,
    /// Bytes of names and values.
    raw: usize,
    /// Bytes of the reference's blocks.
    reference: usize,
    /// Bytes of our blocks.
    ours: usize,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.lists += other.lists;
        self.raw += other.raw;
        self.reference += other.reference;
        self.ours += other.ours;
    }

    fn print(&self, name: &str) {
        let ratio = self.ours as f64 / self.reference.max(1) as f64;
        let Self {
            lists,
            raw,
            reference,
            ours,
        } = self;
        println!("{name:<10} {lists:>7} {raw:>9} {reference:>9} {ours:>9} {ratio:>7.3}");
    }
}

/// Decodes a story's blocks and compares the fields.
fn decode(story: &Story) -> Result<(), String> {
    let mut decoder = Decoder::new(TABLE_SIZE);
    let mut fields = Fields::new();
    for (i, case) in story.cases.iter().enumerate() {
        if let Some(size) = case.table_size {
            decoder.set_max_table_size(size);
        }
        fields.clear();
        decode_case(&mut decoder, &case.block, &mut fields, &case.fields)
            .map_err(|error| format!("case {i}: {error}"))?;
    }
    Ok(())
}

fn decode_case(
    decoder: &mut Decoder,
    block: &[u8],
    fields: &mut Fields,
    expected: &Fields,
) -> Result<(), String> {
    let decoded = decoder
        .decode(block, &LIMITS, fields)
        .map_err(|error| error.to_string())?;
    let same = fields.len() == expected.len()
        && fields
            .iter()
            .zip(expected)
            .all(|(a, b)| (a.name, a.value) == (b.name, b.value));
    if decoded.over.is_some() || !same {
        return Err(format!("expected {expected:?}, got {fields:?}"));
    }
    Ok(())
}

/// Encodes a raw story's lists, decodes them again and compares the fields. Returns the bytes of
/// the blocks.
fn reencode(story: &Story) -> Result<usize, String> {
    let mut encoder = Encoder::new(TABLE_SIZE);
    let mut decoder = Decoder::new(TABLE_SIZE);
    let (mut fields, mut block) = (Fields::new(), Vec::new());
    let mut bytes = 0;
    for (i, case) in story.cases.iter().enumerate() {
        block.clear();
        encoder.encode(&case.fields, &mut block);
        bytes += block.len();
        fields.clear();
        decode_case(&mut decoder, &block, &mut fields, &case.fields)
            .map_err(|error| format!("case {i}: {error}"))?;
    }
    Ok(bytes)
}

/// Reads a story's file.
fn story(path: &Path) -> Result<Story, Box<dyn Error>> {
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let json: Value =
        serde_json::from_slice(&fs::read(path)?).map_err(|error| wrong(&error.to_string()))?;
    let cases = json["cases"].as_array().ok_or_else(|| wrong("no cases"))?;
    let cases = cases
        .iter()
        .map(|case| {
            Some(Case {
                fields: fields(&case["headers"])?,
                block: match &case["wire"] {
                    Value::Null => Vec::new(),
                    wire => from_hex(wire.as_str()?)?,
                },
                table_size: case["header_table_size"]
                    .as_u64()
                    .and_then(|size| usize::try_from(size).ok()),
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| wrong("a case isn't in the collection's format"))?;
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Story { name, cases })
}

/// Returns the fields of a list of objects, which have one member per field.
fn fields(headers: &Value) -> Option<Fields> {
    let mut fields = Fields::new();
    for header in headers.as_array()? {
        for (name, value) in header.as_object()? {
            fields.push(name, value.as_str()?);
        }
    }
    Some(fields)
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok())
        .collect()
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
