//! PING (RFC 9113 §6.7): answers to the peer's, and our own for the round trip of a graceful end.

/// The payload of our PING, which distinguishes its answer from unsolicited ones.
pub(crate) const SHUTDOWN_PAYLOAD: [u8; 8] = *b"tidegate";

/// Our PING in flight. Round-trip times come from the transport, never from extra PINGs.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    in_flight: bool,
}

impl Pings {
    /// Notes that our PING went out.
    pub(crate) fn sent(&mut self) {
        self.in_flight = true;
    }

    /// Notes that the peer acknowledged a PING. Returns whether it was ours.
    pub(crate) fn acknowledged(&mut self, payload: [u8; 8]) -> bool {
        let ours = self.in_flight && payload == SHUTDOWN_PAYLOAD;
        if ours {
            self.in_flight = false;
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_ours_counts_and_once() {
        let mut pings = Pings::default();
        assert!(!pings.acknowledged(SHUTDOWN_PAYLOAD));
        pings.sent();
        assert!(!pings.acknowledged([0; 8]));
        assert!(pings.acknowledged(SHUTDOWN_PAYLOAD));
        assert!(!pings.acknowledged(SHUTDOWN_PAYLOAD));
    }
}
