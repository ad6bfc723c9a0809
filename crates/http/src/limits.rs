//! The limits of the guard: what a server allows its clients, and what a client allows its servers.

/// The size and the refill rate of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The units that can be spent at once. The time is read only when these are used up, so after
    /// a quiet period they can be spent twice in a row.
    pub burst: u32,
    /// The units refilled per second, up to `burst`.
    pub per_second: u32,
}

impl Rate {
    /// A budget of `burst` units at once, refilled at `per_second`.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    /// Returns this rate, or that of `other` where it is higher.
    pub fn or_more(self, other: Self) -> Self {
        Self {
            burst: self.burst.max(other.burst),
            per_second: self.per_second.max(other.per_second),
        }
    }
}

/// Budgets per connection. Each field names the attack that it answers; raise a field if your
/// honest peers exceed it.
///
/// Two things can follow. After cheap and harmless frames the engine *pauses*: for 100 ms it takes
/// no more input, so TCP slows the peer down. Only a peer that needs more pauses than
/// [`pauses`](Self::pauses) allows is cut off. Attacks at any rate (resets, floods of CONTINUATION,
/// header bombs) are cut off at once. A server cuts off by GOAWAY with ENHANCE_YOUR_CALM and the
/// violation's name as debug data. A client opens no more streams on such a connection, and lets
/// open streams finish.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AbuseLimits {
    /// Streams that the peer resets (Rapid Reset, CVE-2023-44487), each 1, without pushes, and
    /// streams that it makes us reset (MadeYouReset, CVE-2025-8671), each 2. Never less than
    /// SETTINGS_MAX_CONCURRENT_STREAMS at once, because a browser that leaves a page cancels all
    /// its streams, and a quarter of them per second. Default 500 and 100 per second.
    pub resets: Rate,
    /// Recent streams that the peer may make us reset (MadeYouReset, CVE-2025-8671), including
    /// malformed requests. Above this number they must stay below a quarter of the streams that it
    /// opened recently. Both numbers are halved every five seconds. Streams that our own time
    /// limits end don't count. Default 100.
    pub provoked_resets: u32,
    /// CONTINUATION frames in one header block (CONTINUATION flood, CVE-2024-27316). Default 8.
    pub continuations: u32,
    /// Bytes of a header block as sent, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE
    /// (CONTINUATION flood, CVE-2024-27316). Checked at each CONTINUATION frame. Default 2.
    pub header_block_factor: u32,
    /// CONTINUATION frames of less than 1 KiB that don't end their block (CVE-2026-33871). Default
    /// 100 and 10 per second.
    pub small_continuations: Rate,
    /// Bytes of a decoded header list, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE (HPACK bomb,
    /// CVE-2016-6581). A list between the limit and this fails only its stream. Default 4.
    pub header_list_factor: u32,
    /// Fields of a decoded header list, including cookie crumbs (field-count bomb, CVE-2026-49975).
    /// A list between the limit on fields and this fails only its stream. Default 1,000.
    pub header_fields: u32,
    /// PING frames that must be answered (CVE-2019-9512), beyond those that the next field
    /// justifies; then a pause. Default 500 and 200 per second.
    pub pings: Rate,
    /// PING frames that each DATA frame of ours justifies: gRPC measures the path with them while
    /// it receives a body. Default 1.
    pub pings_per_data: u32,
    /// SETTINGS frames (CVE-2019-9515), each 1, and 1 more per `settings_entries` entries; then a
    /// pause. Default 50 and 10 per second.
    pub settings: Rate,
    /// Entries of a SETTINGS frame that cost as much as another frame (CVE-2019-9515). Default 32.
    pub settings_entries: u32,
    /// GOAWAY frames; then a pause. Default 20 and 5 per second.
    pub goaways: Rate,
    /// PRIORITY and PRIORITY_UPDATE frames (CVE-2019-9513) beyond those that the next field
    /// justifies; then a pause. Never less than SETTINGS_MAX_CONCURRENT_STREAMS at once. Default
    /// 1,000 and 1,000 per second.
    pub priorities: Rate,
    /// PRIORITY and PRIORITY_UPDATE frames that each stream justifies. Default 4.
    pub priorities_per_stream: u32,
    /// WINDOW_UPDATE frames beyond those that the next two fields and each byte of DATA sent
    /// justify; then a pause. Default 1,000 and 1,000 per second.
    pub window_updates: Rate,
    /// WINDOW_UPDATE frames that each DATA frame of ours justifies. Default 10.
    pub window_updates_per_data: u32,
    /// WINDOW_UPDATE frames that each stream justifies. Default 4.
    pub window_updates_per_stream: u32,
    /// DATA frames without payload that don't end their stream (CVE-2019-9518), beyond one for each
    /// stream and for each DATA frame with bytes; then a pause. Default 1,000 and 1,000 per second.
    pub empty_data: Rate,
    /// Frames of unknown types, which must be ignored (RFC 9113 §5.5): each 1, and 1 more per full
    /// KiB; then a pause. Default 1,000 and 1,000 per second.
    pub unknown_frames: Rate,
    /// Frames on closed streams, beyond two for each stream; then a pause. WINDOW_UPDATE and
    /// priorities have budgets of their own. Default 1,000 and 1,000 per second.
    pub closed_streams: Rate,
    /// Pauses of 100 ms; then a server cuts the connection off, and a client drains it. Default 100
    /// and 1 per second.
    pub pauses: Rate,
}

impl Default for AbuseLimits {
    fn default() -> Self {
        Self {
            resets: Rate::new(500, 100),
            provoked_resets: 100,
            continuations: 8,
            header_block_factor: 2,
            small_continuations: Rate::new(100, 10),
            header_list_factor: 4,
            header_fields: 1000,
            pings: Rate::new(500, 200),
            pings_per_data: 1,
            settings: Rate::new(50, 10),
            settings_entries: 32,
            goaways: Rate::new(20, 5),
            priorities: Rate::new(1000, 1000),
            priorities_per_stream: 4,
            window_updates: Rate::new(1000, 1000),
            window_updates_per_data: 10,
            window_updates_per_stream: 4,
            empty_data: Rate::new(1000, 1000),
            unknown_frames: Rate::new(1000, 1000),
            closed_streams: Rate::new(1000, 1000),
            pauses: Rate::new(100, 1),
        }
    }
}

impl AbuseLimits {
    /// Returns the limits of a client for servers that its operator chose: at least ten times as
    /// much as for strangers. Such a connection carries requests of many clients, so a head that is
    /// too large should fail only its own stream. A list beyond
    /// [`Config::max_header_list_size`](crate::Config::max_header_list_size) isn't kept and only
    /// costs time; a block is kept until it is complete.
    pub fn for_upstreams() -> Self {
        Self {
            resets: Rate::new(10_000, 1000),
            provoked_resets: 1000,
            continuations: 32,
            header_block_factor: 8,
            header_list_factor: 40,
            header_fields: 10_000,
            small_continuations: Rate::new(1000, 100),
            pings: Rate::new(5000, 1000),
            settings: Rate::new(200, 20),
            goaways: Rate::new(100, 10),
            priorities: Rate::new(10_000, 10_000),
            window_updates: Rate::new(10_000, 10_000),
            empty_data: Rate::new(10_000, 10_000),
            unknown_frames: Rate::new(10_000, 10_000),
            closed_streams: Rate::new(10_000, 10_000),
            ..Self::default()
        }
    }
}
