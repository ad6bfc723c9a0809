//! Paths, as routes and upstreams read them.

use tidegate::path::{PathError, RequestPath};
use tidegate::router::Router;
use tidegate_http::{Fields, KnownName, RequestHead, RequestRules, ascii_target};
use tidegate_testkit::readers::{READERS, route_of};

/// Sets of routes, of which some guard a path below another route's.
const SITES: [&[&str]; 3] = [
    &["/", "/admin"],
    &["/", "/admin", "/a", "/a/b", "/x/admin"],
    &["/a", "/a/~/@!", "/b/c"],
];

/// The path that replaces a route's.
const BASE: &str = "/base";

/// Fuzzes a request's `:path`, which is the input.
///
/// - A canonical form is printable ASCII without dot segments, is its own canonical form, and has
///   the same route.
/// - The path and the query together are the input.
/// - In a forwarded path, no server reads the path of another route, or one above the base.
pub fn request_path(input: &[u8]) {
    let target = ascii_target(input);
    let Ok(path) = RequestPath::read(&target) else {
        return;
    };
    // Engines refuse all other targets.
    if !is_accepted(&target) {
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
        let Some(route) = route_for(&router, &path) else {
            continue;
        };
        let canonical_target = path.canonical_target();
        let other = RequestPath::read(&canonical_target).expect("a canonical form is a path");
        assert_eq!(route_for(&router, &other), Some(route));
        check_sent(routes, route, &path);
        check_based(route, &path);
    }
}

/// Whether an engine accepts a request for this target.
fn is_accepted(target: &[u8]) -> bool {
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

/// Returns the route of a request; `None` if there is none, or servers may disagree on it.
fn route_for<'r>(router: &Router<&'r str>, path: &RequestPath<'_>) -> Option<&'r str> {
    let found = router.find(path)?;
    (!router.is_ambiguous(path, &found)).then_some(*found.target)
}

/// Checks that the upstream serves only paths that the route covers.
fn check_sent(routes: &[&str], route: &str, path: &RequestPath<'_>) {
    let prefix = route.strip_suffix('/').unwrap_or(route);
    let sent = path.mapped(prefix.as_bytes(), None);
    let sent = sent.expect("the path of a route names no other host");
    let sent = std::str::from_utf8(&sent).expect("targets are ASCII");
    assert!(!sent.starts_with("//"), "{sent} is another host");
    for (name, read) in READERS {
        if let Some(served) = read(sent) {
            let serves = route_of(routes, &served);
            assert_eq!(
                serves, route,
                "sent as {sent} for {route}, read as {served} by {name}"
            );
        }
    }
}

/// Checks that the upstream serves only paths below the base.
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
                "{sent} is read as {served} by {name}"
            );
        }
    }
}
