//! Which handler a path belongs to: the longest route that covers it wins.

use percent_encoding::percent_decode;

/// Routes by path prefix. Few of them are expected, so they are compared one after the other, longest first.
#[derive(Clone, Debug)]
pub struct Router<T> {
    routes: Vec<(Box<str>, T)>,
}

impl<T> Router<T> {
    /// Routes in any order. Of two with the same path the later one counts. A slash at the end of a path means the same
    /// as none.
    pub fn new(routes: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut sorted: Vec<(Box<str>, T)> = Vec::new();
        for (path, target) in routes {
            let path: Box<str> = path.strip_suffix('/').unwrap_or(&path).into();
            sorted.retain(|(other, _)| *other != path);
            sorted.push((path, target));
        }
        sorted.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { routes: sorted }
    }

    /// The target of the longest route that covers `path`, and what is left of the path: empty, or begins with `/`.
    /// `/a` covers `/a` and `/a/b`, but not `/ab`.
    pub fn find<'p>(&self, path: &'p [u8]) -> Option<(&T, &'p [u8])> {
        self.routes.iter().find_map(|(prefix, target)| {
            let rest = covers(prefix.as_bytes(), path)?;
            Some((target, rest))
        })
    }

    /// Whether `path` would be another route's if it were written otherwise. Some servers decode what is percent-encoded, take several
    /// slashes for one and a backslash for a slash, and an upstream that does would answer what is another one's to answer.
    pub fn is_ambiguous(&self, path: &[u8]) -> bool {
        if !path.iter().any(|octet| matches!(octet, b'%' | b'\\'))
            && !path.windows(2).any(|two| two == b"//")
        {
            return false;
        }
        let mut plain = Vec::with_capacity(path.len());
        for octet in percent_decode(path) {
            let octet = if octet == b'\\' { b'/' } else { octet };
            if octet != b'/' || plain.last() != Some(&b'/') {
                plain.push(octet);
            }
        }
        let route = |path: &[u8]| {
            let mut prefixes = self.routes.iter().map(|(prefix, _)| prefix.as_bytes());
            prefixes.position(|prefix| covers(prefix, path).is_some())
        };
        route(path) != route(&plain)
    }

    /// The paths, longest first, the root as `/`.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &T)> {
        let routes = self.routes.iter();
        routes.map(|(path, target)| (if path.is_empty() { "/" } else { &**path }, target))
    }
}

/// What is left of a path, if a route covers it.
fn covers<'p>(prefix: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix)?;
    matches!(rest, [] | [b'/', ..]).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&'static str]) -> Router<&'static str> {
        Router::new(paths.iter().map(|path| ((*path).to_owned(), *path)))
    }

    #[test]
    fn a_path_may_belong_to_another_route_for_others() {
        let router = router(&["/", "/admin", "/a/b"]);
        for path in [
            "/%61dmin",
            "/%61dmin/x",
            "//admin",
            "/%2fadmin/x",
            "/\\admin",
            "/a%2fb",
            "/a//b",
            "/a%5Cb/c",
        ] {
            assert!(router.is_ambiguous(path.as_bytes()), "{path}");
        }
        for path in [
            "/",
            "/admin",
            "/admin/%61//b",
            "/%20",
            "//",
            "/x//y",
            "/administrator%20",
        ] {
            assert!(!router.is_ambiguous(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn the_longest_route_wins_whatever_the_order() {
        for paths in [["/", "/a", "/a/b"], ["/a/b", "/", "/a"]] {
            let router = router(&paths);
            assert_eq!(router.find(b"/"), Some((&"/", &b"/"[..])));
            assert_eq!(router.find(b"/x"), Some((&"/", &b"/x"[..])));
            assert_eq!(router.find(b"/a"), Some((&"/a", &b""[..])));
            assert_eq!(router.find(b"/a/"), Some((&"/a", &b"/"[..])));
            assert_eq!(router.find(b"/a/c"), Some((&"/a", &b"/c"[..])));
            assert_eq!(router.find(b"/a/b"), Some((&"/a/b", &b""[..])));
            assert_eq!(router.find(b"/a/b/c"), Some((&"/a/b", &b"/c"[..])));
        }
    }

    #[test]
    fn a_route_ends_at_a_segment() {
        let router = router(&["/a", "/b/"]);
        assert_eq!(router.find(b"/ab"), None);
        assert_eq!(router.find(b"/a.txt"), None);
        assert_eq!(router.find(b"/bb/c"), None);
        assert_eq!(router.find(b"/b"), Some((&"/b/", &b""[..])));
        assert_eq!(router.find(b"/b/c"), Some((&"/b/", &b"/c"[..])));
    }

    #[test]
    fn no_route_covers_what_is_not_a_path() {
        let router = router(&["/"]);
        assert_eq!(router.find(b"*"), None);
        // CONNECT has no path; the root route would be found, its handler refuses the method.
        assert_eq!(router.find(b""), Some((&"/", &b""[..])));
        assert_eq!(super::Router::<u8>::new([]).find(b"/"), None);
    }

    #[test]
    fn the_later_of_two_equal_routes_counts() {
        let router = Router::new([("/a".to_owned(), 1), ("/a/".to_owned(), 2)]);
        assert_eq!(router.find(b"/a"), Some((&2, &b""[..])));
        assert_eq!(router.paths().collect::<Vec<_>>(), [("/a", &2)]);
    }
}
