//! A connection that began as HTTP/1.1 (RFC 7540 §3.2, which RFC 9113 dropped).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidegate_frame::{Settings, StreamId};
use tidegate_http::{Config, Event, RequestHead, Role};

use crate::conn::Connection;
use crate::stream::Phase;
use crate::stream::state::{Sender, State};

impl Connection {
    /// Makes the server's end of a connection that an HTTP/1.1 client has upgraded (RFC 7540 §3.2).
    /// The next `receive` reports `head`, the upgrading request, on stream 1; it has no body.
    /// `settings` is the payload of its HTTP2-Settings field. The client's preface is still to
    /// come.
    pub fn server_upgraded(
        config: Arc<Config>,
        head: RequestHead,
        settings: Bytes,
        now: Instant,
    ) -> Self {
        let mut conn = Self::server(config, now);
        // RFC 7540 §3.2.1: "Acknowledgement of the SETTINGS parameters … is not necessary, since a
        // 101 response serves as implicit acknowledgment." The preface brings another SETTINGS
        // frame.
        match conn
            .settings
            .assume(&Settings::Values(settings), Role::Client)
        {
            Ok(()) => conn.unreported.request = Some(Box::new(head)),
            Err(violation) => conn.close_by_violation(violation),
        }
        let table_size = conn.settings.peer.header_table_size;
        conn.blocks.set_encoder_table_size(table_size);
        conn
    }

    /// Reports the upgrading request. RFC 7540 §3.2: "Stream 1 is implicitly "half-closed" from the
    /// client toward the server …, since the request is completed as an HTTP/1.1 request. After
    /// commencing the HTTP/2 connection, stream 1 is used for the response."
    pub(super) fn on_upgrade_request(&mut self, head: RequestHead) -> Event {
        let id = StreamId::new(1);
        self.streams.note_used(id);
        self.guard.stream_opened();
        self.stats.requests += 1;
        let mut stream = self.new_stream(id, Sender::Peer, State::HalfClosed(Sender::Peer));
        stream.recv.phase = Phase::Done;
        stream.note_request(&head);
        let slot = self.insert(stream);
        if self.signals.dependencies_count {
            // A request without a dependency can't break a rule of dependencies.
            let _ = self.place(slot, None);
        }
        self.wake();
        Event::Request {
            id,
            head: Arc::new(head),
            end: true,
        }
    }
}
