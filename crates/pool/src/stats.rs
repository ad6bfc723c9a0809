//! Plain counters of a pool.

/// Counters of what a pool has done, and gauges of what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were established.
    pub connected: u64,
    /// Connections that couldn't be established.
    pub connect_failures: u64,
    /// Requests that were sent on a connection. A request that is sent again counts again; one that
    /// was cancelled before there was a connection doesn't count.
    pub sent: u64,
    /// How many of `sent` went on a connection that had carried a request before.
    pub reused: u64,
    /// Requests that were sent again.
    pub retried: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Connections that are open or being dialled.
    pub open: u64,
    /// How many of `open` have no request.
    pub idle: u64,
}

impl Stats {
    /// Adds another pool's counters and gauges.
    pub fn add(&mut self, other: &Self) {
        let Self {
            connected,
            connect_failures,
            sent,
            reused,
            retried,
            failed,
            open,
            idle,
        } = other;
        self.connected += connected;
        self.connect_failures += connect_failures;
        self.sent += sent;
        self.reused += reused;
        self.retried += retried;
        self.failed += failed;
        self.open += open;
        self.idle += idle;
    }
}
