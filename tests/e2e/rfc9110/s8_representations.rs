//! §8: the fields that describe content.

use std::fs;
use std::time::{Duration, SystemTime};

use super::ways::{Lab, TEN};

#[test]
fn content_has_a_type_and_a_length() {
    // §8.3: "A sender that generates a message containing content SHOULD generate a Content-Type
    // header field in that message unless the intended media type of the enclosed representation is
    // unknown". §8.6: "A server MAY send a Content-Length header field in a response to a HEAD
    // request …; a server MUST NOT send Content-Length in such a response unless its field value
    // equals the decimal number of octets that would have been sent in the content of a response if
    // the same request had used the GET method."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (path, kind, length) in [
            ("/ten.txt", "text/plain; charset=utf-8", 10),
            ("/page.html", "text/html; charset=utf-8", 7),
            ("/empty.bin", "application/octet-stream", 0),
            ("/large.bin", "application/octet-stream", 200_000),
            ("/status", "application/json", 15),
        ] {
            let get = way.get(path, &[]);
            assert_eq!(
                (get.status, get.body.len()),
                (200, length),
                "{}: {path}",
                get.way
            );
            let head = way.ask("HEAD", path, &[], "");
            for answer in [&get, &head] {
                assert_eq!(answer.field("content-type"), kind, "{}: {path}", answer.way);
                assert_eq!(
                    answer.values("content-length"),
                    [&*length.to_string()],
                    "{}: {path}",
                    answer.way
                );
            }
        }
    }
}

#[test]
fn validators_are_the_same_however_they_are_asked_for() {
    // §8.8: "Validator fields convey a current validator for the selected representation". §9.3.2:
    // HEAD "SHOULD send the same header fields in response to a HEAD request as it would have sent
    // if the request method had been GET." §15.4.5: a 304 "MUST generate any of the following
    // header fields that would have been sent in a 200 (OK) response to the same request", of which
    // ETag is one.
    let lab = Lab::new();
    for mut way in lab.ways() {
        let get = way.get("/ten.txt", &[]);
        let (etag, modified) = (get.field("etag"), get.field("last-modified"));
        assert!(!etag.is_empty() && !modified.is_empty());
        let head = way.ask("HEAD", "/ten.txt", &[], "");
        let unchanged = way.get("/ten.txt", &[("if-none-match", "*")]);
        let part = way.get("/ten.txt", &[("range", "bytes=1-2")]);
        for (answer, status) in [(head, 200), (unchanged, 304), (part, 206)] {
            assert_eq!(answer.status, status, "{}", answer.way);
            assert_eq!(answer.field("etag"), etag, "{}: {status}", answer.way);
            if status != 304 {
                assert_eq!(
                    answer.field("last-modified"),
                    modified,
                    "{}: {status}",
                    answer.way
                );
            }
        }
    }
}

#[test]
fn an_entity_tag_is_quoted_and_changes_with_the_content() {
    // §8.8.3: "entity-tag = [ weak ] opaque-tag", "opaque-tag = DQUOTE *etagc DQUOTE". §8.8.1: a
    // strong validator "changes value whenever a change occurs to the representation data that
    // would be observable in the content of a 200 (OK) response to GET."
    let lab = Lab::new();
    let mut before = Vec::new();
    for mut way in lab.ways() {
        let answer = way.get("/ten.txt", &[]);
        let etag = answer.field("etag").to_owned();
        let opaque = etag.strip_prefix("W/").unwrap_or(&etag);
        let inner = opaque
            .strip_prefix('"')
            .and_then(|opaque| opaque.strip_suffix('"'));
        let is_etagc = |byte: u8| byte == b'!' || byte >= 0x23 && byte != 0x7f;
        assert!(
            inner.is_some_and(|inner| inner.bytes().all(is_etagc)),
            "{etag}"
        );
        before.push(etag);
    }
    // The new content has the same length and the same date.
    let file = lab.dir.path().join("ten.txt");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "abcdefghij").unwrap();
    let opened = fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(modified).unwrap();
    for (mut way, before) in lab.ways().into_iter().zip(before) {
        let after = way.get("/ten.txt", &[]);
        assert_eq!(after.text(), "abcdefghij");
        let is_strong = !before.starts_with("W/");
        assert!(!is_strong || after.field("etag") != before, "{}", after.way);
    }
}

#[test]
fn nothing_was_modified_in_the_future() {
    // §8.8.2.1: "An origin server with a clock … MUST NOT generate a Last-Modified date that is
    // later than the server's time of message origination".
    let lab = Lab::new();
    let file = fs::File::options()
        .write(true)
        .open(lab.dir.path().join("ten.txt"))
        .unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    for mut way in lab.ways() {
        let answer = way.get("/ten.txt", &[]);
        assert_eq!(answer.text(), TEN);
        if !answer.field("last-modified").is_empty() {
            let time = |name: &str| httpdate::parse_http_date(answer.field(name)).unwrap();
            assert!(time("last-modified") <= time("date"), "{}", answer.way);
        }
    }
}
