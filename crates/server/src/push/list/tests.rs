use super::*;

fn error(list: impl IntoIterator<Item = Preload>) -> PreloadError {
    PushCache::new(list).expect_err("the list is wrong")
}

#[test]
fn links_have_the_destination_of_the_resource() {
    for (path, link) in [
        ("/a.css", "</a.css>; rel=preload; as=style"),
        ("/a.css?v=3", "</a.css?v=3>; rel=preload; as=style"),
        ("/a.js", "</a.js>; rel=preload; as=script"),
        ("/a.mjs", "</a.mjs>; rel=modulepreload"),
        ("/a.svg", "</a.svg>; rel=preload; as=image"),
        ("/a.webp", "</a.webp>; rel=preload; as=image"),
        ("/a.woff2", "</a.woff2>; rel=preload; as=font; crossorigin"),
        ("/a.json", "</a.json>; rel=preload; as=fetch; crossorigin"),
        ("/a.vtt", "</a.vtt>; rel=preload; as=track"),
    ] {
        let list = PushCache::new([Preload::new(path).page("/")]).unwrap();
        assert_eq!(list.links("/"), [link]);
    }
    for path in ["/page.html", "/a", "/a.zip", "/.css?x"] {
        let error = error([Preload::new(path).page("/")]);
        assert!(
            matches!(error, PreloadError::UnknownDestination(_)),
            "{path}"
        );
    }
    let said = Preload::new("/a").page("/").destination(Destination::Image);
    let typed = Preload::new("/b").page("/").content("text/css; x=y", "");
    let list = PushCache::new([said, typed]).unwrap();
    let links = ["</a>; rel=preload; as=image", "</b>; rel=preload; as=style"];
    assert_eq!(list.links("/"), links);
}

#[test]
fn a_path_is_a_page_a_resource_both_or_neither() {
    let list = PushCache::new([
        Preload::new("/a.css").page("/").page("/a.css"),
        Preload::new("/b.js?v=1").page("/"),
    ])
    .unwrap();
    let found = |path: &str| {
        let path = RequestPath::read(path.as_bytes()).unwrap();
        let Found { page, resource } = list.find(&path);
        (page, resource)
    };
    assert_eq!(found("/"), (Some(0), None));
    assert_eq!(found("/?utm=1"), (Some(0), None));
    assert_eq!(found("/a.css"), (Some(1), Some(0)));
    assert_eq!(found("/%61%2Ecss"), (Some(1), Some(0)), "the same path");
    assert_eq!(found("/a.css?x"), (Some(1), None));
    assert_eq!(found("/b.js?v=1"), (None, Some(1)));
    assert_eq!(found("/b.js"), (None, None));
    assert_eq!(found("*"), (None, None));
}

#[test]
fn entries_with_one_path_are_merged() {
    let settings = Preload::new("/a.css").page("/b").header("x-a", "1");
    for list in [
        [Preload::new("/a.css").page("/a"), settings.clone()],
        [settings.clone(), Preload::new("/a.css").page("/a")],
    ] {
        let list = PushCache::new(list).unwrap();
        assert_eq!(list.resources.len(), 1);
        assert_eq!(list.resources[0].headers, [("x-a".into(), "1".into())]);
        assert_eq!((list.links("/a").len(), list.links("/b").len()), (1, 1));
    }
    let twice = error([settings.clone(), settings]);
    assert_eq!(twice, PreloadError::Repeated("/a.css".into()));
    let again = Preload::new("/a.css").page("/").page("/");
    assert_eq!(PushCache::new([again]).unwrap().links("/").len(), 1);
}

#[test]
fn mistakes_are_errors() {
    for path in [
        "",
        "a.css",
        "//cdn/a.css",
        "https://cdn/a.css",
        "/a b.css",
        "/ä.css",
        "/a#b.css",
        "/a>.css",
        "/\".css",
    ] {
        let wrong = PreloadError::InvalidPath(path.into());
        assert_eq!(error([Preload::new(path).page("/")]), wrong);
        assert_eq!(error([Preload::new("/a.css").page(path)]), wrong);
    }
    assert!(matches!(
        error([Preload::new("/a.css").page("/?x")]),
        PreloadError::PageWithQuery(_)
    ));
    assert!(matches!(
        error([Preload::new("/a.css")]),
        PreloadError::WithoutPage(_)
    ));
    for (name, value) in [
        ("Cache-Control", "no-cache"),
        ("x y", ""),
        ("", ""),
        ("connection", "close"),
        (":status", "200"),
        ("x", "a\r\nb"),
        ("content-type", "text/css"),
        ("link", "</>"),
    ] {
        let error = error([Preload::new("/a.css").page("/").header(name, value)]);
        assert!(
            matches!(&error, PreloadError::InvalidHeader(_, told) if told == name),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn a_list_has_bounds() {
    let resource = |n: usize| Preload::new(format!("/{n}.css"));
    let full = (0..MAX_NEEDS).map(|n| resource(n).page("/"));
    assert!(PushCache::new(full.clone()).is_ok());
    let over = full.chain([resource(MAX_NEEDS).page("/")]);
    let needs = PreloadError::TooMany("resources for one page", MAX_NEEDS);
    assert_eq!(error(over), needs);
    let many = (0..=MAX_RESOURCES).map(|n| resource(n).page(format!("/{}", n % 100)));
    assert!(PushCache::new(many.clone().take(MAX_RESOURCES)).is_ok());
    assert!(matches!(error(many), PreloadError::TooMany(..)));
    let pages = (0..=MAX_PAGES).fold(resource(0), |all, n| all.page(format!("/{n}")));
    assert!(matches!(error([pages]), PreloadError::TooMany(..)));
}
