//! The server's part: requests come in; invalid ones are refused.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::engine::{Phase, head_size};
use tidegate_http::{CloseReason, Config, Event, KnownName, RequestHead, Role, Violation};

use crate::connection::{Connection, Wait};
use crate::exchange::{Exchange, Recv, Send, Trailers, Tunnel};
use crate::read::Kind;
use crate::read::body::BodyReader;
use crate::read::request::{self, Offers};
use crate::read::section::Section;
use crate::upgrade::Upgrade;
use crate::write::response::{status_of, write_h2c_head, write_refusal};

/// A request that upgraded the connection to HTTP/2 (RFC 7540 §3.2). The 101 has been written; the
/// response goes on stream 1.
#[derive(Debug)]
pub struct H2cUpgrade {
    /// The request, which has no body.
    pub head: RequestHead,
    /// The payload of the client's first SETTINGS frame.
    pub settings: Bytes,
}

impl Connection {
    /// Makes the server's end of a new connection. Its requests have `https` URIs if `secure`, else
    /// `http` URIs.
    ///
    /// These settings of `config` apply: `initial_window_size`, the bytes of a body that may be
    /// reported and not consumed; `max_header_list_size`, for heads (including the request line)
    /// and trailers; `max_header_fields`, `max_cookie_crumbs`, `outbound_high_water`,
    /// `memory_budget`, `wall_clock`, `min_body_rate`; the time limits `header_block`, `body`,
    /// `discard`, `idle` and `shutdown`; and `enable_connect_protocol`. The last reports a request
    /// for a WebSocket (RFC 6455) as an extended CONNECT (RFC 8441), as HTTP/2 does; a 2xx response
    /// to it makes a tunnel.
    pub fn server(config: Arc<Config>, secure: bool, now: Instant) -> Self {
        let mut conn = Self::new(Role::Server, config, now);
        conn.scheme = if secure { "https" } else { "http" };
        conn
    }

    /// From now on accepts `Upgrade: h2c` in a request without a body (RFC 7540 §3.2). Call
    /// [`Connection::take_upgrade`] after `receive`. Has no effect on a secure connection.
    pub fn offer_h2c(&mut self) {
        self.offers_h2c = self.scheme == "http";
    }

    /// Returns the request that upgraded the connection to HTTP/2, if one has. Write out the rest
    /// of [`Connection::transmit`] first; the rest of the input belongs to the other engine.
    pub fn take_upgrade(&mut self) -> Option<H2cUpgrade> {
        self.upgraded.take()
    }

    pub(crate) fn receive_request(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, Violation> {
        if input.is_empty() {
            return Ok(None);
        }
        // RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD
        // ignore at least one empty line (CRLF) received prior to the request-line."
        if !self.skipped_line && b"\r\n".starts_with(&input[..input.len().min(2)]) {
            if input.len() > 1 {
                input.advance(2);
                self.skipped_line = true;
            }
            return Ok(None);
        }
        if self.wait != Wait::Head {
            self.wait_for(Wait::Head, self.config.timeouts.header_block);
        }
        let limit = self.config.max_header_list_size as usize;
        let Some(len) = self.section.scan(input, limit)? else {
            return Ok(None);
        };
        let offers = Offers {
            websocket: self.config.enable_connect_protocol,
            h2c: self.offers_h2c,
        };
        let request = request::parse(&input[..len], self.scheme, offers, &self.config)?;
        input.advance(len);
        self.version = request.version;
        self.section = Section::head(Kind::Request);
        self.skipped_line = false;
        let id = self.next_id();
        let method = request.head.method_bytes();
        let tunnel = match request.upgrade {
            Some(Upgrade::Http2 { settings }) => {
                let head = request.head;
                write_h2c_head(&mut self.control);
                self.wait_for_nothing();
                self.upgraded = Some(H2cUpgrade { head, settings });
                return Ok(None);
            }
            Some(Upgrade::WebSocket { accept }) => Tunnel::WebSocket { accept },
            None if method == b"CONNECT" => Tunnel::Connect,
            None => Tunnel::None,
        };
        self.stats.requests += 1;
        // RFC 9110 §9.3.6: "A CONNECT request message does not have content." The bytes after a
        // refused CONNECT may have been meant for the tunnel.
        let is_connect = tunnel == Tunnel::Connect;
        let body = if is_connect {
            BodyReader::Done
        } else {
            request.body
        };
        let phase = if body.is_done() {
            Phase::Done
        } else {
            Phase::Body
        };
        let head = u64::from(head_size(request.head.fields()));
        if !self.admit_request(head) {
            self.refuse_for_memory();
            return Ok(None);
        }
        let takes_trailers = request.head.get_known(KnownName::TE).is_some();
        self.exchange = Some(Exchange {
            id,
            trailers: if takes_trailers {
                Trailers::Wanted
            } else {
                Trailers::Unasked
            },
            head_request: method == b"HEAD",
            tunnel,
            is_tunnel: false,
            head,
            bill: None,
            // RFC 9112 §9.3.2 doesn't limit a connection's requests, but their numbers run out.
            persistent: request.persistent && !is_connect && self.has_next_id(),
            awaits_invitation: false,
            recv: Recv {
                expects_continue: request.expects_continue,
                ..Recv::new(phase, body)
            },
            send: Send::new(),
        });
        self.watch_body();
        Ok(Some(Event::Request {
            id,
            head: Arc::new(request.head),
            end: phase == Phase::Done,
        }))
    }

    /// Reports the client's fault by a status, unless the response has begun.
    pub(crate) fn report_refusal(&mut self, violation: Violation) {
        let unanswered = self
            .exchange
            .as_ref()
            .is_none_or(|exchange| exchange.send.phase == Phase::Head);
        if unanswered {
            let status = status_of(violation);
            write_refusal(&mut self.control, status, self.config.date());
        }
    }

    /// Refuses a request for lack of memory. RFC 9110 §15.6.4: "the server is currently unable to
    /// handle the request due to a temporary overload". The body is on its way, so the connection
    /// is no longer usable.
    fn refuse_for_memory(&mut self) {
        self.stats.refused_for_memory += 1;
        write_refusal(&mut self.control, 503, self.config.date());
        self.close(CloseReason::OverMemoryBudget);
    }
}
