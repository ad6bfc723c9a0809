//! Static files: content, conditions, ranges, refusals.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::{Client, Response};
use crate::server::{PATIENCE, Server};
use crate::targets::{SIZES, pattern};

/// Creates a directory with a site, and a file beside it that must not be served.
fn site() -> (TempDir, Server) {
    site_with(&[])
}

fn site_with(flags: &[&str]) -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(root.join("index.html"), "<p>index").unwrap();
    fs::write(root.join("sub/index.html"), "<p>sub").unwrap();
    fs::write(root.join("ten.txt"), "0123456789").unwrap();
    fs::write(root.join(".hidden"), "hidden").unwrap();
    fs::write(root.join("a b+c.txt"), "spaced").unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("ten.txt", root.join("in")).unwrap();
    for size in SIZES {
        fs::write(root.join(format!("{size}.bin")), pattern(size)).unwrap();
    }
    let root = ["--root", root.to_str().unwrap()];
    let server = Server::start(&[&root[..], flags].concat());
    (dir, server)
}

#[test]
fn content_of_all_sizes() {
    let (_dir, server) = site();
    for mut client in [Client::tls(server.tls), Client::h2c(server.h2c)] {
        // Twice: from the file system, and from the cache.
        for _ in 0..2 {
            for size in SIZES {
                let path = format!("/{size}.bin");
                let response = client.get(&path);
                assert_eq!(response.status(), 200);
                assert_eq!(response.field("content-length"), size.to_string());
                assert_eq!(response.field("content-type"), "application/octet-stream");
                assert!(
                    response.body == pattern(size),
                    "{size} bytes came as {}",
                    response.body.len()
                );
                let head = client.ask("HEAD", &path, &[], Body::Empty);
                assert_eq!((head.status(), head.body.len()), (200, 0));
                for name in [
                    "content-length",
                    "content-type",
                    "etag",
                    "last-modified",
                    "accept-ranges",
                ] {
                    assert_eq!(head.field(name), response.field(name), "{name}");
                    assert_ne!(head.field(name), "", "{name}");
                }
            }
        }
    }
}

#[test]
fn many_at_once() {
    let (_dir, server) = site();
    let mut client = Client::tls(server.tls);
    let ids: Vec<_> = (0..100)
        .map(|n| SIZES[n % SIZES.len()])
        .map(|size| {
            (
                size,
                client.send("GET", &format!("/{size}.bin"), &[], Body::Empty),
            )
        })
        .collect();
    for (size, id) in ids {
        assert!(client.response(id).body == pattern(size), "{size}");
    }
}

#[test]
fn directories() {
    let (_dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    let index = client.get("/");
    assert_eq!(
        (index.text(), index.field("content-type")),
        ("<p>index", "text/html; charset=utf-8")
    );
    assert_eq!(client.get("/sub/").text(), "<p>sub");
    let moved = client.get("/sub?a=b");
    assert_eq!(
        (moved.status(), moved.field("location")),
        (301, "/sub/?a=b")
    );
    assert_eq!(client.get("/ten.txt/").status(), 404);
}

#[test]
fn below_a_route() {
    let (dir, _) = site();
    let route = format!("/files={}", dir.path().join("site").display());
    let server = Server::start(&["--route", &route, "--route", "/files/health=status"]);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/files/ten.txt").text(), "0123456789");
    assert_eq!(client.get("/files/").text(), "<p>index");
    assert_eq!(client.get("/files").field("location"), "/files/");
    assert_eq!(client.get("/files/health").text(), r#"{"status":"ok"}"#);
    assert_eq!(client.get("/filesten.txt").status(), 404);
    assert_eq!(client.get("/files/../secret").status(), 400);
}

#[test]
fn methods() {
    let (_dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = client.ask(method, "/ten.txt", &[], Body::Full("abc".into()));
        assert_eq!(
            (response.status(), response.field("allow")),
            (405, "GET, HEAD, OPTIONS"),
            "{method}"
        );
    }
    let brew = client.ask("BREW", "/ten.txt", &[], Body::Full("abc".into()));
    assert_eq!(brew.status(), 501);
    let options = client.ask("OPTIONS", "/ten.txt", &[], Body::Empty);
    assert_eq!(
        (options.status(), options.field("allow"), options.text()),
        (204, "GET, HEAD, OPTIONS", "")
    );
    let head = client.ask("HEAD", "/missing", &[], Body::Empty);
    assert_eq!(
        (head.status(), head.field("content-length"), head.text()),
        (404, "14", "")
    );
}

#[test]
fn nothing_outside_and_nothing_hidden() {
    let (dir, server) = site();
    let mut client = Client::tls(server.tls);
    let absolute = format!("/{}", dir.path().join("secret").display());
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/ten.txt%00",
        "/ten.txt%00.html",
        "/%2e%2e%5csecret",
        "//ten.txt",
        "/./ten.txt",
        &absolute,
    ] {
        assert_eq!(client.get(path).status(), 400, "{path}");
    }
    for path in [
        "/missing",
        "/sub%2findex.html",
        "/sub//index.html",
        "/out",
        "/.hidden",
        "/%2ehidden",
    ] {
        let response = client.get(path);
        assert_eq!(
            (response.status(), response.text()),
            (404, "404 Not Found\n"),
            "{path}"
        );
    }
    assert_eq!(client.get("/in").text(), "0123456789");
    assert_eq!(client.get("/a%20b+c.txt").text(), "spaced");
}

/// Returns the response once the file has its strong entity tag. A large file gets one only when it
/// is some seconds old.
pub(crate) fn settled(client: &mut Client, path: &str) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = client.get(path);
        if response.field("etag").starts_with('"') {
            return response;
        }
        assert!(Instant::now() < deadline, "never settled");
    }
}

