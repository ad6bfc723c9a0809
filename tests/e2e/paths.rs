//! Paths that servers read in different ways: whatever the spelling, no request reaches by one
//! route what another route guards.

use tidegate::path::RequestPath;
use tidegate::router::Router;
use tidegate_http::{Body, ascii_target};
use tidegate_testkit::readers::{READERS, Reader, route_of, without_query};
use tidegate_testkit::rng::Rng;

use crate::client::Client;
use crate::http1;
use crate::server::Server;
use crate::upstream::Upstream;

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
