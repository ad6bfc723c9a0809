//! Paths: what routes make of them, and what upstreams do.

use tidegate::path::{PathError, RequestPath};
use tidegate::router::Router;
use tidegate_http::{Fields, KnownName, RequestHead, RequestRules, ascii_target};
use tidegate_testkit::readers::{READERS, route_of};

/// Routes, of which some guard what is below another one.
const SITES: [&[&str]; 3] = [
    &["/", "/admin"],
    &["/", "/admin", "/a", "/a/b", "/x/admin"],
    &["/a", "/a/~/@!", "/b/c"],
];

/// What takes the place of a route's path.
const BASE: &str = "/base";

/// The input is a request's `:path`.
///
/// - A canonical form is printable ASCII without dot segments, it is its own, and it goes by the same route.
/// - What the client sent is the path and the query, and nothing else.
/// - Where a request goes on, no server finds another route's path in what it gets, nor one above the base.
pub fn request_path(input: &[u8]) {
    let target = ascii_target(input);
    let Ok(path) = RequestPath::read(&target) else {
        return;
    };
    // Engines let no other targets through.
    if !is_let_through(&target) {
        return;
    }
    assert_eq!([path.raw(), path.query()].concat(), target);
    let canonical = path.canonical();
    assert!(canonical.iter().all(u8::is_ascii_graphic));
    let mut segments = canonical.split(|byte| *byte == b'/');
    assert!(!segments.any(|segment| matches!(segment, b"." | b"..")));
    let again = RequestPath::read(canonical).expect("a canonical form is a path");
    assert_eq!(again.canonical(), canonical);
    assert_eq!(again.other_readings(), path.other_readings());

    for routes in SITES {
        let router = Router::new(routes.iter().map(|route| ((*route).to_owned(), *route)));
        let Some(route) = goes_by(&router, &path) else {
            continue;
        };
        let canonical_target = path.canonical_target();
        let other = RequestPath::read(&canonical_target).expect("a canonical form is a path");
        assert_eq!(goes_by(&router, &other), Some(route));
        check_sent(routes, route, &path);
        check_based(route, &path);
    }
}

/// Whether an engine takes a request for this target.
fn is_let_through(target: &[u8]) -> bool {
    let mut fields = Fields::new();
    fields.push_known(KnownName::METHOD, "GET");
    fields.push_known(KnownName::SCHEME, "http");
    fields.push_known(KnownName::AUTHORITY, "localhost");
    fields.push_known(KnownName::PATH, target);
    let rules = RequestRules {
        extended_connect: true,
    };
    RequestHead::from_fields(fields, rules).is_ok()
}

/// The route that a request goes by; `None` if there is none, or nobody can say which.
fn goes_by<'r>(router: &Router<&'r str>, path: &RequestPath<'_>) -> Option<&'r str> {
    let found = router.find(path)?;
    (!router.is_ambiguous(path, &found)).then_some(*found.target)
}

/// The upstream serves what the route covers.
fn check_sent(routes: &[&str], route: &str, path: &RequestPath<'_>) {
    let prefix = route.strip_suffix('/').unwrap_or(route);
    let sent = path.mapped(prefix.as_bytes(), None);
    let sent = sent.expect("a route's own path is no other host");
    let sent = std::str::from_utf8(&sent).expect("targets are ASCII");
    assert!(!sent.starts_with("//"), "{sent} is another host");
    for (name, read) in READERS {
        if let Some(served) = read(sent) {
            let serves = route_of(routes, &served);
            assert_eq!(
                serves, route,
                "what goes by {route} as {sent} is {served} to {name}"
            );
        }
    }
}

/// The upstream serves what is below the base.
fn check_based(route: &str, path: &RequestPath<'_>) {
    let prefix = route.strip_suffix('/').unwrap_or(route);
    let sent = match path.mapped(prefix.as_bytes(), Some(BASE.as_bytes())) {
        Ok(sent) => sent,
        Err(error) => return assert_eq!(error, PathError::TwoSlashes),
    };
    let sent = std::str::from_utf8(&sent).expect("targets are ASCII");
    for (name, read) in READERS {
        if let Some(served) = read(sent) {
            assert_eq!(
                route_of(&["/", BASE], &served),
                BASE,
                "{sent} is {served} to {name}"
            );
        }
    }
}
