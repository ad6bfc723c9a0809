//! The connection's receive window. It follows what its streams may send and is never what holds one up: credit is not
//! tied to what owners consume, so a stalled stream costs the others nothing.

use std::sync::Arc;

use crate::flow::MemoryBudget;
use crate::flow::budget::{Purpose, Reservation};
use crate::flow::window::{MAX, Overflow, Share};

/// What every peer may send unasked. RFC 9113 §6.9.2: the window of a new connection is 65,535 octets, whatever
/// SETTINGS say.
pub(crate) const UNASKED: u32 = 65_535;

/// Credit beyond what the streams may send, so that one WINDOW_UPDATE on stream 0 does for several on streams.
const HEADROOM: u64 = 64 << 10;

/// An increment of less than so much is told only if a stream needs it.
const WORTH_TELLING: i64 = 16 << 10;

/// What the peer may still send on the connection, and the sums over its streams.
#[derive(Debug)]
pub(crate) struct ConnectionWindow {
    available: i64,
    promised: u64,
    allowed: u64,
    unconsumed: u64,
    reservation: Reservation,
}

/// What a connection's peer may make us hold, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveCredit {
    /// What the peer may send by the connection's window.
    pub available: u64,
    /// What it has sent and owners have not consumed.
    pub unconsumed: u64,
    /// What streams may send by their own windows.
    pub promised: u64,
    /// What is reserved in the [`MemoryBudget`](crate::MemoryBudget), if there is one: never less than `available` and
    /// `unconsumed` together; or 0, while no body is coming in and `available` is 65,535 at most.
    pub reserved: Option<u64>,
}

impl ConnectionWindow {
    pub(crate) fn new(budget: Option<Arc<MemoryBudget>>) -> Self {
        Self {
            available: i64::from(UNASKED),
            promised: 0,
            allowed: 0,
            unconsumed: 0,
            reservation: Reservation::new(budget),
        }
    }

    /// The peer sent so many octets of DATA, on whatever stream.
    pub(crate) fn receive(&mut self, octets: u32) -> Result<(), Overflow> {
        let left = self.available - i64::from(octets);
        if left < 0 {
            return Err(Overflow);
        }
        self.available = left;
        Ok(())
    }

    /// Reserves what one more stream needs at least. Whether there is room for it.
    pub(crate) fn admit(&mut self, share: Share) -> bool {
        let allowed = (self.allowed + u64::from(share.allowed)).max(self.available());
        self.reservation
            .reserve(self.unconsumed + allowed, Purpose::Floor)
    }

    /// Reserves what a larger window of one stream needs. Whether there is room for it.
    pub(crate) fn grow(&mut self, before: Share, after: Share) -> bool {
        let allowed = self.allowed + u64::from(after.allowed) - u64::from(before.allowed);
        let need = self.unconsumed + allowed.max(self.available());
        self.reservation.reserve(need, Purpose::Growth)
    }

    /// A stream's share has changed.
    pub(crate) fn replace(&mut self, before: Share, after: Share) {
        let replace = |sum: &mut u64, before: u32, after: u32| {
            *sum = *sum + u64::from(after) - u64::from(before);
        };
        replace(&mut self.promised, before.promised, after.promised);
        replace(&mut self.allowed, before.allowed, after.allowed);
        replace(&mut self.unconsumed, before.unconsumed, after.unconsumed);
    }

    /// The increment of the WINDOW_UPDATE that is due: when streams may send more by their own windows than by this one, or
    /// when a stream to come would find little.
    pub(crate) fn tell_if_due(&mut self) -> Option<u32> {
        // Windows whose sum is over what the connection's can be are served at half of that.
        let promised = self.promised.min(MAX as u64 / 2) as i64;
        if self.available >= promised.max(i64::from(UNASKED / 2)) {
            self.give_back();
            return None;
        }
        let headroom = self.allowed.min(HEADROOM);
        let target = (self.allowed + headroom).max(u64::from(UNASKED));
        let limit = match self.reservation.octets() {
            None => u64::MAX,
            Some(0) => u64::from(UNASKED),
            Some(_) => {
                // If there is no room for more, that is no harm: what streams are allowed has been reserved.
                self.reservation
                    .reserve(self.unconsumed + target, Purpose::Growth);
                self.reservation.octets().unwrap_or(0) - self.unconsumed
            }
        };
        let increment = target.min(limit).min(MAX as u64) as i64 - self.available;
        if increment < WORTH_TELLING && self.available >= promised {
            return None;
        }
        let increment = u32::try_from(increment).ok().filter(|n| *n > 0)?;
        self.available += i64::from(increment);
        Some(increment)
    }

    fn give_back(&mut self) {
        if self.reservation.octets().is_some_and(|octets| octets > 0) {
            let need = self.unconsumed + self.allowed.max(self.available());
            self.reservation.keep(need);
        }
    }

    /// Whether memory is reserved though no body is coming in, and none waits for its owner.
    pub(crate) fn reserves_for_nothing(&self) -> bool {
        self.allowed == 0
            && self.unconsumed == 0
            && self.reservation.octets().is_some_and(|octets| octets > 0)
    }

    /// Gives back what is reserved for nothing, unless the peer was told more than every peer may send: that can't be taken
    /// back. Whether it was given back.
    pub(crate) fn release(&mut self) -> bool {
        let owes_nothing = self.available <= i64::from(UNASKED);
        if owes_nothing {
            self.reservation.release();
        }
        owes_nothing
    }

