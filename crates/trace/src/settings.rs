//! The settings of an engine that a replay needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_http::{AbuseLimits, Config, Priorities, Rate};

use crate::text::milliseconds;

/// The settings and limits of the engine of a connection. Their names are those of
/// [`Config`](tidegate_http::Config); those that are absent are its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineSettings {
    header_table_size: u32,
    encoder_table_size: u32,
    max_concurrent_streams: u32,
    initial_window_size: u32,
    max_stream_window_size: u32,
    max_frame_size: u32,
    max_header_list_size: u32,
    max_header_fields: u32,
    max_cookie_crumbs: u32,
    enable_connect_protocol: bool,
    rfc7540_priorities: bool,
    outbound_high_water: usize,
    min_body_rate: u32,
    timeouts: TimeoutSettings,
    abuse: AbuseSettings,
}

/// Copies fields of the same name.
macro_rules! mirror {
    ($(#[$doc:meta])* $mirror:ident of $original:ty { $($field:ident: $kind:ty $(= $with:literal)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        struct $mirror {
            $($(#[serde(with = $with)])? $field: $kind,)*
        }

        impl $mirror {
            fn of(original: &$original) -> Self {
                Self { $($field: original.$field.into(),)* }
            }

            fn apply(&self, original: &mut $original) {
                $(original.$field = self.$field.into();)*
            }
        }

        impl Default for $mirror {
            fn default() -> Self {
                Self::of(&<$original>::default())
            }
        }
    };
}

mirror! {
    /// The time limits in milliseconds.
    TimeoutSettings of tidegate_http::Timeouts {
        handshake: Duration = "milliseconds",
        settings_ack: Duration = "milliseconds",
        header_block: Duration = "milliseconds",
        body: Duration = "milliseconds",
        discard: Duration = "milliseconds",
        write: Duration = "milliseconds",
        idle: Duration = "milliseconds",
        probe: Duration = "milliseconds",
        keep_alive: Duration = "milliseconds",
        probe_answer: Duration = "milliseconds",
        shutdown: Duration = "milliseconds",
    }
}

/// A [`Rate`]: the burst, and the refill per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct RateSetting(u32, u32);

impl From<Rate> for RateSetting {
    fn from(rate: Rate) -> Self {
        Self(rate.burst, rate.per_second)
    }
}

impl From<RateSetting> for Rate {
    fn from(RateSetting(burst, per_second): RateSetting) -> Self {
        Self::new(burst, per_second)
    }
}

mirror! {
    /// The budgets against abuse.
    AbuseSettings of AbuseLimits {
        resets: RateSetting,
        provoked_resets: u32,
        continuations: u32,
        header_block_factor: u32,
        small_continuations: RateSetting,
        header_list_factor: u32,
        header_fields: u32,
        pings: RateSetting,
        pings_per_data: u32,
        settings: RateSetting,
        settings_entries: u32,
        goaways: RateSetting,
        priorities: RateSetting,
        priorities_per_stream: u32,
        window_updates: RateSetting,
        window_updates_per_data: u32,
        window_updates_per_stream: u32,
        empty_data: RateSetting,
        unknown_frames: RateSetting,
        closed_streams: RateSetting,
        pauses: RateSetting,
    }
}

impl EngineSettings {
    /// Returns the settings of an engine.
    pub fn of(config: &Config) -> Self {
        Self {
            header_table_size: config.header_table_size,
            encoder_table_size: config.encoder_table_size,
            max_concurrent_streams: config.max_concurrent_streams,
            initial_window_size: config.initial_window_size,
            max_stream_window_size: config.max_stream_window_size,
            max_frame_size: config.max_frame_size,
            max_header_list_size: config.max_header_list_size,
            max_header_fields: config.max_header_fields,
            max_cookie_crumbs: config.max_cookie_crumbs,
            enable_connect_protocol: config.enable_connect_protocol,
            rfc7540_priorities: config.priorities == Priorities::Auto,
            outbound_high_water: config.outbound_high_water,
            min_body_rate: config.min_body_rate,
            timeouts: TimeoutSettings::of(&config.timeouts),
            abuse: AbuseSettings::of(&config.abuse),
        }
    }

    /// Returns the settings for an engine of a server. It has no memory budget and no clock.
    pub fn config(&self) -> Config {
        let mut config = Config::server();
        config.header_table_size = self.header_table_size;
        config.encoder_table_size = self.encoder_table_size;
        config.max_concurrent_streams = self.max_concurrent_streams;
        config.initial_window_size = self.initial_window_size;
        config.max_stream_window_size = self.max_stream_window_size;
        config.max_frame_size = self.max_frame_size;
        config.max_header_list_size = self.max_header_list_size;
        config.max_header_fields = self.max_header_fields;
        config.max_cookie_crumbs = self.max_cookie_crumbs;
        config.enable_connect_protocol = self.enable_connect_protocol;
        config.priorities = if self.rfc7540_priorities {
            Priorities::Auto
        } else {
            Priorities::Rfc9218
        };
        config.outbound_high_water = self.outbound_high_water;
        config.min_body_rate = self.min_body_rate;
        self.timeouts.apply(&mut config.timeouts);
        self.abuse.apply(&mut config.abuse);
        config
    }

    /// Returns SETTINGS_HEADER_TABLE_SIZE in bytes.
    pub fn header_table_size(&self) -> u32 {
        self.header_table_size
    }

    /// Returns SETTINGS_MAX_FRAME_SIZE in bytes.
    pub fn max_frame_size(&self) -> u32 {
        self.max_frame_size
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self::of(&Config::server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        let mut config = Config::server();
        config.header_table_size = 7;
        config.priorities = Priorities::Auto;
        config.timeouts.body = Duration::from_micros(1500);
        config.abuse.pings = Rate::new(3, 4);
        let settings = EngineSettings::of(&config);
        let json = serde_json::to_string(&settings).unwrap();
        let back: EngineSettings = serde_json::from_str(&json).unwrap();
        assert_eq!(back, settings);
        let config = back.config();
        assert_eq!(config.header_table_size, 7);
        assert_eq!(config.timeouts.body, Duration::from_micros(1500));
        assert_eq!(config.abuse.pings, Rate::new(3, 4));
        assert_eq!(config.priorities, Priorities::Auto);
        // What a file leaves out is the default.
        let empty: EngineSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, EngineSettings::default());
    }
}
