//! Requests that end, and their lines of the access log.

use std::time::Instant;

use tidegate_http::{ErrorCode, ResetCause, Stream, StreamId};
use tidegate_net::{ConnId, Conns, StreamMut};

use super::App;
use super::report::{Peer, is_slow_body, log_reset};
use crate::access_log::Entry;
use crate::in_progress::Exchange;
use crate::request::{Key, Sent};

impl App {
    /// Ends a request whose body and response are whole, or that can't be continued. The stream may
    /// be gone already unless an answer is due.
    pub(super) fn finish(&mut self, mut stream: StreamMut<'_>, conn: ConnId, id: StreamId) {
        let Some(Exchange {
            work, sent, log, ..
        }) = self.exchanges.remove(conn, id)
        else {
            return;
        };
        let answer = work.finish(&mut stream, &self.clock);
        self.log(log.as_deref(), answer.unwrap_or(sent));
    }

    /// Removes a request whose stream is gone because both messages are whole. Its handler may not
    /// have noticed: for a HEAD request it has no body to send.
    pub(super) fn remove_if_over(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if self.exchanges.get(conn, id).is_some()
            && conns.stream(conn, id).is_none()
            && let Some(Exchange { sent, log, .. }) = self.exchanges.remove(conn, id)
        {
            self.log(log.as_deref(), sent);
        }
    }

    /// Writes a request's line of the access log, if it has one.
    pub(super) fn log(&mut self, entry: Option<&Entry>, sent: Sent) {
        if let Some(entry) = entry {
            self.access_log
                .end(entry, sent, &self.clock, Instant::now());
        }
    }

    /// Ends a request whose stream was reset.
    pub(super) fn reset(
        &mut self,
        conns: &mut Conns,
        (conn, id): Key,
        code: ErrorCode,
        cause: ResetCause,
    ) {
        match self.push_reset(conn, id, cause) {
            Some((resource, page)) => {
                let peer = Peer(conns, conn);
                log::info!(
                    "push cancelled: stream {id}, peer {peer}, {code}, {resource} for {page}"
                );
            }
            None => log_reset(conns, conn, id, code, cause),
        }
        if let Some(Exchange {
            mut sent,
            log,
            work,
            ..
        }) = self.exchanges.remove(conn, id)
        {
            self.cancel(conns, &work);
            if sent.status == 0 && is_slow_body(cause) {
                // The engine has answered with 408.
                sent.status = 408;
            }
            self.log(log.as_deref(), sent);
        }
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.release();
        }
    }
}
