//! The two windows of a stream. They are signed, because SETTINGS can make them negative (RFC 9113
//! §6.9.2). An overflow is a value, never a panic.

/// The largest window, 2^31-1 bytes (RFC 9113 §6.9.1).
pub(crate) const MAX: i64 = 0x7fff_ffff;

/// The error of a window that left its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The bytes that we may still send.
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

    /// Returns the bytes that may be sent now; 0 when the window is negative.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.available).unwrap_or(0)
    }

    /// Adds the peer's WINDOW_UPDATE. RFC 9113 §6.9.1: "A sender MUST NOT allow a flow-control
    /// window to exceed 2^31-1".
    pub(crate) fn grow(&mut self, increment: u32) -> Result<(), Overflow> {
        self.shift(i64::from(increment))
    }

    /// Adds a change of the peer's SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.9.2).
    pub(crate) fn shift(&mut self, delta: i64) -> Result<(), Overflow> {
        let available = self.available + delta;
        if available > MAX {
            return Err(Overflow);
        }
        self.available = available;
        Ok(())
    }

    /// Notes that we sent `bytes`, no more than `available`.
    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.available());
        self.available -= bytes as i64;
    }
}

/// The bytes that the peer may still send on a stream, and those of it that wait for the owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWindow {
    /// The bytes that the peer may still send by the credit advertised to it.
    available: i64,
    /// The bytes received and not consumed.
    unconsumed: u32,
    /// The size to which the sum of the two is refilled. It may change at any time: growth is
    /// advertised, shrinking is waited for.
    size: u32,
}

/// A stream's part of what the peer may make us hold, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// The bytes that the peer may send by the credit advertised to it.
    pub(crate) promised: u32,
    /// The bytes that it may come to send before its owner consumes more.
    pub(crate) allowed: u32,
    /// The bytes that it has sent and that the owner has not consumed.
    pub(crate) unconsumed: u32,
}

impl RecvWindow {
    /// Makes a window of which the peer knows `initial` bytes.
    pub(crate) fn new(initial: u32, size: u32) -> Self {
        Self {
            available: i64::from(initial),
            unconsumed: 0,
            size,
        }
    }

    /// Notes that the peer sent `bytes`. RFC 9113 §6.9.1: more than the window is a
    /// FLOW_CONTROL_ERROR; but "frames with zero length with the END_STREAM flag set […] MAY be
    /// sent if there is no available space in either flow-control window", so also when the window
    /// is negative.
    pub(crate) fn receive(&mut self, bytes: u32) -> Result<(), Overflow> {
        if bytes > 0 && i64::from(bytes) > self.available {
            return Err(Overflow);
        }
        self.available -= i64::from(bytes);
        self.unconsumed += bytes;
        Ok(())
    }

    /// Consumes `bytes` received bytes; returns how many of them there were.
    pub(crate) fn consume(&mut self, bytes: u32) -> u32 {
        let bytes = bytes.min(self.unconsumed);
        self.unconsumed -= bytes;
        bytes
    }

    /// Returns the increment of the WINDOW_UPDATE that is due: one at each half window, not one for
    /// each DATA frame. `shift` is a change of SETTINGS_INITIAL_WINDOW_SIZE that isn't acknowledged
    /// yet, `usable` the bytes that the message can use.
    pub(crate) fn advertise_if_due(&mut self, shift: i64, usable: u32) -> Option<u32> {
        if self.is_due(shift) {
            self.advertise(shift, usable)
        } else {
            None
        }
    }

    /// Whether half of the window or more isn't advertised.
    pub(crate) fn is_due(&self, shift: i64) -> bool {
        let room = i64::from(self.size) - i64::from(self.unconsumed) - self.available - shift;
        room * 2 >= i64::from(self.size)
    }

    /// Returns the increment that fills the window, if it is not full. A window that SETTINGS made
    /// negative may lack more than an increment can give (RFC 9113 §6.9: "1 to 2^31-1"); the rest
    /// is advertised later.
    pub(crate) fn advertise(&mut self, shift: i64, usable: u32) -> Option<u32> {
        let full = (i64::from(self.size) - i64::from(self.unconsumed)).min(i64::from(usable));
        let increment = (full - self.available - shift).min(MAX - self.available.max(0));
        let increment = u32::try_from(increment).ok().filter(|n| *n > 0)?;
        self.available += i64::from(increment);
        Some(increment)
    }

