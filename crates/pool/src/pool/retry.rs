//! Requests that lost their stream: which of them are sent again, and which fail.

use std::time::Instant;

use log::{info, warn};
use tidegate_http::{CloseReason, ErrorCode, StreamId};
use tidegate_net::{ConnId, Conns, End};

use super::Pool;
use super::pooled::Pooled;
use crate::event::{Event, Failure};
use crate::ids::{Place, RequestId};

/// Whether a request that lost its stream may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    /// No: the upstream may have processed it.
    Never,
    /// Yes, unless it was sent again before.
    Once,
    /// Yes, and this doesn't count as the one time.
    Uncounted,
}

impl<K: Copy> Pool<K> {
    /// Handles the requests of a connection that has closed.
    pub(super) fn connection_lost(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        pooled: Pooled,
        why: &End,
    ) {
        let (place, now) = (pooled.place, conns.now());
        let failure = match why {
            End::Closed(CloseReason::Violation(violation)) => Failure::Violation(*violation),
            End::Closed(CloseReason::Aborted(code)) => Failure::Reset(*code),
            why => Failure::Lost(why.into()),
        };
        // A response that exceeds a limit of ours is an answer, and would come again.
        let is_too_much = exceeds_limit(why);
        let mut is_fault = !is_too_much;
        let mut lost: Vec<(StreamId, RequestId)> = pooled.streams.into_iter().collect();
        lost.sort_unstable_by_key(|(stream, _)| *stream);
        // The other connections of now may be lost for the same reason.
        let newer_than = self.dialled;
        for (_, id) in lost {
            let Some(request) = self.find(id) else {
                continue;
            };
            request.retries.newer_than = newer_than;
            let is_answered = request.is_answered();
            // A server may close an idle connection just when it is used again. Then the request is
            // lost, perhaps before the server read any of it. Only requests that may be processed
            // twice can be sent again (RFC 9110 §9.2.2).
            let is_harmless = !is_answered && !is_too_much && request.is_idempotent();
            let is_usual = is_harmless && pooled.was_of_use;
            // A connection counts as one fault, however many requests are lost with it.
            if !is_answered && !is_usual && std::mem::take(&mut is_fault) {
                self.note_no_answer(place, now);
            }
            let resend = if is_usual || (is_harmless && self.has_others(place, now)) {
                Resend::Once
            } else {
                Resend::Never
            };
            self.lost(conns, id, conn, failure.clone(), resend);
        }
    }

    /// Handles a request that lost its stream, after the stream was freed: sends it again if it
    /// may, or fails it.
    pub(super) fn lost(
        &mut self,
        conns: &mut Conns,
        id: RequestId,
        conn: ConnId,
        failure: Failure,
        resend: Resend,
    ) {
        let Some(request) = self.find(id) else {
            return;
        };
        let is_spent = match resend {
            Resend::Never => true,
            Resend::Once => std::mem::replace(&mut request.retries.is_spent, true),
            Resend::Uncounted => false,
        };
        if is_spent || request.is_answered() || !request.outgoing.can_be_sent_again() {
            return self.fail(id, failure, conns.now());
        }
        request.retries.refused_by = Some(conn);
        request.trip.waits(conns.now());
        let place = request.place;
        self.leave_address(id);
        self.stats.retried += 1;
        info!("upstream {}: a request is sent again", self.name(place));
        self.place(conns, id, failure);
    }

    /// Ends a request without a response, or without the rest of it.
    pub(super) fn fail(&mut self, id: RequestId, failure: Failure, now: Instant) {
        if let Some(request) = self.remove(id) {
            self.stats.failed += 1;
            let event = Event::Failed {
                key: request.key,
                failure,
                trip: request.trip.ended(now),
            };
            self.events.push_back((id, event));
        }
    }

    /// Notes that an address took requests and answered none of them. An address that leaves most
    /// of its requests unanswered is skipped for a while, if another address may answer.
    pub(super) fn note_no_answer(&mut self, place: Place, now: Instant) {
        let (pauses, least) = (self.pauses(place), self.options(place).max_faults);
        let has_others = self.has_others(place, now);
        let name = self.name(place);
        let endpoint = self.endpoint(place);
        if endpoint.health.gave_no_answer(now, least) && has_others {
            warn!(
                "upstream {name}: {} answers less than half of its requests and is skipped for a while",
                endpoint.addr
            );
            endpoint.health.eject(now, pauses);
        }
    }
}

/// Whether a connection ended because a response exceeds a limit of ours.
fn exceeds_limit(why: &End) -> bool {
    match why {
        End::Closed(CloseReason::Violation(violation)) => {
            violation.code() == ErrorCode::ENHANCE_YOUR_CALM
        }
        _ => false,
    }
}
