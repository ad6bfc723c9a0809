//! The states of the side on which we send.
//!
//! ```text
//!       Notify           Finish
//! Open ────────> Ending ────────> Ended
//!   └──────────────┴── Fail ────> Broken <── Fail ── Ended
//! ```

use std::time::{Duration, Instant};

/// The bytes that an accepted peer must take in each write timeout, unless it takes everything.
/// Fewer are a drip that is meant to keep the connection.
pub(crate) const WRITE_PROGRESS: u64 = 16 << 10;

/// The state of a socket that doesn't take everything that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    /// When the connection is cut off, unless the peer takes enough.
    until: Instant,
    /// Bytes that the peer has taken since `until` was set.
    taken: u64,
}

/// The side of a connection on which we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// More data may follow.
    Open {
        /// Whether the socket may take bytes. If not, an event will say when.
        writable: bool,
        /// Set while bytes wait.
        stall: Option<Stall>,
    },
    /// Our end follows the data that waits. With TLS, that data includes close_notify.
    Ending {
        /// Whether the socket may take bytes.
        writable: bool,
        /// Set while bytes wait.
        stall: Option<Stall>,
    },
    /// Our end was sent.
    Ended,
    /// The socket takes nothing more. Data that the peer sent before is still read.
    Broken,
}

/// Something that happens on the side on which we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// An event said that the socket takes bytes.
    Event,
    /// All data that waited was written.
    Flushed,
    /// The socket is full, or not connected, until the next event.
    Blocked(Option<Stall>),
    /// Our end must follow the data that waits.
    Notify,
    /// Our end was sent.
    Finish,
    /// A write failed.
    Fail,
}

impl Outgoing {
    /// Returns the state of a new connection.
    pub(crate) fn new(writable: bool) -> Self {
        Self::Open {
            writable,
            stall: None,
        }
    }

    /// Returns the state after `output`.
    #[inline]
    pub(crate) fn on(self, output: Output) -> Self {
        match (self, output) {
            (Self::Broken, _) => self,
            (_, Output::Fail) => Self::Broken,
            (Self::Ended, _) => self,
            (_, Output::Finish) => Self::Ended,
            (Self::Open { writable, stall } | Self::Ending { writable, stall }, Output::Notify) => {
                Self::Ending { writable, stall }
            }
            (Self::Open { writable, stall }, output) => {
                let (writable, stall) = on_open(writable, stall, output);
                Self::Open { writable, stall }
            }
            (Self::Ending { writable, stall }, output) => {
                let (writable, stall) = on_open(writable, stall, output);
                Self::Ending { writable, stall }
            }
        }
    }

    /// Whether data waits that the peer must take before a deadline.
    #[inline]
    pub(crate) fn is_stalled(self) -> bool {
        self.stall().is_some()
    }

    /// Whether nothing can be written before the next event.
    #[inline]
    pub(crate) fn is_blocked(self) -> bool {
        matches!(
            self,
            Self::Open {
                writable: false,
                ..
            } | Self::Ending {
                writable: false,
                ..
            }
        )
    }

    /// Returns the stall after the peer took `taken` bytes while others wait. A new one begins, for
    /// `timeout`, once the peer has taken `least` bytes since the last began. Zero means no limit.
    pub(crate) fn stalled(
        self,
        taken: u64,
        least: u64,
        timeout: Duration,
        now: Instant,
    ) -> Option<Stall> {
        match self.stall() {
            Some(stall) if stall.taken + taken < least => Some(Stall {
                taken: stall.taken + taken,
                ..stall
            }),
            _ => (!timeout.is_zero()).then(|| Stall {
                until: now + timeout,
                taken: 0,
            }),
        }
    }

    /// Returns when the connection is cut off because the peer takes too little.
    #[inline]
    pub(crate) fn deadline(self) -> Option<Instant> {
        self.stall().map(|stall| stall.until)
    }

    #[inline]
    fn stall(self) -> Option<Stall> {
        match self {
            Self::Open { stall, .. } | Self::Ending { stall, .. } => stall,
            Self::Ended | Self::Broken => None,
        }
    }
}

/// Returns whether the socket takes bytes, and the stall, after `output`.
#[inline]
fn on_open(writable: bool, stall: Option<Stall>, output: Output) -> (bool, Option<Stall>) {
    match output {
        Output::Event => (true, stall),
        Output::Flushed => (true, None),
        Output::Blocked(stall) => (false, stall),
        Output::Notify | Output::Finish | Output::Fail => (writable, stall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_output() {
        let now = Instant::now();
        let some = |taken| Some(Stall { until: now, taken });
        let open = |writable, stall| Outgoing::Open { writable, stall };
        let ending = |writable, stall| Outgoing::Ending { writable, stall };
        let outputs = [
            Output::Event,
            Output::Flushed,
            Output::Blocked(some(1)),
            Output::Notify,
            Output::Finish,
            Output::Fail,
        ];
        let (ended, broken) = (Outgoing::Ended, Outgoing::Broken);
        let mut table = vec![
            (ended, [ended, ended, ended, ended, ended, broken]),
            (broken, [broken; 6]),
        ];
        for writable in [false, true] {
            for stall in [None, some(0)] {
                table.push((
                    open(writable, stall),
                    [
                        open(true, stall),
                        open(true, None),
                        open(false, some(1)),
                        ending(writable, stall),
                        ended,
                        broken,
                    ],
                ));
                table.push((
                    ending(writable, stall),
                    [
                        ending(true, stall),
                        ending(true, None),
                        ending(false, some(1)),
                        ending(writable, stall),
                        ended,
                        broken,
                    ],
                ));
            }
        }
        for (state, row) in table {
            for (output, expected) in outputs.into_iter().zip(row) {
                assert_eq!(state.on(output), expected, "{state:?}, {output:?}");
            }
        }
    }

    #[test]
    fn a_drip_does_not_move_the_deadline() {
        let start = Instant::now();
        let (timeout, least) = (Duration::from_secs(30), 100);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut side = Outgoing::new(true);
        let mut take = |taken, now| {
            side = side.on(Output::Blocked(side.stalled(taken, least, timeout, now)));
            side.deadline()
        };
        assert_eq!(take(1000, at(0)), Some(at(30)));
        assert_eq!(take(99, at(10)), Some(at(30)));
        assert_eq!(take(1, at(20)), Some(at(50)));
        assert_eq!(take(99, at(21)), Some(at(50)));
        assert_eq!(
            Outgoing::new(true).stalled(1, least, Duration::ZERO, start),
            None
        );
        assert_eq!(side.on(Output::Flushed).deadline(), None);
    }
}
