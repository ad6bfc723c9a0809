//! The flags of `tidegate get`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::flags::values::{duration, number};

/// Fetches URLs over one connection to each server, with as many requests in progress as it allows:
/// https:// (HTTP/2 or HTTP/1.1 by ALPN), http:// (HTTP/1.1) or h2c:// (HTTP/2 in cleartext)
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// URL to request
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,

    /// Print every frame sent or received on stderr
    #[arg(short, long)]
    pub verbose: bool,

    /// Write each response's head before its body
    #[arg(short, long)]
    pub include: bool,

    /// Write the bodies to this file, one after the other in the order of the URLs [default:
    /// stdout]
    #[arg(short, long, value_name = "FILE", conflicts_with = "discard")]
    pub output: Option<PathBuf>,

    /// Write no bodies; summarize how the requests were answered
    #[arg(short = 'n', long)]
    pub discard: bool,

    /// Exit with status 1 if a response's status is 400 or above
    #[arg(short, long)]
    pub fail: bool,

    /// Method [default: GET, or POST with --data]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,

    /// A request field, such as 'accept: text/html'. Repeatable
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,

    /// The requests' body, or with @FILE the content of that file
    #[arg(short, long, value_name = "DATA|@FILE")]
    pub data: Option<String>,

    /// Requests in progress at once
    #[arg(short = 'm', long, value_name = "N", default_value_t = 100, value_parser = number::<1, 10_000>)]
    pub parallel: u32,

    /// Trust server certificates that are in this file (PEM) or signed by an authority in it
    /// [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Trust any certificate
    #[arg(short = 'k', long)]
    pub insecure: bool,

    /// Fail if TCP and TLS take longer than this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Fail a request after this long without progress
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

impl Flags {
    /// Returns the body of the requests, if they have one.
    ///
    /// # Errors
    /// A sentence when its file can't be read.
    pub fn body(&self) -> Result<Option<Bytes>, String> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let body = match data.strip_prefix('@') {
            None => Bytes::from(data.clone()),
            Some(path) => std::fs::read(path)
                .map_err(|error| format!("can't read {path}: {error}"))?
                .into(),
        };
        Ok(Some(body))
    }
}

fn header(typed: &str) -> Result<(String, String), String> {
    match typed.split_once(':') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("expected NAME: VALUE".into()),
    }
}
