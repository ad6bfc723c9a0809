//! Paths that servers read in different ways: whatever the spelling, no request reaches by one
//! route what another route guards.
//!
//! The readers here stand for upstreams: each is a way in which a server derives what to serve from
//! the target of a request.

use tidegate::path::RequestPath;
use tidegate::router::Router;
use tidegate_proto::{Body, ascii_target};
use tidegate_testkit::rng::Rng;

use crate::client::Client;
use crate::http1;
use crate::server::Server;
use crate::upstream::Upstream;

/// An upstream's reading of a target: the path that it serves, or `None` if it refuses.
type Reader = fn(&str) -> Option<String>;

const READERS: [(&str, Reader); 13] = [
    // Compares the target as it is.
    ("Node, raw", |target| Some(without_query(target).to_owned())),
    // Resolves the target as browsers resolve a reference: `new URL(target, base)`.
    ("Node, by URL", |target| {
        let target = without_query(target).replace('\\', "/");
        let path = match target.strip_prefix("//") {
            Some(other) => other.find('/').map_or("/", |at| &other[at..]),
            None => &target,
        };
        Some(resolve(&path.replace("%2e", ".").replace("%2E", ".")))
    }),
    // http.ServeMux: decodes, cleans.
    ("Go", |target| {
        Some(resolve(&decode(without_query(target))?))
    }),
    // Splits into segments before it decodes, as routers of frameworks do.
    ("Go, by segments", |target| {
        let path = resolve(without_query(target));
        let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
        Some(segments?.join("/"))
    }),
    ("nginx", |target| {
        let path = decode(without_query(target))?;
        (!path.contains('\0')).then(|| resolve(&path))
    }),
    // Drops parameters, then decodes; refuses encoded slashes unless configured otherwise.
    ("Tomcat", |target| {
        let path = without_parameters(without_query(target), |byte| byte == '/');
        let has_encoded_slash = path.to_lowercase().contains("%2f");
        let path = decode(&path)?;
        let refuses = has_encoded_slash || path.contains(['\\', '\0']);
        (!refuses).then(|| resolve(&path))
    }),
    ("Tomcat, which decodes slashes", |target| {
        let path = without_parameters(without_query(target), |byte| byte == '/');
        Some(resolve(&decode(&path)?.replace('\\', "/")))
    }),
    ("Tomcat, for which a backslash is a slash first", |target| {
        let path = without_query(target).replace('\\', "/");
        let path = without_parameters(&path, |byte| byte == '/');
        Some(resolve(&decode(&path)?))
    }),
    // Decodes, then drops parameters.
    ("Jetty", |target| {
        let path = decode(without_query(target))?;
        Some(resolve(&without_parameters(&path, |byte| byte == '/')))
    }),
    // Decodes, ends at NUL, opens a file.
    ("a program in C", |target| {
        let path = decode(without_query(target))?;
        Some(resolve(path.split('\0').next()?))
    }),
    // Decodes first, and then looks for a query and a fragment.
    ("a program in C that decodes first", |target| {
        let target = decode(target)?.replace('\\', "/");
        Some(resolve(target.split(['\0', '?', '#']).next()?))
    }),
    ("a decoder of UTF-8 that takes long forms", |target| {
        let path = decode(without_query(target))?;
        let mut path = path;
        for lead in ["\u{c0}", "\u{e0}\u{80}", "\u{f8}\u{80}\u{80}\u{80}"] {
            path = path.replace(&format!("{lead}\u{ae}"), ".");
            path = path.replace(&format!("{lead}\u{af}"), "/");
        }
        Some(resolve(&path))
    }),
    // A server in front of another, both of which decode.
    ("two that decode", |target| {
        let path = decode(&decode(without_query(target))?)?.replace('\\', "/");
        Some(resolve(&without_parameters(&path, |byte| byte == '/')))
    }),
];

fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

/// Decodes percent-encoding. A byte becomes the character with its number: only equality matters
/// here.
fn decode(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let byte = u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?;
        decoded.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    Some(decoded + rest)
}

fn without_parameters(path: &str, ends: impl Fn(char) -> bool) -> String {
    let mut kept = String::new();
    let mut is_parameter = false;
    for character in path.chars() {
        is_parameter = !ends(character) && (is_parameter || character == ';');
        if !is_parameter {
            kept.push(character);
        }
    }
    kept
}

