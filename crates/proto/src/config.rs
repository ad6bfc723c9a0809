//! What an engine is told once: settings, limits, timeouts.

use std::sync::Arc;
use std::time::Duration;

use crate::flow::{MemoryBudget, UNASKED};
use crate::guard::AbuseLimits;
use crate::message::ResponseHead;
use crate::wall_clock::WallClock;

/// Settings, limits and timeouts of a connection. Made by [`Config::server`] or [`Config::client`],
/// changed field by field, then checked once by [`Config::build`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// SETTINGS_HEADER_TABLE_SIZE in bytes: what the peer's encoder may use of our memory. Default
    /// 4,096.
    pub header_table_size: u32,
    /// Bytes that our own encoder's table may take even if the peer allows more. Default 4,096.
    pub encoder_table_size: u32,
    /// Client: SETTINGS_ENABLE_PUSH. Default off.
    pub enable_push: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS: streams that the peer may have open at once. Default 100.
    pub max_concurrent_streams: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes, up to 2^31-1: body that each stream may send us
    /// unasked. Default 65,535.
    pub initial_window_size: u32,
    /// What a stream's receive window may grow to, in bytes, up to 2^31-1. No more than
    /// `initial_window_size`: windows don't grow. Default 16 MiB.
    pub max_stream_window_size: u32,
    /// What peers may make us hold, all connections together that share this. Default none: no
    /// limit.
    pub memory_budget: Option<Arc<MemoryBudget>>,
    /// SETTINGS_MAX_FRAME_SIZE in bytes, 16,384 to 2^24-1. Default 16,384.
    pub max_frame_size: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE in bytes, 32 for each field included. Default 32 KiB.
    pub max_header_list_size: u32,
    /// Fields in one list, cookie crumbs not counted. Default 100.
    pub max_header_fields: u32,
    /// `cookie` fields in one list. Default 256.
    pub max_cookie_crumbs: u32,
    /// Server: SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441). Default off.
    pub enable_connect_protocol: bool,
    /// The time of day for answers of the engine's own, such as a 431. Default none: they have no
    /// `date`.
    pub wall_clock: Option<WallClock>,
    /// Which priority signals count. Default those of RFC 9218 alone.
    pub priorities: Priorities,
    /// Server: bytes of heads, small bodies and control frames that wait for
    /// [`Connection::transmit`](crate::Connection::transmit), above which
    /// [`Connection::receive`](crate::Connection::receive) takes no more input. Default 32 KiB.
    pub outbound_high_water: usize,
    /// Bytes a second that a body has to bring while the peer may send, judged at the end of each
    /// period of [`Timeouts::body`] over that period and the one before. 0 turns it off. Default
    /// 240 for a server, off for a client.
    pub min_body_rate: u32,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Budgets against abuse.
    pub abuse: AbuseLimits,
}

/// Which priority signals of a client count. Requests of a client have the order of RFC 9218 in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priorities {
    /// Those of RFC 9218. SETTINGS_NO_RFC7540_PRIORITIES of 1 says so to the peer (RFC 9218 §2.1).
    #[default]
    Rfc9218,
    /// Those of RFC 7540 too, from clients that give no others. The setting is not sent. A client
    /// that has used a `priority` field, PRIORITY_UPDATE or SETTINGS_NO_RFC7540_PRIORITIES of 1 is
    /// held to RFC 9218 from then on.
    Auto,
}

/// Time limits of a connection. A zero duration turns one off, and so does one of more than a
/// hundred years, such as [`Duration::MAX`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the start until the peer's preface and first SETTINGS are there. Default 10 s.
    pub handshake: Duration,
    /// Until our SETTINGS are acknowledged; then SETTINGS_TIMEOUT (RFC 9113 §6.5.3). Default 10 s.
    pub settings_ack: Duration,
    /// From a header block's first bytes to its END_HEADERS. Default 10 s.
    pub header_block: Duration,
    /// Between two pieces of a body that the peer sends and we have window for. Default 30 s.
    pub body: Duration,
    /// Server: for the rest of a request that was answered before it ended; then it is not read any
    /// further. Default 5 s.
    pub discard: Duration,
    /// While there is data to send and the peer's windows let less than 16 KiB of it through: of a
    /// stream, or of the connection. Default 30 s.
    pub write: Duration,
    /// With no stream open. Default 10 min.
    pub idle: Duration,
    /// While streams are open and nothing has come in for so long, the peer is asked by PING
    /// whether it is still there, once for each silence. For clients, of which a server may be gone
    /// without a word. Default off.
    pub probe: Duration,
    /// Until that is answered; then the connection is over. Default 10 s.
    pub probe_answer: Duration,
    /// From the start of a graceful end to its forced one. Default 30 s.
    pub shutdown: Duration,
}

