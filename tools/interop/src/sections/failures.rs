//! Upstreams that fail: they refuse connections, fall silent, lie, or break off.

use std::process::Stdio;

use crate::bad_upstream::{BadUpstream, Header, Unwilling};
use crate::bench::{Bench, Judged, judge};
use crate::client::{BOUND, Client, Transport, field_of};
use crate::process::{Result, run};
use crate::upstreams::{Go, Speaks};

/// An answer of the proxy's own, or one that it forwards.
#[derive(Debug, PartialEq, Eq)]
struct Answered {
    status: String,
    /// The bytes of the body.
    length: String,
    /// The value of Proxy-Status.
    error: Option<String>,
}

/// Makes one request.
fn answered(client: &Client<'_>, path: &str) -> Result<Answered> {
    let mut lines = client.heads(path, &["--write-out", "%{http_code} %{size_download}"])?;
    let last = lines.pop().unwrap_or_default();
    let (status, length) = last.split_once(' ').unwrap_or((&last, ""));
    Ok(Answered {
        status: status.to_owned(),
        length: length.to_owned(),
        error: field_of(&lines, "proxy-status"),
    })
}

/// Returns the proxy's own answer to this error.
fn error(status: u16, error: &str) -> Answered {
    let length = if status == 504 { 20 } else { 16 };
    Answered {
        status: status.to_string(),
        length: length.to_string(),
        error: Some(format!("tidegate; error={error}")),
    }
}

/// Returns the bad upstream's answer when it is good.
fn good() -> Answered {
    Answered {
        status: "200".to_owned(),
        length: "3".to_owned(),
        error: None,
    }
}

pub(crate) fn failures(bench: &Bench) -> Result {
    let raw = BadUpstream::start(Header::None)?;
    let go = Go::start(bench, None)?;
    let unwilling = Unwilling::start()?;
    let plain = go.address(Speaks::Http);
    for transport in Transport::ALL {
        let proxy = bench
            .tidegate("warn")
            .flags(&["--workers", "1", "--upstream-timeout", "2s"])
            .flags(&["--upstream-connect-timeout", "1s"])
            .route("/raw", &format!("http://{}/", raw.address))
            .route("/nobody", &format!("http://{}/", unwilling.nobody))
            .route("/full", &format!("http://{}/", unwilling.full))
            .route("/h2c", &format!("h2c://{plain}/"))
            .route("/https", &format!("https://{plain}/"))
            .start()?;
        let client = Client::new(bench, &proxy, transport);
        let expect = |what: &str, path: &str, wanted: Answered| -> Result {
            let what = format!("{what}, {}", transport.name());
            bench.expect(what, answered(&client, path)?, wanted);
            Ok(())
        };
        let expect_502 = |what: &str, path: &str| -> Result {
            let what = format!("{what}, {}", transport.name());
            bench.expect(what, answered(&client, path)?.status, "502");
            Ok(())
        };
        let refused = || error(502, "connection_refused");
        let invalid = || error(502, "http_protocol_error");
        expect("nobody listens", "/nobody/", refused())?;
        // There is no other address, so each request tries this one again.
        expect("a moment later", "/nobody/", refused())?;
        let timeout = error(504, "connection_timeout");
        expect("no connection is established", "/full/", timeout)?;
        let timeout = error(504, "http_response_timeout");
        expect("no answer comes", "/raw/silent", timeout)?;
        let terminated = error(502, "connection_terminated");
        expect(
            "the connection ends without an answer",
            "/raw/closes",
            terminated,
        )?;
        expect_502("and in the middle of the head", "/raw/half-a-head")?;
        // After five failures in a row the proxy would skip the address for a while.
        expect("all is well in between", "/raw/ok", good())?;
        expect("the answer isn't HTTP", "/raw/garbage", invalid())?;
        expect("it has two lengths", "/raw/two-lengths", invalid())?;
        expect(
            "it has a length and chunks",
            "/raw/both-framings",
            invalid(),
        )?;
        expect_502("HTTP/1.1 where HTTP/2 was expected", "/h2c/")?;
        expect_502("no TLS where TLS was expected", "/https/")?;
        expect("all is well again", "/raw/ok", good())?;
        proxy.stop()?;
    }
    Ok(())
}

/// Returns whether curl reports that the response broke off: by code 92 that the stream was reset,
/// by 18 or 56 that the connection ended too soon.
fn is_broken_off(transport: Transport, code: Option<i32>) -> bool {
    if transport.is_http2() {
        code == Some(92)
    } else {
        matches!(code, Some(18 | 56))
    }
}

