//! The preload list as a TOML file: `--preload-file`.
//!
//! ```toml
//! [[resource]]
//! path = "/style.css"
//! pages = ["/", "/about"]
//!
//! [[resource]]
//! path = "/app.js"
//! pages = ["/"]
//! content-file = "build/app.js"   # relative to this file; without it the routes answer
//! headers = { cache-control = "max-age=3600" }
//! urgency = 2
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use tidegate_http::Priority;
use toml::Spanned;

use super::Destination;
use super::list::{Preload, PreloadError, PushCache};
use crate::document::{Document, FileError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    resource: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    path: String,
    pages: Vec<String>,
    r#as: Option<String>,
    content: Option<String>,
    content_file: Option<PathBuf>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    urgency: Option<u8>,
    incremental: Option<bool>,
}

/// Reads the resources of a file. Paths of files in it are relative to its directory.
///
/// # Errors
/// The first problem in the file.
pub fn read(path: &Path) -> Result<Vec<Preload>, FileError> {
    let document = Document::read(path)?;
    let parsed = toml::from_str::<List>(document.text());
    let entries = parsed.map_err(|error| document.not_parsed(&error))?;
    let mut list = Vec::with_capacity(entries.resource.len());
    for entry in entries.resource {
        let at = entry.span().start;
        let entry = entry.into_inner();
        let file = entry.content_file.as_ref();
        let from_file = match file.map(|file| path.with_file_name("").join(file)) {
            Some(file) => {
                let read = fs::read(&file);
                Some(read.map_err(|error| FileError::Unreadable(file, error))?)
            }
            None => None,
        };
        let preload = entry.preload(from_file.map(Bytes::from));
        let preload = preload.map_err(|problem| document.wrong(at, problem))?;
        // Each entry is checked by itself, so that an error has its line.
        PushCache::new([preload.clone()])
            .map_err(|error: PreloadError| document.wrong(at, error.to_string()))?;
        list.push(preload);
    }
    Ok(list)
}

impl Entry {
    /// Converts the entry. `from_file` is the content of its `content-file`.
    fn preload(self, from_file: Option<Bytes>) -> Result<Preload, String> {
        let path = &self.path;
        let mut preload = self
            .pages
            .into_iter()
            .fold(Preload::new(path), Preload::page);
        if let Some(name) = &self.r#as {
            let destination = Destination::of_name(name).ok_or_else(|| {
                let names = Destination::names();
                format!("as = {name:?} is unknown: write one of {names}")
            })?;
            preload = preload.destination(destination);
        }
        let content = match (self.content.map(Bytes::from), from_file) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{path} has content and content-file: leave out one"
                ));
            }
            (content, from_file) => content.or(from_file),
        };
        match (content, self.content_type) {
            (Some(bytes), content_type) => {
                let guessed = || {
                    let path = path.split('?').next().unwrap_or_default();
                    let guess = mime_guess::from_path(path).first_raw()?;
                    Some(guess.to_owned())
                };
                let content_type = content_type.or_else(guessed).ok_or_else(|| {
                    format!("the name of {path} doesn't show its type: add content-type")
                })?;
                preload = preload.content(content_type, bytes);
            }
            (None, Some(_)) => {
                return Err(format!(
                    "{path} has content-type but no content: leave it out, because the route sets it"
                ));
            }
            (None, None) => {}
        }
        for (name, value) in self.headers {
            preload = preload.header(name, value);
        }
        if self.urgency.is_some_and(|urgency| urgency > 7) {
            return Err(format!(
                "the urgency of {path} must be 0 (first) to 7 (last)"
            ));
        }
        if self.urgency.is_some() || self.incremental.is_some() {
            let default = Priority::default();
            preload = preload.priority(Priority {
                urgency: self.urgency.unwrap_or(default.urgency),
                incremental: self.incremental.unwrap_or(default.incremental),
            });
        }
        Ok(preload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Preload>, FileError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.js"), "1").unwrap();
        let path = dir.path().join("preload.toml");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn every_key() {
        let list = read_text(
            r#"
            [[resource]]
            path = "/style.css"
            pages = ["/", "/about"]

            [[resource]]
            path = "/app?v=1"
            pages = ["/"]
            as = "script"
            content-file = "app.js"
            content-type = "text/javascript"
            headers = { cache-control = "no-cache", x-a = "b" }
            urgency = 1
            incremental = true

            [[resource]]
            path = "/a.svg"
            pages = ["/"]
            content = "<svg/>"
            "#,
        )
        .unwrap();
        let script = Preload::new("/app?v=1")
            .page("/")
            .destination(Destination::Script)
            .content("text/javascript", "1")
            .header("cache-control", "no-cache")
            .header("x-a", "b")
            .priority(Priority {
                urgency: 1,
                incremental: true,
            });
        let style = Preload::new("/style.css").page("/").page("/about");
        let image = Preload::new("/a.svg")
            .page("/")
            .content("image/svg+xml", "<svg/>");
        assert_eq!(list, [style, script, image]);
        assert_eq!(read_text("").unwrap(), []);
    }

    #[test]
    fn errors_have_the_file_and_line() {
        for (text, line, words) in [
            (
                "[[resource]]\npath = \"/a.css\"\npage = [\"/\"]",
                3,
                "unknown field `page`",
            ),
            ("\n[resources]", 2, "unknown field `resources`"),
            ("[[resource]]\npages = [\"/\"]", 1, "missing field `path`"),
            (
                "[[resource]]\npath = \"/a.css\"",
                1,
                "missing field `pages`",
            ),
            ("[[resource]]\npath = 7\npages = []", 2, "expected a string"),
            ("[[resource]]\npath = \"/a.css", 2, "string"),
            (
                "[[resource]]\npath = \"/a.css\"\npages = []",
                1,
                "no page needs /a.css",
            ),
            (
                "\n[[resource]]\npath = \"a.css\"\npages = [\"/\"]",
                2,
                "can't be preloaded",
            ),
            (
                "[[resource]]\npath = \"/a\"\npages = [\"/\"]",
                1,
                "set it in a --preload-file",
            ),
            (
                "[[resource]]\npath = \"/a\"\npages = [\"/\"]\nas = \"x\"",
                1,
                "write one of style, script",
            ),
            (
                "[[resource]]\npath = \"/a.css\"\npages = [\"/\"]\nurgency = 8",
                1,
                "0 (first) to 7 (last)",
            ),
            (
                "[[resource]]\npath = \"/a.css\"\npages = [\"/\"]\ncontent = \"\"\ncontent-file = \"app.js\"",
                1,
                "leave out one",
            ),
            (
                "[[resource]]\npath = \"/a.css\"\npages = [\"/\"]\ncontent-type = \"text/css\"",
                1,
                "but no content",
            ),
            (
                "[[resource]]\npath = \"/a\"\npages = [\"/\"]\nas = \"script\"\ncontent = \"\"",
                1,
                "add content-type",
            ),
            (
                "[[resource]]\npath = \"/a.css\"\npages = [\"/\"]\nheaders = { Link = \"x\" }",
                1,
                "the field \"Link\"",
            ),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("preload.toml, line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn files_that_are_not_there() {
        let missing = read(Path::new("/nonexistent/preload.toml")).unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("can't read /nonexistent/preload.toml: ")
        );
        let text = "[[resource]]\npath = \"/a.js\"\npages = [\"/\"]\ncontent-file = \"missing.js\"";
        let error = read_text(text).unwrap_err().to_string();
        assert!(
            error.starts_with("can't read ") && error.contains("missing.js: "),
            "{error}"
        );
    }
}