/// Puts a file in place as a deployment does, with this modification time.
fn deploy(root: &Path, name: &str, content: &[u8], modified: SystemTime) {
    let new = root.join("new");
    fs::write(&new, content).unwrap();
    let file = fs::File::options().write(true).open(&new).unwrap();
    file.set_modified(modified).unwrap();
    fs::rename(new, root.join(name)).unwrap();
}

// RFC 9110 §8.8.1: "a strong validator [...] is unique across all versions of all representations
// associated with a particular resource over time".
#[test]
fn versions_of_one_length_and_time_have_different_tags() {
    let (dir, server) = site();
    let root = dir.path().join("site");
    let mut client = Client::h2c(server.h2c);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for size in [10, 100_000] {
        deploy(&root, "a", &vec![b'1'; size], time);
        let tag = settled(&mut client, "/a").field("etag").to_owned();
        deploy(&root, "a", &vec![b'2'; size], time);
        let unchanged = [("if-none-match", &*tag)];
        let response = client.ask("GET", "/a", &unchanged, Body::Empty);
        assert_eq!(response.status(), 200, "{size}");
        let part = [("range", "bytes=5-"), ("if-range", &*tag)];
        let response = client.ask("GET", "/a", &part, Body::Empty);
        assert_eq!((response.status(), response.body.len()), (200, size));
        let required = [("if-match", &*tag)];
        let response = client.ask("GET", "/a", &required, Body::Empty);
        assert_eq!(response.status(), 412, "{size}");
    }
}

// RFC 9110 §8.8.2.1: "An origin server with a clock MUST NOT generate a Last-Modified date that is
// later than the server's time of message origination (Date)".
#[test]
fn files_from_the_future_were_modified_now() {
    let (dir, server) = site();
    let root = dir.path().join("site");
    let time = SystemTime::now() + Duration::from_secs(30 * 86_400);
    deploy(&root, "small", b"small", time);
    deploy(&root, "large", &[b'x'; 100_000], time);
    let mut client = Client::h2c(server.h2c);
    for path in ["/small", "/large"] {
        for fields in [&[][..], &[("range", "bytes=0-1")]] {
            let response = client.ask("GET", path, fields, Body::Empty);
            assert_eq!(response.field("last-modified"), response.field("date"));
        }
        let tag = client.get(path).field("etag").to_owned();
        let unchanged = client.ask("GET", path, &[("if-none-match", &tag)], Body::Empty);
        assert_eq!(unchanged.status(), 304);
        assert_eq!(unchanged.field("last-modified"), unchanged.field("date"));
    }
}

// RFC 9110 §13.1.5, §8.8.2.2: a date isn't a strong validator of a file that may change twice in a
// second.
#[test]
fn parts_are_never_joined_by_a_date() {
    let (dir, server) = site();
    let path = dir.path().join("site/f");
    let mut client = Client::h2c(server.h2c);
    for size in [10, 100_000] {
        fs::write(&path, vec![b'A'; size]).unwrap();
        let date = client.get("/f").field("last-modified").to_owned();
        fs::write(&path, vec![b'B'; size]).unwrap();
        let fields = [("range", "bytes=5-"), ("if-range", &*date)];
        let response = client.ask("GET", "/f", &fields, Body::Empty);
        assert_eq!((response.status(), response.body.len()), (200, size));
    }
}