    /// Applies our own SETTINGS_INITIAL_WINDOW_SIZE, which was acknowledged.
    pub(crate) fn shift(&mut self, delta: i64) {
        self.available += delta;
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn set_size(&mut self, size: u32) {
        self.size = size;
    }

    /// Whether the peer may send any bytes.
    pub(crate) fn is_open(&self) -> bool {
        self.available > 0
    }

    /// Returns the bytes that the peer may still send by the credit advertised to it; negative if
    /// SETTINGS took more than there was.
    pub(crate) fn available(&self) -> i64 {
        self.available
    }

    /// Returns the bytes received and not consumed.
    pub(crate) fn unconsumed(&self) -> u32 {
        self.unconsumed
    }

    /// Returns the stream's share while its message comes in; for `shift` and `usable` see
    /// [`Self::advertise_if_due`].
    pub(crate) fn share(&self, shift: i64, usable: u32) -> Share {
        let usable = i64::from(usable);
        let promised = self.available.max(self.available + shift).max(0);
        // Credit that SETTINGS will take is advertised in advance, so until then there is more of
        // it.
        let full = i64::from(self.size) - i64::from(self.unconsumed) - shift.min(0);
        let cap = |bytes: i64| bytes.min(usable).min(MAX) as u32;
        Share {
            promised: cap(promised),
            allowed: cap(promised.max(full)),
            unconsumed: self.unconsumed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_can_be_negative_and_comes_back() {
        // RFC 9113 §6.9.2: "A change to SETTINGS_INITIAL_WINDOW_SIZE can cause the available space
        // in a flow-control window to become negative."
        let mut window = SendWindow::new(65_535);
        window.take(60_000);
        window.shift(16_384 - 65_535).unwrap();
        assert_eq!(window.available(), 0);
        window.grow(43_617).unwrap();
        assert_eq!(window.available(), 1, "the example of the RFC, one byte on");
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

    const ANY: u32 = u32::MAX;

    #[test]
    fn a_receive_window_is_advertised_at_each_half() {
        let mut window = RecvWindow::new(1000, 1000);
        window.receive(1000).unwrap();
        assert_eq!(window.receive(1), Err(Overflow));
        assert!(!window.is_open());
        assert_eq!(window.consume(499), 499);
        assert_eq!(window.advertise_if_due(0, ANY), None);
        assert_eq!(window.consume(1), 1);
        assert_eq!(window.advertise_if_due(0, ANY), Some(500));
        assert!(window.is_open());
        assert_eq!(window.consume(501), 500, "no more than there is");
        assert_eq!(window.advertise_if_due(0, ANY), Some(500));
        assert_eq!(window.advertise_if_due(0, ANY), None);
    }

    #[test]
    fn nothing_fits_into_a_negative_window_but_nothing() {
        let mut window = RecvWindow::new(65_535, 65_535);
        window.receive(40_000).unwrap();
        window.shift(100 - 65_535);
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.receive(0), Ok(()));
    }

    #[test]
    fn a_window_of_zero_never_advertises_an_increment_of_zero() {
        let mut window = RecvWindow::new(0, 0);
        assert_eq!(window.advertise_if_due(0, ANY), None);
        assert_eq!(window.advertise(0, ANY), None);
        window.set_size(10);
        assert_eq!(window.advertise(0, ANY), Some(10));
    }

    #[test]
    fn a_change_that_is_not_acknowledged_is_counted_in_beforehand() {
        // The peer has 65,535 now and 1 as soon as it acknowledges: the bytes it sent beyond that
        // are to be returned.
        let mut window = RecvWindow::new(65_535, 1);
        let shift = 1 - 65_535;
        assert_eq!(window.advertise_if_due(shift, ANY), None);
        window.receive(17).unwrap();
        window.consume(17);
        assert_eq!(window.advertise_if_due(shift, ANY), Some(17));
        window.shift(shift);
        assert_eq!(window.available(), 1);
        // The opposite case: credit that SETTINGS will give is not advertised as well.
        let mut window = RecvWindow::new(65_535, MAX as u32);
        let shift = MAX - 65_535;
        assert_eq!(window.advertise(shift, ANY), None);
        window.shift(shift);
        assert_eq!(window.available(), MAX);
    }

    #[test]
    fn an_increment_is_never_larger_than_its_frame_can_say() {
        let mut window = RecvWindow::new(MAX as u32, MAX as u32);
        window.receive(1 << 30).unwrap();
        window.consume(1 << 30);
        window.shift(-MAX);
        assert_eq!(window.available(), -(1 << 30));
        assert_eq!(window.advertise_if_due(0, ANY), Some(MAX as u32));
        assert_eq!(window.advertise_if_due(0, ANY), Some(1 << 30));
        assert_eq!(window.available(), MAX);
    }

    #[test]
    fn a_smaller_size_is_waited_for() {
        let mut window = RecvWindow::new(1000, 1000);
        window.receive(600).unwrap();
        window.consume(600);
        window.set_size(500);
        assert_eq!(window.advertise_if_due(0, ANY), None, "400 are there still");
        window.receive(150).unwrap();
        window.consume(150);
        assert_eq!(window.advertise_if_due(0, ANY), Some(250));
        assert_eq!(window.available(), 500);
    }

    #[test]
    fn no_more_is_advertised_than_the_message_can_use() {
        let mut window = RecvWindow::new(1000, 1000);
        window.receive(600).unwrap();
        window.consume(600);
        assert_eq!(window.advertise_if_due(0, 400), None, "it has as much");
        assert_eq!(window.advertise_if_due(0, 450), Some(50));
        let share = window.share(0, 450);
        assert_eq!((share.promised, share.allowed), (450, 450));
    }

    #[test]
    fn a_share_is_what_may_come_and_what_is_there() {
        let mut window = RecvWindow::new(1000, 4000);
        window.receive(600).unwrap();
        window.consume(100);
        let share = |promised, allowed, unconsumed| Share {
            promised,
            allowed,
            unconsumed,
        };
        assert_eq!(window.share(0, ANY), share(400, 3500, 500));
        window.set_size(600);
        assert_eq!(window.share(0, ANY), share(400, 400, 500));
        assert_eq!(window.share(2000, ANY), share(2400, 2400, 500));
        assert_eq!(window.share(-2000, ANY), share(400, 2100, 500));
        window.shift(-2000);
        assert_eq!(window.share(0, ANY), share(0, 100, 500));
    }
}
