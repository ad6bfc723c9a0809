use proptest::prelude::*;

use super::*;

fn canonical(target: &str) -> Result<String, PathError> {
    let path = RequestPath::read(target.as_bytes())?;
    Ok(String::from_utf8(path.canonical_target().into_owned()).unwrap())
}

#[test]
fn one_form_for_all_spellings() {
    for (target, expected) in [
        ("/", "/"),
        ("", ""),
        ("*", "*"),
        ("/a/b?c", "/a/b?c"),
        ("/%61%7e%2D", "/a~-"),
        ("/%40%2b", "/@+"),
        ("/%c3%a4", "/%C3%A4"),
        ("/\u{e4} b", "/%C3%A4%20b"),
        ("/a|b\"", "/a%7Cb%22"),
        ("/a%2fb%5c\\", "/a%2Fb%5C%5C"),
        ("/a;b%3b", "/a;b%3B"),
        ("/a%25b", "/a%25b"),
        ("/.well-known/...", "/.well-known/..."),
        ("/a..b/.%20", "/a..b/.%20"),
        ("/a//b", "/a//b"),
        ("/?%61%zz%00/../", "/?%61%zz%00/../"),
    ] {
        assert_eq!(canonical(target), Ok(expected.to_owned()), "{target}");
    }
}

#[test]
fn paths_that_servers_read_differently_are_refused() {
    let cases = [
        (
            PathError::Control,
            &[
                "/%00",
                "/a%0a",
                "/a%0D%0Ab",
                "/%7f",
                "/%09",
                "/a;%00",
                "/%2500",
                "/\0",
                "/\u{7f}",
            ][..],
        ),
        (
            PathError::Percent,
            &["/%", "/a%2", "/%zz", "/%u0061", "/%%61"],
        ),
        (
            PathError::DotSegment,
            &[
                "/api/../admin",
                "/api/..",
                "/./x",
                "/a/.",
                "/api/%2e%2e/admin",
                "/api/%2E./admin",
                "/api/..%2fadmin",
                "/api/%2e%2e%2fadmin",
                "/api/..\\admin",
                "/api\\..\\admin",
                "/api/..%5cadmin",
                "/api/..;/admin",
                "/api/..;x=y/admin",
                "/api/..%3bx/admin",
                "/api/..%3fx",
                "/api/..%23",
                "/api/%252e%252e/admin",
                "/api/..%252fadmin",
            ],
        ),
        (
            PathError::TwoSlashes,
            &[
                "//",
                "//host/x",
                "///",
                "/%2fhost",
                "/%5Chost",
                "/\\host",
                "\\\\host",
                "/%252fhost",
            ],
        ),
        (PathError::Fragment, &["/a#b", "/#", "/?a#b"]),
        (
            PathError::Overlong,
            &[
                "/%c0%ae%c0%ae/x",
                "/a%C0%AFb",
                "/%e0%80%af",
                "/%F0%80%80%AF",
                "/%f8%80%80%80%af",
                "/%FC%80%80%80%80%AE",
                "/%25c0%25ae%25c0%25ae/x",
            ],
        ),
    ];
    for (error, targets) in cases {
        for target in targets {
            assert_eq!(canonical(target), Err(error), "{target}");
        }
        assert!(error.text().starts_with("400 Bad Request: "));
    }
}

#[test]
fn what_goes_on() {
    let mapped = |prefix: &str, base: Option<&str>, target: &str| {
        let path = RequestPath::read(target.as_bytes()).unwrap();
        let mapped = path.mapped(prefix.as_bytes(), base.map(str::as_bytes))?;
        Ok(String::from_utf8(mapped.into_owned()).unwrap())
    };
    for (prefix, base, target, expected) in [
        ("/api", None, "/api/x?y", "/api/x?y"),
        ("", None, "/%61/%7E?%61", "/%61/%7E?%61"),
        // The route's path keeps the route's spelling: no upstream sees another one.
        ("/~me", None, "/%7eme/%7e?y", "/~me/%7e?y"),
        ("/api", Some("/"), "/api/x?y", "/x?y"),
        ("/api", Some("/"), "/api", "/"),
        ("/api", Some("/"), "/api?y", "/?y"),
        ("/api", Some("/v1"), "/%61pi/x%2fz", "/v1/x%2fz"),
        ("/api", Some("/v1/"), "/api/x/", "/v1/x/"),
        ("/api", Some("/v1"), "/api", "/v1"),
        ("/api", Some("/v1"), "/api//x", "/v1//x"),
        ("", Some("/v1"), "/", "/v1/"),
    ] {
        let mapped = mapped(prefix, base, target);
        assert_eq!(mapped, Ok(expected.to_owned()), "{target}");
    }
    for target in [
        "/api//host",
        "/api/%2fhost",
        "/api/\\host",
        "/api/%5C",
        "/api//",
    ] {
        let mapped = mapped("/api", Some("/"), target);
        assert_eq!(mapped, Err(PathError::TwoSlashes), "{target}");
    }
}

/// Returns the path with some bytes percent-encoded that needn't be.
fn spelled(path: &str, choices: &[u8]) -> String {
    let mut choices = choices.iter().cycle();
    let mut after_percent = 0;
    let spell = |byte: u8| {
        after_percent = if byte == b'%' {
            3
        } else {
            after_percent.max(1) - 1
        };
        match (byte, choices.next()) {
            _ if after_percent > 0 => char::from(byte).to_string(),
            (b'/' | b';', _) | (_, None | Some(0)) => char::from(byte).to_string(),
            (_, Some(1)) => format!("%{byte:02x}"),
            (_, Some(_)) => format!("%{byte:02X}"),
        }
    };
    path.bytes().map(spell).collect()
}

proptest! {
    #[test]
    fn spellings_of_one_path_route_alike(
        path in "(/(admin|a|b|;|%2F|%5c|%3B|[.~!@ -])*){1,4}",
        choices in proptest::collection::vec(0..3_u8, 8..32),
    ) {
        let routes = ["/", "/admin", "/a/b", "/~/@!"].map(|route| (route.to_owned(), route));
        let router = crate::router::Router::new(routes);
        let goes_on = |target: &str| {
            let path = RequestPath::read(target.as_bytes())?;
            let found = router.find(&path).unwrap();
            Ok::<_, PathError>((*found.target, router.is_ambiguous(&path, &found)))
        };
        let other = spelled(&path, &choices);
        prop_assert_eq!(goes_on(&path), goes_on(&other), "{} and {}", path, other);
    }

    #[test]
    fn a_canonical_form_is_its_own(target in "/(/|%2f|%61|%25|%|[a-c.;?#\\\\ \u{e4}\u{7f}\0]|%[0-9a-fA-F]{2}){0,12}") {
        let Ok(path) = RequestPath::read(target.as_bytes()) else {
            return Ok(());
        };
        let canonical = path.canonical();
        prop_assert!(canonical.iter().all(u8::is_ascii_graphic));
        prop_assert!(!canonical.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
        let again = RequestPath::read(canonical).unwrap();
        prop_assert_eq!(again.canonical(), canonical);
        prop_assert_eq!(&again.decoded, &path.decoded, "what has one form is taken for the same");
        prop_assert_eq!([path.raw(), path.query()].concat(), target.as_bytes());
    }
}
