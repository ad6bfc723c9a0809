//! The kinds of budgets, and their rates.

use tidegate_http::{Config, Rate};

/// The kinds of budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Resets,
    SmallContinuations,
    Pings,
    Settings,
    GoAways,
    Priorities,
    WindowUpdates,
    EmptyData,
    UnknownFrames,
    ClosedStreams,
    Pauses,
}

impl Kind {
    /// All kinds, in their order.
    pub(super) const ALL: [Self; 11] = [
        Self::Resets,
        Self::SmallContinuations,
        Self::Pings,
        Self::Settings,
        Self::GoAways,
        Self::Priorities,
        Self::WindowUpdates,
        Self::EmptyData,
        Self::UnknownFrames,
        Self::ClosedStreams,
        Self::Pauses,
    ];

    pub(super) fn rate(self, config: &Config) -> Rate {
        let limits = &config.abuse;
        let streams = config.max_concurrent_streams;
        match self {
            // A browser that leaves a page cancels all streams that it may have open, and may do so
            // repeatedly.
            Self::Resets => limits.resets.or_more(Rate::new(streams, streams / 4)),
            Self::SmallContinuations => limits.small_continuations,
            Self::Pings => limits.pings,
            Self::Settings => limits.settings,
            Self::GoAways => limits.goaways,
            // Each stream that a peer may have open justifies a signal at once.
            Self::Priorities => limits.priorities.or_more(Rate::new(streams, 0)),
            Self::WindowUpdates => limits.window_updates,
            Self::EmptyData => limits.empty_data,
            Self::UnknownFrames => limits.unknown_frames,
            Self::ClosedStreams => limits.closed_streams,
            Self::Pauses => limits.pauses,
        }
    }
}

impl Kind {
    /// Returns the name, which is that of its field in `AbuseLimits`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::SmallContinuations => "small_continuations",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::GoAways => "goaways",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window_updates",
            Self::EmptyData => "empty_data",
            Self::UnknownFrames => "unknown_frames",
            Self::ClosedStreams => "closed_streams",
            Self::Pauses => "pauses",
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_http::GuardPeaks;

    use super::*;

    #[test]
    fn peaks_have_the_same_names() {
        assert_eq!(Kind::ALL.map(Kind::name), GuardPeaks::NAMES);
    }
}
