//! The handle by which the owner controls one stream.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};
use tidegate_http::engine::Sealed;
use tidegate_http::{
    Body, Fields, Misuse, Pace, Priority, RequestHead, ResponseHead, Role, check_trailers,
};

use crate::conn::Connection;
use crate::stream::state::Sender;
use crate::stream::{More, Phase, Stream};

/// A borrowed handle to one stream; [`Stream`](tidegate_http::Stream) has its methods.
pub struct StreamMut<'a> {
    conn: &'a mut Connection,
    id: StreamId,
}

impl<'a> StreamMut<'a> {
    pub(crate) fn new(conn: &'a mut Connection, id: StreamId) -> Self {
        Self { conn, id }
    }
}

impl StreamMut<'_> {
    /// Returns the stream's slot, unless an earlier call through this handle has ended the stream.
    fn slot(&mut self) -> Result<usize, Misuse> {
        self.conn.streams.find(self.id).ok_or(Misuse::StreamClosed)
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        let slot = self.slot().ok()?;
        Some(self.conn.streams.get_mut(slot))
    }

    fn peek(&self) -> Option<&Stream> {
        self.conn.streams.peek(self.id)
    }

    /// Returns the stream's slot if it waits for its final response.
    fn check_can_answer(&mut self, head: &ResponseHead) -> Result<usize, Misuse> {
        if self.conn.role != Role::Server {
            return Err(Misuse::WrongRole);
        }
        let slot = self.slot()?;
        let stream = self.conn.streams.get(slot);
        if stream.awaits_release() || stream.state().has_ended(Sender::Us) {
            return Err(Misuse::StreamClosed);
        }
        if stream.send.phase != Phase::Head {
            return Err(Misuse::AlreadyResponded);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        Ok(slot)
    }
}

impl Sealed for StreamMut<'_> {}

