//! The server, the proxy in front of it, and the ways to send a request.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;
use tidegate_http::{Body, ResponseHead};

use crate::server::Server;
use crate::upstream::Upstream;
use crate::{client, http1};

/// The content of `/ten.txt`.
pub(super) const TEN: &str = "0123456789";

/// A server with files and the other targets, and a proxy that leads to it over both protocols.
pub(super) struct Lab {
    pub(super) dir: TempDir,
    origin: Server,
    proxy: Server,
}

/// A client, and the path where it finds the site.
pub(super) struct Way {
    name: String,
    prefix: &'static str,
    client: Client,
}

enum Client {
    Http1(Box<http1::Client>),
    Http2(Box<client::Client>),
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The way that the request took.
    pub(super) way: String,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// Statuses of interim responses.
    pub(super) interim: Vec<u16>,
}

impl Answer {
    /// Returns the value of a field's first line, or an empty string.
    pub(super) fn field(&self, name: &str) -> &str {
        self.values(name).first().copied().unwrap_or("")
    }

    /// Returns the values of all lines of a field.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| &**value).collect()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ten.txt"), TEN).unwrap();
        fs::write(dir.path().join("empty.bin"), "").unwrap();
        fs::write(dir.path().join("page.html"), "<p>page").unwrap();
        fs::write(dir.path().join("large.bin"), vec![b'x'; 200_000]).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let root = dir.path().to_str().unwrap();
        let routes = ["/upload=upload", "/echo=echo", "/status=status"];
        let mut flags = vec!["--root", root, "--log", "warn"];
        flags.extend(routes.iter().flat_map(|route| ["--route", route]));
        let origin = Server::start(&flags);
        let address = origin.h2c.unwrap();
        let routes = [
            format!("/h1=http://{address}/"),
            format!("/h2=h2c://{address}/"),
        ];
        let proxy = Server::start(&[
            "--route", &routes[0], "--route", &routes[1], "--log", "warn",
        ]);
        Self { dir, origin, proxy }
    }

    /// Returns all ways to send a request.
    pub(super) fn ways(&self) -> Vec<Way> {
        let (origin, proxy) = (self.origin.h2c, self.proxy.h2c);
        let places = [(origin, ""), (proxy, "/h1"), (proxy, "/h2")];
        let ways =
            places.map(|(addr, prefix)| [Way::http1(addr, prefix), Way::http2(addr, prefix)]);
        ways.into_iter().flatten().collect()
    }

    /// Returns a client that sends raw bytes to the server itself.
    pub(super) fn http1(&self) -> http1::Client {
        http1::Client::new(self.origin.h2c)
    }

    /// Returns the ways that lead to the server itself.
    pub(super) fn direct(&self) -> [Way; 2] {
        [
            Way::http1(self.origin.h2c, ""),
            Way::http2(self.origin.h2c, ""),
        ]
    }
}

impl Way {
    fn http1(addr: Option<SocketAddr>, prefix: &'static str) -> Self {
        Self {
            name: format!("HTTP/1.1 to {prefix}/"),
            prefix,
            client: Client::Http1(Box::new(http1::Client::new(addr))),
        }
    }

    fn http2(addr: Option<SocketAddr>, prefix: &'static str) -> Self {
        Self {
            name: format!("HTTP/2 to {prefix}/"),
            prefix,
            client: Client::Http2(Box::new(client::Client::h2c(addr))),
        }
    }

    pub(super) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, fields, "")
    }

    /// Requests a path of the site, and waits for the final response.
    pub(super) fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &'static str,
    ) -> Answer {
        let path = match path {
            "*" => path.to_owned(),
            _ => format!("{}{path}", self.prefix),
        };
        let mut fields = fields.to_vec();
        let length = body.len().to_string();
        if !body.is_empty() {
            fields.push(("content-length", &length));
        }
        match &mut self.client {
            Client::Http1(client) => {
                let lines: String = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                client.send(format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}"
                ));
                let mut interim = Vec::new();
                let response = loop {
                    let response = client.response(method == "HEAD");
                    match response.status {
                        100..200 => interim.push(response.status),
                        _ => break response,
                    }
                };
                let lines = |text: &str| {
                    let lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
                    let owned = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    owned.collect()
                };
                Answer {
                    way: self.name.clone(),
                    status: response.status,
                    fields: lines(response.head()),
                    trailers: lines(&response.trailers),
                    body: response.body,
                    interim,
                }
            }
            Client::Http2(client) => {
                let body = match body {
                    "" => Body::Empty,
                    body => Body::Full(body.into()),
                };
                let response = client.ask(method, &path, &fields, body);
                assert_eq!(response.reset, None, "{}: {method} {path}", self.name);
                Answer {
                    way: self.name.clone(),
                    status: response.status(),
                    fields: response.all_fields(),
                    interim: response.informational.clone(),
                    trailers: response.trailers,
                    body: response.body,
                }
            }
        }
    }
}

/// A proxy to a scripted upstream, with clients of both protocols.
pub(super) struct Front {
    pub(super) upstream: Upstream,
    pub(super) server: Server,
}

impl Front {
    pub(super) fn new(upstream: Upstream, flags: &[&str]) -> Self {
        let route = upstream.route("/");
        let mut all = vec!["--route", &*route, "--log", "warn"];
        all.extend(flags);
        let server = Server::start(&all);
        Self { upstream, server }
    }

    /// Starts a proxy whose HTTP/2 upstream answers every request with this response.
    pub(super) fn http2(
        head: ResponseHead,
        body: &'static str,
        trailers: &'static [(&'static str, &'static str)],
    ) -> Self {
        let upstream = Upstream::http2(head, body, trailers);
        let route = upstream.h2c_route("/");
        let server = Server::start(&["--route", &route, "--log", "warn"]);
        Self { upstream, server }
    }

    pub(super) fn answering(response: &'static str) -> Self {
        Self::new(Upstream::answering(response), &[])
    }

    pub(super) fn ways(&self) -> [Way; 2] {
        [
            Way::http1(self.server.h2c, ""),
            Way::http2(self.server.h2c, ""),
        ]
    }

    /// Returns a request as the upstream got it, as a head of HTTP/1.1.
    pub(super) fn seen(&self) -> String {
        self.upstream.seen()
    }
}

/// Returns the values of a field's lines in a head of HTTP/1.1.
pub(super) fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let fields = lines.filter_map(|line| line.split_once(": "));
    fields
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}
