//! A route to an upstream.

use clap::ValueEnum;

/// A route to an upstream.
#[derive(Clone, Debug)]
pub struct Route {
    /// The index of the upstream in [`Settings::upstreams`](super::Settings::upstreams).
    pub upstream: usize,
    /// The path that replaces the route's; with `None` the path stays as it is.
    pub base: Option<Box<str>>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The upstream's own host, and port if it was given.
    pub authority: Box<str>,
    /// Whether `authority` replaces the client's Host.
    pub host: Host,
}

/// The Host that upstreams get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// The client's.
    Keep,
    /// The host of the upstream's URL.
    Rewrite,
}
