//! A frame that breaks a rule, and what it fails: its stream or the connection (RFC 9113 §5.4).

use tidegate_frame::{Malformed, Scope, StreamId};
use tidegate_http::{Event, Role, Violation};

use crate::conn::Connection;
use crate::conn::ending::reset_event;
use crate::stream::Phase;
use crate::stream::map::Lookup;
use crate::stream::state::{ClosedBy, Illegal};

/// A violation by a frame on this stream.
pub(super) struct Fault(pub(super) StreamId, pub(super) Violation);

pub(super) type Outcome = Result<Option<Event>, Fault>;

impl From<Violation> for Fault {
    /// Makes the fault of a connection.
    fn from(violation: Violation) -> Self {
        Self(StreamId::CONNECTION, violation)
    }
}

/// Returns the fault of a frame that its stream's state does not allow.
pub(super) fn illegal(id: StreamId, illegal: Illegal) -> Fault {
    match illegal {
        Illegal::Idle => Violation::FrameOnIdleStream.into(),
        Illegal::Reserved => Violation::FrameOnReservedStream.into(),
        Illegal::HalfClosed => Fault(id, Violation::FrameAfterEndStream),
        Illegal::Closed => Violation::FrameOnClosedStream.into(),
        Illegal::Reset => Violation::FrameOnResetStream.into(),
    }
}

impl Connection {
    /// Returns the fault of a frame that is wrong by itself.
    pub(super) fn malformed(&self, bad: Malformed) -> Fault {
        let violation = Violation::from(bad);
        // RFC 9113 §6.10: "A receiver MUST treat the receipt of any other type of frame or a frame
        // on a different stream as a connection error (Section 5.4.1) of type PROTOCOL_ERROR". So
        // the frame can't fail only its stream.
        if self.blocks.partial.is_some() && violation.scope() == Scope::Stream {
            return Violation::HeaderBlockInterrupted.into();
        }
        Fault(bad.stream_id, violation)
    }

    /// Handles a violation on a stream or on the connection: RST_STREAM or GOAWAY.
    pub(super) fn fail(&mut self, id: StreamId, violation: Violation) -> Option<Event> {
        // RFC 9113 §6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle" state". So
        // a stream error there fails the connection.
        let lookup = self.streams.lookup(id);
        if violation.scope() == Scope::Connection || id.is_connection() || lookup == Lookup::Idle {
            self.close_by_violation(violation);
            return None;
        }
        let slot = match lookup {
            Lookup::Live(slot) if !self.streams.get(slot).awaits_release() => Some(slot),
            // RFC 9113 §6.3: a PRIORITY frame of another length than 5 "MUST be treated as a stream
            // error (Section 5.4.2) of type FRAME_SIZE_ERROR". Nothing may be sent on a stream that
            // has ended. §5.4.1: "An endpoint MAY choose to treat a stream error as a connection
            // error."
            Lookup::Closed(ClosedBy::EndStream) if violation == Violation::PriorityLengthNot5 => {
                self.close_by_violation(violation);
                return None;
            }
            // RFC 9113 §5.1: "An endpoint MUST NOT send frames other than PRIORITY on a closed
            // stream." Its end isn't reported twice either.
            _ => None,
        };
        let charged = match slot {
            Some(_) => self.charge_own_reset(),
            None => self.charge_closed_stream(),
        };
        if let Err(violation) = charged {
            self.close_by_violation(violation);
            return None;
        }
        let slot = slot?;
        let stream = self.streams.get(slot);
        // RFC 9113 §8.1.1: "For malformed requests, a server MAY send an HTTP response prior to
        // closing or resetting the stream." Here the head was valid, and a later part isn't.
        if self.role == Role::Server && stream.send.phase == Phase::Head && is_of_message(violation)
        {
            let window = stream.send.window.available();
            self.send_400(id, violation, stream.head_request, window, false);
        }
        self.send_reset(slot, violation.code());
        self.await_release(slot);
        Some(reset_event(id, violation))
    }
}

/// Whether content or trailers with this violation make their message malformed (RFC 9113
/// §8.1.1).
fn is_of_message(violation: Violation) -> bool {
    matches!(
        violation,
        Violation::PseudoFieldInTrailers
            | Violation::FieldNameInvalid
            | Violation::FieldNameUppercase
            | Violation::FieldValueInvalid
            | Violation::ConnectionSpecificField
            | Violation::TeNotTrailers
            | Violation::ContentLengthMismatch
            | Violation::TrailersWithoutEndStream
    )
}
