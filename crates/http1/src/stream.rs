//! The handle by which the owner controls an exchange: the same as that of HTTP/2.

use bytes::Bytes;
use tidegate_http::engine::{MAX_DISCARDED, MAX_WRITE, More, Phase, Sealed};
use tidegate_http::{
    Body, ErrorCode, Fields, KnownName, Misuse, ResponseHead, Role, Stream, StreamId,
    check_trailers,
};

use crate::connection::Connection;
use crate::exchange::{Exchange, Trailers, Tunnel, Version};
use crate::read::body::BodyReader;
use crate::write::Framing;
use crate::write::response::{Persistence, write_head, write_interim_head, write_websocket_head};

/// A borrowed handle to a request and its response; [`Stream`] has its methods.
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
    fn exchange(&mut self) -> Result<&mut Exchange, Misuse> {
        self.conn.exchange(self.id).ok_or(Misuse::StreamClosed)
    }

    /// Opens the tunnel; the head that grants it is written.
    fn open_tunnel(&mut self, body: Body) {
        if let Ok(exchange) = self.exchange() {
            exchange.is_tunnel = true;
            exchange.recv.phase = Phase::Body;
            exchange.recv.body = BodyReader::UntilEnd;
            exchange.send.begin(Framing::UntilEnd, body);
        }
        self.conn.watch_body();
        self.conn.send_small_body();
    }

    /// Returns the exchange if it waits for its final response.
    fn check_can_answer(&mut self, head: &ResponseHead) -> Result<&mut Exchange, Misuse> {
        if self.conn.role() != Role::Server {
            return Err(Misuse::WrongRole);
        }
        let exchange = self.exchange()?;
        if exchange.send.phase != Phase::Head {
            return Err(Misuse::AlreadyResponded);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        Ok(exchange)
    }
}

impl Sealed for StreamMut<'_> {}

impl Stream for StreamMut<'_> {
    fn id(&self) -> StreamId {
        self.id
    }

    fn version(&self) -> &'static str {
        self.conn.version()
    }

    fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        let status = head.status();
        if head.is_informational() || status > 999 {
            return Err(Misuse::StatusOutOfRange);
        }
        let (draining, version) = (self.conn.is_ending(), self.conn.version);
        let exchange = self.check_can_answer(head)?;
        if (200..300).contains(&status) {
            match &exchange.tunnel {
                Tunnel::None => {}
                Tunnel::Connect => return Err(Misuse::StatusOutOfRange),
                Tunnel::WebSocket { accept } => {
                    let accept = accept.clone();
                    write_websocket_head(&mut self.conn.control, head, &accept);
                    self.open_tunnel(body);
                    return Ok(());
                }
            }
        }
        let (length, framing) = frame(exchange, version, head, &body);
        exchange.persistent &= !draining
            && framing != Framing::UntilEnd
            && exchange.may_discard_the_rest(MAX_DISCARDED);
        let persistence = match (exchange.persistent, version) {
            (false, _) => Persistence::Close,
            (true, Version::Http11) => Persistence::Implied,
            (true, Version::Http10) => Persistence::KeepAlive,
        };
        exchange.send.begin(framing, body);
        write_head(&mut self.conn.control, head, length, framing, persistence);
        self.conn.send_small_body();
        Ok(())
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        self.conn.holding.admit(bytes as u64)
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
        // 101 would change the protocol.
        if !head.is_informational() || head.status() == 101 {
            return Err(Misuse::StatusOutOfRange);
        }
        let version = self.conn.version;
        let exchange = self.check_can_answer(head)?;
        // RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client."
        if version == Version::Http11 {
            exchange.recv.expects_continue &= head.status() != 100;
            write_interim_head(&mut self.conn.control, head);
        }
        Ok(())
    }

    fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
        let Ok(exchange) = self.exchange() else {
            return 0;
        };
        let send = &mut exchange.send;
        let takes_more = send.phase == Phase::Body && send.more != More::End;
        if !takes_more || (data.is_empty() && !end) {
            return 0;
        }
        let mut taken = 0;
        if send.pending.is_empty() {
            taken = data.len().min(MAX_WRITE);
            send.pending = data.split_to(taken);
        }
        let whole = end && data.is_empty();
        send.more = if whole { More::End } else { More::Ask };
        if let Framing::Length { left } = send.framing {
            let pending = send.pending.len() as u64;
            if pending > left || (whole && pending < left) {
                self.conn.abort(ErrorCode::INTERNAL_ERROR);
                return taken;
            }
        }
        if whole {
            self.conn.end_message_if_sent();
        }
        taken
    }

    fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
        check_trailers(fields).map_err(|_| Misuse::InvalidField)?;
        let send = &mut self.exchange()?.send;
        if send.phase == Phase::Done {
            return Err(Misuse::StreamClosed);
        }
        if send.phase != Phase::Body || send.more == More::End {
            return Err(Misuse::OutOfOrder);
        }
        if send.framing == Framing::Chunked {
            send.trailers = Some(fields.clone());
        }
        self.write(&mut Bytes::new(), true);
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        if let Ok(exchange) = self.exchange() {
            let recv = &mut exchange.recv;
            recv.unconsumed = recv.unconsumed.saturating_sub(bytes);
            self.conn.watch_body();
        }
    }

    fn unconsumed(&self) -> usize {
        match &self.conn.exchange {
            Some(exchange) if exchange.id == self.id => exchange.recv.unconsumed,
            _ => 0,
        }
    }

    fn decline_upgrade(&mut self) {
        if let Ok(exchange) = self.exchange()
            && matches!(exchange.tunnel, Tunnel::WebSocket { .. })
            && exchange.send.phase == Phase::Head
        {
            exchange.tunnel = Tunnel::None;
        }
    }

    fn lift_body_timeout(&mut self) {
        if let Ok(exchange) = self.exchange() {
            exchange.recv.untimed = true;
            self.conn.watch_body();
        }
    }

    fn end_tunnel(&mut self) {
        if self.conn.role() == Role::Server
            && let Ok(exchange) = self.exchange()
            && exchange.is_tunnel
        {
            exchange.is_tunnel = false;
            exchange.recv.untimed = true;
            exchange.persistent = false;
            self.conn.end_exchange_if_over();
        }
    }

    fn reset(&mut self, code: ErrorCode) {
        if self.exchange().is_ok() {
            self.conn.abort(code);
        }
    }
}

