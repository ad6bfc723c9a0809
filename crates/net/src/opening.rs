//! The opening of a connection: the PROXY header, TLS, ALPN or the first bytes lead to HTTP.
//!
//! Everything that moves a connection from phase to phase is in this file.
//!
//! ```text
//! accepted ──> ProxyHeader ──> Handshake ──> Guess ──> Open ──> Closing
//!
//! dialled ───> Connecting ───> Handshake ────────────> Open ──> Closing
//! ```
//!
//! Phases that aren't needed are skipped, and each may be followed by `Closing`.

use std::sync::Arc;
use std::time::Instant;

use tidegate_http::{Config, Outbox};

use crate::buffers::Buffers;
use crate::guess::{Guess, guess};
use crate::proxy_header::{self, Header, MAX_HEADER};
use crate::socket::{ReadOutcome, Socket};
use crate::tls_session::TlsSession;
use crate::transport::Transport;
use crate::{ConnInfo, End, Engine, Options, Protocol, Protocols};

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We dialled the connection, and the server hasn't accepted it yet.
    Connecting,
    /// The connection begins with a PROXY protocol header, which hasn't arrived.
    ProxyHeader,
    /// The TLS handshake isn't done.
    Handshake,
    /// The first bytes decide the protocol.
    Guess,
    /// The protocol is known, and the connection has an engine.
    Open,
    /// The last bytes go out, and data from the peer is thrown away.
    Closing,
}

/// A connection that we dial, until its protocol is known.
pub(crate) struct Dialling {
    /// Settings and limits of the engine.
    pub(crate) engine: Arc<Config>,
    /// The only acceptable protocol; `None` if ALPN decides.
    pub(crate) only: Option<Protocol>,
    /// Bytes that are sent first.
    pub(crate) preamble: Vec<u8>,
}

/// The result of a step towards a protocol.
#[derive(Debug)]
pub(crate) enum Step {
    /// More input is needed.
    NeedsMore,
    /// The protocol is known: [`Opening::open`] is next.
    Speaks(Protocol),
    /// The connection can't speak HTTP.
    Fails(End),
}

/// The phase of a connection, and what the next phases need.
pub(crate) struct Opening {
    phase: Phase,
    /// The protocols that an accepted connection may speak.
    protocols: Protocols,
    /// Present until phase `Open` if we dialled the connection.
    dialling: Option<Box<Dialling>>,
}

impl Opening {
    /// Returns the state of an accepted connection, with TLS or without.
    pub(crate) fn accepted(has_tls: bool, protocols: Protocols) -> Self {
        Self {
            phase: after_header(has_tls),
            protocols,
            dialling: None,
        }
    }