/// A response that breaks off must not look complete to any client.
pub(crate) fn broken_upstreams(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let raw = BadUpstream::start(Header::None)?;
    let mut launch = bench.tidegate("warn");
    launch = launch.route("/raw", &format!("http://{}/", raw.address));
    let mut paths = ["short", "chunked", "mid-chunk", "reset"]
        .map(|path| format!("/raw/{path}"))
        .to_vec();
    for speaks in Speaks::THREE {
        let prefix = format!("/go-{}", speaks.name());
        launch = launch.route(&prefix, &format!("{}/", go.url(speaks)));
        paths.extend(["short", "abort"].map(|path| format!("{prefix}/{path}")));
    }
    let proxy = launch.start()?;
    for transport in Transport::ALL {
        let client = Client::new(bench, &proxy, transport);
        for path in &paths {
            let way = format!("{}, {path}", transport.name());
            // Over HTTP/2 curl 7.88 may drop the data that came right before the reset. nghttp
            // shows that all of it arrived.
            let output = run(client.curl(path, &[]).stderr(Stdio::null()), BOUND)?;
            bench.expect(
                format_args!("curl reports that it breaks off, {way}"),
                judge(is_broken_off(transport, output.code), output.code),
                Judged::Right,
            );
            let url = client.url(path);
            let load = client.load(&["-n20", "-c2", "-m5", &url])?;
            bench.expect(
                format_args!("h2load counts none as done, {way}"),
                load.map(|load| load.succeeded),
                Some(0),
            );
            if transport.is_http2() {
                let mut nghttp = client.nghttp_command(&["-nvy"], &[path]);
                let report = run(nghttp.stderr(Stdio::null()), BOUND)?.text();
                bench.expect(
                    format_args!("nghttp has all that arrived, and sees the reset, {way}"),
                    frames_of(&report),
                    vec!["500", "RST_STREAM"],
                );
            } else {
                bench.expect(
                    format_args!("and has all that arrived, {way}"),
                    output.bytes.len(),
                    500,
                );
            }
        }
        bench.expect(
            format_args!("a response without a length ends with its connection, {transport:?}"),
            client.text("/raw/until-closed", &[])?,
            "all there is",
        );
    }
    let client = Client::new(bench, &proxy, Transport::Http1);
    let mut curl = client.curl("/raw/chunked", &["--http1.0"]);
    let code = run(curl.stderr(Stdio::null()), BOUND)?.code;
    bench.expect(
        "curl reports it over HTTP/1.0",
        judge(is_broken_off(Transport::Http1, code), code),
        Judged::Right,
    );
    proxy.stop()
}

/// Returns the lengths of the DATA frames that nghttp has received, and a word for each reset.
fn frames_of(report: &str) -> Vec<String> {
    let frames = report.lines().filter_map(|line| {
        let frame = line.split_once("recv ")?.1;
        if frame.starts_with("RST_STREAM") {
            return Some("RST_STREAM".to_owned());
        }
        let length = frame.strip_prefix("DATA frame <length=")?;
        length.split_once(',').map(|(length, _)| length.to_owned())
    });
    frames.collect()
}

/// A request that is lost on a reused connection is sent again, once, if that does no harm.
pub(crate) fn sent_again(bench: &Bench) -> Result {
    let raw = BadUpstream::start(Header::None)?;
    let proxy = bench
        .tidegate("warn")
        .flags(&["--workers", "1"])
        .route("/", &format!("http://{}", raw.address))
        .start()?;
    for transport in Transport::ALL {
        let client = Client::new(bench, &proxy, transport);
        let name = transport.name();
        let status = |what: &str, path: &str, args: &[&str], wanted: u16| -> Result {
            let status = client.status(path, args)?;
            bench.expect(format_args!("{what}, {name}"), status, wanted);
            Ok(())
        };
        let sent = |what: &str, request: &str, wanted: usize| {
            let reached = raw.reached(|line| line.starts_with(request));
            bench.expect(format_args!("{what}, {name}"), reached, wanted);
        };
        raw.forget();
        status("a connection is there", "/first", &[], 200)?;
        status("GET on it fails", "/closes", &[], 502)?;
        sent("after it was sent twice", "GET /closes", 2);
        status("a connection is there again", "/first", &[], 200)?;
        status("POST on it fails", "/closes", &["-d", "x"], 502)?;
        sent("and was sent once", "POST /closes", 1);
        status("GET on a new connection fails", "/closes?again", &[], 502)?;
        sent("and was sent once", "GET /closes?again", 1);
    }
    proxy.stop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_in_the_report() {
        let report = "[  0.002] recv HEADERS frame <length=9, flags=0x04, stream_id=13>\n\
            [  0.002] recv DATA frame <length=500, flags=0x00, stream_id=13>\n\
            [  0.002] send WINDOW_UPDATE frame <length=4, flags=0x00, stream_id=0>\n\
            [  0.002] recv RST_STREAM frame <length=4, flags=0x00, stream_id=13>\n";
        assert_eq!(frames_of(report), ["500", "RST_STREAM"]);
    }
}
