//! `/`, the live page, and its style and script.

use tidegate_http::RequestHead;

use super::resource::{Response, State, Step};

/// The page loads nothing from elsewhere, sends nothing elsewhere, and is in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const CHARTS: &str = include_str!("page/charts.js");
const ICON: &str = include_str!("../demo/tide.svg");

fn file(content_type: &'static str, content: &str) -> Step {
    Step::Done(Response {
        status: 200,
        content_type,
        body: content.as_bytes().to_vec(),
        fields: vec![
            ("content-security-policy", POLICY),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ],
    })
}

/// Answers with the page.
pub(super) fn html(_: &State, _: &RequestHead) -> Step {
    file("text/html; charset=utf-8", HTML)
}

/// Answers with its style.
pub(super) fn style(_: &State, _: &RequestHead) -> Step {
    file("text/css; charset=utf-8", STYLE)
}

/// Answers with its script.
pub(super) fn script(_: &State, _: &RequestHead) -> Step {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// Answers with the script that draws charts.
pub(super) fn charts(_: &State, _: &RequestHead) -> Step {
    file("text/javascript; charset=utf-8", CHARTS)
}

/// Answers with its icon.
pub(super) fn icon(_: &State, _: &RequestHead) -> Step {
    file("image/svg+xml", ICON)
}