    /// The connection is over: nothing more comes.
    pub(crate) fn close(&mut self) {
        (self.promised, self.allowed, self.unconsumed) = (0, 0, 0);
        self.reservation.release();
    }

    /// Whether windows must shrink for lack of memory.
    pub(crate) fn is_tight(&self) -> bool {
        self.reservation.is_tight()
    }

    pub(crate) fn credit(&self) -> ReceiveCredit {
        ReceiveCredit {
            available: self.available(),
            unconsumed: self.unconsumed,
            promised: self.promised,
            reserved: self.reservation.octets(),
        }
    }

    fn available(&self) -> u64 {
        self.available as u64
    }

    /// Checks the sums against those of all streams, and the reservation against them.
    pub(crate) fn audit(&self, shares: impl Iterator<Item = Share>) -> Result<(), String> {
        let (mut promised, mut allowed, mut unconsumed) = (0, 0, 0);
        for share in shares {
            promised += u64::from(share.promised);
            allowed += u64::from(share.allowed);
            unconsumed += u64::from(share.unconsumed);
        }
        let found = (promised, allowed, unconsumed);
        let counted = (self.promised, self.allowed, self.unconsumed);
        if found != counted {
            return Err(format!(
                "streams' windows come to {found:?}, counted are {counted:?}"
            ));
        }
        let need = unconsumed + allowed.max(self.available());
        match self.reservation.octets() {
            Some(0) if unconsumed == 0 && allowed == 0 && need <= u64::from(UNASKED) => Ok(()),
            Some(octets) if octets < need => Err(format!(
                "the peer may make us hold {need}, reserved are {octets}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(octets: u32) -> Share {
        Share {
            promised: octets,
            allowed: octets,
            unconsumed: 0,
        }
    }

    #[test]
    fn an_idle_connection_promises_what_the_protocol_does() {
        let budget = MemoryBudget::new(1 << 20);
        let mut window = ConnectionWindow::new(Some(budget.clone()));
        assert_eq!(window.tell_if_due(), None);
        // DATA on dead streams is made up for at half the window.
        assert_eq!(window.receive(32_768), Ok(()));
        assert_eq!(window.tell_if_due(), None);
        assert_eq!(window.receive(1), Ok(()));
        assert_eq!(window.tell_if_due(), Some(32_769));
        assert_eq!(window.receive(65_536), Err(Overflow));
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn follows_what_its_streams_may_send() {
        let mut window = ConnectionWindow::new(None);
        for _ in 0..10 {
            assert!(window.admit(share(65_535)));
            window.replace(Share::default(), share(65_535));
        }
        assert_eq!(window.tell_if_due(), Some(9 * 65_535 + 65_536));
        assert_eq!(window.tell_if_due(), None);
        // A stalled stream: what it has sent lowers both alike.
        window.receive(65_535).unwrap();
        window.replace(
            share(65_535),
            Share {
                unconsumed: 65_535,
                ..Share::default()
            },
        );
        assert_eq!(window.tell_if_due(), None);
        let credit = window.credit();
        assert!(credit.available >= credit.promised && credit.promised == 9 * 65_535);
    }

    #[test]
    fn never_goes_over_the_maximum() {
        let mut window = ConnectionWindow::new(None);
        for _ in 0..3 {
            window.replace(Share::default(), share(MAX as u32));
        }
        assert_eq!(window.tell_if_due(), Some(MAX as u32 - UNASKED));
        window.receive(16_384).unwrap();
        assert_eq!(window.tell_if_due(), None, "not for each frame");
    }

    #[test]
    fn reserves_before_it_tells() {
        let budget = MemoryBudget::new(5 * 65_536);
        let mut window = ConnectionWindow::new(Some(budget.clone()));
        assert!(window.admit(share(65_535)));
        window.replace(Share::default(), share(65_535));
        assert_eq!(budget.reserved(), 65_536);
        assert_eq!(window.tell_if_due(), None);
        assert!(window.admit(share(4 * 65_535)));
        window.replace(Share::default(), share(4 * 65_535));
        assert_eq!(budget.reserved(), 5 * 65_536);
        assert!(!window.admit(share(65_535)));
        // No headroom is left; what is promised is told all the same.
        assert_eq!(window.tell_if_due(), Some(4 * 65_536 + 1));
        let credit = window.credit();
        assert_eq!(
            credit.reserved,
            Some(credit.available + credit.unconsumed),
            "to the octet"
        );
        drop(window);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn what_was_lent_stays_reserved() {
        let budget = MemoryBudget::new(1 << 20);
        let mut window = ConnectionWindow::new(Some(budget.clone()));
        assert!(window.admit(share(200_000)));
        window.replace(Share::default(), share(200_000));
        window.tell_if_due();
        window.replace(share(200_000), Share::default());
        assert_eq!(window.tell_if_due(), None);
        let available = window.credit().available;
        assert!(available > 200_000 && window.reserves_for_nothing());
        assert!(!window.release());
        assert!(budget.reserved() >= available);
        // Once it is used up, nothing is owed.
        window.receive(available as u32 - 40_000).unwrap();
        assert_eq!(window.tell_if_due(), None);
        assert_eq!(budget.reserved(), 65_536);
        assert!(window.release());
        assert_eq!(budget.reserved(), 0);
    }
}
