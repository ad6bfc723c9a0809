//! The demo site, served when no route is given: a page with style, script and image, built into
//! the binary.

use bytes::Bytes;

use super::asset::Asset;
use super::{Outcome, Request};
use crate::clock::Clock;
use crate::push::Preload;

const FILES: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../demo/index.html"),
    ),
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
    let resources = FILES.iter().filter(|(path, ..)| *path != "/");
    resources.map(|(path, ..)| {
        let preload = Preload::new(*path).page("/");
        // Browsers take hinted resources from their caches, so these must be cacheable.
        preload.header("cache-control", "max-age=60")
    })
}

/// One worker's copy of the site.
pub struct Demo {
    assets: [(&'static str, Asset); FILES.len()],
}

impl Demo {
    /// Returns the site.
    pub fn new(clock: &Clock) -> Self {
        let assets = FILES.map(|(path, content_type, content)| {
            let content = Bytes::from_static(content.as_bytes());
            (path, Asset::in_memory(content_type, content, clock))
        });
        Self { assets }
    }

    /// Answers GET and HEAD.
    pub fn answer(&mut self, request: &mut Request<'_>) -> Outcome {
        let path = request.path();
        let asset = self
            .assets
            .iter_mut()
            .find(|(other, _)| other.as_bytes() == path);
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
        let page = FILES[0].2;
        for quoted in page
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| text.starts_with('/'))
        {
            let known = FILES.iter().any(|(path, ..)| *path == quoted);
            assert!(known || quoted == "/status", "{quoted}");
        }
        for id in ["protocol", "resources"] {
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
