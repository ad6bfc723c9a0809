//! The round-trip time: the owner's observation, and when a new one is useful.

use std::time::{Duration, Instant};

use tidegate_hpack::{Packer, Unpacker};

/// The bytes of DATA since the last observation that make a new one useful.
const WORTH_ASKING: u32 = 16 << 10;

/// Observations are wanted no more often than this, nor than once per round trip.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest round trip that is believed.
const LONGEST: Duration = Duration::from_secs(60);

/// The round-trip time of a connection.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    observed: Option<(Duration, Instant)>,
    /// The bytes of DATA since then that an owner waited for.
    received: u32,
}

impl RoundTrip {
    /// Sets the transport's estimate. RFC 9113 offers only PING for that, which peers punish.
    pub(crate) fn observe(&mut self, rtt: Duration, now: Instant) {
        self.received = 0;
        self.observed = Some((rtt.min(LONGEST), now));
    }

    pub(crate) fn pack(&self, out: &mut Packer, born: Instant) {
        out.number(self.observed.is_some().into());
        if let Some((rtt, at)) = self.observed {
            out.duration(rtt);
            out.duration(at.saturating_duration_since(born));
        }
        out.number(self.received.into());
    }

    pub(crate) fn unpack(input: &mut Unpacker<'_>, born: Instant) -> Self {
        let is_observed = input.flag();
        Self {
            observed: is_observed.then(|| (input.duration(), born + input.duration())),
            received: input.number32(),
        }
    }

    pub(crate) fn received(&mut self, bytes: u32) {
        self.received = self.received.saturating_add(bytes);
    }

    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        self.received >= WORTH_ASKING
            && self
                .observed
                .is_none_or(|(rtt, at)| now >= at + rtt.max(SHORTEST_PAUSE))
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.observed.map(|(rtt, _)| rtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_wanted_by_what_came_in_and_once_per_round_trip() {
        let start = crate::testing::some_start();
        let ms = Duration::from_millis;
        let mut rtt = RoundTrip::default();
        assert!(!rtt.is_wanted(start), "nothing came in");
        rtt.received(WORTH_ASKING - 1);
        assert!(!rtt.is_wanted(start));
        rtt.received(1);
        assert!(rtt.is_wanted(start));
        rtt.observe(ms(50), start);
        assert_eq!(rtt.get(), Some(ms(50)));
        rtt.received(WORTH_ASKING);
        assert!(!rtt.is_wanted(start + ms(49)));
        assert!(rtt.is_wanted(start + ms(50)));
        rtt.observe(ms(1), start + ms(50));
        rtt.received(u32::MAX);
        assert!(!rtt.is_wanted(start + ms(59)));
        assert!(rtt.is_wanted(start + ms(60)));
        rtt.observe(Duration::MAX, start);
        rtt.received(u32::MAX);
        assert!(!rtt.is_wanted(start));
    }
}
