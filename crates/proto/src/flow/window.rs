//! The two windows of a stream, and of the connection. Signed, for SETTINGS can make them negative (RFC 9113 §6.9.2);
//! an overflow is a value, never a panic.

/// The largest window, 2^31-1 octets (RFC 9113 §6.9.1).
const MAX: i64 = 0x7fff_ffff;

/// A window left its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// What we may still send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendWindow {
    available: i64,
}

impl SendWindow {
    pub(crate) fn new(initial: u32) -> Self {
        Self {
            available: i64::from(initial),
        }
    }

    /// Octets that may be sent now; 0 when the window is negative.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.available).unwrap_or(0)
    }

    /// The peer's WINDOW_UPDATE. RFC 9113 §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1".
    pub(crate) fn grow(&mut self, increment: u32) -> Result<(), Overflow> {
        self.shift(i64::from(increment))
    }

    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE changed by this much (RFC 9113 §6.9.2).
    pub(crate) fn shift(&mut self, delta: i64) -> Result<(), Overflow> {
        let available = self.available + delta;
        if available > MAX {
            return Err(Overflow);
        }
        self.available = available;
        Ok(())
    }

    /// We sent so many octets, no more than `available`.
    pub(crate) fn take(&mut self, octets: usize) {
        debug_assert!(octets <= self.available());
        self.available -= octets as i64;
    }
}

/// What the peer may still send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWindow {
    /// What the peer may send by all that we have told it.
    available: i64,
    /// What the owner has consumed and the peer has not been told.
    untold: u32,
    /// What the window is refilled to.
    size: u32,
}

impl RecvWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            available: i64::from(size),
            untold: 0,
            size,
        }
    }

    /// The peer sent so many octets. RFC 9113 §6.9.1: more than the window is a FLOW_CONTROL_ERROR; but "frames with zero
    /// length with the END_STREAM flag set […] MAY be sent if there is no available space in either flow-control window",
    /// so also when the window is negative.
    pub(crate) fn receive(&mut self, octets: u32) -> Result<(), Overflow> {
        if octets > 0 && i64::from(octets) > self.available {
            return Err(Overflow);
        }
        self.available -= i64::from(octets);
        Ok(())
    }

    /// So many received octets are done with. Returns the increment of the WINDOW_UPDATE that is due: one at each half
    /// window, not one for each DATA frame.
    pub(crate) fn release(&mut self, octets: u32) -> Option<u32> {
        self.untold = self.untold.saturating_add(octets);
        if self.untold == 0 || u64::from(self.untold) * 2 < u64::from(self.size) {
            return None;
        }
        self.tell()
    }

    /// Raises the size; returns the increment of the WINDOW_UPDATE that tells the peer so.
    pub(crate) fn raise(&mut self, size: u32) -> Option<u32> {
        self.untold += size.saturating_sub(self.size);
        self.size = self.size.max(size);
        self.tell()
    }

    fn tell(&mut self) -> Option<u32> {
        let increment = i64::from(self.untold).min(MAX - self.available);
        let increment = u32::try_from(increment)
            .ok()
            .filter(|increment| *increment > 0)?;
        self.untold -= increment;
        self.available += i64::from(increment);
        Some(increment)
    }

    /// Our own SETTINGS_INITIAL_WINDOW_SIZE took effect: it was acknowledged. What was too little of the old window to be
    /// told may be enough of the new one: `release` tells it then, of no more octets.
    pub(crate) fn resize(&mut self, size: u32) {
        self.available += i64::from(size) - i64::from(self.size);
        self.size = size;
    }

    /// Whether the peer may send anything at all.
    pub(crate) fn is_open(&self) -> bool {
        self.available > 0
    }

    /// Octets that are neither available to the peer nor waiting to be told: received and not consumed.
    pub(crate) fn outstanding(&self) -> i64 {
        i64::from(self.size) - self.available - i64::from(self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_can_be_negative_and_comes_back() {
        // RFC 9113 §6.9.2: "A change to SETTINGS_INITIAL_WINDOW_SIZE can cause the available space in a flow-control
        // window to become negative."
        let mut window = SendWindow::new(65_535);
        window.take(60_000);
        window.shift(16_384 - 65_535).unwrap();
        assert_eq!(window.available(), 0);
        window.grow(43_617).unwrap();
        assert_eq!(
            window.available(),
            1,
            "the example of the RFC, one octet on"
        );
    }

    #[test]
    fn a_send_window_never_exceeds_the_maximum() {
        let mut window = SendWindow::new(65_535);
        assert_eq!(window.grow(0x7fff_ffff), Err(Overflow));
        assert_eq!(window.available(), 65_535);
        window.grow(0x7fff_ffff - 65_535).unwrap();
        assert_eq!(window.shift(1), Err(Overflow));
        window.shift(-0x7fff_ffff).unwrap();
        assert_eq!(window.available(), 0);
    }

    #[test]
    fn a_receive_window_is_told_at_each_half() {
        let mut window = RecvWindow::new(1000);
        window.receive(1000).unwrap();
        assert_eq!(window.receive(1), Err(Overflow));
        assert!(!window.is_open());
        assert_eq!(window.release(499), None);
        assert_eq!(window.release(1), Some(500));
        assert!(window.is_open());
        assert_eq!(window.outstanding(), 500);
        assert_eq!(window.release(500), Some(500));
        assert_eq!(window.outstanding(), 0);
    }

    #[test]
    fn nothing_fits_into_a_negative_window_but_nothing() {
        let mut window = RecvWindow::new(65_535);
        window.receive(40_000).unwrap();
        window.resize(100);
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.receive(0), Ok(()));
    }

    #[test]
    fn a_window_of_zero_never_tells_an_increment_of_zero() {
        let mut window = RecvWindow::new(0);
        assert_eq!(window.release(0), None);
        assert_eq!(window.raise(0), None);
        assert_eq!(window.raise(10), Some(10));
    }

    #[test]
    fn a_window_that_shrinks_tells_what_is_half_of_it_now() {
        let mut window = RecvWindow::new(65_535);
        window.receive(17).unwrap();
        assert_eq!(window.release(17), None);
        window.resize(1);
        assert!(!window.is_open());
        assert_eq!(window.release(0), Some(17));
        assert!(window.is_open());
    }

    #[test]
    fn raising_never_goes_over_the_maximum() {
        let mut window = RecvWindow::new(65_535);
        assert_eq!(window.raise(0x7fff_ffff), Some(0x7fff_ffff - 65_535));
        window.receive(100).unwrap();
        window.resize(0x7fff_ffff);
        assert_eq!(window.outstanding(), 100);
    }
}
