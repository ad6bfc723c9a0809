//! The handle by which the owner controls an exchange: the same as that of HTTP/2.

use bytes::Bytes;
use tidegate_http::{
    Body, ErrorCode, Fields, KnownName, Misuse, Priority, RequestHead, ResponseHead, Role,
    StreamId, check_trailers,
};

use crate::connection::{Connection, MAX_DISCARDED};
use crate::exchange::{Exchange, More, Phase, Trailers, Tunnel, Version};
use crate::read::body::BodyReader;
use crate::write::Framing;
use crate::write::response::{Persistence, write_head, write_interim_head, write_websocket_head};

/// The most body bytes that one [`StreamMut::write`] takes.
pub(crate) const MAX_WRITE: usize = 256 << 10;

/// A borrowed handle to a request and its response. It holds no lock and ends with the statement.
///
/// A call can end the exchange, such as the last [`write`](Self::write) of a response. Later calls
/// do nothing, or return [`Misuse::StreamClosed`].
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

    /// Returns the request's number: 1 for the connection's first, then 3, 5 and so on, as in
    /// HTTP/2.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the version in the peer's first line: `HTTP/1.1` or `HTTP/1.0`.
    pub fn version(&self) -> &'static str {
        self.conn.version()
    }

    /// Sends the final response.
    ///
    /// The engine frames it: by content-length for a body of known length (for [`Body::Stream`] and
    /// for HEAD the length that `head` has), else in chunks, or for HTTP/1.0 by the connection's
    /// end. A [`Body::Stream`] whose `head` has a `trailer` field goes in chunks to a client that
    /// asks for trailers; without chunks, that field is left out. For a HEAD request or a status
    /// without content (204, 304) the body is left out.
    ///
    /// If the response ends before the request does, the rest of the request is discarded. A 2xx to
    /// a request for a WebSocket goes out as 101; `body` then belongs to the tunnel.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then. A 2xx to CONNECT is
    /// [`Misuse::StatusOutOfRange`] too: this server opens no other tunnels.
    pub fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
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

    /// Whether the memory budget has room for `bytes` more that wait to be sent, such as a head.
    /// The bytes are reserved until the connection next reports its memory, so call this just
    /// before sending them.
    pub fn has_room_for(&mut self, bytes: usize) -> bool {
        self.conn.holding.admit(bytes as u64)
    }

    /// Sends an interim response (1xx), such as 100 or 103. HTTP/1.0 clients get none.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
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

    /// Takes bytes of a [`Body::Stream`] off the front of `data`, as many as there is room for, and
    /// returns their number: 0 if there is no room or our message takes no body. With `end`, the
    /// message ends once all of `data` is taken. If some bytes remain,
    /// [`Event::Writable`](tidegate_http::Event::Writable) asks for them.
    ///
    /// A body whose length differs from the head's content-length can't be sent: the connection
    /// closes.
    pub fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
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

    /// Ends a [`Body::Stream`] with trailers, after the written bytes. A message that isn't chunked
    /// leaves them out.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
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

    /// HTTP/1.1 has no push.
    ///
    /// # Errors
    /// Always returns [`Misuse::PushDisabled`].
    pub fn push(&mut self, _head: &RequestHead) -> Result<StreamId, Misuse> {
        Err(Misuse::PushDisabled)
    }

    /// Returns credit for `bytes` of [`Event::Data`](tidegate_http::Event::Data). Without credit
    /// no more of the body is read.
    pub fn consume(&mut self, bytes: usize) {
        if let Ok(exchange) = self.exchange() {
            let recv = &mut exchange.recv;
            recv.unconsumed = recv.unconsumed.saturating_sub(bytes);
            self.conn.watch_body();
        }
    }

    /// Returns the bytes reported as [`Event::Data`](tidegate_http::Event::Data) and not consumed
    /// yet.
    pub fn unconsumed(&mut self) -> usize {
        self.exchange()
            .map_or(0, |exchange| exchange.recv.unconsumed)
    }

    /// Server: treats a request for a WebSocket as an ordinary GET: a 2xx that follows is an
    /// ordinary response. RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
    pub fn decline_upgrade(&mut self) {
        if let Ok(exchange) = self.exchange()
            && matches!(exchange.tunnel, Tunnel::WebSocket { .. })
            && exchange.send.phase == Phase::Head
        {
            exchange.tunnel = Tunnel::None;
        }
    }

    /// Waits for the rest of the peer's body without a time limit:
    /// [`Timeouts::body`](tidegate_http::Timeouts::body) and
    /// [`Config::min_body_rate`](tidegate_http::Config::min_body_rate) no longer apply to this
    /// exchange.
    pub fn lift_body_timeout(&mut self) {
        if let Ok(exchange) = self.exchange() {
            exchange.recv.untimed = true;
            self.conn.watch_body();
        }
    }

    /// Server: lets a tunnel end with our own direction, while its two directions otherwise end
    /// independently. The connection then closes, whatever the client still sends.
    pub fn end_tunnel(&mut self) {
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

    /// Does nothing: there is one response at a time.
    pub fn prioritize(&mut self, _priority: Priority) {}

    /// Does nothing: there is one response at a time.
    pub fn suggest_priority(&mut self, _priority: Priority) {}

    /// Returns the default: there is one response at a time.
    pub fn priority(&mut self) -> Priority {
        Priority::default()
    }

    /// Closes the connection without the rest of the exchange, so that no peer takes it for
    /// complete. The answers to earlier requests still go out, unless only a reset of the transport
    /// can show the truncation. [`Event::Closed`](tidegate_http::Event::Closed) follows.
    pub fn reset(&mut self, code: ErrorCode) {
        if self.exchange().is_ok() {
            self.conn.abort(code);
        }
    }

    /// Does nothing: ending a request early ends the connection.
    pub fn release(&mut self) {}
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
