//! The configuration of an engine: settings, limits, timeouts.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::MemoryBudget;
use crate::limits::AbuseLimits;
use crate::wall_clock::WallClock;

/// The settings, limits and timeouts of a connection. [`Config::server`] or [`Config::client`]
/// makes one, its fields can be changed, and [`Config::build`] checks them once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// SETTINGS_HEADER_TABLE_SIZE in bytes: the memory that the peer's encoder may use here.
    /// Default 4,096.
    pub header_table_size: u32,
    /// The largest table of our own encoder in bytes, even if the peer allows more. Default 4,096.
    pub encoder_table_size: u32,
    /// Client: SETTINGS_ENABLE_PUSH. Default off.
    pub enable_push: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS: the streams that the peer may have open at once. Default
    /// 100.
    pub max_concurrent_streams: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes, up to 2^31-1: the body that each stream may send
    /// before we grant more. Default 65,535.
    pub initial_window_size: u32,
    /// The size up to which a stream's receive window grows, in bytes, up to 2^31-1. Windows don't
    /// grow if it is at most `initial_window_size`. Default 16 MiB.
    pub max_stream_window_size: u32,
    /// The budget for the memory that peers may make us hold, for all connections that share it.
    /// Default none: no limit.
    pub memory_budget: Option<Arc<MemoryBudget>>,
    /// SETTINGS_MAX_FRAME_SIZE in bytes, 16,384 to 2^24-1. Default 16,384.
    pub max_frame_size: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE in bytes, including 32 for each field. Default 32 KiB.
    pub max_header_list_size: u32,
    /// The most fields in one list, without cookie crumbs. Default 100.
    pub max_header_fields: u32,
    /// The most `cookie` fields in one list. Default 256.
    pub max_cookie_crumbs: u32,
    /// Server: SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441). Default off.
    pub enable_connect_protocol: bool,
    /// The time of day for the engine's own responses, such as a 431. Default none: they have no
    /// `date`.
    pub wall_clock: Option<WallClock>,
    /// The priority signals that count. Default those of RFC 9218 alone.
    pub priorities: Priorities,
    /// Server: the bytes of waiting heads, small bodies and control frames above which
    /// `receive` takes no more input. They wait for `transmit`. Default 32 KiB.
    pub outbound_high_water: usize,
    /// The least rate of a body in bytes per second while the peer may send. It is checked at the
    /// end of each period of [`Timeouts::body`], over that period and the one before. 0 turns it
    /// off. Default 240 for a server, off for a client.
    pub min_body_rate: u32,
    /// Whether frames of unknown types are reported as
    /// [`Event::UnknownFrame`](crate::Event::UnknownFrame). Default off.
    pub report_unknown_frames: bool,
    /// Whether the ends of our messages are reported as [`Event::Sent`](crate::Event::Sent), for an
    /// access log. Default off.
    pub report_sent: bool,
    /// The time limits.
    pub timeouts: Timeouts,
    /// The budgets against abuse.
    pub abuse: AbuseLimits,
}

/// Which priority signals of a client count. Requests of a client have the order of RFC 9218 in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priorities {
    /// Those of RFC 9218. The peer learns it by SETTINGS_NO_RFC7540_PRIORITIES of 1 (RFC 9218
    /// §2.1).
    #[default]
    Rfc9218,
    /// Those of RFC 7540 too, from clients that send no others. The setting is not sent. From the
    /// first `priority` field, PRIORITY_UPDATE or SETTINGS_NO_RFC7540_PRIORITIES of 1 on, only RFC
    /// 9218 counts for that client.
    Auto,
}

/// Time limits of a connection. A zero duration turns a limit off, and so does one of more than a
/// hundred years, such as [`Duration::MAX`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// The time from the start until the peer's preface and first SETTINGS have arrived. Default
    /// 10 s.
    pub handshake: Duration,
    /// The time until our SETTINGS are acknowledged; then SETTINGS_TIMEOUT (RFC 9113 §6.5.3).
    /// Default 10 s.
    pub settings_ack: Duration,
    /// The time from a header block's first bytes to its END_HEADERS. Default 10 s.
    pub header_block: Duration,
    /// The time between two pieces of a body that the peer sends and we have window for. Default
    /// 30 s.
    pub body: Duration,
    /// Server: the time for the rest of a request that was answered early; after it the rest isn't
    /// read. Default 5 s.
    pub discard: Duration,
    /// The time in which the peer's windows must let 16 KiB of the waiting data through, for a
    /// stream or for the connection. Default 30 s.
    pub write: Duration,
    /// The time with no stream open. Default 10 min.
    pub idle: Duration,
    /// The silence after which a PING checks that the peer is still there, once for each silence
    /// and while streams are open. For clients, whose server may disappear silently. Default off.
    pub probe: Duration,
    /// The silence after which a PING checks that the peer is still there and keeps the path open,
    /// with and without streams, and again after each silence; in place of `probe`. For servers: a
    /// server may take a client's PINGs for an attack. Default off.
    pub keep_alive: Duration,
    /// The time until the answer to a PING of `probe` or `keep_alive`; after it the connection
    /// closes. Default 10 s.
    pub probe_answer: Duration,
    /// The time from the start of a graceful end until it is forced. Default 30 s.
    pub shutdown: Duration,
}

/// A time that no connection lasts.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Timeouts {
    /// Sets limits to zero that no connection reaches: a point in time so far away can't be
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
            &mut self.keep_alive,
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
            keep_alive: Duration::ZERO,
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
    /// The value as it was set.
    pub value: u64,
    /// The allowed values, in words.
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
    /// Returns the defaults of a server.
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
            report_unknown_frames: false,
            report_sent: false,
            timeouts: Timeouts::default(),
            abuse: AbuseLimits::default(),
        }
    }

    /// Returns the defaults of a client: those of a server, with room for larger response heads and
    /// with the budgets against abuse that suit servers of one's own choice
    /// ([`AbuseLimits::for_upstreams`]). A response may be slow as long as it makes progress.
    pub fn client() -> Self {
        Self {
            max_header_list_size: 64 << 10,
            min_body_rate: 0,
            abuse: AbuseLimits::for_upstreams(),
            ..Self::server()
        }
    }

    /// Returns the value of the `date` field for the engine's own responses.
    pub fn date(&self) -> Option<String> {
        self.wall_clock.as_ref().and_then(WallClock::date)
    }

    /// Checks every value and makes the configuration sharable.
    ///
    /// # Errors
    /// Returns the first value that is out of its range.
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
        // RFC 9113 §6.5.2 defines these ranges.
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
