//! The resources of the admin listener, by path.

use super::resource::{Methods, Resource};
use super::{actions, connections, events, health, metrics, overview, page};

const ALL: &[Resource] = &[
    Resource {
        path: "/",
        methods: Methods::Read,
        answer: page::html,
    },
    Resource {
        path: "/api/overview",
        methods: Methods::Read,
        answer: overview::overview,
    },
    Resource {
        path: "/api/upstreams",
        methods: Methods::Read,
        answer: overview::upstreams,
    },
    Resource {
        path: "/api/connections",
        methods: Methods::Read,
        answer: connections::list,
    },
    Resource {
        path: "/api/connections/*",
        methods: Methods::Read,
        answer: connections::one,
    },
    Resource {
        path: "/api/connections/*/close",
        methods: Methods::Act,
        answer: actions::close,
    },
    Resource {
        path: "/api/upstreams/*/drain",
        methods: Methods::Act,
        answer: actions::drain,
    },
    Resource {
        path: "/api/upstreams/*/restore",
        methods: Methods::Act,
        answer: actions::restore,
    },
    Resource {
        path: "/api/events",
        methods: Methods::Read,
        answer: events::events,
    },
    Resource {
        path: "/page/style.css",
        methods: Methods::Read,
        answer: page::style,
    },
    Resource {
        path: "/page/script.js",
        methods: Methods::Read,
        answer: page::script,
    },
    Resource {
        path: "/page/charts.js",
        methods: Methods::Read,
        answer: page::charts,
    },
    Resource {
        path: "/page/icon.svg",
        methods: Methods::Read,
        answer: page::icon,
    },
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
    ALL.iter()
        .find(|resource| is_like(path, resource.path.as_bytes()))
}

/// Whether a path has the segments of a pattern, in which `*` stands for any segment.
fn is_like(path: &[u8], pattern: &[u8]) -> bool {
    let mut segments = path.split(|byte| *byte == b'/');
    let is_like = pattern.split(|byte| *byte == b'/').all(|wanted| {
        let segment = segments.next();
        segment == Some(wanted) || wanted == b"*" && segment.is_some_and(|its| !its.is_empty())
    });
    is_like && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment() {
        for (path, pattern, expected) in [
            ("/", "/", true),
            ("/api", "/", false),
            ("/api/connections", "/api/connections/*", false),
            ("/api/connections/", "/api/connections/*", false),
            ("/api/connections/0-1", "/api/connections/*", true),
            ("/api/connections/0-1/close", "/api/connections/*", false),
            (
                "/api/connections/0-1/close",
                "/api/connections/*/close",
                true,
            ),
        ] {
            let is_like = is_like(path.as_bytes(), pattern.as_bytes());
            assert_eq!(is_like, expected, "{path} {pattern}");
        }
        let page = find(b"/?theme=dark").expect("a query doesn't count");
        assert_eq!(page.path, "/");
    }
}
