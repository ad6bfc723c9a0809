//! The connection's receive window. It follows what its streams may send and never holds one up:
//! credit doesn't depend on what owners consume, so a stalled stream costs the others nothing.

use tidegate_hpack::{Packer, Unpacker};
use tidegate_http::Config;

use crate::flow::window::{MAX, Overflow, Share};

/// The bytes that every peer may send at once. RFC 9113 §6.9.2: the window of a new connection is
/// 65,535 bytes, whatever SETTINGS say.
const UNASKED: u32 = 65_535;

/// Returns the window of a new stream, and the least that a window shrinks to. `initial` is our
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) fn least_window(config: &Config, initial: u32) -> u32 {
    initial.max(config.max_stream_window_size.min(UNASKED))
}

/// Credit beyond what the streams may send, so that one WINDOW_UPDATE on stream 0 covers several on
/// streams.
const HEADROOM: u64 = 64 << 10;

/// A smaller increment than this is advertised only if a stream needs it.
const WORTH_ADVERTISING: i64 = 16 << 10;

/// The bytes that the peer may still send on the connection, and the sums over its streams.
#[derive(Debug)]
pub(crate) struct ConnectionWindow {
    available: i64,
    promised: u64,
    allowed: u64,
    unconsumed: u64,
    /// The bytes that streams may send beyond what the protocol gives each of them.
    beyond: u64,
}

/// The bytes that a connection's peer may make us hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveCredit {
    /// The bytes that the peer may send by the connection's window.
    pub available: u64,
    /// The bytes that it has sent and that owners have not consumed.
    pub unconsumed: u64,
    /// The bytes that streams may send by their own windows.
    pub promised: u64,
    /// The bytes that streams may send beyond the 65,535 that the protocol gives each of them. They
    /// are borrowed from the [`MemoryBudget`](tidegate_http::MemoryBudget), if there is one.
    pub lent: u64,
}

impl ConnectionWindow {
    pub(crate) fn new() -> Self {
        Self {
            available: i64::from(UNASKED),
            promised: 0,
            allowed: 0,
            unconsumed: 0,
            beyond: 0,
        }
    }

    /// Adds the window of a connection without streams.
    pub(crate) fn pack(&self, out: &mut Packer) {
        out.number(self.available());
    }

    pub(crate) fn unpack(input: &mut Unpacker<'_>) -> Self {
        Self {
            available: i64::from(input.number32()),
            ..Self::new()
        }
    }

    /// The peer sent `bytes` of DATA, on whatever stream.
    pub(crate) fn receive(&mut self, bytes: u32) -> Result<(), Overflow> {
        let left = self.available - i64::from(bytes);
        if left < 0 {
            return Err(Overflow);
        }
        self.available = left;
        Ok(())
    }

    /// Returns what [`Self::lent`] would be if the share of one stream changed from `before` to
    /// `after`.
    pub(crate) fn lent_with(&self, before: Share, after: Share) -> u64 {
        self.beyond + beyond(after) - beyond(before)
    }

    /// Returns the bytes that streams may send beyond what the protocol gives each of them.
    pub(crate) fn lent(&self) -> u64 {
        self.beyond
    }

    /// Returns the bytes that all streams may come to send.
    pub(crate) fn allowed(&self) -> u64 {
        self.allowed
    }

    /// Returns the bytes sent and not consumed.
    pub(crate) fn unconsumed(&self) -> u64 {
        self.unconsumed
    }

    /// Replaces a stream's share in the sums.
    pub(crate) fn replace(&mut self, before: Share, after: Share) {
        self.beyond = self.lent_with(before, after);
        let replace = |sum: &mut u64, before: u32, after: u32| {
            *sum = *sum + u64::from(after) - u64::from(before);
        };
        replace(&mut self.promised, before.promised, after.promised);
        replace(&mut self.allowed, before.allowed, after.allowed);
        replace(&mut self.unconsumed, before.unconsumed, after.unconsumed);
    }

    /// Returns the increment of the WINDOW_UPDATE that is due: when streams may send more by their
    /// own windows than by this one, or when a new stream would find little.
    pub(crate) fn advertise_if_due(&mut self) -> Option<u32> {
        // If the sum of the windows exceeds the largest possible window, credit is due at half of
        // that.
        let promised = self.promised.min(MAX as u64 / 2) as i64;
        if self.available >= promised.max(i64::from(UNASKED / 2)) {
            return None;
        }
        let headroom = self.allowed.min(HEADROOM);
        let target = (self.allowed + headroom).max(u64::from(UNASKED));
        let increment = target.min(MAX as u64) as i64 - self.available;
        if increment < WORTH_ADVERTISING && self.available >= promised {
            return None;
        }
        let increment = u32::try_from(increment).ok().filter(|n| *n > 0)?;
        self.available += i64::from(increment);
        Some(increment)
    }

