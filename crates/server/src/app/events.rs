//! Events of requests in progress: bodies that come, and streams that take more.

use bytes::Bytes;
use tidegate_http::{Event, Fields, Stream};
use tidegate_net::{ConnId, Conns, StreamMut};

use super::App;
use crate::in_progress::Work;
use crate::request::Key;

impl App {
    /// Handles an event that isn't a request. A function of its own, so that the way of a request
    /// is short.
    pub(super) fn other_event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        match event {
            Event::Data { id, data, end } => self.body(conns, (conn, id), data, end, None),
            Event::Trailers { id, fields } => {
                self.body(conns, (conn, id), Bytes::new(), true, Some(fields));
            }
            Event::Writable { id, want } => {
                if self.is_relayed(conn, id) {
                    self.download(conns, (conn, id));
                } else {
                    if let Some(stream) = conns.stream(conn, id) {
                        self.writable(stream, conn, want);
                    }
                    self.remove_if_over(conns, conn, id);
                }
            }
            Event::Reset { id, code, cause } => self.reset(conns, (conn, id), code, cause),
            // `closed` follows, or the event is one of a client engine.
            _ => {}
        }
    }

    /// Handles a piece of a request's body, or its end, perhaps with trailers.
    fn body(
        &mut self,
        conns: &mut Conns,
        (conn, id): Key,
        data: Bytes,
        end: bool,
        trailers: Option<Fields>,
    ) {
        if let Some(exchange) = self.exchanges.get(conn, id) {
            if let Some(log) = &mut exchange.log {
                log.note_received(data.len());
            }
            if exchange.limit.count(data.len()) {
                return self.end_too_large(conns, (conn, id), data.len());
            }
            if let Work::Relay(_) = exchange.work {
                return self.upload(conns, (conn, id), data, end, trailers);
            }
        }
        if let Some(stream) = conns.stream(conn, id) {
            self.data(stream, conn, data, end);
        }
        self.remove_if_over(conns, conn, id);
    }

    fn data(&mut self, mut stream: StreamMut<'_>, conn: ConnId, data: Bytes, end: bool) {
        let id = stream.id();
        let Some(exchange) = self.exchanges.get(conn, id) else {
            // The request is answered already, so the rest of its body is dropped.
            stream.consume(data.len());
            return;
        };
        let progress = exchange.work.data(&mut stream, data, end);
        if exchange.sent.count(progress) {
            self.finish(stream, conn, id);
        }
    }

    fn writable(&mut self, mut stream: StreamMut<'_>, conn: ConnId, want: usize) {
        let id = stream.id();
        let Some(exchange) = self.exchanges.get(conn, id) else {
            return;
        };
        let files = &mut self.files;
        let progress = exchange.work.writable(&mut stream, want, files, (conn, id));
        if exchange.sent.count(progress) {
            self.finish(stream, conn, id);
        }
    }
}
