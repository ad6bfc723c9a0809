//! The client's part: requests go out, responses come in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http::engine::{Phase, REST_AFTER};
use tidegate_http::{Body, Config, Event, Misuse, RequestHead, Role, StreamId, Violation};
use tidegate_ledger::Client;

use crate::connection::{Connection, Life};
use crate::exchange::{Exchange, Recv, Send, Trailers, Tunnel};
use crate::read::Kind;
use crate::read::body::BodyReader;
use crate::read::response::{self, Asked};
use crate::read::section::Section;
use crate::upgrade;
use crate::write::Framing;
use crate::write::request::{anticipates_content, has_target, websocket_key, write_head};

/// A server that announces how long it keeps an idle connection starts counting earlier than we do:
/// a request sent in the last moments could cross its end. With an announced time of at most this
/// margin, the connection isn't used again.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

impl Connection {
    /// Makes the client's end of a new connection. The first request can go out at once.
    ///
    /// Uses the same settings of `config` as [`Connection::server`], except `header_block` and
    /// `enable_connect_protocol`: the owner decides how long a response may take.
    pub fn client(config: Arc<Config>, now: Instant) -> Self {
        Self::new(Role::Client, config, now)
    }

    /// Whether `open` could send a request: the connection is open and no request is in progress.
    pub fn can_open(&self) -> bool {
        self.role == Role::Client && self.life == Life::Alive && self.exchange.is_none()
    }

    /// Sends a request. The engine frames it: by content-length for a body of known length (for
    /// [`Body::Stream`] the length that `head` has), else in chunks.
    ///
    /// An extended CONNECT (RFC 8441) for `websocket` is sent as RFC 6455 requires. `head` must
    /// then have a field `sec-websocket-key` with 16 random bytes in base64, because the engine has
    /// no randomness. A 101 from the server is reported as a 200. After a CONNECT is granted the
    /// connection is a tunnel for the bodies of the request and the response; before that,
    /// [`Stream::write`](tidegate_http::Stream::write) takes nothing.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        self.open_for(None, head, body)
    }

    /// Sends a request like [`Connection::open`], on behalf of a client of the owner who pays for
    /// its memory, as in HTTP/2.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open_for(
        &mut self,
        client: Option<&Arc<Client>>,
        head: &RequestHead,
        body: Body,
    ) -> Result<StreamId, Misuse> {
        if self.role != Role::Client {
            return Err(Misuse::WrongRole);
        }
        if self.life != Life::Alive || !self.has_next_id() {
            return Err(Misuse::GoingAway);
        }
        if head.is_invalid() || !has_target(head) {
            return Err(Misuse::InvalidField);
        }
        if self.exchange.is_some() {
            return Err(Misuse::TooManyStreams);
        }
        let method = head.method_bytes();
        let tunnel = match head.protocol() {
            Some("websocket") => {
                let accept = websocket_key(head).and_then(upgrade::accept);
                Tunnel::WebSocket {
                    accept: accept.ok_or(Misuse::InvalidField)?,
                }
            }
            Some(_) => return Err(Misuse::ConnectProtocolDisabled),
            None if method == b"CONNECT" => Tunnel::Connect,
            None => Tunnel::None,
        };
        // Any response may have a body.
        let bill = self.admit_response(client)?;
        let length = match &body {
            _ if tunnel != Tunnel::None => None,
            Body::Empty => anticipates_content(method).then_some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Stream => head.content_length(),
        };
        let framing = match (&body, length) {
            _ if tunnel != Tunnel::None => Framing::None,
            (Body::Empty, _) => Framing::None,
            (_, Some(left)) => Framing::Length { left },
            (_, None) => Framing::Chunked,
        };
        write_head(&mut self.control, head, length, framing);
        let id = self.next_id();
        self.stats.requests += 1;
        let mut send = Send::new();
        if tunnel == Tunnel::None {
            send.begin(framing, body);
        }
        self.wait_for_nothing();
        self.exchange = Some(Exchange {
            id,
            trailers: Trailers::Unasked,
            head_request: method == b"HEAD",
            tunnel,
            is_tunnel: false,
            persistent: true,
            awaits_invitation: framing != Framing::None && head.expects_continue(),
            head: 0,
            bill,
            recv: Recv::new(Phase::Head, BodyReader::Done),
            send,
        });
        self.send_small_body();
        Ok(id)
    }

    pub(crate) fn receive_response(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, Violation> {
        let limit = self.config.max_header_list_size as usize;
        let Some(len) = self.section.scan(input, limit)? else {
            return Ok(None);
        };
        let Some(exchange) = &mut self.exchange else {
            return Ok(None);
        };
        let asked = Asked {
            head_request: exchange.head_request,
            tunnel: &exchange.tunnel,
        };
        let response = response::parse(&input[..len], asked, &self.config)?;
        input.advance(len);
        self.version = response.version;
        self.section = Section::head(Kind::Response);
        let (id, head) = (exchange.id, response.head);
        if head.is_informational() {
            exchange.persistent &= !response.is_faulty;
            exchange.awaits_invitation &= head.status() != 100;
            return Ok(Some(Event::Informational { id, head }));
        }
        // RFC 9110 §10.1.1: a server that answers instead of inviting the body indicates whether it
        // reads the body or closes. A server that does neither would take the body for the next
        // request.
        exchange.persistent &= response.persistent && !exchange.awaits_invitation;
        exchange.recv.phase = Phase::Body;
        exchange.recv.body = response.body;
        if response.opens_tunnel {
            exchange.is_tunnel = true;
            exchange.send.begin(Framing::UntilEnd, Body::Stream);
        } else if exchange.tunnel != Tunnel::None {
            // The request was refused: there is no tunnel.
            exchange.send.phase = Phase::Done;
        }
        if let Some(limit) = response.keep_alive {
            exchange.persistent &= limit > KEEP_ALIVE_MARGIN;
            // The idle limit begins when the connection has rested.
            let limit = limit.saturating_sub(KEEP_ALIVE_MARGIN + REST_AFTER);
            let ours = self.config.timeouts.idle;
            self.idle_limit = if ours.is_zero() {
                limit
            } else {
                ours.min(limit)
            };
            // Zero would mean no limit.
            self.idle_limit = self.idle_limit.max(Duration::from_millis(1));
        }
        let end = exchange.recv.is_whole();
        self.watch_body();
        self.note_whole_if_read();
        Ok(Some(Event::Response { id, head, end }))
    }

    /// Closes the connection if bytes follow a response that ended the last request. The owner may
    /// send the next request as soon as it knows of the end, and must not take them for its
    /// response.
    pub(crate) fn refuse_unasked(&mut self, input: &BytesMut) {
        if self.exchange.is_none()
            && let Err(violation) = self.receive_unasked(input)
        {
            self.refuse(violation);
        }
    }

    /// Handles input while no response is due.
    pub(crate) fn receive_unasked(&self, input: &BytesMut) -> Result<Option<Event>, Violation> {
        // RFC 9112 §9.2: "If a client receives data on a connection that does not have outstanding
        // requests, the client MUST NOT consider that data to be a valid response".
        if input.is_empty() {
            Ok(None)
        } else {
            Err(Violation::ResponseUnasked)
        }
    }
}
