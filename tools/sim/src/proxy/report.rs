//! The outcome of seeds.

/// The outcome of seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Requests that clients made.
    pub(crate) requests: u64,
    /// Responses of upstreams whose end a client saw.
    pub(crate) answered: u64,
    /// Responses of the gateway's own.
    pub(crate) gateway: u64,
    /// Requests that were reset, or lost with their client's connection.
    pub(crate) reset: u64,
    /// Requests that clients cancelled.
    pub(crate) cancelled: u64,
    /// Tunnels that went through to both ends.
    pub(crate) tunnels: u64,
    /// Bytes of bodies that arrived at clients and upstreams.
    pub(crate) bytes: u64,
    /// Requests that an upstream saw a second time.
    pub(crate) repeated: u64,
    /// Streams that upstreams refused.
    pub(crate) refused: u64,
    /// Connections to upstreams.
    pub(crate) connections: u64,
    /// Connections that were refused, cut or reset.
    pub(crate) faults: u64,
    /// Bytes of bodies that dripped.
    pub(crate) dripped: u64,
    /// How often the proxy's process paused.
    pub(crate) pauses: u64,
    /// Seeds in which clients take all they can of what they share.
    pub(crate) sieges: u64,
    /// Newcomers that were answered then.
    pub(crate) newcomers: u64,
    /// The longest that one waited for its answer, in ms.
    pub(crate) most_waited: u64,
    /// Connections that made room for others.
    pub(crate) made_room: u64,
    /// Connections of clients that were refused.
    pub(crate) connections_refused: u64,
    /// Requests of clients that had as many in progress as they may have.
    pub(crate) requests_refused: u64,
    /// The most bytes that were held beyond the budget.
    pub(crate) most_over: u64,
    /// Turns of the loop.
    pub(crate) turns: u64,
}

impl Report {
    /// Every count with its name.
    pub(crate) fn rows(&self) -> [(&'static str, u64); 21] {
        let mut copy = *self;
        copy.rows_mut().map(|(name, count)| (name, *count))
    }

    fn rows_mut(&mut self) -> [(&'static str, &mut u64); 21] {
        [
            ("requests", &mut self.requests),
            ("answered by an upstream", &mut self.answered),
            ("answered by the gateway", &mut self.gateway),
            ("reset or lost", &mut self.reset),
            ("cancelled", &mut self.cancelled),
            ("tunnels", &mut self.tunnels),
            ("body bytes", &mut self.bytes),
            ("seen twice", &mut self.repeated),
            ("streams refused", &mut self.refused),
            ("connections to upstreams", &mut self.connections),
            ("connections that failed", &mut self.faults),
            ("bytes that dripped", &mut self.dripped),
            ("pauses", &mut self.pauses),
            ("sieges", &mut self.sieges),
            ("newcomers answered in sieges", &mut self.newcomers),
            ("most ms that a newcomer waited", &mut self.most_waited),
            ("connections that made room", &mut self.made_room),
            (
                "connections of clients refused",
                &mut self.connections_refused,
            ),
            ("requests refused by number", &mut self.requests_refused),
            ("most bytes over the budget", &mut self.most_over),
            ("turns", &mut self.turns),
        ]
    }
}
