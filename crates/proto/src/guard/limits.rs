//! The numbers of the guard: what a server allows its clients, and what a client allows its servers.

/// How fast a budget is spent and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What can be spent at once. Time is only looked at when this is used up, so after a quiet time it can be spent
    /// twice in a row.
    pub burst: u32,
    /// What comes back each second, up to `burst`.
    pub per_second: u32,
}

impl Rate {
    /// A budget of `burst` at once, of which `per_second` come back each second.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    /// This rate, or as much as `other` allows where that is more.
    pub(super) fn or_more(self, other: Self) -> Self {
        Self {
            burst: self.burst.max(other.burst),
            per_second: self.per_second.max(other.per_second),
        }
    }
}

/// Budgets per connection. Each field names the attack that it answers; raise one if honest peers of yours trip it.
///
/// Two things can follow. Frames that are cheap and do no harm make the engine *pause*: for 100 ms it takes no more input,
/// so TCP holds the peer up. Only a peer that needs more pauses than [`pauses`](Self::pauses) allows is cut off. What is
/// an attack whatever its rate (resets, floods of CONTINUATION, header bombs) is cut off at once. A server cuts off by
/// GOAWAY with ENHANCE_YOUR_CALM and the violation's name as debug data. A client opens no more streams on such a
/// connection and lets those that are open finish.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AbuseLimits {
    /// Streams that the peer resets (Rapid Reset, CVE-2023-44487), each 1, pushes not counted, and streams that it makes us
    /// reset (MadeYouReset, CVE-2025-8671), each 2. Never less than SETTINGS_MAX_CONCURRENT_STREAMS at once, since a
    /// browser that leaves a page cancels all its streams, and a quarter of them each second. Default 500 and 100 per
    /// second.
    pub resets: Rate,
    /// Streams of late that the peer may make us reset (MadeYouReset, CVE-2025-8671), malformed requests included. Above
    /// it they must stay below a quarter of the streams that it opened of late. Both counts are halved every five
    /// seconds. Streams that our own time limits end are not counted. Default 100.
    pub provoked_resets: u32,
    /// CONTINUATION frames in one header block (CONTINUATION flood, CVE-2024-27316). Default 8.
    pub continuations: u32,
    /// Bytes of a header block as it is sent, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE (CONTINUATION flood,
    /// CVE-2024-27316). Checked at each CONTINUATION frame. Default 2.
    pub header_block_factor: u32,
    /// CONTINUATION frames of less than 1 KiB that don't end their block (CVE-2026-33871). Default 100 and 10 per second.
    pub small_continuations: Rate,
    /// Bytes of a decoded header list, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE (HPACK bomb, CVE-2016-6581). A
    /// list between the limit and this fails its stream only. Default 4.
    pub header_list_factor: u32,
    /// Fields of a decoded header list, cookie crumbs included (field-count bomb, CVE-2026-49975). A list between the
    /// limit on fields and this fails its stream only. Default 1,000.
    pub header_fields: u32,
    /// PING frames that must be answered (CVE-2019-9512), beyond those that the next field justifies; then a pause.
    /// Default 500 and 200 per second.
    pub pings: Rate,
    /// PING frames that each DATA frame of ours justifies: gRPC measures the path with them while a body comes in.
    /// Default 1.
    pub pings_per_data: u32,
    /// SETTINGS frames (CVE-2019-9515), each 1, and 1 more for each `settings_entries` that it has; then a pause. Default
    /// 50 and 10 per second.
    pub settings: Rate,
    /// Entries of a SETTINGS frame that cost as much as another frame (CVE-2019-9515). Default 32.
    pub settings_entries: u32,
    /// GOAWAY frames; then a pause. Default 20 and 5 per second.
    pub goaways: Rate,
    /// PRIORITY and PRIORITY_UPDATE frames (CVE-2019-9513) beyond those that the next field justifies; then a pause. Never
    /// less than SETTINGS_MAX_CONCURRENT_STREAMS at once. Default 1,000 and 1,000 per second.
    pub priorities: Rate,
    /// PRIORITY and PRIORITY_UPDATE frames that each stream justifies. Default 4.
    pub priorities_per_stream: u32,
    /// WINDOW_UPDATE frames beyond those that the next two fields and each byte of DATA that went out justify; then a
    /// pause. Default 1,000 and 1,000 per second.
    pub window_updates: Rate,
    /// WINDOW_UPDATE frames that each DATA frame of ours justifies. Default 10.
    pub window_updates_per_data: u32,
    /// WINDOW_UPDATE frames that each stream justifies. Default 4.
    pub window_updates_per_stream: u32,
    /// DATA frames without payload that don't end their stream (CVE-2019-9518), beyond one for each stream and for each DATA
    /// frame with bytes; then a pause. Default 1,000 and 1,000 per second.
    pub empty_data: Rate,
    /// Frames of unknown kinds, which must be ignored (RFC 9113 §5.5): each 1, and 1 more for each whole KiB; then a pause.
    /// Default 1,000 and 1,000 per second.
    pub unknown_frames: Rate,
    /// Frames on streams that are over, beyond two for each stream; then a pause. WINDOW_UPDATE and priorities are counted
    /// by their own budgets. Default 1,000 and 1,000 per second.
    pub closed_streams: Rate,
    /// Pauses of 100 ms; then the connection is cut off, or drained by a client. Default 100 and 1 per second.
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
    /// What a client allows the servers that its operator chose: ten times as much as strangers are allowed, and more. Many
    /// clients' requests share such a connection, so a head that is too large is to end its own stream only. A list beyond
    /// [`Config::max_header_list_size`](crate::Config::max_header_list_size) isn't kept, so it costs time; a block is, until it
    /// is whole.
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
