//! The resources of the admin listener, by path.

use super::health;
use super::metrics;
use super::resource::{Methods, Resource};

const ALL: &[Resource] = &[
    Resource {
        path: "/healthz",
        methods: Methods::Read,
        answer: health::healthz,
    },
    Resource {
        path: "/metrics",
        methods: Methods::Read,
        answer: metrics::metrics,
    },
    Resource {
        path: "/readyz",
        methods: Methods::Read,
        answer: health::readyz,
    },
];

/// Returns the resource at this path, which may have a query.
pub(super) fn find(path: &[u8]) -> Option<&'static Resource> {
    let end = path.iter().position(|byte| *byte == b'?');
    let path = &path[..end.unwrap_or(path.len())];
    ALL.iter().find(|resource| resource.path.as_bytes() == path)
}
