//! Plain counters of a pool.

/// What a pool has done so far, and has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that came about.
    pub connected: u64,
    /// Connections that didn't.
    pub connect_failures: u64,
    /// Requests that were sent on a connection; one that is sent again counts again, and one that is cancelled before there is
    /// a connection doesn't.
    pub sent: u64,
    /// Those of them that went on a connection which had carried another one before.
    pub reused: u64,
    /// Requests that were sent again.
    pub retried: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Connections open now, those that are being dialled too.
    pub open: u64,
    /// Connections of these without a request.
    pub idle: u64,
}
