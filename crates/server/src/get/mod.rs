//! `tidegate get`: fetches URLs over one connection to each server, with as many requests in flight
//! as it allows.
//!
//! - `flags`   the flags
//! - `fetch`   makes the requests and writes the responses, on a loop of its own
//! - `frames`  prints the frames of the connections

pub mod fetch;
pub mod flags;
pub mod frames;

use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use tidegate_http::RequestHead;
use tidegate_net::{EventLoop, Options, TlsConnectorConfig, Trust};
use tidegate_pool::{Security, Upstream, client_config};

use fetch::{Fetcher, Message, Request};
use flags::Flags;

/// Runs the command. Returns exit status 0 if each request gets a response, 2 for a wrong command
/// line, and 1 if a request fails or, with `--fail`, a response has a status of 400 or above.
pub fn main(flags: &Flags) -> ExitCode {
    let fetcher = match prepare(flags) {
        Ok(fetcher) => fetcher,
        Err(error) => {
            eprintln!("tidegate get: {error}");
            return ExitCode::from(2);
        }
    };
    match run(fetcher, flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tidegate get: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the requests. Returns whether there was a response to each.
fn run(fetcher: Fetcher, flags: &Flags) -> std::io::Result<bool> {
    let config = tidegate_http::Config::server();
    let config = config.build().map_err(std::io::Error::other)?;
    let mut options = Options::new(config);
    options.trace = flags.verbose;
    let event_loop = EventLoop::new(Vec::new(), options, fetcher)?;
    let mailbox = event_loop.mailbox();
    mailbox.send(Message::Begin(mailbox.clone()));
    let mut fetcher = event_loop.run()?;
    fetcher.finish();
    Ok(fetcher.failed() == 0 && !(flags.fail && fetcher.has_errors()))
}

/// Reads the URLs, looks up their servers and prepares the requests.
fn prepare(flags: &Flags) -> Result<Fetcher, String> {
    let mut config = client_config();
    config.timeouts.idle = std::time::Duration::from_secs(10);
    let mut options =
        tidegate_pool::Options::new(config.build().map_err(|error| error.to_string())?);
    options.request_timeout = flags.timeout;
    options.connect_timeout = flags.connect_timeout;
    options.max_http2_connections = 1;
    options.max_connections = flags.parallel.min(6) as usize;
    let options = Arc::new(options);
    let body = flags.body()?;
    let mut fetcher = Fetcher::new(flags)?;
    let mut tls = None;
    let mut known: Vec<(String, tidegate_pool::UpstreamId)> = Vec::new();
    for typed in &flags.urls {
        let url = Url::parse(typed)?;
        let server = format!("{}://{}", url.scheme, url.authority);
        let upstream = match known.iter().find(|(name, _)| *name == server) {
            Some((_, upstream)) => *upstream,
            None => {
                let upstream = fetcher.add(upstream(&server, &url, flags, &options, &mut tls)?);
                known.push((server, upstream));
                upstream
            }
        };
        let method = flags.method.as_deref().unwrap_or(match &body {
            Some(_) => "POST",
            None => "GET",
        });
        let scheme = if url.scheme == "https" {
            "https"
        } else {
            "http"
        };
        let mut head = RequestHead::new(method, scheme, &url.authority, &url.path);
        head.push(
            "user-agent",
            concat!("tidegate/", env!("CARGO_PKG_VERSION")),
        );
        head.push("accept", "*/*");
        if let Some(body) = &body {
            head.push("content-length", body.len().to_string());
        }
        for (name, value) in &flags.header {
            head.push(name, value);
        }
        if let Err(invalid) = head.validate() {
            return Err(format!(
                "{typed} can't be requested with this method and these fields: correct --request \
                 or --header ({invalid})"
            ));
        }
        fetcher.push(Request {
            url: typed.clone(),
            upstream,
            head,
            body: body.clone(),
        });
    }
    Ok(fetcher)
}

/// The parts of a URL.
struct Url {
    scheme: String,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn parse(typed: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{typed} isn't a URL: expected https://HOST/PATH, http:// (HTTP/1.1) or h2c:// \
                 (HTTP/2 in cleartext)"
            )
        };
        let uri: Uri = typed.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let default = match scheme {
            "https" => 443,
            "http" | "h2c" => 80,
            _ => return Err(wrong()),
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(default),
            path,
        })
    }
}

fn upstream(
    name: &str,
    url: &Url,
    flags: &Flags,
    options: &Arc<tidegate_pool::Options>,
    tls: &mut Option<Arc<TlsConnectorConfig>>,
) -> Result<Upstream, String> {
    let host = (url.host.as_str(), url.port);
    let found = host.to_socket_addrs();
    let found =
        found.map_err(|error| format!("can't find the address of {}: {error}", url.host))?;
    let security = match url.scheme.as_str() {
        "http" => Security::Http1,
        "h2c" => Security::H2c,
        _ => {
            let config = match tls {
                Some(config) => Arc::clone(config),
                None => Arc::clone(tls.insert(Arc::new(connector(flags)?))),
            };
            Security::Tls {
                config,
                name: ServerName::try_from(url.host.clone())
                    .map_err(|_| format!("no certificate can be for {}", url.host))?,
            }
        }
    };
    Ok(Upstream {
        name: name.to_owned(),
        addresses: found.map(Into::into).collect(),
        security,
        options: Arc::clone(options),
    })
}

fn connector(flags: &Flags) -> Result<TlsConnectorConfig, String> {
    let trust = match &flags.cacert {
        _ if flags.insecure => Trust::Anybody,
        None => Trust::System,
        Some(path) => {
            let text = std::fs::read(path);
            Trust::Pem(text.map_err(|error| format!("can't read {}: {error}", path.display()))?)
        }
    };
    TlsConnectorConfig::new(&trust, None).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parts = |typed| {
            let url = Url::parse(typed).unwrap();
            (url.scheme, url.host, url.port, url.path)
        };
        let (https, h2c) = ("https".to_owned(), "h2c".to_owned());
        assert_eq!(
            parts("https://a"),
            (https.clone(), "a".into(), 443, "/".into())
        );
        assert_eq!(parts("https://a?b"), (https, "a".into(), 443, "/?b".into()));
        assert_eq!(
            parts("h2c://[::1]:8080/x?y=z"),
            (h2c, "::1".into(), 8080, "/x?y=z".into())
        );
        for wrong in [
            "",
            "a",
            "/a",
            "ftp://a/",
            "https://",
            "https:///a",
            "https://u@a/",
            "https://a b/",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }
}