    /// Returns the state of a connection that is being dialled.
    pub(crate) fn dialled(dialling: Dialling) -> Self {
        Self {
            phase: Phase::Connecting,
            protocols: Protocols::Both,
            dialling: Some(Box::new(dialling)),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether we dialled the connection and its protocol isn't known yet.
    pub(crate) fn is_dialling(&self) -> bool {
        self.dialling.is_some()
    }

    /// Makes an accepted connection begin with a PROXY header.
    pub(crate) fn expect_proxy_header(&mut self) {
        self.phase = Phase::ProxyHeader;
    }

    /// In phase `ProxyHeader`: takes the header off the socket if it is whole, and nothing after
    /// it. Returns the header's length.
    ///
    /// # Errors
    /// Returns why the connection ends, if the header is invalid or won't become whole.
    pub(crate) fn take_proxy_header(
        &mut self,
        transport: &mut Transport,
        info: &mut ConnInfo,
        is_end_near: bool,
    ) -> Result<Option<usize>, End> {
        let mut room = [0; MAX_HEADER];
        let socket = &mut transport.socket;
        let bytes = match socket.peek(&mut room).map_err(End::Io)? {
            ReadOutcome::Bytes { count, .. } => &room[..count],
            ReadOutcome::Blocked => return Ok(None),
            ReadOutcome::Eof => return Err(End::HandshakeEof),
        };
        match proxy_header::parse(bytes) {
            Header::Partial if is_end_near => Err(End::HandshakeEof),
            Header::Partial => Ok(None),
            Header::Invalid => Err(End::ProxyHeaderInvalid),
            Header::Whole { len, addresses } => {
                socket.read(&mut room[..len]).map_err(End::Io)?;
                if let Some((client, server)) = addresses {
                    info.via = Some(info.peer);
                    info.peer = client;
                    info.local = server;
                }
                self.phase = after_header(transport.tls.is_some());
                Ok(Some(len))
            }
        }
    }

    /// In phase `Connecting`: goes on if the server has accepted the connection.
    pub(crate) fn connect(
        &mut self,
        transport: &mut Transport,
        info: &mut ConnInfo,
        outbox: &mut Outbox,
        buffers: &mut Buffers,
        notsent_lowat: u32,
    ) -> Step {
        let Some(dialling) = &mut self.dialling else {
            return Step::NeedsMore;
        };
        match accepted(&mut transport.socket, info, notsent_lowat) {
            Ok(true) => {}
            Ok(false) => return Step::NeedsMore,
            Err(end) => return Step::Fails(end),
        }
        let preamble = std::mem::take(&mut dialling.preamble);
        match &mut transport.tls {
            Some(tls) => {
                self.phase = Phase::Handshake;
                tls.begin_behind(preamble);
                buffers.clear_input(0);
                // The client speaks first.
                match tls.receive(0, buffers) {
                    Ok(()) => Step::NeedsMore,
                    Err(end) => Step::Fails(end),
                }
            }
            None => {
                outbox.extend(&preamble);
                Step::Speaks(dialling.only.unwrap_or(Protocol::Http1))
            }
        }
    }

    /// In phases `Handshake` and `Guess`: determines the protocol, if the input suffices. `input`
    /// is decrypted; with `has_ended`, nothing follows it.
    pub(crate) fn advance(
        &mut self,
        tls: Option<&mut TlsSession>,
        info: &mut ConnInfo,
        input: &[u8],
        has_ended: bool,
    ) -> Step {
        let found = match (self.phase, tls) {
            // What arrives before the end of the handshake is early data (RFC 8446 §2.3).
            (Phase::Handshake, Some(tls)) if !tls.is_handshaking() || !input.is_empty() => {
                let tls = info.tls.insert(Box::new(tls.info()));
                self.agreed(tls.alpn, input)
            }
            (Phase::Handshake, _) => Step::NeedsMore,
            (Phase::Guess, _) => self.guessed(input),
            (Phase::Connecting | Phase::ProxyHeader | Phase::Open | Phase::Closing, _) => {
                return Step::NeedsMore;
            }
        };
        match found {
            Step::NeedsMore if has_ended => Step::Fails(End::HandshakeEof),
            found => found,
        }
    }

    /// Determines the protocol after the TLS handshake, in which ALPN picked `alpn`.
    fn agreed(&mut self, alpn: Option<&str>, input: &[u8]) -> Step {
        match (alpn, &self.dialling) {
            (Some("h2"), _) => Step::Speaks(Protocol::Http2),
            (None, None) => {
                self.phase = Phase::Guess;
                self.guessed(input)
            }
            // RFC 9113 §3.2: HTTP/2 over TLS uses the identifier "h2".
            (_, Some(dialling)) if dialling.only == Some(Protocol::Http2) => {
                Step::Fails(End::NotHttp2)
            }
            _ => Step::Speaks(Protocol::Http1),
        }
    }

    /// Guesses the protocol by the first bytes, and whether the connection may speak it.
    fn guessed(&self, input: &[u8]) -> Step {
        match (guess(input), self.protocols) {
            // The engine of HTTP/1.1 answers HTTP/2 by 505.
            (_, Protocols::Http1) if !input.is_empty() => Step::Speaks(Protocol::Http1),
            (Guess::Unsure, _) => Step::NeedsMore,
            (Guess::Http2, _) => Step::Speaks(Protocol::Http2),
            (Guess::Http1, Protocols::Http2) => Step::Fails(End::OnlyHttp2),
            (Guess::Http1, _) => Step::Speaks(Protocol::Http1),
        }
    }

    /// Makes the engine of a connection whose protocol is known.
    pub(crate) fn open(
        &mut self,
        protocol: Protocol,
        has_tls: bool,
        options: &Options,
        now: Instant,
    ) -> Engine {
        self.phase = Phase::Open;
        match (self.dialling.take(), protocol) {
            (Some(dialling), Protocol::Http2) => Engine::Http2(Box::new(
                tidegate_http2::Connection::client(dialling.engine, now),
            )),
            (Some(dialling), Protocol::Http1) => Engine::Http1(Box::new(
                tidegate_http1::Connection::client(dialling.engine, now),
            )),
            (None, Protocol::Http2) => {
                let config = Arc::clone(&options.engine);
                Engine::Http2(Box::new(tidegate_http2::Connection::server(config, now)))
            }
            (None, Protocol::Http1) => {
                let config = Arc::clone(&options.engine);
                let mut engine = tidegate_http1::Connection::server(config, has_tls, now);
                if options.h2c_upgrade && self.protocols == Protocols::Both {
                    engine.offer_h2c();
                }
                Engine::Http1(Box::new(engine))
            }
        }
    }

    /// Begins the end. Returns whether it had not begun yet.
    pub(crate) fn close(&mut self) -> bool {
        std::mem::replace(&mut self.phase, Phase::Closing) != Phase::Closing
    }
}

/// Returns the phase after the PROXY header, which is the first one of connections without such a
/// header.
fn after_header(has_tls: bool) -> Phase {
    if has_tls {
        Phase::Handshake
    } else {
        Phase::Guess
    }
}

/// Whether the server has accepted a connection that we dial.
fn accepted(socket: &mut Socket, info: &mut ConnInfo, notsent_lowat: u32) -> Result<bool, End> {
    if let Some(error) = socket.take_error() {
        return Err(End::ConnectFailed(error));
    }
    if !socket.is_connected() {
        // The event was about an earlier connection in the same slot.
        return Ok(false);
    }
    socket.tune(notsent_lowat).map_err(End::ConnectFailed)?;
    if let Some(local) = socket.local_addr() {
        info.local = local;
    }
    Ok(true)
}