/// Merges adjacent slashes and follows dot segments.
fn resolve(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Returns the longest of the routes that cover a path.
fn route_of<'r>(routes: &[&'r str], path: &str) -> &'r str {
    let covers = |route: &&str| {
        let rest = path.strip_prefix(route.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let covering = routes.iter().copied().filter(covers);
    covering.max_by_key(|route| route.len()).unwrap_or("/")
}

/// Returns a target that resembles one that a route guards.
fn spelling(rng: &mut Rng) -> String {
    const WORDS: [&str; 9] = ["admin", "admin", "admin", "a", "b", "x", "secret", "ü", ""];
    const SLASHES: [&str; 9] = ["/", "/", "/", "/", "//", "\\", "%2f", "%5C", "%252F"];
    const JUNK: [&str; 30] = [
        ";",
        ";x",
        ";a=b",
        ";/",
        ";%2f",
        ";\\",
        "%3b",
        "%3Bx",
        "%253b",
        ".",
        "..",
        "/.",
        "/..",
        "%2e",
        "/%2E%2e",
        "..;",
        "%252e",
        "%00",
        "%0a",
        "%23",
        "%3f",
        "%3fx",
        "?",
        "%20",
        "%",
        "%25",
        "%C0%AF",
        "/%c0%ae%c0%ae",
        "/%f8%80%80%80%ae%f8%80%80%80%ae",
        "%f8%80%80%80%af",
    ];
    let mut target = String::new();
    for _ in 0..rng.between(1, 4) {
        target.push_str(if target.is_empty() && !rng.one_in(8) {
            "/"
        } else {
            rng.pick(&SLASHES)
        });
        if rng.one_in(4) {
            target.push_str(rng.pick(&JUNK));
            target.push_str(if rng.one_in(2) {
                rng.pick(&SLASHES)
            } else {
                ""
            });
        }
        for character in rng.pick(&WORDS).chars() {
            match (character.is_ascii(), rng.below(24)) {
                (true, 0) => target.push_str(&format!("%{:02x}", u32::from(character))),
                (true, 1) => target.push_str(&format!("%25{:02X}", u32::from(character))),
                _ => target.push(character),
            }
        }
        if rng.one_in(3) {
            target.push_str(rng.pick(&JUNK));
        }
    }
    target
}

/// Returns the route of a request and the target that the upstream gets, or `None` if the request
/// is refused.
fn goes_on(router: &Router<&'static str>, target: &[u8]) -> Option<(&'static str, String)> {
    let path = RequestPath::read(target).ok()?;
    let found = router.find(&path)?;
    if router.is_ambiguous(&path, &found) {
        return None;
    }
    let sent = path.mapped(found.path, None).ok()?;
    Some((*found.target, String::from_utf8(sent.into_owned()).unwrap()))
}

#[test]
fn no_spelling_reaches_what_another_route_guards() {
    let mut rng = Rng::new(0x7469_6465);
    let (mut gone_on, mut dangerous) = (0, 0);
    for routes in [
        &["/", "/admin"][..],
        &["/", "/admin", "/a", "/a/b", "/x/admin"],
    ] {
        let router = Router::new(routes.iter().map(|route| ((*route).to_owned(), *route)));
        for _ in 0..2000 {
            let target = spelling(&mut rng);
            let target = ascii_target(target.as_bytes());
            let asked = std::str::from_utf8(&target).unwrap();
            // The route of the target without normalisation.
            let literal = route_of(routes, without_query(asked));
            let elsewhere =
                |read: Reader| read(asked).is_some_and(|path| route_of(routes, &path) != literal);
            dangerous += usize::from(READERS.iter().any(|(_, read)| elsewhere(*read)));
            let Some((route, sent)) = goes_on(&router, &target) else {
                continue;
            };
            gone_on += 1;
            assert!(!sent.starts_with("//"), "{asked}");
            for (name, read) in READERS {
                if let Some(path) = read(&sent) {
                    assert_eq!(
                        route_of(routes, &path),
                        route,
                        "{asked} goes on by {route} as {sent}, and {name} serves {path}"
                    );
                }
            }
        }
    }
    assert!(
        dangerous > 800,
        "only {dangerous} spellings are of use here"
    );
    assert!(gone_on > 1000, "only {gone_on} spellings aren't refused");
}

#[test]
fn refused_paths_get_a_sentence_and_reach_no_upstream() {
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (main, admin) = (Upstream::answering(RESPONSE), Upstream::answering(RESPONSE));
    let based = main.route("/base");
    let server = Server::start(&[
        "--route",
        &main.route("/"),
        "--route",
        &admin.route("/admin"),
        "--route",
        &format!("{based}/"),
        "--route",
        "/status=status",
    ]);
    let mut client = Client::h2c(server.h2c);
    for path in [
        "/admin%00",
        "/x/..%00/admin",
        "/a%0d%0ab",
        "/admin;x",
        "/;/admin",
        "/%61dmin;x",
        "/admin%3bx",
        "/admin%2fx",
        "/admin%3fx",
        "/%2561dmin",
        "/x/../admin",
        "/..;/admin",
        "//evil.example/x",
        "/base//evil.example/x",
        "/base/%2Fevil.example",
        "/%zz",
        "/status%00",
        "//status",
    ] {
        let mut http1 = http1::Client::new(server.h2c);
        http1.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = http1.response(false);
        let sentence = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            sentence.starts_with("400 Bad Request: "),
            "{path}: {sentence}"
        );
        let answer = client.ask("POST", path, &[], Body::Full("abc".into()));
        assert_eq!(
            (answer.status(), answer.text()),
            (400, &*sentence),
            "{path}"
        );
        server.wait_for(&format!("\"POST {path} HTTP/2\" 400 {} ", sentence.len()));
    }
    // The connection is still usable.
    assert_eq!(client.get("/ok").status(), 200);
    assert_eq!(client.get("/%61dmin/%7Ex;y?z=%00").status(), 200);
    assert_eq!(client.get("/base/x//y").status(), 200);
    assert_eq!(client.get("/%73tatus").text(), r#"{"status":"ok"}"#);
    let targets = |upstream: &Upstream| {
        let heads = upstream.noted();
        let target = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        heads.iter().map(target).collect::<Vec<_>>()
    };
    assert_eq!(targets(&main), ["/ok", "/x//y"]);
    assert_eq!(targets(&admin), ["/admin/%7Ex;y?z=%00"]);
}

#[test]
fn utf8_goes_on_percent_encoded() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(&["--route", &upstream.route("/ä ö")]);
    let mut http1 = http1::Client::new(server.h2c);
    for target in ["/ä%20ö/ü?q=é", "/%c3%a4%20%C3%B6/ü?q=é"] {
        http1.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(http1.response(false).status, 200, "{target}");
        let head = upstream.seen();
        assert!(
            head.starts_with("GET /%C3%A4%20%C3%B6/%C3%BC?q=%C3%A9 HTTP/1.1\r\n"),
            "{head}"
        );
    }
}