#[test]
fn lines_of_a_list_count_together() {
    let (_dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    let tag = client.get("/ten.txt").field("etag").to_owned();
    let mut ask = |name, second: &str| {
        let fields = [(name, "\"x\""), (name, second)];
        client.ask("GET", "/ten.txt", &fields, Body::Empty).status()
    };
    assert_eq!(
        (ask("if-match", &tag), ask("if-match", "\"y\"")),
        (200, 412)
    );
    assert_eq!(ask("if-none-match", &tag), 304);
    assert_eq!(ask("if-none-match", "\"y\""), 200);
}

#[test]
fn a_range_of_nothing_is_all_of_it() {
    let (dir, server) = site();
    fs::write(dir.path().join("site/empty"), "").unwrap();
    let mut client = Client::h2c(server.h2c);
    for range in ["bytes=0-", "bytes=5-", "bytes=-5"] {
        let response = client.ask("GET", "/empty", &[("range", range)], Body::Empty);
        assert_eq!(
            (response.status(), response.field("content-length")),
            (200, "0")
        );
    }
}

// RFC 8615 §3.
#[test]
fn well_known_files_are_served() {
    let (dir, server) = site();
    let challenge = dir.path().join("site/.well-known/acme-challenge");
    fs::create_dir_all(&challenge).unwrap();
    fs::write(challenge.join("token"), "proof").unwrap();
    let mut client = Client::h2c(server.h2c);
    let token = client.get("/.well-known/acme-challenge/token");
    assert_eq!((token.status(), token.text()), (200, "proof"));
    assert_eq!(client.get("/.well-known/.hidden").status(), 404);
}

/// Stalled downloads of a file share one descriptor.
#[test]
fn a_large_file_is_open_once() {
    let (dir, server) = site();
    fs::write(dir.path().join("site/huge.bin"), pattern(10_000_000)).unwrap();
    let mut client = Client::h2c(server.h2c);
    client.get("/ten.txt");
    let before = server.descriptors();
    let ids: Vec<_> = (0..100)
        .map(|_| client.send("GET", "/huge.bin", &[], Body::Empty))
        .collect();
    client.wait_until(|client| ids.iter().all(|id| client.has_begun(*id)));
    // From here on, the client doesn't read.
    let during = server.descriptors();
    assert!(during <= before + 1, "{before} descriptors became {during}");
    assert_eq!(Client::h2c(server.h2c).get("/ten.txt").status(), 200);
}

/// A deployment takes no file away from those who are downloading it.
#[test]
fn a_download_goes_on_when_its_file_is_replaced() {
    let (dir, server) = site_with(&["--workers", "1"]);
    let root = dir.path().join("site");
    let content = pattern(20_000_000);
    fs::write(root.join("huge.bin"), &content).unwrap();
    fs::write(root.join("newer.bin"), pattern(1_000_000)).unwrap();
    let mut client = Client::h2c(server.h2c);
    // From here on, downloads of the larger file share pieces.
    settled(&mut client, "/newer.bin");
    let first = client.prepare("GET", "/huge.bin", &[], Body::Empty);
    let second = client.send("GET", "/huge.bin", &[], Body::Empty);
    client.wait_until(|client| !client.so_far(second).body.is_empty());
    deploy(&root, "huge.bin", b"new", SystemTime::now());
    // The other download goes on alone.
    client.cancel(first);
    let response = client.response(second);
    assert_eq!(response.reset, None);
    assert!(response.body == content);
}

#[test]
fn what_is_no_file_holds_up_nobody() {
    let (dir, server) = site();
    let fifo = dir.path().join("site/fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/fifo").status(), 404);
    assert_eq!(client.get("/ten.txt").status(), 200);
}

#[test]
fn a_directory_that_was_moved_out_is_gone() {
    let (dir, server) = site();
    let (root, outside) = (dir.path().join("site"), dir.path().join("outside"));
    let mut client = Client::h2c(server.h2c);
    // Old enough to be cached.
    settled(&mut client, "/1000000.bin");
    assert_eq!(client.get("/sub/index.html").status(), 200);
    assert_eq!(client.get("/sub/index.html").status(), 200);
    fs::rename(root.join("sub"), &outside).unwrap();
    symlink(&outside, root.join("sub")).unwrap();
    for path in ["/sub/index.html", "/sub/%69ndex.html", "/sub/"] {
        assert_eq!(client.get(path).status(), 404, "{path}");
    }
}

