//! Requests that end.

use bytes::Bytes;
use tidegate_http::{Body, ErrorCode, ResetCause, Stream, StreamId};
use tidegate_net::{ConnId, Conns, StreamMut};

use super::App;
use super::report::{Peer, is_slow_body, log_reset};
use crate::access_log::ResetBy;
use crate::in_progress::Exchange;
use crate::request::{Key, Sent, TOO_LARGE, head_of_text};

impl App {
    /// Ends a request whose body and response are whole, or that can't be continued. The stream may
    /// be gone already unless an answer is due.
    pub(super) fn finish(&mut self, mut stream: StreamMut<'_>, conn: ConnId, id: StreamId) {
        // The response is whole, or it is the answer that is due now.
        self.exchanges.responded(conn, id);
        let Some(Exchange {
            work,
            sent,
            log,
            terms,
            ..
        }) = self.exchanges.remove(conn, id)
        else {
            return;
        };
        let answer = work.finish(&mut stream, &self.clock, &terms);
        self.log(log, answer.unwrap_or(sent));
    }

    /// Removes a request whose stream is gone because both messages are whole. Its handler may not
    /// have noticed: for a HEAD request it has no body to send.
    pub(super) fn remove_if_over(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if self.exchanges.get(conn, id).is_some()
            && conns.stream(conn, id).is_none()
            && let Some(Exchange { sent, log, .. }) = self.exchanges.remove(conn, id)
        {
            self.log(log, sent);
        }
    }

    /// Ends a request whose body is larger than its route takes.
    pub(super) fn end_too_large(&mut self, conns: &mut Conns, (conn, id): Key, taken: usize) {
        self.exchanges.responded(conn, id);
        let Some(Exchange {
            work,
            mut sent,
            mut log,
            terms,
            ..
        }) = self.exchanges.remove(conn, id)
        else {
            return;
        };
        self.cancel(conns, &work);
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.consume(taken);
            if sent.status == 0 {
                let text = TOO_LARGE.1;
                let head = head_of_text(TOO_LARGE.0, text, &self.clock);
                let head = terms.applied_to(&head).unwrap_or(head);
                let body = Body::Full(Bytes::from_static(text.as_bytes()));
                if stream.respond(&head, body).is_ok() {
                    sent = Sent {
                        status: TOO_LARGE.0,
                        bytes: text.len() as u64,
                    };
                } else {
                    stream.reset(ErrorCode::INTERNAL_ERROR);
                }
            } else {
                // No status can report it any longer.
                stream.reset(ErrorCode::CANCEL);
                if let Some(log) = &mut log {
                    log.note_reset(ErrorCode::CANCEL, ResetBy::Server);
                }
            }
        }
        self.log(log, sent);
    }

    /// Ends a request whose stream was reset.
    pub(super) fn reset(
        &mut self,
        conns: &mut Conns,
        (conn, id): Key,
        code: ErrorCode,
        cause: ResetCause,
    ) {
        if let ResetCause::Violation(violation) = cause {
            self.tracer.stream_rule(conns, conn, id, violation);
        }
        self.counts.reset(code, cause);
        match self.push_reset(conn, id, cause) {
            Some((resource, page)) => {
                let peer = Peer(conns, conn);
                log::info!(
                    "push cancelled: stream {id}, peer {peer}, {code}, {resource} for {page}"
                );
            }
            None => log_reset(conns, conn, id, code, cause),
        }
        if is_slow_body(cause) {
            // The engine has answered with 408, unless there was an answer already.
            self.exchanges.responded(conn, id);
        }
        if let Some(Exchange {
            mut sent,
            mut log,
            work,
            ..
        }) = self.exchanges.remove(conn, id)
        {
            self.cancel(conns, &work);
            if let Some(log) = &mut log {
                log.note_cause(code, cause);
            }
            if sent.status == 0 && is_slow_body(cause) {
                sent.status = 408;
            }
            self.log(log, sent);
        }
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.release();
        }
    }
}
