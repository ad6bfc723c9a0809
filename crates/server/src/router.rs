//! Finds the route of a path: the longest one that covers it.

use crate::path::{self, RequestPath};

/// Routes by path prefix. Few are expected, so they are compared one after the other, longest
/// first.
#[derive(Clone, Debug)]
pub struct Router<T> {
    routes: Vec<Route<T>>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    /// The canonical path without a slash at its end; the root is empty.
    path: Box<str>,
    /// The segments of `path`, decoded.
    segments: Vec<Box<[u8]>>,
    target: T,
}

/// A route that covers a request's path.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'r, T> {
    /// The route's target.
    pub target: &'r T,
    /// The route's own path, canonical, without a slash at its end.
    pub path: &'r [u8],
}

impl<T> Router<T> {
    /// Takes routes with canonical paths, in any order. Of two with the same path the later one
    /// counts. A slash at the end of a path makes no difference.
    pub fn new(routes: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut sorted: Vec<Route<T>> = Vec::new();
        for (path, target) in routes {
            let path: Box<str> = path.strip_suffix('/').unwrap_or(&path).into();
            sorted.retain(|other| other.path != path);
            sorted.push(Route {
                segments: path::segments(&path),
                path,
                target,
            });
        }
        sorted.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        Self { routes: sorted }
    }

    /// Returns the longest route that covers `path`. `/a` covers `/a` and `/a/b`, but not `/ab`.
    pub fn find(&self, path: &RequestPath<'_>) -> Option<Match<'_, T>> {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| covers(route.path.as_bytes(), path.canonical()))?;
        Some(Match {
            target: &route.target,
            path: route.path.as_bytes(),
        })
    }

    /// Whether some server could read `path`, which the route `found` covers, as a path that a
    /// longer route covers. An upstream that does so would answer in place of that route.
    pub fn is_ambiguous(&self, path: &RequestPath<'_>, found: &Match<'_, T>) -> bool {
        let Some(readings) = path.other_readings() else {
            return false;
        };
        let longer = self.routes.iter().take_while(|route| {
            // Routes are sorted, and another one of the same length covers other paths.
            route.path.len() > found.path.len()
        });
        // All servers see the segments of the route that was found, so they can only see a route
        // below it.
        longer
            .filter(|route| covers(found.path, route.path.as_bytes()))
            .any(|route| readings.may_begin_with(&route.segments))
    }

    /// Returns the paths and targets, longest path first, the root as `/`.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &T)> {
        let paths = self.routes.iter();
        paths
            .map(|Route { path, target, .. }| (if path.is_empty() { "/" } else { &**path }, target))
    }
}

/// Whether `path` is `prefix` or below it.
pub(crate) fn covers(prefix: &[u8], path: &[u8]) -> bool {
    let rest = path.strip_prefix(prefix);
    matches!(rest, Some([] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&'static str]) -> Router<&'static str> {
        Router::new(paths.iter().map(|path| ((*path).to_owned(), *path)))
    }

    /// Returns the path of the route that covers `path`, and the part after it.
    fn find<'p>(router: &Router<&'static str>, path: &'p str) -> Option<(&'static str, &'p str)> {
        let path = RequestPath::read(path.as_bytes()).unwrap();
        let found = router.find(&path)?;
        let rest = std::str::from_utf8(path.behind(found.path)).unwrap();
        Some((found.target, rest))
    }

    fn is_ambiguous(router: &Router<&'static str>, path: &str) -> bool {
        let path = RequestPath::read(path.as_bytes()).unwrap();
        let found = router.find(&path).unwrap();
        router.is_ambiguous(&path, &found)
    }

    #[test]
    fn a_path_may_belong_to_another_route_for_others() {
        let router = router(&["/", "/admin", "/a/b", "/a b"]);
        for path in [
            "/admin;x",
            "/admin;",
            "/admin;x/y",
            "/%61dmin;x",
            "/admin%3bx",
            "/admin%3fx",
            "/admin%23",
            "/admin%2fx",
            "/admin\\x",
            "/;/admin",
            "/;a=b/admin/x",
            "/;a%2fb/admin",
            "/;a\\b/c/admin;d",
            "/%3b/admin",
            "/%2561dmin",
            "/%2561dmin%252fx",
            "/a%20b;x",
            "/a%2fb",
            "/a//b",
            "/a/;x/b",
            "/a;x/b",
            "/a%5Cb/c",
        ] {
            assert!(is_ambiguous(&router, path), "{path}");
        }
        for path in [
            "/",
            "/admin",
            "/admin/%61//b",
            "/admin/;x",
            "/%20",
            "/x//y",
            "/x//admin",
            "/x;y/admin",
            "/x%2fadmin",
            "/x/admin;y",
            "/administrator%20;x",
            "/a;x/c/b",
            "/100%25/admin",
        ] {
            assert!(!is_ambiguous(&router, path), "{path}");
        }
    }

    #[test]
    fn all_spellings_of_a_path_have_one_route() {
        let router = router(&["/", "/~me", "/a%20b", "/%C3%A4"]);
        for (path, found) in [
            ("/%7Eme/x", ("/~me", "/x")),
            ("/%7eme", ("/~me", "")),
            ("/%61%20b/%61", ("/a%20b", "/%61")),
            ("/%c3%a4/", ("/%C3%A4", "/")),
        ] {
            assert_eq!(find(&router, path), Some(found), "{path}");
            assert!(!is_ambiguous(&router, path), "{path}");
        }
    }

    #[test]
    fn the_longest_route_wins_whatever_the_order() {
        for paths in [["/", "/a", "/a/b"], ["/a/b", "/", "/a"]] {
            let router = router(&paths);
            assert_eq!(find(&router, "/"), Some(("/", "/")));
            assert_eq!(find(&router, "/x"), Some(("/", "/x")));
            assert_eq!(find(&router, "/a"), Some(("/a", "")));
            assert_eq!(find(&router, "/a/"), Some(("/a", "/")));
            assert_eq!(find(&router, "/a/c"), Some(("/a", "/c")));
            assert_eq!(find(&router, "/a/b"), Some(("/a/b", "")));
            assert_eq!(find(&router, "/a/b/c"), Some(("/a/b", "/c")));
        }
    }

    #[test]
    fn a_route_ends_at_a_segment() {
        let router = router(&["/a", "/b/"]);
        assert_eq!(find(&router, "/ab"), None);
        assert_eq!(find(&router, "/a.txt"), None);
        assert_eq!(find(&router, "/bb/c"), None);
        assert_eq!(find(&router, "/b"), Some(("/b/", "")));
        assert_eq!(find(&router, "/b/c"), Some(("/b/", "/c")));
    }

    #[test]
    fn no_route_covers_what_is_not_a_path() {
        assert_eq!(find(&router(&["/"]), "*"), None);
        // CONNECT has no path; the root route would be found, its handler refuses the method.
        assert_eq!(find(&router(&["/"]), ""), Some(("/", "")));
        assert_eq!(find(&router(&[]), "/"), None);
    }

    #[test]
    fn the_later_of_two_equal_routes_counts() {
        let router = Router::new([("/a".to_owned(), 1), ("/a/".to_owned(), 2)]);
        let path = RequestPath::read(b"/a").unwrap();
        assert_eq!(router.find(&path).unwrap().target, &2);
        assert_eq!(router.paths().collect::<Vec<_>>(), [("/a", &2)]);
    }
}