impl Exchange {
    /// Whether the connection can persist although the request isn't complete: the client will send
    /// the rest, and it isn't too much.
    fn may_discard_the_rest(&self, most: usize) -> bool {
        // RFC 9110 §10.1.1: after a final status in place of 100, the client may send the content
        // or not. Its next bytes could be content or a request.
        let waits = self.recv.expects_continue && !self.recv.body.is_done();
        !waits && self.recv.body.left().is_none_or(|left| left <= most as u64)
    }
}

/// Returns the response's content-length, if it has one, and how its body is framed (RFC 9112
/// §6.3).
fn frame(
    exchange: &Exchange,
    version: Version,
    head: &ResponseHead,
    body: &Body,
) -> (Option<u64>, Framing) {
    let actual = match body {
        Body::Empty => Some(0),
        Body::Full(bytes) => Some(bytes.len() as u64),
        Body::Stream => None,
    };
    // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a
    // status code of 1xx (Informational) or 204 (No Content)."
    if head.status() == 204 {
        return (None, Framing::None);
    }
    // RFC 9110 §8.6: to HEAD and with 304, only the length that a 200 to GET would have.
    if exchange.head_request || head.status() == 304 {
        let length = head.content_length().or(actual.filter(|&bytes| bytes > 0));
        return (length, Framing::None);
    }
    // RFC 9112 §6.1 allows chunks although the length is known. A client that asks for trailers
    // gets them that way.
    if matches!(body, Body::Stream)
        && exchange.trailers == Trailers::Wanted
        && version == Version::Http11
        && head.get_known(KnownName::TRAILER).is_some()
    {
        return (None, Framing::Chunked);
    }
    match actual.or(head.content_length()) {
        Some(left) => (Some(left), Framing::Length { left }),
        None if version == Version::Http11 => (None, Framing::Chunked),
        None => (None, Framing::UntilEnd),
    }
}