/// No connection lasts so long.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Timeouts {
    /// Makes zeroes of limits that no connection reaches: a point in time so far away can't be
    /// represented.
    fn turn_off_endless(&mut self) {
        for limit in [
            &mut self.handshake,
            &mut self.settings_ack,
            &mut self.header_block,
            &mut self.body,
            &mut self.discard,
            &mut self.write,
            &mut self.idle,
            &mut self.probe,
            &mut self.probe_answer,
            &mut self.shutdown,
        ] {
            if *limit > ENDLESS {
                *limit = Duration::ZERO;
            }
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            settings_ack: Duration::from_secs(10),
            header_block: Duration::from_secs(10),
            body: Duration::from_secs(30),
            discard: Duration::from_secs(5),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            probe: Duration::ZERO,
            probe_answer: Duration::from_secs(10),
            shutdown: Duration::from_secs(30),
        }
    }
}

/// A value of a [`Config`] out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// The value that was given.
    pub value: u64,
    /// What is allowed, in words.
    pub allowed: &'static str,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is {}, but must be {}",
            self.field, self.value, self.allowed
        )
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The defaults of a server.
    pub fn server() -> Self {
        Self {
            header_table_size: 4096,
            encoder_table_size: 4096,
            enable_push: false,
            max_concurrent_streams: 100,
            initial_window_size: 65_535,
            max_stream_window_size: 16 << 20,
            memory_budget: None,
            max_frame_size: 16_384,
            max_header_list_size: 32 << 10,
            max_header_fields: 100,
            max_cookie_crumbs: 256,
            enable_connect_protocol: false,
            wall_clock: None,
            priorities: Priorities::default(),
            outbound_high_water: 32 << 10,
            min_body_rate: 240,
            timeouts: Timeouts::default(),
            abuse: AbuseLimits::default(),
        }
    }

    /// The defaults of a client: those of a server, with room for larger response heads, and with
    /// the budgets against abuse that suit servers of one's own choice
    /// ([`AbuseLimits::for_upstreams`]). A response may come as slowly as its server likes, as long
    /// as it comes.
    pub fn client() -> Self {
        Self {
            max_header_list_size: 64 << 10,
            min_body_rate: 0,
            abuse: AbuseLimits::for_upstreams(),
            ..Self::server()
        }
    }

    /// The value of the `date` field of an answer of the engine's own.
    pub fn date(&self) -> Option<String> {
        self.wall_clock.as_ref().and_then(WallClock::date)
    }

    /// The head of an answer of the engine's own. RFC 9110 §6.6.1: "An origin server with a clock …
    /// MUST generate a Date header field in all 2xx (Successful), 3xx (Redirection), and 4xx
    /// (Client Error) responses".
    pub(crate) fn own_head(&self, status: u16) -> ResponseHead {
        let head = ResponseHead::new(status);
        match self.date() {
            Some(date) => head.field("date", date),
            None => head,
        }
    }

    /// The window of a stream that nothing is known of, and that none shrinks below.
    pub(crate) fn least_stream_window(&self) -> u32 {
        let most = self.max_stream_window_size.min(UNASKED);
        self.initial_window_size.max(most)
    }

    /// Checks every value and shares the result.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn build(mut self) -> Result<Arc<Self>, ConfigError> {
        self.timeouts.turn_off_endless();
        let check = |field, value: u32, min: u32, max: u32, allowed| {
            let ok = (min..=max).contains(&value);
            if ok {
                Ok(())
            } else {
                Err(ConfigError {
                    field,
                    value: u64::from(value),
                    allowed,
                })
            }
        };
        // RFC 9113 §6.5.2 names these ranges.
        check(
            "initial_window_size",
            self.initial_window_size,
            0,
            0x7fff_ffff,
            "0 to 2147483647",
        )?;
        check(
            "max_stream_window_size",
            self.max_stream_window_size,
            0,
            0x7fff_ffff,
            "0 to 2147483647",
        )?;
        check(
            "max_frame_size",
            self.max_frame_size,
            16_384,
            0xff_ffff,
            "16384 to 16777215",
        )?;
        check(
            "header_table_size",
            self.header_table_size,
            0,
            1 << 24,
            "0 to 16777216",
        )?;
        check(
            "encoder_table_size",
            self.encoder_table_size,
            0,
            1 << 24,
            "0 to 16777216",
        )?;
        Ok(Arc::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_value_that_is_out_of_range() {
        let mut config = Config::server();
        config.max_frame_size = 16_383;
        let error = config.build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "max_frame_size is 16383, but must be 16384 to 16777215"
        );
        let mut config = Config::client();
        config.initial_window_size = 1 << 31;
        assert_eq!(config.build().unwrap_err().field, "initial_window_size");
        assert!(Config::server().build().is_ok());
        assert!(Config::client().build().is_ok());
    }
}