impl tidegate_http::Stream for StreamMut<'_> {
    fn id(&self) -> StreamId {
        self.id
    }

    fn version(&self) -> &'static str {
        "HTTP/2"
    }

    fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        if head.is_informational() || head.status() > 999 {
            return Err(Misuse::StatusOutOfRange);
        }
        let slot = self.check_can_answer(head)?;
        self.conn.check_list_size(head.fields())?;
        let stream = self.conn.streams.get(slot);
        // RFC 9113 §8.5: only a 2xx makes a tunnel. A refused CONNECT is a request like any other.
        if stream.connect_request && !(200..300).contains(&head.status()) {
            let age = self.conn.age();
            let stream = self.conn.streams.get_mut(slot);
            stream.connect_request = false;
            stream.recv.pace = Pace::new(age);
            self.conn.watch_bodies();
        }
        let stream = self.conn.streams.get(slot);
        let without_content = stream.head_request || matches!(head.status(), 204 | 304);
        let body = if without_content { Body::Empty } else { body };
        self.conn.send_head(slot, head.fields(), head.stamp(), body);
        Ok(())
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        self.conn.memory.holding.admit(bytes as u64)
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
        // RFC 9113 §8.6: "This specification removes the 101 (Switching Protocols) status code".
        if !head.is_informational() || head.status() == 101 {
            return Err(Misuse::StatusOutOfRange);
        }
        let slot = self.check_can_answer(head)?;
        self.conn.send_interim_head(slot, head.fields())
    }

    fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
        let slot = self.slot();
        slot.map_or(0, |slot| self.conn.write(slot, data, end))
    }

    fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
        check_trailers(fields).map_err(|_| Misuse::InvalidField)?;
        let slot = self.slot()?;
        let stream = self.conn.streams.get(slot);
        if stream.awaits_release() || stream.state().has_ended(Sender::Us) {
            return Err(Misuse::StreamClosed);
        }
        // RFC 9113 §8.5: on a tunnel "frame types other than DATA or stream management frames …
        // MUST NOT be sent".
        let takes_more = stream.send.phase == Phase::Body && stream.send.buf.more != More::End;
        if !takes_more || stream.is_tunnel() {
            return Err(Misuse::OutOfOrder);
        }
        self.conn.check_list_size(fields)?;
        self.conn.send_trailers(slot, fields);
        Ok(())
    }

    fn push(&mut self, head: &RequestHead) -> Result<StreamId, Misuse> {
        let slot = self.slot()?;
        self.conn.promise(slot, head)
    }

    fn consume(&mut self, bytes: usize) {
        if let Ok(slot) = self.slot() {
            self.conn.consume(slot, bytes);
        }
    }

    fn unconsumed(&self) -> usize {
        self.peek()
            .map_or(0, |stream| stream.recv.window().unconsumed() as usize)
    }

    fn limit_window(&mut self, bytes: u32) {
        if let Some(stream) = self.stream() {
            stream.recv.max_window = bytes;
        }
    }

    fn lift_body_timeout(&mut self) {
        if let Some(stream) = self.stream() {
            stream.recv.untimed = true;
        }
    }

    fn end_tunnel(&mut self) {
        let Ok(slot) = self.slot() else { return };
        let role = self.conn.role;
        let stream = self.conn.streams.get_mut(slot);
        if role != Role::Server || !stream.is_tunnel() || stream.awaits_release() {
            return;
        }
        stream.tunnel_ended = true;
        if stream.send.phase == Phase::Done {
            self.conn.discard_rest(slot);
        }
    }

    fn prioritize(&mut self, priority: Priority) {
        if let Ok(slot) = self.slot() {
            self.conn.prioritize(slot, priority);
        }
    }

    fn suggest_priority(&mut self, priority: Priority) {
        if let Ok(slot) = self.slot()
            && !self.conn.streams.get(slot).prioritized
        {
            self.conn.set_priority(slot, priority);
        }
    }

    fn priority(&self) -> Priority {
        self.peek()
            .map_or_else(Priority::default, |stream| stream.priority)
    }

    fn reset(&mut self, code: ErrorCode) {
        let Ok(slot) = self.slot() else { return };
        if !self.conn.streams.get(slot).awaits_release() {
            self.conn.send_reset(slot, code);
        }
        self.conn.remove(slot);
    }

    fn release(&mut self) {
        if let Ok(slot) = self.slot()
            && self.conn.streams.get(slot).awaits_release()
        {
            self.conn.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};
    use tidegate_http::{Config, Event, Flow, Outbox, Stream as _};

    use super::*;

    #[test]
    fn a_request_and_its_response() {
        let now = crate::testing::some_start();
        let mut client = Connection::client(Config::client().build().unwrap(), now);
        let mut server = Connection::server(Config::server().build().unwrap(), now);
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = client.open(&head, Body::Empty).unwrap();
        let mut got = BytesMut::new();
        let mut wire = BytesMut::new();
        for _ in 0..8 {
            pump(&mut client, &mut wire, now);
            while let Some(event) = server.receive(&mut wire, now) {
                if let Event::Request { id, .. } = event {
                    let head = ResponseHead::new(200).field("content-length", "10000");
                    let body = Body::Full(Bytes::from(vec![7; 10_000]));
                    server.stream(id).unwrap().respond(&head, body).unwrap();
                }
            }
            pump(&mut server, &mut wire, now);
            while let Some(event) = client.receive(&mut wire, now) {
                if let Event::Data { data, .. } = event {
                    got.extend_from_slice(&data);
                }
            }
        }
        assert_eq!(got, vec![7; 10_000]);
        assert!(client.stream(id).is_none());
        assert_eq!((client.active_streams(), server.active_streams()), (0, 0));
    }

    #[test]
    fn a_handle_outlives_its_stream_and_does_nothing_then() {
        let now = crate::testing::some_start();
        let mut client = Connection::client(Config::client().build().unwrap(), now);
        let mut server = Connection::server(Config::server().build().unwrap(), now);
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = client.open(&head, Body::Empty).unwrap();
        let mut wire = BytesMut::new();
        pump(&mut client, &mut wire, now);
        while server.receive(&mut wire, now).is_some() {}
        let mut stream = server.stream(id).unwrap();
        stream
            .respond(&ResponseHead::new(204), Body::Empty)
            .unwrap();
        assert_eq!(stream.id(), id);
        assert_eq!(
            stream.respond(&ResponseHead::new(204), Body::Empty),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(
            stream.inform(&ResponseHead::new(103)),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(stream.trailers(&Fields::new()), Err(Misuse::StreamClosed));
        assert_eq!(stream.push(&head), Err(Misuse::StreamClosed));
        assert_eq!(stream.write(&mut Bytes::from_static(b"x"), true), 0);
        stream.consume(1);
        assert_eq!(stream.unconsumed(), 0);
        let priority = stream.priority();
        stream.prioritize(priority);
        stream.reset(ErrorCode::CANCEL);
        stream.release();
        assert_eq!(server.active_streams(), 0);
        pump(&mut server, &mut wire, now);
        while let Some(event) = client.receive(&mut wire, now) {
            assert!(!matches!(event, Event::Reset { .. }));
        }
    }

    fn pump(conn: &mut Connection, wire: &mut BytesMut, now: std::time::Instant) {
        let mut out = Outbox::new();
        assert!(matches!(
            conn.transmit(&mut out, usize::MAX, now),
            Flow::Drained
        ));
        while out.has_remaining() {
            let n = out.chunk().len();
            wire.extend_from_slice(out.chunk());
            out.advance(n);
        }
    }
}
