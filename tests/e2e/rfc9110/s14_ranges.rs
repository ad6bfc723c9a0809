//! §14: ranges.

use super::ways::{Lab, TEN};

#[test]
fn parts_of_content() {
    // §14.1.2: "int-range = first-pos "-" [ last-pos ]", "suffix-range = "-" suffix-length".
    // §15.3.7.1: "If a single part is being transferred, the server generating the 206 response
    // MUST generate a Content-Range header field".
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (range, part, content_range) in [
            ("bytes=0-0", "0", "bytes 0-0/10"),
            ("bytes=2-4", "234", "bytes 2-4/10"),
            ("bytes=7-", "789", "bytes 7-9/10"),
            // "If the last-pos value is absent, or if the value is greater than or equal to the
            // current length …, the byte range is interpreted as the remainder of the
            // representation".
            ("bytes=7-99999999999999999999", "789", "bytes 7-9/10"),
            ("bytes=-3", "789", "bytes 7-9/10"),
            // "If the selected representation is shorter than the specified suffix-length, the
            // entire representation is used."
            ("bytes=-99", TEN, "bytes 0-9/10"),
            ("bytes=0-", TEN, "bytes 0-9/10"),
            // §14.1: "range-unit" names "are case-insensitive".
            ("BYTES=2-4", "234", "bytes 2-4/10"),
        ] {
            let answer = way.get("/ten.txt", &[("range", range)]);
            assert_eq!(
                (answer.status, answer.text()),
                (206, part),
                "{}: {range}",
                answer.way
            );
            assert_eq!(
                answer.values("content-range"),
                [content_range],
                "{}: {range}",
                answer.way
            );
            assert_eq!(
                answer.field("content-length"),
                part.len().to_string(),
                "{}: {range}",
                answer.way
            );
        }
        let large = way.get("/large.bin", &[("range", "bytes=100-65635")]);
        assert_eq!(
            (large.status, large.body.len()),
            (206, 65_536),
            "{}",
            large.way
        );
        assert_eq!(
            large.field("content-range"),
            "bytes 100-65635/200000",
            "{}",
            large.way
        );
    }
}

#[test]
fn what_can_not_be_satisfied() {
    // §14.1.1: "A valid ranges-specifier is satisfiable if it contains at least one range-spec that
    // is satisfiable …. Otherwise, the ranges-specifier is unsatisfiable." §15.5.17: "A server that
    // generates a 416 response to a byte-range request SHOULD generate a Content-Range header field
    // specifying the current length of the selected representation".
    let lab = Lab::new();
    for mut way in lab.ways() {
        for range in [
            "bytes=10-",
            "bytes=10-20",
            "bytes=99999999999999999999-",
            "bytes=-0",
        ] {
            let answer = way.get("/ten.txt", &[("range", range)]);
            assert_eq!(answer.status, 416, "{}: {range}", answer.way);
            assert_eq!(
                answer.field("content-range"),
                "bytes */10",
                "{}: {range}",
                answer.way
            );
        }
    }
}

#[test]
fn what_is_no_range_is_ignored() {
    // §14.2: "A server MAY ignore the Range header field." "An origin server MUST ignore a Range
    // header field that contains a range unit it does not understand." "A server MUST ignore a
    // Range header field received with a request method that is unrecognized or for which range
    // handling is not defined. For this specification, GET is the only method for which range
    // handling is defined." §14.1.1: "An int-range is invalid if the last-pos value is present and
    // less than the first-pos."
    let lab = Lab::new();
    for mut way in lab.ways() {
        for range in [
            "lines=0-1",
            "bytes=",
            "bytes=a-b",
            "bytes=5-2",
            "bytes",
            "0-1",
            "bytes=-",
            "bytes=0-1-2",
            "bytes=+1-2",
        ] {
            let answer = way.get("/ten.txt", &[("range", range)]);
            assert_eq!(
                (answer.status, answer.text()),
                (200, TEN),
                "{}: {range}",
                answer.way
            );
        }
        // Several ranges may be answered by the whole representation, or by parts.
        let several = way.get("/ten.txt", &[("range", "bytes=0-1,3-4")]);
        assert!([200, 206].contains(&several.status), "{}", several.way);
        let head = way.ask("HEAD", "/ten.txt", &[("range", "bytes=0-1")], "");
        assert_eq!(
            (head.status, head.field("content-length")),
            (200, "10"),
            "{}",
            head.way
        );
        // An empty representation has no part, and is sent whole.
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let empty = way.get("/empty.bin", &[("range", range)]);
            assert_eq!(
                (empty.status, empty.body.len()),
                (200, 0),
                "{}: {range}",
                empty.way
            );
        }
    }
}

#[test]
fn who_takes_ranges_says_so() {
    // §14.3: "a server that supports byte-range requests … can send the field … to indicate that it
    // supports byte range requests for that target resource".
    let lab = Lab::new();
    for mut way in lab.ways() {
        assert_eq!(way.get("/ten.txt", &[]).field("accept-ranges"), "bytes");
        let unsatisfied = way.get("/large.bin", &[("range", "bytes=200000-")]);
        assert_eq!(unsatisfied.status, 416);
    }
}

#[test]
fn conditions_come_first() {
    // §13.2.2: Range is step 5, after all other conditions.
    let lab = Lab::new();
    for mut way in lab.ways() {
        for (condition, status) in [
            (("if-none-match", "*"), 304),
            (("if-match", "\"x\""), 412),
            (("if-match", "*"), 206),
            (("if-none-match", "\"x\""), 206),
        ] {
            let answer = way.get("/ten.txt", &[("range", "bytes=0-1"), condition]);
            assert_eq!(answer.status, status, "{}: {condition:?}", answer.way);
        }
    }
}
