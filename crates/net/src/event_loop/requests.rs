//! Requests that come in: whether their client may have one more in progress.

use log::debug;
use tidegate_http::{Body, ErrorCode, ResponseHead, StreamId};
use tidegate_ledger::Refusal;

use super::EventLoop;
use crate::{Service, StreamMut};

/// Seconds after which a client may ask again, for HTTP/1.1.
const RETRY_AFTER: &str = "1";

impl<S: Service> EventLoop<S> {
    /// Whether the client of a connection may have this request. One that it may not have is refused, and the service doesn't
    /// hear of it.
    pub(super) fn admit_request(&mut self, slot: u32, id: StreamId) -> bool {
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return false;
        };
        let Err(refusal) = conn.admit_request() else {
            return true;
        };
        totals.requests_refused += 1;
        debug!("{}: request refused: {refusal}", conn.info.peer);
        let conn = conn.id;
        match self.conns.stream(conn, id) {
            // RFC 9113 §8.7: "indicate that the stream is being closed prior to any processing having occurred", so the
            // client may send the request again.
            Some(StreamMut::Http2(mut stream)) => stream.reset(ErrorCode::REFUSED_STREAM),
            Some(StreamMut::Http1(mut stream)) => {
                let status = match refusal {
                    Refusal::Exhausted => 503,
                    // RFC 6585 §4: "the user has sent too many requests in a given amount of time".
                    Refusal::Share | Refusal::ClientLimit => 429,
                };
                let mut head = ResponseHead::new(status);
                head.push("retry-after", RETRY_AFTER);
                // The request is there, so nothing is wrong with the call.
                let _ = stream.respond(&head, Body::Empty);
            }
            None => {}
        }
        false
    }
}
