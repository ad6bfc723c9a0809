//! Server push (RFC 9113 §8.4), both roles.

use tidegate_frame::{ErrorCode, PushPromise, StreamId};
use tidegate_hpack::{Fields, ListLimit};
use tidegate_http::{Event, Misuse, RequestHead, RequestRules, Role, Violation};

use crate::conn::Connection;
use crate::conn::ending::reset_event;
use crate::conn::messages::over;
use crate::stream::Phase;
use crate::stream::map::Lookup;
use crate::stream::state::{ClosedBy, Input, Sender, State};

/// Checks that a request can be promised. RFC 9113 §8.4: promised requests "MUST be safe … and
/// cacheable" and have no content; GET and HEAD are.
fn can_be_promised(head: &RequestHead) -> Result<(), Violation> {
    if !matches!(head.method(), "GET" | "HEAD") {
        return Err(Violation::PromisedRequestUnsafe);
    }
    if head.content_length().is_some_and(|len| len > 0) {
        return Err(Violation::PromisedRequestWithBody);
    }
    Ok(())
}

/// The server's part.
impl Connection {
    /// Sends PUSH_PROMISE on a client's stream and reserves the promised one.
    pub(crate) fn promise(&mut self, slot: usize, head: &RequestHead) -> Result<StreamId, Misuse> {
        if self.role != Role::Server {
            return Err(Misuse::WrongRole);
        }
        let stream = self.streams.get(slot);
        let parent = stream.id;
        // RFC 9113 §6.6: only on a peer-initiated stream that is open or half-closed (remote).
        if stream.awaits_release()
            || stream.opened_by == Sender::Us
            || stream.state().has_ended(Sender::Us)
        {
            return Err(Misuse::StreamClosed);
        }
        if self.lifetime.is_ending() {
            return Err(Misuse::GoingAway);
        }
        let peer = self.settings.peer;
        if !peer.enable_push {
            return Err(Misuse::PushDisabled);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        can_be_promised(head).map_err(|_| Misuse::UnsafePush)?;
        self.check_list_size(head.fields())?;
        if self.streams.opened_by(Sender::Us) >= peer.max_concurrent_streams as usize {
            return Err(Misuse::TooManyStreams);
        }
        let promised = self.streams.next_local().ok_or(Misuse::TooManyStreams)?;
        self.streams.note_used(promised);
        let mut stream = self.new_stream(promised, Sender::Us, State::Reserved(Sender::Us));
        stream.recv.phase = Phase::Done;
        stream.note_request(head);
        let slot = self.insert(stream);
        if self.signals.dependencies_count {
            self.place_push(slot, parent);
        }
        let block = self.blocks.encode(head.fields(), None, &mut self.stats);
        let before = self.control.len();
        PushPromise::write_block(
            parent,
            promised,
            block,
            peer.max_frame_size,
            self.control.end(),
        );
        self.note_block_sent(before, peer.max_frame_size);
        self.stats.pushes_out += 1;
        Ok(promised)
    }
}

/// The client's part.
impl Connection {
    /// Handles a complete PUSH_PROMISE block. Its fields are decoded already, to keep the tables in
    /// step.
    pub(super) fn on_push_promise(
        &mut self,
        id: StreamId,
        promised: StreamId,
        fields: Fields,
        over_limit: Option<ListLimit>,
    ) -> Result<Option<Event>, super::fault::Fault> {
        // RFC 9113 §6.6: "PUSH_PROMISE MUST NOT be sent if the SETTINGS_ENABLE_PUSH setting of the
        // peer endpoint is set to 0. An endpoint that has set this setting and has received
        // acknowledgment MUST treat the receipt … as a connection error".
        if !self.config.enable_push && self.settings.acknowledged() {
            return Err(Violation::PushNotEnabled.into());
        }
        // RFC 9113 §5.1.1 and §6.6: the promised stream must be idle.
        if self.streams.lookup(promised) != Lookup::Idle {
            return Err(Violation::PromisedStreamNotIdle.into());
        }
        let wanted = match self.streams.lookup(id) {
            Lookup::Live(slot) => {
                let stream = self.streams.get(slot);
                // "A client … MUST treat the receipt of a PUSH_PROMISE on a stream that is neither
                // "open" nor "half-closed (local)" as a connection error". "PUSH_PROMISE frames
                // MUST only be sent on a peer-initiated stream": never on a push.
                let is_push = stream.opened_by == Sender::Peer;
                if is_push || !stream.awaits_release() && stream.state().has_ended(Sender::Peer) {
                    return Err(Violation::PushPromiseOnClosedStream.into());
                }
                !stream.awaits_release()
            }
            // "an endpoint that has sent RST_STREAM on the associated stream MUST handle
            // PUSH_PROMISE frames that might have been created before the RST_STREAM frame is
            // received".
            Lookup::Closed(ClosedBy::Reset(Sender::Us)) => false,
            _ => return Err(Violation::PushPromiseOnClosedStream.into()),
        };
        self.streams.note_used(promised);
        self.stats.pushes_in += 1;
        if !wanted || !self.config.enable_push || promised > self.lifetime.last_accepted {
            self.reset_without_slot(promised, ErrorCode::CANCEL);
            self.charge_closed_stream()?;
            return Ok(None);
        }
        // RFC 9113 §8.4.2: "A client can use the SETTINGS_MAX_CONCURRENT_STREAMS setting to limit
        // the number of responses that can be concurrently pushed by a server." Promised streams
        // take memory too, so they count here.
        if self.streams.opened_by(Sender::Peer) >= self.config.max_concurrent_streams as usize {
            return self.refuse(promised);
        }
        if let Some(limit) = over_limit {
            return self.refuse_by_violation(promised, over(limit));
        }
        let rules = RequestRules::default();
        let head = RequestHead::from_fields(fields, rules);
        let head = match head.and_then(|head| can_be_promised(&head).map(|()| head)) {
            Ok(head) => head,
            Err(violation) => return self.refuse_by_violation(promised, violation),
        };
        let mut stream = self.new_stream(promised, Sender::Peer, State::Reserved(Sender::Peer));
        stream.send.phase = Phase::Done;
        stream.head_request = head.method() == "HEAD";
        debug_assert_eq!(
            State::Idle.on(Sender::Peer, Input::Promise),
            Ok(stream.state())
        );
        if !self.admit_response(&mut stream, None) {
            return Ok(Some(self.refuse_for_memory(promised)));
        }
        self.insert(stream);
        Ok(Some(Event::PushPromise { id, promised, head }))
    }

    fn refuse_by_violation(
        &mut self,
        promised: StreamId,
        violation: Violation,
    ) -> Result<Option<Event>, super::fault::Fault> {
        self.charge_own_reset()?;
        let code = violation.code();
        self.reset_without_slot(promised, code);
        Ok(Some(reset_event(promised, violation)))
    }
}
