//! Looks up a path in the file system, and describes the file that it leads to.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;

use super::asset::{Metadata, fingerprint};
use super::beneath::{Links, Pace, read_at};
use super::conditional::Validators;
use super::download::Source;
use super::lookup::{Found, Identity, Located, Refusal, Root};

/// Files of up to this many bytes are kept in memory, with a digest as their entity tag.
pub const SMALL: u64 = 64 << 10;

/// Files of up to this many bytes are kept in memory if there is enough.
pub const MEDIUM: u64 = 256 << 10;

/// The result of looking up a path.
pub enum Looked {
    /// A directory whose path was requested without a slash at its end.
    Directory,
    /// A file that may be kept in memory, and its content.
    Medium(Spot, Bytes),
    /// A larger file.
    Large(Spot),
}

/// The place of a file that was found.
pub struct Spot {
    /// The file.
    pub source: Source,
    /// Whether symbolic links led to the file.
    pub links: Links,
}

/// Looks up a path, and reads the file if it may be kept in memory.
///
/// # Errors
/// Why there is nothing to serve.
pub fn look(root: &Root, rest: &[u8], pace: Pace) -> Result<Looked, Refusal> {
    let Located {
        below,
        file,
        identity,
        links,
    } = match root.find(rest, pace)? {
        Found::Directory => return Ok(Looked::Directory),
        Found::File(located) => located,
    };
    let (identity, content) = if identity.length <= MEDIUM {
        let (identity, content) = read_whole(&file, identity.length, pace)?;
        (identity, Some(content))
    } else {
        (identity, None)
    };
    let source = Source {
        root: root.clone(),
        below,
        identity,
    };
    let spot = Spot { source, links };
    Ok(match content {
        Some(content) => Looked::Medium(spot, content),
        None => Looked::Large(spot),
    })
}

/// Returns the entity tag of this content.
pub fn entity_tag(content: &[u8]) -> String {
    format!("\"{:016x}\"", fingerprint(content))
}

/// Returns the entity tag of a file by its identity, without reading it. `settled`: whether
/// the tag is strong.
pub fn version_tag(identity: &Identity, settled: bool) -> String {
    let number = identity.fingerprint();
    if settled {
        format!("\"{number:016x}-{:x}\"", identity.length)
    } else {
        // RFC 9110 §8.8.1: "a validator is weak if [...] the origin server cannot guarantee that".
        // The strong tag of the same times is a different one, because the content may have changed
        // in between.
        format!("W/\"{number:016x}\"")
    }
}

/// Returns the description of a file for the heads of answers.
pub fn describe(asked: &Path, identity: &Identity, etag: String) -> Metadata {
    let guess = mime_guess::from_path(asked).first_or_octet_stream();
    let is_text = guess.type_() == "text" || guess.essence_str() == "application/javascript";
    let charset = if is_text { "; charset=utf-8" } else { "" };
    let second = u64::try_from(identity.modified.0).unwrap_or(0);
    Metadata {
        content_type: format!("{}{charset}", guess.essence_str()),
        validators: Validators::new(etag, Some(second)),
        length: identity.length,
    }
}

/// Reads a file. Returns its content, and its identity after the last byte was read: a file that
/// was written meanwhile has just changed, so the identity isn't settled. That of the time before
/// would give parts of two versions the tag of the earlier one.
fn read_whole(mut file: &File, length: u64, pace: Pace) -> io::Result<(Identity, Bytes)> {
    let content = match pace {
        Pace::AtOnce => {
            // One byte more than the length shows whether the file has grown.
            let mut content = vec![0; length as usize + 1];
            let read = read_at(file, &mut content, 0, pace)?;
            content.truncate(read);
            if read as u64 != length {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            content
        }
        Pace::Patient => {
            let mut content = Vec::with_capacity(length as usize);
            file.by_ref().take(MEDIUM).read_to_end(&mut content)?;
            content
        }
    };
    let mut identity = Identity::of(&file.metadata()?);
    // The file may have changed its length since the read. The next look notices that.
    identity.length = content.len() as u64;
    Ok((identity, content.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(names: &[&str], size: usize) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), vec![b'x'; size]).unwrap();
        }
        let root = Root::new(dir.path()).unwrap();
        (dir, root)
    }

    fn identity(root: &Root, path: &str) -> Identity {
        match root.find(path.as_bytes(), Pace::Patient) {
            Ok(Found::File(located)) => located.identity,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_not_taken_for_its_earlier_version() {
        let (dir, root) = root(&["a"], 100_000);
        let Found::File(found) = root.find(b"/a", Pace::Patient).unwrap() else {
            panic!("no file");
        };
        for pace in [Pace::AtOnce, Pace::Patient] {
            let content = vec![b'y'; 100_000];
            std::fs::write(dir.path().join("a"), &content).unwrap();
            let file = File::options()
                .write(true)
                .open(dir.path().join("a"))
                .unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            let (read_as, read) = read_whole(&found.file, found.identity.length, pace).unwrap();
            assert_eq!(read, content);
            assert_eq!(read_as, identity(&root, "/a"));
            assert_ne!(read_as, found.identity);
        }
    }

    #[test]
    fn types_by_name() {
        let (_dir, root) = root(&["a"], 1);
        let identity = identity(&root, "/a");
        let of = |name: &str| describe(Path::new(name), &identity, String::new()).content_type;
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a.CSS"), "text/css; charset=utf-8");
        assert_eq!(of("a.txt"), "text/plain; charset=utf-8");
        assert_eq!(of("a.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("a.png"), "image/png");
        assert_eq!(of("a.svg"), "image/svg+xml");
        assert_eq!(of("a.wasm"), "application/wasm");
        assert_eq!(of("a.json"), "application/json");
        assert_eq!(of("a"), "application/octet-stream");
    }

    #[test]
    fn entity_tags_differ_when_files_do() {
        let (_dir, root) = root(&["a", "b"], 7);
        let tag = |path: &str, settled| version_tag(&identity(&root, path), settled);
        assert_eq!(tag("/a", true), tag("/a", true));
        assert_ne!(tag("/a", true), tag("/b", true), "one length, one time");
        assert!(tag("/a", true).starts_with('"') && tag("/a", true).ends_with("-7\""));
        assert!(tag("/a", false).starts_with("W/\""));
        let opaque = tag("/a", false).trim_start_matches("W/").to_owned();
        assert_ne!(opaque, tag("/a", true), "never taken for the strong tag");
        assert_ne!(entity_tag(b"version-1"), entity_tag(b"version-2"));
    }
}