    /// Closes the window: the connection is over, and nothing more arrives.
    pub(crate) fn close(&mut self) {
        (self.promised, self.allowed, self.unconsumed) = (0, 0, 0);
        self.beyond = 0;
    }

    pub(crate) fn credit(&self) -> ReceiveCredit {
        ReceiveCredit {
            available: self.available(),
            unconsumed: self.unconsumed,
            promised: self.promised,
            lent: self.beyond,
        }
    }

    fn available(&self) -> u64 {
        self.available as u64
    }

    /// Checks the sums against those of all streams.
    pub(crate) fn audit(&self, shares: impl Iterator<Item = Share>) -> Result<(), String> {
        let (mut promised, mut allowed, mut unconsumed, mut lent) = (0, 0, 0, 0);
        for share in shares {
            promised += u64::from(share.promised);
            allowed += u64::from(share.allowed);
            unconsumed += u64::from(share.unconsumed);
            lent += beyond(share);
        }
        let found = (promised, allowed, unconsumed, lent);
        let counted = (self.promised, self.allowed, self.unconsumed, self.beyond);
        if found != counted {
            return Err(format!(
                "streams' windows come to {found:?}, counted are {counted:?}"
            ));
        }
        Ok(())
    }
}

/// Returns how much larger a stream's window is than what the protocol gives it. Bytes sent and not
/// consumed are part of the window.
fn beyond(share: Share) -> u64 {
    let window = u64::from(share.allowed) + u64::from(share.unconsumed);
    window.saturating_sub(u64::from(UNASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(bytes: u32) -> Share {
        Share {
            promised: bytes,
            allowed: bytes,
            unconsumed: 0,
        }
    }

    #[test]
    fn an_idle_connection_promises_what_the_protocol_does() {
        let mut window = ConnectionWindow::new();
        assert_eq!(window.advertise_if_due(), None);
        // DATA on dead streams is returned at half the window.
        assert_eq!(window.receive(32_768), Ok(()));
        assert_eq!(window.advertise_if_due(), None);
        assert_eq!(window.receive(1), Ok(()));
        assert_eq!(window.advertise_if_due(), Some(32_769));
        assert_eq!(window.receive(65_536), Err(Overflow));
    }

    #[test]
    fn follows_what_its_streams_may_send() {
        let mut window = ConnectionWindow::new();
        for _ in 0..10 {
            window.replace(Share::default(), share(65_535));
        }
        assert_eq!(window.advertise_if_due(), Some(9 * 65_535 + 65_536));
        assert_eq!(window.advertise_if_due(), None);
        // A stalled stream: the bytes it has sent lower both windows alike.
        window.receive(65_535).unwrap();
        window.replace(
            share(65_535),
            Share {
                unconsumed: 65_535,
                ..Share::default()
            },
        );
        assert_eq!(window.advertise_if_due(), None);
        let credit = window.credit();
        assert!(credit.available >= credit.promised && credit.promised == 9 * 65_535);
    }

    #[test]
    fn never_goes_over_the_maximum() {
        let mut window = ConnectionWindow::new();
        for _ in 0..3 {
            window.replace(Share::default(), share(MAX as u32));
        }
        assert_eq!(window.advertise_if_due(), Some(MAX as u32 - UNASKED));
        window.receive(16_384).unwrap();
        assert_eq!(window.advertise_if_due(), None, "not for each frame");
    }

    #[test]
    fn lends_what_is_beyond_the_protocols_windows() {
        let mut window = ConnectionWindow::new();
        window.replace(Share::default(), share(UNASKED));
        assert_eq!(window.lent(), 0);
        assert_eq!(
            window.lent_with(share(UNASKED), share(UNASKED + 1000)),
            1000
        );
        window.replace(share(UNASKED), share(UNASKED + 1000));
        window.replace(Share::default(), share(100));
        assert_eq!((window.lent(), window.credit().lent), (1000, 1000));
        let all = [share(UNASKED + 1000), share(100)];
        assert_eq!(window.audit(all.into_iter()), Ok(()));
        window.close();
        assert_eq!(window.lent(), 0);
    }
}