#[test]
fn conditions() {
    let (_dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    // A small file, and one that isn't kept in memory.
    for path in ["/ten.txt", "/1000000.bin"] {
        let first = settled(&mut client, path);
        let (tag, date) = (
            first.field("etag").to_owned(),
            first.field("last-modified").to_owned(),
        );
        let mut status =
            |fields: &[(&str, &str)]| client.ask("GET", path, fields, Body::Empty).status();
        assert_eq!(status(&[("if-none-match", &tag)]), 304);
        assert_eq!(status(&[("if-none-match", "\"other\"")]), 200);
        assert_eq!(status(&[("if-modified-since", &date)]), 304);
        assert_eq!(
            status(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            200
        );
        assert_eq!(status(&[("if-match", "\"other\"")]), 412);
        assert_eq!(status(&[("if-match", &tag)]), 200);
        let again = client.ask("GET", path, &[("if-none-match", &tag)], Body::Empty);
        assert_eq!(
            (
                again.field("etag"),
                again.field("content-length"),
                again.text()
            ),
            (&*tag, "", "")
        );
    }
}

#[test]
fn ranges() {
    let (_dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    let ask = |client: &mut Client, path: &str, range: &str| {
        client.ask("GET", path, &[("range", range)], Body::Empty)
    };
    for (range, part, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=9-99", "9", "bytes 9-9/10"),
    ] {
        let response = ask(&mut client, "/ten.txt", range);
        assert_eq!((response.status(), response.text()), (206, part), "{range}");
        assert_eq!(response.field("content-range"), content_range);
        assert_eq!(response.field("content-length"), part.len().to_string());
    }
    let large = pattern(1_000_000);
    let response = ask(&mut client, "/1000000.bin", "bytes=123456-654321");
    assert_eq!(
        response.field("content-range"),
        "bytes 123456-654321/1000000"
    );
    assert!(response.body == large[123_456..=654_321]);
    for path in ["/ten.txt", "/1000000.bin"] {
        let beyond = ask(&mut client, path, "bytes=1000000-");
        assert_eq!(beyond.status(), 416);
        assert!(beyond.field("content-range").starts_with("bytes */1"));
        assert_eq!(ask(&mut client, path, "bytes=0-1,3-4").status(), 200);
        let stale = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
        assert_eq!(client.ask("GET", path, &stale, Body::Empty).status(), 200);
    }
}

#[test]
fn a_file_that_changes_is_never_stale() {
    let (dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    let path = dir.path().join("site/changing.txt");
    for n in 0..20 {
        // Each version has the same length.
        let content = format!("version {n:03}");
        fs::write(&path, &content).unwrap();
        assert_eq!(client.get("/changing.txt").text(), content);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(client.get("/changing.txt").status(), 404);
}

#[test]
fn a_file_in_memory_is_checked_as_often_as_the_flag_says() {
    let (dir, server) = site_with(&["--check-files", "1s"]);
    let root = dir.path().join("site");
    let mut client = Client::h2c(server.h2c);
    for size in [10, 100_000] {
        deploy(&root, "a", &vec![b'1'; size], SystemTime::UNIX_EPOCH);
        let old = settled(&mut client, "/a");
        deploy(&root, "a", &vec![b'2'; size], SystemTime::UNIX_EPOCH);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = client.get("/a");
            if response.body == vec![b'2'; size] {
                assert_ne!(response.field("etag"), old.field("etag"));
                break;
            }
            assert_eq!(response.body, old.body, "one version or the other");
            assert_eq!(response.field("etag"), old.field("etag"));
            assert!(Instant::now() < deadline, "never noticed");
        }
    }
}

#[test]
fn a_file_that_shrinks_on_its_way_is_cut_off() {
    let (dir, server) = site();
    let mut client = Client::h2c(server.h2c);
    let path = dir.path().join("site/shrinking.bin");
    // More than the client's window, so that the server can't finish before the file shrinks.
    fs::write(&path, pattern(30_000_000)).unwrap();
    let id = client.send("GET", "/shrinking.bin", &[], Body::Empty);
    client.wait_until(|client| !client.so_far(id).body.is_empty());
    fs::write(&path, "").unwrap();
    assert!(client.response(id).reset.is_some());
    server.wait_for("its file can't be read any further");
}
