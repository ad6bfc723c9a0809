//! The demo site, served when no route is given: a page with style, script and image, built into
//! the binary.

use bytes::Bytes;
use tidegate_http::Stream;

use super::asset::Asset;
use crate::clock::Clock;
use crate::push::Preload;
use crate::request::{Outcome, Request};

const PAGE: &str = include_str!("../demo/index.html");

/// The words of the page about the connection, by the version that the request came by.
const CONNECTIONS: [(&str, &str); 3] = [
    (
        "HTTP/2",
        "Page, style, script and image share a single connection as streams of it, their headers \
         compressed by HPACK.",
    ),
    ("HTTP/1.1", ONE_AT_A_TIME),
    ("HTTP/1.0", ONE_AT_A_TIME),
];

const ONE_AT_A_TIME: &str = "This one carries one request at a time. Over HTTP/2, as browsers speak \
                             it with https, page, style, script and image share a single connection.";

const FILES: [(&str, &str, &str); 3] = [
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("../demo/style.css"),
    ),
    (
        "/script.js",
        "text/javascript; charset=utf-8",
        include_str!("../demo/script.js"),
    ),
    (
        "/tide.svg",
        "image/svg+xml",
        include_str!("../demo/tide.svg"),
    ),
];

/// Returns the preload list of the page.
pub fn preloads() -> impl Iterator<Item = Preload> {
    FILES.iter().map(|(path, ..)| {
        let preload = Preload::new(*path).page("/");
        // Browsers take hinted resources from their caches, so these must be cacheable.
        preload.header("cache-control", "max-age=60")
    })
}

/// One worker's copy of the site.
pub struct Demo {
    /// The page, by version.
    pages: [(&'static str, Asset); CONNECTIONS.len()],
    /// The files, by path.
    files: [(&'static str, Asset); FILES.len()],
}

impl Demo {
    /// Returns the site.
    pub fn new(clock: &Clock) -> Self {
        let pages = CONNECTIONS.map(|(version, connection)| {
            let page = PAGE.replace("{protocol}", version);
            let page = page.replace("{connection}", connection);
            let asset = Asset::in_memory("text/html; charset=utf-8", page.into(), clock);
            (version, asset)
        });
        let files = FILES.map(|(path, content_type, content)| {
            let content = Bytes::from_static(content.as_bytes());
            (path, Asset::in_memory(content_type, content, clock))
        });
        Self { pages, files }
    }

    /// Answers GET and HEAD.
    pub fn answer<W>(&mut self, request: &mut Request<'_>) -> Outcome<W> {
        let (assets, key) = match request.path() {
            b"/" => (&mut self.pages[..], request.stream.version().as_bytes()),
            path => (&mut self.files[..], path),
        };
        let asset = assets.iter_mut().find(|(other, _)| other.as_bytes() == key);
        Outcome::Answered(match asset {
            None => request.respond_text(404, "404 Not Found\n"),
            Some((_, asset)) => asset.answer_any(request),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_requests_only_existing_paths() {
        for quoted in PAGE
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| text.starts_with('/'))
        {
            let known = FILES.iter().any(|(path, ..)| *path == quoted);
            assert!(known || quoted == "/status", "{quoted}");
        }
        for id in ["protocol", "resources"] {
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
